"""The code of docs/extending.md, run as it stands there."""

import json
import re
import types
from pathlib import Path

import pytest
import torch
from builders import save_image, write

from camlib import datasets, models
from camlib.datasets.parsing import find_place
from camlib.models import networks

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = dict(
    zip(
        ("network", "dataset", "parameters", "look", "run", "write"),
        re.findall(r"```python\n(.*?)```", PAGE, re.S),
        strict=True,
    )
)


def test_the_network_of_the_page_is_built(monkeypatch):
    monkeypatch.setattr(networks, "OWN_MODELS", networks.OWN_MODELS.copy())
    monkeypatch.setattr(models, "OWN_MODELS", networks.OWN_MODELS)
    exec(compile(BLOCKS["network"], "extending.md", "exec"), vars(networks).copy())
    net = models.build_model("wide_gap", 5).eval()
    logits, classes, maps = net.predict_with_cam(torch.randn(2, 3, 64, 64), top=2)
    assert maps.shape == (2, 2, 16, 16)
    torch.testing.assert_close(maps.mean((2, 3)) + net.fc.bias[classes], logits.gather(1, classes))
    assert '"wide_gap": (64, 128, 16)' in PAGE


def test_the_dataset_of_the_page_is_read(tmp_path, monkeypatch):
    module = types.ModuleType("flowers")
    exec(compile(BLOCKS["dataset"], "extending.md", "exec"), vars(module))
    monkeypatch.setitem(datasets.REGISTRY, "flowers", module.SOURCES["flowers"])
    assert "missing: flowers/jpg; flowers/train.txt" in datasets.describe_missing("flowers", tmp_path)
    for name in ("daisy/1.jpg", "rose/2.jpg"):
        save_image(tmp_path / "flowers" / "jpg" / name, (40, 30))
    write(tmp_path / "flowers" / "train.txt", "rose/2.jpg 0 0 39 29\n")
    write(tmp_path / "flowers" / "val.txt", "daisy/1.jpg 10 5 19 9\n")
    assert find_place(tmp_path, "flowers/jpg")
    images = datasets.load("flowers", tmp_path, "val")
    assert (images.classes, images.labels.tolist()) == (["daisy", "rose"], [0])
    assert images.boxes[0].tolist() == [[10, 5, 20, 10]]
    write(tmp_path / "flowers" / "val.txt", "daisy/1.jpg 10 5 60 9\n")
    with pytest.raises(ValueError, match=r"daisy/1\.jpg: box .* leaves the image of 40 x 30"):
        datasets.load("flowers", tmp_path, "val")


def test_the_experiment_of_the_page_writes_its_results(tmp_path):
    names = {}
    for cell in ("parameters", "look", "run", "write"):
        exec(compile(BLOCKS[cell], "extending.md", "exec"), names)
        if cell == "parameters":
            names["report_dir"] = str(tmp_path)
    record = json.loads((tmp_path / "20_untrained.json").read_text())
    assert record["settings"]["network"]["weights"] == "random"
    assert record["values"][0]["n"] == 60
    assert record["comparisons"][0]["second"] == "the whole image"
    for cell in ("parameters", "look", "run", "write"):
        assert len(BLOCKS[cell].splitlines()) <= 10
