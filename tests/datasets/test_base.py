"""What all datasets share: the registry, errors, subsets, fingerprints, random splits."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torchvision
from builders import dataset_of, save_image, write
from hypothesis import given, strategies as st

from camlib import datasets, store
from camlib.datasets import load


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


@pytest.mark.parametrize("name", [name for name, source in datasets.REGISTRY.items() if source.required])
def test_missing_data_says_file_place_and_source(name, tmp_path):
    assert not datasets.is_available(name, tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        load(name, tmp_path, datasets.REGISTRY[name].splits[0])
    message = str(error.value)
    assert message == datasets.describe_missing(name, tmp_path)
    assert str(tmp_path) in message
    for places in datasets.REGISTRY[name].required.values():
        assert places[0] in message
    assert re.search(r"image-net\.org|https?://", message)
    assert "terms: " in message


def test_readme_names_every_dataset():
    text = (store.PROJECT_ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for name, source in datasets.REGISTRY.items():
        assert f"`{name}`" in text
        assert all(archive.md5 in text for archive in source.archives)


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


def test_subset_takes_all_that_is_of_single_images():
    ds = load("synthetic-objects", n=12)
    ds.extras["words"] = [[str(i)] for i in range(12)]
    ds.info["clipped"] = 3
    some = ds.subset([7, 2])
    assert some.ids == [ds.ids[7], ds.ids[2]]
    assert np.array_equal(some.labels, ds.labels[[7, 2]])
    assert all(np.array_equal(a, ds.boxes[i]) for a, i in zip(some.boxes, (7, 2), strict=True))
    assert np.array_equal(some.extras["masks"]["object"], ds.extras["masks"]["object"][[7, 2]])
    assert some.extras["words"] == [["7"], ["2"]]
    assert some.info == ds.info
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


def test_another_image_under_the_old_name_is_other_data(tmp_path):
    base = tmp_path / "101_ObjectCategories"
    for colour in ("red", "blue"):
        save_image(base / colour / "a.jpg", (8, 8))
    before = load("caltech101", tmp_path, "all")
    keys = before.fingerprint, before.cache_key
    file = base / "red" / "a.jpg"
    os.utime(file, ns=(0, 0))  # written anew, of the same size
    assert (before.fingerprint, before.cache_key) == keys, "the files are looked at once per object"
    after = load("caltech101", tmp_path, "all")
    assert (after.fingerprint == keys[0], after.cache_key == keys[1]) == (True, False)
    save_image(file, (80, 60))
    assert load("caltech101", tmp_path, "all").fingerprint != keys[0]
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"red/a\.jpg: no such image"):
        replace(before).fingerprint  # noqa: B018


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


def test_classes_with_few_images_go():
    rooms = dataset_of(np.zeros((7, 4, 4, 3), np.uint8), [2, 0, 2, 1, 2, 0, 3])
    kept = datasets.keep_classes(rooms, 2)
    assert kept.classes == ["class 0", "class 2"]
    assert kept.ids == ["0", "1", "2", "4", "5"]
    assert kept.labels.tolist() == [1, 0, 1, 1, 0]
    names = ["m/misc", "misc", "o/outliers", "o/office"]
    others = replace(rooms, classes=names, class_names=names, info={"no_class": names[:3]})
    assert datasets.keep_classes(others, 1).classes == ["o/office"]
    with pytest.raises(ValueError, match="planted: no class has 4 images; the largest has 3"):
        datasets.keep_classes(rooms, 4)


def test_crops_are_cut_from_the_original(folder_dataset):
    boxes = np.array([[1.5, 2, 9.2, 12]] * 6 + [[-5, -5, 500, 500]])
    cropped = datasets.crop_images(folder_dataset, boxes)
    assert isinstance(cropped, datasets.Dataset)
    assert cropped.sizes[0].tolist() == [9, 10]
    assert cropped[0].tobytes() == folder_dataset[0].crop((1, 2, 10, 12)).tobytes()
    assert cropped[6].size == folder_dataset[6].size
    part = cropped.subset([6, 3])
    assert part[1].tobytes() == cropped[3].tobytes()
    assert part.labels.tolist() == folder_dataset.labels[[6, 3]].tolist()
    other = datasets.crop_images(folder_dataset, boxes + np.array([0, 0, 1, 0]))
    assert len({folder_dataset.fingerprint, cropped.fingerprint, other.fingerprint, part.fingerprint}) == 4
    assert cropped.fingerprint == datasets.crop_images(folder_dataset, boxes).fingerprint
    with pytest.raises(ValueError, match=r"expected finite \(7, 4\)"):
        datasets.crop_images(folder_dataset, boxes[:3])
    with pytest.raises(ValueError, match="finite"):
        datasets.crop_images(folder_dataset, boxes * np.nan)
