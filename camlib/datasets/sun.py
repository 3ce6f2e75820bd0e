"""The scene datasets with lists or tables: SUN397, MIT Indoor-67, SUN Attribute, SUN2012.

SUN397: ten official partitions, 50 training and 50 test images per class

    SUN397/<letter>/<class>/sun_*.jpg
    SUN397/Partitions/Training_01.txt ... Testing_10.txt, or Partitions/    /a/abbey/sun_aakbdcgfpksytcwj.jpg
    SUN397/Partitions/ClassName.txt, or SUN397/ClassName.txt                /a/abbey

Indoor-67: official lists, whose names may hold spaces

    indoor67/Images/<class>/*.jpg, or indoorCVPR_09/
    indoor67/{Train,Test}Images.txt        gameroom/bt_132294gameroom2.jpg

SUN Attribute: MATLAB tables, one row per image

    SUNAttributeDB/{images,attributes,attributeLabels_continuous}.mat
    SUNAttributeDB_Images/images/<letter>/<class>/*.jpg, or SUNAttributeDB/images/

SUN2012: LabelMe polygons

    SUN2012/Images/<letter>/<class>/sun_*.jpg
    SUN2012/Annotations/<letter>/<class>/sun_*.xml
        <object><name>wall</name><deleted>0</deleted>
          <polygon><pt><x>0</x><y>12</y></pt><pt>...</pt></polygon></object>
    A point is where the mouse was, in px from the left and the upper edge (LabelMe's tool rounds that offset, and its
    toolbox takes the least and the largest for the box): it lies between pixels, x = width is the right edge, and
    nothing is added.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from camlib.datasets.base import Archive, Dataset, Source
from camlib.datasets.imagenet import RESEARCH
from camlib.datasets.parsing import (
    build_folder_dataset,
    check_same,
    class_of,
    clip_boxes,
    find_place,
    need_place,
    parse_xml,
    read_cells,
    read_lines,
    read_listed,
    read_matlab,
    read_numbers,
    show_progress,
    walk_images,
)


def read_sun397(name: str, split: str, places: Mapping[str, Path], *, partition: int) -> Dataset:
    """partition: one of the 10 official ones, 50 training and 50 test images per class."""
    base, lists = places["images"], places["partitions"]
    list_file = need_place(name, lists, f"{'Training' if split == 'train' else 'Testing'}_{partition:02d}.txt")
    names = find_place(lists, "ClassName.txt") or need_place(name, base, "ClassName.txt")
    classes = sorted(cells[0].lstrip("/") for cells in read_cells(names))
    return read_listed(name, split, base, list_file, classes, source=f"folder SUN397, partition {partition} {split}")


def read_indoor67(name: str, split: str, places: Mapping[str, Path]) -> Dataset:
    """The official lists."""
    classes = sorted({class_of(line) for part in ("train", "test") for line in read_lines(places[part])})
    return read_listed(name, split, places["images"], places[split], classes)


def read_sun_attribute(name: str, split: str, places: Mapping[str, Path]) -> Dataset:
    """All images, in the tables' order.

    extras: `attributes` (N, 102) float64, the share of votes (0, 1/3, 2/3 or 1). info: `attribute_names`.
    """

    def table(file: str, key: str) -> np.ndarray:
        return read_matlab(places[file], key)

    base, votes_file = places["pictures"], places["attributeLabels_continuous"]
    images = [str(image) for image in np.atleast_1d(table("images", "images"))]
    on_disk = walk_images(base)
    check_same(images, on_disk, f"images of images.mat are not in {base}", f"images in {base} are not in images.mat")
    names = [str(text).strip() for text in np.atleast_1d(table("attributes", "attributes"))]
    votes = np.asarray(table("attributeLabels_continuous", "labels_cv"), np.float64)
    if votes.shape != (len(images), len(names)):
        raise ValueError(f"{votes_file}: labels_cv is {votes.shape}, expected {(len(images), len(names))}")
    if not ((votes >= 0) & (votes <= 1)).all():
        raise ValueError(f"{votes_file}: labels_cv must be shares of votes in 0..1")
    return build_folder_dataset(
        name, split, base, images, extras={"attributes": votes}, info={"attribute_names": names}
    )


_PART = re.compile(r"( (occluded|crop|cropped|part))+$")  # what annotators add to an object's name


def read_sun2012(name: str, split: str, places: Mapping[str, Path]) -> Dataset:
    """All images with their annotated objects. Boxes bound the polygons; deleted objects are ignored.

    extras: `objects`, N lists of names, in lower case and without "occluded" or "crop"; `polygons`, N lists of arrays
    (P, 2), x and y. info: `skipped`, the number of polygons left out (unnamed, under three points, or wholly outside);
    `clipped`, the number of boxes cut at the border; `no_class`, the folders that are no scene category.
    """
    place, annotations = places["images"], places["annotations"]
    files = {p.relative_to(annotations).with_suffix("").as_posix(): p for p in annotations.rglob("[!.]*.xml")}
    dataset = build_folder_dataset(name, split, place, walk_images(place), source="folder SUN2012")
    check_same(
        dataset.ids, files,
        f"images in {place} have no annotation in {annotations}",
        f"annotations in {annotations} have no image in {place}",
    )  # fmt: skip
    objects: list[list[str]] = []
    polygons: list[list[np.ndarray]] = []
    skipped = clipped = 0
    for i, key in enumerate(show_progress(dataset.ids, "annotations")):
        tree = parse_xml(files[key])
        nodes = [node for node in tree.iter("object") if (node.findtext("deleted") or "0").strip() != "1"]
        drawn = [np.reshape([read_numbers(pt, "xy", files[key]) for pt in node.iter("pt")], (-1, 2)) for node in nodes]
        names = [_PART.sub("", (node.findtext("name") or "").strip().lower()) for node in nodes]
        whole = [name and len(points) > 2 for name, points in zip(names, drawn, strict=True)]
        bounds = [(*p.min(axis=0), *p.max(axis=0)) if ok else (0, 0, 0, 0) for p, ok in zip(drawn, whole, strict=True)]
        dataset.boxes[i], left, cut = clip_boxes(bounds, dataset.sizes[i])
        objects.append([name for name, keep in zip(names, left, strict=True) if keep])
        polygons.append([points for points, keep in zip(drawn, left, strict=True) if keep])
        skipped += int((~left).sum())
        clipped += cut - int((~left).sum())
    dataset.extras = {"objects": objects, "polygons": polygons}
    no_class = [c for c in dataset.classes if c.rpartition("/")[2] in ("misc", "outliers")]
    dataset.info = {"skipped": skipped, "clipped": clipped, "no_class": no_class}
    dataset.source += f", {skipped} polygons skipped, {clipped} cut at the border"
    return dataset


_SUN = "http://vision.princeton.edu/projects/2010/SUN/"
_ATTRIBUTES = "https://cs.brown.edu/~gmpatter/Attributes/"
_MIT = "http://groups.csail.mit.edu/vision/"
SOURCES = {
    "sun397": Source(
        read_sun397,
        ("train", "test"),
        RESEARCH,
        required={
            "images": ("SUN397",),
            "partitions": ("SUN397/Partitions", "Partitions"),
            "training list": ("SUN397/Partitions/Training_01.txt", "Partitions/Training_01.txt"),
            "test list": ("SUN397/Partitions/Testing_01.txt", "Partitions/Testing_01.txt"),
        },
        archives=(
            Archive(f"{_SUN}SUN397.tar.gz", "SUN397", "8ca2778205c41d23104230ba66911c7a", size=39_077_296_924),
            Archive(
                f"{_SUN}download/Partitions.zip",
                "Partitions",
                sha256="e3311ea5f812d4cc6faef194688343d1111f6cd6f70f2c62f393c2b8d6ba1ec9",
                size=18_293_705,
            ),
        ),
        protocol="partitions",
        classes=397,
        options={"partition": 1},
    ),
    "indoor67": Source(
        read_indoor67,
        ("train", "test"),
        RESEARCH,
        required={
            "images": ("indoor67/Images", "indoorCVPR_09/Images"),
            "train": ("indoor67/TrainImages.txt", "indoorCVPR_09/TrainImages.txt"),
            "test": ("indoor67/TestImages.txt", "indoorCVPR_09/TestImages.txt"),
        },
        archives=(
            Archive(f"{_MIT}LabelMe/NewImages/indoorCVPR_09.tar", "indoor67/Images"),
            Archive("https://web.mit.edu/torralba/www/TrainImages.txt", "indoor67/TrainImages.txt"),
            Archive("https://web.mit.edu/torralba/www/TestImages.txt", "indoor67/TestImages.txt"),
        ),
        protocol="official",
        classes=67,
    ),
    "sun-attribute": Source(
        read_sun_attribute,
        ("all",),
        RESEARCH,
        required={
            "pictures": ("SUNAttributeDB_Images/images", "SUNAttributeDB/images"),
            **{k: (f"SUNAttributeDB/{k}.mat",) for k in ("images", "attributes", "attributeLabels_continuous")},
        },
        archives=(
            Archive(f"{_ATTRIBUTES}SUNAttributeDB.tar.gz", "SUNAttributeDB"),
            Archive(f"{_ATTRIBUTES}SUNAttributeDB_Images.tar.gz", "SUNAttributeDB_Images/images"),
        ),
        protocol="attributes",
        classes=102,
    ),
    "sun2012": Source(
        read_sun2012,
        ("all",),
        RESEARCH,
        required={"images": ("SUN2012/Images",), "annotations": ("SUN2012/Annotations",)},
        archives=(Archive(f"{_MIT}SUN/releases/SUN2012.tar.gz", "SUN2012", "5188e9503debd4511fa45cc856fb46ce"),),
    ),
}
