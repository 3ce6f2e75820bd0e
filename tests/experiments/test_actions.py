"""Where the objects of actions lie: every action has one group, a reason, and an image's group is its action's."""

import numpy as np
import pytest

from camlib.datasets.synthetic.variants import VARIANTS
from camlib.experiments.actions import ACTIONS, PREDICTIONS, compare_groups, group_actions


def test_every_action_has_a_group_and_a_reason():
    assert len(ACTIONS["action40"]) == 40
    assert set(ACTIONS["synthetic-actions"]) == set(VARIANTS["actions"].class_names)
    for groups in ACTIONS.values():
        assert {group for group, _ in groups.values()} <= set(PREDICTIONS)
        assert all(reason for _, reason in groups.values())


def test_groups_of_images_are_those_of_their_actions():
    classes = ["applauding", "drinking", "riding_a_bike", "watching_TV"]
    groups = group_actions("action40", classes, np.array([3, 1, 1, 2, 3]))
    assert {name: mask.tolist() for name, mask in groups.items()} == {
        "apart": [True, False, False, False, True],
        "touching": [False, False, False, True, False],
        "held or worn": [False, True, True, False, False],
    }
    with pytest.raises(ValueError, match=r"actions \['flying'\] of action40: no group"):
        group_actions("action40", ["flying"], np.array([0]))
    with pytest.raises(ValueError, match="dataset cub200: no group"):
        group_actions("cub200", ["a"], np.array([0]))


def test_the_groups_name_the_actions_of_the_official_lists(shared_data):
    lists = shared_data("Stanford40") / "ImageSplits"
    assert {path.name.removesuffix("_test.txt") for path in lists.glob("*_test.txt")} == set(ACTIONS["action40"])


def test_groups_are_compared_with_classes_of_all_images():
    """Actions 0 and 1 are apart and draw their maps outside; actions 2 and 3 are held and draw theirs inside."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 30)
    scores = np.tile([0.9, 0.8, 0.3, 0.2], (120, 1)) + rng.normal(0, 0.05, (120, 4))
    found = compare_groups(scores, labels, {"apart": labels < 2, "held or worn": labels > 1}, 199)
    (own, expected), more, less = found["apart"]
    assert own.shape == expected.shape == (60,)
    np.testing.assert_allclose([own.mean(), expected.mean()], [0.85, 0.55], atol=0.02)
    assert (more.p, less.p) == (0.005, 1.0)
    assert [test.p for test in found["held or worn"][1:]] == [1.0, 0.005]
