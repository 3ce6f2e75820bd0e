"""Controls of the discovery experiments: another class's map, blind maps, the same pipeline with shuffled labels."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm import tqdm

from camlib.datasets.base import Dataset
from camlib.evaluate import iterate_maps
from camlib.features import LinearClassifier, with_classifier
from camlib.metrics import RegionShare, box_mask, centre_map, region_share
from camlib.models import GAPNet
from camlib.stats import Comparison, bootstrap_interval
from camlib.transforms import Preset


class Runs(NamedTuple):
    """How the maps of a pipeline lie on one kind of region, compared with baseline maps."""

    tables: dict[str, pd.DataFrame]  # whose map -> a row per image, columns mass, peak, precision, recall
    control: tuple[pd.DataFrame, pd.DataFrame]  # shuffled labels: own class, other class; a row per (shuffle, class)


def iterate_runs(
    net: GAPNet,
    svms: Sequence[LinearClassifier],
    dataset: Dataset,
    preset: Preset,
    classes: np.ndarray,
    others: np.ndarray,
) -> Iterator[np.ndarray]:
    """Maps of two classes per image, `classes` (N,) and `others` (N,), by each of R classifiers, in one forward pass.

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
    of a class, because these depend on the same classifier.
    Raises ValueError naming the image whose map or mask is at fault, or if there are more of one than of the other.
    """
    kept = []
    pairs = zip(maps, zip(*regions.values(), strict=True), strict=True)
    progress = tqdm(pairs, "maps and regions", len(classes), disable=len(classes) < 1000)
    with ThreadPoolExecutor() as pool:
        for i, (pair, masks) in enumerate(progress):
            flat = pair.reshape(-1, *pair.shape[2:])  # (2 R, H, W)
            candidates = [*flat, np.ones(flat.shape[1:]), centre_map(*flat.shape[1:])]
            try:
                kept.append([list(pool.map(region_share, candidates, repeat(mask))) for mask in masks])
            except ValueError as error:
                raise ValueError(f"image {i}: {error}") from None
    if len(kept) != len(classes):
        raise ValueError(f"{len(kept)} images have maps, but there are {len(classes)} classes; expected one per image")
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


def pair_runs(runs: Runs, measure: str) -> dict[tuple[str, str], tuple[pd.Series, pd.Series]]:
    """What is compared in one measure: (first, second) -> their shares, paired.

    The SVM's maps against the others and shuffled labels against the blind maps, over images; last the control, the
    shuffled labels' maps of an image's class against those of another class, over (shuffle, class).
    """
    own, *others = runs.tables
    names = [(own, other) for other in others]
    names += [("shuffled labels", blind) for blind in ("uniform map", "centre map")]
    pairs = {(a, b): (runs.tables[a][measure], runs.tables[b][measure]) for a, b in names}
    pairs["shuffled labels' map", "another class's"] = (runs.control[0][measure], runs.control[1][measure])
    return pairs


def judge_control(found: Mapping[tuple[str, str, str], Comparison], what: str) -> str:
    """Whether the control's difference stays under half of that of the true labels, in one measure.

    found: (measure, first, second) -> Comparison, of the pairs of `pair_runs`.
    """
    own = found[what, "SVM's map", "another class's map"].difference
    control = found[what, "shuffled labels' map", "another class's"].difference
    side = "under" if abs(control) < abs(own) / 2 else "over"
    return f"{what}, with shuffled labels {side} half of the difference between own and another class"


def outside_boxes(boxes: Iterable[ArrayLike], sizes: np.ndarray) -> Iterator[np.ndarray]:
    """For each image the pixels (H, W) that lie in none of its boxes (Mi, 4)."""
    return (~box_mask(one, size) for one, size in zip(boxes, sizes, strict=True))


def fit_shuffled(
    fit: Callable[..., LinearClassifier], features: np.ndarray, labels: np.ndarray, shuffles: int, seed: int = 0
) -> list[LinearClassifier]:
    """fit(features, labels, seed=seed) with the true labels, then with `shuffles` permutations of them: a control."""
    if shuffles < 1:
        raise ValueError(f"shuffles is {shuffles}; expected at least 1: without them there is no control")
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
