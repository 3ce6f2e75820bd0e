"""Files as people have them: links, files of macOS, byte order marks, blank lines, deep greys, turned photographs."""

import numpy as np
import pytest
from builders import save_image, voc_xml, write
from PIL import Image, ImageOps

from camlib.datasets import load, load_photos
from camlib.datasets.parsing import list_files, read_pairs, read_sizes, walk_images


def test_linked_folders_are_followed_and_hidden_ones_ignored(tmp_path):
    for name in ("ant", "bass"):
        save_image(tmp_path / "disk" / name / "1.jpg")
    base = tmp_path / "caltech-101" / "101_ObjectCategories"
    save_image(base / "chair" / "1.jpg")
    save_image(base / ".cache" / "1.jpg")
    save_image(base / "chair" / "._1.jpg")
    for name in ("ant", "bass"):
        (base / name).symlink_to(tmp_path / "disk" / name)
    assert walk_images(base) == ["ant/1.jpg", "bass/1.jpg", "chair/1.jpg"]
    assert len(load("caltech101", tmp_path, split="all")) == 3, "the folder is called as its archive unpacks"
    (base / "chair" / "round").symlink_to(base)
    with pytest.raises(ValueError, match=r"round: links to a folder that it lies in"):
        walk_images(base)


def test_files_of_macos_are_no_annotations(tmp_path):
    write(tmp_path / "a.xml", voc_xml((40, 30), [("dog", 1, 2, 3, 4)]))
    write(tmp_path / "._a.xml", "\x00\x05")
    assert [path.name for path in list_files(tmp_path, "*.xml")] == ["a.xml"]


@pytest.mark.parametrize("separator", ["\t", " "])
def test_lists_may_have_a_byte_order_mark_blank_lines_and_windows_endings(tmp_path, separator):
    path = tmp_path / "words.txt"
    lines = [f"n01440764{separator}tench, Tinca tinca", "", f"n01443537{separator}goldfish", "  ", ""]
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert read_pairs(path, separator) == {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish"}
    path.write_text("n01440764\n")
    with pytest.raises(ValueError, match=r"words\.txt: expected a name, .* got 'n01440764'"):
        read_pairs(path, separator)
    path.write_bytes("n01440764\tpiñón".encode("latin-1"))
    with pytest.raises(ValueError, match=r"words\.txt: not a text file in UTF-8"):
        read_pairs(path, separator)


def test_a_picture_too_large_to_open_is_named(tmp_path, monkeypatch):
    save_image(tmp_path / "large.png", (40, 30))
    images = load_photos([tmp_path / "large.png"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"large\.png: .*exceeds limit"):
        read_sizes([str(tmp_path / "large.png")])
    with pytest.raises(OSError, match=r"large\.png: .*exceeds limit"):
        images[0]


def test_greys_of_16_bits_keep_their_upper_8(tmp_path):
    greys = np.linspace(0, 65535, 12).astype(np.uint16).reshape(3, 4)
    Image.fromarray(greys).save(tmp_path / "deep.png")
    (image,) = map(np.asarray, load_photos([tmp_path / "deep.png"]))
    assert np.array_equal(image, np.repeat((greys >> 8).astype(np.uint8)[..., None], 3, 2))


def test_grey_fractions_are_refused_by_name(tmp_path):
    Image.fromarray(np.full((3, 4), 0.5, np.float32)).save(tmp_path / "fractions.tiff")
    with pytest.raises(OSError, match=r"fractions\.tiff: .*expected 8 or 16 bits"):
        load_photos([tmp_path / "fractions.tiff"])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_of_ones_own_stand_upright(tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    images = load_photos([tmp_path / "turned.png"])
    with Image.open(tmp_path / "turned.png") as saved:
        upright = np.asarray(ImageOps.exif_transpose(saved))
    assert np.array_equal(np.asarray(images[0]), upright)
    assert images.sizes.tolist() == [[upright.shape[1], upright.shape[0]]]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"wnids": ["n1"]}', '{"wnids": ["n1"], "names": []}', '{"wnids": "n1", "names": "a"}', "\xff"],
)
def test_a_list_of_classes_that_is_none_is_named(tmp_path, text):
    save_image(tmp_path / "imagenet-samples" / "n1_x.JPEG")
    (tmp_path / "imagenet_classes.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"imagenet_classes\.json: expected a JSON object with the lists wnids, names"):
        load("imagenet-samples", tmp_path)


def test_a_stray_photograph_is_named(tmp_path):
    for name in ("n1_x.JPEG", "my_photo.jpg"):
        save_image(tmp_path / "imagenet-samples" / name)
    (tmp_path / "imagenet_classes.json").write_text('{"wnids": ["n1"], "names": ["a"]}')
    with pytest.raises(ValueError, match=r"1 images of .* are not called <wnid>_<name> .*: my_photo\.jpg"):
        load("imagenet-samples", tmp_path)
