"""`camlib.explain` against the functions that it is made of, and photographs as people have them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import skimage
import timm
import torch
import torchvision
from matplotlib import pyplot as plt
from PIL import Image
from torch import nn

import camlib
from camlib import boxes, evaluate
from camlib.datasets import load_photos
from camlib.datasets.photos import read_photo
from camlib.explanation import explain, find_classes
from camlib.models import build_model
from camlib.train import Network, load_network
from camlib.transforms import PRESETS, Preset

CHELSEA = Path(skimage.__file__).parent / "data" / "chelsea.png"
SMALL = {"preset": Preset(72, 64), "class_names": [f"class {k}" for k in range(7)]}


@pytest.fixture(scope="module")
def lite0():
    return load_network("efficientnet_lite0")


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    net = build_model("mini_gap", 7).eval()
    return Network(net, Preset(72, 64), SMALL["class_names"], [], "small")


def noise(size=(50, 34), seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8))


@pytest.mark.parametrize("geometry", ["crop", "whole"])
def test_one_photograph_is_explained_as_a_dataset_is_evaluated(small, tmp_path, geometry):
    noise().save(tmp_path / "photo.png")
    found = explain(small, tmp_path / "photo.png", geometry=geometry)
    preset = Preset(64, 64) if geometry == "whole" else small.preset
    images = load_photos([tmp_path / "photo.png"])
    expected = evaluate.localize(small.net, images, preset)
    assert [one.index for one in found.classes] == expected.classes[0].tolist()
    np.testing.assert_allclose([one.score for one in found.classes], expected.scores[0], rtol=1e-5)
    # In a crop the dataset's boxes are scaled to its edges in fractions of a pixel; a photograph's map has whole ones.
    slack = 0 if geometry == "whole" else 1
    np.testing.assert_allclose([one.box for one in found.classes], expected.boxes[0, :, 0], atol=slack)
    maps = evaluate.predict_maps(small.net, images, np.array([0]), preset)
    np.testing.assert_allclose(found.classes[0].map, maps[0], rtol=1e-5, atol=1e-6)


def test_the_released_rule_is_the_released_protocol(small, tmp_path):
    noise((90, 70)).save(tmp_path / "photo.png")
    found = explain(small, tmp_path / "photo.png", rule="released", top=3)
    expected = evaluate.localize_released(small.net, load_photos([tmp_path / "photo.png"]), small.preset, top=3)
    assert [one.index for one in found.classes] == expected.classes[0].tolist()
    assert [one.box.tolist() for one in found.classes] == expected.loose[0].tolist()
    asked = explain(small, tmp_path / "photo.png", rule="released", classes=[found.classes[2].index])
    assert asked.classes[0].boxes.tolist() == found.classes[2].boxes.tolist()
    assert asked.classes[0].score == pytest.approx(found.classes[2].score)


def test_scores_are_of_the_centre_and_maps_of_the_whole_photograph(lite0):
    """The ImageNet weights' own preprocessing by torchvision gives the scores; the box may leave that centre."""
    resize = torchvision.transforms.InterpolationMode.BICUBIC
    own = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(256, resize), torchvision.transforms.CenterCrop(224),
            torchvision.transforms.ToTensor(), torchvision.transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )  # fmt: skip
    with Image.open(CHELSEA) as image, torch.no_grad():
        scores, best = lite0.net(own(image)[None]).softmax(1).topk(5)
    found = explain(lite0, CHELSEA)
    assert [one.index for one in found.classes] == best[0].tolist()
    np.testing.assert_allclose([one.score for one in found.classes], scores[0], rtol=1e-3)
    first = found.classes[0]
    assert first.map.shape == (300, 451)
    assert first.box.tolist() == boxes.largest_component_box(first.map, 0.2).tolist()
    assert "cat" in first.name
    assert str(found).startswith(f"{CHELSEA}: {first.name} ")
    assert len(explain(lite0, noise((2000, 3)), top=1).classes) == 1, "a strip is not blown up"


def test_pictures_of_every_kind_are_the_same_picture(small, tmp_path):
    image = noise()
    image.save(tmp_path / "photo.png")
    buffer = io.BytesIO((tmp_path / "photo.png").read_bytes())
    kinds = [str(tmp_path / "photo.png"), image, np.asarray(image), buffer]
    together = explain(small, kinds)
    assert isinstance(together, list)
    one = explain(small, tmp_path / "photo.png")
    for found in together:
        assert [c.index for c in found.classes] == [c.index for c in one.classes]
        np.testing.assert_allclose(found.classes[0].raw, one.classes[0].raw, rtol=1e-4, atol=1e-5)
    assert [found.photo.source for found in together[1:]] == ["picture", "picture", "-"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 4, 3)), r"the picture is float64 of shape \(4, 4, 3\); expected uint8"),
        (np.zeros((3, 5, 5), np.uint8), r"uint8 of shape \(3, 5, 5\)"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\)"),
        (torch.zeros(3, 5, 5), "the picture is a Tensor; expected a file"),
    ],
)
def test_arrays_of_another_kind_are_refused(small, given, message):
    with pytest.raises(ValueError, match=message):
        explain(small, given)


