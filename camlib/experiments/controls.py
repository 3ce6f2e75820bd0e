"""Controls of the discovery experiments: another class's map, blind maps, the same pipeline with shuffled labels."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from camlib.datasets.base import Dataset
from camlib.evaluate import iterate_maps
from camlib.features import LinearClassifier, with_classifier
from camlib.metrics import RegionShare, centre_map, region_share
from camlib.models import GAPNet
from camlib.report.results import share_value
from camlib.stats import Comparison, bootstrap_interval, compare
from camlib.transforms import Preset


class Runs(NamedTuple):
    """How the maps of a pipeline lie on one kind of region, beside maps that know less."""

    tables: dict[str, pd.DataFrame]  # whose map -> a row an image, columns mass, peak, precision, recall
    control: tuple[pd.DataFrame, pd.DataFrame]  # shuffled labels, own and another class: a row a shuffle and class


def iterate_runs(
    net: GAPNet,
    svms: Sequence[LinearClassifier],
    dataset: Dataset,
    preset: Preset,
    classes: np.ndarray,
    others: np.ndarray,
) -> Iterator[np.ndarray]:
    """Maps of two classes an image, `classes` (N,) and `others` (N,), by each of R classifiers, in one forward pass.

    Yields (R, 2, H, W) float32, raw, one image after another.
    """
    weight, bias = np.concatenate([svm.weight for svm in svms]), np.concatenate([svm.bias for svm in svms])
    looker = with_classifier(net, LinearClassifier(weight, bias, svms[0].c))
    first = np.cumsum([0] + [len(svm.bias) for svm in svms[:-1]])  # (R,)
    asked = np.stack([classes, others], 1)[:, None] + first[:, None]  # (N, R, 2)
    for maps in iterate_maps(looker, dataset, preset, asked.reshape(len(dataset), -1)):
        yield maps.reshape(len(svms), 2, *maps.shape[1:])


def measure_runs(
    maps: Iterable[np.ndarray], regions: Mapping[str, Iterable[ArrayLike]], classes: np.ndarray
) -> dict[str, Runs]:
    """`region_share` in each kind of region of what `iterate_runs` yields (the first run's labels are the true ones).

    regions: name -> N masks (H, W) bool, which may come from a generator; classes (N,): those whose maps came first.
    Beside the maps of the true run stand that run's maps of other classes, two blind maps, and the mean over the
    shuffled runs. The control are the shuffled runs' two classes, which nothing tells apart: averaged over the images
    of a class, for these share one classifier's luck.
    Raises ValueError naming the image whose map or mask is at fault, or if there are more of one than of the other.
    """
    kept = []
    for i, (found, masks) in enumerate(zip(maps, zip(*regions.values(), strict=True), strict=True)):
        flat = found.reshape(-1, *found.shape[2:])  # (2 R, H, W)
        candidates = [*flat, np.ones(flat.shape[1:]), centre_map(*flat.shape[1:])]
        try:
            kept.append([[region_share(heatmap, mask) for heatmap in candidates] for mask in masks])
        except ValueError as error:
            raise ValueError(f"image {i}: {error}") from None
    if len(kept) != len(classes):
        raise ValueError(f"{len(kept)} images have maps, but there are {len(classes)} classes; expected one an image")
    shares = np.array(kept).transpose(1, 2, 0, 3)  # (regions, 2 R + 2, N, 4)
    runs = {}
    for name, region in zip(regions, shares, strict=True):
        own, other = region[:-2:2], region[1:-2:2]  # (R, N, 4)
        labelled = {"SVM's map": own[0], "another class's map": other[0], "uniform map": region[-2]}
        labelled |= {"centre map": region[-1], "shuffled labels": own[1:].mean(0)}
        means = [[run[classes == k].mean(0) for run in half[1:] for k in np.unique(classes)] for half in (own, other)]
        tables = {label: pd.DataFrame(table, columns=RegionShare._fields) for label, table in labelled.items()}
        control = tuple(pd.DataFrame(group, columns=RegionShare._fields) for group in means)
        runs[name] = Runs(tables, control)
    return runs


def compare_runs(
    where: str, runs: Runs, measures: Sequence[str], seed: int = 0
) -> tuple[list[dict[str, Any]], dict[str, Comparison]]:
    """What a results file keeps of `measure_runs`, and what paired intervals say of the SVM's maps against the others.

    -> a value for each measure and map, in %; {"peak on the object, SVM's map against centre map": Comparison}, whose
    verdict is "more", "less" or "no difference seen". Last for each measure, over shuffles and classes: "shuffled
    labels' map against another class's".
    """
    values, verdicts = [], {}
    for what in measures:
        values += [share_value(f"{what} {where}", table[what], label, seed) for label, table in runs.tables.items()]
        first, *others = runs.tables
        pairs = {f"{first} against {label}": (runs.tables[first][what], runs.tables[label][what]) for label in others}
        for blind in ("uniform map", "centre map"):
            pairs[f"shuffled labels against {blind}"] = (runs.tables["shuffled labels"][what], runs.tables[blind][what])
        pairs["shuffled labels' map against another class's"] = (runs.control[0][what], runs.control[1][what])
        for label, pair in pairs.items():
            found = compare(*pair, seed)
            word = {"better": "more", "worse": "less"}.get(found.verdict, found.verdict)
            verdicts[f"{what} {where}, {label}"] = found._replace(verdict=word)
    return values, verdicts


def fit_shuffled(
    fit: Callable[..., LinearClassifier], features: np.ndarray, labels: np.ndarray, shuffles: int, seed: int = 0
) -> list[LinearClassifier]:
    """fit(features, labels, seed=seed) with the true labels, then with so many shuffles of them: a claim's control."""
    if shuffles < 1:
        raise ValueError(f"shuffles is {shuffles}; expected at least 1, for there is no control without")
    shuffled = [np.random.default_rng([seed, s]).permutation(labels) for s in range(shuffles)]
    return [fit(features, given, seed=seed) for given in (labels, *shuffled)]


def rank_groups(values: ArrayLike, labels: np.ndarray, names: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Mean of values (N,) in each group of labels (N,), the largest first, with 95 % bootstrap intervals.

    Columns: name, n, estimate, low, high, in the unit of the values. Raises ValueError if lengths differ.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.shape != labels.shape:
        raise ValueError(f"values {numbers.shape} and labels {labels.shape} do not fit: expected (N,) twice")
    groups = {k: numbers[labels == k] for k in np.unique(labels)}
    rows = [(names[k], len(members), *bootstrap_interval(members, seed=seed)) for k, members in groups.items()]
    table = pd.DataFrame(rows, columns=["name", "n", "estimate", "low", "high"])
    return table.sort_values("estimate", ascending=False, ignore_index=True)
