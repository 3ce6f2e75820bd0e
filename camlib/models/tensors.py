"""Weights as tensors: reading a file, filling a network, saying what does not fit, and a network's identity."""

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from camlib.store import digest


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read tensors from a safetensors file, or from a state dict saved by torch (nothing is unpickled but tensors)."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file not found: {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is not a whole weights file: {error}") from error
    return state


def refuse_misfits(path: object, network: str, wrong: Sequence[str]) -> None:
    """Raise ValueError if anything is wrong between a file and a network, with the first six of all complaints."""
    if wrong:
        more = f" (and {len(wrong) - 6} more)" if len(wrong) > 6 else ""
        raise ValueError(f"{path} does not fit {network}: {'; '.join(wrong[:6])}{more}")


def load_weights(net: nn.Module, state: dict[str, Tensor], path: object) -> None:
    """Fill `net` from `state`: every tensor must be there in its shape, and no other. `path` is for the message."""
    own = net.state_dict()
    wrong = [f"{key} is missing" for key in own if key not in state and not key.endswith("num_batches_tracked")]
    wrong += [f"{key} is not part of the network" for key in state if key not in own]
    wrong += [
        f"{key} has shape {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    refuse_misfits(path, type(net).__name__, wrong)
    net.load_state_dict(state, strict=False)


def load_weights_in_order(net: nn.Module, state: dict[str, Tensor], path: object) -> None:
    """Fill `net` from a file with other names for the same tensors in the same order; every shape is checked."""
    own = [key for key in net.state_dict() if not key.endswith("num_batches_tracked")]
    given = [key for key in state if not key.endswith("num_batches_tracked")]
    if len(own) != len(given):
        raise ValueError(f"{path} holds {len(given)} tensors; {type(net).__name__} has {len(own)}")
    load_weights(net, {name: state[key] for name, key in zip(own, given, strict=True)}, path)


def digest_network(net: nn.Module) -> str:
    """A hash of every tensor of a network and of its structure: 16 hex digits."""
    tensors = (t.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes() for t in net.state_dict().values())
    return digest(str(net), *tensors)
