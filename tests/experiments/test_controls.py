"""Controls against hand-made maps and planted classes."""

import numpy as np
import pytest
import torch

from camlib import metrics, stats
from camlib.datasets import load
from camlib.evaluate import iterate_maps
from camlib.experiments import controls
from camlib.features import LinearClassifier, fit_linear, with_classifier
from camlib.models import GAPNet, build_model
from camlib.transforms import Preset, normalize_images

WHOLE = Preset(16, 16)


def test_runs_beside_maps_that_know_less():
    """A person in the left half; true labels put the own class's peak on the right, shuffled ones put it anywhere."""
    outside = [~metrics.box_mask(np.array([[0, 0, 10, 20]]), (20, 20))] * 3
    left, right = np.zeros((2, 20, 20))
    left[5, 4] = right[5, 15] = 3.0
    true, swapped, mixed = (right, left), (left, right), (left, left)  # own class, another class
    images = [[true, swapped, mixed], [true, swapped, true], [true, true, true]]  # N x R x 2
    runs = controls.measure_runs(
        np.array(images), {"outside": outside, "inside": (~m for m in outside)}, np.array([0, 1, 1])
    )
    assert {name: table["peak"].tolist() for name, table in runs["outside"].tables.items()} == {
        "SVM's map": [1, 1, 1], "another class's map": [0, 0, 0], "uniform map": [0.5, 0.5, 0.5],
        "centre map": [0.5, 0.5, 0.5], "shuffled labels": [0, 0.5, 1],
    }  # fmt: skip
    assert runs["inside"].tables["SVM's map"]["peak"].tolist() == [0, 0, 0]
    # first shuffle: class 0 (image 0), class 1 (images 1 and 2); then the second shuffle
    assert runs["outside"].control[0]["peak"].tolist() == [0, 0.5, 0, 1]
    assert runs["outside"].control[1]["peak"].tolist() == [1, 0.5, 0, 0]
    pairs = controls.pair_runs(runs["outside"], "peak")
    assert list(pairs) == [
        ("SVM's map", "another class's map"), ("SVM's map", "uniform map"), ("SVM's map", "centre map"),
        ("SVM's map", "shuffled labels"), ("shuffled labels", "uniform map"), ("shuffled labels", "centre map"),
        ("shuffled labels' map", "another class's"),
    ]  # fmt: skip
    found = {("peak", *names): stats.compare(*pair) for names, pair in pairs.items()}
    assert found["peak", "SVM's map", "uniform map"][1:] == (50, 50, 50)
    assert found["peak", "shuffled labels' map", "another class's"].difference == 0
    assert found["peak", "shuffled labels", "centre map"].difference == 0
    assert controls.judge_control(found, "peak").startswith("peak, with shuffled labels under half")


def test_maps_of_many_classifiers_come_from_one_pass(monkeypatch):
    torch.manual_seed(0)
    net, images = build_model("mini_gap", 2).eval(), load("synthetic-objects", n=5)
    rng = np.random.default_rng(0)
    svms = [LinearClassifier(rng.normal(size=(c, net.fc.in_features)), rng.normal(size=c), 1.0) for c in (3, 2)]
    own, other = np.array([0, 1, 0, 1, 1]), np.array([1, 0, 1, 0, 0])
    passes = []
    monkeypatch.setattr(GAPNet, "features", lambda self, x: passes.append(len(x)) or self.backbone(x))
    found = list(controls.iterate_runs(net, svms, images, Preset(64, 64), own, other))
    assert passes == [5]
    assert found[0].shape == (2, 2, 64, 64)
    for r, svm in enumerate(svms):
        for place, classes in enumerate((own, other)):
            alone = list(iterate_maps(with_classifier(net, svm), images, Preset(64, 64), classes))
            for i in range(5):
                np.testing.assert_allclose(found[i][r, place], alone[i], rtol=1e-4, atol=1e-5)


def test_shuffled_labels_find_nothing_and_true_ones_do():
    """On drawn actions with an untrained network: colours alone tell something, shuffled labels tell nothing."""
    torch.manual_seed(0)
    net = build_model("mini_gap", 2).eval()
    images = load("synthetic-actions", n=400)
    with torch.no_grad():
        pictures = torch.from_numpy(images.images).permute(0, 3, 1, 2)
        x = net.pool_features(net.features(normalize_images(pictures, Preset(64, 64)))).numpy()
    fitted, held = np.arange(240), images.subset(np.arange(240, 400))
    svms = controls.fit_shuffled(
        lambda x, y, seed: fit_linear(x, y, seed, [0.01]), x[fitted], images.labels[fitted], 12
    )
    maps = controls.iterate_runs(net, svms, held, Preset(64, 64), held.labels, (held.labels + 1) % 8)
    runs = controls.measure_runs(maps, {"object": held.extras["masks"]["object"]}, held.labels)
    found = {names: stats.compare(*pair) for names, pair in controls.pair_runs(runs["object"], "mass").items()}
    assert found["shuffled labels' map", "another class's"].verdict == "no difference seen"
    assert found["SVM's map", "another class's map"].low > 0


def test_refusals_name_the_image_or_the_argument():
    good, mask, labels = np.ones((2, 1, 2, 3, 4)), np.ones((3, 4), bool), np.array([0, 1])
    with pytest.raises(ValueError, match=r"image 1: mask is bool of shape \(4, 3\); expected bool \(3, 4\)"):
        controls.measure_runs(good, {"here": [mask, mask.T]}, labels)
    with pytest.raises(ValueError, match="image 0: mask is float64"):
        controls.measure_runs(good, {"here": np.ones((2, 3, 4))}, labels)
    with pytest.raises(ValueError, match=r"image 0: heat map .* NaN"):
        controls.measure_runs(good * np.nan, {"here": [mask, mask]}, labels)
    with pytest.raises(ValueError, match="shorter"):
        controls.measure_runs(good, {"here": [mask]}, labels)
    with pytest.raises(ValueError, match="2 images have maps, but there are 3 classes"):
        controls.measure_runs(good, {"here": [mask, mask]}, np.arange(3))


def test_groups_are_ranked():
    table = controls.rank_groups([0.1, 0.9, 0.3, 0.7, 0.5], np.array([2, 0, 2, 0, 1]), ["bike", "cup", "guitar"])
    assert table["name"].tolist() == ["bike", "cup", "guitar"]
    assert table["n"].tolist() == [2, 1, 2]
    np.testing.assert_allclose(table["estimate"], [0.8, 0.5, 0.2])
    assert ((table["low"] <= table["estimate"]) & (table["estimate"] <= table["high"])).all()
    with pytest.raises(ValueError, match="do not fit"):
        controls.rank_groups([0.1, 0.2], np.array([0]), ["bike"])


def test_shuffled_fits_see_the_same_labels_in_another_order():
    seen = []
    controls.fit_shuffled(
        lambda x, y, seed: seen.append((x.tolist(), y.tolist(), seed)), np.eye(9), np.arange(9) // 3, 2, seed=5
    )
    assert [y == [0, 0, 0, 1, 1, 1, 2, 2, 2] for _, y, _ in seen] == [True, False, False]
    assert seen[1][1] != seen[2][1]
    assert all(sorted(y) == [0, 0, 0, 1, 1, 1, 2, 2, 2] and x == np.eye(9).tolist() and s == 5 for x, y, s in seen)
