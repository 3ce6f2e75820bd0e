"""What makes a map localize (paper, Sections 2, 3.1): the resolution of the map, and how many parts tell the class."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from camlib.boxes import largest_component_box
from camlib.datasets import load_from
from camlib.datasets.base import Dataset
from camlib.evaluate import localize, predict_maps, wrong_over_thresholds
from camlib.models import build_model
from camlib.stats import SeedComparison
from camlib.train import Network, load_network

THRESHOLDS = np.arange(61) / 100  # fractions of a map's maximum
AT_20 = 20  # the place of the paper's
KNOWN = "class-known localization error"
CHOSEN = f"{KNOWN}, threshold chosen on other images"
PART = "class-known error on the telling parts' box"
DIAL_MEASURES = ("top-1 classification error", KNOWN, CHOSEN, PART)
MEASURES = ("top-1 classification error", "top-1 localization error", KNOWN, CHOSEN)
CLAIMS = {f"{KNOWN}, 1 telling part": "telling_parts"}  # value -> the registered claim that it decides


def choose_part(images: Dataset, count: int, seed: int) -> Dataset:
    """At most `count` of the images that count for localization, drawn from the seed; `info` says of how many."""
    usable = np.random.default_rng(seed).permutation(np.flatnonzero(~images.excluded))
    if count >= len(usable):
        return images.subset(np.sort(usable))
    part = images.subset(np.sort(usable[:count]))
    return replace(part, info={"whole": len(images), **part.info})


def load_rows(
    networks: Sequence[Mapping[str, Any]], training: Mapping[str, Any], seeds: Sequence[int]
) -> dict[str, list[Network]]:
    """Label -> a network per seed, for a list of mappings {label, model, weights, ...}; `against` is not for them."""
    return {
        row["label"]: [
            load_network(
                **{k: v for k, v in row.items() if k not in ("label", "against")}, training=training, seed=seed
            )
            for seed in seeds
        ]
        for row in networks
    }


def list_pairs(networks: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(label, the label it is compared with) of the rows that have one; KeyError for a label that no row has."""
    labels = [row["label"] for row in networks]
    pairs = [(row["label"], row["against"]) for row in networks if row.get("against")]
    for label, other in pairs:
        if other not in labels:
            raise KeyError(f"{label} is compared with {other!r}; expected one of {', '.join(labels)}")
    return pairs


def measure_grid(network: Network) -> tuple[int, int]:
    """Cells along a side of a network's map at its input size, and its number of parameters."""
    x = torch.zeros(1, 3, network.preset.crop, network.preset.crop)
    with torch.no_grad():
        side = network.net.features(x).shape[-1]
    return side, sum(p.numel() for p in network.net.parameters())


def cross_fit(wrong: NDArray[np.bool_], seed: int = 0) -> NDArray[np.bool_]:
    """Errors (S, N, T) over thresholds -> (S, N): each half of the images at the threshold that suits the other."""
    order = np.random.default_rng(seed).permutation(wrong.shape[1])
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    chosen = np.empty(wrong.shape[:2], bool)
    for own, other in (halves, halves[::-1]):
        chosen[:, own] = wrong[:, own, wrong[:, other].mean((0, 1)).argmin()]
    return chosen


def measure_wrong(nets: Sequence[Network], images: Dataset, seed: int = 0) -> dict[str, NDArray[np.bool_]]:
    """What S networks get wrong on N images: MEASURES -> (S, N), at 20 % but for CHOSEN.

    Of drawn objects also PART: the box of the true class's map against the box of the parts that tell it.
    """
    found = [localize(net, images, preset, top=1, thresholds=THRESHOLDS) for net, preset, *_ in nets]
    each = [wrong_over_thresholds(one, images) for one in found]
    stacked = {name: np.stack([wrong[name] for wrong in each]) for name in MEASURES[:3]}
    result = {name: values if values.ndim == 2 else values[:, :, AT_20] for name, values in stacked.items()}
    result[CHOSEN] = cross_fit(stacked[KNOWN], seed)
    if "telling_boxes" in images.extras:
        parts = replace(images, boxes=images.extras["telling_boxes"])
        result[PART] = np.stack([wrong_over_thresholds(one, parts)[KNOWN][:, AT_20] for one in found])
    return result


def map_classes(
    nets: Mapping[str, Network], images: Dataset, where: NDArray[np.int64]
) -> tuple[dict[str, list[NDArray]], dict[str, list[NDArray]]]:
    """For figures: each network's maps (H, W) of the true class of a few images, and their boxes (4,) at 20 %."""
    labels = images.labels[where]
    maps = {label: predict_maps(net, images, where, preset, labels) for label, (net, preset, *_) in nets.items()}
    return maps, {label: [largest_component_box(heatmap) for heatmap in own] for label, own in maps.items()}


def turn_dial(settings: Mapping[str, Any], training: Mapping[str, Any], telling: int) -> tuple[Dataset, dict[str, Any]]:
    """The images of a notebook's mapping, and its training, with `telling` telling parts."""
    dial = {"telling_parts": telling}
    parts = {key: {**training[key], **dial} for key in ("train_options", "eval_options")}
    return load_from({**settings, **dial}), {**training, **parts}


def name_value(measure: str, telling: int) -> str:
    """The name of a value at one setting of the dial."""
    return f"{measure}, {telling} telling part{'s' if telling > 1 else ''}"


def find_advantage(wrong: Mapping[str, Mapping[str, NDArray[np.bool_]]], measure: str) -> NDArray[np.float64]:
    """How much less often GAP is wrong than GMP, image by image: (N,) shares of the seeds, from -1 to 1."""
    return wrong["GMP"][measure].mean(0) - wrong["GAP"][measure].mean(0)


def describe_boxes(wrong: Mapping[str, Mapping[str, NDArray[np.bool_]]], centre: float) -> str:
    """How often each row's box of the true class is wrong at 20 %, and the best centre box (`centre`, %)."""
    listed = ", ".join(f"{label} {100 * measured[KNOWN].mean():.1f} %" for label, measured in wrong.items())
    return f"Wrong boxes of the true class: {listed}; the best centre box {centre:.1f} %."


def describe_dial(found: Mapping[int, SeedComparison]) -> list[str]:
    """What the curve says, a sentence per setting of the dial: `found` are the comparisons in KNOWN."""
    return [row.sentence(name_value(KNOWN, telling), "GAP", "GMP") for telling, row in found.items()]


def describe_scope(images: Dataset, seeds: Sequence[int]) -> str:
    """ "An illustration, 1 seed:" where networks of fewer than three seeds saw drawn data, else ""; a line."""
    few = images.synthetic and len(seeds) < 3
    return f"An illustration, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}:\n" if few else ""


def count_saved(classifier: str, gap_network: str) -> float:
    """Share of a torchvision classifier's parameters, in %, that its GAP network does without (paper, Section 3.1)."""
    import torchvision

    with torch.device("meta"):  # counted, not computed with
        nets = torchvision.models.get_model(classifier), build_model(gap_network)
    before, after = (sum(p.numel() for p in net.parameters()) for net in nets)
    return 100 * (1 - after / before)
