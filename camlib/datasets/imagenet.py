"""ImageNet: the ILSVRC2012 localization set, single photographs; the devkit's submission files.

ILSVRC2012, the official archives, each unpacked into a folder of its name

    ILSVRC2012_img_val/            ILSVRC2012_val_00000001.JPEG ..., flat or in folders by wnid (`val/` will do too)
    ILSVRC2012_bbox_val_v3/val/    ILSVRC2012_val_00000001.xml ...
    ILSVRC2012_devkit_t12/data/    meta.mat: the classes, their words, the devkit's own class numbers
    ILSVRC2012_img_train/<wnid>/   to train only (`train/` will do too)

or Kaggle's tree as it is

    ILSVRC/Data/CLS-LOC/{train/<wnid>,val}/    ILSVRC/Annotations/CLS-LOC/val/    LOC_synset_mapping.txt

An annotation: inclusive pixels from 0; the readers add 1 to xmax and ymax. Of the 80,477 boxes 11,159 begin at 0,
11,197 end at the last pixel, none lies beyond.

    <annotation><size><width>500</width><height>375</height></size>
      <object><name>n01751748</name>
        <bndbox><xmin>111</xmin><ymin>108</ymin><xmax>441</xmax><ymax>193</ymax></bndbox></object></annotation>

LOC_synset_mapping.txt

    n01440764 tench, Tinca tinca
    n01443537 goldfish, Carassius auratus
    n01484850 great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias

A list of the images that are left out of localization, ILSVRC20xx_clsloc_validation_blacklist.txt (xx from 13), comes
with the development kits of later years: one number per line. Without it no image is excluded.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from camlib.datasets.base import NO_BOXES, Archive, Dataset, Source, first_of_each
from camlib.datasets.parsing import (
    build_folder_dataset,
    check_inside,
    check_same,
    class_of,
    keep_arrays,
    need_place,
    parse_xml,
    read_cells,
    read_columns,
    read_matlab,
    read_numbers,
    read_pairs,
    read_voc_boxes,
    show_progress,
    walk_images,
)
from camlib.store import data_root, digest, digest_code, write_aside

RESEARCH = "non-commercial research; the photographs belong to their owners"
ILSVRC_META = "ILSVRC2012_devkit_t12/data/meta.mat"


def _devkit_synsets(meta: Path) -> dict[str, tuple[int, str]]:
    """wnid -> (devkit ID 1..1000, words) of the classes; their ancestors, which have children, are left out."""
    synsets = np.atleast_1d(read_matlab(meta, "synsets"))
    try:
        return {str(s["WNID"]): (int(s["ILSVRC2012_ID"]), str(s["words"])) for s in synsets if s["num_children"] == 0}
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{meta}: synsets lack WNID, ILSVRC2012_ID, words or num_children ({error})") from error


def wnid_to_devkit_id(root: str | Path | None = None) -> dict[str, int]:
    """wnid -> ILSVRC2012_ID (1..1000), the class numbers of submission files (not the order of the sorted wnids).

    Reads the development kit's meta.mat. Raises FileNotFoundError if it is missing.
    """
    meta = need_place("ilsvrc2012", data_root() if root is None else Path(root), ILSVRC_META)
    return {wnid: number for wnid, (number, _) in sorted(_devkit_synsets(meta).items())}


def _read_words(places: Mapping[str, Path]) -> dict[str, str]:
    """wnid -> words of the classes; empty if neither the development kit nor Kaggle's list is there."""
    if "meta" in places:
        return {wnid: text for wnid, (_, text) in _devkit_synsets(places["meta"]).items()}
    return read_pairs(places["mapping"], " ") if "mapping" in places else {}


