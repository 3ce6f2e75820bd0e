"""Fine-grained classes in two looks: features of the whole image, then of a crop (paper, Section 4.1, Table 4)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camlib.boxes import box_iou
from camlib.datasets.base import Dataset, crop_images
from camlib.features import extract_features, fit_linear
from camlib.models import GAPNet
from camlib.transforms import Preset


def classify_view(
    net: GAPNet, preset: Preset, parts: Mapping[str, Dataset], boxes: Mapping[str, NDArray] | None, seed: int = 0
) -> NDArray[np.int64]:
    """Classes predicted for the "test" part by an SVM that was fitted on the "train" part, both seen in one view.

    boxes: part -> (N, 4), what each image is cut to; None for whole images.
    """
    views = parts if boxes is None else {part: crop_images(parts[part], boxes[part]) for part in parts}
    features = {part: extract_features(net, images, preset) for part, images in views.items()}
    return fit_linear(features["train"], parts["train"].labels, seed).predict(features["test"])


def tabulate_crops(right: Mapping[str, NDArray[np.bool_]], found: NDArray[np.bool_]) -> pd.DataFrame:
    """Accuracy of each view where the CAM's box is right and where it is wrong, and what the crop changed.

    right: view -> (N,), with "full image" and "CAM crop" among them; found (N,): whether the CAM's box is right.
    """
    hurt, helped = right["full image"] & ~right["CAM crop"], ~right["full image"] & right["CAM crop"]
    rows = {}
    for name, group in {"box right (IoU ≥ 0.5)": found, "box wrong": ~found, "all": np.ones_like(found)}.items():
        shares = {f"{view}, %": f"{100 * ok[group].mean():.1f}" if group.any() else "" for view, ok in right.items()}
        changed = {"hurt by the crop": int(hurt[group].sum()), "helped by the crop": int(helped[group].sum())}
        rows[name] = {"images": int(group.sum()), **shares, **changed}
    return pd.DataFrame.from_dict(rows, orient="index")


def hit_by_chance(
    sizes: NDArray[np.int64], gt_boxes: Sequence[NDArray[np.float64]], draws: int = 2000, seed: int = 0
) -> NDArray[np.float64]:
    """How often a box with two uniformly drawn corners has IoU >= 0.5 with a true box of each image: (N,) shares.

    sizes (N, 2) as (width, height); gt_boxes: N arrays (Mi, 4). The same relative boxes are tried on every image.
    """
    corners = np.sort(np.random.default_rng(seed).random((draws, 2, 2)), axis=1)  # (draws, corner, xy), fractions
    shares = []
    for size, boxes in zip(sizes, gt_boxes, strict=True):
        drawn = (corners * size).reshape(draws, 4)
        shares.append(float((box_iou(drawn, boxes) >= 0.5).any(1).mean()))
    return np.array(shares)
