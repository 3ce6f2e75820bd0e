"""Images with text against images without (paper, Section 4: weakly supervised text detector)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from camlib import datasets
from camlib.datasets.base import Dataset


class TextSplit(NamedTuple):
    """Images without words, then those with words, and which of them are fitted on."""

    words: Dataset  # images with words
    others: Dataset  # images without
    labels: np.ndarray  # (N,) of others, then words: 0 and 1
    fit: np.ndarray  # (N,) bool: fitted on
    held: Dataset  # images with boxes of words that are not fitted on


def load_text(data: Mapping[str, Any], others_data: Mapping[str, Any], fit_share: float, seed: int) -> TextSplit:
    """Load both kinds of images, and draw the share of them that is fitted on.

    data: mapping {dataset, split, options}. Where it has two classes, the first is "without"; where it has one, as many
    images are drawn from `others_data`.
    """
    rng, words = np.random.default_rng(seed), datasets.load_from(data)
    if len(words.classes) == 1:
        every = datasets.load_from(others_data)
        others = every.subset(rng.permutation(len(every))[: len(words)])
    else:
        others, words = words.subset(words.labels == 0), words.subset(words.labels == 1)
    labels = np.repeat([0, 1], [len(others), len(words)])
    fit = rng.random(len(labels)) < fit_share
    held = words.subset(~fit[len(others) :] & np.array([len(b) > 0 for b in words.boxes]))
    return TextSplit(words, others, labels, fit, held)
