"""Shares, ranks, receptive fields and patches against hand-made maps, hand-counted scenes and planted images."""

import numpy as np
import pytest
import torch
from builders import dataset_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path
from sklearn.metrics import roc_auc_score
from torch import nn

from camlib import discovery as d
from camlib.datasets import Dataset, load
from camlib.evaluate import iterate_maps
from camlib.features import LinearClassifier, fit_linear, with_classifier
from camlib.models import GAPNet, build_model
from camlib.transforms import IMAGENET_MEAN, IMAGENET_STD, Preset, normalize_images

WHOLE = Preset(16, 16)
maps_and_masks = st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(arrays(np.int8, shape), arrays(bool, shape))
)


# ------------------------------------------------------------------------------------------------ maps against regions


def test_share_of_a_hand_made_map():
    heatmap = np.array([[4.0, -9.0, 0.0], [3.0, 1.0, 0.0]])
    mask = np.array([[True, True, False], [False, True, False]])
    assert d.region_share(heatmap, mask)[:2] == (5 / 8, 1.0)  # the negative pixel counts as nothing
    assert d.region_share(heatmap, ~mask)[:2] == (3 / 8, 0.0)


def test_pixels_that_share_the_maximum_share_the_peak():
    heatmap = np.array([[2.0, 0.0, 2.0, 2.0]])
    assert d.region_share(heatmap, np.array([[True, True, False, False]])).peak == pytest.approx(1 / 3)


@pytest.mark.parametrize("value", [0.0, -3.0, 7.0])
def test_a_map_without_evidence_gives_the_share_of_the_area(value):
    mask = np.zeros((4, 5), bool)
    mask[1:3, 0:3] = True  # 6 of 20
    assert d.region_share(np.full((4, 5), value), mask) == pytest.approx((0.3, 0.3, 0.3, 1.0))


@given(maps_and_masks)
def test_a_region_and_its_complement_share_the_map(pair):
    heatmap, mask = pair
    inside, outside = d.region_share(heatmap, mask), d.region_share(heatmap, ~mask)
    assert inside.mass + outside.mass == pytest.approx(1)
    assert inside.peak + outside.peak == pytest.approx(1)
    assert d.region_share(2.5 * heatmap, mask) == pytest.approx(inside, nan_ok=True)
    assert d.region_share(heatmap[:, ::-1], mask[:, ::-1]) == pytest.approx(inside, nan_ok=True)


def test_box_mask_counts_pixel_centres_and_joins_boxes():
    mask = d.box_mask(np.array([[0.4, 0, 2.5, 1], [2, 0, 4, 2]]), (5, 3))
    assert mask.tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert not d.box_mask(np.zeros((0, 4)), (5, 3)).any()


def test_runs_beside_maps_that_know_less():
    """A person in the left half; true labels put the own class's peak on the right, shuffled ones put it anywhere."""
    outside = [~d.box_mask(np.array([[0, 0, 10, 20]]), (20, 20))] * 3
    left, right = np.zeros((2, 20, 20))
    left[5, 4] = right[5, 15] = 3.0
    true, swapped, mixed = (right, left), (left, right), (left, left)  # own class, another class
    images = [[true, swapped, mixed], [true, swapped, true], [true, true, true]]  # N x R x 2
    runs = d.measure_runs(np.array(images), {"outside": outside, "inside": (~m for m in outside)}, np.array([0, 1, 1]))
    assert {name: table["peak"].tolist() for name, table in runs["outside"].tables.items()} == {
        "SVM's map": [1, 1, 1], "another class's map": [0, 0, 0], "uniform map": [0.5, 0.5, 0.5],
        "centre map": [0.5, 0.5, 0.5], "shuffled labels": [0, 0.5, 1],
    }  # fmt: skip
    assert runs["inside"].tables["SVM's map"]["peak"].tolist() == [0, 0, 0]
    # first shuffle: class 0 (image 0), class 1 (images 1 and 2); then the second shuffle
    assert runs["outside"].control[0]["peak"].tolist() == [0, 0.5, 0, 1]
    assert runs["outside"].control[1]["peak"].tolist() == [1, 0.5, 0, 0]
    values, verdicts = d.compare_runs("outside", runs["outside"], ["peak"])
    assert [(v["name"], v["model"], v["value"], v["n"]) for v in values[:2]] == [
        ("peak outside", "SVM's map", 100, 3), ("peak outside", "another class's map", 0, 3),
    ]  # fmt: skip
    assert verdicts["peak outside, SVM's map against uniform map"] == ("more", 50, 50, 50)
    assert verdicts["peak outside, shuffled labels' map against another class's"][:2] == ("no difference seen", 0)
    assert verdicts["peak outside, shuffled labels against centre map"].difference == 0


