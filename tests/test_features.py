"""Features in one pass and from the cache; the SVM's folded scaling, its C, its maps; splits; average precision."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from camlib import evaluate, features
from camlib.cam import class_activation_maps
from camlib.datasets import crop_images, load
from camlib.models import build_model
from camlib.train import get_recipe
from camlib.transforms import Preset, centre_crop, get_preset, normalize_images, squash_image

PRESET = Preset(squash=64, crop=48)


def blobs(n=90, k=5, classes=3, seed=0, spread=1.0):
    """Features at very different scales and offsets, with one that is constant."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(classes, k))[y] + spread * rng.normal(size=(n, k))
    x = x * 10.0 ** np.arange(-2, k - 2) + 50
    x[:, 1] = 7
    return x, y


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
    presets = [PRESET, Preset(64, 48, caffe=True), Preset(72, 48), Preset(64, 40)]
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
    net = build_model("mini_gap", 7) if weights is None else features.cut_class_maps(build_model("squeezenet1_1", 7))
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


def test_cutting_class_maps_keeps_the_class_convolution():
    net = build_model("squeezenet1_1", 7).eval()
    cut = features.cut_class_maps(net).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        scores = torch.einsum("ck,bkhw->bchw", cut.fc.weight, cut.features(x)) + cut.fc.bias[:, None, None]
        torch.testing.assert_close(scores.clamp(min=0), net.features(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="class maps"):
        features.cut_class_maps(build_model("mini_gap", 7))


def test_fc7_is_what_alexnet_gives_to_its_last_layer():
    torch.manual_seed(0)
    net = features.alexnet_fc7().eval()
    seen = []
    net.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        maps = net.features(x)
        net(x)
    assert maps.shape == (2, 4096, 1, 1)
    assert (maps >= 0).all()
    assert torch.equal(maps[:, :, 0, 0], seen[0])


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


def test_what_cannot_be_classified_is_refused():
    x, y = blobs(n=30)
    good = (np.arange(15), np.arange(15, 30))
    spoilt = x.copy()
    spoilt[20, 0] = np.nan
    for given, labels, splits, message in (
        (spoilt, y, [good], "NaN"), (x[:20], y, [good], "expected as many"), (x, y, [], "0 splits"),
        (x, y, [(good[0], np.arange(0))], "1 splits"), (x, y, [(good[0], np.arange(10, 30))], "image 10 is in both"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            features.classify_splits(given, labels, splits)


def test_a_split_that_was_fitted_is_not_fitted_again(monkeypatch):
    x, y = blobs(n=60)
    splits = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    fits = []
    fit = features.fit_linear
    monkeypatch.setattr(features, "fit_linear", lambda *given: fits.append(1) or fit(*given))
    features.classify_splits(x, y, splits[:1])
    first = features.classify_splits(x, y, splits)
    again = features.classify_splits(x, y, splits)
    assert len(fits) == 3
    assert np.array_equal(first.classifiers[1].weight, again.classifiers[1].weight)
    features.classify_splits(2 * x, y, splits)
    assert len(fits) == 5


def test_a_subset_has_no_number_in_the_paper(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    class_folders(tmp_path / "event_dataset", [f"event {k}" for k in range(8)], 2)
    images = load("event8", split="all")
    assert features.has_paper_protocol(images, {})
    assert not features.has_paper_protocol(images, {"per_class": 1})
    assert not features.has_paper_protocol(replace(images, classes=images.classes[:7]), {})
    assert not features.has_paper_protocol(load("synthetic-transfer", n=8), {})
    with pytest.raises(ValueError, match=r"'svt' has no protocol for transfer; expected one of .*sun397"):
        features.load_splits("svt")


def test_the_test_part_cannot_change_the_classifier():
    x, y = blobs(n=120)
    splits = [(np.arange(60), np.arange(60, 120))]
    honest = features.classify_splits(x, y, splits)
    spoilt_x, spoilt_y = x.copy(), y.copy()
    spoilt_x[60:] = 1e6
    spoilt_y[60:] = np.random.default_rng(0).permutation(y[60:])
    spoilt = features.classify_splits(spoilt_x, spoilt_y, splits)
    assert honest.classifiers[0].c == spoilt.classifiers[0].c
    assert np.array_equal(honest.classifiers[0].weight, spoilt.classifiers[0].weight)
    assert honest.accuracies[0] > 60 > spoilt.accuracies[0]


def test_outcomes_average_to_the_accuracy_also_where_draws_test_unequally():
    x, y = blobs(n=60, spread=2)
    splits = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(6)), (np.arange(20, 50), np.arange(12))]
    found = features.classify_splits(x, y, splits)
    assert len(found.accuracies) == len(found.classifiers) == 3
    assert found.outcomes.shape == (42,)
    assert found.outcomes.mean() == pytest.approx(found.accuracies.mean())


def test_average_precision_against_a_hand_computed_case(monkeypatch):
    votes = np.array([1, 1, 1, 1, 2 / 3, 0, 0, 0, 0, 0, 1 / 3])[:, None]
    scores = {}

    def fake(x, y, seed):
        assert y.tolist() == [0, 0, 1, 1]  # two of each train: half of the five positives
        assert set(x[:2, 0]) <= {5, 6, 7, 8, 9}
        assert set(x[2:, 0]) <= {0, 1, 2, 3, 4}
        scores["trained"] = set(x[:, 0])
        return self_

    class Ranked:
        def decision(self, x):  # negative, positive, negative, positive, positive, negative by falling score
            assert not scores["trained"] & set(x[:, 0])
            assert 10 not in x  # one vote of three: not used
            rank = iter([5, 3, 1]), iter([4, 2, 0])
            return np.array([[0, next(rank[0] if i <= 4 else rank[1])] for i in x[:, 0]])

    self_ = Ranked()
    monkeypatch.setattr(features, "fit_linear", fake)
    found = features.attribute_precision(np.arange(11)[:, None], votes, per_class=150)
    # positives at ranks 1, 3, 5 of 6: precisions 1/1, 2/3, 3/5
    assert found == pytest.approx([(1 + 2 / 3 + 3 / 5) / 3])


def test_an_attribute_that_shows_is_found():
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 2, (200, 2)).astype(float)
    x = rng.normal(size=(200, 6))
    x[:, 0] += 4 * votes[:, 0]  # the second attribute doesn't show
    found = features.attribute_precision(x, votes, per_class=30)
    assert found[0] > 0.97
    assert 0.3 < found[1] < 0.75
    common = np.zeros((300, 1))
    common[:200] = 1  # positives outnumber negatives: chance is one half all the same
    blind = [features.attribute_precision(rng.normal(size=(300, 6)), common, 90, seed)[0] for seed in range(5)]
    assert np.mean(blind) < 0.75
    with pytest.raises(ValueError, match=r"shares in 0\.\.1"):
        features.attribute_precision(x, 3 * votes)
    with pytest.raises(ValueError, match="attribute 0 has 1 positive"):
        features.attribute_precision(x, np.eye(200)[:, :1])


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


def class_folders(root: Path, names, count):
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (20, 16), (40 * k, 10 * i, 0)).save(root / name / f"image_{i:04d}.jpg")


