"""Errors, MaxBoxAcc and extents against hand-computed cases and brute force."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline
from scipy import ndimage

from camlib import boxes, metrics
from camlib.boxes import box_iou
from camlib.metrics import (
    component_tree_boxes,
    correct_boxes,
    localization_errors,
    map_extent,
    max_box_accuracy,
)

Find = Callable[[str], Path]
IOUS = (0.3, 0.5, 0.7)

# Few levels in a small frame: plateaus, ties and components that merge.
small_maps = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 40, 41, 130, 254, 255]))
)


def components(mask: np.ndarray) -> np.ndarray:
    """Bounds of all 8-connected components (n, 4) by scipy, the largest first, equals in raster order."""
    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
    flat = labels.ravel()
    order = sorted(range(1, n + 1), key=lambda k: (-(flat == k).sum(), np.argmax(flat == k)))
    slices = ndimage.find_objects(labels)
    bounds = [
        [slices[k - 1][1].start, slices[k - 1][0].start, slices[k - 1][1].stop, slices[k - 1][0].stop] for k in order
    ]
    return np.array(bounds, dtype=float).reshape(-1, 4)


def brute_force(heatmap: np.ndarray, truth: np.ndarray, best: bool, levels: range = range(256)) -> np.ndarray:
    """Whether a box at level t reaches each IoU, by thresholding again and again -> (3, len(levels))."""
    right = np.zeros((3, len(levels)), dtype=bool)
    for column, t in enumerate(levels):
        found = components(heatmap > t if heatmap.any() else np.ones_like(heatmap))
        if len(found):
            right[:, column] = box_iou(found if best else found[:1], truth).max() >= np.array(IOUS)
    return right


# ------------------------------------------------------------------------------------------------ localization errors


def test_localization_errors_by_hand() -> None:
    box, miss = [0, 0, 10, 10], [50, 50, 60, 60]
    pred_classes = np.array([[1, 2, 3], [5, 4, 6], [7, 8, 9], [3, 2, 1]])
    gt_classes = np.array([1, 4, 0, 1])
    pred_boxes = np.array(
        [
            [box, box, box],  # right at once
            [box, miss, box],  # the class is second, its box misses
            [box, box, box],  # no guess has the class
            [miss, miss, [0, 0, 10, 5]],  # third, IoU exactly 0.5 with the second true box
        ]
    )
    gt_boxes = [np.array([box]), np.array([box]), np.array([box]), np.array([miss, box])]
    errors = localization_errors(pred_classes, pred_boxes, gt_classes, gt_boxes)
    np.testing.assert_array_equal(errors.cls, [3 / 4, 2 / 4, 1 / 4])
    np.testing.assert_array_equal(errors.loc, [3 / 4, 3 / 4, 2 / 4])
    np.testing.assert_array_equal(errors.loc_wrong[3], [True, True, False])
    stricter = localization_errors(pred_classes, pred_boxes, gt_classes, gt_boxes, iou=0.51)
    np.testing.assert_array_equal(stricter.loc, [3 / 4, 3 / 4, 3 / 4])


def test_excluded_images_leave_loc_but_stay_in_cls() -> None:
    pred_boxes = np.tile([0, 0, 4, 4], (3, 1, 1))
    gt_boxes = [np.array([[0, 0, 4, 4]]), np.zeros((0, 4)), np.array([[9, 9, 12, 12]])]  # excluded ones need no box
    errors = localization_errors([[1], [2], [3]], pred_boxes, [1, 0, 3], gt_boxes, excluded=[False, True, False])
    assert errors.cls[0] == 1 / 3
    assert errors.loc[0] == 1 / 2
    np.testing.assert_array_equal(errors.kept, [0, 2])
    np.testing.assert_array_equal(errors.cls_wrong[:, 0], [False, True, False])
    np.testing.assert_array_equal(errors.loc_wrong[:, 0], [False, True])


def test_localization_errors_equal_the_devkit_in_a_loop() -> None:
    rng = np.random.default_rng(0)
    n, top = 200, 5
    pred_classes, gt_classes = rng.integers(0, 4, (n, top)), rng.integers(0, 4, n)
    corner = rng.integers(0, 4, (n, top, 2))
    pred = np.concatenate([corner, corner + rng.integers(3, 12, (n, top, 2))], -1)  # inclusive, as the devkit has them
    truth = []
    for count in rng.integers(1, 4, n):
        start = rng.integers(0, 4, (count, 2))
        truth.append(np.concatenate([start, start + rng.integers(3, 12, (count, 2))], -1))
    excluded = rng.random(n) < 0.1

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        w, h = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
        area = (a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
        return w * h / (area - w * h) if w > 0 and h > 0 else 0

    wrong = np.array(
        [
            [
                all(
                    pred_classes[i, j] != gt_classes[i] or max(overlap(pred[i, j], b) for b in truth[i]) < 0.5
                    for j in range(k + 1)
                )
                for k in range(top)
            ]
            for i in range(n)
            if not excluded[i]
        ]
    )
    plus_one = np.array([0, 0, 1, 1])
    errors = localization_errors(
        pred_classes, pred + plus_one, gt_classes, [b + plus_one for b in truth], excluded=excluded
    )
    np.testing.assert_array_equal(errors.loc_wrong, wrong)
    np.testing.assert_array_equal(errors.loc, wrong.mean(0))
    assert 0.2 < errors.loc[-1] < errors.loc[0] < 0.99
    known = correct_boxes(pred[:, 0] + plus_one, [b + plus_one for b in truth])
    np.testing.assert_array_equal(known, [max(overlap(pred[i, 0], b) for b in truth[i]) >= 0.5 for i in range(n)])


def test_localization_errors_name_what_does_not_fit() -> None:
    box = np.array([[0.0, 0.0, 2.0, 2.0]])
    classes, pred, truth = np.array([[1], [2]]), np.zeros((2, 1, 4)) + box, np.array([1, 2])
    with pytest.raises(ValueError, match=r"gt_boxes\[1\] has shape \(0, 4\)"):
        localization_errors(classes, pred, truth, [box, np.zeros((0, 4))])
    with pytest.raises(ValueError, match=r"gt_boxes\[1\]\[0\] is \[nan"):
        localization_errors(classes, pred, truth, [box, box * np.nan])
    with pytest.raises(ValueError, match=r"pred_boxes\[0, 0\] is \[nan"):
        localization_errors(classes, pred * np.nan, truth, [box, box])
    with pytest.raises(ValueError, match="expected integers"):
        localization_errors(classes / 1.0, pred, truth, [box, box])
    with pytest.raises(ValueError, match=r"\(2, 1\) and gt_classes \(1,\)"):
        localization_errors(classes, pred, truth[:1], [box, box])
    with pytest.raises(ValueError, match=r"pred_boxes \(2, 1, 4\) and 1 gt_boxes"):
        localization_errors(classes, pred, truth, [box])
    with pytest.raises(ValueError, match="excluded is int64"):
        localization_errors(classes, pred, truth, [box, box], excluded=[0, 1])
    with pytest.raises(ValueError, match="no image"):
        localization_errors(classes, pred, truth, [box, box], excluded=[True, True])
    with pytest.raises(ValueError, match="iou is 50"):
        localization_errors(classes, pred, truth, [box, box], iou=50)
    with pytest.raises(ValueError, match=r"pred_boxes have shape \(2, 1, 4\)"):
        correct_boxes(pred, [box, box])


# ------------------------------------------------------------------------------------------------- every threshold


@settings(max_examples=60, deadline=None)
@given(small_maps)
def test_sweep_equals_brute_force_on_plateaus_and_ties(heatmap: np.ndarray) -> None:
    levels = [0, 39, 40, 41, 129, 130, 253, 254, 255]
    found = component_tree_boxes(heatmap)
    for t in levels:
        expected = components(heatmap > t if heatmap.any() else np.ones_like(heatmap))
        np.testing.assert_array_equal(found[t], expected[0] if len(expected) else np.zeros(4))
    height, width = heatmap.shape
    truth = np.array([[0, 0, width, (height + 1) // 2], [width / 4, height / 4, width, height]])
    for mode in ("largest", "best"):
        result = max_box_accuracy([heatmap], [truth], iou=IOUS, components=mode)
        np.testing.assert_array_equal(result.curve[:, levels], brute_force(heatmap, truth, mode == "best", levels))


def test_sweep_equals_brute_force_on_noise() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, rng.integers(2, 21), rng.integers(1, 16, 2), dtype=np.uint8) for _ in range(60)]
    maps.append(np.array([[13, 6, 2, 16, 10], [18, 5, 7, 3, 5]], np.uint8))  # a tie whose first pixel joined late
    for heatmap in maps:
        heatmap[0, 0] = max(heatmap[0, 0], 1)  # a map without evidence is another rule
        levels = range(int(heatmap.max()))
        found = component_tree_boxes(heatmap)
        np.testing.assert_array_equal(found[levels], [components(heatmap > t)[0] for t in levels])
        height, width = heatmap.shape
        truth = np.array([[0, 0, 6, 4], [1.5, 1, width + 2, height + 1]])
        for mode in ("largest", "best"):
            result = max_box_accuracy([heatmap], [truth], iou=IOUS, components=mode)
            expected = brute_force(heatmap, truth, mode == "best", list(levels))
            np.testing.assert_array_equal(result.curve[:, levels], expected)


def test_sweep_equals_brute_force_on_real_maps(shared_data: Find) -> None:
    paths = sorted(shared_data("release-boxes").glob("*.png"))[::10]
    maps = [cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (48, 40)) for path in paths]
    truth = [np.array([[8.0, 6.0, 40.0, 34.0], [2.5, 3.0, 20.0, 22.5]])] * len(maps)
    for mode in ("largest", "best"):
        expected = np.mean([brute_force(m, t, mode == "best") for m, t in zip(maps, truth, strict=True)], axis=0)
        result = max_box_accuracy(iter(maps), iter(truth), components=mode)
        np.testing.assert_array_equal(result.curve, expected)
        np.testing.assert_array_equal(result.maxima, expected.max(1))
        np.testing.assert_array_equal(result.best_thresholds, expected.argmax(1) / 255)
        assert result.mean == expected.max(1).mean()
        assert result.n == len(maps)


def test_a_centred_gaussian_gives_growing_centred_squares() -> None:
    size, sigma, half = 65, 12.0, 32
    offset = np.arange(size) - half
    heatmap = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * sigma**2))
    found = component_tree_boxes(heatmap)
    # At level t the disc exp(-r^2 / 2 sigma^2) >= low + (t + 1) / 255 (1 - low) is left, low being the corners' value.
    low = heatmap.min()
    level = low + np.arange(1, 256) / 255 * (1 - low)
    radius = np.minimum(np.floor(np.sqrt(-2 * sigma**2 * np.log(level)) + 1e-9), half)
    expected = np.stack([half - radius, half - radius, half + radius + 1, half + radius + 1], 1)
    np.testing.assert_array_equal(found[:255], expected)
    np.testing.assert_array_equal(found[255], np.zeros(4))
    truth = np.array([[half - 10, half - 10, half + 11, half + 11]])
    result = max_box_accuracy([heatmap], [truth], iou=(0.5, 1.0))
    share = np.minimum((2 * radius + 1) / 21, 21 / (2 * radius + 1)) ** 2
    np.testing.assert_array_equal(result.curve[0, :255], share >= 0.5)
    np.testing.assert_array_equal(result.curve[1, :255], radius == 10)
    assert result.best_thresholds[1] == np.argmax(radius == 10) / 255


def test_best_component_counts_where_the_largest_is_elsewhere() -> None:
    heatmap = np.zeros((10, 20), np.uint8)
    heatmap[1:4, 1:4], heatmap[0:9, 10:19] = 200, 100
    truth = [np.array([[1.0, 1.0, 4.0, 4.0]])]
    largest = max_box_accuracy([heatmap], truth, iou=(1.0,)).curve[0]
    best = max_box_accuracy([heatmap], truth, iou=(1.0,), components="best").curve[0]
    np.testing.assert_array_equal(np.flatnonzero(largest), np.arange(100, 200))  # pixels > t: gone at 200 itself
    np.testing.assert_array_equal(np.flatnonzero(best), np.arange(200))


def test_float_maps_are_min_max_normalised_and_cut_to_8_bits() -> None:
    values = np.array([[-2.0, -1.0, 0.0, 2.0]])  # 0, 63.75, 127.5, 255 of 255
    found = component_tree_boxes(values)
    np.testing.assert_array_equal(found[[62, 63, 126, 127, 254], 0], [1, 2, 2, 3, 3])
    np.testing.assert_array_equal(found, component_tree_boxes(values.astype(np.float32) * 3 + 1))
    np.testing.assert_array_equal(found, component_tree_boxes(np.array([[0, 63, 127, 255]], np.uint8)))


@pytest.mark.parametrize("heatmap", [np.zeros((4, 6), np.uint8), np.full((4, 6), 3.5), np.full((4, 6), -1.0)])
def test_a_map_without_contrast_boxes_the_whole_image(heatmap: np.ndarray) -> None:
    np.testing.assert_array_equal(component_tree_boxes(heatmap), np.tile([0, 0, 6, 4], (256, 1)))
    for mode in ("largest", "best"):
        assert max_box_accuracy([heatmap], [[[0, 0, 6, 4]]], components=mode).curve.min() == 1


def test_max_box_accuracy_takes_generators_and_any_memory_layout() -> None:
    rng = np.random.default_rng(1)
    maps = rng.random((3, 12, 15))
    truth = [np.array([[2.0, 2.0, 9.0, 10.0]])] * 3

    def stream() -> Iterator[np.ndarray]:
        yield from maps

    expected = max_box_accuracy(list(maps), truth, components="best")
    found = max_box_accuracy(stream(), iter(truth), components="best")
    fortran = max_box_accuracy([np.asfortranarray(m) for m in maps], truth, components="best")
    np.testing.assert_array_equal(found.curve, expected.curve)
    np.testing.assert_array_equal(fortran.curve, expected.curve)


def test_max_box_accuracy_names_what_does_not_fit() -> None:
    fine, box = np.eye(3), np.array([[0, 0, 2, 2]])
    with pytest.raises(ValueError, match=r"heatmaps\[1\].*NaN"):
        max_box_accuracy([fine, fine * np.nan], [box, box])
    with pytest.raises(ValueError, match=r"heatmaps\[0\], gt_boxes\[0\]: .*\(3,\)"):
        max_box_accuracy([fine[0]], [box])
    with pytest.raises(ValueError, match=r"gt_boxes\[0\]: gt_boxes has shape \(0, 4\)"):
        max_box_accuracy([fine], [np.zeros((0, 4))])
    with pytest.raises(ValueError, match="heatmaps end after 1"):
        max_box_accuracy([fine], [box, box])
    with pytest.raises(ValueError, match="gt_boxes end after 1"):
        max_box_accuracy(iter([fine, fine]), [box])
    with pytest.raises(ValueError, match="empty"):
        max_box_accuracy([], [])
    with pytest.raises(ValueError, match="components is 'all'"):
        max_box_accuracy([fine], [box], components="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="iou is"):
        max_box_accuracy([fine], [box], iou=(0.0,))


def test_the_library_imports_where_no_cache_can_be_written(tmp_path: Path) -> None:
    package = tmp_path / "camlib"
    package.mkdir()
    for module in ("__init__.py", "boxes.py", "stats.py"):
        (package / module).write_text((Path(boxes.__file__).parent / module).read_text())
    for room in ("metrics", "_kernels"):
        shutil.copytree(Path(boxes.__file__).parent / room, package / room, ignore=lambda *_: ["__pycache__"])
        (package / room / "__pycache__").write_text("a file where the folder would be")
    (tmp_path / "home").write_text("likewise")
    code = "import camlib.metrics, camlib.boxes; print(camlib.boxes.__file__)"
    environment = {
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(tmp_path),
    }
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(package / "boxes.py")


# --------------------------------------------------------------------------------------------------- extent


def test_map_extent_by_hand() -> None:
    heatmap = np.zeros((6, 8))
    heatmap[0:2, 0:2] = 1  # 4 pixels, one of them in the box
    heatmap[2:4, 4:6] = 1  # 4 pixels in the box
    extent = map_extent(heatmap, [[1, 1, 6, 4]], 0.2)  # 15 pixels
    assert extent == (5 / 15, 5 / 8, 2)
    assert map_extent(heatmap, [[0, 0, 2, 2], [1, 0, 4, 2]]) == (4 / 8, 4 / 8, 2)  # a union: 8 pixels, not 10
    assert map_extent(-heatmap, [[0, 0, 8, 3]]) == (1, 0.5, 1)  # no evidence: the whole image
    assert map_extent(heatmap, [[0.5, 0.5, 1.6, 1.5]]).coverage == 1  # centres 0.5 and 1.5 in x, 0.5 in y
    with pytest.raises(ValueError, match="no pixel"):
        map_extent(heatmap, [[20, 20, 30, 30]])
    with pytest.raises(ValueError, match="NaN"):
        map_extent(heatmap * np.nan, [[0, 0, 1, 1]])


# --------------------------------------------------------------------------------------------------- shares of regions

maps_and_masks = st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(arrays(np.int8, shape), arrays(bool, shape))
)


def test_share_of_a_hand_made_map():
    heatmap = np.array([[4.0, -9.0, 0.0], [3.0, 1.0, 0.0]])
    mask = np.array([[True, True, False], [False, True, False]])
    assert metrics.region_share(heatmap, mask)[:2] == (5 / 8, 1.0)  # the negative pixel counts as nothing
    assert metrics.region_share(heatmap, ~mask)[:2] == (3 / 8, 0.0)


def test_pixels_that_share_the_maximum_share_the_peak():
    heatmap = np.array([[2.0, 0.0, 2.0, 2.0]])
    assert metrics.region_share(heatmap, np.array([[True, True, False, False]])).peak == pytest.approx(1 / 3)


@pytest.mark.parametrize("value", [0.0, -3.0, 7.0])
def test_a_map_without_evidence_gives_the_share_of_the_area(value):
    mask = np.zeros((4, 5), bool)
    mask[1:3, 0:3] = True  # 6 of 20
    assert metrics.region_share(np.full((4, 5), value), mask) == pytest.approx((0.3, 0.3, 0.3, 1.0))


@given(maps_and_masks)
def test_a_region_and_its_complement_share_the_map(pair):
    heatmap, mask = pair
    inside, outside = metrics.region_share(heatmap, mask), metrics.region_share(heatmap, ~mask)
    assert inside.mass + outside.mass == pytest.approx(1)
    assert inside.peak + outside.peak == pytest.approx(1)
    assert metrics.region_share(2.5 * heatmap, mask) == pytest.approx(inside, nan_ok=True)
    assert metrics.region_share(heatmap[:, ::-1], mask[:, ::-1]) == pytest.approx(inside, nan_ok=True)


def test_box_mask_counts_pixel_centres_and_joins_boxes():
    mask = metrics.box_mask(np.array([[0.4, 0, 2.5, 1], [2, 0, 4, 2]]), (5, 3))
    assert mask.tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert not metrics.box_mask(np.zeros((0, 4)), (5, 3)).any()


def test_centre_map_is_a_gaussian():
    middle = metrics.box_mask(np.array([[5, 10, 15, 30]]), (20, 40))
    share = metrics.region_share(metrics.centre_map(40, 20), middle)
    # within one deviation of the centre on either side, of a hill that is cut at two
    assert share.mass == pytest.approx((0.6827 / 0.9545) ** 2, abs=0.01)
    assert share.peak == 1
    assert metrics.centre_map(3, 5).argmax() == 7


def test_precision_and_recall_of_high_pixels():
    heatmap = np.array([[10.0, 3.0, 2.0, 0.0]])  # 2.0 is not strictly above 20 % of 10
    mask = np.array([[False, True, True, True]])
    assert metrics.region_share(heatmap, mask)[2:] == (1 / 2, 1 / 3)
    assert metrics.region_share(-heatmap - 1, mask)[2:] == (3 / 4, 1.0)  # no evidence: the whole image
    empty = metrics.region_share(heatmap, np.zeros((1, 4), bool))
    assert empty[:3] == (0, 0, 0)
    assert np.isnan(empty.recall)


@given(st.lists(st.tuples(st.floats(-9, 40), st.floats(-9, 40)), min_size=3, max_size=3), st.integers(0, 9))
def test_polygon_masks_hold_the_pixels_whose_centres_lie_inside(triangle, seed):
    """Against matplotlib's exact test, but for centres within half a pixel of an edge."""
    mask = metrics.polygon_mask(triangle, (30, 20))
    y, x = np.mgrid[:20, :30] + 0.5
    centres = np.stack([x.ravel(), y.ravel()], 1)
    a, b = np.array(triangle), np.roll(triangle, -1, 0)
    along = ((centres[:, None] - a) * (b - a)).sum(2) / np.maximum(((b - a) ** 2).sum(1), 1e-9)  # (N, 3)
    nearest = a + along.clip(0, 1)[..., None] * (b - a)
    clear = (np.linalg.norm(centres[:, None] - nearest, axis=2) > 0.5).all(1)
    inside = Outline(triangle).contains_points(centres)
    if np.clip(triangle, -1, (31, 21)).tolist() == np.array(triangle).tolist():  # corners far outside are pulled in
        assert np.array_equal(mask.ravel()[clear], inside[clear])


def test_a_point_is_held_by_half_open_boxes():
    boxes = [[1, 1, 3, 3], [5, 5, 6, 6]]
    assert [metrics.holds_point(boxes, p) for p in ((1, 1), (2.9, 2.9), (3, 2), (5.5, 5), (4, 4))] == [1, 1, 0, 1, 0]
    assert not metrics.holds_point(np.zeros((0, 4)), (1, 1))
