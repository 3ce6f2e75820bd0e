"""COCO: photographs with five captions each, and the outlines of objects of 80 categories.

coco/val2017/000000000139.jpg                       and train2017/, or coco/images/val2017/
coco/annotations/captions_val2017.json              and captions_train2017.json
    {"images": [{"id": 139, "file_name": "000000000139.jpg", "height": 426, "width": 640}],
     "annotations": [{"image_id": 139, "id": 67352, "caption": "A woman stands in the dining area at the table."}]}
coco/annotations/instances_val2017.json             and instances_train2017.json
    {"images": [as above], "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
     "annotations": [{"image_id": 139, "id": 1, "category_id": 1, "iscrowd": 0, "bbox": [412.8, 157.61, 53.05, 138.01],
                      "segmentation": [[428.19, 219.47, 430.94, 209.57, 430.39, 210.12]]}]}

A box is x, y, width, height between edges, which count from 0: x + width is the largest x of its outline to the last
digit, so nothing is added. The outline of a crowd (iscrowd 1) is a run-length code: {"counts": ..., "size": [h, w]}.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from camlib.datasets.base import Archive, Dataset, Source
from camlib.datasets.parsing import build_folder_dataset, check_same, clip_boxes, find_twice, need_place, walk_images


def _read_json(path: Path, *keys: str) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in keys if not isinstance(table[key], list)]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected JSON with the lists {', '.join(keys)} ({error!r})") from error
    if missing:
        raise ValueError(f"{path}: {missing[0]} is no list")
    return table


def read(name: str, split: str, places: Mapping[str, Path]) -> Dataset:
    """All images of a split. One class, "image". Boxes are those of single objects, not of crowds.

    extras: `captions`, one text per image, a line per caption; `objects`, N lists of category names; `segments`, N
    lists of outlines, as in the JSON. info: `clipped`, the number of boxes cut at the border or lost.
    """
    folder, root = places["annotations"], places["root"]
    files = {kind: need_place(name, folder, f"{kind}_{split}2017.json") for kind in ("captions", "instances")}
    captions = _read_json(files["captions"], "images", "annotations")
    instances = _read_json(files["instances"], "images", "annotations", "categories")
    pictures = need_place(name, root, f"coco/{split}2017", f"coco/images/{split}2017")
    try:
        listed = {image["id"]: image for image in captions["images"]}
        names = [image["file_name"] for image in listed.values()]
        sizes = np.array([(image["width"], image["height"]) for image in listed.values()], np.int64)
        said = defaultdict(list)
        for entry in captions["annotations"]:
            said[entry["image_id"]].append(" ".join(entry["caption"].split()))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{files['captions']}: an entry lacks {error}") from error
    if twice := find_twice(names) or find_twice(str(image["id"]) for image in captions["images"]):
        raise ValueError(f"{files['captions']}: expected each image once; {twice[0]} is listed twice")
    check_same(
        map(str, said), map(str, listed), f"images of captions in {files['captions']} are not listed there",
        f"images of {files['captions']} have no caption",
    )  # fmt: skip
    check_same(set(names) - set(walk_images(pictures)), (), f"images of {files['captions']} are not in {pictures}", "")
    found = _read_instances(files["instances"], instances, set(listed))
    boxes, clipped = [], 0
    for key, size in zip(listed, sizes, strict=True):
        kept, _, cut = clip_boxes([box for _, _, box in found[key] if box is not None], size)
        boxes.append(kept)
        clipped += cut
    extras = {
        "captions": ["\n".join(said[key]) for key in listed],
        "objects": [[category for category, _, _ in found[key]] for key in listed],
        "segments": [[outline for _, outline, _ in found[key]] for key in listed],
    }
    return build_folder_dataset(
        name, split, pictures, names, ["image"], labels=np.zeros(len(names), np.int64), sizes=sizes, boxes=boxes,
        source=f"folder {pictures.name}, {len(names)} images, {clipped} boxes cut or lost at the border",
        extras=extras, info={"clipped": clipped},
    )  # fmt: skip


def _read_instances(path: Path, table: dict[str, Any], listed: set[int]) -> dict[int, list[tuple[str, Any, Any]]]:
    """Image -> (category, outline, corners of the box or None for a crowd) of each of its objects."""
    found: dict[int, list[tuple[str, Any, Any]]] = defaultdict(list)
    try:
        categories = {entry["id"]: entry["name"] for entry in table["categories"]}
        for entry in table["annotations"]:
            x, y, width, height = entry["bbox"]
            box = None if entry["iscrowd"] else (x, y, x + width, y + height)
            found[entry["image_id"]].append((categories[entry["category_id"]], entry["segmentation"], box))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: an entry is malformed or lacks {error}") from error
    if strange := sorted(set(found) - listed):
        raise ValueError(f"{path}: {len(strange)} images have objects and no caption: {strange[0]}")
    return found


_COCO = "http://images.cocodataset.org/"
SOURCES = {
    "coco": Source(
        read,
        ("train", "val"),
        "annotations CC BY 4.0; photographs on the terms of Flickr",
        required={
            "annotations": ("coco/annotations",),
            "captions": ("coco/annotations/captions_val2017.json",),
            "instances": ("coco/annotations/instances_val2017.json",),
            "images": ("coco/val2017", "coco/images/val2017"),
        },
        to_train={
            "training captions": ("coco/annotations/captions_train2017.json",),
            "training instances": ("coco/annotations/instances_train2017.json",),
            "training images": ("coco/train2017", "coco/images/train2017"),
        },
        archives=(
            Archive(
                f"{_COCO}zips/val2017.zip",
                "coco/val2017",
                sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                size=815_585_330,
            ),
            Archive(
                f"{_COCO}annotations/annotations_trainval2017.zip",
                "coco/annotations",
                sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
                size=252_907_541,
            ),
            Archive(
                f"{_COCO}zips/train2017.zip",
                "coco/train2017",
                sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
                size=19_336_861_798,
            ),
        ),
        classes=1,
        images={"train": 118287, "val": 5000},
    )
}
