"""What several tests build: small trees in the official layouts, and datasets in memory."""

import json
from pathlib import Path

import nbformat
import numpy as np
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image
from safetensors.torch import save_file

from camlib.datasets import Dataset
from camlib.models import build_model

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


def blobs(n=90, k=5, classes=3, seed=0, spread=1.0):
    """Features at very different scales and offsets, with one that is constant."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(classes, k))[y] + spread * rng.normal(size=(n, k))
    x = x * 10.0 ** np.arange(-2, k - 2) + 50
    x[:, 1] = 7
    return x, y


PARAMETERS = """data = {"dataset": "synthetic-objects"}  # dict: data
seed = 0  # int: seed
report_dir = "."  # str: folder"""


def make_notebook(path, body="print(seed)", parameters=PARAMETERS):
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell("# T"), tagged, new_code_cell(body)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path


def save_network(folder, images):
    """A small network with random weights and the classes of a dataset, as files of one's own -> the weights."""
    torch.manual_seed(0)
    save_file(build_model("mini_gap", len(images.classes)).state_dict(), folder / "net.safetensors")
    (folder / "names.json").write_text(json.dumps({"names": images.class_names}))
    about = {"resize": 64, "crop": 64, "mean": [0.5] * 3, "std": [0.5] * 3, "channels": "RGB", "range": 1}
    (folder / "net.json").write_text(json.dumps(about | {"interpolation": "bilinear", "classes": "names.json"}))
    return folder / "net.safetensors"
