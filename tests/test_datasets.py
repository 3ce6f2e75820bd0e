"""Readers against small trees in each official layout (splits, boxes, errors), and real files where they are."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from camlib import datasets, store
from camlib.datasets import load

WNIDS = ["n01440764", "n01443537", "n02084071"]
WORDS = ["tench, Tinca tinca", "goldfish, Carassius auratus", "dog, domestic dog"]
DEVKIT_IDS = [3, 1, 2]  # not the order of the wnids


def save_image(path: Path, size=(40, 30), colour=(200, 30, 60)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def voc_xml(size, objects, tags=("xmin", "ymin", "xmax", "ymax")) -> str:
    nodes = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{t}>{v}</{t}>" for t, v in zip(tags, box, strict=True))
        + "</bndbox></object>"
        for name, *box in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{nodes}</annotation>"


# ---------------------------------------------------------------------------------- what all datasets share


def test_import_is_fast_and_without_torch():
    code = (
        "import sys, time, numpy, PIL.Image; before = time.perf_counter(); import camlib.datasets;"
        "print(time.perf_counter() - before, 'torch' in sys.modules, 'scipy' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert float(out[0]) < 1.0  # beyond numpy and Pillow; 0.05 s on a quiet machine
    assert out[1:] == ["False", "False"]


def test_unknown_names_splits_and_options_are_errors(tmp_path):
    with pytest.raises(ValueError, match="tiny-imagenet-200"):
        load("tiny-imagnet", tmp_path)
    with pytest.raises(ValueError, match="no split 'test'; expected one of train, val"):
        load("tiny-imagenet-200", tmp_path, "test")
    with pytest.raises(TypeError, match="synthetic-objects takes no option 'sed'; it takes n, seed, size"):
        load("synthetic-objects", n=4, sed=1)


@pytest.mark.parametrize("name", [n for n in datasets.REGISTRY if not n.startswith("synthetic")])
def test_missing_data_says_file_place_and_source(name, tmp_path):
    assert not datasets.is_available(name, tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        load(name, tmp_path, datasets.REGISTRY[name].splits[0])
    message = str(error.value)
    assert message == datasets.describe_missing(name, tmp_path)
    assert str(tmp_path) in message
    assert datasets.REGISTRY[name].needs[0][0] in message
    assert re.search(r"image-net\.org|https?://", message)
    assert "terms: " in message


def test_readme_names_every_dataset():
    text = (store.PROJECT_ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for name, entry in datasets.REGISTRY.items():
        assert f"`{name}`" in text
        for md5 in re.findall(r"[0-9a-f]{32}", entry.get):
            assert md5 in text


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 4), st.integers(0, 3), st.integers(0, 9))
def test_random_split_draws_equally_and_disjointly(labels, per_class, test_per_class, seed):
    labels = np.array(labels)
    counts = np.bincount(labels)[np.unique(labels)]
    if counts.min() < per_class + max(1, test_per_class):
        with pytest.raises(ValueError, match="are needed"):
            datasets.random_split(labels, per_class, test_per_class or None, seed)
        return
    train, test = datasets.random_split(labels, per_class, test_per_class or None, seed)
    assert not set(train) & set(test)
    assert all((labels[train] == c).sum() == per_class for c in set(labels))
    if test_per_class:
        assert all((labels[test] == c).sum() == test_per_class for c in set(labels))
    else:
        assert len(train) + len(test) == len(labels)
    again = datasets.random_split(labels, per_class, test_per_class or None, seed)
    assert all(np.array_equal(a, b) for a, b in zip(again, (train, test), strict=True))


# ---------------------------------------------------------------------------------- the embedded data


def test_synthetic_splits_are_disjoint_and_repeat():
    parts = {split: load("synthetic-objects", split=split, n=12) for split in ("train", "val", "test")}
    parts["other seed"] = load("synthetic-objects", split="train", n=12, seed=1)
    pictures = {image.tobytes() for ds in parts.values() for image in ds.images}
    assert len(pictures) == 48
    assert len({ds.fingerprint for ds in parts.values()}) == 4
    again = load("synthetic-objects", split="train", n=12)
    assert again.fingerprint == parts["train"].fingerprint
    assert again.synthetic
    assert again.source == "synthetic (seed 0)"
    assert np.array_equal(np.asarray(again[3]), again.images[3])
    assert {mask.shape for mask in again.extras["masks"].values()} == {(12, 64, 64)}


def test_subset_takes_all_that_is_of_single_images():
    ds = load("synthetic-objects", n=12)
    ds.extras |= {"words": [[str(i)] for i in range(12)], "names": ("a", "b"), "clipped": 3}
    some = ds.subset([7, 2])
    assert some.ids == [ds.ids[7], ds.ids[2]]
    assert np.array_equal(some.labels, ds.labels[[7, 2]])
    assert all(np.array_equal(a, ds.boxes[i]) for a, i in zip(some.boxes, (7, 2), strict=True))
    assert np.array_equal(some.extras["masks"]["object"], ds.extras["masks"]["object"][[7, 2]])
    assert some.extras["words"] == [["7"], ["2"]]
    assert some.extras["names"] == ("a", "b")
    assert some.extras["clipped"] == 3
    assert some.extras["parts"] == ds.extras["parts"]
    assert np.array_equal(np.asarray(some[0]), ds.images[7])
    assert ds.subset(ds.labels == 1).labels.tolist() == [1] * int((ds.labels == 1).sum())
    assert len(ds.subset([])) == 0


def test_fingerprint_sees_boxes_and_pixels():
    ds = load("synthetic-objects", n=4)
    before = ds.fingerprint
    ds.images[2, 5, 5, 0] ^= 1
    changed = ds.fingerprint
    ds.boxes[1] = ds.boxes[1] + 1
    assert len({before, changed, ds.fingerprint}) == 3


# ---------------------------------------------------------------------------------- Tiny-ImageNet


@pytest.fixture
def tiny(tmp_path):
    """Three classes, 4 training and 2 validation images each, as a folder and as a zip in two roots."""
    base = tmp_path / "unpacked" / "tiny-imagenet-200"
    write(base / "wnids.txt", "".join(f"{w}\n" for w in reversed(WNIDS)))
    write(base / "words.txt", "".join(f"{w}\t{t}\n" for w, t in zip(WNIDS, WORDS, strict=True)))
    for k, wnid in enumerate(WNIDS):
        for i in range(4):
            save_image(base / f"train/{wnid}/images/{wnid}_{i}.JPEG", (64, 64), (40 * k, 60 * i, 0))
        write(base / f"train/{wnid}/{wnid}_boxes.txt", "".join(f"{wnid}_{i}.JPEG\t{i}\t0\t63\t10\n" for i in range(4)))
    for i in range(6):
        save_image(base / f"val/images/val_{i}.JPEG", (64, 64), (0, 0, 40 * i))
    listed = "".join(f"val_{i}.JPEG\t{WNIDS[i % 3]}\t5\t6\t5\t6\n" for i in range(6))
    write(base / "val/val_annotations.txt", listed)
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(packed / "tiny-imagenet-200-small.zip", "w") as archive:
        for path in sorted(base.rglob("*.*")):
            archive.write(path, path.relative_to(base.parent).as_posix())
    return base.parent, packed


def test_tiny_imagenet_reads_folder_and_zip_alike(tiny):
    unpacked, packed = tiny
    for split, count in (("train", 12), ("val", 6)):
        a, b = (load("tiny-imagenet-200", root, split) for root in tiny)
        assert len(a) == count
        assert a.fingerprint == b.fingerprint
        assert a.classes == WNIDS
        assert a.class_names == WORDS
        assert np.array_equal(np.asarray(a[4]), np.asarray(b[4]))
        assert "md5" in b.source
        assert "not the official" in b.source
    assert a.boxes[0].tolist() == [[5, 6, 6, 7]]  # one inclusive pixel is one pixel wide
    assert load("tiny-imagenet-200", unpacked, "train").boxes[3].tolist() == [[3, 0, 64, 11]]
    few = load("tiny-imagenet-200", packed, "train", classes=2, per_class=3)
    assert few.ids == [f"{w}_{i}" for w in WNIDS[:2] for i in range(3)]
    assert pickle.loads(pickle.dumps(few))[5].size == (64, 64)
    assert load("tiny-imagenet-200", packed, "val", classes=2).labels.tolist() == [0, 1, 0, 1]


def test_tiny_imagenet_errors_name_the_file(tiny):
    unpacked, packed = tiny
    base = unpacked / "tiny-imagenet-200"
    (base / "val/images/val_3.JPEG").unlink()
    (base / "val/images/val_4.JPEG").write_bytes((base / "val/images/val_5.JPEG").read_bytes()[:300])
    ds = load("tiny-imagenet-200", unpacked)
    with pytest.raises(FileNotFoundError, match=r"val_3\.JPEG"):
        ds[3]
    with pytest.raises(OSError, match=r"val_4\.JPEG"):
        ds[4]
    write(base / "val/val_annotations.txt", "val_0.JPEG\tn01440764\t5\t6\t64\t9\n")
    with pytest.raises(ValueError, match=r"val_0\.JPEG: box \(5, 6, 65, 10\).*64 x 64"):
        load("tiny-imagenet-200", unpacked)
    write(base / "val/val_annotations.txt", "val_0.JPEG\tn99999999\t5\t6\t63\t9\n")
    with pytest.raises(ValueError, match="n99999999"):
        load("tiny-imagenet-200", unpacked)
    (base / f"train/{WNIDS[1]}/{WNIDS[1]}_boxes.txt").unlink()
    with pytest.raises(FileNotFoundError, match=f"{WNIDS[1]}_boxes.txt"):
        load("tiny-imagenet-200", unpacked, "train")
    whole = packed / "tiny-imagenet-200-small.zip"
    whole.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"tiny-imagenet-200-small\.zip: not a zip"):
        load("tiny-imagenet-200", packed)


def test_corrupt_image_in_a_zip_is_named(tmp_path, tiny):
    unpacked, packed = tiny
    bad = unpacked / "tiny-imagenet-200/val/images/val_2.JPEG"
    with zipfile.ZipFile(packed / "tiny-imagenet-200.zip", "w") as archive:  # the official name comes first
        for path in sorted((unpacked / "tiny-imagenet-200").rglob("*.*")):
            name = path.relative_to(unpacked).as_posix()
            archive.writestr(name, path.read_bytes()[: 200 if path == bad else None])
    ds = load("tiny-imagenet-200", packed)
    with pytest.raises(OSError, match=r"tiny-imagenet-200\.zip/tiny-imagenet-200/val/images/val_2\.JPEG"):
        ds[2]


def test_another_image_under_the_old_name_is_other_data(tmp_path):
    base = tmp_path / "101_ObjectCategories"
    for colour in ("red", "blue"):
        save_image(base / colour / "a.jpg", (8, 8))
    before = load("caltech101", tmp_path, "all")
    keys = before.fingerprint, before.cache_key
    file = base / "red" / "a.jpg"
    os.utime(file, ns=(0, 0))  # written anew, of the same size
    assert (before.fingerprint == keys[0], before.cache_key == keys[1]) == (True, False)
    save_image(file, (80, 60))
    assert load("caltech101", tmp_path, "all").fingerprint != keys[0]
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"red/a\.jpg: no such image"):
        before.fingerprint  # noqa: B018


def test_real_tiny_imagenet(shared_data):
    root = shared_data("tiny-imagenet-200-subset50.zip").parent
    for split, each in (("train", 500), ("val", 50)):
        ds = load("tiny-imagenet-200", root, split)
        assert np.bincount(ds.labels).tolist() == [each] * 50
        assert ds.classes == sorted(ds.classes)
        boxes = np.concatenate(ds.boxes)
        assert boxes.min() == 0
        assert boxes.max() == 64
        assert ds[7].size == (64, 64)
    assert len(set(ds.ids)) == 2500


# ---------------------------------------------------------------------------------- ILSVRC2012


def make_ilsvrc(root: Path, annotations: dict[str, str], layout: str, classes: dict[str, str]) -> None:
    """The tree of a layout with grey images of the sizes that the annotations give."""
    labels = {name: re.search(r"<name>(n\d+)</name>", text)[1] for name, text in annotations.items()}
    for name, text in annotations.items():
        size = tuple(int(re.search(rf"<{side}>(\d+)</{side}>", text)[1]) for side in ("width", "height"))
        image, xml = {
            "flat": (f"ILSVRC2012_img_val/{name}.JPEG", f"ILSVRC2012_bbox_val_v3/val/{name}.xml"),
            "folders": (f"val/{labels[name]}/{name}.JPEG", f"ILSVRC2012_bbox_val_v3/val/{name}.xml"),
            "kaggle": (f"ILSVRC/Data/CLS-LOC/val/{name}.JPEG", f"ILSVRC/Annotations/CLS-LOC/val/{name}.xml"),
        }[layout]
        save_image(root / image, size)
        write(root / xml, text)
    if layout == "kaggle":
        write(root / "LOC_synset_mapping.txt", "".join(f"{w} {t}\n" for w, t in sorted(classes.items())))
        return
    record = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("words", "O"), ("num_children", "i4")]
    count = len(classes)
    synsets = np.array(
        [(count - k, w, t, 0) for k, (w, t) in enumerate(sorted(classes.items()))]
        + [(count + 1, "n00001740", "entity", count)],  # an ancestor
        dtype=record,
    )
    (root / "ILSVRC2012_devkit_t12/data").mkdir(parents=True)
    savemat(root / datasets.ILSVRC_META, {"synsets": synsets})


SMALL_ILSVRC = {
    "ILSVRC2012_val_00000001": voc_xml((50, 40), [("n02084071", 0, 0, 49, 39), ("n02084071", 5, 6, 5, 6)]),
    "ILSVRC2012_val_00000002": voc_xml((30, 60), [("n01440764", 2, 3, 28, 58)]),
    "ILSVRC2012_val_00000003": voc_xml((30, 30), [("n01443537", 1, 1, 9, 9)]),
}
CLASSES = dict(zip(WNIDS, WORDS, strict=True))


def test_ilsvrc_layouts_give_the_same_dataset(tmp_path):
    read = []
    for layout in ("flat", "folders", "kaggle"):
        make_ilsvrc(tmp_path / layout, SMALL_ILSVRC, layout, CLASSES)
        assert datasets.is_available("ilsvrc2012", tmp_path / layout)
        read.append(load("ilsvrc2012", tmp_path / layout))
    for ds in read:
        assert ds.ids == sorted(SMALL_ILSVRC)
        assert ds.labels.tolist() == [2, 0, 1]
        assert ds.classes == WNIDS
        assert ds.class_names == WORDS
        assert ds.sizes.tolist() == [[50, 40], [30, 60], [30, 30]]
        assert ds.boxes[0].tolist() == [[0, 0, 50, 40], [5, 6, 6, 7]]
        assert ds[1].size == (30, 60)
        assert not ds.excluded.any()
        assert "no list of exclusions" in ds.source
    assert len({ds.fingerprint for ds in read}) == 1
    assert datasets.wnid_to_devkit_id(tmp_path / "flat") == dict(zip(WNIDS, (3, 2, 1), strict=True))
    with pytest.raises(FileNotFoundError, match=r"meta\.mat"):
        datasets.wnid_to_devkit_id(tmp_path / "kaggle")


@pytest.mark.parametrize("layout", ["flat", "kaggle"])
def test_ilsvrc_exclusion_list(tmp_path, layout):
    make_ilsvrc(tmp_path, SMALL_ILSVRC, layout, CLASSES)
    folder = "ILSVRC2012_devkit_t12/data" if layout == "flat" else "ILSVRC/devkit/data"
    write(tmp_path / folder / "ILSVRC2014_clsloc_validation_blacklist.txt", "2\n36\n")
    ds = load("ilsvrc2012", tmp_path)
    assert ds.excluded.tolist() == [False, True, False]
    assert "ILSVRC2014_clsloc_validation_blacklist.txt excludes 1" in ds.source


def test_ilsvrc_train(tmp_path):
    make_ilsvrc(tmp_path, SMALL_ILSVRC, "flat", CLASSES)
    with pytest.raises(FileNotFoundError, match="ILSVRC2012_img_train"):
        load("ilsvrc2012", tmp_path, "train")
    for wnid in WNIDS[1:]:
        for i in (10, 9):
            save_image(tmp_path / f"ILSVRC2012_img_train/{wnid}/{wnid}_{i}.JPEG")
    with pytest.raises(ValueError, match=r"1 classes have no folder.*n01440764"):
        load("ilsvrc2012", tmp_path, "train")
    save_image(tmp_path / "ILSVRC2012_img_train/n01440764/n01440764_1.JPEG")
    ds = load("ilsvrc2012", tmp_path, "train")
    assert ds.labels.tolist() == [0, 1, 1, 2, 2]
    assert [len(b) for b in ds.boxes] == [0] * 5
    assert ds[0].size == (40, 30)
    save_image(tmp_path / "ILSVRC2012_img_train/n09999999/n09999999_1.JPEG")
    with pytest.raises(ValueError, match=r"folders.*no class: n09999999"):
        load("ilsvrc2012", tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (voc_xml((30, 60), [("n01440764", 2, 3, 1, 58)]), r"box \(2, 3, 2, 59\)"),
        (voc_xml((30, 60), [("n01440764", 2, 3, 30, 58)]), r"box \(2, 3, 31, 59\).*30 x 60"),
        (voc_xml((30, 60), [("n01440764", -1, 3, 20, 58)]), r"box \(-1, 3, 21, 59\)"),
        (voc_xml((30, 60), [("n01440764", 2, 3, 20, "")]), "lacks a number among xmin, ymin, xmax, ymax"),
        (voc_xml((30, 60), [("n01440764", 2, 3, 9, 9), ("n01443537", 2, 3, 9, 9)]), "expected one class"),
        (voc_xml((30, 60), [("n07777777", 2, 3, 9, 9)]), "n07777777"),
        (voc_xml((30, 60), []), "expected one class"),
        ("<annotation><size>", "malformed XML"),
    ],
)
def test_ilsvrc_bad_annotation_names_its_file(tmp_path, text, message):
    make_ilsvrc(tmp_path, SMALL_ILSVRC, "flat", CLASSES)
    write(tmp_path / "ILSVRC2012_bbox_val_v3/val/ILSVRC2012_val_00000002.xml", text)
    with pytest.raises(ValueError, match=rf"ILSVRC2012_val_00000002\.xml.*{message}"):
        load("ilsvrc2012", tmp_path)


def test_ilsvrc_images_and_annotations_must_match(tmp_path):
    make_ilsvrc(tmp_path, SMALL_ILSVRC, "folders", CLASSES)
    annotation = tmp_path / "ILSVRC2012_bbox_val_v3/val/ILSVRC2012_val_00000002.xml"
    text = annotation.read_text()
    annotation.unlink()
    with pytest.raises(ValueError, match=r"1 images in .* have no annotation in .*: ILSVRC2012_val_00000002"):
        load("ilsvrc2012", tmp_path)
    annotation.write_text(text.replace("n01440764", "n01443537"))  # not the class of the image's folder
    with pytest.raises(ValueError, match=r"00000002\.xml: .*expected one class n01440764"):
        load("ilsvrc2012", tmp_path)
    annotation.write_text(text)
    (tmp_path / "val/n01440764/ILSVRC2012_val_00000002.JPEG").unlink()
    with pytest.raises(ValueError, match=r"1 annotations in .* have no image in .*: ILSVRC2012_val_00000002"):
        load("ilsvrc2012", tmp_path)


def test_real_ilsvrc_annotations(shared_data, tmp_path):
    files = sorted((shared_data("ILSVRC2012_bbox_val_v3") / "val").glob("*.xml"))
    annotations = {file.stem: file.read_text() for file in files}
    listed = json.loads(shared_data("imagenet_classes.json").read_text())
    classes = dict(zip(listed["wnids"], listed["names"], strict=True))
    read = []
    for layout in ("folders", "kaggle"):
        make_ilsvrc(tmp_path / layout, annotations, layout, classes)
        read.append(load("ilsvrc2012", tmp_path / layout))
    ds = read[0]
    assert ds.fingerprint == read[1].fingerprint
    assert ds.classes == read[1].classes == listed["wnids"]
    assert ds.class_names == read[1].class_names
    assert np.array_equal(ds.sizes, read[1].sizes)
    assert (len(ds), sum(map(len, ds.boxes))) == (500, 770)
    assert ds.boxes[0].tolist() == [[111, 108, 442, 194]]  # 111 108 441 193 in the first file
    assert ds.classes[ds.labels[0]] == "n01751748"


# ---------------------------------------------------------------------------------- class folders


def test_random_protocol_over_class_folders(tmp_path):
    base = tmp_path / "101_ObjectCategories"
    for name, count in (("zebra", 33), ("ant", 31), ("BACKGROUND_Google", 5)):
        for i in range(count):
            save_image(base / name / f"image_{i:04d}.jpg", (8 + i, 9))
    write(base / "ant/._image_0001.jpg", "what macOS leaves")
    everything = load("caltech101", tmp_path, "all")
    assert everything.classes == ["ant", "zebra"]
    assert np.bincount(everything.labels).tolist() == [31, 33]
    assert everything.ids[0] == "ant/image_0000"
    assert everything.sizes[5].tolist() == [13, 9]
    train, test = (load("caltech101", tmp_path, split, seed=4) for split in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [30, 30]
    assert set(train.ids) | set(test.ids) == set(everything.ids)
    assert load("caltech101", tmp_path, "train", seed=5).ids != train.ids
    assert len(load("caltech101", tmp_path, "test", per_class=10, test_per_class=7)) == 14
    with pytest.raises(ValueError, match="31 images, 32 are needed"):
        load("caltech101", tmp_path, "train", per_class=31)
    write(base / "ant/image_0003.jpg", "no image")
    with pytest.raises(OSError, match=r"image_0003\.jpg"):
        load("caltech101", tmp_path, "all")


@pytest.mark.parametrize(("name", "most"), [("caltech101", 101), ("caltech256", 256), ("scene15", 15), ("event8", 8)])
def test_a_class_folder_too_many_is_named(tmp_path, name, most):
    base = tmp_path / datasets.REGISTRY[name].needs[0][-1]
    for k in range(most):
        save_image(base / f"class {k:03d}" / "a.jpg", (2, 2))
    assert len(load(name, tmp_path, "all").classes) == most
    save_image(base / "new folder" / "a.jpg", (2, 2))
    with pytest.raises(
        ValueError, match=rf"{base.name}: {most + 1} class folders, expected at most {most}: .*, new folder$"
    ):
        load(name, tmp_path, "all")
    shutil.rmtree(base / "new folder")
    save_image(base / "stray.jpg", (2, 2))
    with pytest.raises(ValueError, match=rf"{base.name}: images lie in no class folder: stray.jpg"):
        load(name, tmp_path, "all")


@pytest.mark.parametrize(
    ("name", "folder", "train", "test"),
    [
        ("caltech256", "256_ObjectCategories", 30, 42),
        ("scene15", "15-Scene", 50, 22),
        ("event8", "event_dataset", 70, 60),
    ],
)
def test_protocols_of_the_paper(tmp_path, name, folder, train, test):
    extra = 60 if name == "event8" else 0  # more than 70 + 60, of which the protocol takes 60
    for category in ("001.ak47", "002.flag", "257.clutter"):
        for i in range(72 + extra):
            save_image(tmp_path / folder / category / f"{i:03d}.jpg", (4, 4))
    assert np.bincount(load(name, tmp_path, "train").labels).tolist() == [train] * 2
    assert np.bincount(load(name, tmp_path, "test").labels).tolist() == [test] * 2
    assert load(name, tmp_path, "all").class_names == ["ak47", "flag"]  # clutter is no class


def test_real_caltech101(shared_data):
    ds = load("caltech101", shared_data("caltech101").parent, "all")
    assert len(ds.classes) == 11
    assert np.bincount(ds.labels).max() == 50
    assert ds[0].size == tuple(ds.sizes[0])


def test_sun397_partitions(tmp_path):
    for category in ("a/abbey", "c/church/indoor", "c/church/outdoor"):
        for i in range(3):
            save_image(tmp_path / f"SUN397/{category}/sun_{i}.jpg")
    lists = tmp_path / "SUN397/Partitions"
    write(lists / "ClassName.txt", "/a/abbey\n/c/church/indoor\n/c/church/outdoor\n")
    for number, held in ((1, 0), (10, 2)):
        for kind, taken in (("Training", {0, 1, 2} - {held}), ("Testing", {held})):
            listed = [f"/{c}/sun_{i}.jpg\n" for c in ("a/abbey", "c/church/indoor") for i in sorted(taken)]
            write(lists / f"{kind}_{number:02d}.txt", "".join(listed))
    assert load("sun397", tmp_path, "test").ids == ["a/abbey/sun_0", "c/church/indoor/sun_0"]
    train = load("sun397", tmp_path, "train", partition=10)
    assert train.ids[:2] == ["a/abbey/sun_0", "a/abbey/sun_1"]
    assert train.classes == ["a/abbey", "c/church/indoor", "c/church/outdoor"]
    assert train.class_names == ["abbey", "church/indoor", "church/outdoor"]
    with pytest.raises(FileNotFoundError, match=r"Training_03\.txt"):
        load("sun397", tmp_path, "train", partition=3)
    save_image(tmp_path / "SUN397/z/zoo/sun_0.jpg")
    with pytest.raises(ValueError, match=r"1 folders in .* are in no list: z/zoo"):
        load("sun397", tmp_path, "train")


def test_readers_agree_with_torchvisions(tmp_path):
    """An independent reader: the same images with the same classes, once its order, that of the disk, is sorted."""
    for name, count in (("zebra", 4), ("ant", 3), ("BACKGROUND_Google", 2)):
        for i in range(1, count + 1):
            save_image(tmp_path / f"caltech101/101_ObjectCategories/{name}/image_{i:04d}.jpg", (8 + i, 9))
    for name, count in (("001.ak47", 2), ("002.bat", 3)):
        for i in range(1, count + 1):
            save_image(tmp_path / f"caltech256/256_ObjectCategories/{name}/{name[:3]}_{i:04d}.jpg", (8 + i, 9))
    for name in ("a/abbey", "c/church/indoor", "c/church/outdoor"):
        for i in (2, 1):
            save_image(tmp_path / f"SUN397/{name}/sun_{i}.jpg", (8 + i, 9))
    write(tmp_path / "SUN397/ClassName.txt", "/a/abbey\n/c/church/indoor\n/c/church/outdoor\n")
    lines = [f"/{c}/sun_{i}.jpg" for c in ("a/abbey", "c/church/indoor", "c/church/outdoor") for i in (1, 2)]
    for kind in ("Training", "Testing"):
        write(tmp_path / f"SUN397/Partitions/{kind}_01.txt", "\n".join(lines))
    for name, reader in (
        ("caltech101", torchvision.datasets.Caltech101), ("caltech256", torchvision.datasets.Caltech256),
        ("sun397", torchvision.datasets.SUN397),
    ):  # fmt: skip
        theirs = reader(tmp_path)
        ours = load(name, tmp_path, "train" if name == "sun397" else "all")
        listed = []
        for i in range(len(theirs)):
            image, label = theirs[i]
            listed.append((label, image.size))
            image.close()  # torchvision leaves it open
        assert sorted(listed) == sorted((k, ours[i].size) for i, k in enumerate(ours.labels))
        assert len(ours) > 4


def test_indoor67_lists(tmp_path):
    base = tmp_path / "indoor67"
    for category in ("attic", "bar"):
        for i in range(3):
            save_image(base / f"Images/{category}/{i}.jpg")
    write(base / "TrainImages.txt", "bar/1.jpg\nattic/0.jpg\n")
    with pytest.raises(FileNotFoundError, match=r"TestImages\.txt"):
        load("indoor67", tmp_path, "train")
    write(base / "TestImages.txt", "attic/2.jpg\n")
    assert load("indoor67", tmp_path, "train").labels.tolist() == [1, 0]
    assert load("indoor67", tmp_path, "test").ids == ["attic/2"]
    save_image(base / "Images/bar/Bar Royal 2.jpg")  # the official lists have such names
    write(base / "TestImages.txt", "attic/2.jpg\nbar/Bar Royal 2.jpg\n")
    assert load("indoor67", tmp_path, "test").ids == ["attic/2", "bar/Bar Royal 2"]
    for text, message in (("attic/2.jpg\nattic/2.jpg\n", "lists 1 images twice: attic/2"), ("\n", "is empty")):
        kept = (base / "TestImages.txt").read_text()
        write(base / "TestImages.txt", text + ("" if text == "\n" else "bar/0.jpg\n"))
        with pytest.raises(ValueError, match=rf"TestImages\.txt: {message}"):
            load("indoor67", tmp_path, "test")
        write(base / "TestImages.txt", kept)
    (base / "TestImages.txt").write_bytes("attic/2.jpg\nbar/caf\xe9.jpg\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"TestImages\.txt: not a text file in UTF-8"):
        load("indoor67", tmp_path, "test")
    write(base / "TestImages.txt", "attic/2.jpg\nbar/0.jpg\n")
    save_image(base / "Images/new/0.jpg")
    with pytest.raises(ValueError, match=r"1 folders in .* are in no list: new"):
        load("indoor67", tmp_path, "train")
    shutil.rmtree(base / "Images/new")
    write(base / "TestImages.txt", "attic/2.jpg\nattic/7.jpg\n")
    with pytest.raises(ValueError, match=r"TestImages\.txt are not in .*: attic/7\.jpg"):
        load("indoor67", tmp_path, "test")
    write(base / "TestImages.txt", "cellar/2.jpg\n")
    with pytest.raises(ValueError, match=r"have no folder in .*: cellar"):
        load("indoor67", tmp_path, "test")


def test_sun_attribute(tmp_path):
    images = ["a/abbey/sun_b.jpg", "a/abbey/sun_a.jpg", "c/cave/sun_c.jpg"]
    for image in images:
        save_image(tmp_path / "SUNAttributeDB_Images/images" / image)
    votes = np.array([[0, 1], [1 / 3, 0], [0, 2 / 3]])
    tables = {
        "images": ("images", np.array([[i] for i in images], object)),
        "attributes": ("attributes", np.array([["cold"], ["natural light "]], object)),
        "attributeLabels_continuous": ("labels_cv", votes),
    }
    (tmp_path / "SUNAttributeDB").mkdir()
    for file, (key, value) in tables.items():
        savemat(tmp_path / f"SUNAttributeDB/{file}.mat", {key: value})
    ds = load("sun-attribute", tmp_path, "all")
    assert ds.ids == ["a/abbey/sun_b", "a/abbey/sun_a", "c/cave/sun_c"]  # the order of the table, whose rows are theirs
    assert ds.labels.tolist() == [0, 0, 1]
    assert np.array_equal(ds.extras["attributes"], votes)
    assert ds.extras["attribute_names"] == ("cold", "natural light")
    savemat(tmp_path / "SUNAttributeDB/attributeLabels_continuous.mat", {"labels_cv": votes[:2]})
    with pytest.raises(ValueError, match="labels_cv"):
        load("sun-attribute", tmp_path, "all")
    file = tmp_path / "SUNAttributeDB/attributeLabels_continuous.mat"
    savemat(file, {"labels_cv": 3 * votes})
    with pytest.raises(ValueError, match=r"attributeLabels_continuous\.mat: labels_cv must be shares"):
        load("sun-attribute", tmp_path, "all")
    for wrong in (lambda: savemat(file, {"labels": votes}), lambda: file.write_bytes(b"no matrix" * 40)):
        wrong()
        with pytest.raises(ValueError, match=r"attributeLabels_continuous\.mat: no MATLAB file with labels_cv"):
            load("sun-attribute", tmp_path, "all")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"attributeLabels_continuous\.mat"):
        load("sun-attribute", tmp_path, "all")
    savemat(file, {"labels_cv": votes})
    save_image(tmp_path / "SUNAttributeDB_Images/images/z/zoo/sun_9.jpg")
    with pytest.raises(ValueError, match=r"are not in images\.mat: z/zoo/sun_9"):
        load("sun-attribute", tmp_path, "all")


def test_action40(tmp_path):
    base = tmp_path / "Stanford40"
    for name in ("riding_a_bike", "cooking"):
        for i in (1, 2, 3):
            save_image(base / f"JPEGImages/{name}_{i:03d}.jpg", (40, 30))
            xml = voc_xml((40, 30), [("person", 36 + i, 3, 20, 4)], tags=("xmax", "xmin", "ymax", "ymin"))
            write(base / f"XMLAnnotations/{name}_{i:03d}.xml", xml)
        write(base / f"ImageSplits/{name}_train.txt", f"{name}_001.jpg\n")
        write(base / f"ImageSplits/{name}_test.txt", f"{name}_002.jpg\n{name}_003.jpg\n")
    write(base / "ImageSplits/train.txt", "cooking_001.jpg\n")  # the official folder has these two as well
    write(base / "ImageSplits/actions.txt", "action_name number\ncooking 3\n")
    train, test = (load("action40", tmp_path, split) for split in ("train", "test"))
    assert train.ids == ["cooking_001", "riding_a_bike_001"]
    assert train.class_names == ["cooking", "riding a bike"]
    assert test.labels.tolist() == [0, 0, 1, 1]
    assert test.extras["person_boxes"][0].tolist() == [[3, 4, 39, 21]]
    assert test.extras["clipped"] == 0
    write(base / "XMLAnnotations/cooking_001.xml", voc_xml((40, 30), [("person", 3, 4, 45, 20)]))
    train = load("action40", tmp_path, "train")
    assert train.extras["person_boxes"][0].tolist() == [[3, 4, 40, 21]]
    assert train.extras["clipped"] == 1
    for text, message in (
        ("cooking_001.jpg\nriding_a_bike_002.jpg\n", "cooking_train.txt: riding_a_bike_002.jpg"),
        ("cooking_001.jpg\ncooking_001.jpg\n", "cooking_001.jpg is listed twice"),
        ("", "cooking_train.txt is empty"),
        ("cooking_001.jpg\ncooking_002.jpg\n", "1 images are in lists of both parts: cooking_002.jpg"),
    ):
        write(base / "ImageSplits/cooking_train.txt", text)
        with pytest.raises(ValueError, match=rf"ImageSplits: .*{message}"):
            load("action40", tmp_path, "train")
    write(base / "ImageSplits/cooking_train.txt", "cooking_001.jpg\n")
    before = load("action40", tmp_path, "train").fingerprint
    write(base / "XMLAnnotations/cooking_001.xml", voc_xml((40, 30), [("person", 3, 4, 25, 20)]))
    assert load("action40", tmp_path, "train").fingerprint != before, "results are measured against these boxes"
    write(base / "XMLAnnotations/cooking_001.xml", "<?xml version='1.0' encoding='foo'?><annotation/>")
    with pytest.raises(ValueError, match=r"cooking_001\.xml: malformed XML"):
        load("action40", tmp_path, "train")
    (base / "XMLAnnotations/cooking_001.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"cooking_001\.xml"):
        load("action40", tmp_path, "train")
    (base / "ImageSplits/cooking_test.txt").unlink()
    with pytest.raises(
        ValueError, match=r"lists ImageSplits/<class>_test\.txt are missing in .*Stanford40, of images of: cooking"
    ):
        load("action40", tmp_path, "test")


def test_cub200(tmp_path):
    base = tmp_path / "CUB_200_2011"
    paths = ["001.Black_footed_Albatross/a.jpg", "001.Black_footed_Albatross/b.jpg", "002.Laysan_Albatross/c.jpg"]
    for path in paths:
        save_image(base / "images" / path, (40, 30))
    write(base / "classes.txt", "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n")
    write(base / "images.txt", "".join(f"{i} {p}\n" for i, p in enumerate(paths, 1)))
    write(base / "image_class_labels.txt", "1 1\n2 1\n3 2\n")
    write(base / "train_test_split.txt", "1 1\n2 0\n3 1\n")
    write(base / "bounding_boxes.txt", "1 2.0 3.0 10.0 12.0\n2 0.0 0.0 40.0 30.0\n3 5.0 6.0 36.0 7.0\n")
    train, test = (load("cub200", tmp_path, split) for split in ("train", "test"))
    assert train.labels.tolist() == [0, 1]
    assert train.class_names == ["Black footed Albatross", "Laysan Albatross"]
    assert [b.tolist() for b in train.boxes] == [[[2, 3, 12, 15]], [[5, 6, 40, 13]]]  # the second ends a pixel outside
    assert test.ids == ["001.Black_footed_Albatross/b"]
    write(base / "bounding_boxes.txt", "1 2.0 3.0 10.0 12.0\n2 0.0 0.0 40.0 30.0\n3 5.0 6.0 37.0 7.0\n")
    with pytest.raises(ValueError, match=r"bounding_boxes\.txt, image 3 .*box \(5, 6, 42, 13\)"):
        load("cub200", tmp_path, "train")
    write(base / "train_test_split.txt", "1 1\n2 0\n")
    with pytest.raises(ValueError, match=r"not in train_test_split\.txt: 3"):
        load("cub200", tmp_path, "train")
    for file, text, message in (
        ("train_test_split", "1 1\n2 0\n3 2\n", r"marks are \['0', '1', '2'\], expected 0 and 1"),
        ("train_test_split", "1 1\n2 0\n3\n", "expected a number and 1 more in a line, got '3'"),
        ("image_class_labels", "1 1\n2 1\n3 9\n", "image 3 is of another class"),
        ("bounding_boxes", "1 2 3 10 12\n2 0 0 40 30\n3 5 6 x 7\n", "could not convert.*x"),
    ):
        kept = (base / f"{file}.txt").read_text()
        write(base / f"{file}.txt", text)
        with pytest.raises(ValueError, match=rf"{file}\.txt: .*{message}"):
            load("cub200", tmp_path, "train")
        write(base / f"{file}.txt", "1 1\n2 0\n3 1\n" if file == "train_test_split" else kept)
    save_image(base / "images/003.New/d.jpg")
    with pytest.raises(ValueError, match=r"1 images in .*CUB_200_2011 are not in images\.txt: 003\.New/d\.jpg"):
        load("cub200", tmp_path, "train")
    (base / "train_test_split.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"train_test_split\.txt"):
        load("cub200", tmp_path, "train")


def svt_image(name: str, *words) -> str:
    tags = "".join(
        f'<taggedRectangle height="{h}" width="{w}" x="{x}" y="{y}"><tag>{text}</tag></taggedRectangle>'
        for text, x, y, w, h in words
    )
    return f"<image><imageName>img/{name}</imageName><taggedRectangles>{tags}</taggedRectangles></image>"


def test_street_view_text(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        save_image(tmp_path / "svt1/img" / name, (40, 30))
    write(tmp_path / "svt1/train.xml", f"<tagset>{svt_image('b.jpg', ('CAFE', 1, 2, 10, 5))}</tagset>")
    words = (("OUT", 50, 2, 10, 5), ("BAR", -2, 2, 10, 5), ("INN", 3, 3, 4, 4))
    write(tmp_path / "svt1/test.xml", f"<tagset>{svt_image('a.jpg', *words)}</tagset>")
    assert load("svt", tmp_path, "train").boxes[0].tolist() == [[1, 2, 11, 7]]
    test = load("svt", tmp_path, "test")
    assert test.boxes[0].tolist() == [[0, 2, 8, 7], [3, 3, 7, 7]]
    assert test.extras == {"words": [["BAR", "INN"]], "clipped": 2}
    assert load("svt", tmp_path, "all").ids == ["img/b", "img/a"]
    write(tmp_path / "svt1/test.xml", f"<tagset>{svt_image('a.jpg', ('BAR', 'x', 2, 10, 5))}</tagset>")
    with pytest.raises(ValueError, match=r"test\.xml.*lacks a number"):
        load("svt", tmp_path, "test")
    for text in (svt_image("a.jpg") * 2, "<image><address/></image>"):
        write(tmp_path / "svt1/test.xml", f"<tagset>{text}</tagset>")
        with pytest.raises(ValueError, match=r"test\.xml: expected each image once, with its imageName"):
            load("svt", tmp_path, "test")
    write(tmp_path / "svt1/test.xml", "<tagset>")
    with pytest.raises(ValueError, match=r"test\.xml: malformed XML"):
        load("svt", tmp_path, "test")


def labelme(*objects) -> str:
    nodes = "".join(
        f"<object><name>{name}</name><deleted>{deleted}</deleted><polygon>"
        + "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in points)
        + "</polygon></object>"
        for name, deleted, points in objects
    )
    return f"<annotation><filename>x.jpg</filename>{nodes}</annotation>"


def test_sun2012_polygons(tmp_path):
    base = tmp_path / "SUN2012"
    for image in ("a/abbey/sun_1", "k/kitchen/sun_2"):
        save_image(base / f"Images/{image}.jpg", (40, 30))
    triangle = [(5, 6), (15, 6), (10, 20)]
    text = labelme(
        ("\nsofa ", 0, triangle), ("lamp", 1, triangle), ("rug", 0, triangle[:2]),
        ("wall", 0, [(-3, 0), (50, 0), (50, 9)]), ("cat", 0, [(50, 0), (60, 0), (60, 9)]), (" ", 0, triangle),
    )  # fmt: skip
    write(base / "Annotations/a/abbey/sun_1.xml", text)
    with pytest.raises(ValueError, match=r"1 images in .* have no annotation in .*: k/kitchen/sun_2"):
        load("sun2012", tmp_path, "all")
    write(base / "Annotations/k/kitchen/sun_2.xml", labelme())
    ds = load("sun2012", tmp_path, "all")
    assert ds.boxes[0].tolist() == [[5, 6, 15, 20], [0, 0, 40, 9]]
    assert ds.boxes[1].shape == (0, 4)
    assert ds.extras["objects"] == [["sofa", "wall"], []]
    assert ds.extras["polygons"][0][0].tolist() == [list(p) for p in triangle]
    assert (ds.extras["skipped"], ds.extras["clipped"]) == (3, 1)
    assert ds.source.endswith("3 polygons skipped, 1 cut at the border")
    write(base / "Annotations/k/kitchen/sun_2.xml", labelme(("pot & pan", 0, triangle)))
    with pytest.raises(ValueError, match=r"sun_2\.xml: malformed XML"):
        load("sun2012", tmp_path, "all")
