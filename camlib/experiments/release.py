"""Which part of the released protocol makes its number, and its baseline Backprop under the same protocol."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from camlib.datasets.base import Dataset
from camlib.evaluate import (
    RELEASED_WAY,
    Localization,
    ReleasedLocalization,
    Way,
    guess_five,
    localize,
    localize_released,
)
from camlib.metrics import localization_errors
from camlib.stats import compare, wilson_interval
from camlib.train import Network
from camlib.transforms import crop_preset

Guesses = tuple[NDArray[np.int64], NDArray[np.float64]]  # classes (N, K), their boxes (N, K, 4), best first
RELEASE, FIVE = "10 crops, |map|, dt_box, loose box", "10 crops, |map|, dt_box, five guesses"
MERGES = {"abs_sum": "|map|", "mean": "signed map"}


def find_wrong(guesses: Guesses, images: Dataset, top: int) -> NDArray[np.bool_]:
    """Where none of the first `top` guesses (or of all, if fewer) is right: (N',), without the excluded images."""
    errors = localization_errors(*guesses, images.labels, images.boxes, excluded=images.excluded)
    return errors.loc_wrong[:, min(top, errors.loc_wrong.shape[1]) - 1]


def list_variants(ways: Mapping[Way, ReleasedLocalization], images: Dataset) -> dict[str, NDArray[np.bool_]]:
    """Top-5 localization errors of every combination of crops, merge, box rule and boxes used: name -> (N',).

    Boxes used: one per class (the text's, or the loose one), loose and tight of each of five classes (ten guesses), or
    the five guesses of Table 3's heuristic.
    """
    variants = {}
    for (crops, merge), found in ways.items():
        both = np.repeat(found.classes, 2, 1), np.stack([found.loose, found.tight], 2).reshape(len(found.loose), -1, 4)
        boxes = {
            "20 %, one box": (found.classes, found.text),
            "dt_box, loose box": (found.classes, found.loose),
            "dt_box, loose and tight": both,
            "dt_box, five guesses": guess_five(found),
        }
        for rule, guesses in boxes.items():
            name = f"{crops} crop{'s' * (crops > 1)}, {MERGES[merge]}, {rule}"
            variants[name] = find_wrong(guesses, images, top=guesses[0].shape[1])
    return variants


def compare_variants(variants: Mapping[str, NDArray[np.bool_]]) -> dict[str, dict[str, str]]:
    """Each variant's error with Wilson's interval, and its paired difference from the release, as text."""
    rows = {}
    for name, wrong in variants.items():
        error, low, high = (100 * v for v in wilson_interval(wrong))
        against = compare(wrong, variants[RELEASE])
        difference = f"{against.difference:+.1f} [{against.low:+.1f}, {against.high:+.1f}]"
        rows[name] = {
            "top-5 localization error, %": f"{error:.1f} [{low:.1f}, {high:.1f}]",
            "difference from the release, points": "" if name == RELEASE else difference,
        }
    return rows


def localize_backprop(
    network: Network, images: Dataset, smooth: float, squash: int = 0, top: int = 5
) -> dict[str, Guesses]:
    """Boxes of gradient saliency of the `top` best classes under each protocol -> name of the protocol: guesses.

    The released protocol is the one of the paper's Backprop rows. Under the text's rule the gradient is boxed as it is,
    and smoothed by a Gaussian of `smooth` px of the network's input. squash: see `transforms.crop_preset`.
    """
    net, preset, *_ = network
    crops = crop_preset(preset, squash)
    released = localize_released(net, images, crops, top=top, method="gradient", batch_size=2)
    one = [localize(net, images, preset, top=top, method="gradient", smooth=s) for s in (0, smooth)]
    raw, smoothed = (seen.guesses() for seen in one)
    return dict(zip(name_rules(smooth), ((released.classes, released.loose), raw, smoothed), strict=True))


def name_rules(smooth: float) -> tuple[str, str, str]:
    """The protocols under which CAM and Backprop are compared."""
    return "released protocol", "text rule, raw", f"text rule, smoothed by {smooth:g} px"


def take_guesses(
    ways: Mapping[Way, ReleasedLocalization], seen: Localization, where: NDArray[np.int64], smooth: float
) -> dict[str, Guesses]:
    """A network's CAM boxes of the images `where` under the protocols of `localize_backprop`: nothing is smoothed."""
    released, text = ways[RELEASED_WAY], seen.guesses()
    own = (released.classes[where], released.loose[where]), *((text[0][where], text[1][where]),) * 2
    return dict(zip(name_rules(smooth), own, strict=True))
