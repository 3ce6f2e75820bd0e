"""Permutation tests on simulated data, and controls against hand-made maps and planted classes."""

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from camlib import metrics, stats
from camlib.datasets import load
from camlib.evaluate import iterate_maps
from camlib.experiments import controls
from camlib.features import LinearClassifier, fit_linear, with_classifier
from camlib.models import GAPNet, build_model
from camlib.transforms import Preset, normalize_images


def simulate(effect, seed, images=60, classes=4):
    """Scores (N, C) of which the image's class has `effect` more than the others."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    scores = rng.normal(size=(images, classes))
    scores[np.arange(images), labels] += effect
    return scores, labels


def test_permutations_reject_where_classes_tell_and_not_where_they_do_not():
    p = [controls.permute_classes(*simulate(1.0, seed), permutations=199).p for seed in range(20)]
    assert max(p) < 0.02
    null = [controls.permute_classes(*simulate(0.0, seed), permutations=199).p for seed in range(200)]
    assert scipy_stats.kstest(null, "uniform").pvalue > 0.01
    assert 0.02 < np.mean(np.array(null) <= 0.05) < 0.09  # 5 % of 200 experiments, give or take two deviations
    other_side = controls.permute_classes(*simulate(1.0, 0), permutations=199, more=False)
    assert other_side.p == 1.0
    assert controls.permute_classes(*simulate(-1.0, 0), permutations=199, more=False).p < 0.02


def test_many_alike_images_of_few_classes_do_not_make_p_small():
    """An image's scores hang on something the images share: N grows, the permutation stays the unit."""
    common = np.random.default_rng(1).normal(size=4)
    p = []
    for seed in range(100):
        scores, labels = simulate(0.0, seed, images=400)
        p.append(controls.permute_classes(0.1 * scores + common, labels, permutations=99).p)
    assert scipy_stats.kstest(p, "uniform").pvalue > 0.01


def test_p_counts_the_observed_one_and_ties():
    assert controls.place_observed(3.0, [1, 2, 3, 4]) == (3.0, 2.5, (1 + 2) / 5, 4, 1.0)
    assert (
        controls.place_observed(9.0, [1, 2, 3, 4]).two_sided
        == controls.place_observed(0.0, [1, 2, 3, 4]).two_sided
        == 0.4
    )
    assert controls.place_observed(3.0, [1, 2, 3, 4], more=False).p == (1 + 3) / 5
    assert controls.place_observed(5.0, np.zeros(999)).p == 0.001
    test = controls.permutation_test(lambda labels: float(labels.sum()), [1, 2, 3], permutations=9)
    assert test.p == 1.0, "a statistic that no permutation changes"
    assert test.describe() == "p = 1.000 of 9 permutations"
    for permuted in ([], [np.nan]):
        with pytest.raises(ValueError, match=r"expected \(R,\), R > 0, finite"):
            controls.place_observed(1.0, permuted)


def test_measured_images_exchange_classes_with_the_others():
    """Every measured image has class 1: among themselves a reassignment changes nothing."""
    scores = np.stack([np.zeros(30), np.ones(30)], 1)
    alone = controls.permute_classes(scores, np.ones(30, int), permutations=99)
    assert (alone.expected, alone.p) == (1.0, 1.0)
    mixed = controls.permute_classes(scores, np.ones(30, int), np.zeros(30, int), permutations=99)
    assert mixed.p == 0.01
    assert 0.4 < mixed.expected < 0.6
    own, reassigned = controls.compare_classes(scores, np.ones(30, int), np.zeros(30, int))
    assert (own == 1).all()
    assert (reassigned == 0.5).all()


def test_shares_of_many_maps_are_those_of_each():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(7, 9, 11))
    maps[3], maps[4], maps[5, :2] = -1.0, 0.0, 2.5  # no evidence, none, a peak of many pixels
    for mask in (rng.random((9, 11)) < 0.3, np.zeros((9, 11), bool)):
        expected = np.array([metrics.region_share(one, mask) for one in maps]).T
        np.testing.assert_allclose(controls.share_maps(maps, mask, metrics.RegionShare._fields), expected)


def test_runs_beside_maps_that_know_less():
    """A person in the left half; the map of class 0 peaks on the left, that of class 1 on the right."""
    outside = [~metrics.box_mask(np.array([[0, 0, 10, 20]]), (20, 20))] * 3
    left, right = np.zeros((2, 20, 20))
    left[5, 4] = right[5, 15] = 3.0
    maps = [np.stack([left, right, refit]) for refit in (left, right, right)]
    found = controls.measure_runs(maps, {"outside": outside, "inside": (~m for m in outside)}, 3, 2)
    assert list(found) == ["mass outside", "peak outside", "mass inside", "peak inside"]
    rows = found["peak outside"].summarise(np.array([1, 1, 0]))
    np.testing.assert_allclose(rows.pop("reassigned class's map"), 2 / 3)
    assert {name: row.tolist() for name, row in rows.items()} == {
        "own class's map": [1, 1, 0], "uniform map": [0.5] * 3, "centre map": [0.5] * 3,
        "shuffled labels": [0, 1, 1],
    }  # fmt: skip
    assert found["peak inside"].classes.tolist() == [[1, 0]] * 3
    none = controls.measure_runs([m[:2] for m in maps], {"outside": outside}, 3, 2)["mass outside"]
    assert "shuffled labels" not in none.summarise(np.array([1, 1, 0]))


