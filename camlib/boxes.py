"""Heat map -> boxes by the rule of the paper's text and by that of its released program; IoU; the box convention.

A box is float64 `(x0, y0, x1, y1)`, half-open, in pixels: width = x1 - x0, a single pixel (x, y) is (x, y, x+1, y+1).
A reader of an inclusive format adds 1 to x1 and y1, and the IoU here is then the devkit's `+1` arithmetic exactly.
"""

import operator
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from camlib._kernels import bound_largest, box_enlarged, distance_mask, sweep_components
from camlib.cam import normalize_maps, resize_map

Boxes = NDArray[np.float64]
LEVELS = 256  # thresholds of an 8-bit map
MOST = float(np.finfo(np.float32).max) / 4
NO_BOXES, NO_DELTAS = np.zeros((0, 4)), np.zeros(0)


def check_boxes(boxes: ArrayLike, what: str = "boxes", allow_empty: bool = False) -> Boxes:
    """Boxes as float64 (..., 4), or ValueError naming `what` and the first box that is not one.

    A box must be finite with x1 > x0 and y1 > y0. `allow_empty` also lets zero width or height through: the released
    rule can shrink a box at the border to nothing, and such a guess is merely wrong (its IoU is 0 with everything).
    """
    array = np.asarray(boxes, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != 4:
        raise ValueError(f"{what} have shape {array.shape}; expected (..., 4) as x0, y0, x1, y1")
    size = array[..., 2:] - array[..., :2]
    # Written so that NaN, for which no comparison holds, fails.
    fine = np.isfinite(array).all(-1) & ((size >= 0) if allow_empty else (size > 0)).all(-1)
    if not fine.all():
        where = tuple(int(i) for i in np.argwhere(~fine)[0])
        rule = "x1 >= x0 and y1 >= y0" if allow_empty else "x1 > x0 and y1 > y0"
        raise ValueError(f"{what}[{', '.join(map(str, where))}] is {array[where].tolist()}; expected finite {rule}")
    return array


def check_map(heatmap: ArrayLike) -> NDArray[np.float64]:
    """A heat map as float64 (H, W), or ValueError if it is not two-dimensional, is empty or is not finite."""
    array = np.asarray(heatmap, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"heat map has shape {array.shape}; expected (H, W), both at least 1")
    if not np.isfinite(array).all():
        raise ValueError(f"heat map of shape {array.shape} holds NaN or infinite values; expected finite ones")
    return array


def pairwise_iou(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """IoU of boxes (..., 4) with boxes (..., 4), element by element after broadcasting; 0 where both are empty."""
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    overlap = np.maximum(size, 0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - overlap
    return np.divide(overlap, union, out=np.zeros_like(union), where=union > 0)


def box_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """IoU of every box of `a` (n, 4) with every box of `b` (m, 4) -> (n, m) in [0, 1].

    Equal to the devkit's arithmetic on inclusive pixels once x1 and y1 have gained their 1.
    A box of no area has IoU 0 with everything. Raises ValueError for another shape, an inverted box or NaN.
    """
    first, second = check_boxes(a, "a", allow_empty=True), check_boxes(b, "b", allow_empty=True)
    if first.ndim != 2 or second.ndim != 2:
        raise ValueError(f"boxes have shapes {first.shape} and {second.shape}; expected (n, 4) and (m, 4)")
    return pairwise_iou(first[:, None], second[None])


def whole_image_box(size: ArrayLike) -> Boxes:
    """Baseline: the whole image. size (..., 2) as (width, height) in pixels -> (..., 4)."""
    return centre_box(size, 1.0)


def centre_box(size: ArrayLike, fraction: float) -> Boxes:
    """Baseline: a centred box whose sides are `fraction` (0, 1] of the image's. size (..., 2) -> (..., 4)."""
    sides = np.asarray(size, dtype=np.float64)
    if sides.ndim == 0 or sides.shape[-1] != 2 or not (sides > 0).all():
        raise ValueError(f"size has shape {sides.shape}; expected (..., 2) as positive width, height")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}; expected 0 < fraction <= 1")
    return np.concatenate([sides * ((1 - fraction) / 2), sides * ((1 + fraction) / 2)], -1)


def above_threshold(heatmap: ArrayLike, threshold: float) -> NDArray[np.uint8]:
    """Pixels of a map (H, W) strictly above `threshold` of its maximum -> 0/1 mask (H, W).

    Where no pixel is (the maximum is <= 0: the map holds no evidence), the mask is all 1: the whole image.
    Raises ValueError for a threshold outside [0, 1) or a bad map.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}; expected a fraction of the maximum, 0 <= threshold < 1")
    values = check_map(heatmap)
    # Another memory layout would be compiled for again.
    mask = np.ascontiguousarray(values > threshold * values.max()).view(np.uint8)
    return mask if mask.any() else np.ones_like(mask)


def largest_component_box(heatmap: ArrayLike, threshold: float = 0.2) -> Boxes:
    """The box rule of the paper's text (Section 3.2): map (H, W) -> (4,).

    Keeps the pixels strictly above `threshold` of the maximum and bounds their largest 8-connected component, by number
    of pixels; ties go to the first in raster order. A map whose maximum is <= 0 boxes the whole image.
    Raises ValueError for a map that is not (H, W), is empty or holds NaN, or a threshold outside [0, 1).

        box = largest_component_box(resized_map, 0.2)
    """
    return bound_largest(above_threshold(heatmap, threshold))[0].astype(np.float64)


def _check_fractions(fractions: ArrayLike) -> NDArray[np.float64]:
    wanted = np.asarray(fractions, dtype=np.float64)
    if wanted.ndim != 1 or not len(wanted) or not ((wanted >= 0) & (wanted < 1)).all():
        raise ValueError(f"fractions of shape {wanted.shape}; expected (T,), T > 0, each 0 <= fraction < 1")
    return wanted


def box_enlarged_maps(maps: ArrayLike, size: tuple[int, int], fractions: ArrayLike) -> Boxes:
    """`largest_component_box` of small maps as they would be at `size`, without making them that large.

    maps (k, h, w) float32, size (width, height) in pixels, fractions (T,) in [0, 1) -> (k, T, 4). Equal to
    `threshold_boxes(resize_map(map, size), fractions)` where OpenCV resizes with Intel's IPP (x86), but for maps of one
    row or column; elsewhere up to OpenCV's rounding.
    Raises ValueError for maps of another shape or dtype, NaN, values beyond 8e37, an empty size or where
    `threshold_boxes` does.
    """
    wanted, values = _check_fractions(fractions), np.ascontiguousarray(maps)
    if values.ndim != 3 or values.dtype != np.float32 or not values.size or min(map(operator.index, size)) < 1:
        raise ValueError(
            f"maps are {values.dtype} {values.shape} for size {size}; expected float32 (k, h, w), size >= 1"
        )
    if not (np.abs(values) <= MOST).all():  # beyond, the difference of two may be infinite
        raise ValueError(
            f"heat maps of shape {values.shape} hold NaN or values beyond {MOST:.1g}; expected finite ones"
        )
    return box_enlarged(values, size[1], size[0], wanted).astype(np.float64)


def _drop_overlapping(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Released step: walk down boxes (n, 4) as x0, y0, x1, y1, largest first; drop what a kept one half covers."""
    i = 0
    while i < len(boxes) - 1:
        x0, y0, x1, y1 = boxes[i].tolist()
        half = (x1 - x0) * (y1 - y0) // 2
        rest = boxes[i + 1 :]
        width = np.minimum(rest[:, 2], x1) - np.maximum(rest[:, 0], x0)
        height = np.minimum(rest[:, 3], y1) - np.maximum(rest[:, 1], y0)
        drop: list[int] = []
        for j in np.flatnonzero((width > 0) & (height > 0) & (width * height > half)).tolist():
            if not drop or j != drop[-1] + 1:  # the one after an erased box escapes, as in the program
                drop.append(j)
        if drop:
            boxes = np.delete(boxes, np.asarray(drop) + i + 1, axis=0)
        i += 1
    return boxes


def released_boxes(heatmap: NDArray[np.uint8], thresholds: Sequence[int] = (20, 100, 110)) -> Boxes:
    """The released program's boxes (`dt_box`): uint8 map (H, W) -> (n, 4), in the program's order.

    For each threshold: mask (strictly greater), distance transform, second mask, bounding rectangles of outer and hole
    contours, kept 5 px from the right and bottom border; sorted by area, largest first, dropping any that a larger one
    covers by half. The first box is the "loose" one, the second (where there is one) the "tight" one.
    A map with nothing above the lowest threshold boxes the whole image (the program returns nothing).
    Boxes are (x, y, x + width, y + height). Widths and heights are never below 0, equal areas keep the order in which
    they were found (the program's sort promises no order among more than 16).
    Raises ValueError for a map that is not uint8 (H, W) or thresholds outside 0..254.
    """
    image = np.ascontiguousarray(heatmap)  # another memory layout would be compiled for again
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise ValueError(f"heat map is {image.dtype} of shape {image.shape}; expected uint8 (H, W), divided by its max")
    if not len(thresholds) or not all(0 <= t < 255 for t in thresholds):
        raise ValueError(f"thresholds are {tuple(thresholds)}; expected at least one, each in 0..254")
    height, width = image.shape
    found: list[tuple[int, int, int, int]] = []
    for threshold in thresholds:
        mask = distance_mask((image > threshold).view(np.uint8))
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for x, y, w, h in map(cv2.boundingRect, contours):
            right, bottom = min(w, width - x - 5), min(h, height - y - 5)
            found.append((max(min(x, width - 5), 0), max(min(y, height - 5), 0), max(right, 0), max(bottom, 0)))
    if not found:
        return whole_image_box((width, height))[None]
    boxes = np.asfortranarray(found, dtype=np.int64)  # columns are what is worked on
    order = np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable")
    boxes[:, 2:] += boxes[:, :2]
    return _drop_overlapping(boxes[order]).astype(np.float64)


def to_8_bit(heatmap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Released steps 2 and 3: resize a merged map (S, S) to size (width, height), divide by its max -> uint8 (H, W)."""
    values = resize_map(heatmap, size)
    if not np.isfinite(values).all():
        raise ValueError(f"heat map of shape {heatmap.shape} holds NaN or infinite values; expected finite ones")
    top = values.max()
    if top <= 0:
        return np.zeros_like(values, np.uint8)
    scaled = values / top
    scaled *= 255  # from here on in place: this is done to every map of the released protocol
    return np.rint(scaled.clip(min=0, out=scaled), out=scaled).astype(np.uint8)


def bins_8bit(heatmap: ArrayLike) -> NDArray[np.int16]:
    """The map at 8 bits, as bins of `sweep_components`: uint8 as it is, else (v - min) / (max - min) * 255, cut off."""
    array = np.asarray(heatmap)
    values = check_map(array)
    if array.dtype != np.uint8:
        values = normalize_maps(values, "minmax") * (LEVELS - 1)  # a constant map, which holds no evidence, is 0
    bins = values.astype(np.int16, order="C")  # another memory layout would be compiled for again
    return bins if bins.any() else np.full_like(bins, LEVELS)  # max <= 0: the whole image, at every level


def component_tree_boxes(heatmap: ArrayLike) -> Boxes:
    """The largest component's box at every level of an 8-bit map: (H, W) -> (256, 4), row t for the pixels > t.

    Another dtype than uint8 is brought to 8 bits by min-max (see `max_box_accuracy`). Ties go to the component that is
    first in raster order. Rows at and above the map's maximum are zeros (no box: IoU 0 with everything); a map that is
    zero everywhere (constant, for a float map) boxes the whole image in every row. Raises ValueError for a bad map.
    """
    return sweep_components(bins_8bit(heatmap), LEVELS, NO_BOXES, NO_DELTAS)[0].astype(np.float64)


def threshold_boxes(heatmap: ArrayLike, fractions: ArrayLike) -> Boxes:
    """`largest_component_box` at many thresholds in one pass: map (H, W), fractions (T,) in [0, 1) -> (T, 4).

    Row t equals `largest_component_box(heatmap, fractions[t])` exactly. Raises ValueError where that does, and for more
    than 32,767 thresholds.
    """
    wanted = _check_fractions(fractions)
    if len(wanted) > np.iinfo(np.int16).max:
        raise ValueError(f"{len(wanted):,} fractions; expected at most {np.iinfo(np.int16).max:,}")
    values = check_map(heatmap)
    whole = whole_image_box(values.shape[::-1])
    if values.max() <= 0:
        return np.tile(whole, (len(wanted), 1))
    order = np.argsort(wanted)
    # The bin of a pixel is the number of thresholds that are strictly below it.
    bins = np.searchsorted(wanted[order] * values.max(), values.ravel(), side="left")
    boxes = np.empty((len(wanted), 4))
    boxes[order] = sweep_components(bins.reshape(values.shape).astype(np.int16), len(wanted), NO_BOXES, NO_DELTAS)[0]
    boxes[boxes[:, 2] == 0] = whole  # nothing above: only where fraction * max rounds up to max
    return boxes
