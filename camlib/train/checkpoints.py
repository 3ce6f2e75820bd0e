"""Trained networks on disk: what is read back, and what a damaged folder is called."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from camlib.models import load_weights, read_saved, read_weights

EPOCH = ("epoch", "train_loss", "val_loss", "val_top1", "seconds")  # what the learning curve says of each


def is_trained(folder: Path) -> bool:
    """Whether a training ended here: its weights and, written last, its learning curve."""
    return (folder / "training.json").exists() and (folder / "model.safetensors").exists()


@contextmanager
def _name_damage(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever a damaged file raises into a ValueError with its path and what to delete."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).removeprefix(str(path)).split())
        raise ValueError(f"{path}: a damaged checkpoint; delete {remedy} and run again ({reason})") from error


def read_trained(folder: Path, net: nn.Module) -> list[dict[str, float]]:
    """Fill a network with the trained weights of a folder. Returns the learning curve.

    Raises ValueError, with the path and what to delete, for a file that is damaged or of another network.
    """
    weights, curve = folder / "model.safetensors", folder / "training.json"
    with _name_damage(weights, str(folder)):
        load_weights(net, read_weights(weights), weights)
    with _name_damage(curve, str(folder)):
        history = json.loads(curve.read_text(encoding="utf-8"))["history"]
        if not isinstance(history, list) or not all(set(epoch) == set(EPOCH) for epoch in history):
            raise ValueError(f"its history is not a list of {', '.join(EPOCH)}")
    return history


def resume(last: Path, net: nn.Module, optimizer: Any) -> tuple[int, list[dict[str, float]], list[float], float]:
    """Fill a network and its optimizer from a training's last state -> (step, learning curve, losses, seconds).

    Raises ValueError, with the path and what to delete, for a file that is damaged or of another training.
    """
    with _name_damage(last, "it"):
        state = read_saved(last)
        load_weights(net, state["model"], last)
        own = [[len(group["params"]) for group in groups] for groups in _groups(optimizer, state)]
        if own[0] != own[1]:
            raise ValueError("its optimizer is of another network")
        optimizer.load_state_dict(state["optimizer"])
        step, history, losses, seconds = state["step"], state["history"], state["losses"], state["seconds"]
        if not (isinstance(step, int) and step >= 0 and isinstance(history, list) and isinstance(losses, list)):
            raise ValueError("its step, history or losses are of another kind")
        return step, history, losses, float(seconds)


def _groups(
    optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return optimizer.state_dict()["param_groups"], state["optimizer"]["param_groups"]