def test_maps_of_many_classifiers_come_from_one_pass(monkeypatch):
    torch.manual_seed(0)
    net, images = build_model("mini_gap", 2).eval(), load("synthetic-objects", n=5)
    rng = np.random.default_rng(0)
    svms = [LinearClassifier(rng.normal(size=(c, net.fc.in_features)), rng.normal(size=c), 1.0) for c in (3, 2, 2)]
    own = np.array([0, 1, 0, 1, 1])
    passes = []
    monkeypatch.setattr(GAPNet, "features", lambda self, x: passes.append(len(x)) or self.backbone(x))
    found = list(controls.iterate_runs(net, svms, images, Preset(64, 64), own))
    assert passes == [5]
    assert found[0].shape == (3 + 2, 64, 64)
    asked = [(0, np.full(5, k)) for k in range(3)] + [(1, own), (2, own)]
    for place, (r, classes) in enumerate(asked):
        alone = list(iterate_maps(with_classifier(net, svms[r]), images, Preset(64, 64), classes))
        for i in range(5):
            np.testing.assert_allclose(found[i][place], alone[i], rtol=1e-4, atol=1e-5)


def test_true_labels_find_the_object_and_shuffled_ones_do_not():
    """On drawn actions with an untrained network: colours alone tell something, shuffled labels tell nothing."""
    torch.manual_seed(0)
    net = build_model("mini_gap", 2).eval()
    images = load("synthetic-actions", n=400)
    with torch.no_grad():
        pictures = torch.from_numpy(images.images).permute(0, 3, 1, 2)
        x = net.pool_features(net.features(normalize_images(pictures, Preset(64, 64)))).numpy()
    fitted, held = np.arange(240), images.subset(np.arange(240, 400))
    svms = controls.fit_shuffled(fit_linear, x[fitted], images.labels[fitted], 12)
    assert len({svm.c for svm in svms}) == 1
    maps = controls.iterate_runs(net, svms, held, Preset(64, 64), held.labels)
    shares = controls.measure_runs(maps, {"object": held.extras["masks"]["object"]}, 160, 8)["mass object"]
    rows = shares.summarise(held.labels)
    assert stats.compare(rows["own class's map"], rows["reassigned class's map"]).low > 0
    assert controls.permute_classes(shares.classes, held.labels, permutations=199).p == 0.005
    assert controls.place_observed(rows["own class's map"].mean(), shares.refits.mean(0)).p == 1 / 13


def test_refusals_name_the_image_or_the_argument():
    good, mask = np.ones((2, 1, 3, 4)), np.ones((3, 4), bool)
    with pytest.raises(ValueError, match=r"image 1: mask is bool of shape \(4, 3\); expected bool \(3, 4\)"):
        controls.measure_runs(good, {"here": [mask, mask.T]}, 2, 1)
    with pytest.raises(ValueError, match="image 0: mask is float64"):
        controls.measure_runs(good, {"here": np.ones((2, 3, 4))}, 2, 1)
    with pytest.raises(ValueError, match=r"image 0: heat maps .* NaN"):
        controls.measure_runs(good * np.nan, {"here": [mask, mask]}, 2, 1)
    with pytest.raises(ValueError, match="shorter"):
        controls.measure_runs(good, {"here": [mask]}, 2, 1)
    with pytest.raises(ValueError, match="2 images have maps; expected 3"):
        controls.measure_runs(good, {"here": [mask, mask]}, 3, 1)


def test_groups_are_ranked():
    table = controls.rank_groups([0.1, 0.9, 0.3, 0.7, 0.5], np.array([2, 0, 2, 0, 1]), ["bike", "cup", "guitar"])
    assert table["name"].tolist() == ["bike", "cup", "guitar"]
    assert table["n"].tolist() == [2, 1, 2]
    np.testing.assert_allclose(table["estimate"], [0.8, 0.5, 0.2])
    assert ((table["low"] <= table["estimate"]) & (table["estimate"] <= table["high"])).all()
    with pytest.raises(ValueError, match="do not fit"):
        controls.rank_groups([0.1, 0.2], np.array([0]), ["bike"])


def test_shuffled_fits_see_the_same_labels_in_another_order_and_keep_c():
    seen = []

    def fit(x, y, seed, candidates=(1, 2)):
        seen.append((x.tolist(), y.tolist(), seed, candidates))
        return LinearClassifier(np.zeros((3, 9)), np.zeros(3), 0.5)

    assert len(controls.fit_shuffled(fit, np.eye(9), np.arange(9) // 3, 2, seed=5)) == 3
    assert [y == [0, 0, 0, 1, 1, 1, 2, 2, 2] for _, y, _, _ in seen] == [True, False, False]
    assert seen[1][1] != seen[2][1]
    assert [candidates for *_, candidates in seen] == [(1, 2), [0.5], [0.5]]
    assert all(sorted(y) == [0, 0, 0, 1, 1, 1, 2, 2, 2] and x == np.eye(9).tolist() and s == 5 for x, y, s, _ in seen)
    assert len(controls.fit_shuffled(fit, np.eye(9), np.arange(9) // 3, 0)) == 1
