"""Weights and inputs as people have them by mistake: each is refused with a sentence that says what was expected."""

import os
import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from camlib import datasets
from camlib.models import build_model, read_weights
from camlib.train import load_network


class Hostile:
    """Would write a file when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def net():
    return build_model("mini_gap", 3).eval()


@pytest.mark.parametrize("saved", ["pickle", "torch", "nested", "model", "script"])
def test_code_in_a_weights_file_is_refused_and_nobody_is_told_to_run_it(tmp_path, saved, net):
    path, mark = tmp_path / "w.pth", tmp_path / "mark"
    if saved == "pickle":
        path.write_bytes(pickle.dumps(Hostile(mark)))
    elif saved == "script":
        with pytest.warns(FutureWarning, match="deprecated"):
            torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1, 1)).save(path)
    else:
        content = {"torch": Hostile(mark), "nested": {"state_dict": {"a": Hostile(mark)}}, "model": net}[saved]
        torch.save(content, path)
    with pytest.raises(
        ValueError, match=r"w\.pth is not a whole weights file: .*; camlib runs no code from files"
    ) as error:
        read_weights(path)
    assert "weights_only" not in str(error.value)
    assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, net, suffix, bad):
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    state["fc.bias"][1] = bad
    path = tmp_path / f"w.{suffix}"
    torch.save(state, path) if suffix == "pth" else save_file(state, path)
    with pytest.raises(ValueError, match=rf"w\.{suffix} does not fit .*fc\.bias holds NaN or infinite"):
        build_model("mini_gap", 3, weights=path)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("resnet50", "IMAGENET1K_V2", "IMAGENET1K_V2; did you mean 'torchvision'"),
        ("resnet50", "pretrained", "pretrained; did you mean 'torchvision'"),
        ("resnet50", "torchvison", "did you mean 'torchvision'"),
        ("efficientnet_lite0", "pretrained", "did you mean 'bundled'"),
        ("mini_gap", "pretrained", "pretrained; expected None or a file"),
        ("resnet50", "a.pth", "a.pth; expected 'torchvision' or a file"),
        ("resnet50", True, "weights is True; expected None, 'torchvision' or a file"),
        ("ResNet50", None, "unknown model 'ResNet50'; did you mean resnet50"),
        (50, None, "unknown model 50"),
    ],
)
def test_names_of_weights_and_models_are_explained(model, weights, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_model(model, weights=weights)


def test_load_network_explains_names_of_weights_too():
    for weights, meant in (("IMAGENET1K_V2", "torchvision"), ("finetuned", "finetune"), ("Random", "random")):
        with pytest.raises(FileNotFoundError, match=f"{weights}; did you mean '{meant}'"):
            load_network("resnet50", weights)
    with pytest.raises(FileNotFoundError, match="pretrained; did you mean 'torchvision'"):
        load_network("resnet50", "pretrained")
    with pytest.raises(FileNotFoundError, match="expected 'bundled', 'train', 'finetune', 'random' or a file"):
        load_network("efficientnet_lite0", "nosuch.pth")
    with pytest.raises(ValueError, match="random weights bring no preprocessing; expected preset=, one of imagenet"):
        load_network("mini_gap", "random")
    with pytest.raises(ValueError, match="unknown model 'ResNet50'; did you mean resnet50"):
        load_network("ResNet50", "random")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), r"holds torch.uint8, pixels perhaps; camlib.transforms"),
        (
            torch.zeros(3, 64, 64),
            r"shape \(3, 64, 64\); expected \(B, 3, H, W\); one image becomes a batch by x\[None\]",
        ),
        (torch.zeros(1, 1, 64, 64), r"1 channels, \(1, 1, 64, 64\); expected \(B, 3, H, W\)"),
        (torch.zeros(1, 64, 64, 3), "64 channels"),
        (torch.zeros(64, 64), r"shape \(64, 64\); expected"),
        (Image.new("RGB", (64, 64)), "is of type Image; camlib.transforms"),
        (np.zeros((1, 3, 64, 64), np.float32), "is of type ndarray"),
        (torch.zeros(1, 3, 64, 64).double(), "holds torch.float64, the network torch.float32"),
        (torch.zeros(1, 3, 64, 64).half(), "holds torch.float16, the network torch.float32"),
    ],
)
def test_wrong_inputs_are_explained(net, given, message):
    for call in (net, net.features, lambda x: net.predict_with_cam(x, 1), lambda x: net.predict_with_cam(x, 1, [[0]])):
        with pytest.raises(ValueError, match=message):
            call(given)


def test_asked_classes_may_be_lists_and_are_explained(net):
    x = torch.zeros(1, 3, 64, 64)
    same = net.predict_with_cam(x, classes=torch.tensor([[2, 0]]))
    assert torch.equal(net.predict_with_cam(x, classes=[[2, 0]])[2], same[2])
    for wrong in (3, [3], [[0.5]], [[7]], [[-1]], "cat", [["cat"]], [[0], [0, 1]]):
        with pytest.raises(ValueError, match="classes"):
            net.predict_with_cam(x, classes=wrong)
    with pytest.raises(ValueError, match=r"top is 2\.0"):
        net.predict_with_cam(x, top=2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": "ten"}, "n is 'ten'; expected a whole number, at least 1"), ({"n": 0}, "n is 0"),
        ({"n": 2.5}, "n is 2.5"), ({"n": True}, "n is True"), ({"n": -1}, "n is -1"), ({"seed": -1}, "at least 0"),
        ({"seed": None}, "seed is None"),
        ({"size": 16}, "at least 32"), ({"split": 3}, "no split 3"),
    ],
)  # fmt: skip
def test_options_of_a_dataset_are_checked(options, message):
    with pytest.raises(ValueError, match=f"synthetic-objects.*{message}"):
        datasets.load("synthetic-objects", **options)
    assert len(datasets.load("synthetic-objects", n=np.int64(2))) == 2


@pytest.mark.parametrize("index", [5, -6, sys.maxsize])
def test_an_image_that_is_not_there_is_named_with_those_that_are(index):
    with pytest.raises(IndexError, match=rf"bundled-photos all has images 0\.\.4; there is no image {index}"):
        datasets.load("bundled-photos", split="all")[index]
