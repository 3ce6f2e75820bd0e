"""Crops of birds: how often a random box is right."""

import numpy as np
import pytest

from camlib.experiments import crops


def test_chance_of_a_random_box_by_its_integral():
    """A true box that is the whole image: IoU is the drawn area, |dx| |dy| with densities 2 (1 - d)."""
    grid = (np.arange(2000) + 0.5) / 2000
    weight = 2 * (1 - grid)
    expected = (np.outer(weight, weight) * (np.outer(grid, grid) >= 0.5)).sum() / 2000**2
    whole = [np.array([[0.0, 0, 300, 200]])]
    shares = crops.hit_by_chance(np.array([[300, 200]]), whole, draws=200_000)
    assert shares[0] == pytest.approx(expected, abs=0.003)


def test_chance_takes_any_true_box_and_no_tiny_one():
    sizes = np.array([[100, 100], [100, 100]])
    boxes = [np.array([[10.0, 10, 90, 90]]), np.array([[10.0, 10, 90, 90], [0, 0, 1, 1]])]
    one, both = crops.hit_by_chance(sizes, boxes)
    assert one == both > 0
