"""Caltech, Scene-15 and Event-8 against small trees and real files."""

import shutil

import numpy as np
import pytest
from builders import save_image, write

from camlib import datasets
from camlib.datasets import load


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
    base = tmp_path / datasets.REGISTRY[name].required["images"][-1]
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
