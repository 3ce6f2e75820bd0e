"""Which annotated objects the maps of scene classes fall on (paper, Section 4: informative objects in the scenes)."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from camlib.datasets.base import Dataset
from camlib.experiments.controls import THRESHOLD, find_high
from camlib.metrics import Mask, check_region, polygon_mask
from camlib.stats import bootstrap_interval

HALF = 0.5  # share of an object's pixels that must be high for it to overlap with the high region
LEAST = 0.1  # share of a scene's images that an object must be in to be listed


def object_masks(dataset: Dataset, i: int) -> dict[str, Mask]:
    """Name -> pixels (H, W) of the objects annotated in image i, instances of one name together.

    Reads `extras` of synthetic-scenes (`objects`, `object_masks`), of sun2012 (`objects`, `polygons`; an object drawn
    over another hides nothing of it) or of coco (`objects`, `segments`). Raises ValueError for a dataset without them.
    """
    extras = dataset.extras
    if "objects" not in extras or not {"object_masks", "polygons", "segments"} & set(extras):
        raise ValueError(f"{dataset.name} has no annotated objects; expected synthetic-scenes, sun2012 or coco")
    width, height = (int(v) for v in dataset.sizes[i])
    found: dict[str, Mask] = {}
    for k, listed in enumerate(extras["objects"][i]):
        if "polygons" in extras:
            name, mask = listed, polygon_mask(extras["polygons"][i][k], (width, height))
        elif "segments" in extras:
            name, mask = listed, _decode_segment(extras["segments"][i][k], width, height)
        else:
            name, mask = listed[0], extras["object_masks"][i][listed[2]]
        if mask.any():
            found[name] = found[name] | mask if name in found else mask
    return found


def _decode_segment(segment: Any, width: int, height: int) -> Mask:
    """An outline of COCO, a list of polygons or a run-length code, as pixels (H, W)."""
    from pycocotools import mask as coco_masks

    packed = isinstance(segment, dict) and not isinstance(segment["counts"], list)
    codes = segment if packed else coco_masks.frPyObjects(segment, height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, about how pycocotools makes its array
        return coco_masks.decode(coco_masks.merge(codes) if isinstance(codes, list) else codes).astype(bool)


class Overlaps(NamedTuple):
    """How the high regions of M maps per image lie on the annotated objects: one row per (image, object)."""

    rows: pd.DataFrame  # (P,): image, 0..N-1; object, its name; area, share of the image's pixels that are its
    high: np.ndarray  # (P, M) float: share of the high region's pixels that are the object's
    covered: np.ndarray  # (P, M) float: share of the object's pixels that are high

    def select(self, columns: np.ndarray) -> pd.DataFrame:
        """The rows, with high and covered of one map per image: columns (N,), 0..M-1."""
        taken = columns[self.rows["image"].to_numpy()]
        place = np.arange(len(self.rows))
        return self.rows.assign(high=self.high[place, taken], covered=self.covered[place, taken])


def measure_objects(
    maps: Iterable[np.ndarray], objects: Iterable[Mapping[str, Mask]], threshold: float = THRESHOLD
) -> Overlaps:
    """How the high region of each map (above `threshold` of its maximum) lies on each image's objects.

    maps: for each image M maps, (M, H, W). objects: for each image name -> pixels (H, W) bool, of `object_masks`.
    Raises ValueError for a mask of another shape.
    """
    rows, shares = [], []
    for i, (found, named) in enumerate(zip(maps, objects, strict=True)):
        high = find_high(found.reshape(len(found), -1), threshold).astype(np.float32)  # (M, H W)
        masks = np.zeros((len(named), high.shape[1]), np.float32)
        for row, mask in zip(masks, named.values(), strict=True):
            row[:] = check_region(found[0], mask)[1].ravel()
        both = high @ masks.T  # (M, objects), counts of pixels
        sizes, total = masks.sum(1), high.sum(1, keepdims=True)
        rows += [(i, name, size / found[0].size) for name, size in zip(named, sizes, strict=True)]
        shares.append(np.stack([both / total, both / sizes]).transpose(0, 2, 1))  # (2, objects, M)
    table = pd.DataFrame(rows, columns=["image", "object", "area"])
    return Overlaps(table, *np.concatenate(shares, axis=1))


def rank_objects(overlaps: pd.DataFrame, images: int, least: float = LEAST, seed: int = 0) -> pd.DataFrame:
    """The objects of one scene: how often they are there, how often a map covers them, and the lift; by overlap.

    overlaps: rows of `Overlaps.select` of this scene's images, of which there are `images`. Index: the object. Columns:
    frequency, share of the images that hold it;
    overlap, share of the images *that hold it* where at least half of its pixels are high (so Figure 9 counts: its
      shares exceed the objects' own frequency; the paper leaves open what counts as overlap);
    lift, mean share of the high region that it takes / mean share of the image that it takes, over the images that hold
      it: 1 for a map that does not look, whatever the object's size and frequency;
    low, high: 95 % bootstrap interval, over those images, of the difference of the two shares.
    Objects in under `least` of the images are left out: their shares are a matter of a few images.
    """
    rows = {}
    for name, group in overlaps.groupby("object", sort=True):
        if len(group) / images >= least:
            difference = bootstrap_interval(group["high"], group["area"], seed=seed)
            lift = group["high"].mean() / group["area"].mean()
            rows[name] = (len(group) / images, (group["covered"] >= HALF).mean(), lift, *difference[1:])
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["frequency", "overlap", "lift", "low", "high"])
    return table.sort_values(["overlap", "lift"], ascending=False)


def rank_scenes(overlaps: pd.DataFrame, labels: np.ndarray, names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """{scene: its table of `rank_objects`}; labels (N,): of the images that `measure_objects` saw."""
    own = {names[k]: np.flatnonzero(labels == k) for k in np.unique(labels)}
    return {k: rank_objects(overlaps[overlaps["image"].isin(i)], len(i), seed=seed) for k, i in own.items()}


def count_figure(
    overlaps: pd.DataFrame, labels: np.ndarray, names: Sequence[str], row: str, object_name: str
) -> np.ndarray:
    """The outcomes behind one number of Figure 9, bool: (n,), empty if there is no such scene or object.

    row: "<scene>, frequent": which of the scene's images hold the object; "<scene>, informative": in which of the
    scene's images that hold it at least half of its pixels are high.
    """
    scene, _, kind = row.rpartition(", ")
    own = np.flatnonzero(labels == list(names).index(scene)) if scene in names else np.zeros(0, int)
    held = overlaps[overlaps["image"].isin(own) & (overlaps["object"] == object_name)]
    if kind == "informative" or not len(held):
        return (held["covered"] >= HALF).to_numpy()
    return np.isin(own, held["image"])


def count_telling(
    overlaps: Overlaps, labels: np.ndarray, names: Sequence[str], telling: Mapping[str, Sequence[str]]
) -> Callable[[np.ndarray], float]:
    """A count to be taken of many assignments of maps: of each scene's telling objects, how many come first.

    labels (N,): the images' scenes. telling: scene -> its telling objects; of the objects by overlap, as `rank_objects`
    orders them, as many are looked at. The result takes columns (N,), whose map stands for each image (0..M-1), and
    gives the sum over scenes.
    """
    kinds, kind = np.unique(overlaps.rows["object"], return_inverse=True)
    image = overlaps.rows["image"].to_numpy()
    group = labels[image] * len(kinds) + kind  # (P,): scene and object
    shape, cells = (len(names), len(kinds)), len(names) * len(kinds)
    there = np.bincount(group, minlength=cells).reshape(shape)
    area = np.bincount(group, overlaps.rows["area"], cells).reshape(shape)
    listed = there >= LEAST * np.bincount(labels, minlength=len(names))[:, None]
    wanted = np.array([np.isin(kinds, telling[name]) for name in names])
    count, place = np.maximum(there, 1), np.arange(len(image))

    def measure(columns: np.ndarray) -> float:
        taken = columns[image]
        covered = np.bincount(group, overlaps.covered[place, taken] >= HALF, cells).reshape(shape) / count
        lift = np.bincount(group, overlaps.high[place, taken], cells).reshape(shape) / np.where(listed, area, 1)
        order = np.lexsort((-lift, -covered, ~listed))  # (scenes, objects): those that are not listed come last
        first = np.take_along_axis(wanted & listed, order, 1)
        return float(sum(row[: len(telling[name])].sum() for name, row in zip(names, first, strict=True)))

    return measure


def list_objects(table: pd.DataFrame, by: str, count: int = 6) -> str:
    """The first objects of a table of `rank_objects`, ordered by a column: "stove (3.1*), wall (0.8), ...".

    In brackets the lift; * where its interval lies above that of a map that covers everything alike.
    """
    first = table.sort_values(by, ascending=False)[:count]
    return ", ".join(f"{r.Index} ({r.lift:.1f}{'*' if r.low > 0 else ''})" for r in first.itertuples())


def mean_lift(tables: Mapping[str, pd.DataFrame], by: str, count: int = 6) -> float:
    """The mean lift of each scene's first `count` objects, ordered by a column; averaged over scenes."""
    return float(np.mean([t.sort_values(by, ascending=False)["lift"][:count].mean() for t in tables.values()]))