def read_ilsvrc(name: str, split: str, places: Mapping[str, Path], per_class: int | None = None) -> Dataset:
    """ILSVRC2012 in either layout; both give the same Dataset. Boxes exist for the validation images alone.

    per_class: of the training images only the first n of each class.
    """
    words = _read_words(places)
    place = places["images"] if split == "val" else need_place(name, places["root"], *ILSVRC.to_train["train"])
    images = sorted(walk_images(place), key=lambda image: image.rpartition("/")[2])
    if split != "train" and per_class is not None:
        raise ValueError(f"{name}: per_class is of the training images; the split is {split!r}")
    if per_class is not None:
        _, labels = np.unique([class_of(image) for image in images], return_inverse=True)
        images = [images[i] for i in np.sort(first_of_each(labels, np.arange(len(images)), per_class))]
    stems = [image.rpartition("/")[2].rpartition(".")[0] for image in images]
    wnids = [class_of(image) for image in images]
    source = f"{place.relative_to(places['root']).as_posix()}, {len(images)} images"
    given: dict[str, Any] = {"sizes": np.zeros((len(images), 2))}
    if split == "val":
        given |= _read_annotations(places["boxes"], place, stems, wnids, set(words))
        excluded = places.get("excluded")
        numbers = {int(cells[0]) for cells in read_cells(excluded)} if excluded else set()
        given["excluded"] = np.array([int(stem.rpartition("_")[2]) in numbers for stem in stems], bool)
        source += f", boxes {places['boxes'].relative_to(places['root']).as_posix()}, "
        source += f"{excluded.name} excludes {given['excluded'].sum()}" if excluded else "no list of exclusions"
    classes = sorted(words or set(wnids))
    if split == "train":
        check_same(wnids, classes, f"folders in {place} are no class", f"classes have no folder in {place}")
    index = {wnid: k for k, wnid in enumerate(classes)}
    given |= {"ids": stems, "labels": np.array([index[wnid] for wnid in wnids], np.int64)}
    given["source"] = source if words else f"{source}, classes taken from the images because {ILSVRC_META} is missing"
    names = [words.get(wnid, wnid) for wnid in classes]
    return build_folder_dataset(name, split, place, images, classes, class_names=names, **given)


def _read_annotations(
    annotations: Path, place: Path, stems: list[str], wnids: list[str], known: set[str]
) -> dict[str, Any]:
    """Boxes and sizes of the validation images; fills in the wnids of images that lie in no wnid folder."""
    names = set(os.listdir(annotations))  # a part of the images is read as a part
    annotated = [stem for stem in stems if f"{stem}.xml" in names]
    check_same(stems, annotated, f"images in {place} have no annotation in {annotations}", "")
    files = [f"{annotations}/{stem}.xml" for stem in stems]
    states = [(state.st_size, state.st_mtime_ns) for state in map(os.stat, files)]
    key = digest(str(annotations), stems, states, wnids, sorted(known), digest_code(__name__))
    kept = keep_arrays("annotations", key, lambda: _parse_annotations(files, wnids, known))
    wnids[:] = kept["wnids"].tolist()
    boxes = np.split(kept["boxes"], np.cumsum(kept["counts"])[:-1])[: len(stems)]
    check_inside(boxes, kept["sizes"], files)
    return {"boxes": boxes, "sizes": kept["sizes"]}


def _parse_annotations(files: list[str], wnids: list[str], known: set[str]) -> dict[str, np.ndarray]:
    """wnids (N,), sizes (N, 2), counts (N,) of boxes, boxes (sum of counts, 4) of the annotations' files."""
    found, boxes, sizes = [], [], np.zeros((len(files), 2))
    for i, file in enumerate(map(Path, show_progress(files, "annotations"))):
        tree = parse_xml(file)
        objects = {(node.findtext("name") or "").strip() for node in tree.iter("object")}
        of_folder = not wnids[i] or objects == {wnids[i]}
        of_classes = not known or objects <= known
        if len(objects) != 1 or not of_folder or not of_classes:
            raise ValueError(f"{file}: objects are of {sorted(objects)}, expected one class {wnids[i]}".rstrip())
        found.append(objects.pop())
        sizes[i] = read_numbers(tree, ("size/width", "size/height"), file)
        boxes.append(read_voc_boxes(tree, file))
    counts = np.array([len(one) for one in boxes], np.int64)
    return {"wnids": np.array(found), "sizes": sizes, "counts": counts, "boxes": np.concatenate([NO_BOXES, *boxes])}


def read_imagenet_samples(name: str, split: str, places: Mapping[str, Path]) -> Dataset:
    """A few ImageNet photographs `<wnid>_<name>.JPEG`, without boxes, among all 1,000 classes."""
    base, classes_file = places["images"], places["classes"]
    listed = read_columns(classes_file, "wnids", "names")
    images, index = walk_images(base), {wnid: k for k, wnid in enumerate(listed["wnids"])}
    wnids = {image: image.rsplit("/", 1)[-1].split("_")[0] for image in images}
    strange = [image for image, wnid in wnids.items() if wnid not in index]
    check_same(strange, (), f"images of {base} are not called <wnid>_<name> with a wnid of {classes_file}", "")
    labels = np.array([index[wnid] for wnid in wnids.values()], np.int64)
    dataset = build_folder_dataset(name, split, base, images, source=f"folder {base.name}")
    return replace(dataset, labels=labels, classes=listed["wnids"], class_names=listed["names"])


