"""Heat map -> boxes by the rule of the paper's text and by that of its released program; IoU; the box convention.

A box is float64 `(x0, y0, x1, y1)`, half-open, in pixels: width = x1 - x0, a single pixel (x, y) is (x, y, x+1, y+1).
A reader of an inclusive format adds 1 to x1 and y1, and the IoU here is then the devkit's `+1` arithmetic exactly.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float64]


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


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """numba.njit without the GIL, cached on disk; compiled anew in each process where no folder can be written."""
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba found neither __pycache__ nor the user's cache folder writable
        return numba.njit(nogil=True, error_model="numpy")(function)


def pairwise_iou(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """IoU of boxes (..., 4) with boxes (..., 4), element by element after broadcasting; 0 where both are empty."""
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    overlap = np.maximum(size, 0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - overlap
    return np.divide(overlap, union, out=np.zeros_like(union), where=union > 0)


def box_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """IoU of every box of `a` (n, 4) with every box of `b` (m, 4) -> (n, m) in [0, 1].

    Equal to the devkit's arithmetic on inclusive pixels once x1 and y1 have gained their 1 (paper notes, protocol 5).
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
    mask = (values > threshold * values.max()).view(np.uint8)
    return mask if mask.any() else np.ones_like(mask)


def largest_component_box(heatmap: ArrayLike, threshold: float = 0.2) -> Boxes:
    """The box rule of the paper's text (Section 3.2): map (H, W) -> (4,).

    Keeps the pixels strictly above `threshold` of the maximum and bounds their largest 8-connected component, by number
    of pixels; of equals the one that comes first in raster order. A map whose maximum is <= 0 boxes the whole image.
    Raises ValueError for a map that is not (H, W), is empty or holds NaN, or a threshold outside [0, 1).

        box = largest_component_box(resized_map, 0.2)
    """
    mask = above_threshold(heatmap, threshold)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)  # without the GIL
    areas = stats[1:, cv2.CC_STAT_AREA]  # label 0 is the background
    largest = np.flatnonzero(areas == areas.max()) + 1
    # OpenCV numbers components by 2x2 blocks, which is not raster order: of equals look for the first pixel.
    label = largest[0] if len(largest) == 1 else labels.flat[np.isin(labels, largest).argmax()]
    x, y, width, height = stats[int(label), :4].tolist()
    return np.array([x, y, x + width, y + height], dtype=np.float64)


