"""What a notebook's settings need: datasets and weights, what is missing of them, what can run without.

One structural rule finds them, however the settings are nested: the values of `dataset`, `datasets`, `targets` and
`trained_on` name datasets, and a mapping with `model` and `weights` is a network.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from camlib import datasets
from camlib.datasets.weights import find_bundled, find_released
from camlib.store import data_root

DATA_KEYS = ("dataset", "datasets", "targets", "trained_on")
ADDITIONS = ("also",)  # lists that may be empty


def is_network(value: Any) -> bool:
    """Whether a value is a network: a mapping with `model` and `weights`."""
    return isinstance(value, dict) and {"model", "weights"} <= set(value)


def _walk(settings: Any) -> Iterator[tuple[str, Any]]:
    """("network", mapping) and ("dataset" or "trained_on", name) of everything that the settings name."""
    if is_network(settings):
        yield "network", settings
    for key, value in settings.items() if isinstance(settings, dict) else enumerate(settings):
        if key in DATA_KEYS:
            kind = "trained_on" if key == "trained_on" else "dataset"
            names = [value] if isinstance(value, str) else value
            yield from ((kind, name) for name in names if isinstance(name, str))
        if isinstance(value, dict | list):
            yield from _walk(value)


def list_data(settings: Any) -> set[str]:
    """The datasets that settings name, and the networks whose released weights they take."""
    found = list(_walk(settings))
    networks = {value["model"] for kind, value in found if kind == "network" and value["weights"] == "released"}
    return networks | {value for kind, value in found if kind != "network"}


def list_missing(settings: Any, whole: Any = None, *, downloads: bool = True) -> list[str]:
    """What a notebook's settings need and the machine lacks, each with place and how to get it.

    whole: the settings that `settings` is a part of; they say what its networks are trained on.
    downloads: whether weights that torchvision or timm would download count as there.
    """
    found = list(_walk(settings))
    networks = [value for kind, value in found if kind == "network"]
    trains = any(network["weights"] in ("train", "finetune") for network in networks)
    trained_on = [name for kind, name in _walk(whole or settings) if kind == "trained_on" and trains]
    names = dict.fromkeys([name for kind, name in found if kind == "dataset"] + trained_on)
    missing = [
        datasets.describe_missing(name, train=name in trained_on)
        for name in names
        if not datasets.is_available(name, train=name in trained_on)
    ]
    weights = [_missing_weights(network["model"], network["weights"], downloads) for network in networks]
    return list(dict.fromkeys([*missing, *(text for text in weights if text)]))


def _missing_weights(model: str, weights: str, downloads: bool) -> str:
    """What is missing of the weights of a network, or ""."""
    if model == "efficientnet_lite0_gap" and weights == "finetune":
        weights = "bundled"
    if weights in ("random", "train"):
        return ""
    if weights in ("torchvision", "timm", "finetune"):
        return "" if downloads or _is_downloaded(model) else f"{weights} weights of {model} are not downloaded"
    try:
        if weights == "released":
            find_released(model, data_root())
        elif weights == "bundled":
            find_bundled(model)
        elif not (data_root() / Path(weights).expanduser()).is_file():
            other = "`weights: torchvision` in params/*.yml takes torchvision's own, for other numbers"
            return f"weights: missing: {weights}\n  goes into: {data_root()}\n  without it: {other}"
    except FileNotFoundError as error:
        return str(error)
    return ""


def _is_downloaded(model: str) -> bool:
    """Whether torchvision's weights lie in torch's own cache (found by name, without importing torch)."""
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    folder = Path(home).expanduser() / "hub" / "checkpoints"
    name = model.removesuffix("_fc7").removesuffix("_gap").removesuffix("_cut").removesuffix("_dilated")
    return any(folder.glob(f"{name}-*.pth"))


def keep_available(settings: dict[str, Any]) -> tuple[dict[str, Any], list[str]] | None:
    """The settings without the items of lists that lack data or weights -> (settings, what was left out, with why).

    None if something else is missing, if nothing is left of a list, or if another setting names what was left out.
    """
    kept, dropped = dict(settings), dict[str, str]()
    for key, value in settings.items():
        if isinstance(value, list) and (key in DATA_KEYS or any(isinstance(item, dict) for item in value)):
            lacks = [list_missing({key: [item]}, settings, downloads=False) for item in value]
            kept[key] = [item for item, texts in zip(value, lacks, strict=True) if not texts]
            dropped |= {_label(value[i]): name_missing(texts) for i, texts in enumerate(lacks) if texts}
            if value and not kept[key] and key not in ADDITIONS:
                return None
    for key, value in settings.items():
        if isinstance(value, list):
            kept[key] = [item for item in kept[key] if not (isinstance(item, str) and item in dropped)]
    if any(isinstance(value, str) and value in dropped for value in settings.values()):
        return None
    left_out = [text if text.startswith(label) else f"{label}: {text}" for label, text in dropped.items()]
    return None if list_missing(kept, downloads=False) else (kept, left_out)


def name_missing(texts: list[str]) -> str:
    """The first of what `list_missing` lists, in a few words: "sun397: missing: SUN397"."""
    return texts[0].splitlines()[0].partition(";")[0]


def _label(item: Any) -> str:
    return str(item.get("label") or item.get("dataset") or item) if isinstance(item, dict) else str(item)
