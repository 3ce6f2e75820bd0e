"""Detectors of phrases in captions (paper, Section 4: concept localization in weakly labelled images)."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from camlib.datasets.base import Dataset
from camlib.features import LinearClassifier, fit_linear
from camlib.metrics import Mask


def captions_with(captions: Sequence[str], phrase: str) -> Mask:
    """Which captions contain the phrase as whole words, in any case -> (N,) bool. ValueError for an empty phrase."""
    if not phrase.strip():
        raise ValueError("phrase is empty; expected at least one word")
    words = r"\s+".join(map(re.escape, phrase.split()))
    pattern = re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
    return np.array([bool(pattern.search(caption)) for caption in captions])


def list_occurrences(
    images: Dataset, names: Sequence[str], wanted: Mapping[str, Mask], among: Mask
) -> tuple[np.ndarray, np.ndarray, list[Mask]]:
    """Images that show a phrase of their caption -> phrases (P,), images (P,), masks (P of (H, W)), phrase by phrase.

    wanted: phrase -> (N,), whether the caption contains it; among (N,): the images that count.
    """
    masks = images.extras["phrase_masks"]
    which, there = [], []
    for k, phrase in enumerate(names):
        seen = np.flatnonzero(among & wanted[phrase] & masks[phrase].any((1, 2)))
        which += [k] * len(seen)
        there += seen.tolist()
    return np.array(which), np.array(there), [masks[names[k]][i] for k, i in zip(which, there, strict=True)]


def mine_detector(features: np.ndarray, positive: ArrayLike, seed: int = 0, rounds: int = 4) -> LinearClassifier:
    """A linear detector by hard-negative mining (paper, Section 4: concepts): row 1 of the classifier is "with".

    features (N, K), positive (N,) bool. It starts from all positives and as many random negatives; each round adds the
    negatives that the detector scores worst, those it gets wrong or within the margin, up to the number of positives,
    and fits again; it stops when there are none. Raises ValueError if there are fewer than two of either kind.
    """
    wanted = np.asarray(positive, bool)
    count = int(wanted.sum())
    if wanted.shape != (len(features),) or not 2 <= count <= len(wanted) - 2 or rounds < 1:
        raise ValueError(
            f"positive has shape {wanted.shape}, {count} of them, rounds is {rounds}; expected ({len(features)},), at "
            "least two of both kinds, one round or more"
        )
    used = wanted.copy()
    used[np.random.default_rng(seed).permutation(np.flatnonzero(~wanted))[:count]] = True
    for _ in range(rounds):
        classifier = fit_linear(features[used], wanted[used].astype(np.int64), seed)
        score = classifier.decision(features)[:, 1]  # (N,)
        hard = np.flatnonzero(~used & (score > -1))
        if not len(hard):
            break
        used[hard[np.argsort(-score[hard], kind="stable")[:count]]] = True
    return classifier


def join_detectors(detectors: Sequence[LinearClassifier]) -> LinearClassifier:
    """Several detectors of `mine_detector` as one classifier: row k is detector k's "with"."""
    weight, bias = np.stack([d.weight[1] for d in detectors]), np.array([d.bias[1] for d in detectors])
    return LinearClassifier(weight, bias, detectors[0].c)
