"""GAP against GMP over paired seeds (paper, Sections 2 and 3.2): errors at three thresholds, measures of whole maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlib.boxes import centre_box
from camlib.datasets.base import Dataset
from camlib.evaluate import localize, measure_maps, wrong_over_thresholds
from camlib.metrics import correct_boxes, fit_centre_fraction
from camlib.models import Pool
from camlib.train import Network, load_network

CLASSIFICATION = ("top-1 classification error", "top-5 classification error")
LOCALIZATION = ("top-1 localization error", "top-5 localization error", "class-known localization error")
# Measures of whole maps: unit.
MAPS = {"true box covered": "%", "map inside the true box": "%", "components": "pieces"}
MAPS |= {"MaxBoxAcc": "%", "MaxBoxAccV2": "%"}
SCALES = {"%": 100, "pieces": 1}
IOUS = (0.3, 0.5, 0.7)


def hold_out(images: Dataset, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the images that choose a threshold -> (held out, reported); excluded images are in neither.

    Raises ValueError if one of the two would be empty.
    """
    usable = np.random.default_rng(seed).permutation(np.flatnonzero(~images.excluded))
    if not 0 < count < len(usable):
        raise ValueError(f"{count} images held out of {len(usable)} of {images.name}; expected 1..{len(usable) - 1}")
    return usable[:count], usable[count:]


def measure_errors(nets: Sequence[Network], images: Dataset, thresholds: NDArray) -> dict[str, NDArray[np.bool_]]:
    """What goes wrong, for S networks on N images -> measure: (S, N), or (S, N, T) over the thresholds."""
    found = [localize(net, images, preset, thresholds=thresholds) for net, preset, *_ in nets]
    wrong = [wrong_over_thresholds(one, images) for one in found]
    return {name: np.stack([one[name] for one in wrong]) for name in wrong[0]}


def best_threshold(wrong: NDArray[np.bool_], where: NDArray[np.int64] | None, default: int) -> int:
    """The threshold with the fewest errors (S, N, T) on the images `where`; `default` if `where` is None."""
    return default if where is None else int(wrong[:, where].mean((0, 1)).argmin())


def select_errors(
    wrong: Mapping[str, Mapping[str, NDArray]],
    held: NDArray[np.int64],
    reported: NDArray[np.int64],
    thresholds: NDArray,
) -> tuple[dict[str, dict[str, NDArray[np.float64]]], dict[str, dict[str, str]]]:
    """The errors of each head at three thresholds: the paper's, one chosen on the images held out, the oracle's.

    wrong: head -> measure -> what `measure_errors` gives.
    -> row -> head -> (S, N) errors of the reported images in %; row -> head -> the threshold, as text.
    """
    at20 = int(np.abs(thresholds - 0.2).argmin())
    rules = {"20 %": None, "held-out threshold": held, "oracle threshold": reported}  # chosen on
    rows = {name: {head: 100 * w[name][:, reported] for head, w in wrong.items()} for name in CLASSIFICATION}
    chosen = {}
    for name in LOCALIZATION:
        for rule, where in rules.items():
            best = {head: best_threshold(w[name], where, at20) for head, w in wrong.items()}
            rows[f"{name}, {rule}"] = {h: 100 * w[name][:, reported, best[h]] for h, w in wrong.items()}
            chosen[f"{name}, {rule}"] = {head: f"{thresholds[t]:.0%}" for head, t in best.items()}
    return rows, chosen


# Row of `select_errors` -> table and column of the paper.
CITED = {f"top-{k} classification error": ("Table 1", f"top-{k}") for k in (1, 5)}
CITED |= {f"top-{k} localization error, 20 %": ("Table 2", f"top-{k}") for k in (1, 5)}


# Row of `select_errors` -> the registered claim that it decides.
CLAIMS = {
    "top-1 classification error": "gap_gmp_classification",
    "top-1 localization error, 20 %": "gap_gmp_localization",
}


def cite_paper(row: str, head: str) -> tuple[str, str, str] | None:
    """Where the paper prints an error of GoogLeNet with this head; None for what it doesn't print."""
    return (CITED[row][0], f"GoogLeNet-{head}", CITED[row][1]) if row in CITED else None


def load_heads(
    model: str, weights: str, heads: Mapping[str, Pool], training: Mapping[str, Any], seeds: Sequence[int]
) -> dict[str, list[Network]]:
    """One network per head and seed."""
    return {
        head: [load_network(model, weights, pool, training=training, seed=seed) for seed in seeds]
        for head, pool in heads.items()
    }


def describe_box(errors: Mapping[str, Mapping[str, NDArray]], centre: float, where: str) -> str:
    """The heads' error with the class known beside that of the best centre box, in %, as a sentence."""
    heads = {head: both.mean() for head, both in errors["class-known localization error, 20 %"].items()}
    worst, best = max(heads.values()), min(heads.values())
    side = "fewer than either head" if centre < best else "more than either" if centre > worst else "between them"
    listed = ", ".join(f"{head} in {error:.1f} %" for head, error in heads.items())
    return f"With the class known ({where}), the box is wrong: {listed}; the best centre box in {centre:.1f} %, {side}."


def err_centre_box(images: Dataset) -> NDArray[np.bool_]:
    """Where the best centre box is wrong (class known): (N,), the strongest answer that looks at no image."""
    box = centre_box(images.sizes, fit_centre_fraction(images.sizes, images.boxes))
    return ~correct_boxes(box, images.boxes)


def measure_seeds(nets: Sequence[Network], images: Dataset) -> dict[str, NDArray[np.float64]]:
    """How S networks' maps of the true class lie on N images -> measure of MAPS, in its unit: (S, N).

    MaxBoxAcc and MaxBoxAccV2 are means of their rows: each image's hits at the threshold that is best for all of them.
    """
    measures = [measure_maps(net, images, preset) for net, preset, *_ in nets]
    extent = np.stack([one.extent for one in measures])  # (S, N, 3)
    found = dict(zip(MAPS, np.moveaxis(extent, 2, 0), strict=False))
    found["MaxBoxAcc"] = np.stack([best_hits(one.largest, IOUS[1:2]) for one in measures])
    found["MaxBoxAccV2"] = np.stack([best_hits(one.best, IOUS) for one in measures])
    return {name: SCALES[unit] * found[name] for name, unit in MAPS.items()}


def best_hits(hits: NDArray[np.bool_], ious: Sequence[float]) -> NDArray[np.float64]:
    """Hits (N, D, 256) at the best threshold of each of D IoUs, the mean over these: (N,); its mean is the accuracy."""
    best = hits.mean(0).argmax(1)  # (D,)
    return hits[:, np.arange(len(ious)), best].mean(1)
