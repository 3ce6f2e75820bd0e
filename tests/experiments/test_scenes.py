"""Objects in scenes against hand-counted ones."""

import numpy as np
import pytest
from builders import dataset_of

from camlib.datasets import load
from camlib.experiments import scenes as scene_objects
from camlib.transforms import Preset

WHOLE = Preset(16, 16)


def test_lift_on_hand_counted_scenes():
    """Ten pixels an image; the first two are the stove's where there is one, the wall has the last eight."""
    stove, wall = np.arange(10)[None] < 2, np.arange(10)[None] >= 2
    on_stove = np.array([[9.0, 9, 0, 0, 0, 0, 0, 0, 0, 0]])
    half = np.array([[0, 9.0, 9, 0, 0, 0, 0, 0, 0, 0]])
    objects = [{"stove": stove, "wall": wall}, {"stove": stove, "wall": wall}, {"wall": wall}, {"wall": wall}]
    overlaps = scene_objects.measure_objects([m[None] for m in (on_stove, half, half, half)], objects)
    measured = overlaps.select(np.zeros(4, int))
    table = scene_objects.rank_objects(measured, images=4)
    assert table.index.tolist() == ["stove", "wall"]
    # stove: high share (1 + 1/2) / 2 over area 0.2; wall: (0 + 1/2 + 1/2 + 1/2) / 4 over area 0.8
    np.testing.assert_allclose(table["lift"], [0.75 / 0.2, 0.375 / 0.8])
    np.testing.assert_allclose(table["frequency"], [0.5, 1.0])
    np.testing.assert_allclose(table["overlap"], [1.0, 0.0])  # of the two with a stove, both; the wall at most 1/8
    assert table.loc["stove", "low"] > 0 > table.loc["wall", "high"]
    assert scene_objects.rank_objects(measured, images=4, least=0.6).index.tolist() == ["wall"]
    wide = np.array([[9.0, 2.5, 1.5, 0, 0, 0, 0, 0, 0, 0]])  # above a fifth of the maximum: two pixels
    assert scene_objects.measure_objects([wide[None]], objects[:1]).covered.tolist() == [[1], [0]]
    often = scene_objects.rank_objects(measured, images=40)  # the stove in 2 of 40, the wall in 4
    assert often.index.tolist() == ["wall"]
    scenes = scene_objects.rank_scenes(measured, np.array([1, 0, 0, 1]), ["office", "kitchen"])
    assert scenes["kitchen"].loc["stove"].to_dict() == pytest.approx(
        {"frequency": 0.5, "overlap": 1.0, "lift": 5, "low": 0.8, "high": 0.8}
    )
    assert scenes["office"].loc["stove", "lift"] == pytest.approx(2.5)
    figure = (measured, np.array([1, 0, 0, 1]), ["office", "kitchen"])
    assert scene_objects.count_figure(*figure, "kitchen, frequent", "stove").tolist() == [True, False]
    assert scene_objects.count_figure(*figure, "kitchen, informative", "stove").tolist() == [True]
    for place in (("kitchen, frequent", "sink"), ("kitchen, informative", "sink"), ("attic, frequent", "stove")):
        assert not len(scene_objects.count_figure(*figure, *place))


def test_a_map_that_does_not_look_has_lift_one():
    scenes = load("synthetic-scenes", n=20)
    objects = [scene_objects.object_masks(scenes, i) for i in range(20)]
    overlaps = scene_objects.measure_objects([np.stack([np.ones((64, 64)), np.eye(64)])] * 20, objects)
    blind, corner = (overlaps.select(np.full(20, k)) for k in (0, 1))
    table = scene_objects.rank_objects(blind, images=20)
    np.testing.assert_allclose(table["lift"], 1)
    assert corner["area"].equals(blind["area"])
    assert not corner["high"].equals(blind["high"])
    assert len(table) > 5


def test_telling_objects_are_counted_as_the_tables_rank_them():
    scenes = load("synthetic-scenes", n=80)
    rng = np.random.default_rng(0)
    objects = [scene_objects.object_masks(scenes, i) for i in range(80)]
    maps = rng.random((80, 3, 64, 64)) * np.where(scenes.extras["masks"]["object"], 9, 1)[:, None]
    maps[:, 1:] = rng.random((80, 2, 64, 64))
    overlaps = scene_objects.measure_objects(maps, objects)
    telling = scenes.info["informative"]
    count = scene_objects.count_telling(overlaps, scenes.labels, scenes.classes, telling)
    for columns in (np.zeros(80, int), np.ones(80, int), rng.integers(0, 3, 80)):
        tables = scene_objects.rank_scenes(overlaps.select(columns), scenes.labels, scenes.classes)
        first = {scene: set(table.index[: len(telling[scene])]) for scene, table in tables.items()}
        assert count(columns) == sum(len(first[scene] & set(own)) for scene, own in telling.items())
    assert count(np.zeros(80, int)) > count(np.ones(80, int))


def test_an_image_without_objects_has_no_rows():
    overlaps = scene_objects.measure_objects(np.ones((2, 1, 4, 4)), [{}, {"wall": np.ones((4, 4), bool)}])
    assert overlaps.rows.values.tolist() == [[1, "wall", 1.0]]
    assert overlaps.high.tolist() == overlaps.covered.tolist() == [[1.0]]
    with pytest.raises(ValueError, match="mask is bool of shape"):
        scene_objects.measure_objects(np.ones((1, 1, 4, 4)), [{"wall": np.ones((2, 4), bool)}])


def test_object_masks_of_drawn_scenes_hold_the_telling_objects():
    scenes = load("synthetic-scenes", n=10)
    for i in range(10):
        named = scene_objects.object_masks(scenes, i)
        telling = scenes.info["informative"][scenes.class_names[scenes.labels[i]]]
        union = np.any([named[name] for name in telling if name in named], axis=0)
        assert np.array_equal(union, scenes.extras["masks"]["object"][i])


def test_object_masks_of_polygons_join_instances():
    square = np.array([[1.0, 1], [3, 1], [3, 3], [1, 3]])
    polygons = [square, np.add(square, (4, 0)), np.add(square, (0, 20))]
    extras = {"objects": [["chair", "chair", "dog"]], "polygons": [polygons]}
    room = dataset_of(np.zeros((1, 9, 9, 3), np.uint8), [0], extras=extras)
    named = scene_objects.object_masks(room, 0)
    assert list(named) == ["chair"]  # the dog lies outside the image
    assert named["chair"][2, 2]
    assert named["chair"][2, 6]
    assert not named["chair"][3, 2]
    assert named["chair"].sum() == 8  # 2x2 pixels each, as their boxes are
    with pytest.raises(ValueError, match="planted has no annotated objects"):
        scene_objects.object_masks(dataset_of(np.zeros((1, 9, 9, 3), np.uint8), [0]), 0)
