"""Maps against regions: how much of a box they cover, what share of them lies inside a mask; masks of boxes."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from camlib._kernels import bound_largest
from camlib.boxes import Boxes, above_threshold, check_boxes, check_map

Mask = NDArray[np.bool_]


class MapExtent(NamedTuple):
    """How a thresholded map lies on the true boxes."""

    coverage: float  # share of the true boxes' pixels that are above the threshold
    inside: float  # share of the pixels above the threshold that lie in a true box
    components: int  # 8-connected components above the threshold


def map_extent(heatmap: ArrayLike, gt_boxes: ArrayLike, threshold: float = 0.2) -> MapExtent:
    """How much of the object a map (H, W) covers, above `threshold` of its maximum as in `largest_component_box`.

    gt_boxes (M, 4) in pixels of the map; a pixel lies in a box if its centre does, and several boxes count as their
    union. Raises ValueError for a bad map, threshold or box, or if the boxes hold no pixel of the map.
    """
    mask = above_threshold(heatmap, threshold)
    truth = check_boxes(gt_boxes, "gt_boxes")
    if truth.ndim != 2:
        raise ValueError(f"gt_boxes have shape {truth.shape}; expected (M, 4)")
    size = mask.shape[::-1]
    inside = box_mask(truth, size)
    if not inside.any():
        raise ValueError(f"gt_boxes {truth.tolist()} hold no pixel of a map of {size[0]}x{size[1]}")
    both = np.count_nonzero(mask & inside)
    found = bound_largest(mask)[1]
    return MapExtent(both / np.count_nonzero(inside), both / np.count_nonzero(mask), found)


def box_mask(boxes: ArrayLike, size: Sequence[int] | np.ndarray) -> Mask:
    """Pixels whose centre lies in any of the boxes (M, 4), for an image of size (width, height) -> (H, W) bool."""
    width, height = int(size[0]), int(size[1])
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in np.reshape(check_boxes(boxes, allow_empty=True), (-1, 4)):
        mask |= ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))
    return mask


def mask_box(mask: ArrayLike) -> Boxes:
    """The smallest box around the pixels of a mask (H, W) bool -> (1, 4), or (0, 4) for an empty mask."""
    rows, columns = (np.flatnonzero(np.asarray(mask).any(axis)) for axis in (1, 0))
    ends = [(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)] if len(rows) else []
    return np.array(ends, dtype=np.float64).reshape(-1, 4)


def average_precision(truth: ArrayLike, scores: ArrayLike) -> float:
    """Average precision of scores (N,) for a truth (N,) bool: scikit-learn's."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, scores))


def holds_point(boxes: ArrayLike, point: ArrayLike) -> bool:
    """Whether a point (x, y) lies in any of the boxes (M, 4)."""
    corners = np.reshape(check_boxes(boxes, allow_empty=True), (-1, 4))
    x, y = np.asarray(point, np.float64)
    x0, y0, x1, y1 = corners.T
    return bool(((x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)).any())


def polygon_mask(points: ArrayLike, size: tuple[int, int]) -> Mask:
    """Pixels whose centre lies in a polygon (P, 2), for an image of size (width, height) -> (H, W) bool.

    Drawn four times finer, and there by OpenCV, whose outlines are a pixel wide: right to a quarter of a pixel.
    """
    fine, (width, height) = 4, size
    corners = np.clip(points, -1, np.add(size, 1)) * fine
    canvas = np.zeros((fine * height, fine * width), np.uint8)
    cv2.fillPoly(canvas, [np.rint(corners - 0.5).astype(np.int32)], (1,))
    return canvas[fine // 2 :: fine, fine // 2 :: fine].astype(bool)


def centre_map(height: int, width: int) -> NDArray[np.float64]:
    """A Gaussian hill in the centre, its deviation a quarter of each side: what a map knows that has not looked."""
    y, x = (((np.arange(side) + 0.5) / side - 0.5) / 0.25 for side in (height, width))
    return np.exp(-0.5 * (y[:, None] ** 2 + x**2))


def check_region(heatmap: ArrayLike, mask: ArrayLike) -> tuple[NDArray[np.float64], Mask]:
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
    values, region = check_region(heatmap, mask)
    high = above_threshold(values, threshold).astype(bool)
    both, inside = np.count_nonzero(high & region), np.count_nonzero(region)
    precision, recall = both / np.count_nonzero(high), both / inside if inside else np.nan
    if values.max() <= 0:
        return RegionShare(inside / region.size, inside / region.size, precision, recall)
    mass = values.clip(0)
    peak = region[values == values.max()].mean()
    return RegionShare(float(mass[region].sum() / mass.sum()), float(peak), precision, recall)