@_compiled
def _distance_mask(mask):  # type: ignore[no-untyped-def]
    """Released step: distance to the background inside the mask, rescaled so its max is 255, rounded, then > 10.

    mask (H, W) of 0 and 1 -> the same, exact as of the Euclidean distance. That itself is never needed: with the
    distances along columns, find the largest squared distance, then the pixels whose squared distance reaches what
    rounds to 11 of it. A mask without background, or without foreground, stays as it is, as in the program.
    """
    height, width = mask.shape
    column = np.empty((height, width), np.int32)
    for x in range(width):
        column[0, x] = height + width if mask[0, x] else 0  # longer than any distance
    for y in range(1, height):
        for x in range(width):
            column[y, x] = column[y - 1, x] + 1 if mask[y, x] else 0
    for y in range(height - 2, -1, -1):
        for x in range(width):
            column[y, x] = min(column[y, x], column[y + 1, x] + 1)
    top = 0  # the largest squared distance so far
    for y in range(height):
        x = 0
        while x < width:
            least = column[y, x] ** 2
            jump = x + 1
            dx = 1
            while top < least and dx * dx < least:
                for q in (x - dx, x + dx):
                    if 0 <= q < width:
                        square = column[y, q] ** 2
                        least = min(least, square + dx * dx)
                        if square + dx * dx <= top:  # neither x nor any other pixel so near to q is farther than top
                            jump = q + int(math.sqrt(top - square)) + 1
                dx += 1
            top = max(top, least)
            x = jump
    if top == 0 or top >= (height + width) ** 2:
        return mask
    scale = 255 / math.sqrt(top)
    least = 1
    while int(math.sqrt(least) * scale + 0.5) <= 10:  # the program's own arithmetic, in double precision
        least += 1
    far = np.ones_like(mask)
    reach = min(int(math.sqrt(least - 1)), width - 1)
    for y in range(height):
        for dx in range(-reach, reach + 1):
            limit = np.int32(math.ceil(math.sqrt(least - dx * dx)))
            start, stop = max(0, -dx), min(width, width - dx)
            near, line = far[y, start:stop], column[y, start + dx : stop + dx]
            for x in range(len(near)):  # in this form the compiler vectorises it
                near[x] = near[x] & np.uint8(line[x] >= limit)
    return far


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
    """The released program's boxes (`dt_box`, protocol step 3): uint8 map (H, W) -> (n, 4), in the program's order.

    For each threshold: mask (strictly greater), distance transform, second mask, bounding rectangles of outer and hole
    contours, kept 5 px from the right and bottom border; all of them by area, largest first, less those that a larger
    one half covers. The first box is the "loose" one, the second (where there is one) the "tight" one.
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
        mask = _distance_mask((image > threshold).view(np.uint8))
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


@_compiled
def sweep_components(bins, levels, gt, deltas):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Connected components of every superlevel set of a map, in one pass from the highest pixels down.

    bins (H, W) int16: a pixel of bin b is in the sets 0..b-1 of the `levels` nested sets. Pixels are added in falling
    order of their bin to a union-find forest (8-connected) that keeps the size and bounds of each component; the root
    of a component is its first pixel in raster order. gt (M, 4), deltas (D,).
    -> boxes (levels, 4): of the largest component (of equals the first in raster order), zeros where the set is empty;
       hits (D, levels) bool: whether any component has IoU >= deltas[d] with any box of gt.
    """
    height, width = bins.shape
    stride = width + 2  # a border of one pixel that belongs to no component
    size = stride * (height + 2)
    start = np.zeros(levels + 2, np.int64)  # counting sort: start[b] is where bin b begins in `order`
    for y in range(height):
        for x in range(width):
            start[bins[y, x] + 1] += 1
    for b in range(1, levels + 2):
        start[b] += start[b - 1]
    order = np.empty(height * width, np.int32)
    place = start[: levels + 1].copy()
    for y in range(height):
        for x in range(width):
            b = bins[y, x]
            order[place[b]] = (y + 1) * stride + x + 1
            place[b] += 1

    parent = np.full(size, -1, np.int32)
    count = np.empty(size, np.int32)
    bounds = np.empty((size, 4), np.int32)  # x0, y0, x1, y1
    overlap = np.full(size, -1.0)  # IoU of a component that was evaluated since it last grew
    done = np.zeros(size, np.int32)
    good = np.zeros(len(deltas), np.int64)  # live components with IoU >= each delta
    boxes = np.zeros((levels, 4), np.int32)
    hits = np.zeros((len(deltas), levels), np.bool_)
    around = (-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1)
    best = -1
    for b in range(levels, 0, -1):
        for i in range(start[b], start[b + 1]):
            root = order[i]
            pixel = root
            parent[pixel] = pixel
            count[pixel] = 1
            bounds[pixel, 0] = pixel % stride - 1
            bounds[pixel, 1] = pixel // stride - 1
            bounds[pixel, 2] = bounds[pixel, 0] + 1
            bounds[pixel, 3] = bounds[pixel, 1] + 1
            for step in around:
                other = pixel + step
                if parent[other] < 0:
                    continue
                while parent[other] != other:
                    parent[other] = parent[parent[other]]
                    other = parent[other]
                if other == root:
                    continue
                if overlap[other] >= 0:  # it grows: what was counted of it no longer holds
                    for d in range(len(deltas)):
                        good[d] -= overlap[other] >= deltas[d]
                    overlap[other] = -1
                first, second = min(root, other), max(root, other)
                parent[second] = first
                count[first] += count[second]
                for k in range(2):
                    bounds[first, k] = min(bounds[first, k], bounds[second, k])
                    bounds[first, k + 2] = max(bounds[first, k + 2], bounds[second, k + 2])
                root = first
            if best < 0 or count[root] > count[best] or (count[root] == count[best] and root < best):
                best = root
        if best >= 0:
            boxes[b - 1] = bounds[best]
        if len(deltas) == 0:
            continue
        for i in range(start[b], start[b + 1]):
            root = order[i]
            while parent[root] != root:
                parent[root] = parent[parent[root]]
                root = parent[root]
            if done[root] == b:
                continue
            done[root] = b
            x0, y0, x1, y1 = bounds[root]
            overlap[root] = 0.0
            for m in range(len(gt)):
                w = min(gt[m, 2], x1) - max(gt[m, 0], x0)
                h = min(gt[m, 3], y1) - max(gt[m, 1], y0)
                if w > 0 and h > 0:
                    union = (x1 - x0) * (y1 - y0) + (gt[m, 2] - gt[m, 0]) * (gt[m, 3] - gt[m, 1]) - w * h
                    overlap[root] = max(overlap[root], w * h / union)
            for d in range(len(deltas)):
                good[d] += overlap[root] >= deltas[d]
        hits[:, b - 1] = good > 0
    return boxes, hits
