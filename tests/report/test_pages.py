"""The front page's own arithmetic."""

import pytest

from camlib.report.pages import place_bar


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((-80, 80), (0, 100)),
        ((0, 40), (50, 25)),
        ((-190, -160), (0, 2)),
        ((160, 190), (98, 2)),
        ((20, 190), (62.5, 37.5)),
    ],
)
def test_an_interval_is_drawn_around_0_and_stays_on_its_line(interval, expected):
    left, width = place_bar(*interval)
    assert (left, width) == expected
    assert left + width <= 100
