"""Boxes against hand-computed cases, scipy, the devkit's arithmetic and the released program's own output."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from camlib._kernels import distance_mask
from camlib.boxes import (
    _drop_overlapping,
    box_enlarged_maps,
    box_iou,
    centre_box,
    check_boxes,
    largest_component_box,
    released_boxes,
    threshold_boxes,
    whole_image_box,
)

Find = Callable[[str], Path]

# Few levels in a small frame: plateaus, ties and components that merge.
small_maps = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 40, 41, 130, 254, 255]))
)


@st.composite
def whole_boxes(draw: st.DrawFn) -> list[int]:
    x0, y0 = draw(st.integers(-50, 50)), draw(st.integers(-50, 50))
    return [x0, y0, x0 + draw(st.integers(1, 60)), y0 + draw(st.integers(1, 60))]


def first_largest(mask: np.ndarray) -> list[int]:
    """Bounds of the largest 8-connected component by scipy; ties go to the one whose first pixel comes first."""
    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
    flat = labels.ravel()
    best = max(range(1, n + 1), key=lambda k: ((flat == k).sum(), -np.argmax(flat == k)))
    rows, columns = ndimage.find_objects(labels)[best - 1]
    return [columns.start, rows.start, columns.stop, rows.stop]


# ------------------------------------------------------------------------------------------------------------- IoU


@given(whole_boxes(), whole_boxes())
def test_iou_is_symmetric_bounded_and_one_only_for_the_same_box(a: list[int], b: list[int]) -> None:
    value = box_iou([a], [b])[0, 0]
    assert value == box_iou([b], [a])[0, 0]
    assert 0 <= value <= 1
    assert (value == 1) == (a == b)


@given(whole_boxes(), whole_boxes(), st.integers(-99, 99), st.integers(-99, 99), st.sampled_from([0.25, 2.0, 3.0]))
def test_iou_ignores_translation_and_scale(a: list[int], b: list[int], dx: int, dy: int, scale: float) -> None:
    moved = [(np.array([box]) + np.array([dx, dy, dx, dy])) * scale for box in (a, b)]
    assert box_iou(*moved)[0, 0] == pytest.approx(box_iou([a], [b])[0, 0], abs=1e-12)


@given(whole_boxes(), whole_boxes())
def test_iou_equals_the_devkit_on_inclusive_pixels(a: list[int], b: list[int]) -> None:
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a, b  # read as inclusive
    w, h = min(ax1, bx1) - max(ax0, bx0) + 1, min(ay1, by1) - max(ay0, by0) + 1
    areas = [(ax1 - ax0 + 1) * (ay1 - ay0 + 1), (bx1 - bx0 + 1) * (by1 - by0 + 1)]
    expected = w * h / (sum(areas) - w * h) if w > 0 and h > 0 else 0
    plus_one = np.array([0, 0, 1, 1])
    assert box_iou([a + plus_one], [b + plus_one])[0, 0] == expected


def test_iou_by_hand() -> None:
    a = [[0, 0, 10, 10], [0, 0, 4, 4], [2, 2, 2, 5]]  # the last one is empty
    b = [[5, 0, 15, 10], [0, 0, 10, 10], [10, 0, 12, 10], [2, 2, 2, 5]]
    expected = [[50 / 150, 1, 0, 0], [0, 16 / 100, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(box_iou(a, b), expected)
    assert box_iou(np.zeros((0, 4)), b).shape == (0, 4)


def test_check_boxes_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"truth\[1\] is \[3.0, 0.0, 3.0, 4.0\]"):
        check_boxes([[0, 0, 1, 1], [3, 0, 3, 4]], "truth")
    assert check_boxes([[3, 0, 3, 4]], "truth", allow_empty=True).dtype == np.float64
    with pytest.raises(ValueError, match=r"guess\[0\].*x1 >= x0"):
        check_boxes([[3, 0, 2, 4]], "guess", allow_empty=True)
    with pytest.raises(ValueError, match=r"guess\[0, 1\]"):
        check_boxes([[[0, 0, 1, 1], [0, 0, np.nan, 1]]], "guess")
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        check_boxes([[0, 0, 1]])
    with pytest.raises(ValueError, match=r"\(4,\)"):
        box_iou([0, 0, 1, 1], [[0, 0, 1, 1]])


def test_baseline_boxes() -> None:
    sizes = np.array([[100, 50], [40, 80]])  # width, height
    np.testing.assert_array_equal(whole_image_box(sizes), [[0, 0, 100, 50], [0, 0, 40, 80]])
    np.testing.assert_allclose(centre_box(sizes, 0.5), [[25, 12.5, 75, 37.5], [10, 20, 30, 60]])
    np.testing.assert_array_equal(whole_image_box((7, 3)), [0, 0, 7, 3])
    for size, fraction in [((0, 3), 1.0), ((7, 3, 1), 1.0), ((7, 3), 0.0), ((7, 3), 1.5)]:
        with pytest.raises(ValueError, match="expected"):
            centre_box(size, fraction)


# ------------------------------------------------------------------------------------------------------- text rule


def test_largest_component_by_hand() -> None:
    heatmap = np.array(
        [
            [9.0, 0.0, 0.0, 0.0, 0.0, 10.0],
            [0.0, 3.0, 0.0, 0.0, 0.0, 9.0],  # diagonal neighbours are connected
            [0.0, 0.0, 3.0, 2.0, 0.0, 0.0],  # 2.0 is 20 % of the maximum, not above it
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        ]
    )
    np.testing.assert_array_equal(largest_component_box(heatmap, 0.2), [0, 0, 3, 3])
    np.testing.assert_array_equal(largest_component_box(heatmap, 0.19), [0, 0, 4, 3])
    np.testing.assert_array_equal(largest_component_box(heatmap, 0.5), [5, 0, 6, 2])
    assert largest_component_box(heatmap).dtype == np.float64


def test_equal_components_go_by_raster_order() -> None:
    heatmap = np.zeros((4, 8))
    heatmap[1, 0] = heatmap[0, 5] = 1  # OpenCV, which works in 2x2 blocks, numbers the left one first
    np.testing.assert_array_equal(largest_component_box(heatmap), [5, 0, 6, 1])


@pytest.mark.parametrize("value", [-1.0, 0.0, 2.5])
def test_a_constant_map_boxes_the_whole_image(value: float) -> None:
    np.testing.assert_array_equal(largest_component_box(np.full((3, 5), value)), [0, 0, 5, 3])


def test_a_map_without_a_positive_value_boxes_the_whole_image() -> None:
    np.testing.assert_array_equal(largest_component_box([[-3.0, -1.0], [-2.0, 0.0]]), [0, 0, 2, 2])


def test_text_rule_equals_scipy_on_real_maps(shared_data: Find) -> None:
    for path in sorted(shared_data("release-boxes").glob("*.png")):
        heatmap = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[::2, ::2] / 255
        for threshold in (0.2, 0.45, 0.6):
            expected = first_largest(heatmap > threshold * heatmap.max())
            np.testing.assert_array_equal(largest_component_box(heatmap, threshold), expected)


def test_text_rule_refuses_bad_maps() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 2, 2\)"):
        largest_component_box(np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match=r"shape \(0, 3\)"):
        largest_component_box(np.ones((0, 3)))
    with pytest.raises(ValueError, match="NaN"):
        largest_component_box([[1.0, np.nan]])
    for threshold in (-0.1, 1.0, np.nan):
        with pytest.raises(ValueError, match="threshold"):
            largest_component_box(np.ones((2, 2)), threshold)


# --------------------------------------------------------------------------------------------------- released rule


def test_released_boxes_equal_the_authors_program(shared_data: Find) -> None:
    folder = shared_data("release-boxes")
    recorded = json.loads((folder / "boxes.json").read_text())
    assert len(recorded) == 40
    same = 0
    for name, expected in recorded.items():
        boxes = released_boxes(cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE))
        found = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
        assert found[:2] == expected[:2], name
        same += found == expected
        # What may differ is only the order of equal areas and the program's height of -1, which is 0 here.
        clipped = [[x, y, max(w, 0), max(h, 0)] for x, y, w, h in expected]
        assert sorted(found) == sorted(clipped), name
    assert same >= 39


@settings(deadline=None)  # the first call compiles
@example(220, 6, 0.9999, False, 0)  # narrower than what the distance takes away
@example(6, 220, 0.9999, False, 0)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from([0.3, 0.9, 0.997]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_distance_mask_equals_scipy(height: int, width: int, share: float, smooth: bool, seed: int) -> None:
    values = np.random.default_rng(seed).random((height, width))
    values = cv2.GaussianBlur(values, (0, 0), 9) if smooth else values
    mask = values <= np.quantile(values, share)
    mask.flat[seed % mask.size] = False
    distance = ndimage.distance_transform_edt(mask)
    expected = np.floor(distance * (255 / max(distance.max(), 1)) + 0.5) > 10
    np.testing.assert_array_equal(distance_mask(mask.view(np.uint8)), expected)


def test_distance_mask_equals_scipy_on_real_maps(shared_data: Find) -> None:
    for path in sorted(shared_data("release-boxes").glob("*.png"))[::4]:
        heatmap = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        for threshold in (20, 100, 110):
            mask = heatmap > threshold
            distance = ndimage.distance_transform_edt(mask)
            expected = np.floor(distance * (255 / distance.max()) + 0.5) > 10
            np.testing.assert_array_equal(distance_mask(mask.view(np.uint8)), expected)


def test_the_box_after_a_dropped_one_escapes() -> None:
    one, apart = [0, 0, 10, 10], [50, 50, 55, 55]
    found = _drop_overlapping(np.array([one, one, one, one, apart]))
    # Of four equal boxes the 2nd is erased, the 3rd moves into its place unseen, the 4th is erased.
    np.testing.assert_array_equal(found, [one, one, apart])
    half = [[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 3, 17]]  # 50 of 100 is not more than half
    np.testing.assert_array_equal(_drop_overlapping(np.array(half)), half)
    more = [[0, 0, 3, 3], [0, 0, 3, 2]]  # half of 9 is cut off to 4; 6 is more
    np.testing.assert_array_equal(_drop_overlapping(np.array(more)), more[:1])


def test_released_rule_on_simple_maps() -> None:
    full = np.full((30, 40), 255, np.uint8)
    # Nothing is background, so the distance transform is left out; one box, 5 px short; the thresholds' other two are
    # the same box, of which one escapes.
    np.testing.assert_array_equal(released_boxes(full), [[0, 0, 35, 25], [0, 0, 35, 25]])
    np.testing.assert_array_equal(released_boxes(np.zeros((30, 40), np.uint8)), [[0, 0, 40, 30]])
    ring = np.zeros((60, 60), np.uint8)
    ring[10:50, 10:50] = 50  # only the lowest threshold sees it
    ring[20:40, 20:40] = 0
    # Largest distance 7 px (inner corners), so 10.5 / 255 of it is below 1 px: the ring stays as it is. The hole's
    # contour runs along the ring's inner pixels, one px outside the hole: 22 x 22 of 40 x 40, less than half.
    np.testing.assert_array_equal(released_boxes(ring), [[10, 10, 50, 50], [19, 19, 41, 41]])


def test_the_rescaled_distance_must_round_to_more_than_ten() -> None:
    block = np.zeros((200, 200), np.uint8)
    block[10:170, 10:170] = 50  # largest distance 80 px: round(255 d / 80) > 10 needs d >= 3.29, so 4 px: 3 px go
    np.testing.assert_array_equal(released_boxes(block), [[13, 13, 167, 167]])


def test_released_rule_ignores_the_memory_layout() -> None:
    heatmap = cv2.resize(np.random.default_rng(0).integers(0, 256, (7, 9)).astype(np.uint8), (90, 70))
    np.testing.assert_array_equal(released_boxes(np.asfortranarray(heatmap)), released_boxes(heatmap))


def test_released_rule_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="float64 of shape"):
        released_boxes(np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        released_boxes(np.ones(3, np.uint8))
    for thresholds in ((), (20, 255), (-1,)):
        with pytest.raises(ValueError, match="thresholds"):
            released_boxes(np.ones((3, 3), np.uint8), thresholds)


@settings(max_examples=60, deadline=None)
@given(small_maps, st.lists(st.floats(0, 0.999), min_size=1, max_size=6), st.sampled_from([1.0, 0.1, -1.0]))
def test_threshold_boxes_equal_the_text_rule(heatmap: np.ndarray, fractions: list[float], scale: float) -> None:
    signed = (heatmap.astype(float) - 100) * scale
    expected = [largest_component_box(signed, fraction) for fraction in fractions]
    np.testing.assert_array_equal(threshold_boxes(signed, fractions), expected)


def test_threshold_boxes_leave_out_pixels_at_the_threshold_itself() -> None:
    found = threshold_boxes([[10.0, 2.0, 1.0, 0.0]], [0.2, 0.1, 0.05, 0.0])  # in any order; 2.0 is 20 % of 10.0
    np.testing.assert_array_equal(found[:, 2], [1, 2, 3, 3])
    most = threshold_boxes(np.arange(42.0).reshape(6, 7), np.linspace(0, 0.99, 32_767))
    np.testing.assert_array_equal(most[[0, -1]], [[0, 0, 7, 6], [6, 5, 7, 6]])
    with pytest.raises(ValueError, match="32,768 fractions; expected at most 32,767"):
        threshold_boxes([[1.0]], np.zeros(32_768))


def test_threshold_boxes_equal_the_text_rule_on_real_maps(shared_data: Find) -> None:
    fractions = np.linspace(0.05, 0.6, 23)
    for path in sorted(shared_data("release-boxes").glob("*.png"))[::8]:
        heatmap = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        expected = [largest_component_box(heatmap, fraction) for fraction in fractions]
        np.testing.assert_array_equal(threshold_boxes(heatmap, fractions), expected)
    for bad in ([], [0.2, 1.0], [[0.2]], [np.nan]):
        with pytest.raises(ValueError, match="fractions"):
            threshold_boxes(heatmap, bad)


# ------------------------------------------------------------------------------------------------ enlarged maps

FRACTIONS = np.array([0.0, 0.2, 0.5, 0.9])


@st.composite
def small_floats(draw: st.DrawFn) -> np.ndarray:
    """A map with plateaus and exact zeros, or with every value its own; up to twice as large as any network's."""
    shape = draw(st.integers(2, 28)), draw(st.integers(2, 28))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale, offset = draw(st.sampled_from([1, 1e-4, 1e4, 1e-40])), draw(st.sampled_from([0, 1, -1]))
    values = rng.normal(size=shape) if draw(st.booleans()) else rng.integers(-1, 3, shape)
    return ((values + offset) * scale).astype(np.float32)


