"""Weights files as people have them, and a network's identity: its function."""

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from camlib.models import build_model, digest_network
from camlib.models.tensors import read_weights

STATE = {"fc.weight": torch.ones(2, 3), "fc.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    "kept",
    [
        STATE,
        {"epoch": 9, "arch": "net", "state_dict": STATE},
        {"module." + key: value for key, value in STATE.items()},
        {"model": {"_orig_mod.module." + key: value for key, value in STATE.items()}, "optimizer": {}},
    ],
)
def test_checkpoints_of_training_scripts_are_understood(tmp_path, kept):
    torch.save(kept, tmp_path / "x.pth")
    found = read_weights(tmp_path / "x.pth")
    assert {key: value.tolist() for key, value in found.items()} == {k: v.tolist() for k, v in STATE.items()}


def test_safetensors_may_be_written_in_capitals(tmp_path):
    save_file(STATE, tmp_path / "X.SAFETENSORS")
    assert set(read_weights(tmp_path / "X.SAFETENSORS")) == set(STATE)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (torch.zeros(3), "holds Tensor"),
        ([1, 2], "holds list"),
        ({"epoch": 9, "arch": "net"}, "holds the keys epoch, arch"),
        ({}, "holds the keys"),
    ],
)
def test_a_file_that_is_no_state_dict_says_what_it_holds(tmp_path, kept, message):
    torch.save(kept, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=rf"x\.pth {message}.*; expected a state dict"):
        read_weights(tmp_path / "x.pth")


def test_half_a_download_of_torchvision_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    path = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"resnet18-f37072fd\.pth: torchvision's weights can't be had from https"):
        build_model("resnet18", weights="torchvision")


def test_a_network_read_back_from_its_file_is_the_same_function(tmp_path):
    torch.manual_seed(0)
    net = build_model("googlenet_gap", 4).eval()
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "m.safetensors")
    again = build_model("googlenet_gap", 4, weights=tmp_path / "m.safetensors").eval()
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(net(x), again(x))
    assert digest_network(net) == digest_network(again)


class Scaled(nn.Module):
    """A layer with a constant that no tensor holds."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        """Scale."""
        return self.factor * x


def test_a_networks_identity_is_its_function():
    net = nn.Sequential(nn.Linear(2, 2), Scaled(2.0))
    same, other, tensors, leaky = (copy.deepcopy(net) for _ in range(4))
    other[1].factor = 3.0
    with torch.no_grad():
        tensors[0].bias += 1
    leaky.append(nn.LeakyReLU(0.1))
    same.train(not net.training)
    assert digest_network(same) == digest_network(net)
    assert len({digest_network(one) for one in (net, other, tensors, leaky)}) == 4


def test_edited_code_is_another_network():
    def make(body):
        namespace = {"nn": nn}
        exec(f"class Own(nn.Module):\n    def forward(self, x):\n        return {body}\n", namespace)
        return namespace["Own"]()

    assert digest_network(make("x + 1")) == digest_network(make("x + 1"))
    assert digest_network(make("x + 1")) != digest_network(make("x + 2"))
    assert digest_network(make("x.relu()")) != digest_network(make("x.tanh()"))
