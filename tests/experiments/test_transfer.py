"""The protocols of transfer against hand-computed cases and small trees."""

from pathlib import Path

import numpy as np
import pytest
from builders import blobs
from PIL import Image

from camlib import features
from camlib.datasets import load
from camlib.experiments import transfer
from camlib.models import build_model, cut_class_maps
from camlib.transforms import PRESETS


def test_a_split_that_was_fitted_is_not_fitted_again(monkeypatch):
    x, y = blobs(n=60)
    splits = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    fits = []
    fit = features.fit_linear
    monkeypatch.setattr(transfer, "fit_linear", lambda *given: fits.append(1) or fit(*given))
    transfer.classify_splits(x, y, splits[:1])
    first = transfer.classify_splits(x, y, splits)
    again = transfer.classify_splits(x, y, splits)
    assert len(fits) == 3
    assert np.array_equal(first.classifiers[1].weight, again.classifiers[1].weight)
    transfer.classify_splits(2 * x, y, splits)
    assert len(fits) == 5


def test_a_subset_has_no_number_in_the_paper(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    class_folders(tmp_path / "event_dataset", [f"event {k}" for k in range(8)], 131)
    class_folders(tmp_path / "caltech101" / "101_ObjectCategories", ["bear", "cup"], 20)
    targets = ({"dataset": "event8"}, {"dataset": "event8", "per_class": 60}, {"dataset": "caltech101"})
    loaded = [transfer.load_target(settings, draws=1, seed=0) for settings in targets]
    assert [target.column for target in loaded] == ["Event8", "", "Caltech101"], "with other options there is no column"
    assert loaded[2].images.info["whole"] == 8677, "a part, and known as one"
    assert np.bincount(loaded[2].images.labels[loaded[2].splits[0][0]]).tolist() == [10, 10], "half of what is there"
    drawn = transfer.load_target({"dataset": "synthetic-transfer", "n": 200, "per_class": 2}, draws=1, seed=0)
    assert drawn.column == ""
    assert drawn.measure == "SVM accuracy"
    with pytest.raises(ValueError, match=r"'svt' has no protocol for transfer; expected one of .*sun397"):
        transfer.load_splits("svt")


def test_the_test_part_cannot_change_the_classifier():
    x, y = blobs(n=120)
    splits = [(np.arange(60), np.arange(60, 120))]
    honest = transfer.classify_splits(x, y, splits)
    spoilt_x, spoilt_y = x.copy(), y.copy()
    spoilt_x[60:] = 1e6
    spoilt_y[60:] = np.random.default_rng(0).permutation(y[60:])
    spoilt = transfer.classify_splits(spoilt_x, spoilt_y, splits)
    assert honest.classifiers[0].c == spoilt.classifiers[0].c
    assert np.array_equal(honest.classifiers[0].weight, spoilt.classifiers[0].weight)
    assert honest.accuracies[0] > 0.6 > spoilt.accuracies[0]


def test_outcomes_average_to_the_accuracy_also_where_draws_test_unequally():
    x, y = blobs(n=60, spread=2)
    splits = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(6)), (np.arange(20, 50), np.arange(12))]
    found = transfer.classify_splits(x, y, splits)
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
    monkeypatch.setattr(transfer, "fit_linear", fake)
    found = transfer.attribute_precision(np.arange(11)[:, None], votes, per_class=150)
    # positives at ranks 1, 3, 5 of 6: precisions 1/1, 2/3, 3/5
    assert found == pytest.approx([(1 + 2 / 3 + 3 / 5) / 3])


def test_an_attribute_that_shows_is_found():
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 2, (200, 2)).astype(float)
    x = rng.normal(size=(200, 6))
    x[:, 0] += 4 * votes[:, 0]  # the second attribute doesn't show
    found = transfer.attribute_precision(x, votes, per_class=30)
    assert found[0] > 0.97
    assert 0.3 < found[1] < 0.75
    common = np.zeros((300, 1))
    common[:200] = 1  # positives outnumber negatives: chance is one half all the same
    blind = [transfer.attribute_precision(rng.normal(size=(300, 6)), common, 90, seed)[0] for seed in range(5)]
    assert np.mean(blind) < 0.75
    with pytest.raises(ValueError, match=r"shares in 0\.\.1"):
        transfer.attribute_precision(x, 3 * votes)
    with pytest.raises(ValueError, match="attribute 0 has 1 positive"):
        transfer.attribute_precision(x, np.eye(200)[:, :1])


def class_folders(root: Path, names, count):
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (20, 16), (40 * k, 10 * i, 0)).save(root / name / f"image_{i:04d}.jpg")


def test_random_protocols_draw_the_registrys_number_of_images(tmp_path, monkeypatch):
    class_folders(tmp_path / "caltech101" / "101_ObjectCategories", ["ant", "bass", "chair"], 33)
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    images, splits = transfer.load_splits("caltech101", draws=4, seed=5)
    assert len(images) == 99
    assert len({tuple(fit) for fit, _ in splits}) == len(splits) == 4
    for draw, (fit, test) in enumerate(splits):
        assert np.bincount(images.labels[fit]).tolist() == [30, 30, 30]
        assert sorted([*fit, *test]) == list(range(99))
        official = load("caltech101", split="test", seed=5 + draw)
        assert [images.ids[i] for i in test] == official.ids
    assert len(transfer.load_splits("caltech101", draws=1, per_class=4, test_per_class=2)[1][0][1]) == 6
    images, splits = transfer.load_splits("synthetic-transfer", draws=2, n=32, per_class=3)
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
    images, splits = transfer.load_splits("sun397", draws=2)
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
        transfer.load_splits("indoor67")


def test_real_transfer_to_caltech101(shared_data, monkeypatch):
    weights = shared_data("weights/squeezenet1_0_imagenet.safetensors")
    shared_data("caltech101")
    net = cut_class_maps(build_model("squeezenet1_0", weights=weights)).eval()
    images, splits = transfer.load_splits("caltech101", draws=1)
    x = features.extract_features(net, images, PRESETS["caffe227"])
    assert len(images.classes) == 11
    assert transfer.classify_splits(x, images.labels, splits).accuracies[0] >= 0.94  # over 10 splits: see notebook 03


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
            transfer.classify_splits(given, labels, splits)