@pytest.mark.skipif(not cv2.ipp.useIPP(), reason="OpenCV rounds in another way without Intel's IPP")
@settings(max_examples=400, deadline=None)  # the first example compiles
@given(small_floats(), st.integers(1, 150), st.integers(1, 150))
def test_boxes_of_enlarged_maps_equal_those_of_opencvs_enlargement(
    heatmap: np.ndarray, width: int, height: int
) -> None:
    found = box_enlarged_maps(heatmap[None], (width, height), FRACTIONS)[0]
    enlarged = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_LINEAR)
    expected = [largest_component_box(enlarged, t) for t in FRACTIONS]
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None)
@given(arrays(np.float32, st.tuples(st.just(1), st.integers(1, 9)), elements=st.integers(-2, 5)), st.booleans())
def test_a_map_of_one_row_or_column_is_constant_along_the_other_axis(heatmap: np.ndarray, upright: bool) -> None:
    size = (31, 47)
    found = box_enlarged_maps((heatmap.T if upright else heatmap)[None], size, FRACTIONS)[0]
    axis = 0 if upright else 1
    assert (found[:, axis] == 0).all()
    assert (found[:, axis + 2] == size[axis]).all()


def test_enlarged_maps_by_hand() -> None:
    one = np.array([[[0, 0, 4], [0, 0, 0]]], np.float32)
    # Cells are 10 px wide, centres at 5, 15, 25 of 30 and 10, 30 of 40. At half of the maximum, 2: x > 20, y < 20.
    assert box_enlarged_maps(one, (30, 40), [0.5]).tolist() == [[[20, 0, 30, 20]]]
    assert box_enlarged_maps(-one, (30, 40), [0.0, 0.5]).tolist() == [[[0, 0, 30, 40]] * 2]  # no evidence
    assert box_enlarged_maps(one, (3, 2), [0.5]).tolist() == [[[2, 0, 3, 1]]]


@pytest.mark.parametrize(
    ("maps", "size", "fractions"),
    [
        (np.zeros((1, 2, 2)), (4, 4), [0.2]),
        (np.zeros((2, 2), np.float32), (4, 4), [0.2]),
        (np.full((1, 2, 2), np.nan, np.float32), (4, 4), [0.2]),
        (np.array([[[2e38, -2e38]]], np.float32), (4, 4), [0.2]),  # their difference is infinite
        (np.zeros((1, 2, 2), np.float32), (0, 4), [0.2]),
        (np.zeros((1, 2, 2), np.float32), (4, 4), [1.0]),
        (np.zeros((1, 2, 2), np.float32), (4, 4), []),
    ],
)
def test_what_is_no_stack_of_maps_is_refused(maps: np.ndarray, size: tuple[int, int], fractions: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        box_enlarged_maps(maps, size, fractions)
