"""Weights as tensors: reading a file, filling a network, saying what does not fit, and a network's identity."""

import ast
import inspect
import re
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.fx
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from camlib.store import digest


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read tensors from a safetensors file, or from what torch saved (nothing is unpickled but tensors).

    A training script's checkpoint is understood: a state dict inside it, and names that DataParallel or torch.compile
    prefixed. Raises FileNotFoundError, or ValueError that says what the file holds instead.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file not found: {path}")
    try:
        if path.suffix.lower() == ".safetensors":
            return unwrap_state(load_file(path), path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole weights file: {error}") from error
    return unwrap_state(read_saved(path), path)


def read_saved(path: Path) -> Any:
    """What torch saved, if it is made of tensors, numbers, texts, lists and dicts; nothing else is unpickled.

    Raises ValueError, in words of our own: those of torch advise to run whatever a file holds.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # of a file that is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what damaged pickles raise depends on the damage
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it names {named[1]}" if named else str(error).partition("\n")[0]
        reason = "it holds more than tensors" if "weights_only" in reason else reason
        raise ValueError(
            f"{path} is not a whole weights file: {reason}; expected a state dict, saved by safetensors or by "
            "torch.save(net.state_dict(), path); camlib runs no code from files"
        ) from error


NESTED = ("state_dict", "model_state_dict", "model", "net", "network")  # keys of a state dict in a checkpoint
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


def unwrap_state(state: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in what a file holds, without the prefixes that all its names share."""
    for key in NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        kind = f"the keys {', '.join(map(str, list(state)[:6]))}" if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"{path} holds {kind}; expected a state dict, names of tensors, perhaps under 'state_dict'")
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
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
    wrong += [
        f"{key} holds NaN or infinite values"
        for key in own
        if key in state and state[key].is_floating_point() and not torch.isfinite(state[key]).all()
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
    """A hash of the function that a network computes: 16 hex digits.

    It covers tensors, structure, constants that no tensor holds (an input rescaling, a graph's own numbers), and the
    code of modules that are not torch's, torchvision's or timm's.
    """
    tensors = (t.detach().cpu().reshape(-1).view(torch.uint8).numpy().data for t in net.state_dict().values())
    return digest(str(net), [_describe_module(module) for module in net.modules()], *tensors)


LIBRARIES = ("torch", "torchvision", "timm")
CONSTANTS = (bool, int, float, str, tuple, type(None))


def _describe_module(module: nn.Module) -> list[str]:
    constants = {key: repr(value) for key, value in vars(module).items() if isinstance(value, CONSTANTS)}
    constants.pop("training")
    # PyTorch's own bookkeeping (hooks, caches) begins with an underscore.
    parts = [type(module).__qualname__, *(f"{k}={v}" for k, v in sorted(constants.items()) if k[0] != "_")]
    if isinstance(module, torch.fx.GraphModule):
        parts.append(module.code)
    elif type(module).__module__.partition(".")[0] not in LIBRARIES:
        parts.append(_read_source(type(module)))
    return parts


def _read_source(kind: type) -> str:
    """The code of a class without comments; of one typed into a notebook or a shell its compiled forward."""
    try:
        return ast.dump(ast.parse(textwrap.dedent(inspect.getsource(kind))))
    except (OSError, TypeError, SyntaxError):
        code = kind.forward.__code__  # type: ignore[attr-defined]
        return repr((code.co_code, code.co_consts, code.co_names))
