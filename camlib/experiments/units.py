"""Class-specific units: their receptive fields, their strongest patches, and what they tell (paper, Section 5)."""

import copy
from bisect import bisect_left
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from camlib.datasets.base import Dataset
from camlib.evaluate import forward_batches
from camlib.metrics import mask_box
from camlib.models import GAPNet
from camlib.transforms import Preset, crop_windows

GREY = 128  # of what lies outside a segmented patch


class ReceptiveField(NamedTuple):
    """The pixels that unit u of a row (or column) of units sees: offset + u * stride, and `size` of them."""

    size: int
    stride: int
    offset: int  # of unit 0; below 0 where it sees padding


def receptive_field(net: GAPNet, limit: int = 2048) -> ReceptiveField:
    """Receptive field of the units of a network's last feature maps, measured by probing; assumes square kernels.

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

    def forward(x: torch.Tensor, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        maps = net.features(x)  # (B, K, h, w)
        best, flat = maps.flatten(2).max(2)
        places = torch.stack([flat % maps.shape[-1], flat // maps.shape[-1]], -1)
        return best.float().cpu().numpy(), places.cpu().numpy()

    found = [peaks for _, peaks in forward_batches(net, dataset, preset, forward, batch_size=batch_size)]
    return UnitPeaks(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


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


def unit_auc(responses: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How well each unit tells the images of each class from the others: (c, K), of the c classes that occur, sorted.

    responses (N, K), labels (N,). The area under the ROC curve of the unit's response, i.e. how often an image of the
    class excites it more than an image of another (ties half); 0.5 is chance. Raises ValueError if there is one class.
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise ValueError(f"labels hold {len(present)} class; expected at least two")
    ranks = rankdata(responses, axis=0)  # (N, K), from 1
    areas = []
    for c in present:
        own = labels == c
        inside, outside = own.sum(), (~own).sum()
        excess = ranks[own].sum(0) - inside * (inside + 1) / 2
        areas.append(excess / (inside * outside))
    return np.array(areas)


def strongest_own(peaks: UnitPeaks, labels: np.ndarray) -> np.ndarray:
    """Whether the image that excites a unit most is of a class: (c, K) bool, of the c classes that occur, sorted."""
    return labels[peaks.responses.argmax(0)] == np.unique(labels)[:, None]


def peak_regions(
    peaks: UnitPeaks, images: Dataset, field: ReceptiveField, preset: Preset, regions: Sequence[Sequence[np.ndarray]]
) -> np.ndarray:
    """In which kinds of region each unit's peak lies, image by image: (R, N, K) bool.

    regions: R kinds, of each N masks (H, W) bool. The peak is the middle of the unit's receptive field where it
    responds most. A pixel outside the image lies nowhere.
    """
    middles = field.offset + field.stride * peaks.places + field.size / 2  # (N, K, 2), pixels of the crop
    windows = crop_windows(images.sizes, preset)[:, None]  # (N, 1, 4)
    scale = (windows[..., 2:] - windows[..., :2]) / preset.crop
    pixels = np.floor(middles * scale + windows[..., :2]).astype(int)
    inside = ((pixels >= 0) & (pixels < images.sizes[:, None])).all(-1)  # (N, K)
    x, y = np.moveaxis(pixels.clip(0, images.sizes[:, None] - 1), -1, 0)  # (N, K) each
    return np.array([[mask[y[i], x[i]] & inside[i] for i, mask in enumerate(masks)] for masks in regions])


def share_on_one(hits: np.ndarray, peaks: UnitPeaks, labels: np.ndarray, n: int) -> np.ndarray:
    """How often a unit's peak lies on one and the same kind of region, in the class's images: (c, K) fractions.

    hits (R, N, K): of `peak_regions`. Of each of the c classes that occur the n images that excite the unit most count
    (all, if there are fewer); of the R kinds the one that most of these peaks lie on.
    """
    shares = []
    for c in np.unique(labels):
        own = np.flatnonzero(labels == c)
        first = own[np.argsort(-peaks.responses[own], axis=0, kind="stable")[:n]]  # (n, K)
        shares.append(np.take_along_axis(hits, first[None], axis=1).mean(1).max(0))
    return np.array(shares)


def find_fields(
    net: GAPNet,
    images: Dataset,
    preset: Preset,
    peaks: UnitPeaks,
    field: ReceptiveField,
    units: ArrayLike,
    n: int,
    grid: int,
) -> np.ndarray:
    """What units answer to around their peak, by occlusion (paper, Section 5; Zhou et al., ICLR 2015).

    A square of the mean colour, two cells wide, hides every cell of a `grid` x `grid` over the crop in turn. How much
    the response at the peak falls, as a share of the largest fall, is averaged over the n images that excite the unit
    most, laid upon each other at the peak: units (U,) -> (U, 2 grid - 1, 2 grid - 1), the peak in the middle.
    """
    chosen = np.asarray(units, np.int64)
    top = np.argsort(-peaks.responses[:, chosen], axis=0, kind="stable")[:n]  # (n, U)
    total, seen = np.zeros((2, len(chosen), 2 * grid - 1, 2 * grid - 1))

    def occlude(x: torch.Tensor, batch: np.ndarray) -> None:
        for picture, i in zip(x, batch, strict=True):
            mine = np.flatnonzero((top == i).any(0))
            column, row = peaks.places[i, chosen[mine]].T
            hidden = _hide_cells(picture, grid).split(64)
            left = torch.cat([net.features(part)[:, chosen[mine], row, column] for part in hidden]).cpu().numpy()
            fall = (peaks.responses[i, chosen[mine]] - left).clip(0).T.reshape(-1, grid, grid)
            for u, one in zip(mine, fall / np.maximum(fall.max((1, 2), keepdims=True), 1e-12), strict=True):
                place = _around_peak(peaks, field, preset, i, chosen[u], grid)
                total[u][place] += one
                seen[u][place] += 1

    for _ in forward_batches(net, images, preset, occlude, indices=np.unique(top)):
        pass
    return total / np.maximum(seen, 1)


def _hide_cells(picture: torch.Tensor, grid: int) -> torch.Tensor:
    """A picture (3, S, S) with a square two cells wide around each cell set to 0, the mean colour: (G^2, 3, S, S)."""
    side = picture.shape[-1]
    ends = [(round(side * (k - 0.5) / grid), round(side * (k + 1.5) / grid)) for k in range(grid)]
    hidden = picture.repeat(grid * grid, 1, 1, 1)
    for k, ((top, bottom), (left, right)) in enumerate(product(ends, ends)):
        hidden[k, :, max(top, 0) : bottom, max(left, 0) : right] = 0
    return hidden


def _around_peak(
    peaks: UnitPeaks, field: ReceptiveField, preset: Preset, image: int, unit: int, grid: int
) -> tuple[slice, slice]:
    """Where the cells of an image lie in an array (2 grid - 1, 2 grid - 1) that has the unit's peak in the middle."""
    middle = field.offset + field.stride * peaks.places[image, unit] + field.size / 2
    column, row = (middle * grid / preset.crop).astype(int).clip(0, grid - 1)
    return slice(grid - 1 - row, 2 * grid - 1 - row), slice(grid - 1 - column, 2 * grid - 1 - column)


