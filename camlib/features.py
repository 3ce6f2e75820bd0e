"""Generic transfer (paper, Section 4): pooled features of a whole dataset, a linear SVM on them, and its CAM.

The SVM's weights, brought back to the scale of the raw features, take the place of the class weights `w_k^c`: the same
equation then maps classes that the network was never trained for.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.svm import LinearSVC
from torch import nn

from camlib.datasets.base import Dataset
from camlib.evaluate import forward_batches
from camlib.models import GAPNet, digest_network
from camlib.store import digest, run_sharded
from camlib.transforms import Preset, pick_device

CANDIDATES = (1e-4, 1e-3, 1e-2, 1e-1)  # of C, for standardised features
FOLDS, FOLD_IMAGES = 3, 4000  # cross-validation: folds, and training images that it uses at most
LIBLINEAR_LIMIT = 5e7  # images x features x classes; above this LIBLINEAR (one class at a time, one core) is too slow


def extract_features(net: GAPNet, dataset: Dataset, preset: Preset, batch_size: int = 64) -> NDArray[np.float32]:
    """Pooled features F_k of every image's centre crop: (N, K) float32, in one batched pass.

    Kept on disk, shard by shard, under a hash of the feature layers, the data and the preprocessing (not of the linear
    layer, which they don't depend on). Raises what the dataset raises for a bad image, with its path.
    """

    def forward(x: torch.Tensor, batch: np.ndarray) -> np.ndarray:
        return net.pool_features(net.features(x)).float().cpu().numpy()  # (B, K)

    def compute(indices: np.ndarray) -> dict[str, np.ndarray]:
        pooled = []
        for batch, found in forward_batches(net, dataset, preset, forward, indices=indices, batch_size=batch_size):
            if len(bad := np.flatnonzero(~np.isfinite(found).all(1))):
                raise ValueError(f"{dataset.name}, image {dataset.ids[batch[bad[0]]]}: features are not finite")
            pooled.append(found)
        return {"features": np.concatenate(pooled)}

    key = digest(digest_network(net.backbone), net.pool, dataset.cache_key, asdict(preset))
    label = f"features-{dataset.name}-{dataset.split}"
    return run_sharded(label, key, len(dataset), compute, 4096, ["features"])["features"]


class LinearClassifier(NamedTuple):
    """One-vs-rest scores of raw features; what was done to the features before the fit is folded in."""

    weight: NDArray[np.float64]  # (C, K)
    bias: NDArray[np.float64]  # (C,)
    c: float  # the SVM's C, as chosen

    def decision(self, features: NDArray) -> NDArray[np.float64]:
        """Features (N, K) -> scores (N, C)."""
        return features @ self.weight.T + self.bias

    def predict(self, features: NDArray) -> NDArray[np.int64]:
        """Features (N, K) -> the class with the highest score (N,)."""
        return self.decision(features).argmax(1)


def fit_linear(
    features: NDArray, labels: NDArray, seed: int = 0, candidates: Sequence[float] = CANDIDATES
) -> LinearClassifier:
    """A linear SVM (one-vs-rest, L2, squared hinge: scikit-learn's LinearSVC) on standardised features.

    features (N, K), labels (N,) int: classes 0..C-1, each present. C is the one of `candidates` with the best
    accuracy in a cross-validation over these images (ties go to the smallest; the search starts from the
    smallest and ends at the first that does worse). The scaling is folded into the result:
    `features @ weight.T + bias` is the decision value. Two classes have two rows, one the negative of the other.

    Beyond LIBLINEAR_LIMIT all classes are solved together by matrix products: the same minimum, in a fraction of the
    time (SUN397). Raises ValueError for shapes that don't fit, NaN, one class only, an absent class, or classes too
    small to choose C.
    """
    x, y = np.asarray(features), np.asarray(labels)
    x = x if np.issubdtype(x.dtype, np.floating) else x.astype(np.float32)
    if x.ndim != 2 or y.shape != x.shape[:1] or not x.size or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"features {x.shape} and labels {y.shape} {y.dtype}; expected (N, K) and (N,) integers")
    if not np.isfinite(x).all():
        raise ValueError("features hold NaN or infinite values; expected finite ones")
    if y.min() < 0 or (counts := np.bincount(y)).min() == 0 or len(counts) < 2:
        raise ValueError(f"labels are {np.unique(y)[:20].tolist()}; expected at least two classes 0..C-1, each present")
    if len(candidates) == 1:
        return _fit_scaled(x, y, candidates[0], seed)
    if counts.min() < 2:
        raise ValueError(f"class {counts.argmin()} has 1 image; cross-validation needs at least 2")
    some = np.arange(len(y))
    if len(y) > FOLD_IMAGES and min(FOLD_IMAGES, len(y) - FOLD_IMAGES) >= 2 * len(counts):
        some = train_test_split(some, train_size=FOLD_IMAGES, stratify=y, random_state=seed)[0]
    folds = StratifiedKFold(min(FOLDS, counts.min(), np.bincount(y[some]).min()), shuffle=True, random_state=seed)
    parts = [(some[fit], some[check]) for fit, check in folds.split(some, y[some])]
    most, best = -1, 0.0
    for c in sorted(candidates):
        right = sum((_fit_scaled(x[fit], y[fit], c, seed).predict(x[check]) == y[check]).sum() for fit, check in parts)
        if right < most:
            break
        most, best = right, c if right > most else best
    return _fit_scaled(x, y, best, seed)


def _fit_scaled(x: NDArray, y: NDArray, c: float, seed: int) -> LinearClassifier:
    mean, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    scale[scale <= 1e-7 * np.abs(mean)] = 1.0  # constant features
    scale = np.maximum(scale, 1e-4 * np.median(scale))  # one that hardly ever fires would get a boundless weight
    classes = int(y.max()) + 1
    if x.size * classes <= LIBLINEAR_LIMIT:
        svm = LinearSVC(C=c, dual="auto", tol=1e-3, max_iter=20_000, random_state=seed).fit((x - mean) / scale, y)
        weight, bias = svm.coef_, svm.intercept_
        if classes == 2:
            weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    else:
        weight, bias = _solve_together((x - mean.astype(x.dtype)) / scale.astype(x.dtype), y, c)
    weight = weight / scale
    return LinearClassifier(weight, bias - weight @ mean, c)


def _solve_together(x: NDArray, y: NDArray, c: float, tolerance: float = 1e-3) -> tuple[NDArray, NDArray]:
    """The same minimum as LinearSVC's, |w|^2 / 2 + c * sum(max(0, 1 - y f)^2), for every class at once -> (C, K), (C,).

    The curvature of the loss is at most that of least squares, I + 2 c X'X, the same for all classes: its inverse
    makes a gradient step that cannot overshoot; Nesterov's momentum, restarted where it points uphill, speeds it up.
    """
    device = pick_device()
    data = torch.cat([torch.from_numpy(x).float(), torch.ones(len(x), 1)], 1).to(device)  # (N, K + 1)
    sign = torch.full((len(x), int(y.max()) + 1), -1.0, device=device)  # (N, C)
    sign[torch.arange(len(x)), torch.from_numpy(y)] = 1.0
    curvature = torch.eye(data.shape[1]).double() + 2 * c * (data.T @ data).cpu().double()  # no float64 on Apple's GPU
    inverse = torch.linalg.inv(curvature).float().to(device)
    w = ahead = torch.zeros(data.shape[1], sign.shape[1], device=device)  # (K + 1, C)
    pace = 1.0
    for _ in range(500):
        gradient = ahead - 2 * c * (data.T @ ((1 - sign * (data @ ahead)).clamp_(min=0).mul_(sign)))
        if gradient.norm() <= tolerance * ahead.norm():
            break
        new = ahead - inverse @ gradient
        step, uphill = new - w, ((ahead - new) * (new - w)).sum() > 0
        faster = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        w, ahead, pace = new, new + (pace - 1) / faster * step, 1.0 if uphill else faster
    else:
        left = float(gradient.norm() / ahead.norm())
        warnings.warn(
            f"SVM of C {c:g} stopped at a gradient of {left:.1e}, not {tolerance:g}", ConvergenceWarning, stacklevel=2
        )
    solution = ahead.cpu().double().numpy()
    return solution[:-1].T, solution[-1]


def with_classifier(net: GAPNet, classifier: LinearClassifier) -> GAPNet:
    """The network with the classifier as its linear layer: the mean of its map plus the bias is the decision value."""
    like = next(net.parameters())
    classes, channels = classifier.weight.shape
    fc = nn.Linear(channels, classes, dtype=like.dtype, device=like.device)
    fc.load_state_dict({"weight": torch.from_numpy(classifier.weight), "bias": torch.from_numpy(classifier.bias)})
    return GAPNet(net.backbone, fc, net.pool).eval()
