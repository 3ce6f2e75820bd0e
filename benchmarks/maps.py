"""Boxes and measures of maps, beside OpenCV, torchvision and the thresholds of Choe et al., on one core.

    python benchmarks/maps.py

See ratios.py for how two ways are compared.
"""

import cv2
import numpy as np
import torch
from ratios import SIZE, box_by_opencv, compare, enlarge
from torchvision.ops import box_iou

from camlib.boxes import box_enlarged_maps, released_boxes, threshold_boxes
from camlib.metrics import localization_errors, map_extent, max_box_accuracy, sweep_hits

MAPS, THRESHOLDS = 20, np.linspace(0, 0.6, 61)


def compare_errors(count: int = 5000) -> None:
    """Top-5 localization error, as ILSVRC's devkit counts it."""
    rng = np.random.default_rng(0)
    corners = [rng.integers(0, 200, (n, 2)) for n in rng.integers(1, 4, count)]
    truth = [np.concatenate([c, c + rng.integers(50, 200, c.shape)], 1).astype(float) for c in corners]
    guess = np.stack([true[0] for true in truth])[:, None] + rng.integers(-40, 41, (count, 5, 4))
    boxes = np.concatenate([guess[..., :2], np.maximum(guess[..., 2:], guess[..., :2] + 1)], -1)
    classes, labels = rng.integers(0, 5, (count, 5)), rng.integers(0, 5, count)
    tensors = [torch.from_numpy(true) for true in truth]
    found = []

    def one_by_one() -> None:
        overlaps = (box_iou(torch.from_numpy(five), true) for five, true in zip(boxes, tensors, strict=True))
        right = [(((iou >= 0.5).any(1).numpy()) & (classes[i] == labels[i])).any() for i, iou in enumerate(overlaps)]
        found.append(1 - np.mean(right))

    def at_once() -> None:
        found.append(localization_errors(classes, boxes, labels, truth).loc[4])

    compare(f"errors of {count:,} images", {"camlib": at_once, "torchvision's box_iou, image by image": one_by_one})
    assert np.allclose(found, found[0])


def compare_maps() -> None:
    """Boxes at one threshold and at many, by the released rule, and what Choe et al. measure of a map."""
    rng = np.random.default_rng(0)
    small = cv2.GaussianBlur(rng.random((14, 14, MAPS)), (5, 5), 1).transpose(2, 0, 1).astype(np.float32).copy()
    enlarged = [enlarge(m) for m in small]
    bytes_ = [np.uint8(255 * (m - m.min()) / (m.max() - m.min())) for m in enlarged]
    truth = np.array([[50.0, 40.0, 380.0, 270.0], [10.0, 10.0, 90.0, 120.0]])

    def measure_once() -> None:
        for m in bytes_:
            sweep_hits(m, truth, (0.3, 0.5, 0.7))
            map_extent(m, truth)

    def measure_thrice() -> None:
        max_box_accuracy(bytes_, [truth] * MAPS, (0.5,))
        max_box_accuracy(bytes_, [truth] * MAPS, components="best")
        for m in bytes_:
            map_extent(m, truth)

    def threshold_again_and_again() -> None:
        for m in bytes_:
            for fraction in np.arange(1000) / 1000:
                mask = cv2.threshold(m, int(fraction * m.max()), 255, cv2.THRESH_BINARY)[1]
                cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)

    compare(
        "a box at 20 % of a map at image size",
        {
            "camlib": lambda: box_enlarged_maps(small, SIZE, [0.2]),
            "OpenCV": lambda: [box_by_opencv(enlarge(m)) for m in small],
        },
    )
    compare(
        "boxes at 61 thresholds",
        {
            "camlib": lambda: box_enlarged_maps(small, SIZE, THRESHOLDS),
            "camlib, every pixel": lambda: [threshold_boxes(enlarge(m), THRESHOLDS) for m in small],
            "OpenCV": lambda: [box_by_opencv(m, t) for m in map(enlarge, small) for t in THRESHOLDS],
        },
    )
    compare(
        "MaxBoxAcc, MaxBoxAccV2 and extent",
        {
            "camlib, one sweep": measure_once,
            "camlib, three passes": measure_thrice,
            "1,000 x (threshold, findContours)": threshold_again_and_again,
        },
    )
    compare(
        "boxes by the released rule",
        {
            "camlib": lambda: [released_boxes(m) for m in bytes_],
            "OpenCV's exact distance transforms alone": lambda: [
                cv2.distanceTransform(np.uint8(m > t), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
                for m in bytes_
                for t in (20, 100, 110)
            ],
        },
    )


if __name__ == "__main__":
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print(f"## Maps against peers\n\n{MAPS} maps of {SIZE[0]}x{SIZE[1]} px\n")
    print("| work | way | against | ratio of times |\n| --- | --- | --- | --- |")
    compare_maps()
    compare_errors()