def test_maps_of_many_classifiers_come_from_one_pass(monkeypatch):
    torch.manual_seed(0)
    net, images = build_model("mini_gap", 2).eval(), load("synthetic-objects", n=5)
    rng = np.random.default_rng(0)
    svms = [LinearClassifier(rng.normal(size=(c, net.fc.in_features)), rng.normal(size=c), 1.0) for c in (3, 2)]
    own, other = np.array([0, 1, 0, 1, 1]), np.array([1, 0, 1, 0, 0])
    passes = []
    monkeypatch.setattr(GAPNet, "features", lambda self, x: passes.append(len(x)) or self.backbone(x))
    found = list(d.iterate_runs(net, svms, images, Preset(64, 64), own, other))
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
    svms = d.fit_shuffled(lambda x, y, seed: fit_linear(x, y, seed, [0.01]), x[fitted], images.labels[fitted], 12)
    maps = d.iterate_runs(net, svms, held, Preset(64, 64), held.labels, (held.labels + 1) % 8)
    runs = d.measure_runs(maps, {"object": held.extras["masks"]["object"]}, held.labels)
    verdicts = d.compare_runs("on the object", runs["object"], ["mass"])[1]
    assert verdicts["mass on the object, shuffled labels' map against another class's"].verdict == "no difference seen"
    assert verdicts["mass on the object, SVM's map against another class's map"].verdict == "more"


def test_centre_map_is_a_gaussian():
    middle = d.box_mask(np.array([[5, 10, 15, 30]]), (20, 40))
    share = d.region_share(d.centre_map(40, 20), middle)
    # within one deviation of the centre on either side, of a hill that is cut at two
    assert share.mass == pytest.approx((0.6827 / 0.9545) ** 2, abs=0.01)
    assert share.peak == 1
    assert d.centre_map(3, 5).argmax() == 7


def test_refusals_name_the_image_or_the_argument():
    good, mask, labels = np.ones((2, 1, 2, 3, 4)), np.ones((3, 4), bool), np.array([0, 1])
    with pytest.raises(ValueError, match=r"image 1: mask is bool of shape \(4, 3\); expected bool \(3, 4\)"):
        d.measure_runs(good, {"here": [mask, mask.T]}, labels)
    with pytest.raises(ValueError, match="image 0: mask is float64"):
        d.measure_runs(good, {"here": np.ones((2, 3, 4))}, labels)
    with pytest.raises(ValueError, match=r"image 0: heat map .* NaN"):
        d.measure_runs(good * np.nan, {"here": [mask, mask]}, labels)
    with pytest.raises(ValueError, match="shorter"):
        d.measure_runs(good, {"here": [mask]}, labels)
    with pytest.raises(ValueError, match="2 images have maps, but there are 3 classes"):
        d.measure_runs(good, {"here": [mask, mask]}, np.arange(3))


def test_precision_and_recall_of_high_pixels():
    heatmap = np.array([[10.0, 3.0, 2.0, 0.0]])  # 2.0 is not strictly above 20 % of 10
    mask = np.array([[False, True, True, True]])
    assert d.region_share(heatmap, mask)[2:] == (1 / 2, 1 / 3)
    assert d.region_share(-heatmap - 1, mask)[2:] == (3 / 4, 1.0)  # no evidence: the whole image
    empty = d.region_share(heatmap, np.zeros((1, 4), bool))
    assert empty[:3] == (0, 0, 0)
    assert np.isnan(empty.recall)


def test_groups_are_ranked():
    table = d.rank_groups([0.1, 0.9, 0.3, 0.7, 0.5], np.array([2, 0, 2, 0, 1]), ["bike", "cup", "guitar"])
    assert table["name"].tolist() == ["bike", "cup", "guitar"]
    assert table["n"].tolist() == [2, 1, 2]
    np.testing.assert_allclose(table["estimate"], [0.8, 0.5, 0.2])
    assert ((table["low"] <= table["estimate"]) & (table["estimate"] <= table["high"])).all()
    with pytest.raises(ValueError, match="do not fit"):
        d.rank_groups([0.1, 0.2], np.array([0]), ["bike"])


# ------------------------------------------------------------------------------------------------ objects in scenes


