"""Features in one pass and from the cache; the SVM's folded scaling, its C, its maps; splits; average precision."""

import numpy as np
import pytest
import torch
from builders import blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from camlib import features
from camlib.cam import class_activation_maps
from camlib.datasets import crop_images, load
from camlib.models import build_model, cut_class_maps
from camlib.transforms import Preset, centre_crop, get_preset, normalize_images, squash_image

PRESET = Preset(squash=64, crop=48)


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_features_are_the_pooled_maps_of_the_centre_crop(folder_dataset, pool):
    torch.manual_seed(0)
    net = build_model("mini_gap", 2, pool).eval()
    found = features.extract_features(net, folder_dataset, PRESET, batch_size=3)
    assert found.shape == (7, net.fc.in_features)
    assert found.dtype == np.float32
    for i in range(7):
        x = normalize_images(centre_crop(torch.tensor(squash_image(folder_dataset[i], 64))[None], 48), PRESET)
        maps = net.backbone(x)[0].detach().numpy()
        expected = maps.mean((1, 2)) if pool == "avg" else maps.max((1, 2))
        np.testing.assert_allclose(found[i], expected, rtol=1e-4, atol=1e-5)


def test_every_setting_has_features_of_its_own(folder_dataset):
    torch.manual_seed(0)
    net = build_model("mini_gap", 2).eval()
    other = build_model("mini_gap", 2, "max").eval()
    other.backbone.load_state_dict(net.backbone.state_dict())
    presets = [PRESET, Preset(64, 48, (104, 117, 123), (1, 1, 1), "bgr", 255), Preset(72, 48), Preset(64, 40)]
    found = [features.extract_features(n, folder_dataset, p) for n in (net, other) for p in presets]
    assert len({f.tobytes() for f in found}) == len(found)


def test_features_that_are_not_finite_name_the_image(folder_dataset):
    net = build_model("mini_gap", 2).eval()
    with torch.no_grad():
        next(net.backbone.parameters())[0] = torch.nan
    with pytest.raises(ValueError, match=f"image {folder_dataset.ids[0]}: features are not finite"):
        features.extract_features(net, folder_dataset, PRESET)


def test_features_are_cached_by_content(folder_dataset, monkeypatch):
    net = build_model("mini_gap", 2).eval()
    first = features.extract_features(net, folder_dataset, PRESET)
    calls = []
    monkeypatch.setattr(net, "features", lambda x: calls.append(len(x)) or net.backbone(x))
    with torch.no_grad():
        net.fc.weight += 1  # features don't depend on it
    assert np.array_equal(features.extract_features(net, folder_dataset, PRESET), first)
    assert calls == []
    features.extract_features(net, folder_dataset, Preset(64, 40))
    features.extract_features(net, folder_dataset.subset([0, 2]), PRESET)
    assert calls == [7, 2]
    with torch.no_grad():
        next(net.backbone.parameters())[0] *= 2
    assert not np.array_equal(features.extract_features(net, folder_dataset, PRESET), first)
    assert calls == [7, 2, 7]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_scaling_is_folded_in_exactly(classes):
    x, y = blobs(classes=classes)
    fitted = features.fit_linear(x, y, candidates=[0.01])
    svm = LinearSVC(C=0.01, dual="auto", tol=1e-3, max_iter=20_000, random_state=0)
    decision = make_pipeline(StandardScaler(), svm).fit(x, y).decision_function(x)
    expected = np.stack([-decision, decision], 1) if classes == 2 else decision
    assert fitted.weight.shape == (classes, 5)
    np.testing.assert_allclose(fitted.decision(x), expected, atol=1e-8)
    assert np.array_equal(fitted.predict(x), expected.argmax(1))


@pytest.mark.parametrize("c", [1e-3, 1e-1])
def test_all_classes_together_reach_the_minimum_of_the_svm(c, monkeypatch):
    rng = np.random.default_rng(0)
    y = np.arange(400) % 6
    x = (rng.normal(size=(6, 30))[y] + rng.normal(size=(400, 30))).astype(np.float32)
    alone = features.fit_linear(x, y, candidates=[c])
    monkeypatch.setattr(features, "LIBLINEAR_LIMIT", 0)
    together = features.fit_linear(x, y, candidates=[c])
    largest = np.abs(alone.weight).max()
    np.testing.assert_allclose(together.weight, alone.weight, atol=5e-3 * largest)
    np.testing.assert_allclose(together.bias, alone.bias, atol=5e-3)
    if c == 1e-1:
        with pytest.warns(ConvergenceWarning, match="SVM of C 0.1 stopped at a gradient"):
            features._solve_together(x, y, c, tolerance=0.0)


