"""Stanford 40 Actions: people who do something; the box is the person's.

Stanford40/JPEGImages/applauding_001.jpg                        or action40/
Stanford40/ImageSplits/applauding_{train,test}.txt              applauding_001.jpg
Stanford40/XMLAnnotations/applauding_001.xml
    <annotation><object><name>applauding</name>
      <bndbox><xmax>301</xmax><xmin>102</xmin><ymax>400</ymax><ymin>23</ymin></bndbox></object></annotation>

The XML counts pixels from 1, both ends inclusive: no box begins at 0, and 4,120 of 9,532 end exactly at the border.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from camlib.datasets.base import Archive, Dataset, Source
from camlib.datasets.imagenet import RESEARCH
from camlib.datasets.parsing import (
    build_folder_dataset,
    check_same,
    clip_boxes,
    find_twice,
    list_files,
    need_place,
    parse_xml,
    read_cells,
    read_sizes,
    read_voc_boxes,
    walk_images,
)


def read(name: str, split: str, places: Mapping[str, Path]) -> Dataset:
    """The official training or test images.

    extras: `person_boxes`, N arrays (Mi, 4), the person who acts.
    info: `clipped`, the number of boxes cut at the border or lost (outside or empty).
    """
    pictures, lists_folder, base = places["images"], places["lists"], places["images"].parent
    ending = f"_{split}.txt"
    lists = list_files(lists_folder, f"*{ending}")
    classes = [file.name.removesuffix(ending) for file in lists]
    pictured = {image.rpartition("_")[0] for image in walk_images(pictures)}
    check_same(
        pictured, classes,
        f"lists ImageSplits/<class>{ending} are missing in {base}, of images of",
        f"lists *{ending} in {base} have no image in {pictures}",
    )  # fmt: skip
    rows = [(cells[0], k) for k, file in enumerate(lists) for cells in read_cells(file)]
    images = [image for image, _ in rows]
    strange = [f"{classes[k]}{ending}: {image}" for image, k in rows if image.rpartition("_")[0] != classes[k]]
    empty = [f"{classes[k]}{ending} is empty" for k in set(range(len(classes))) - {k for _, k in rows}]
    twice = [f"{image} is listed twice" for image in find_twice(images)]
    if wrong := strange + empty + twice:
        raise ValueError(f"{lists_folder}: expected each image once, in its class's list; {wrong[0]}")
    others = list_files(lists_folder, f"*_{'test' if split == 'train' else 'train'}.txt")
    both = {cells[0] for file in others for cells in read_cells(file)} & set(images)
    if both:
        raise ValueError(f"{lists_folder}: {len(both)} images are in lists of both parts: {min(both)}")
    sizes = read_sizes([str(pictures / image) for image in images])
    persons, clipped = [], 0
    for image, size in zip(images, sizes, strict=True):
        file = need_place(name, base, f"{places['boxes'].name}/{Path(image).stem}.xml")
        from_zero = read_voc_boxes(parse_xml(file), file) - 1
        boxes, _, cut = clip_boxes(from_zero, size)
        persons.append(boxes)
        clipped += cut
    return build_folder_dataset(
        name, split, pictures, images, classes, labels=np.array([k for _, k in rows], np.int64), sizes=sizes,
        source=f"folder {base.name}, {len(images)} images, {clipped} boxes cut or lost at the border",
        extras={"person_boxes": persons}, info={"clipped": clipped},
    )  # fmt: skip


_PARTS = {"images": "JPEGImages", "lists": "ImageSplits", "boxes": "XMLAnnotations"}
SOURCES = {
    "action40": Source(
        read,
        ("train", "test"),
        RESEARCH,
        required={role: (f"Stanford40/{folder}", f"action40/{folder}") for role, folder in _PARTS.items()},
        archives=tuple(
            Archive(f"http://vision.stanford.edu/Datasets/Stanford40_{folder}.zip", f"Stanford40/{folder}")
            for folder in _PARTS.values()
        ),
        protocol="official",
        classes=40,
        images={"train": 4000, "test": 5532},
    )
}
