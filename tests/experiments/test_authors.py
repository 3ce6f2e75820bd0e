"""The authors' own GoogLeNet-GAP, in numbers they published: one photograph, ten crops, activations and scores."""

import numpy as np
import pytest
import torch

from camlib.cam import class_activation_maps
from camlib.experiments.authors import read_authors


@pytest.fixture
def authors(shared_data, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", str(shared_data("authors-googlenet-gap").parent))
    return read_authors()


def test_without_the_files_there_is_nothing_to_show(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    assert read_authors() is None


def test_their_scores_are_the_pooled_features_times_their_weights(authors):
    """log(score) - W F - its mean over classes is one constant per class over the crops: the bias, up to a shift."""
    weight, features, scores, _ = authors
    logits = (features.double().mean((2, 3)) @ weight.double().T).numpy()
    rest = np.log(scores) - logits
    rest -= rest.mean(1, keepdims=True)
    assert np.abs(rest - rest.mean(0)).max() < 5e-5
    assert rest.mean(0).std() > 1e-3, "the bias differs from class to class"


def test_the_mean_of_a_map_is_its_class_s_score_without_the_bias(authors):
    weight, features, scores, _ = authors
    best = torch.from_numpy(np.argsort(-scores.mean(0))[:5].copy()).repeat(10, 1)
    maps = class_activation_maps(features, weight, best)  # (10, 5, 14, 14)
    logits = (features.mean((2, 3)) @ weight.T).gather(1, best)
    assert torch.allclose(maps.mean((2, 3)), logits, rtol=1e-4, atol=1e-4)


def test_their_photograph_is_a_cup_of_espresso(authors):
    first = [authors.names[k] for k in authors.best_classes()]
    assert first == ["cup", "espresso", "eggnog", "espresso maker", "soup bowl"]


def test_their_maps_go_through_the_merge_and_both_box_rules(authors):
    for box in (boxes[0] for boxes in authors.box_maps(top=1)):
        assert (box[2:] - box[:2] > 64).all(), "the cup takes a good part of the photograph"
        assert box[0] < 128 < box[2]
        assert box[1] < 128 < box[3]
