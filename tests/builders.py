"""What several tests build: small trees in the official layouts, and datasets in memory."""

from pathlib import Path

import numpy as np
from PIL import Image

from camlib.datasets import Dataset

WNIDS = ["n01440764", "n01443537", "n02084071"]
WORDS = ["tench, Tinca tinca", "goldfish, Carassius auratus", "dog, domestic dog"]


def save_image(path: Path, size=(40, 30), colour=(200, 30, 60)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def voc_xml(size, objects, tags=("xmin", "ymin", "xmax", "ymax")) -> str:
    nodes = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{t}>{v}</{t}>" for t, v in zip(tags, box, strict=True))
        + "</bndbox></object>"
        for name, *box in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{nodes}</annotation>"


def dataset_of(images: np.ndarray, labels: list[int], **given) -> Dataset:
    """In-memory pictures (N, S, S, 3) with labels."""
    n, side = images.shape[:2]
    names = [f"class {k}" for k in range(max(labels) + 1)]
    return Dataset(
        "planted", "val", [str(i) for i in range(n)], np.array(labels), names, names, [np.zeros((0, 4))] * n,
        np.full((n, 2), side), "made by the test", images=images, **given,
    )  # fmt: skip
