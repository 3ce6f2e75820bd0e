"""Mapping resolution and telling parts: which images, which threshold, which box a value stands for."""

import numpy as np
import pytest
import torchvision
from builders import dataset_of

from camlib import datasets
from camlib.evaluate import localize
from camlib.experiments import mapping
from camlib.metrics import correct_boxes
from camlib.models import build_model
from camlib.stats import compare_seeds
from camlib.train import load_network


@pytest.fixture(scope="module")
def nets():
    return [load_network("mini_gap", "random", training={"preset": "small"}, seed=seed) for seed in (0, 1)]


def test_each_half_has_the_threshold_that_suits_the_other():
    order = np.random.default_rng(7).permutation(10)
    wrong = np.ones((2, 10, 3), bool)
    wrong[:, order[:5], 0] = False  # the first half is right at one threshold,
    wrong[:, order[5:], 2] = False  # the second at another
    assert mapping.cross_fit(wrong, 7).all()
    wrong[:, order[:5], 2] = False  # now the second half's threshold suits both
    wrong[:, order[:5], 0] = True
    assert not mapping.cross_fit(wrong, 7).any()


def test_values_stand_for_the_papers_threshold_and_for_the_box_they_name(nets):
    images = datasets.load("synthetic-objects", n=40, telling_parts=1)
    wrong = mapping.measure_wrong(nets, images)
    assert {name: values.shape for name, values in wrong.items()} == dict.fromkeys(
        (*mapping.MEASURES, mapping.PART), (2, 40)
    )
    for s, (net, preset, *_) in enumerate(nets):
        found = localize(net, images, preset, thresholds=(0.2,))
        known = found.known()
        assert wrong[mapping.KNOWN][s].tolist() == (~correct_boxes(known, images.boxes)).tolist()
        assert wrong[mapping.PART][s].tolist() == (~correct_boxes(known, images.extras["telling_boxes"])).tolist()
        assert wrong[mapping.MEASURES[0]][s].tolist() == (found.classes[:, 0] != images.labels).tolist()
    assert (wrong[mapping.PART] != wrong[mapping.KNOWN]).any()


def test_the_dial_turns_for_the_images_and_for_what_is_learnt_from():
    training = {"trained_on": "synthetic-objects", "train_options": {"n": 9}, "eval_options": {"n": 4}, "epochs": 1}
    images, turned = mapping.turn_dial({"dataset": "synthetic-objects", "split": "val", "n": 6}, training, 2)
    assert images.fingerprint == datasets.load("synthetic-objects", n=6, telling_parts=2).fingerprint
    assert turned == {
        **training, "train_options": {"n": 9, "telling_parts": 2}, "eval_options": {"n": 4, "telling_parts": 2},
    }  # fmt: skip


def test_the_advantage_is_positive_where_the_average_is_wrong_less_often():
    wrong = {"GAP": {"m": np.array([[0, 1], [0, 0]], bool)}, "GMP": {"m": np.array([[1, 1], [1, 0]], bool)}}
    assert mapping.find_advantage(wrong, "m").tolist() == [1.0, 0.0]


def test_a_part_leaves_excluded_images_out_and_says_of_how_many_it_is():
    images = dataset_of(np.zeros((6, 8, 8, 3), np.uint8), [0, 1, 0, 1, 0, 1])
    images.excluded[[1, 4]] = True
    part = mapping.choose_part(images, 3, seed=0)
    assert len(part) == 3
    assert not set(part.ids) & {"1", "4"}
    assert part.info["whole"] == 6
    whole = mapping.choose_part(images, 10, seed=0)
    assert whole.ids == ["0", "2", "3", "5"]
    assert "whole" not in whole.info


def test_rows_differ_in_their_grid_alone():
    networks = [{"label": name, "model": name, "weights": "random"} for name in ("mini_gap_8", "mini_gap_32")]
    rows = mapping.load_rows([networks[0], {**networks[1], "against": "mini_gap_8"}], {"preset": "small"}, [0])
    grids = {label: mapping.measure_grid(nets[0]) for label, nets in rows.items()}
    assert [side for side, _ in grids.values()] == [8, 32]
    assert len({held for _, held in grids.values()}) == 1


def test_a_row_is_held_against_a_row_that_exists():
    networks = [{"label": "a"}, {"label": "b", "against": "a"}, {"label": "c", "against": ""}]
    assert mapping.list_pairs(networks) == [("b", "a")]
    with pytest.raises(KeyError, match="b is compared with 'd'; expected one of a, b"):
        mapping.list_pairs([{"label": "a"}, {"label": "b", "against": "d"}])


def test_few_seeds_on_drawn_data_are_called_an_illustration():
    drawn, photographs = (dataset_of(np.zeros((1, 8, 8, 3), np.uint8), [0], synthetic=kind) for kind in (True, False))
    assert mapping.describe_scope(drawn, [0]) == "An illustration, 1 seed:\n"
    assert mapping.describe_scope(drawn, [0, 1, 2]) == mapping.describe_scope(photographs, [0]) == ""


def test_what_is_said_names_every_row_and_the_centre_box_and_every_setting_of_the_dial():
    wrong = {"fine": {mapping.KNOWN: np.array([[0, 1], [0, 1]])}, "coarse": {mapping.KNOWN: np.ones((2, 2))}}
    said = mapping.describe_boxes(wrong, 83.21)
    assert said == "Wrong boxes of the true class: fine 50.0 %, coarse 100.0 %; the best centre box 83.2 %."
    better = compare_seeds(np.zeros((2, 9)), np.full((2, 9), 100.0))
    alike = compare_seeds(np.ones((2, 9)), np.ones((2, 9)))
    first, second = mapping.describe_dial({1: alike, 3: better})
    assert first.startswith("Class-known localization error, 1 telling part: no difference seen, 0.0 points")
    assert second.startswith("Class-known localization error, 3 telling parts: GAP better by 100.0 points")


def test_parameters_saved_are_those_of_the_networks_themselves():
    for classifier in ("vgg16", "alexnet"):
        whole = sum(p.numel() for p in torchvision.models.get_model(classifier).parameters())
        gap = sum(p.numel() for p in build_model(f"{classifier}_gap").parameters())
        assert mapping.count_saved(classifier, f"{classifier}_gap") == pytest.approx(100 * (whole - gap) / whole)
