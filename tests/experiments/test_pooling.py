"""GAP against GMP: which threshold a row stands for, and what is said of the best centre box."""

import numpy as np
import pytest
from builders import dataset_of

from camlib.experiments import pooling

THRESHOLDS = np.array([0.1, 0.2, 0.3])


def make_wrong(best):
    """One seed, four images; right at the threshold `best` alone."""
    right = np.zeros((1, 4, 3), bool)
    right[:, :, best] = True
    classification = dict.fromkeys(pooling.CLASSIFICATION, np.zeros((1, 4), bool))
    return classification | dict.fromkeys(pooling.LOCALIZATION, ~right)


def test_rows_stand_for_the_papers_the_held_out_and_the_oracles_threshold():
    wrong = {"GAP": make_wrong(1), "GMP": make_wrong(0)}
    rows, chosen = pooling.select_errors(wrong, np.array([0, 1]), np.array([2, 3]), THRESHOLDS)
    assert {head: both.tolist() for head, both in rows["top-1 localization error, 20 %"].items()} == {
        "GAP": [[0, 0]], "GMP": [[100, 100]],
    }  # fmt: skip
    assert rows["top-1 localization error, held-out threshold"]["GMP"].tolist() == [[0, 0]]
    assert chosen["top-1 localization error, held-out threshold"] == {"GAP": "20%", "GMP": "10%"}
    assert len(rows) == 2 + 3 * 3


def test_only_the_papers_rows_are_cited():
    assert pooling.cite_paper("top-5 localization error, 20 %", "GMP") == ("Table 2", "GoogLeNet-GMP", "top-5")
    assert pooling.cite_paper("top-1 classification error", "GAP") == ("Table 1", "GoogLeNet-GAP", "top-1")
    assert pooling.cite_paper("top-1 localization error, oracle threshold", "GAP") is None


def test_the_best_centre_box_looks_at_no_image():
    images = dataset_of(np.zeros((4, 10, 10, 3), np.uint8), [0, 1, 0, 1])
    images.boxes = [np.array([[2.0, 2, 8, 8]])] * 3 + [np.array([[0.0, 0, 2, 2]])]
    assert pooling.err_centre_box(images).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("centre", "side"), [(10, "fewer than either head"), (60, "between them"), (90, "more than either")]
)
def test_what_is_said_of_the_centre_box(centre, side):
    errors = {"class-known localization error, 20 %": {"GAP": np.full((2, 3), 50.0), "GMP": np.full((2, 3), 70.0)}}
    said = pooling.describe_box(errors, centre, "birds")
    assert "(birds)" in said
    assert f"GAP in 50.0 %, GMP in 70.0 %; the best centre box in {centre:.1f} %, {side}." in said
