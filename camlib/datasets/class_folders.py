"""Datasets that are one folder per class, without lists: Caltech-101 and -256, Scene-15, UIUC Event-8.

    caltech101/101_ObjectCategories/<class>/image_0001.jpg    or 101_ObjectCategories/
    caltech256/256_ObjectCategories/001.ak47/001_0001.jpg     or 256_ObjectCategories/
    scene15/<class>/image_0001.jpg                            or 15-Scene/
    event_dataset/<class>/<anything>.jpg                      or event8/

`BACKGROUND_Google` and `257.clutter` are left out. There are no boxes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from camlib.datasets.base import Archive, Dataset, Source, random_split
from camlib.datasets.imagenet import RESEARCH
from camlib.datasets.parsing import build_folder_dataset, class_of, walk_images

CLASSES = {"caltech101": 101, "caltech256": 256, "scene15": 15, "event8": 8}
IMAGES = {"caltech101": 8_677, "caltech256": 29_780, "scene15": 4_485}  # without what is no class


def read(
    name: str, split: str, places: Mapping[str, Path], *, seed: int, per_class: int, test_per_class: int | None
) -> Dataset:
    """One folder per class. "train" and "test" draw `per_class` images at random with `seed`; "all" is everything.

    Fewer classes than the dataset has are allowed and said so; more are an error.
    """
    base, most = places["images"], CLASSES[name]
    images = [image for image in walk_images(base) if class_of(image) not in ("BACKGROUND_Google", "257.clutter")]
    classes = sorted({class_of(image) for image in images})
    if nested := [c for c in classes if "/" in c]:
        raise ValueError(f"{base}: {', '.join(nested[:5])} is no class folder; expected images in {base.name}/<class>/")
    if "" in classes:
        raise ValueError(f"{base}: images lie in no class folder: {', '.join(i for i in images if '/' not in i)}")
    if len(classes) > most:
        raise ValueError(f"{base}: {len(classes)} class folders, expected at most {most}: {', '.join(classes)}")
    if split != "all":
        labels = np.array([classes.index(class_of(image)) for image in images])
        chosen = random_split(labels, per_class, test_per_class, seed, name)[split == "test"]
        images = [images[i] for i in chosen]
    part = f" of {len(classes)} of its {most} classes" if len(classes) < most else ""
    source = f"folder {base.name}, {len(images)} images{part}" + (f" of random split {seed}" if split != "all" else "")
    return build_folder_dataset(name, split, base, images, classes, source=source)


def _source(
    name: str, place: tuple[str, ...], licence: str, train: int, test: int | None, *archives: Archive, **given: Any
) -> Source:
    return Source(
        read,
        ("train", "test", "all"),
        licence,
        required={"images": place},
        archives=archives,
        protocol="draws",
        classes=CLASSES[name],
        images={"all": IMAGES[name]} if name in IMAGES else {},
        options={"seed": 0, "per_class": train, "test_per_class": test},
        **given,
    )


_CALTECH = "https://data.caltech.edu/records/"
SOURCES = {
    "caltech101": _source(
        "caltech101",
        ("caltech101/101_ObjectCategories", "caltech-101/101_ObjectCategories", "101_ObjectCategories"),
        "CC BY 4.0",
        30,
        None,
        Archive(f"{_CALTECH}mzrjq-6wc02/files/caltech-101.zip", "caltech-101", "3138e1922a9193bfa496528edbbc45d0"),
    ),
    "caltech256": _source(
        "caltech256",
        ("caltech256/256_ObjectCategories", "256_ObjectCategories"),
        "CC BY 4.0",
        30,
        None,
        Archive(
            f"{_CALTECH}nyy15-4j048/files/256_ObjectCategories.tar",
            "caltech256/256_ObjectCategories",
            "67b4f42ca05d46448c6bb8ecd2220f6d",
        ),
    ),
    "scene15": _source(
        "scene15",
        ("scene15", "15-Scene"),
        "CC BY 4.0",
        50,
        None,
        get="download the archive of https://figshare.com/articles/dataset/7007177 and unpack it as scene15/<class>/",
        by_hand=True,
    ),
    "event8": _source(
        "event8",
        ("event_dataset", "event8"),
        RESEARCH,
        70,
        60,
        Archive("http://vision.stanford.edu/lijiali/event_dataset/event_dataset.rar", "event_dataset"),
        get="a .rar is not unpacked for you: `unrar x event_dataset.rar` in the data folder",
    ),
}
