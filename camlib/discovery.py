"""What the maps fall on (paper, Sections 4 and 5): objects, phrases, text; and the class-specific units behind them.

Maps are raw (H, W); a map counts by its positive part, and one without any counts as a uniform map.
"""

import copy
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from camlib.boxes import above_threshold, check_boxes, check_map
from camlib.datasets import Dataset
from camlib.evaluate import iterate_maps, pick_device
from camlib.features import LinearClassifier, fit_linear, with_classifier
from camlib.models import GAPNet
from camlib.results import measured
from camlib.stats import Comparison, bootstrap_interval, compare
from camlib.transforms import Preset, centre_crop, crop_windows, iterate_batches, normalize_images

Mask = NDArray[np.bool_]


def box_mask(boxes: ArrayLike, size: Sequence[int] | np.ndarray) -> Mask:
    """Pixels whose centre lies in any of the boxes (M, 4), for an image of size (width, height) -> (H, W) bool."""
    width, height = int(size[0]), int(size[1])
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in np.reshape(check_boxes(boxes, allow_empty=True), (-1, 4)):
        mask |= ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))
    return mask


def holds_point(boxes: ArrayLike, point: ArrayLike) -> bool:
    """Whether a point (x, y) lies in any of the boxes (M, 4)."""
    corners = np.reshape(check_boxes(boxes, allow_empty=True), (-1, 4))
    x, y = np.asarray(point, np.float64)
    x0, y0, x1, y1 = corners.T
    return bool(((x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)).any())


def centre_map(height: int, width: int) -> NDArray[np.float64]:
    """A Gaussian hill in the centre, its deviation a quarter of each side: what a map knows that has not looked."""
    y, x = (((np.arange(side) + 0.5) / side - 0.5) / 0.25 for side in (height, width))
    return np.exp(-0.5 * (y[:, None] ** 2 + x**2))


def _checked(heatmap: ArrayLike, mask: ArrayLike) -> tuple[NDArray[np.float64], Mask]:
    values, region = check_map(heatmap), np.asarray(mask)
    if region.dtype != bool or region.shape != values.shape:
        raise ValueError(f"mask is {region.dtype} of shape {region.shape}; expected bool {values.shape}, as the map")
    return values, region


class RegionShare(NamedTuple):
    """How a map lies on a region, as fractions."""

    mass: float  # share of the map's positive part that is inside
    peak: float  # 1 if its maximum is inside, 0 if not, between them where several pixels share the maximum
    precision: float  # share of the high pixels, those above a fraction of the maximum, that are inside
    recall: float  # share of the region's pixels that are high; NaN for an empty region


def region_share(heatmap: ArrayLike, mask: ArrayLike, threshold: float = 0.2) -> RegionShare:
    """How a map (H, W) lies on a region (H, W) bool; `threshold` as in `largest_component_box`.

    A constant or nowhere positive map holds no evidence: mass, peak, precision are the region's share of the area.
    Raises ValueError for a bad map or threshold, or a mask of another shape or dtype.
    """
    values, region = _checked(heatmap, mask)
    high = above_threshold(values, threshold).astype(bool)
    both, inside = np.count_nonzero(high & region), np.count_nonzero(region)
    precision, recall = both / np.count_nonzero(high), both / inside if inside else np.nan
    if values.max() <= 0:
        return RegionShare(inside / region.size, inside / region.size, precision, recall)
    mass = values.clip(0)
    peak = region[values == values.max()].mean()
    return RegionShare(float(mass[region].sum() / mass.sum()), float(peak), precision, recall)


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


def share_value(name: str, shares: ArrayLike, model: str = "", seed: int = 0) -> dict[str, Any]:
    """Mean of fractions (N,), one an image, with its bootstrap interval, in %, as a results file keeps it."""
    mean, low, high = (100 * v for v in bootstrap_interval(shares, seed=seed))
    return measured(name, mean, n=len(np.asarray(shares)), interval=(low, high), model=model)


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


