"""Phrases in captions, and detectors mined for them."""

import numpy as np
import pytest
from builders import dataset_of

from camlib.datasets import load
from camlib.experiments import phrases


def test_phrases_are_whole_words_of_one_caption():
    captions = ["A red ball and a bar", "a red balloon", "two dark red balls", "Red Ball."]
    assert phrases.captions_with(captions, "red ball").tolist() == [True, False, False, True]
    assert phrases.captions_with(["1+1 (one)"], "1+1").tolist() == [True]
    assert phrases.captions_with(["I like C++ code", "a red\n ball", "C++x"], "C++").tolist() == [True, False, False]
    assert phrases.captions_with(["a red \t ball", "red  balls"], "red ball").tolist() == [True, False]
    assert phrases.captions_with(["It is red\nball games"], "red ball").tolist() == [False], "two captions"
    with pytest.raises(ValueError, match="phrase is empty"):
        phrases.captions_with(captions, " ")


def test_negatives_hold_no_word_of_the_phrase():
    captions = ["mirror in lake", "a Lake", "a dog in the sun", "the mirror", "out of the window", "lakes"]
    assert phrases.label_captions(captions, "mirror in lake").tolist() == [1, -1, 0, -1, 0, 0]
    with pytest.raises(ValueError, match="'out of' holds no word that tells"):
        phrases.label_captions(captions, "out of")


def test_mining_brings_in_the_near_misses():
    """Easy negatives lie far away; only the few near misses say which of two axes tells."""
    rng = np.random.default_rng(0)
    positive = rng.normal((2, 2), 0.2, (60, 2))
    near, far = rng.normal((2, 0), 0.2, (30, 2)), rng.normal((-3, -3), 0.2, (1500, 2))
    features = np.concatenate([positive, near, far]).astype(np.float32)
    labels = (np.arange(len(features)) < 60).astype(int)

    def false_alarms(rounds: int, given: np.ndarray = labels) -> int:
        classifier = phrases.mine_detector(features, given, rounds=rounds)
        return int(classifier.predict(features[60:]).sum())

    assert false_alarms(1) > 10
    assert false_alarms(4) == 0
    neither = labels - (np.arange(len(labels)) // 30 == 2)
    assert neither.min() == -1
    assert false_alarms(4, neither) > 10, "what is neither is not fitted on"
    with pytest.raises(
        ValueError, match=r"60 positive, 0 negative, rounds is 4; expected .*at least two of both kinds"
    ):
        phrases.mine_detector(features[:60], labels[:60])


def test_joined_detectors_score_as_they_did_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6))
    detectors = [phrases.mine_detector(x, (x[:, k] > 0).astype(int)) for k in range(3)]
    joined = phrases.join_detectors(detectors)
    np.testing.assert_allclose(joined.decision(x), np.stack([f.decision(x)[:, 1] for f in detectors], 1))


def test_occurrences_of_drawn_phrases_are_where_the_captions_name_them():
    images = load("synthetic-concepts", n=40)
    names = images.info["phrases"][:2]
    labels = {name: phrases.label_captions(images.extras["captions"], name) for name in names}
    which, there, masks = phrases.list_occurrences(images, names, labels, np.arange(40) < 30)
    assert which.tolist() == sorted(which)
    assert there.max() < 30
    for k, i, mask in zip(which, there, masks, strict=True):
        assert labels[names[k]][i] == 1
        assert mask is not None
        assert np.array_equal(mask, images.extras["phrase_masks"][names[k]][i])


def test_a_phrase_is_where_the_objects_lie_that_it_names():
    """As in COCO: outlines of objects, and captions that name some of them."""
    square = [[1, 1, 3, 1, 3, 3, 1, 3]]
    extras = {
        "captions": ["a cat on the couch", "a cat on the couch", "a dog"],
        "objects": [["cat", "dog"], ["dog"], ["cat"]],
        "segments": [[square, [[5, 5, 8, 5, 8, 8, 5, 8]]], [square], [square]],
    }
    images = dataset_of(np.zeros((3, 9, 9, 3), np.uint8), [0, 0, 0], extras=extras)
    phrase = "cat on the couch"
    labels = {phrase: phrases.label_captions(extras["captions"], phrase)}
    which, there, (mask,) = phrases.list_occurrences(images, [phrase], labels, np.ones(3, bool))
    assert (which.tolist(), there.tolist()) == ([0], [0])
    assert mask[1:3, 1:3].all()
    assert not mask[5:].any()
    with pytest.raises(ValueError, match="planted: no image shows 'a dog'"):
        phrases.list_occurrences(images, ["a dog"], {"a dog": np.array([0, 0, 1])}, np.ones(3, bool))