def test_random_protocols_draw_the_registrys_number_of_images(tmp_path, monkeypatch):
    class_folders(tmp_path / "caltech101" / "101_ObjectCategories", ["ant", "bass", "chair"], 33)
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    images, splits = features.load_splits("caltech101", draws=4, seed=5)
    assert len(images) == 99
    assert len({tuple(fit) for fit, _ in splits}) == len(splits) == 4
    for draw, (fit, test) in enumerate(splits):
        assert np.bincount(images.labels[fit]).tolist() == [30, 30, 30]
        assert sorted([*fit, *test]) == list(range(99))
        official = load("caltech101", split="test", seed=5 + draw)
        assert [images.ids[i] for i in test] == official.ids
    assert len(features.load_splits("caltech101", draws=1, per_class=4, test_per_class=2)[1][0][1]) == 6
    images, splits = features.load_splits("synthetic-transfer", draws=2, n=32, per_class=3)
    assert [(len(fit), len(test)) for fit, test in splits] == [(24, 8)] * 2


def test_official_partitions_share_their_images(tmp_path, monkeypatch):
    class_folders(tmp_path / "SUN397" / "a" / "abbey", ["."], 0)
    class_folders(tmp_path / "SUN397" / "a", ["arch", "attic"], 3)
    (tmp_path / "SUN397" / "a" / "abbey").rmdir()
    (tmp_path / "SUN397" / "Partitions").mkdir()
    lists = tmp_path / "SUN397" / "Partitions"
    (lists / "ClassName.txt").write_text("/a/arch\n/a/attic\n")
    for part, (fit, test) in enumerate([((0, 1), (2,)), ((1, 2), (0,))], 1):
        for name, chosen in (("Training", fit), ("Testing", test)):
            lines = [f"/a/{c}/image_{i:04d}.jpg" for c in ("arch", "attic") for i in chosen]
            (lists / f"{name}_{part:02d}.txt").write_text("\n".join(lines))
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    images, splits = features.load_splits("sun397", draws=2)
    assert len(images) == len(set(images.ids)) == 6
    assert len(splits) == 2
    assert {images.ids[i] for i in splits[0][1]} == {"a/arch/image_0002", "a/attic/image_0002"}
    assert {images.ids[i] for i in splits[1][1]} == {"a/arch/image_0000", "a/attic/image_0000"}
    for fit, test in splits:
        assert not set(fit) & set(test)
        assert [images.ids[i].split("/")[1] for i in fit] == [("arch", "attic")[k] for k in images.labels[fit]]
        assert all(Path(images.files[i]).stem == images.ids[i].split("/")[2] for i in fit)