def test_lift_on_hand_counted_scenes():
    """Ten pixels an image; the first two are the stove's where there is one, the wall has the last eight."""
    stove, wall = np.arange(10)[None] < 2, np.arange(10)[None] >= 2
    on_stove = np.array([[9.0, 9, 0, 0, 0, 0, 0, 0, 0, 0]])
    half = np.array([[0, 9.0, 9, 0, 0, 0, 0, 0, 0, 0]])
    objects = [{"stove": stove, "wall": wall}, {"stove": stove, "wall": wall}, {"wall": wall}, {"wall": wall}]
    measured = d.measure_objects([m[None] for m in (on_stove, half, half, half)], objects)[0]
    table = d.rank_objects(measured, images=4)
    assert table.index.tolist() == ["stove", "wall"]
    # stove: high share (1 + 1/2) / 2 over area 0.2; wall: (0 + 1/2 + 1/2 + 1/2) / 4 over area 0.8
    np.testing.assert_allclose(table["lift"], [0.75 / 0.2, 0.375 / 0.8])
    np.testing.assert_allclose(table["frequency"], [0.5, 1.0])
    np.testing.assert_allclose(table["overlap"], [0.5, 0.0])  # covered by 1 and 1/2; the wall by at most 1/8
    assert table.loc["stove", "low"] > 0 > table.loc["wall", "high"]
    assert d.rank_objects(measured, images=4, least=0.6).index.tolist() == ["wall"]
    wide = np.array([[9.0, 2.5, 1.5, 0, 0, 0, 0, 0, 0, 0]])  # above a fifth of the maximum: two pixels
    assert d.measure_objects([wide[None]], objects[:1])[0]["covered"].tolist() == [1, 0]
    often = d.rank_objects(measured, images=40)  # the stove in 2 of 40, the wall in 4
    assert often.index.tolist() == ["wall"]
    scenes = d.rank_scenes(measured, np.array([1, 0, 0, 1]), ["office", "kitchen"])
    assert scenes["kitchen"].loc["stove"].to_dict() == pytest.approx(
        {"frequency": 0.5, "overlap": 0.5, "lift": 5, "low": 0.8, "high": 0.8}
    )
    assert scenes["office"].loc["stove", "lift"] == pytest.approx(2.5)


def test_a_map_that_does_not_look_has_lift_one():
    scenes = load("synthetic-scenes", n=20)
    objects = [d.object_masks(scenes, i) for i in range(20)]
    blind, corner = d.measure_objects([np.stack([np.ones((64, 64)), np.eye(64)])] * 20, objects)
    table = d.rank_objects(blind, images=20)
    np.testing.assert_allclose(table["lift"], 1)
    assert corner["area"].equals(blind["area"])
    assert not corner["high"].equals(blind["high"])
    assert len(table) > 5


def test_object_masks_of_drawn_scenes_hold_the_telling_objects():
    scenes = load("synthetic-scenes", n=10)
    for i in range(10):
        named = d.object_masks(scenes, i)
        telling = scenes.info["informative"][scenes.class_names[scenes.labels[i]]]
        union = np.any([named[name] for name in telling if name in named], axis=0)
        assert np.array_equal(union, scenes.extras["masks"]["object"][i])


def test_object_masks_of_polygons_join_instances():
    square = np.array([[1.0, 1], [3, 1], [3, 3], [1, 3]])
    polygons = [square, np.add(square, (4, 0)), np.add(square, (0, 20))]
    extras = {"objects": [["chair", "chair", "dog"]], "polygons": [polygons]}
    room = dataset_of(np.zeros((1, 9, 9, 3), np.uint8), [0], extras=extras)
    named = d.object_masks(room, 0)
    assert list(named) == ["chair"]  # the dog lies outside the image
    assert named["chair"][2, 2]
    assert named["chair"][2, 6]
    assert not named["chair"][3, 2]
    assert named["chair"].sum() == 8  # 2x2 pixels each, as their boxes are
    with pytest.raises(ValueError, match="planted has no annotated objects"):
        d.object_masks(dataset_of(np.zeros((1, 9, 9, 3), np.uint8), [0]), 0)


# ------------------------------------------------------------------------------------------------ phrases in captions


def test_phrases_are_whole_words():
    captions = ["A red ball and a bar", "a red balloon", "two dark red balls", "Red Ball."]
    assert d.captions_with(captions, "red ball").tolist() == [True, False, False, True]
    assert d.captions_with(["1+1 (one)"], "1+1").tolist() == [True]
    assert d.captions_with(["I like C++ code", "a red\n ball", "C++x"], "C++").tolist() == [True, False, False]
    assert d.captions_with(["a red\n ball", "red  balls"], "red ball").tolist() == [True, False]
    with pytest.raises(ValueError, match="phrase is empty"):
        d.captions_with(captions, " ")


