"""CUB-200-2011: 200 species of birds, one box per image, an official split.

CUB_200_2011/images.txt               1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg
CUB_200_2011/image_class_labels.txt   1 1
CUB_200_2011/train_test_split.txt     1 0                      (1: to train)
CUB_200_2011/bounding_boxes.txt       1 60.0 27.0 325.0 304.0  (x, y, width, height)
CUB_200_2011/classes.txt              1 001.Black_footed_Albatross
CUB_200_2011/images/<class>/*.jpg

A box lies between edges, which count from 0, so x + width is its right edge: of the 180 boxes whose photographs are at
hand 2 begin at an edge of 0 and 3 end exactly at that of the photograph; none goes beyond.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from camlib.datasets.base import Archive, Dataset, Source
from camlib.datasets.imagenet import RESEARCH
from camlib.datasets.parsing import build_folder_dataset, check_inside, check_same, class_of, read_cells, walk_images

# How many cells follow the number in each line.
CELLS = {"images": 1, "image_class_labels": 1, "train_test_split": 1, "bounding_boxes": 4, "classes": 1}


def read(name: str, split: str, places: Mapping[str, Path]) -> Dataset:
    """The official training or test images. A box may lie up to 1 px outside its image; it is clipped."""
    base = places["base"]
    table: dict[str, dict[str, list[str]]] = {}
    for key, count in CELLS.items():
        rows = read_cells(places[key])
        bad = [" ".join(row) for row in rows if len(row) != count + 1]
        if bad:
            raise ValueError(f"{places[key]}: expected a number and {count} more in a line, got {bad[0]!r}")
        table[key] = {cells[0]: cells[1:] for cells in rows}
    for key in ("image_class_labels", "train_test_split", "bounding_boxes"):
        check_same(
            table["images"], table[key], f"numbers of images.txt are not in {key}.txt", f"numbers in {key}.txt only"
        )
    paths = {number: cells[0] for number, cells in table["images"].items()}
    on_disk = walk_images(base / "images")
    check_same(on_disk, paths.values(), f"images in {base} are not in images.txt", f"images not in {base}")
    marks = {number: cells[0] for number, cells in table["train_test_split"].items()}
    if not set(marks.values()) <= {"0", "1"}:
        raise ValueError(f"{base}/train_test_split.txt: marks are {sorted(set(marks.values()))}, expected 0 and 1")
    chosen = [number for number, mark in marks.items() if (mark == "1") == (split == "train")]
    for number in chosen:
        if table["classes"].get(table["image_class_labels"][number][0]) != [class_of(paths[number])]:
            raise ValueError(f"{base}/image_class_labels.txt: image {number} is of another class than its folder")
    try:
        corners = np.array([table["bounding_boxes"][number] for number in chosen], np.float64).reshape(-1, 4)
    except ValueError as error:
        raise ValueError(f"{base}/bounding_boxes.txt: {error}") from error
    corners[:, 2:] += corners[:, :2]  # x, y, width, height in the file
    classes = sorted(cells[0] for cells in table["classes"].values())
    dataset = build_folder_dataset(name, split, base / "images", [paths[number] for number in chosen], classes)
    names = [f"{base}/bounding_boxes.txt, image {number} ({paths[number]})" for number in chosen]
    check_inside(
        list(corners[:, None]), dataset.sizes, names, slack=1
    )  # of the other classes' boxes only lists were at hand
    dataset.boxes = list(corners.clip(0, np.tile(dataset.sizes, 2))[:, None])
    return dataset


SOURCES = {
    "cub200": Source(
        read,
        ("train", "test"),
        RESEARCH,
        required={"base": ("CUB_200_2011",), **{key: (f"CUB_200_2011/{key}.txt",) for key in CELLS}},
        archives=(
            Archive(
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                "CUB_200_2011",
                "97eceeb196236b17998738112f37df78",
                size=1_150_585_339,
            ),
        ),
        protocol="official",
        classes=200,
        images={"train": 5994, "test": 5794},
    )
}
