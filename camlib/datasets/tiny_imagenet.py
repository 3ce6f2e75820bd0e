"""Tiny-ImageNet-200: 200 classes of ImageNet at 64 x 64 pixels, unpacked or as its zip.

Lists of boxes: file, (wnid,) x0 y0 x1 y1, tab-separated; inclusive pixels from 0 (of 25,000 boxes 8,835 begin at x = 0,
10,405 end at x = 63, none lies beyond)

tiny-imagenet-200/wnids.txt               n02124075
tiny-imagenet-200/words.txt               n00001740	entity
tiny-imagenet-200/train/<wnid>/<wnid>_boxes.txt    n01443537_0.JPEG	0	10	63	58
tiny-imagenet-200/val/val_annotations.txt          val_0.JPEG	n03444034	0	32	44	62
tiny-imagenet-200/{train/<wnid>,val}/images/*.JPEG
"""

import hashlib
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from camlib.datasets.archives import UNREADABLE_MEMBER
from camlib.datasets.base import Archive, Dataset, Source
from camlib.datasets.imagenet import RESEARCH
from camlib.datasets.parsing import check_inside, read_cells, read_pairs

TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


def read(name: str, split: str, places: Mapping[str, Path], *, classes: int | None, per_class: int | None) -> Dataset:
    """Tiny-ImageNet-200 from its folder or its zip.

    classes, per_class: read only the first n wnids, the first n images of each.
    """
    place = places["images"]
    base: Path | zipfile.Path = place
    source, archive, prefix = f"folder {place.name}", None, str(place)
    if place.is_file():
        md5 = hashlib.md5(place.read_bytes(), usedforsecurity=False).hexdigest()
        source = f"{place.name}, md5 {md5} ({'the official' if md5 == TINY_MD5 else 'not the official'} archive)"
        archive, prefix = str(place), "tiny-imagenet-200"
        try:
            base = zipfile.Path(place, f"{prefix}/")
        except UNREADABLE_MEMBER as error:
            raise ValueError(f"{place}: not a zip file, perhaps an incomplete download ({error})") from error
    if not (base / "wnids.txt").is_file():
        raise FileNotFoundError(f"{place}: expected wnids.txt, words.txt, train and val in its folder {prefix}")
    words = read_pairs(base / "words.txt", "\t")
    known = sorted(cells[0] for cells in read_cells(base / "wnids.txt"))
    if classes is not None and classes > len(known):
        raise ValueError(f"{name}: classes is {classes}; {base / 'wnids.txt'} lists {len(known)}")
    index = {wnid: k for k, wnid in enumerate(known[:classes])}

    if split == "train":
        lists = {wnid: f"train/{wnid}/{wnid}_boxes.txt" for wnid in index}
        rows = [[f"train/{w}", c[0], w, *c[1:]] for w, listed in lists.items() for c in read_cells(base / listed)]
    else:
        rows = [["val", *cells] for cells in read_cells(base / "val/val_annotations.txt")]
    kept, seen = [], Counter[str]()
    for row in rows:  # (folder, file, wnid, x0, y0, x1, y1)
        if len(row) != 7 or row[2] not in known or not all(c.isdigit() for c in row[3:]):
            raise ValueError(f"{base / row[0]}: expected file, wnid and 4 pixels in the list of boxes, got {row[1:]}")
        seen[row[2]] += 1
        if row[2] in index and (per_class is None or seen[row[2]] <= per_class):
            kept.append(row)
    corners = np.array([row[3:] for row in kept], np.float64).reshape(-1, 4)
    boxes = list(np.add(corners, (0, 0, 1, 1))[:, None])  # inclusive in the file
    sizes = np.full((len(kept), 2), 64)
    files = [f"{prefix}/{row[0]}/images/{row[1]}" for row in kept]
    check_inside(boxes, sizes, files)
    return Dataset(
        name, split, [row[1].rpartition(".")[0] for row in kept], np.array([index[row[2]] for row in kept], np.int64),
        list(index), [words.get(wnid, wnid) for wnid in index], boxes, sizes, source, files=files, archive=archive,
    )  # fmt: skip


SOURCES = {
    "tiny-imagenet-200": Source(
        read,
        ("train", "val"),
        RESEARCH,
        required={"images": ("tiny-imagenet-200", "tiny-imagenet-200*.zip")},
        archives=(
            Archive(
                "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "tiny-imagenet-200", TINY_MD5, size=248_100_043
            ),
        ),
        get="free; it may stay packed",
        protocol="official",
        classes=200,
        images={"train": 100_000, "val": 10_000},
        options={"classes": None, "per_class": None},
    ),
}
