"""Boxes regressed from features: a square that the features show is found; features that show nothing are called so."""

import numpy as np
import pytest
from builders import dataset_of

from camlib.experiments import supervised
from camlib.metrics import correct_boxes
from camlib.models import build_model
from camlib.train import Network
from camlib.transforms import Preset


@pytest.fixture
def squares():
    rng = np.random.default_rng(0)
    pictures, boxes = np.zeros((160, 32, 32, 3), np.uint8), []
    for picture in pictures:
        x, y = rng.integers(0, 20, 2)
        picture[y : y + 12, x : x + 12] = 255
        boxes.append(np.array([[x, y, x + 12, y + 12]], float))
    images = dataset_of(pictures, [0, 1] * 80)
    images.boxes = boxes
    return images


def test_a_box_that_the_features_show_is_regressed_on_images_not_learnt_from(squares):
    network = Network(build_model("mini_gap", 2).eval(), Preset(32, 32), [], [], "random")
    boxes = supervised.regress_boxes(network, squares)
    assert correct_boxes(boxes, squares.boxes).mean() > 0.8
    assert supervised.name_fit(boxes, squares) == "box regression, trained on boxes"
    squares.excluded[:] = np.arange(160) >= 80
    assert len(supervised.regress_boxes(network, squares)) == 160, "excluded images are predicted and teach nothing"


def test_a_regression_that_learnt_nothing_is_called_a_failed_fit(squares):
    centre = np.tile([10.0, 10, 22, 22], (160, 1))
    assert supervised.name_fit(centre, squares).endswith("(failed fit)")
