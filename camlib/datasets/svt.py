"""Street View Text: words in street photographs. Only the words that its lists name have boxes.

svt1/train.xml, svt1/test.xml
    <image><imageName>img/14_03.jpg</imageName>
      <taggedRectangles><taggedRectangle height="75" width="236" x="375" y="253"><tag>LIVING</tag></taggedRectangle>
      </taggedRectangles></image>
svt1/img/*.jpg

x + width is taken for the right edge, x for a count from 0. No text of the dataset says so, and its lists were not at
hand; if it counted from 1, the boxes would lie one pixel further left.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from camlib.datasets.base import Archive, Dataset, Source
from camlib.datasets.imagenet import RESEARCH
from camlib.datasets.parsing import build_folder_dataset, clip_boxes, find_twice, parse_xml, read_numbers, read_sizes


def read(name: str, split: str, places: Mapping[str, Path]) -> Dataset:
    """One class, "text". Boxes are those of words.

    extras: `words`, N lists. info: `clipped`, the number of boxes cut at the border or lost (outside or empty).
    """
    lists = [places[part] for part in ("train", "test") if split in (part, "all")]
    base = places["train"].parent
    nodes = [(file, node) for file in lists for node in parse_xml(file).iter("image")]
    images = [(node.findtext("imageName") or "").strip() for _, node in nodes]
    if wrong := [*find_twice(images), *(image for image in images if not image)]:
        raise ValueError(
            f"{' or '.join(map(str, lists))}: expected each image once, with its imageName; got {wrong[0]!r}"
        )
    sizes = read_sizes([str(base / image) for image in images])
    boxes, words, clipped = [], [], 0
    for (file, node), size in zip(nodes, sizes, strict=True):
        tagged = node.findall(".//taggedRectangle")
        given = np.reshape([read_numbers(t, ("x", "y", "width", "height"), file) for t in tagged], (-1, 4))
        given[:, 2:] += given[:, :2]
        kept, left, cut = clip_boxes(given, size)
        boxes.append(kept)
        words.append([(t.findtext("tag") or "").strip() for t, inside in zip(tagged, left, strict=True) if inside])
        clipped += cut
    return build_folder_dataset(
        name, split, base, images, ["text"], labels=np.zeros(len(images), np.int64), sizes=sizes, boxes=boxes,
        source=f"folder {base.name}, {len(images)} images, {clipped} boxes cut or lost at the border",
        extras={"words": words}, info={"clipped": clipped},
    )  # fmt: skip


SOURCES = {
    "svt": Source(
        read,
        ("train", "test", "all"),
        RESEARCH,
        required={"train": ("svt1/train.xml",), "test": ("svt1/test.xml",)},
        archives=(Archive("http://www.iapr-tc11.org/dataset/SVT/svt.zip", "svt1"),),
        classes=1,
    )
}
