"""Phrases in captions, and detectors mined for them."""

import numpy as np
import pytest

from camlib.experiments import phrases
from camlib.transforms import Preset

WHOLE = Preset(16, 16)


def test_phrases_are_whole_words():
    captions = ["A red ball and a bar", "a red balloon", "two dark red balls", "Red Ball."]
    assert phrases.captions_with(captions, "red ball").tolist() == [True, False, False, True]
    assert phrases.captions_with(["1+1 (one)"], "1+1").tolist() == [True]
    assert phrases.captions_with(["I like C++ code", "a red\n ball", "C++x"], "C++").tolist() == [True, False, False]
    assert phrases.captions_with(["a red\n ball", "red  balls"], "red ball").tolist() == [True, False]
    with pytest.raises(ValueError, match="phrase is empty"):
        phrases.captions_with(captions, " ")


def test_mining_brings_in_the_near_misses():
    """Easy negatives lie far away; only the few near misses say which of two axes tells."""
    rng = np.random.default_rng(0)
    positive = rng.normal((2, 2), 0.2, (60, 2))
    near, far = rng.normal((2, 0), 0.2, (30, 2)), rng.normal((-3, -3), 0.2, (1500, 2))
    features = np.concatenate([positive, near, far]).astype(np.float32)
    wanted = np.arange(len(features)) < 60

    def false_alarms(rounds: int) -> int:
        classifier = phrases.mine_detector(features, wanted, rounds=rounds)
        return int(classifier.predict(features[60:]).sum())

    assert false_alarms(1) > 10
    assert false_alarms(4) == 0
    with pytest.raises(ValueError, match=r"60 of them, rounds is 4; expected \(60,\), at least two of both kinds"):
        phrases.mine_detector(features[:60], wanted[:60])


def test_joined_detectors_score_as_they_did_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6))
    detectors = [phrases.mine_detector(x, x[:, k] > 0) for k in range(3)]
    joined = phrases.join_detectors(detectors)
    np.testing.assert_allclose(joined.decision(x), np.stack([f.decision(x)[:, 1] for f in detectors], 1))