def test_classes_are_asked_for_by_index_or_name(small, lite0):
    found = explain(small, noise(), classes=["Class 3", 5])
    assert [one.index for one in found.classes] == [3, 5]
    every = explain(small, noise(), top=7)
    scores = {one.index: one.score for one in every.classes}
    assert [one.score for one in found.classes] == pytest.approx([scores[3], scores[5]])
    assert sum(scores.values()) == pytest.approx(1)
    assert find_classes("egyptian cat", lite0.class_names) == [285]
    assert find_classes("Tinca tinca", ["tench, Tinca tinca", "goldfish"]) == [0]
    for asked, message in [
        ("egiptian cat", "no class 'egiptian cat'; did you mean egyptian cat"),
        (1000, r"class 1000 is not in 0\.\.999"),
        ([], "no classes are asked for"),
    ]:
        with pytest.raises(ValueError, match=message):
            find_classes(asked, lite0.class_names)
    with pytest.raises(ValueError, match="classes 0 and 2 are both called 'crane'; give the index"):
        find_classes("crane", ["crane", "tench", "crane"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "txt"}, "rule is 'txt'"),
        ({"threshold": 20}, "threshold is 20; expected a fraction"),
        ({"geometry": "squash"}, "geometry is 'squash'"),
        ({"rule": "released", "threshold": 0.3}, "threshold and geometry are of the text's rule"),
        ({"top": 0}, "top is 0"),
        ({"class_names": ["a"]}, "class_names are 1; the network has 7 classes"),
    ],
)
def test_wrong_options_are_named(small, options, message):
    with pytest.raises(ValueError, match=message):
        explain(small, noise(), **options)


def test_scale_is_the_size_of_the_input(small):
    sides = [explain(small, noise(), scale=scale, geometry="whole").classes[0].raw.shape for scale in (64, 128)]
    assert sides == [(16, 16), (32, 32)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torchvision.models.resnet18(num_classes=7),
        lambda: torchvision.models.squeezenet1_1(num_classes=7),
        lambda: timm.create_model("resnet18", num_classes=7),
    ],
)
def test_models_of_torchvision_and_timm_are_taken_and_left_as_they_were(make):
    torch.manual_seed(0)
    model = make().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = explain(model, noise(), **SMALL, geometry="whole", top=7)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    x = torch.from_numpy(np.array(noise().resize((64, 64), Image.Resampling.BILINEAR)).transpose(2, 0, 1))[None] / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (PRESETS["imagenet"].mean, PRESETS["imagenet"].std))
    with torch.no_grad():
        scores = model.eval()((x - mean) / std).softmax(1)[0]
    np.testing.assert_allclose([one.score for one in found.classes], scores.sort(descending=True)[0], rtol=1e-3)


