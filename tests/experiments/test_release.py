"""The release taken apart: what each name stands for; CAM and Backprop under the same rules."""

import numpy as np
import torch
from builders import dataset_of

from camlib import evaluate
from camlib.experiments import release
from camlib.models import build_model
from camlib.train import Network
from camlib.transforms import Preset


def make_way(loose, tight, text):
    """Two images, three classes; each kind of box is right (1) or wrong (0) for the true class, which is the second."""
    right, wrong = [0.0, 0, 4, 4], [0.0, 0, 1, 1]
    boxes = [np.tile(right if ok else wrong, (2, 3, 1)) for ok in (loose, tight, text)]
    return evaluate.ReleasedLocalization(np.array([[1, 0, 2]] * 2), *boxes)


def test_variants_differ_in_what_their_names_say():
    images = dataset_of(np.zeros((2, 4, 4, 3), np.uint8), [0, 0])
    images.boxes = [np.array([[0.0, 0, 4, 4]])] * 2
    ways = {way: make_way(False, True, False) for way in evaluate.WAYS}
    ways[1, "mean"] = make_way(False, False, True)
    found = {name: wrong.all() for name, wrong in release.list_variants(ways, images).items()}
    assert len(found) == 4 * 4
    assert found[release.RELEASE]
    assert not found["10 crops, |map|, dt_box, loose and tight"]
    assert not found[release.FIVE]
    assert not found["1 crop, signed map, 20 %, one box"]
    assert found["1 crop, signed map, dt_box, loose and tight"]
    rows = release.compare_variants(release.list_variants(ways, images))
    assert rows[release.RELEASE]["difference from the release, points"] == ""
    assert rows[release.FIVE]["difference from the release, points"].startswith("-100.0")


def test_excluded_images_leave_every_row():
    images = dataset_of(np.zeros((2, 4, 4, 3), np.uint8), [0, 0])
    images.boxes = [np.array([[0.0, 0, 4, 4]])] * 2
    images.excluded = np.array([True, False])
    ways = {way: make_way(True, True, True) for way in evaluate.WAYS}
    assert {len(wrong) for wrong in release.list_variants(ways, images).values()} == {1}


def test_cam_and_backprop_are_compared_under_the_same_rules(folder_dataset):
    torch.manual_seed(0)
    net, preset = build_model("mini_gap", 2).eval(), Preset(64, 48)
    network = Network(net, preset, [], [], "random")
    grad = release.localize_backprop(network, folder_dataset, smooth=3)
    ways = evaluate.localize_ways(net, folder_dataset, preset)
    where = np.array([3, 1])
    cam = release.take_guesses(ways, evaluate.localize(net, folder_dataset, preset), where, smooth=3)
    assert list(grad) == list(cam) == ["released protocol", "text rule, raw", "text rule, smoothed by 3 px"]
    for rule, (classes, boxes) in grad.items():
        assert boxes.shape == (7, 2, 4)
        np.testing.assert_array_equal(classes[where], cam[rule][0])
