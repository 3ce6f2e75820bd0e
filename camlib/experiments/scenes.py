"""Which annotated objects the maps of scene classes fall on (paper, Section 4: informative objects in the scenes)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from camlib.boxes import above_threshold
from camlib.datasets.base import Dataset
from camlib.metrics import Mask, check_region, polygon_mask
from camlib.stats import bootstrap_interval


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

    maps: for each image R maps, (R, H, W). Returns R tables with one row per (image, object) and the columns
    image: 0..N-1; object: its name; area: share of the image's pixels that are the object's;
    high: share of the high region's pixels that are the object's; covered: share of the object's pixels that are high.
    """
    rows: list[list[tuple[int, str, float, float, float]]] = []
    for i, (found, named) in enumerate(zip(maps, objects, strict=True)):
        rows = rows or [[] for _ in found]
        sizes = {name: np.count_nonzero(check_region(found[0], mask)[1]) for name, mask in named.items()}
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


def list_objects(table: pd.DataFrame, by: str, count: int = 6) -> str:
    """The first objects of a table of `rank_objects`, ordered by a column: "stove (3.1*), wall (0.8), ...".

    In brackets the lift; * where its interval lies above that of a map that covers everything alike.
    """
    first = table.sort_values(by, ascending=False)[:count]
    return ", ".join(f"{r.Index} ({r.lift:.1f}{'*' if r.low > 0 else ''})" for r in first.itertuples())


def mean_lift(tables: Mapping[str, pd.DataFrame], by: str, count: int = 6) -> float:
    """The mean lift of each scene's first `count` objects, ordered by a column; averaged over scenes."""
    return float(np.mean([t.sort_values(by, ascending=False)["lift"][:count].mean() for t in tables.values()]))


def count_telling(tables: Mapping[str, pd.DataFrame], telling: Mapping[str, Sequence[str]], by: str) -> int:
    """How many of each scene's telling objects are among as many first ones, ordered by a column; the sum."""
    found = 0
    for scene, table in tables.items():
        first = table.sort_values(by, ascending=False).index[: len(telling[scene])]
        found += len(set(first) & set(telling[scene]))
    return found
