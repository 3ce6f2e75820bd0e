"""The CAM equation, and what is done to maps as tensors: resize, normalise, ten crops and their merge."""

from typing import Literal, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Normalization = Literal["max", "minmax"]
CENTRE = 4  # of the ten crops
Maps = TypeVar("Maps", Tensor, np.ndarray)


def class_activation_maps(features: Tensor, weight: Tensor, classes: Tensor) -> Tensor:
    """`M_c(x, y) = sum_k w_k^c f_k(x, y)` for the asked classes (paper, Section 2): no bias, no ReLU, signed.

    features (B, K, h, w), weight (C, K): the linear layer's, classes (B, k) int64 -> maps (B, k, h, w).
    Raises ValueError when channels do not match or a class is not a row of `weight`.

        maps = class_activation_maps(net.features(x), net.fc.weight, logits.topk(5).indices)
    """
    if features.ndim != 4 or weight.ndim != 2 or features.shape[1] != weight.shape[1]:
        raise ValueError(
            f"features {tuple(features.shape)} and weight {tuple(weight.shape)} do not fit: "
            "expected (B, K, h, w) and (C, K)"
        )
    if classes.ndim != 2 or len(classes) != len(features):
        raise ValueError(f"classes have shape {tuple(classes.shape)}; expected ({len(features)}, k)")
    if classes.numel() and (int(classes.min()) < 0 or int(classes.max()) >= len(weight)):
        raise ValueError(f"classes must be in 0..{len(weight) - 1}, got {int(classes.min())}..{int(classes.max())}")
    return torch.einsum("bkc,bchw->bkhw", weight[classes], features)


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of maps (..., h, w) to size (H, W) in pixels, pixel centres aligned."""
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    return F.interpolate(flat, size, mode="bilinear", align_corners=False).reshape(*maps.shape[:-2], *size)


def resize_map(heatmap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One map (h, w) to size (width, height) in pixels by OpenCV: as `resize_maps`, faster for one map at a time."""
    return cv2.resize(heatmap, size, interpolation=cv2.INTER_LINEAR)


def normalize_maps(maps: Maps, method: Normalization) -> Maps:
    """Scale each map (..., h, w) by itself: "max" divides by its maximum (the paper), "minmax" takes it to [0, 1].

    maps: a tensor or an array; the result is of the same kind. A map whose maximum is <= 0 ("max"), or which is
    constant ("minmax"), holds no evidence and becomes all zero.
    Raises ValueError for another method or for maps that are not finite.
    """
    if isinstance(maps, np.ndarray):
        return normalize_maps(torch.from_numpy(maps), method).numpy()
    if not torch.isfinite(maps).all():
        raise ValueError("maps hold NaN or infinite values; expected finite ones")
    top = maps.amax((-2, -1), keepdim=True)
    if method == "max":
        return torch.where(top > 0, maps / top, 0.0)
    if method == "minmax":
        low = maps.amin((-2, -1), keepdim=True)
        return torch.where(top > low, (maps - low) / (top - low), 0.0)
    raise ValueError(f"normalisation is {method!r}; expected 'max' or 'minmax'")


def _crop_corners(size: tuple[int, int], crop: int) -> list[tuple[int, int]]:
    height, width = size
    if crop > min(size):
        raise ValueError(f"crops of {crop} px do not fit images of {width}x{height}")
    bottom, right = height - crop, width - crop
    return [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]


def ten_crop(images: Tensor, crop: int) -> Tensor:
    """Four corners, centre, and the mirror image of each (released protocol, step 1).

    images (B, 3, H, W) -> (B, 10, 3, crop, crop): crops 0-4, then their mirrors 5-9.
    """
    crops = [
        images[..., y : y + crop, x : x + crop] for y, x in _crop_corners((images.shape[-2], images.shape[-1]), crop)
    ]
    stacked = torch.stack(crops, 1)  # (B, 5, 3, crop, crop)
    return torch.cat([stacked, stacked.flip(-1)], 1)


def merge_ten_crop(
    maps: Tensor, size: tuple[int, int], crop: int, merge: Literal["abs_sum", "mean"] = "abs_sum"
) -> Tensor:
    """Put the maps of ten crops back in place (released protocol, step 2).

    maps (B, 10, k, h, w), raw, in the order of `ten_crop` -> (B, k, H, W) for size (H, W).
    merge: "abs_sum" is the released one: |map| summed with no division by how often a pixel was covered, so the centre
    weighs more. "mean" divides the signed sum by the coverage (a pixel that no crop covers stays 0).
    """
    if maps.ndim != 5 or maps.shape[1] != 10:
        raise ValueError(f"maps have shape {tuple(maps.shape)}; expected (B, 10, k, h, w)")
    if merge not in ("abs_sum", "mean"):
        raise ValueError(f"merge is {merge!r}; expected 'abs_sum' or 'mean'")
    merged = maps.new_zeros(len(maps), maps.shape[2], *size)  # (B, k, H, W)
    coverage = maps.new_zeros(size)
    for i, (y, x) in enumerate(_crop_corners(size, crop)):  # ten enlarged crops at once would not fit a core's cache
        own, mirrored = (resize_maps(maps[:, j], (crop, crop)) for j in (i, i + 5))  # (B, k, crop, crop)
        if merge == "abs_sum":
            own, mirrored = own.abs_(), mirrored.abs_()
        merged[..., y : y + crop, x : x + crop] += own.add_(mirrored.flip(-1))  # they lie on the same pixels
        coverage[y : y + crop, x : x + crop] += 2
    return merged / coverage.clamp(min=1) if merge == "mean" else merged


def merge_one_crop(
    maps: Tensor, size: tuple[int, int], crop: int, merge: Literal["abs_sum", "mean"] = "abs_sum"
) -> Tensor:
    """`merge_ten_crop` for the centre crop alone: maps (B, k, h, w) -> (B, k, H, W), 0 outside the crop."""
    y, x = _crop_corners(size, crop)[CENTRE]
    maps = resize_maps(maps, (crop, crop))
    merged = maps.new_zeros(*maps.shape[:2], *size)
    merged[..., y : y + crop, x : x + crop] = maps.abs() if merge == "abs_sum" else maps
    return merged


def compare_class_maps(maps: Tensor, threshold: float = 0.2) -> tuple[Tensor, Tensor]:
    """How alike the maps of different classes of one image are (paper, Figure 4), the mean over all pairs of classes.

    maps (B, k, h, w), k > 1 -> correlation (B,) over the cells, in -1..1; overlap (B,), the IoU in 0..1 of the regions
    above `threshold` of each map's maximum (a map whose maximum is <= 0 covers all). A constant map correlates with
    none: 0.
    """
    flat = maps.flatten(2).double()  # (B, k, cells)
    centred = flat - flat.mean(2, keepdim=True)
    unit = F.normalize(centred, dim=2)
    top = flat.amax(2, keepdim=True)
    inside = ((flat > threshold * top) | (top <= 0)).double()
    both = inside @ inside.mT  # (B, k, k) cells
    area = inside.sum(2)
    iou = both / (area[:, :, None] + area[:, None] - both).clamp(min=1)
    first, second = torch.triu_indices(maps.shape[1], maps.shape[1], 1)
    return (unit @ unit.mT)[:, first, second].mean(1), iou[:, first, second].mean(1)
