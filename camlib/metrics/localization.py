"""Boxes against truth: classification and localization error, box accuracy over every threshold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from camlib._kernels import sweep_components
from camlib.boxes import (
    LEVELS,
    Boxes,
    bins_8bit,
    box_iou,
    centre_box,
    check_boxes,
    component_tree_boxes,
    pairwise_iou,
)


@dataclass(frozen=True)
class LocalizationErrors:
    """Errors at top 1..K as fractions, and the image by image vectors behind them.

    Excluded images (the devkit's blacklist) leave the localization error but stay in the classification error, so the
    two have different images: row j of `loc_wrong` is image `kept[j]`, row i of `cls_wrong` is image i.
    """

    cls: NDArray[np.float64]  # (K,): cls[k-1] is the top-k classification error
    loc: NDArray[np.float64]  # (K,): loc[k-1] is the top-k localization error
    cls_wrong: NDArray[np.bool_]  # (N, K): none of the first k classes is right
    loc_wrong: NDArray[np.bool_]  # (N', K): none of the first k guesses is right in class and box
    kept: NDArray[np.int64]  # (N',): the images that `loc_wrong` is about


def _flat_boxes(gt_boxes: Sequence[ArrayLike], index: NDArray[np.int64]) -> tuple[Boxes, NDArray[np.int64]]:
    """Boxes of the images `index`, one below the other (G, 4), and how many each has (len(index),)."""
    arrays = [np.asarray(gt_boxes[i], dtype=np.float64) for i in index]
    for i, array in zip(index, arrays, strict=True):
        if array.ndim != 2 or array.shape[1] != 4 or not len(array):
            raise ValueError(f"gt_boxes[{i}] has shape {array.shape}; expected (M, 4) with at least one box")
    counts = np.array([len(array) for array in arrays])
    flat = np.concatenate(arrays)
    try:
        check_boxes(flat)
    except ValueError:
        for i, array in zip(index, arrays, strict=True):
            check_boxes(array, f"gt_boxes[{i}]")
        raise
    return flat, counts


def _right_boxes(pred: Boxes, flat: Boxes, counts: NDArray[np.int64], iou: float) -> NDArray[np.bool_]:
    """Which of the boxes pred (N, K, 4) reach the IoU with any true box of their image -> (N, K)."""
    if not 0 < iou <= 1:
        raise ValueError(f"iou is {iou}; expected 0 < iou <= 1")
    each = pairwise_iou(np.repeat(pred, counts, axis=0), flat[:, None])  # (G, K)
    return np.maximum.reduceat(each, np.cumsum(counts) - counts, axis=0) >= iou


def correct_boxes(pred_boxes: ArrayLike, gt_boxes: Sequence[ArrayLike], iou: float = 0.5) -> NDArray[np.bool_]:
    """Class-known localization: whether each image's box has IoU >= `iou` with any of its true boxes.

    pred_boxes (N, 4), gt_boxes: N arrays (Mi, 4) -> (N,) bool; its mean is the localization accuracy.
    Raises ValueError naming the image for an empty list of true boxes, another shape, NaN or an inverted box.
    """
    pred = check_boxes(pred_boxes, "pred_boxes", allow_empty=True)
    if pred.ndim != 2 or len(pred) != len(gt_boxes) or not len(pred):
        raise ValueError(f"pred_boxes have shape {pred.shape}, gt_boxes {len(gt_boxes)} images; expected (N, 4), N > 0")
    return _right_boxes(pred[:, None], *_flat_boxes(gt_boxes, np.arange(len(pred))), iou)[:, 0]


def correct_over_thresholds(pred_boxes: ArrayLike, gt_boxes: Sequence[ArrayLike]) -> NDArray[np.bool_]:
    """`correct_boxes` for the boxes (N, T, 4) of T thresholds -> (N, T) bool."""
    pred = np.asarray(pred_boxes)
    return np.stack([correct_boxes(pred[:, t], gt_boxes) for t in range(pred.shape[1])], 1)


def fit_centre_fraction(sizes: ArrayLike, gt_boxes: Sequence[ArrayLike]) -> float:
    """Side of the centre box, as a fraction of the image's (0.2 to 1), that is right for most of these images.

    sizes (N, 2) as (width, height); gt_boxes: N arrays (Mi, 4).
    """
    fractions = np.arange(0.2, 1.001, 0.05)
    right = [correct_boxes(centre_box(sizes, f), gt_boxes).mean() for f in fractions]
    return float(fractions[int(np.argmax(right))])


def localization_errors(
    pred_classes: ArrayLike,
    pred_boxes: ArrayLike,
    gt_classes: ArrayLike,
    gt_boxes: Sequence[ArrayLike],
    iou: float = 0.5,
    excluded: ArrayLike | None = None,
) -> LocalizationErrors:
    """Top-k classification and localization error as the ILSVRC devkit counts them.

    pred_classes (N, K) int and pred_boxes (N, K, 4), best guess first; gt_classes (N,) int; gt_boxes: N arrays
    (Mi, 4), the true boxes of that class; excluded (N,) bool or None. A guess is right if its class is and its IoU with
    any true box is >= `iou`. Raises ValueError for shapes that do not fit, NaN, inverted boxes, an image without a box.

        errors = localization_errors(classes, boxes, ds.labels, ds.boxes, excluded=ds.excluded)
        errors.loc[0], errors.loc[4]  # top-1 and top-5
    """
    classes, truth = np.asarray(pred_classes), np.asarray(gt_classes)
    if classes.ndim != 2 or not classes.size or truth.shape != classes.shape[:1]:
        raise ValueError(f"pred_classes {classes.shape} and gt_classes {truth.shape} do not fit: expected (N, K), (N,)")
    for what, array in (("pred_classes", classes), ("gt_classes", truth)):
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{what} are {array.dtype}; expected integers")
    pred = check_boxes(pred_boxes, "pred_boxes", allow_empty=True)
    if pred.shape != (*classes.shape, 4) or len(gt_boxes) != len(classes):
        raise ValueError(f"pred_boxes {pred.shape} and {len(gt_boxes)} gt_boxes; expected {(*classes.shape, 4)}")
    leave = np.zeros(len(classes), dtype=bool) if excluded is None else np.asarray(excluded)
    if leave.shape != truth.shape or leave.dtype != bool:
        raise ValueError(f"excluded is {leave.dtype} of shape {leave.shape}; expected bool {truth.shape}")
    kept = np.flatnonzero(~leave)
    if not len(kept):
        raise ValueError("excluded leaves no image to localize in")
    right_class = classes == truth[:, None]
    right = right_class[kept] & _right_boxes(pred[kept], *_flat_boxes(gt_boxes, kept), iou)
    cls_wrong = ~np.logical_or.accumulate(right_class, axis=1)
    loc_wrong = ~np.logical_or.accumulate(right, axis=1)
    return LocalizationErrors(cls_wrong.mean(0), loc_wrong.mean(0), cls_wrong, loc_wrong, kept)


@dataclass(frozen=True)
class BoxAccuracy:
    """Localization accuracy over every threshold; all values are fractions."""

    thresholds: NDArray[np.float64]  # (256,): level / 255; a pixel is kept if it is above the level
    iou: NDArray[np.float64]  # (D,)
    curve: NDArray[np.float64]  # (D, 256): share of images with a box that reaches the IoU
    maxima: NDArray[np.float64]  # (D,): the best of each curve, an oracle's choice of the threshold
    best_thresholds: NDArray[np.float64]  # (D,): the lowest threshold that gives it
    mean: float  # of the maxima
    n: int  # images


def box_hits(
    heatmap: ArrayLike,
    gt_boxes: ArrayLike,
    iou: Sequence[float] = (0.3, 0.5, 0.7),
    components: Literal["largest", "best"] = "largest",
) -> NDArray[np.bool_]:
    """At which levels of an 8-bit map a box reaches each IoU with any true box -> (D, 256).

    heatmap (H, W): a float map is brought to 8 bits by its own minimum and maximum, `(v - min) / (max - min) * 255` cut
    off to a whole number, as Choe et al. do; a uint8 map is taken as it is. At level t the pixels > t count; at a level
    with no pixel nothing is hit. A map without contrast (uint8: all zero) boxes the whole image.
    components: "largest" boxes the largest 8-connected component by number of pixels, ties go to the first in raster
        order; "best" lets any component count.
    gt_boxes (M, 4), in pixels of the map. Raises ValueError for a bad map or an image without a box.
    """
    if components not in ("largest", "best"):
        raise ValueError(f"components is {components!r}; expected 'largest' or 'best'")
    if components == "best":
        return sweep_hits(heatmap, gt_boxes, iou)[1]
    truth, deltas = _check_truth(gt_boxes, iou)
    return box_iou(component_tree_boxes(heatmap), truth).max(1) >= deltas[:, None]


def sweep_hits(
    heatmap: ArrayLike, gt_boxes: ArrayLike, iou: Sequence[float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """`box_hits` by the largest component and by the best one, in one sweep over the map: (D, 256), (D, 256)."""
    truth, deltas = _check_truth(gt_boxes, iou)
    largest, best = sweep_components(bins_8bit(heatmap), LEVELS, truth, deltas)
    return box_iou(largest, truth).max(1) >= deltas[:, None], best


def _check_truth(gt_boxes: ArrayLike, iou: Sequence[float]) -> tuple[Boxes, NDArray[np.float64]]:
    """True boxes (M, 4) and IoUs (D,), or a ValueError."""
    deltas = np.array(iou, dtype=np.float64)
    if deltas.ndim != 1 or not len(deltas) or not ((deltas > 0) & (deltas <= 1)).all():
        raise ValueError(f"iou is {iou}; expected one or more values, each 0 < iou <= 1")
    truth = check_boxes(gt_boxes, "gt_boxes")
    if truth.ndim != 2 or not len(truth):
        raise ValueError(f"gt_boxes has shape {truth.shape}; expected (M, 4) with at least one box")
    return np.array(truth, order="C"), deltas


def summarize_hits(hits: NDArray[np.bool_], iou: Sequence[float]) -> BoxAccuracy:
    """Accuracy at the best threshold from the images' `box_hits`: (N, D, 256) -> BoxAccuracy."""
    curve, thresholds = hits.mean(0), np.arange(LEVELS) / (LEVELS - 1)
    maxima = curve.max(1)
    best = thresholds[curve.argmax(1)]
    return BoxAccuracy(thresholds, np.array(iou, np.float64), curve, maxima, best, float(maxima.mean()), len(hits))


def max_box_accuracy(
    heatmaps: Iterable[ArrayLike],
    gt_boxes: Iterable[ArrayLike],
    iou: Sequence[float] = (0.3, 0.5, 0.7),
    components: Literal["largest", "best"] = "largest",
) -> BoxAccuracy:
    """Box accuracy at the best threshold (Choe et al., CVPR 2020), every threshold of the 8-bit maps being tried.

    heatmaps: (H, W) each; gt_boxes: (Mi, 4) each, in pixels of the map; both may be generators (no map is kept).
    See `box_hits` for the maps, the levels and `components`. MaxBoxAcc is `iou=(0.5,)` with "largest"; MaxBoxAccV2 is
    the mean with "best" over the default IoUs (Choe et al. measure contours where this takes components).
    Raises ValueError for a bad map, an image without a box, or another number of maps than of boxes, naming the image.

        max_box_accuracy(maps, boxes, components="best").mean  # MaxBoxAccV2
    """
    hits: list[NDArray[np.bool_]] = []
    for heatmap, boxes in zip_longest(heatmaps, gt_boxes):
        n = len(hits)
        if heatmap is None or boxes is None:
            raise ValueError(f"{'heatmaps' if heatmap is None else 'gt_boxes'} end after {n}; expected as many of both")
        try:
            hits.append(box_hits(heatmap, boxes, iou, components))
        except ValueError as error:
            raise ValueError(f"heatmaps[{n}], gt_boxes[{n}]: {error}") from None
    if not hits:
        raise ValueError("heatmaps are empty; expected at least one")
    return summarize_hits(np.stack(hits), iou)
