"""The one way to a network: its preset, its class names, and what is refused."""

import json

import numpy as np
import pytest
import timm
import torch
import torchvision
from scipy.io import savemat

from camlib import train
from camlib.models import build_model, digest_network
from camlib.train import networks
from camlib.train.networks import places_names
from camlib.transforms import PRESETS, Preset

TRAINING = {
    "trained_on": "synthetic-objects", "train_options": {"n": 64}, "eval_options": {"n": 24}, "preset": "small",
    "recipe": "short", "epochs": 1,
}  # fmt: skip


def test_a_trained_network_comes_with_the_preset_and_classes_of_its_training():
    found = train.load_network("mini_gap", "train", training=TRAINING, geometry="whole")
    assert found.preset == PRESETS["small"]
    assert found.class_names[0] == "blick"
    assert [row["epoch"] for row in found.history] == [1]
    assert not found.net.training
    row = {"label": "A", "model": "mini_gap", "weights": "train", "paper_row": "GoogLeNet-GAP"}
    again = train.load_networks([row], training=TRAINING)
    assert digest_network(again["A"].net) == digest_network(found.net)
    with pytest.raises(ValueError, match=r"training has \['epochs'\], expected .*trained_on"):
        train.load_network("mini_gap", "train", training={"epochs": 1})


@pytest.mark.parametrize("model", ["mini_gap", "alexnet_fc7", "squeezenet1_1_cut"])
def test_random_networks_depend_on_the_seed_alone(model):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    nets = [train.load_network(model, "random", preset="small", seed=seed).net for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = map(digest_network, nets)
    assert first == again != other


@pytest.mark.parametrize("model", ["mini_gap", "alexnet_fc7"])
def test_a_file_brings_its_preprocessing_or_needs_it(model, tmp_path, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    own = torchvision.models.alexnet() if model == "alexnet_fc7" else build_model("mini_gap")
    torch.save(own.state_dict(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"net\.pt: nothing says how its input is preprocessed; expected net\.json"):
        train.load_network(model, "net.pt")
    given = train.load_network(model, "net.pt", preset="imagenet")
    assert given.preset == PRESETS["imagenet"]
    assert given.class_names[0] == "tench"
    about = {"resize": 70, "crop": 64, "mean": [1, 2, 3], "std": [4, 5, 6], "channels": "BGR", "range": 255.0}
    (tmp_path / "net.json").write_text(json.dumps(about | {"interpolation": "bicubic"}))
    found = train.load_network(model, "net.pt")
    assert found.preset == Preset(70, 64, (1, 2, 3), (4, 5, 6), "bgr", 255, "bicubic")
    x, last = torch.randn(2, 3, 224, 224), own.classifier[6] if model == "alexnet_fc7" else own.fc
    assert torch.equal(found.net.fc.weight, last.weight)
    with torch.no_grad():
        torch.testing.assert_close(found.net(x), own.eval()(x), rtol=1e-4, atol=1e-5)
    (tmp_path / "net.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"net\.json: not a description of weights .*interpolation"):
        train.load_network(model, "net.pt")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        train.load_network(model, "nowhere.pt")


def test_a_released_network_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="caffemodel"):
        train.load_network("googlenet_gap", "released")


def test_published_presets_are_those_of_their_libraries():
    assert train.published_preset("googlenet_gap", "torchvision") == PRESETS["imagenet"]
    assert train.published_preset("alexnet_fc7", "torchvision") == PRESETS["imagenet"]
    inception = train.published_preset("inception_v3", "torchvision")
    assert (inception.squash, inception.crop) == (342, 299)
    config = timm.data.resolve_data_config({}, model=timm.create_model("tf_efficientnet_lite0"))
    ours = train.published_preset("efficientnet_lite0", "bundled")
    assert ours == Preset(256, 224, config["mean"], config["std"], interpolation=config["interpolation"])
    assert train.published_preset("efficientnet_lite0_gap", "bundled") == ours
    assert train.load_network("efficientnet_lite0_dilated").preset == ours
    assert train.published_preset("timm/resnet50", "timm").interpolation == "bicubic"


def test_geometry_and_scale_change_the_preset_alone():
    nets = [
        train.load_network("efficientnet_lite0", geometry=geometry, scale=scale)
        for geometry, scale in ((None, None), ("whole", None), ("crop", 320), ("whole", 320))
    ]
    assert [(n.preset.squash, n.preset.crop) for n in nets] == [(256, 224), (224, 224), (366, 320), (320, 320)]
    assert len({digest_network(n.net) for n in nets}) == 1
    with pytest.raises(ValueError, match="geometry is 'squash'"):
        train.load_network("efficientnet_lite0", geometry="squash")


def test_the_bundled_network_knows_a_photograph(shared_data):
    """EfficientNet-Lite0 on the sample photographs; the class is the file's name."""
    from camlib.datasets import load
    from camlib.evaluate import forward_batches

    shared_data("imagenet-samples")
    net, preset, names, *_ = train.load_network("efficientnet_lite0")
    images = load("imagenet-samples")
    assert len(names) == len(images.classes) == 1000
    batches = forward_batches(net, images, preset, lambda x, batch: net(x).topk(5).indices)
    right = np.concatenate([(top.numpy() == images.labels[batch][:, None]) for batch, top in batches])
    assert right.any(1).sum() >= 52  # 54 with timm's own geometry, which keeps the aspect


def test_places_scenes_are_named_by_the_authors_list(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"categories_places205\.mat is missing: the authors' list"):
        places_names(tmp_path / "categories_places205.mat")
    rows = np.empty((205, 2), object)
    for k in range(205):
        rows[204 - k] = (f"/s/scene_{k}", np.uint8(k)) if k else ("/a/abbey", np.uint8(0))
    savemat(tmp_path / "categories_places205.mat", {"categories": rows})
    names = places_names(tmp_path / "categories_places205.mat")
    assert names[:2] == ["abbey", "scene 1"]
    assert names[204] == "scene 204"
    savemat(tmp_path / "categories_places205.mat", {"categories": rows[:7]})
    with pytest.raises(ValueError, match=r"categories_places205\.mat: 7 categories; expected 205"):
        places_names(tmp_path / "categories_places205.mat")


def test_a_places_network_has_its_scenes_and_no_dropout(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    path = tmp_path / "alexnetplusCAM_places205.caffemodel"
    path.touch()
    monkeypatch.setattr(networks, "places_names", lambda file: [file.name] * 205)
    monkeypatch.setattr(networks, "load_released", lambda file, name: (file.name, name))
    found = train.load_network("alexnet_star_gap_places", "released")
    assert found.net == (path.name, "alexnet_star_gap_places")
    assert found.class_names == ["categories_places205.mat"] * 205
    assert found.preset == PRESETS["caffe227"]