def write_submission(path: str | Path, classes: np.ndarray, boxes: np.ndarray, devkit_ids: Sequence[int]) -> None:
    """Write guesses in the ILSVRC devkit's format: one line per image, five times `label xmin ymin xmax ymax`.

    classes (N, 5) int: sorted-wnid indices. boxes (N, 5, 4): half-open, so xmax and ymax lose 1 (the devkit counts
    inclusive pixels). devkit_ids (C,): the ILSVRC2012_ID of each class, see `wnid_to_devkit_id`.
    """
    if classes.ndim != 2 or boxes.shape != (*classes.shape, 4):
        raise ValueError(f"classes {classes.shape} and boxes {boxes.shape} do not fit: expected (N, 5), (N, 5, 4)")
    labels = np.asarray(devkit_ids)[classes]  # (N, 5)
    with write_aside(Path(path)) as aside, open(aside, "w", encoding="ascii") as file:
        for ids, corners in zip(labels, boxes - [0, 0, 1, 1], strict=True):
            guesses = zip(ids, corners, strict=True)
            file.write(" ".join(f"{i} {a:.10g} {b:.10g} {c:.10g} {d:.10g}" for i, (a, b, c, d) in guesses) + "\n")


def read_submission(path: str | Path, devkit_ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Read what `write_submission` writes -> classes (N, k), boxes (N, k, 4) half-open.

    Raises ValueError naming file and line for a line that is not k times five numbers, or an ID that is no class.
    """
    class_of_id = {number: index for index, number in enumerate(devkit_ids)}
    rows: list[np.ndarray] = []
    for n, line in enumerate(Path(path).read_text(encoding="ascii", errors="replace").splitlines(), 1):
        try:
            row = np.array(line.split(), dtype=np.float64).reshape(-1, 5)
            row[:, 0] = [class_of_id[int(number)] for number in row[:, 0]]
        except (ValueError, KeyError, OverflowError) as error:
            raise ValueError(f"{path}, line {n}: expected `label xmin ymin xmax ymax`, repeated ({error!r})") from error
        if rows and row.shape != rows[0].shape:
            raise ValueError(f"{path}, line {n}: {len(row)} guesses, {len(rows[0])} in the lines before")
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} is empty; expected one line per image")
    guesses = np.stack(rows)  # (N, k, 5)
    return guesses[:, :, 0].astype(np.int64), guesses[:, :, 1:] + [0, 0, 1, 1]


ILSVRC = Source(
    read_ilsvrc,
    ("train", "val"),
    f"registration; {RESEARCH}",
    required={
        "images": ("ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val", "val"),
        "boxes": ("ILSVRC2012_bbox_val_v3/val", "ILSVRC/Annotations/CLS-LOC/val"),
    },
    to_train={"train": ("ILSVRC2012_img_train", "ILSVRC/Data/CLS-LOC/train", "train")},
    optional={
        "meta": (ILSVRC_META,),
        "mapping": ("LOC_synset_mapping.txt", "ILSVRC/LOC_synset_mapping.txt"),
        "excluded": tuple(
            f"{folder}ILSVRC*clsloc_validation_blacklist.txt"
            for folder in ("", "ILSVRC2012_devkit_t12/data/", "ILSVRC/devkit/data/")
        ),
    },
    archives=tuple(
        Archive(f"image-net.org/data/ILSVRC/2012/{file}", file.partition(".")[0], md5, size=size)
        for file, md5, size in (
            ("ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622", 6_744_924_160),
            ("ILSVRC2012_bbox_val_v3.tgz", "f4cd18b5ea29fe6bbea62ec9c20d80f0", 0),
            ("ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf", 0),
            ("ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e", 147_897_477_120),  # to train only
        )
    ),
    get="1. register at https://image-net.org/download and accept the terms; 2. log in and download these files of "
    "ILSVRC 2012 (the last to train only); 3. put them, packed, into the data folder; 4. `camlib data get ilsvrc2012` "
    "checks and unpacks them. Or take Kaggle's tree ILSVRC/ with LOC_synset_mapping.txt as it is",
    by_hand=True,
    classes=1000,
    images={"train": 1_281_167, "val": 50_000},
    options={"per_class": None},
)
SOURCES = {
    "ilsvrc2012": ILSVRC,
    "imagenet-samples": Source(
        read_imagenet_samples,
        ("val",),
        RESEARCH,
        required={"images": ("imagenet-samples",), "classes": ("imagenet_classes.json",)},
        get="your own ImageNet photographs (https://image-net.org) in imagenet-samples/<wnid>_<anything>.JPEG, "
        'and imagenet_classes.json with the 1,000 sorted "wnids" and their "names"',
        by_hand=True,
        classes=1000,
    ),
}
