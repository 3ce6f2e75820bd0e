"""The authors' own GoogLeNet-GAP, in numbers they published: one photograph, ten crops, activations and scores."""

import json

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from camlib.boxes import largest_component_box, released_boxes, to_8_bit
from camlib.cam import class_activation_maps, merge_ten_crop


@pytest.fixture(scope="module")
def authors(shared_data):
    folder = shared_data("authors-googlenet-gap")
    net, image = loadmat(folder / "data_net.mat"), loadmat(folder / "data_img1.mat")
    weight = net["weights_LR"].T  # (1000, 1024)
    features = image["activation_lastconv"].transpose(3, 2, 1, 0)  # (10, 1024, h, w): MATLAB keeps x first
    scores = image["scores"].reshape(1000, 10).T.astype(np.float64)  # (10, 1000), after the softmax
    return torch.from_numpy(weight.copy()), torch.from_numpy(features.copy()), scores


def test_their_scores_are_the_pooled_features_times_their_weights(authors):
    """log(score) - W F - its mean over classes is one constant per class over the crops: the bias, up to a shift."""
    weight, features, scores = authors
    logits = (features.double().mean((2, 3)) @ weight.double().T).numpy()
    rest = np.log(scores) - logits
    rest -= rest.mean(1, keepdims=True)
    assert np.abs(rest - rest.mean(0)).max() < 5e-5
    assert rest.mean(0).std() > 1e-3, "the bias differs from class to class"


def test_the_mean_of_a_map_is_its_class_s_score_without_the_bias(authors):
    weight, features, scores = authors
    best = torch.from_numpy(np.argsort(-scores.mean(0))[:5].copy()).repeat(10, 1)
    maps = class_activation_maps(features, weight, best)  # (10, 5, 14, 14)
    logits = (features.mean((2, 3)) @ weight.T).gather(1, best)
    assert torch.allclose(maps.mean((2, 3)), logits, rtol=1e-4, atol=1e-4)


def test_their_photograph_is_a_cup_of_espresso(authors, shared_data):
    _, _, scores = authors
    names = json.loads(shared_data("imagenet_classes.json").read_text())["names"]
    first = [names[k].partition(",")[0] for k in np.argsort(-scores.mean(0))[:5]]
    assert first == ["cup", "espresso", "eggnog", "espresso maker", "soup bowl"]


def test_their_maps_go_through_the_merge_and_both_box_rules(authors):
    weight, features, scores = authors
    best = int(scores.mean(0).argmax())
    maps = class_activation_maps(features, weight, torch.full((10, 1), best))  # (10, 1, 14, 14)
    merged = merge_ten_crop(maps[None], (256, 256), 224)[0, 0].numpy()
    assert merged.shape == (256, 256)
    text = largest_component_box(merged)
    loose = released_boxes(to_8_bit(merged, (256, 256)))[0]
    for box in (text, loose):
        assert (box[2:] - box[:2] > 64).all(), "the cup takes a good part of the photograph"
        assert box[0] < 128 < box[2]
        assert box[1] < 128 < box[3]
