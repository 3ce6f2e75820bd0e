"""MaxBoxAcc in one sweep per map against thresholding again and again, in one run on one core.

    python benchmarks/max_box_accuracy.py [maps]

Prints milliseconds per map and the ratio to the peer: 1,000 thresholds x (cv2.threshold + cv2.findContours), the loop
of the reference implementation of Choe et al. without its boxes and IoUs. Real heat maps (resized to 224x224) join the
smooth random ones if CAMLIB_DATA holds `release-boxes`.
"""

import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from camlib.boxes import threshold_boxes
from camlib.metrics import max_box_accuracy

Maps = list[NDArray[np.uint8]]
SIDE = 224


def smooth_maps(n: int, seed: int = 0) -> Maps:
    """Random 14x14 maps, upsampled as a CAM is, at 8 bits."""
    rng = np.random.default_rng(seed)
    maps = [cv2.resize(rng.random((14, 14)), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for _ in range(n)]
    return [np.uint8((m - m.min()) / (m.max() - m.min()) * 255) for m in maps]


def real_maps(n: int) -> Maps:
    """The first n of the released program's heat maps, or none."""
    root = Path(__file__).resolve().parents[1] / os.environ.get("CAMLIB_DATA", "data/raw") / "release-boxes"
    paths = sorted(root.glob("*.png"))[:n]
    return [cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (SIDE, SIDE)) for path in paths]


def contours_again_and_again(heatmap: NDArray[np.uint8], thresholds: int = 1000) -> None:
    for fraction in np.arange(thresholds) / thresholds:
        _, mask = cv2.threshold(heatmap, int(fraction * heatmap.max()), 255, cv2.THRESH_BINARY)
        cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)


def main(n: int = 20) -> None:
    cv2.setNumThreads(1)
    truth = np.array([[50.0, 40.0, 180.0, 170.0], [10.0, 10.0, 90.0, 120.0]])
    fractions = np.linspace(0.05, 0.6, 56)
    for what, maps in (("smooth random maps", smooth_maps(n)), ("real heat maps", real_maps(n))):
        if not maps:
            print(f"{what}: none (CAMLIB_DATA holds no release-boxes)")
            continue
        boxes = [truth] * len(maps)
        jobs = {
            "peer: 1,000 x (threshold + findContours)": lambda: [contours_again_and_again(m) for m in maps],  # noqa: B023
            "max_box_accuracy, largest": lambda: max_box_accuracy(maps, boxes),  # noqa: B023
            "max_box_accuracy, best": lambda: max_box_accuracy(maps, boxes, components="best"),  # noqa: B023
            "threshold_boxes, 56 thresholds": lambda: [threshold_boxes(m, fractions) for m in maps],  # noqa: B023
        }
        print(f"{what}: {len(maps)} of {SIDE}x{SIDE}, ms per map (best of 3 runs), speed against the peer")
        peer = 0.0
        for name, job in jobs.items():
            times = []
            for _ in range(3):  # the first run may compile
                start = time.perf_counter()
                job()
                times.append((time.perf_counter() - start) / len(maps) * 1e3)
            peer = peer or min(times)
            print(f"  {name:42s} {min(times):8.2f} ms   x{peer / min(times):.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