@given(st.lists(st.tuples(st.floats(-9, 40), st.floats(-9, 40)), min_size=3, max_size=3), st.integers(0, 9))
def test_polygon_masks_hold_the_pixels_whose_centres_lie_inside(triangle, seed):
    """Against matplotlib's exact test, but for centres within half a pixel of an edge."""
    mask = d.polygon_mask(triangle, (30, 20))
    y, x = np.mgrid[:20, :30] + 0.5
    centres = np.stack([x.ravel(), y.ravel()], 1)
    a, b = np.array(triangle), np.roll(triangle, -1, 0)
    along = ((centres[:, None] - a) * (b - a)).sum(2) / np.maximum(((b - a) ** 2).sum(1), 1e-9)  # (N, 3)
    nearest = a + along.clip(0, 1)[..., None] * (b - a)
    clear = (np.linalg.norm(centres[:, None] - nearest, axis=2) > 0.5).all(1)
    inside = Path(triangle).contains_points(centres)
    if np.clip(triangle, -1, (31, 21)).tolist() == np.array(triangle).tolist():  # corners far outside are pulled in
        assert np.array_equal(mask.ravel()[clear], inside[clear])


def test_a_point_is_held_by_half_open_boxes():
    boxes = [[1, 1, 3, 3], [5, 5, 6, 6]]
    assert [d.holds_point(boxes, p) for p in ((1, 1), (2.9, 2.9), (3, 2), (5.5, 5), (4, 4))] == [1, 1, 0, 1, 0]
    assert not d.holds_point(np.zeros((0, 4)), (1, 1))


def test_mining_brings_in_the_near_misses():
    """Easy negatives lie far away; only the few near misses say which of two axes tells."""
    rng = np.random.default_rng(0)
    positive = rng.normal((2, 2), 0.2, (60, 2))
    near, far = rng.normal((2, 0), 0.2, (30, 2)), rng.normal((-3, -3), 0.2, (1500, 2))
    features = np.concatenate([positive, near, far]).astype(np.float32)
    wanted = np.arange(len(features)) < 60

    def false_alarms(rounds: int) -> int:
        classifier = d.mine_detector(features, wanted, rounds=rounds)
        return int(classifier.predict(features[60:]).sum())

    assert false_alarms(1) > 10
    assert false_alarms(4) == 0
    with pytest.raises(ValueError, match=r"60 of them, rounds is 4; expected \(60,\), at least two of both kinds"):
        d.mine_detector(features[:60], wanted[:60])


def test_shuffled_fits_see_the_same_labels_in_another_order():
    seen = []
    d.fit_shuffled(
        lambda x, y, seed: seen.append((x.tolist(), y.tolist(), seed)), np.eye(9), np.arange(9) // 3, 2, seed=5
    )
    assert [y == [0, 0, 0, 1, 1, 1, 2, 2, 2] for _, y, _ in seen] == [True, False, False]
    assert seen[1][1] != seen[2][1]
    assert all(sorted(y) == [0, 0, 0, 1, 1, 1, 2, 2, 2] and x == np.eye(9).tolist() and s == 5 for x, y, s in seen)


def test_joined_detectors_score_as_they_did_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6))
    detectors = [d.mine_detector(x, x[:, k] > 0) for k in range(3)]
    joined = d.join_detectors(detectors)
    np.testing.assert_allclose(joined.decision(x), np.stack([f.decision(x)[:, 1] for f in detectors], 1))


# ------------------------------------------------------------------------------------------------ class-specific units


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv2d(3, 2, 3, padding=1)], (3, 1, -1)),
        ([nn.Conv2d(3, 2, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1)], (7, 2, -3)),
        # 7x7/2 without padding, 3x3/2 max pooling rounded up, 5x5 pad 2: 7, then 7 + 2 * 2 = 11, then 11 + 4 * 4 = 27
        ([nn.Conv2d(3, 4, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(4, 2, 5, padding=2)],
         (27, 4, -8)),
        ([nn.Conv2d(3, 2, 3, padding=2, dilation=2), nn.AvgPool2d(2)], (6, 2, -2)),
    ],
)  # fmt: skip
def test_receptive_field_is_the_analytic_one(layers, expected):
    torch.manual_seed(0)
    net = GAPNet(nn.Sequential(*layers), nn.Linear(2, 2))
    for dead in (False, True):
        if dead:  # the field is a matter of the structure, not of the weights
            for parameter in net.parameters():
                nn.init.zeros_(parameter)
        assert d.receptive_field(net) == expected


