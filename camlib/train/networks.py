"""One way to get a network: trained here, published by others, or from a file; with its preset and class names."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from camlib import datasets
from camlib.caffe import RELEASED, load_released
from camlib.datasets.parsing import read_columns, read_matlab
from camlib.datasets.weights import PLACES_NAMES, PLACES_URL, find_released
from camlib.models import (
    BUNDLED_MODELS,
    CUT_MODELS,
    DILATED_MODELS,
    GAPNet,
    Pool,
    build_model,
    list_models,
    suggest_weights,
)
from camlib.store import data_root, file_sha256
from camlib.train.recipes import RECIPES, get_recipe
from camlib.train.training import train_model
from camlib.transforms import PRESETS, Geometry, Preset, adjust_preset, get_preset

PUBLISHED = ("bundled", "torchvision", "timm")
ABOUT_ROWS = ("label", "paper_row", "class_row", "against")  # of a row in a table
TRAINING_KEYS = ("trained_on", "train_options", "eval_options", "preset", "recipe", "epochs")


class Network(NamedTuple):
    """A network with what belongs to its weights."""

    net: GAPNet  # in eval mode, on the CPU
    preset: Preset  # the preprocessing of its input
    class_names: list[str]
    history: list[dict[str, float]]  # learning curve, see `train_model`; empty if nothing was trained here
    source: str  # where the weights come from; of a file with its checksum
    of_paper: bool = False  # whether it is a network of the paper, trained as the paper's was


def load_network(
    model: str,
    weights: str = "bundled",
    pool: Pool = "avg",
    *,
    training: Mapping[str, Any] | None = None,
    preset: str | Preset | None = None,
    geometry: Geometry | None = None,
    scale: int | None = None,
    seed: int = 0,
) -> Network:
    """Load, or train, a network; ready to use, with its preprocessing and its class names.

    model, pool: see `build_model`.
    weights, one of:
        "bundled", "torchvision", "timm": ImageNet weights, see `build_model`.
        "released": the authors' caffemodel in the data folder.
        "train": trained here from random weights. "finetune": from ImageNet weights, as the paper does.
        "random": drawn from `seed`.
        a file; a relative path counts from the data folder.
    training: what "train" and "finetune" need, a mapping with the keys
        trained_on (a dataset), train_options, eval_options (keywords of its two splits, train and val or test),
        preset (a name of camlib.transforms), recipe, epochs.
    preset: by default the one that belongs to the weights. A file brings it in a JSON file beside it (its name with
        .json added or in the place of its suffix); without that it must be given. "random" takes that of `training`.
    geometry, scale: the same network on another part of the image or another input size, see `adjust_preset`.
    Raises what the loaders raise, naming the file; ValueError for what is missing or unknown.

        net, preset, class_names, *_ = load_network("efficientnet_lite0")
    """
    given = get_preset(preset) if isinstance(preset, str) else preset
    if weights in ("train", "finetune"):
        network = _train_network(model, weights, pool, training or {}, seed)
    elif weights == "random":
        network = _draw_network(model, pool, given, training or {}, seed)
    elif weights == "released":
        path = find_released(model, data_root())
        own, source = get_preset(RELEASED[model]["preset"]), f"{path.name}, sha256 {file_sha256(path)}"
        names = places_names(path.with_name(PLACES_NAMES)) if model.endswith("_places") else imagenet_names()
        network = Network(load_released(path, model), own, names, [], source, True)
    elif weights in PUBLISHED:
        net = build_model(model, pool=pool, weights=weights).eval()
        network = Network(net, published_preset(model, weights), imagenet_names(), [], f"{model}, {weights} weights")
    else:
        path = data_root() / Path(weights).expanduser()
        if not path.is_file():
            known = [list_models().get(model, "timm"), *(["released"] if model in RELEASED else [])]
            hint = suggest_weights(str(weights), [*known, "train", "finetune", "random"])
            raise FileNotFoundError(f"weights file not found: {path}; {hint}")
        network = _load_file(model, path, pool, given)
    return network._replace(preset=adjust_preset(given or network.preset, geometry, scale))


def load_networks(networks: Sequence[Mapping[str, Any]], **shared: Any) -> dict[str, Network]:
    """Label -> network, for a list of mappings {label, model, weights, pool, ...}.

    shared: further arguments of `load_network` for all of them. ABOUT_ROWS are keys that are not for the network.
    """
    loaded = {}
    for settings in networks:
        own = {key: value for key, value in settings.items() if key not in ABOUT_ROWS}
        loaded[settings["label"]] = load_network(**shared, **own)
    return loaded


def _train_network(model: str, weights: str, pool: Pool, training: Mapping[str, Any], seed: int) -> Network:
    if set(training) != set(TRAINING_KEYS):
        raise ValueError(f"weights are {weights!r}; training has {sorted(training)}, expected {sorted(TRAINING_KEYS)}")
    train = datasets.load(training["trained_on"], split="train", **training["train_options"])
    held_out = "val" if "val" in datasets.get_source(training["trained_on"]).splits else "test"
    val = datasets.load(training["trained_on"], split=held_out, **training["eval_options"])
    preset, recipe = get_preset(training["preset"]), get_recipe(training["recipe"], training["epochs"])
    start = (list_models().get(model, "timm") or None) if weights == "finetune" else None
    net, history = train_model(model, train, val, preset=preset, recipe=recipe, pool=pool, weights=start, seed=seed)
    part = f"{len(train):,} of {train.info['whole']:,} images of " if "whole" in train.info else ""
    source = f"trained on {part}{train.name} from {start or 'random'} weights, {recipe.epochs} epochs"
    # Of torchvision's networks only VGG is the paper's: GoogLeNet has batch norm and no 5x5, AlexNet one tower.
    as_paper = recipe == RECIPES["paper"] and "whole" not in train.info
    of_paper = (model, weights, train.name) == ("vgg16_gap", "finetune", "ilsvrc2012") and as_paper
    return Network(net, preset, train.class_names, history, source, of_paper)


def _draw_network(model: str, pool: Pool, preset: Preset | None, training: Mapping[str, Any], seed: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build_model(model, pool=pool).eval()
    if preset is None and "preset" not in training:
        raise ValueError(f"random weights bring no preprocessing; expected preset=, one of {', '.join(PRESETS)}")
    preset = preset or get_preset(training["preset"])
    names = [f"class {k}" for k in range(net.fc.out_features)]
    return Network(net, preset, names, [], f"random, seed {seed}")


def _load_file(model: str, path: Path, pool: Pool, preset: Preset | None) -> Network:
    about = next(
        (file for file in (path.with_name(f"{path.name}.json"), path.with_suffix(".json")) if file.is_file()), None
    )
    own, names = _read_about(about) if about else (None, None)
    if path.is_file() and preset is None and own is None:
        raise ValueError(f"{path}: nothing says how its input is preprocessed; expected {path.stem}.json, or preset=")
    names = names or imagenet_names()
    net = build_model(model, len(names), pool, path).eval()
    return Network(net, preset or own, names, [], f"{path.name}, sha256 {file_sha256(path)}")  # type: ignore[arg-type]


def _read_about(path: Path) -> tuple[Preset, list[str] | None]:
    """The preset and the class names of a weights file, from the JSON file beside it.

    Keys: resize, crop, mean, std, channels ("RGB" or "BGR"), range (1 or 255), interpolation; optionally classes, a
    JSON file with "names", beside it or one folder up.
    """
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        mean, std = tuple(map(float, about["mean"])), tuple(map(float, about["std"]))
        channels = about["channels"].lower()
        preset = Preset(
            about["resize"], about["crop"], mean, std, channels, float(about["range"]), about["interpolation"]
        )
        listed = [folder / str(about.get("classes", "")) for folder in (path.parent, path.parent.parent)]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: not a description of weights ({error!r})") from error
    file = next((f for f in listed if f.is_file()), None)
    return preset, read_columns(file, "names")["names"] if file else None


def published_preset(model: str, weights: str) -> Preset:
    """The preprocessing that belongs to torchvision's, timm's or the bundled ImageNet weights of a network."""
    model = DILATED_MODELS.get(model, model)
    if weights == "torchvision":
        import torchvision

        name = CUT_MODELS[model][0] if model in CUT_MODELS else model
        name = name.removesuffix("_fc7").removesuffix("_cut")
        made = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
        size, crop = made.resize_size[0], made.crop_size[0]
        return Preset(size, crop, tuple(made.mean), tuple(made.std), interpolation=made.interpolation.value)
    import timm

    name = "efficientnet_lite0" if model == "efficientnet_lite0_gap" else model.removeprefix("timm/")
    config = timm.get_pretrained_cfg(BUNDLED_MODELS.get(name, name), allow_unregistered=False)
    assert config is not None  # an unknown name was refused before
    crop = config.input_size[-1]
    squash = math.floor(crop / config.crop_pct)
    return Preset(squash, crop, config.mean, config.std, interpolation=config.interpolation)


@cache
def imagenet_names() -> list[str]:
    """The names of the 1,000 ImageNet classes, in the order of the sorted wnids."""
    import torchvision

    return list(torchvision.models.get_model_weights("resnet18")["IMAGENET1K_V1"].meta["categories"])


def places_names(path: Path) -> list[str]:
    """The names of the 205 scenes of Places, from the authors' list: "/a/abbey", 0 and so on."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the authors' list of the scenes, at {PLACES_URL}")
    listed = dict(sorted((int(k), str(name)) for name, k in np.atleast_2d(read_matlab(path, "categories"))))
    if list(listed) != list(range(205)):
        raise ValueError(f"{path}: {len(listed)} categories; expected 205 with the numbers 0..204")
    return [name[3:].replace("_", " ") for name in listed.values()]