@pytest.mark.parametrize("weights", [None, "cut"])
def test_the_mean_of_a_map_plus_the_bias_is_the_decision_value(weights):
    torch.manual_seed(0)
    net = build_model("mini_gap", 7) if weights is None else cut_class_maps(build_model("squeezenet1_1", 7))
    net = net.double().eval()
    x = torch.randn(12, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        maps = net.features(x)
        pooled = net.pool_features(maps).numpy()
        fitted = features.fit_linear(pooled, np.arange(12) % 3, candidates=[1.0])
        svm_net = features.with_classifier(net, fitted)
        classes = torch.arange(3).repeat(12, 1)
        found = class_activation_maps(maps, svm_net.fc.weight, classes)
        decision = found.mean((2, 3)).numpy() + fitted.bias
        np.testing.assert_allclose(decision, fitted.decision(pooled), rtol=0, atol=1e-10)
        np.testing.assert_allclose(svm_net(x).numpy(), fitted.decision(pooled), rtol=0, atol=1e-10)


def test_c_is_the_best_of_a_cross_validation():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.normal(size=(60, 200))
    x[:, 0] += 2 * y - 1  # one telling feature among much noise: a large C overfits
    assert features.fit_linear(x, y).c < 0.1


def test_c_is_neither_the_first_nor_the_last_where_the_folds_say_so(monkeypatch):
    """The right answers on held-out folds are made to depend on C alone; on what was fitted a larger C is better."""
    rates = {1e-4: 0.5, 1e-3: 0.7, 1e-2: 0.9, 1e-1: 0.8}
    x, y = np.arange(60)[:, None].astype(float), np.arange(60) % 2

    class Fitted:
        def __init__(self, rows, c):
            self.rows, self.c = set(rows[:, 0]), c

        def predict(self, rows):
            assert not self.rows & set(rows[:, 0]), "C is chosen on images that were fitted on"
            right = rows[:, 0].astype(int) % 2
            return np.where(np.arange(len(rows)) < rates[self.c] * len(rows), right, 1 - right)

    fitted = []
    monkeypatch.setattr(features, "_fit_scaled", lambda x, y, c, seed: fitted.append(len(x)) or Fitted(x, c))
    assert features.fit_linear(x, y).c == 1e-2
    assert fitted == [40] * 12 + [60]
    monkeypatch.setattr(features, "FOLD_IMAGES", 30)
    fitted.clear()
    assert features.fit_linear(x, y).c == 1e-2
    assert fitted == [20] * 12 + [60], "a part of the images is enough to choose C"


def test_integer_features_are_fitted_as_numbers(monkeypatch):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (100 + 40 * (y[:, None] == np.arange(3)) + rng.integers(0, 9, (90, 3))).astype(np.uint8)
    for limit in (features.LIBLINEAR_LIMIT, 0):
        monkeypatch.setattr(features, "LIBLINEAR_LIMIT", limit)
        assert (features.fit_linear(x, y, candidates=[0.1]).predict(x) == y).all()


def test_a_feature_that_hardly_ever_fires_cannot_rule():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 9)) + 3 * (y[:, None] == np.arange(9))
    x[:, 8] = 0
    x[4, 8] = 1e-6
    test = x.copy()
    test[:, 8] = 0.1
    assert (features.fit_linear(x, y, candidates=[0.01]).predict(test) == y).mean() > 0.9


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((4, 2)), np.array([0, 1, 0]), "features"),
        (np.zeros(4), np.array([0, 1, 0, 1]), "features"),
        (np.zeros((4, 2)), np.array([0.0, 1, 0, 1]), "integers"),
        (np.full((4, 2), np.nan), np.array([0, 1, 0, 1]), "NaN"),
        (np.zeros((4, 2)), np.zeros(4, int), "two classes"),
        (np.zeros((4, 2)), np.array([0, 2, 0, 2]), "each present"),
        (np.zeros((4, 2)), np.array([-1, 0, 1, 0]), "each present"),
        (np.zeros((4, 2)), np.array([0, 0, 0, 1]), "class 1 has 1 image"),
    ],
)
def test_what_cannot_be_fitted_is_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        features.fit_linear(x, y)


def test_crops_of_pictures_in_memory_are_what_the_network_sees():
    drawn = load("synthetic-finegrained", split="train", n=4)
    cropped = crop_images(drawn, np.stack([b[0] for b in drawn.boxes]))
    net = build_model("mini_gap", 2).eval()
    found = features.extract_features(net, cropped, get_preset("small"))
    with torch.no_grad():
        x = normalize_images(torch.tensor(squash_image(cropped[2], 64))[None], get_preset("small"))
        expected = net.backbone(x)[0].mean((1, 2)).numpy()
    np.testing.assert_allclose(found[2], expected, rtol=1e-4, atol=1e-5)