def test_receptive_field_of_real_structures():
    # squeezenet1_0: conv 7/2 without padding, then three pools 3/2 with 3, 4 and 1 fire modules of 3x3 after them
    assert d.receptive_field(build_model("squeezenet1_0"))[:2] == (7 + 4 + 3 * 8 + 8 + 4 * 16 + 16 + 32, 16)
    # five 3x3 convolutions, the first and the third of stride 2, each padded by 1
    assert d.receptive_field(build_model("mini_gap")) == (1 + 2 + 4 + 4 + 8 + 8, 4, -1 - 2 - 2 - 4 - 4)


def test_a_global_layer_has_no_receptive_field():
    class Brighten(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[..., ::4, ::4] + x.mean()

    with pytest.raises(ValueError, match="larger than 128 px"):
        d.receptive_field(GAPNet(Brighten(), nn.Linear(3, 2)), limit=128)


def planted() -> tuple[GAPNet, Dataset, list[tuple[int, int]]]:
    """Unit 0 answers to red 2x2 squares, unit 1 to green ones; the brighter the square the more."""
    conv = nn.Conv2d(3, 2, 2, stride=2)
    std, mean = torch.tensor(IMAGENET_STD), torch.tensor(IMAGENET_MEAN)
    with torch.no_grad():
        conv.weight.zero_()
        for unit in (0, 1):
            conv.weight[unit, unit] = 255 / 4 * std[unit]
        conv.bias.copy_(255 * mean[:2])
    images = np.zeros((5, 16, 16, 3), np.uint8)
    places = [(0, 0), (14, 14), (6, 2), (2, 10), (8, 8)]  # x, y
    for i, ((x, y), channel, value) in enumerate(zip(places, (0, 0, 1, 1, 0), (50, 200, 90, 250, 120), strict=True)):
        images[i, y : y + 2, x : x + 2, channel] = value
    return GAPNet(conv, nn.Linear(2, 2)).eval(), dataset_of(images, [0, 0, 1, 1, 0]), places


def test_top_patches_are_where_they_were_planted():
    net, images, places = planted()
    peaks = d.find_peaks(net, images, WHOLE, batch_size=2)
    np.testing.assert_allclose(peaks.responses, [[50, 0], [200, 0], [0, 90], [0, 250], [120, 0]], atol=1e-3)
    field = d.receptive_field(net)
    assert field == (2, 2, 0)
    chosen, boxes = d.top_patches(peaks, [1, 0], 2, field, images.sizes, WHOLE)
    assert chosen.tolist() == [[3, 2], [1, 4]]
    for i, box in zip(chosen.ravel(), boxes.reshape(-1, 4), strict=True):
        x, y = places[i]
        assert box.tolist() == [x, y, x + 2, y + 2]


def test_patches_are_cut_at_the_crop_and_scaled_to_the_image():
    peaks = d.UnitPeaks(np.array([[1.0]]), np.array([[[0, 3]]]))  # column 0, row 3 of the only unit
    field = d.ReceptiveField(size=6, stride=4, offset=-2)  # x from -2 to 4, y from 10 to 16: both partly outside of 14
    _, boxes = d.top_patches(peaks, [0], 1, field, np.array([[32, 64]]), Preset(16, 14))
    assert boxes.tolist() == [[[(0 + 1) * 2, (10 + 1) * 4, (4 + 1) * 2, (14 + 1) * 4]]]
    with pytest.raises(ValueError, match=r"n is 2; expected 1\.\.1"):
        d.top_patches(peaks, [0], 2, field, np.array([[32, 64]]), Preset(16, 14))


def test_units_are_ranked_by_weight():
    assert d.rank_units([[0.1, 0.5, -2.0, 0.4], [1.0, -1, 3, 0]], 2).tolist() == [[1, 3], [2, 0]]
    with pytest.raises(ValueError, match=r"count is 5; expected \(C, K\) and 1\.\.K"):
        d.rank_units(np.zeros((2, 4)), 5)


def test_area_under_the_curve_is_sklearns():
    rng = np.random.default_rng(0)
    responses, labels = rng.integers(0, 6, (40, 5)).astype(float), rng.integers(0, 3, 40)  # with many ties
    units = np.array([[0, 1], [2, 3], [4, 0]])
    present, areas = d.unit_auc(responses, labels, units)
    assert present.tolist() == [0, 1, 2]
    expected = [[roc_auc_score(labels == c, responses[:, u]) for u in units[c]] for c in range(3)]
    np.testing.assert_allclose(areas, np.mean(expected, 1))
    with pytest.raises(ValueError, match="hold 1 class"):
        d.unit_auc(responses, np.zeros(40, int), units)
