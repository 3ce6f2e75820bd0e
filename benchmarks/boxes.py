"""Both box rules on one core, against scipy doing the same, in one run.

    python benchmarks/boxes.py

Prints milliseconds per 500x375 map and ratios, the number of maps on which the boxes agree with the peer's, and, if
CAMLIB_DATA holds `release-boxes`, on how many real heat maps the released rule returns the released program's boxes.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from camlib.boxes import Boxes, largest_component_box, released_boxes

SIZE = (500, 375)  # width, height


def scipy_box(heatmap: NDArray[np.float64], threshold: float = 0.2) -> list[int]:
    labels, _ = ndimage.label(heatmap > threshold * heatmap.max(), structure=np.ones((3, 3)))
    rows, columns = ndimage.find_objects(labels)[np.bincount(labels.ravel())[1:].argmax()]
    return [columns.start, rows.start, columns.stop, rows.stop]


def scipy_distances(heatmap: NDArray[np.uint8]) -> None:
    """Only the distance transforms, the most of the released rule's work."""
    for threshold in (20, 100, 110):
        ndimage.distance_transform_edt(heatmap > threshold)


def milliseconds(job: Callable[[Any], Any], maps: list[Any]) -> float:
    """Per map, the best of 5 runs over all maps (the first may compile)."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for heatmap in maps:
            job(heatmap)
        times.append(time.perf_counter() - start)
    return min(times) / len(maps) * 1e3


def real_maps(folder: Path) -> tuple[list[NDArray[np.uint8]], list[list[list[int]]]]:
    recorded = json.loads((folder / "boxes.json").read_text()) if folder.is_dir() else {}
    return [cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE) for name in recorded], list(recorded.values())


def as_sizes(boxes: Boxes) -> list[list[float]]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()


def main() -> None:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    maps = [cv2.resize(rng.random((14, 14)), SIZE, interpolation=cv2.INTER_LINEAR) for _ in range(20)]
    real, expected = real_maps(
        Path(__file__).resolve().parents[1] / os.environ.get("CAMLIB_DATA", "data/raw") / "release-boxes"
    )
    for what, bytes_ in (
        ("smooth random maps", [np.uint8(m / m.max() * 255) for m in maps]),
        ("real heat maps", [cv2.resize(m, SIZE) for m in real]),
    ):
        if not bytes_:
            print(f"{what}: none (CAMLIB_DATA holds no release-boxes)")
            continue
        floats = [m / 255.0 for m in bytes_]
        text, text_peer = milliseconds(largest_component_box, floats), milliseconds(scipy_box, floats)
        same = sum(largest_component_box(m).tolist() == scipy_box(m) for m in floats)
        print(f"{what}: {len(bytes_)} of {SIZE[0]}x{SIZE[1]}, ms per map")
        print(f"  text rule      {text:6.2f}   scipy {text_peer:6.2f}: x{text_peer / text:.1f}; {same} boxes equal")
        rule, rule_peer = milliseconds(released_boxes, bytes_), milliseconds(scipy_distances, bytes_)
        ratio = rule_peer / rule
        print(f"  released rule  {rule:6.2f}   scipy's distance transforms alone {rule_peer:6.2f}: x{ratio:.1f}")
    if real:
        found = [as_sizes(released_boxes(m)) for m in real]
        first = sum(f[:2] == e[:2] for f, e in zip(found, expected, strict=True))
        whole = sum(f == e for f, e in zip(found, expected, strict=True))
        print(f"released program, {len(real)} real maps: first two boxes equal on {first}, whole list on {whole}")


if __name__ == "__main__":
    main()