def polygon_mask(points: ArrayLike, size: tuple[int, int]) -> Mask:
    """Pixels whose centre lies in a polygon (P, 2), for an image of size (width, height) -> (H, W) bool.

    Drawn four times finer, and there by OpenCV, whose outlines are a pixel wide: right to a quarter of a pixel.
    """
    fine, (width, height) = 4, size
    corners = np.clip(points, -1, np.add(size, 1)) * fine
    canvas = np.zeros((fine * height, fine * width), np.uint8)
    cv2.fillPoly(canvas, [np.rint(corners - 0.5).astype(np.int32)], (1,))
    return canvas[fine // 2 :: fine, fine // 2 :: fine].astype(bool)


def object_masks(dataset: Dataset, i: int) -> dict[str, Mask]:
    """Name -> pixels (H, W) of the objects annotated in image i, instances of one name together.

    Reads `extras` of synthetic-scenes (`objects`, `object_masks`) or of sun2012 (`objects`, `polygons`; an object drawn
    over another hides nothing of it). Raises ValueError for a dataset without them.
    """
    extras = dataset.extras
    if "objects" not in extras or not {"object_masks", "polygons"} & set(extras):
        raise ValueError(f"{dataset.name} has no annotated objects; expected synthetic-scenes or sun2012")
    width, height = (int(v) for v in dataset.sizes[i])
    found: dict[str, Mask] = {}
    for k, listed in enumerate(extras["objects"][i]):
        if "polygons" in extras:
            name, mask = listed, polygon_mask(extras["polygons"][i][k], (width, height))
        else:
            name, mask = listed[0], extras["object_masks"][i][listed[2]]
        if mask.any():
            found[name] = found[name] | mask if name in found else mask
    return found


def measure_objects(
    maps: Iterable[np.ndarray], objects: Iterable[Mapping[str, Mask]], threshold: float = 0.2
) -> list[pd.DataFrame]:
    """How the high region of each map (above `threshold` of its maximum) lies on the objects, run by run.

    maps: for each image R maps, (R, H, W). Returns R tables, a row an object an image. Columns: image (0..N-1), object,
    area (share of the image's pixels that are the object's), high (share of the high region's pixels that are), covered
    (share of the object's pixels that are high).
    """
    rows: list[list[tuple[int, str, float, float, float]]] = []
    for i, (found, named) in enumerate(zip(maps, objects, strict=True)):
        rows = rows or [[] for _ in found]
        sizes = {name: np.count_nonzero(_checked(found[0], mask)[1]) for name, mask in named.items()}
        for run, heatmap in zip(rows, found, strict=True):
            high = above_threshold(heatmap, threshold).astype(bool)
            total = np.count_nonzero(high)
            for name, mask in named.items():
                both = np.count_nonzero(high & mask)
                run.append((i, name, sizes[name] / mask.size, both / total, both / sizes[name]))
    return [pd.DataFrame(run, columns=["image", "object", "area", "high", "covered"]) for run in rows]


def rank_objects(overlaps: pd.DataFrame, images: int, least: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """The objects of one scene: how often they are there, how often a map covers them, and the lift; by overlap.

    overlaps: rows of `measure_objects` of this scene's images, of which there are `images`. Index: the object. Columns:
    frequency, share of the images that hold it;
    overlap, share of the images where at least half of its pixels are high (the paper counts how often objects overlap
      with high regions, and leaves open what counts as overlap);
    lift, mean share of the high region that it takes / mean share of the image that it takes, over the images that hold
      it: 1 for a map that does not look, whatever the object's size and frequency;
    low, high: 95 % bootstrap interval, over those images, of the difference of the two shares.
    Objects in under `least` of the images are left out: their lift is a matter of a few images.
    """
    rows = {}
    for name, group in overlaps.groupby("object", sort=True):
        if len(group) / images >= least:
            difference = bootstrap_interval(group["high"], group["area"], seed=seed)
            lift = group["high"].mean() / group["area"].mean()
            rows[name] = (len(group) / images, (group["covered"] >= 0.5).sum() / images, lift, *difference[1:])
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["frequency", "overlap", "lift", "low", "high"])
    return table.sort_values(["overlap", "lift"], ascending=False)


def rank_scenes(overlaps: pd.DataFrame, labels: np.ndarray, names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """{scene: its table of `rank_objects`}; labels (N,): of the images that `measure_objects` saw."""
    own = {names[k]: np.flatnonzero(labels == k) for k in np.unique(labels)}
    return {k: rank_objects(overlaps[overlaps["image"].isin(i)], len(i), seed=seed) for k, i in own.items()}


def captions_with(captions: Sequence[str], phrase: str) -> Mask:
    """Which captions contain the phrase as whole words, in any case -> (N,) bool. ValueError for an empty phrase."""
    if not phrase.strip():
        raise ValueError("phrase is empty; expected at least one word")
    words = r"\s+".join(map(re.escape, phrase.split()))
    pattern = re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
    return np.array([bool(pattern.search(caption)) for caption in captions])


def mine_detector(features: np.ndarray, positive: ArrayLike, seed: int = 0, rounds: int = 4) -> LinearClassifier:
    """A linear detector by hard-negative mining (paper, Section 4: concepts): row 1 of the classifier is "with".

    features (N, K), positive (N,) bool. It starts from all positives and as many random negatives; each round adds the
    negatives that the detector scores worst, those it gets wrong or within the margin, up to the number of positives,
    and fits again; it stops when there are none. Raises ValueError if there are fewer than two of either kind.
    """
    wanted = np.asarray(positive, bool)
    count = int(wanted.sum())
    if wanted.shape != (len(features),) or not 2 <= count <= len(wanted) - 2 or rounds < 1:
        raise ValueError(
            f"positive has shape {wanted.shape}, {count} of them, rounds is {rounds}; expected ({len(features)},), at "
            "least two of both kinds, one round or more"
        )
    used = wanted.copy()
    used[np.random.default_rng(seed).permutation(np.flatnonzero(~wanted))[:count]] = True
    for _ in range(rounds):
        classifier = fit_linear(features[used], wanted[used].astype(np.int64), seed)
        score = classifier.decision(features)[:, 1]  # (N,)
        hard = np.flatnonzero(~used & (score > -1))
        if not len(hard):
            break
        used[hard[np.argsort(-score[hard], kind="stable")[:count]]] = True
    return classifier


def join_detectors(detectors: Sequence[LinearClassifier]) -> LinearClassifier:
    """Several detectors of `mine_detector` as one classifier: row k is detector k's "with"."""
    weight, bias = np.stack([d.weight[1] for d in detectors]), np.array([d.bias[1] for d in detectors])
    return LinearClassifier(weight, bias, detectors[0].c)


class ReceptiveField(NamedTuple):
    """The pixels that unit u of a row (or column) of units sees: offset + u * stride, and `size` of them."""

    size: int
    stride: int
    offset: int  # of unit 0; below 0 where it sees padding


def receptive_field(net: GAPNet, limit: int = 2048) -> ReceptiveField:
    """Receptive field of the units of a network's last feature maps, square kernels taken for granted, by experiment.

    A NaN in the input spreads to exactly the units that see it, through pooling, ReLU and zero weights alike: the field
    ends where a growing poisoned margin reaches the unit, from either side, found by bisection. In float64: the fast
    algorithms for float32 (Winograd) would carry a NaN to neighbours that a convolution does not reach.
    Raises ValueError if the field is larger than `limit` px (or is the whole image, as with squeeze-and-excitation).
    """
    backbone = copy.deepcopy(net.backbone).cpu().double().eval()

    def reaches(unit: int, first: int, last: int) -> bool:
        poisoned = torch.zeros(1, 3, side, side, dtype=torch.float64)
        poisoned[..., first:last] = torch.nan
        return bool(backbone(poisoned)[0, :, :, unit].isnan().any())

    side = 64
    with torch.no_grad():
        while side <= limit:
            unit = backbone(torch.zeros(1, 3, side, side, dtype=torch.float64)).shape[-1] // 2
            if unit > 1 and not reaches(unit, 0, 1) and not reaches(unit, side - 1, side):
                left, next_left = (
                    bisect_left(range(side), True, key=lambda x, u=u: reaches(u, 0, x + 1))  # type: ignore[misc]
                    for u in (unit, unit + 1)
                )
                right = side - bisect_left(range(side), True, key=lambda x: reaches(unit, side - x - 1, side))
                return ReceptiveField(right - left, next_left - left, left - (next_left - left) * unit)
            side *= 2
    raise ValueError(f"the receptive field is larger than {limit} px; expected a smaller one, or no global layer")


class UnitPeaks(NamedTuple):
    """The strongest response of each of K units in each of N images."""

    responses: np.ndarray  # (N, K) float32
    places: np.ndarray  # (N, K, 2) int64, column and row of the feature map


def find_peaks(net: GAPNet, dataset: Dataset, preset: Preset, batch_size: int = 64) -> UnitPeaks:
    """One pass over a dataset: where every unit of the last feature maps responds most in each image's centre crop."""
    device = pick_device()
    net = net.to(device).eval()
    responses, places = [], []
    for _, images in iterate_batches(dataset, preset.squash, batch_size):
        with torch.no_grad():
            maps = net.features(normalize_images(centre_crop(images, preset.crop).to(device), preset))  # (B, K, h, w)
        best, flat = maps.flatten(2).max(2)
        responses.append(best.float().cpu().numpy())
        places.append(torch.stack([flat % maps.shape[-1], flat // maps.shape[-1]], -1).cpu().numpy())
    net.cpu()
    return UnitPeaks(np.concatenate(responses), np.concatenate(places))


def top_patches(
    peaks: UnitPeaks, units: ArrayLike, n: int, field: ReceptiveField, sizes: np.ndarray, preset: Preset
) -> tuple[np.ndarray, np.ndarray]:
    """The n images where each of the units (U,) responds most, and the patch it sees there (paper, Section 5).

    sizes (N, 2): the images'. Returns images (U, n) int64, strongest first, and boxes (U, n, 4) float64 in pixels of
    the original images, the unit's receptive field at its peak, cut at the border of the crop that the network saw.
    """
    chosen = np.asarray(units, np.int64)
    if not 0 < n <= len(peaks.responses):
        raise ValueError(f"n is {n}; expected 1..{len(peaks.responses)}, the number of images")
    images = np.argsort(-peaks.responses[:, chosen], axis=0, kind="stable")[:n].T  # (U, n)
    corner = field.offset + field.stride * peaks.places[images, chosen[:, None]]  # (U, n, 2), pixels of the crop
    corners = np.concatenate([corner, corner + field.size], -1).clip(0, preset.crop)
    windows = crop_windows(sizes, preset)[images]  # (U, n, 4)
    scale = (windows[..., 2:] - windows[..., :2]) / preset.crop
    return images, corners * np.tile(scale, 2) + np.tile(windows[..., :2], 2)


def rank_units(weight: ArrayLike, count: int) -> np.ndarray:
    """The `count` units with the largest weight for each class, largest first: weight (C, K) -> (C, count) int64."""
    values = np.asarray(weight)
    if values.ndim != 2 or not 0 < count <= values.shape[1]:
        raise ValueError(f"weight has shape {values.shape}, count is {count}; expected (C, K) and 1..K")
    return np.argsort(-values, axis=1, kind="stable")[:, :count]


def unit_auc(responses: np.ndarray, labels: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well each class's units tell its images from the others -> (classes that occur (c,), mean area (c,)).

    responses (N, K), labels (N,), units (C, count) as `rank_units` gives them. For each class and unit: the area under
    the ROC curve of the unit's response, i.e. how often an image of the class excites it more than an image of another
    (ties half); 0.5 is chance. Averaged over the class's units. Raises ValueError if all labels are one class.
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise ValueError(f"labels hold {len(present)} class; expected at least two")
    ranks = rankdata(responses, axis=0)  # (N, K), from 1
    areas = []
    for c in present:
        own = labels == c
        inside, outside = own.sum(), (~own).sum()
        excess = ranks[own][:, units[c]].sum(0) - inside * (inside + 1) / 2
        areas.append((excess / (inside * outside)).mean())
    return present, np.array(areas)