def segment_fields(fields: np.ndarray) -> np.ndarray:
    """The cells of `find_fields` where the response falls by more than half of the largest fall, and the peak: bool."""
    masks = fields > (0.5 + 1e-6) * fields.max((1, 2), keepdims=True)  # half, give or take float32
    middle = fields.shape[1] // 2
    masks[:, middle, middle] = True
    return masks


def measure_fields(masks: np.ndarray, preset: Preset) -> np.ndarray:
    """Side of a square as large as each empirical field (U, 2 grid - 1, 2 grid - 1), in px of the crop: (U,).

    Occluders of two cells blur a field by as much: a field below that is not resolved.
    """
    return np.sqrt(masks.sum((1, 2))) * preset.crop / ((masks.shape[1] + 1) // 2)


def cut_segments(
    images: Dataset, where: np.ndarray, units: ArrayLike, masks: np.ndarray, peaks: UnitPeaks, field: ReceptiveField,
    preset: Preset,
) -> list[np.ndarray]:  # fmt: skip
    """Patches as in the paper's Figure 13, cut out along the unit's empirical field, the rest grey.

    where (U, n): images; units (U,); masks (U, ...): of `segment_fields`. -> U * n pictures (h, w, 3) uint8.
    """
    grid, windows = (masks.shape[1] + 1) // 2, crop_windows(images.sizes, preset)
    pictures = []
    for unit, mask, row in zip(np.asarray(units), masks, where, strict=True):
        for i in row:
            cells = mask[_around_peak(peaks, field, preset, i, unit, grid)]  # (grid, grid)
            picture = np.asarray(images[i]).copy()
            height, width = picture.shape[:2]
            x0, y0, x1, y1 = windows[i]
            columns = np.floor((np.arange(width) + 0.5 - x0) / (x1 - x0) * grid).astype(int)
            rows = np.floor((np.arange(height) + 0.5 - y0) / (y1 - y0) * grid).astype(int)
            seen = ((rows >= 0) & (rows < grid))[:, None] & (columns >= 0) & (columns < grid)
            seen &= cells[rows.clip(0, grid - 1)[:, None], columns.clip(0, grid - 1)]
            picture[~seen] = GREY
            left, top, right, bottom = mask_box(seen)[0].astype(int)
            pictures.append(picture[top:bottom, left:right])
    return pictures


def title_patches(
    class_names: Sequence[str], classes: np.ndarray, units: np.ndarray, weight: np.ndarray, patches: int
) -> list[str]:
    """Titles of a gallery, `patches` pictures per unit: over the first the class, over the second unit and weight."""
    titles = [""] * (units.size * patches)
    titles[::patches] = [class_names[c].partition(",")[0] for c, row in zip(classes, units, strict=True) for _ in row]
    named = [(c, u) for c, row in zip(classes, units, strict=True) for u in row]
    titles[1::patches] = [f"unit {u} ({weight[c, u]:+.2f})" for c, u in named]
    return titles
