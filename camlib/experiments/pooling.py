"""GAP against GMP over paired seeds (paper, Sections 2 and 3.2): errors at three thresholds, measures of whole maps."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from camlib.datasets.base import Dataset
from camlib.evaluate import localize, measure_maps, wrong_over_thresholds
from camlib.metrics import summarize_hits
from camlib.train import Network

CLASSIFICATION = ("top-1 classification error", "top-5 classification error")
LOCALIZATION = ("top-1 localization error", "top-5 localization error", "class-known localization error")
EXTENT = {"true box covered": "%", "map inside the true box": "%", "components": "pieces"}  # measure: unit
IOUS = (0.3, 0.5, 0.7)


def hold_out(images: Dataset, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the images that choose a threshold -> (held out, reported); excluded images are in neither."""
    usable = np.random.default_rng(seed).permutation(np.flatnonzero(~images.excluded))
    return usable[:count], usable[count:]


def measure_errors(nets: Sequence[Network], images: Dataset, thresholds: NDArray) -> dict[str, NDArray[np.bool_]]:
    """What goes wrong, for S networks on N images -> measure: (S, N), or (S, N, T) over the thresholds."""
    found = [localize(net, images, preset, thresholds=thresholds) for net, preset, *_ in nets]
    wrong = [wrong_over_thresholds(one, images) for one in found]
    return {name: np.stack([one[name] for one in wrong]) for name in wrong[0]}


def best_threshold(wrong: NDArray[np.bool_], where: NDArray[np.int64] | None, default: int) -> int:
    """The threshold with the fewest errors (S, N, T) on the images `where`; `default` if `where` is None."""
    return default if where is None else int(wrong[:, where].mean((0, 1)).argmin())


def cite_paper(measure: str, head: str) -> tuple[str, str, str] | None:
    """Where the paper prints an error of GoogLeNet with this head; None for what it doesn't print."""
    table = "Table 1" if measure in CLASSIFICATION else "Table 2"
    return None if measure == LOCALIZATION[2] else (table, f"GoogLeNet-{head}", measure[: len("top-1")])


def measure_seeds(nets: Sequence[Network], images: Dataset) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """How S networks' maps of the true class lie on N images.

    -> {measure of EXTENT, in its unit: (S, N)}, {"MaxBoxAcc", "MaxBoxAccV2", in %: (S,)}.
    """
    measures = [measure_maps(net, images, preset) for net, preset, *_ in nets]
    extent = np.stack([one.extent for one in measures])  # (S, N, 3)
    scales = {"%": 100, "pieces": 1}
    extents = {name: scales[unit] * extent[:, :, i] for i, (name, unit) in enumerate(EXTENT.items())}
    first = [100 * summarize_hits(one.largest, IOUS[1:2]).mean for one in measures]
    second = [100 * summarize_hits(one.best, IOUS).mean for one in measures]
    return extents, {"MaxBoxAcc": np.array(first), "MaxBoxAccV2": np.array(second)}
