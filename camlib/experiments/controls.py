"""Controls of the discovery experiments: classes reassigned at test time, refits with shuffled labels, blind maps."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm import tqdm

from camlib.datasets.base import Dataset
from camlib.evaluate import iterate_maps
from camlib.features import LinearClassifier, with_classifier
from camlib.metrics import box_mask, centre_map
from camlib.models import GAPNet
from camlib.stats import bootstrap_interval
from camlib.transforms import Preset

THRESHOLD = 0.2  # of a map's maximum: what lies above it is the map's high region


class PermutationTest(NamedTuple):
    """A statistic, and where it stands among those of the permutations."""

    observed: float
    expected: float  # mean over the permutations
    p: float  # (1 + how many permutations are at least as extreme) / (1 + how many there are), one-sided
    permutations: int
    two_sided: float  # p of "no difference in either direction"

    def describe(self) -> str:
        """ "p = 0.001 of 999 permutations"."""
        return f"p = {self.p:.3f} of {self.permutations} permutations"


def permutation_test(
    measure: Callable[[np.ndarray], float],
    labels: ArrayLike,
    permutations: int = 999,
    seed: int = 0,
    more: bool = True,
) -> PermutationTest:
    """Whether measure(labels (N,)) is larger (more=False: smaller) than measure(a permutation of the labels).

    The permutation is the unit: p counts permutations, whatever the number of images. Under exchangeable labels p is
    at most x in a share x of all experiments. Raises ValueError if there is no permutation or a value is not finite.
    """
    given = np.asarray(labels)
    rng = np.random.default_rng(seed)
    return place_observed(measure(given), [measure(rng.permutation(given)) for _ in range(permutations)], more)


def place_observed(observed: float, permuted: ArrayLike, more: bool = True) -> PermutationTest:
    """The p-value of a statistic among those of R permutations (R,): (1 + #{permuted >= observed}) / (1 + R)."""
    values = np.asarray(permuted, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite([observed, *values]).all():
        raise ValueError(f"permuted has shape {values.shape}; expected (R,), R > 0, finite, as is the observed value")
    slack = 1e-9 * max(1.0, abs(observed))  # equal sums, added in another order, must count as equal
    extreme = values >= observed - slack, values <= observed + slack
    above, below = ((1 + np.count_nonzero(tail)) / (1 + len(values)) for tail in extreme)
    two_sided = min(1.0, 2 * min(above, below))
    return PermutationTest(float(observed), float(values.mean()), above if more else below, len(values), two_sided)


def permute_classes(
    scores: np.ndarray,
    labels: np.ndarray,
    others: ArrayLike = (),
    permutations: int = 999,
    seed: int = 0,
    more: bool = True,
) -> PermutationTest:
    """`permutation_test` of the mean score of each image's class, with the classes reassigned among the images.

    scores (M, C): what each image gives for each class, no classifier being fitted again; labels (M,).
    others (L,): the classes of further images, not measured, with which the measured ones exchange theirs.
    """
    rows, pool = np.arange(len(scores)), np.concatenate([labels, np.asarray(others, np.int64)])
    return permutation_test(lambda given: scores[rows, given[: len(rows)]].mean(), pool, permutations, seed, more)


def compare_classes(scores: np.ndarray, labels: np.ndarray, others: ArrayLike = ()) -> tuple[np.ndarray, np.ndarray]:
    """Scores of each image's class (M,), and what is expected of a class drawn from all labels (M,).

    scores, labels, others: as in `permute_classes`. The second is the mean over the reassignments of each image.
    """
    pool = np.concatenate([labels, np.asarray(others, np.int64)])
    frequency = np.bincount(pool, minlength=scores.shape[1]) / len(pool)
    return scores[np.arange(len(scores)), labels], scores @ frequency


class Shares(NamedTuple):
    """How much of each map lies on a region, by one measure of `RegionShare`, for N images; fractions."""

    classes: np.ndarray  # (N, C): maps of every class
    refits: np.ndarray  # (N, R): maps of the image's class, of classifiers that were fitted to shuffled labels
    uniform: np.ndarray  # (N,): a map that is the same everywhere
    centre: np.ndarray  # (N,): a Gaussian hill in the centre

    def summarise(self, labels: np.ndarray, others: ArrayLike = ()) -> dict[str, np.ndarray]:
        """Whose map -> shares (N,): own class, reassigned class, the two blind maps, shuffled labels if there are."""
        own, reassigned = compare_classes(self.classes, labels, others)
        rows = {"own class's map": own, "reassigned class's map": reassigned}
        rows |= {"uniform map": self.uniform, "centre map": self.centre}
        return rows | ({"shuffled labels": self.refits.mean(1)} if self.refits.size else {})


def iterate_runs(
    net: GAPNet, svms: Sequence[LinearClassifier], dataset: Dataset, preset: Preset, labels: np.ndarray
) -> Iterator[np.ndarray]:
    """Maps of every class by the first classifier, then of the image's class by each of the R others, in one pass.

    labels (N,): the images' classes. Yields (C + R, H, W) float32, raw, one image after another.
    """
    weight, bias = np.concatenate([svm.weight for svm in svms]), np.concatenate([svm.bias for svm in svms])
    looker = with_classifier(net, LinearClassifier(weight, bias, svms[0].c))
    first = np.cumsum([len(svm.bias) for svm in svms])[:-1]  # (R,)
    every = np.tile(np.arange(len(svms[0].bias)), (len(dataset), 1))  # (N, C)
    return iterate_maps(looker, dataset, preset, np.concatenate([every, labels[:, None] + first], 1))


def measure_runs(
    maps: Iterable[np.ndarray],
    regions: Mapping[str, Iterable[ArrayLike]],
    images: int,
    classes: int,
    measures: Sequence[str] = ("mass", "peak"),
) -> dict[str, Shares]:
    """How what `iterate_runs` yields lies on each kind of region: "<measure> <region>" -> shares.

    regions: name -> N masks (H, W) bool, which may come from a generator. images: N. classes: C, how many maps come
    first. measures: of `RegionShare`.
    Raises ValueError naming the image whose map or mask is at fault, or if there are more of one than of the other.
    """
    kept = []
    pairs = zip(maps, zip(*regions.values(), strict=True), strict=True)
    for i, (found, masks) in enumerate(tqdm(pairs, "maps and regions", images, disable=images < 1000)):
        blind = [np.ones(found.shape[1:]), centre_map(*found.shape[1:])]
        try:
            candidates = np.concatenate([found, blind]).astype(found.dtype)  # (C + R + 2, H, W)
            kept.append([share_maps(candidates, mask, measures) for mask in masks])
        except ValueError as error:
            raise ValueError(f"image {i}: {error}") from None
    if len(kept) != images:
        raise ValueError(f"{len(kept)} images have maps; expected {images}")
    shares = np.array(kept).transpose(1, 2, 0, 3)  # (regions, measures, N, C + R + 2)
    return {
        f"{measure} {region}": Shares(table[:, :classes], table[:, classes:-2], table[:, -2], table[:, -1])
        for region, tables in zip(regions, shares, strict=True)
        for measure, table in zip(measures, tables, strict=True)
    }


def share_maps(maps: np.ndarray, mask: ArrayLike, measures: Sequence[str]) -> np.ndarray:
    """`metrics.region_share` of many maps (M, H, W) on one region (H, W) bool, at once: (measures, M).

    Raises ValueError for maps that are not finite, or a mask of another shape or dtype.
    """
    region = np.asarray(mask)
    if region.dtype != bool or region.shape != maps.shape[1:]:
        raise ValueError(f"mask is {region.dtype} of shape {region.shape}; expected bool {maps.shape[1:]}, as the map")
    flat, inside = maps.reshape(len(maps), -1), region.ravel()
    top = flat.max(1, keepdims=True)  # (M, 1)
    if not np.isfinite(flat.sum(1)).all():
        raise ValueError(f"heat maps of shape {maps.shape} hold NaN or infinite values; expected finite ones")
    found: dict[str, np.ndarray] = {}
    if "mass" in measures:
        positive = flat.clip(0)
        total = positive.sum(1)
        part = positive @ inside.astype(flat.dtype)
        found["mass"] = np.divide(part, total, out=np.full(len(flat), inside.mean(), total.dtype), where=total > 0)
    if "peak" in measures:
        at = flat == top
        hit = np.count_nonzero(at & inside, axis=1) / np.count_nonzero(at, axis=1)
        found["peak"] = np.where(top[:, 0] > 0, hit, inside.mean())
    if {"precision", "recall"} & set(measures):
        high = find_high(flat)
        both = np.count_nonzero(high & inside, axis=1)
        found["precision"] = both / np.count_nonzero(high, axis=1)
        found["recall"] = both / np.count_nonzero(inside) if inside.any() else np.full(len(flat), np.nan)
    return np.stack([found[name] for name in measures])


def find_high(flat: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """`boxes.above_threshold` of many maps (M, P) at once: (M, P) bool, all of a map that holds no evidence."""
    top = flat.max(1, keepdims=True).astype(np.float64)
    return (flat > threshold * top) | (top <= 0)


def outside_boxes(boxes: Iterable[ArrayLike], sizes: np.ndarray) -> Iterator[np.ndarray]:
    """For each image the pixels (H, W) that lie in none of its boxes (Mi, 4)."""
    return (~box_mask(one, size) for one, size in zip(boxes, sizes, strict=True))


def fit_shuffled(
    fit: Callable[..., LinearClassifier], features: np.ndarray, labels: np.ndarray, shuffles: int, seed: int = 0
) -> list[LinearClassifier]:
    """fit(features, labels, seed=seed), then the same with `shuffles` permutations of the labels: a control.

    The first chooses its C by cross-validation; the others keep it.
    """
    first = fit(features, labels, seed=seed)
    shuffled = [np.random.default_rng([seed, s]).permutation(labels) for s in range(shuffles)]
    return [first, *(fit(features, given, seed=seed, candidates=[first.c]) for given in shuffled)]


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
