"""Class-specific units: their receptive fields, their strongest patches, and what they tell (paper, Section 5)."""

import copy
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from camlib.datasets.base import Dataset
from camlib.evaluate import forward_batches
from camlib.metrics import holds_point
from camlib.models import GAPNet
from camlib.transforms import Preset, crop_windows


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


def measure_units(peaks: UnitPeaks, labels: np.ndarray, units: np.ndarray) -> dict[str, np.ndarray]:
    """What the units (C, count) tell of their classes, one value per class that occurs (c,), fractions.

    "area under the ROC curve": see `unit_auc`. "strongest patch is of the class": share of the class's units whose
    strongest response is in an image of the class.
    """
    return _average_measures(peaks, [labels], units)


def shuffle_units(
    peaks: UnitPeaks, labels: np.ndarray, units: np.ndarray, shuffles: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """`measure_units` with shuffled labels, the mean over shuffles: what units of no class in particular give."""
    orders = [np.random.default_rng([seed, s]).permutation(len(labels)) for s in range(shuffles)]
    return _average_measures(peaks, [labels[order] for order in orders], units)


def _average_measures(peaks: UnitPeaks, labellings: Sequence[np.ndarray], units: np.ndarray) -> dict[str, np.ndarray]:
    present = np.unique(labellings[0])
    first = peaks.responses[:, units[present]].argmax(0)  # (c, count): the image of each unit's strongest patch
    areas = np.mean([unit_auc(peaks.responses, labels, units)[1] for labels in labellings], 0)
    own = np.mean([labels[first] == present[:, None] for labels in labellings], 0)
    return {"area under the ROC curve": areas, "strongest patch is of the class": own.mean(1)}


def patches_on_object(
    peaks: UnitPeaks, images: Dataset, field: ReceptiveField, preset: Preset, units: np.ndarray, n: int
) -> np.ndarray:
    """Share of the units' n strongest patches whose middle lies in a true box, per class that occurs: (c,)."""
    present = np.unique(images.labels)
    where, corners = top_patches(peaks, units[present].ravel(), n, field, images.sizes, preset)
    middles = ((corners[..., :2] + corners[..., 2:]) / 2).reshape(-1, 2)
    inside = [holds_point(images.boxes[i], xy) for i, xy in zip(where.ravel(), middles, strict=True)]
    return np.reshape(inside, (len(present), -1)).mean(1)


def cut_patches(images: Dataset, where: np.ndarray, corners: np.ndarray) -> list[np.ndarray]:
    """The pixels of patches: images (U, n), boxes (U, n, 4) -> U * n pictures (h, w, 3) uint8."""
    boxes = corners.round().astype(int).reshape(-1, 4)
    pictures = (np.asarray(images[i]) for i in where.ravel())
    return [picture[y0:y1, x0:x1] for picture, (x0, y0, x1, y1) in zip(pictures, boxes, strict=True)]


def title_patches(
    class_names: Sequence[str], classes: np.ndarray, units: np.ndarray, weight: np.ndarray, patches: int
) -> list[str]:
    """Titles of a gallery, `patches` pictures per unit: over the first the class, over the second unit and weight."""
    titles = [""] * (units.size * patches)
    titles[::patches] = [class_names[c].partition(",")[0] for c, row in zip(classes, units, strict=True) for _ in row]
    named = [(c, u) for c, row in zip(classes, units, strict=True) for u in row]
    titles[1::patches] = [f"unit {u} ({weight[c, u]:+.2f})" for c, u in named]
    return titles