class Rescaled(nn.Module):
    """Ends in pooling and a linear layer for the eye of the graph, and does something else before."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.flatten, self.fc = (
            nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 7),
        )  # fmt: skip

    def forward(self, x):
        return self.fc(self.flatten(self.pool(self.conv(x))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torchvision.models.vgg11(num_classes=7), "pytorch-grad-cam"),
        (lambda: timm.create_model("vit_tiny_patch16_224", num_classes=7), "pytorch-grad-cam"),
        (Rescaled, "rescaled does not end in .* pytorch-grad-cam"),
    ],
)
def test_networks_that_do_not_end_in_gap_are_refused_with_what_to_use(make, message):
    with pytest.raises(ValueError, match=message):
        explain(make(), noise(), **SMALL)


def test_a_bare_model_needs_its_preprocessing_and_its_names():
    model = torchvision.models.resnet18(num_classes=7)
    with pytest.raises(ValueError, match="nothing says how the input of this ResNet is preprocessed"):
        explain(model, noise())
    with pytest.raises(ValueError, match="has 7 classes; expected class_names"):
        explain(model, noise(), preset="imagenet")
    with pytest.raises(ValueError, match="net is a str"):
        explain("resnet18", noise())


def test_a_network_that_gives_no_number_is_named_with_the_picture(small, tmp_path):
    noise().save(tmp_path / "photo.png")
    net = build_model("mini_gap", 7).eval()
    with torch.no_grad():
        net.fc.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"photo\.png, class class \d: heat map .* NaN"):
        explain(small._replace(net=net), tmp_path / "photo.png")


def test_what_is_saved_can_be_read_and_nothing_of_another_photograph_is_lost(small, tmp_path, monkeypatch):
    for folder, seed in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        noise(seed=seed).save(tmp_path / folder / "dog.png")
    out = tmp_path / "out"
    first, second = explain(small, [tmp_path / "a" / "dog.png", tmp_path / "b" / "dog.png"])
    files = [first.save(out), second.save(out), first.save(out)]
    assert [f["json"].name for f in files] == ["dog_cam.json", "dog_2_cam.json", "dog_cam.json"]
    assert sorted(p.suffix for p in out.iterdir()) == [".json", ".json", ".npz", ".npz", ".png", ".png"]
    record = json.loads(files[1]["json"].read_text())
    assert record["photograph"] == str(tmp_path / "b" / "dog.png")
    assert record["classes"][0]["boxes"] == second.classes[0].boxes.tolist()
    with np.load(files[0]["maps"]) as saved:
        assert np.array_equal(saved["maps"][0], first.classes[0].raw)
        assert saved["window"].tolist() == [0, 0, 50, 34]
    with Image.open(files[0]["overlay"]) as overlay:
        assert overlay.size == (50, 34)
    monkeypatch.chdir(tmp_path / "b")
    assert explain(small, "dog.png").save(out)["json"].name == "dog_2_cam.json", "one file, two spellings"
    explain(small, noise()).save(out)
    assert explain(small, noise(seed=1)).save(out)["json"].name == "picture_2_cam.json"
    asked = explain(small, tmp_path / "a" / "dog.png", classes=[1, 2])
    asked.save(tmp_path / "asked")
    assert sorted(p.name for p in (tmp_path / "asked").glob("*.png")) == ["dog_cam_class_1.png", "dog_cam_class_2.png"]
    twins = [f"class {k % 2}" for k in range(7)]
    explain(small._replace(class_names=twins), noise(), classes=[1, 3]).save(tmp_path / "twins")
    names = ["picture_cam_class_1_1.png", "picture_cam_class_1_3.png"]
    assert sorted(p.name for p in (tmp_path / "twins").glob("*.png")) == names
    figure = asked.plot()
    assert [ax.get_title() for ax in figure.axes] == [
        f"class {k} ({s.score:.0%})" for k, s in zip((1, 2), asked.classes, strict=True)
    ]
    plt.close(figure)


def test_a_large_photograph_is_drawn_small_and_boxed_whole(small):
    found = explain(small, noise((3000, 1000)), top=1, threshold=0.0)
    assert found.overlay().size == (2048, 683)
    assert found.classes[0].map.shape == (1000, 3000)
    assert found.classes[0].box[2] > 2048


def test_photographs_as_people_have_them(tmp_path):
    """Right, or refused by name."""
    greys = np.linspace(0, 65535, 12).astype(np.uint16).reshape(3, 4)
    assert np.array_equal(np.asarray(read_photo(greys).image)[..., 0], greys >> 8)
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0] = 10, 20, 30, 255
    seen = read_photo(clear)
    assert np.asarray(seen.image)[:, :, 0].tolist() == [[10, 255], [255, 255]]
    assert seen.notes == ("transparency laid over white",)
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 255]))
    assert np.asarray(read_photo(tmp_path / "palette.png").image).tolist() == [[[255] * 3, [200, 100, 50]]]
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    red.save(tmp_path / "moving.gif", save_all=True, append_images=[blue])
    moving = read_photo(tmp_path / "moving.gif")
    assert moving.notes == ("the first of 2 frames",)
    assert np.asarray(moving.image)[0, 0].tolist() == [255, 0, 0]
    red.convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(np.asarray(read_photo(tmp_path / "print.jpg").image)[0, 0].astype(int) - [255, 0, 0]).max() <= 3
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "deep.tiff")
    (tmp_path / "text.jpg").write_text("hello")
    noise().save(tmp_path / "half.jpg")
    whole = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    for name, message in [
        ("deep.tiff", "grey values are 70000..70000; expected 8 or 16 bits"),
        ("text.jpg", "not an image that Pillow can read"),
        ("half.jpg", "not a readable image .*truncated"),
        ("nowhere.jpg", "no such photograph"),
        ("", "is a folder"),
    ]:
        with pytest.raises(OSError, match=message) as caught:
            read_photo(tmp_path / name)
        assert str(tmp_path / name).rstrip("/") in str(caught.value)


def test_a_picture_of_90_megapixels_is_read_without_a_warning(tmp_path, monkeypatch):
    noise((40, 30)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # warns above, refuses above twice as many
    assert read_photo(tmp_path / "large.png").image.size == (40, 30)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(OSError, match=r"large\.png: .*exceeds limit"):
        read_photo(tmp_path / "large.png")


def test_one_pixel_is_a_photograph(small):
    found = explain(small, Image.new("RGB", (1, 1), "red"))
    assert found.classes[0].box.tolist() == [0, 0, 1, 1]
    assert explain(small, Image.new("RGB", (1, 1)), geometry="crop").classes[0].map.shape == (1, 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_stays_on_its_device(small):
    found = explain(small, noise())
    moved = small._replace(net=build_model("mini_gap", 7).eval().cuda())
    moved.net.load_state_dict(small.net.state_dict())
    assert explain(moved, noise()).classes[0].index == found.classes[0].index
    assert next(moved.net.parameters()).is_cuda


def test_the_sample_photographs_are_mostly_named_right(shared_data):
    shared_data("imagenet-samples")
    images = camlib.datasets.load("imagenet-samples")
    net = camlib.load_network("efficientnet_lite0")
    found = camlib.explain(net, list(images.files), top=1)
    assert sum(one.classes[0].index == label for one, label in zip(found, images.labels, strict=True)) >= 51
