"""Detectors of phrases in captions (paper, Section 4: concept localization in weakly labelled images)."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from camlib.datasets.base import Dataset
from camlib.experiments.scenes import object_masks
from camlib.features import CANDIDATES, LinearClassifier, fit_linear
from camlib.metrics import Mask

FUNCTION_WORDS = frozenset({"a", "an", "and", "at", "by", "from", "in", "into", "of", "on", "out", "the", "to", "with"})


def captions_with(captions: Sequence[str], phrase: str) -> Mask:
    """Which captions contain the phrase as whole words, in any case -> (N,) bool. ValueError for an empty phrase.

    captions: one text per image; of several captions each is a line, and no phrase goes on in the next.
    """
    if not phrase.strip():
        raise ValueError("phrase is empty; expected at least one word")
    words = r"[^\S\n]+".join(map(re.escape, phrase.split()))
    pattern = re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
    return np.array([bool(pattern.search(caption)) for caption in captions])


def label_captions(captions: Sequence[str], phrase: str) -> np.ndarray:
    """What each caption is for a detector of the phrase: 1 positive, 0 negative, -1 neither -> (N,) int64.

    Positive: it contains the phrase. Negative: it contains no word of the phrase (paper: "no relevant word"), words
    such as "in" and "of" aside. What has some of its words may show it unnamed, and is neither.
    Raises ValueError for a phrase without another word.
    """
    words = [word for word in phrase.split() if word.lower() not in FUNCTION_WORDS]
    if not words:
        raise ValueError(f"phrase {phrase!r} holds no word that tells; expected one besides in, of, the, ...")
    some = np.any([captions_with(captions, word) for word in words], axis=0)
    return np.where(captions_with(captions, phrase), 1, np.where(some, -1, 0)).astype(np.int64)


def phrase_mask(images: Dataset, i: int, phrase: str) -> Mask | None:
    """The pixels (H, W) of image i that the phrase is about, or None where nothing of it is annotated.

    Of the drawn data: the phrase's own mask. Of COCO: its annotated objects whose names the phrase contains.
    """
    if "phrase_masks" in images.extras:
        mask = images.extras["phrase_masks"][phrase][i]
        return mask if mask.any() else None
    named = [mask for name, mask in object_masks(images, i).items() if captions_with([phrase], name)[0]]
    return np.any(named, axis=0) if named else None


def list_occurrences(
    images: Dataset, names: Sequence[str], labels: Mapping[str, np.ndarray], among: Mask
) -> tuple[np.ndarray, np.ndarray, list[Mask]]:
    """Images that show a phrase of their caption -> phrases (P,), images (P,), masks (P of (H, W)), phrase by phrase.

    labels: phrase -> (N,), of `label_captions`; among (N,): the images that count.
    Raises ValueError, naming the phrase, if none of its images shows it.
    """
    which: list[int] = []
    there: list[int] = []
    masks: list[Mask] = []
    for k, phrase in enumerate(names):
        for i in np.flatnonzero(among & (labels[phrase] == 1)).tolist():
            if (mask := phrase_mask(images, i, phrase)) is not None:
                which.append(k)
                there.append(i)
                masks.append(mask)
        if k not in which:
            raise ValueError(
                f"{images.name}: no image shows {phrase!r}; expected a phrase that names annotated objects"
            )
    return np.array(which), np.array(there), masks


def mine_detector(
    features: np.ndarray,
    labels: np.ndarray,
    seed: int = 0,
    candidates: Sequence[float] = CANDIDATES,
    rounds: int = 4,
) -> LinearClassifier:
    """A linear detector by hard-negative mining (paper, Section 4: concepts): row 1 of the classifier is "with".

    features (N, K), labels (N,): 1, 0 or -1, of `label_captions`; the images of -1 are not fitted on. candidates: of C.
    It starts from all positives and as many random negatives; each round adds the negatives that the detector scores
    worst, those it gets wrong or within the margin, up to the number of positives, and fits again; it stops when there
    are none. Raises ValueError if there are fewer than two of either kind.
    """
    wanted = np.asarray(labels) == 1
    free = np.asarray(labels) == 0
    count = int(wanted.sum())
    if wanted.shape != (len(features),) or count < 2 or free.sum() < 2 or rounds < 1:
        raise ValueError(
            f"labels have shape {wanted.shape}, {count} positive, {free.sum()} negative, rounds is {rounds}; expected "
            f"({len(features)},), at least two of both kinds, one round or more"
        )
    used = wanted.copy()
    used[np.random.default_rng(seed).permutation(np.flatnonzero(free))[:count]] = True
    for _ in range(rounds):
        classifier = fit_linear(features[used], wanted[used].astype(np.int64), seed, candidates)
        score = classifier.decision(features)[:, 1]  # (N,)
        hard = np.flatnonzero(free & ~used & (score > -1))
        if not len(hard):
            break
        used[hard[np.argsort(-score[hard], kind="stable")[:count]]] = True
    return classifier


def join_detectors(detectors: Sequence[LinearClassifier]) -> LinearClassifier:
    """Several detectors of `mine_detector` as one classifier: row k is detector k's "with"."""
    weight, bias = np.stack([d.weight[1] for d in detectors]), np.array([d.bias[1] for d in detectors])
    return LinearClassifier(weight, bias, detectors[0].c)