def test_an_image_to_train_and_to_test_on_is_refused(tmp_path, monkeypatch):
    class_folders(tmp_path / "indoor67" / "Images", ["bar", "gym"], 3)
    for name, chosen in (("Train", (0, 1)), ("Test", (1, 2))):
        lines = [f"{c}/image_{i:04d}.jpg" for c in ("bar", "gym") for i in chosen]
        (tmp_path / "indoor67" / f"{name}Images.txt").write_text("\n".join(lines))
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"indoor67: 2 images are in both lists of a split, bar/image_0001 is one"):
        features.load_splits("indoor67")


def test_crops_of_pictures_in_memory_are_what_the_network_sees():
    drawn = load("synthetic-finegrained", split="train", n=4)
    cropped = crop_images(drawn, np.stack([b[0] for b in drawn.boxes]))
    net = build_model("mini_gap", 2).eval()
    found = features.extract_features(net, cropped, get_preset("small"))
    with torch.no_grad():
        x = normalize_images(torch.tensor(squash_image(cropped[2], 64))[None], get_preset("small"))
        expected = net.backbone(x)[0].mean((1, 2)).numpy()
    np.testing.assert_allclose(found[2], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["mini_gap", "alexnet_fc7", "squeezenet1_1"])
def test_random_networks_depend_on_the_seed_alone(model):
    options = {"weights": "random", "preset": PRESET, "recipe": get_recipe("short", 1)}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    nets = [features.feature_network(model, ("nowhere", {}, {}), seed=seed, **options) for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = map(evaluate.digest_weights, nets)
    assert first == again != other


@pytest.mark.parametrize("model", ["mini_gap", "alexnet_fc7"])
def test_features_of_a_file_are_those_of_its_weights(model, tmp_path, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    options = {"preset": PRESET, "recipe": get_recipe("short", 1)}
    own = torchvision.models.alexnet() if model == "alexnet_fc7" else build_model("mini_gap")
    torch.save(own.state_dict(), tmp_path / "net.pt")
    net = features.feature_network(model, ("nowhere", {}, {}), weights="net.pt", **options)
    x, last = torch.randn(2, 3, 224, 224), own.classifier[6] if model == "alexnet_fc7" else own.fc
    assert torch.equal(net.fc.weight, last.weight)
    with torch.no_grad():
        torch.testing.assert_close(net(x), own.eval()(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        features.feature_network(model, ("nowhere", {}, {}), weights="nowhere.pt", **options)
    with pytest.raises(FileNotFoundError, match="caffemodel"):
        features.feature_network("googlenet_gap", ("nowhere", {}, {}), weights="released", **options)


def test_real_transfer_to_caltech101(shared_data, monkeypatch):
    weights = shared_data("weights/squeezenet1_0_imagenet.safetensors")
    shared_data("caltech101")
    net = features.cut_class_maps(build_model("squeezenet1_0", weights=weights)).eval()
    images, splits = features.load_splits("caltech101", draws=1)
    x = features.extract_features(net, images, get_preset("caffe227"))
    assert len(images.classes) == 11
    assert features.classify_splits(x, images.labels, splits).accuracies[0] >= 94  # over 10 splits: see notebook 03
