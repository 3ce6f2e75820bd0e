"""A damaged checkpoint is named, with what to delete; a deleted one is made again."""

import json

import pytest
import torch
from safetensors.torch import save_file

from camlib.models import build_model
from camlib.train import checkpoints

EPOCH = dict.fromkeys(checkpoints.EPOCH, 1.0)


@pytest.fixture
def net():
    return build_model("mini_gap", 3)


@pytest.fixture
def folder(tmp_path, net):
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "training.json").write_text(json.dumps({"history": [EPOCH]}))
    return tmp_path


def optimizer_of(net):
    return torch.optim.SGD(net.parameters(), lr=0.1)


def test_a_whole_checkpoint_is_read_and_half_of_one_is_none(folder):
    other = build_model("mini_gap", 3)
    assert checkpoints.is_trained(folder)
    assert checkpoints.read_trained(folder, other) == [EPOCH]
    for name in ("model.safetensors", "training.json"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        assert not checkpoints.is_trained(folder), "it is trained again"
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: b"<html>" + b, lambda b: b[:-8]])
def test_damaged_weights_are_named(folder, net, damage):
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"^{path}: a damaged checkpoint; delete {folder} and run again"):
        checkpoints.read_trained(folder, net)


def test_weights_of_another_model_are_named(folder, net):
    save_file(build_model("tiny_gap", 3).state_dict(), folder / "model.safetensors")
    with pytest.raises(ValueError, match=rf"delete {folder} and run again .*is not part of the network"):
        checkpoints.read_trained(folder, net)


@pytest.mark.parametrize(
    "text", ["{", "", "[]", "{}", '{"history": 3}', '{"history": [3]}', '{"history": [{}]}', "\xff"]
)
def test_a_damaged_learning_curve_is_named(folder, net, text):
    path = folder / "training.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=rf"^{path}: a damaged checkpoint; delete {folder} and run again"):
        checkpoints.read_trained(folder, net)


def test_a_training_goes_on_from_its_last_state(tmp_path, net):
    state = {"model": net.state_dict(), "optimizer": optimizer_of(net).state_dict(), "step": 3}
    last = tmp_path / "last.pt"
    torch.save(state | {"history": [EPOCH], "losses": [0.5], "seconds": 2}, last)
    other = build_model("mini_gap", 3)
    assert checkpoints.resume(last, other, optimizer_of(other)) == (3, [EPOCH], [0.5], 2.0)
    assert torch.equal(other.fc.weight, net.fc.weight)
    whole = last.read_bytes()
    contents = [
        whole[:1000], b"", b"random" * 99, {"epoch": 3}, [1], state, state | {"model": {}},
        torch.load(last, weights_only=True) | {"optimizer": {}}, torch.load(last, weights_only=True) | {"step": "a"},
        torch.load(last, weights_only=True) | {"optimizer": optimizer_of(torch.nn.Linear(1, 1)).state_dict()},
    ]  # fmt: skip
    for content in contents:
        last.write_bytes(content) if isinstance(content, bytes) else torch.save(content, last)
        with pytest.raises(ValueError, match=rf"^{last}: a damaged checkpoint; delete it and run again") as error:
            checkpoints.resume(last, other, optimizer_of(other))
        assert "weights_only" not in str(error.value)
        assert "issue" not in str(error.value)
