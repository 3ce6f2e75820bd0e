"""The same work by an older commit and by this code, in turn: how much faster it became, as one Markdown table.

    python benchmarks/since.py [commit] [images]

Every job runs in a process of its own, with the older code from a worktree of git. The ratio is of the medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
COMMIT, TURNS, REPEATS, MAPS, LISTED = "b69b6c3", 3, 3, 20, 5000
SIZE = (500, 375)
Job = Callable[[], object]


def prepare(folder: Path, count: int) -> None:
    """ILSVRC's tree in Kaggle's layout: photographs (smooth random JPEGs), and many more annotations of tiny files."""
    rng = np.random.default_rng(0)
    for part, number in (("photographs", count), ("listed", LISTED)):
        images, notes = (folder / part / "ILSVRC" / f"{kind}/CLS-LOC/val" for kind in ("Data", "Annotations"))
        for place in (images, notes):
            place.mkdir(parents=True)
        wnids = [f"n{i:08d}" for i in range(1000)]
        (folder / part / "LOC_synset_mapping.txt").write_text("".join(f"{w} {w}\n" for w in wnids))
        for i in range(number):
            name = f"ILSVRC2012_val_{i + 1:08d}"
            if part == "photographs":
                coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
                coarse.resize(SIZE, Image.Resampling.BICUBIC).save(images / f"{name}.JPEG", quality=90)
            else:
                (images / f"{name}.JPEG").write_bytes(b"")
            box = "<xmin>50</xmin><ymin>40</ymin><xmax>380</xmax><ymax>270</ymax>"
            (notes / f"{name}.xml").write_text(
                f"<annotation><size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size><object>"
                f"<name>{wnids[i % 1000]}</name><bndbox>{box}</bndbox></object></annotation>"
            )


def list_jobs(folder: Path) -> dict[str, Job]:
    """The work, through names that both commits have."""
    from camlib import boxes, datasets, evaluate, metrics, transforms
    from camlib.models import build_model

    for module in (evaluate, getattr(evaluate, "single", None), getattr(evaluate, "released", None)):
        if module is not None:  # nothing is kept between repeats
            module.run_sharded = lambda label, key, n, compute, *_, **__: compute(np.arange(n))
    transforms.CACHE_LIMIT_BYTES = transforms.CACHE_SHARE = 0  # decode every time
    getattr(transforms, "squashed", SimpleNamespace()).CACHE_SHARE = 0
    torch.manual_seed(0)
    photographs = datasets.load("ilsvrc2012", folder / "photographs", "val")
    listed = datasets.load("ilsvrc2012", folder / "listed", "val")
    net, preset = build_model("resnet18").eval(), transforms.get_preset("imagenet")
    small = cv2.GaussianBlur(np.random.default_rng(0).random((14, 14, MAPS)), (5, 5), 1)
    small = small.transpose(2, 0, 1).astype(np.float32).copy()
    maps, truth = [cv2.resize(m, SIZE) for m in small], np.array([[50.0, 40.0, 380.0, 270.0]])
    fractions = np.linspace(0, 0.6, 61)

    def box_maps() -> None:
        if hasattr(boxes, "box_enlarged_maps"):
            boxes.box_enlarged_maps(small, SIZE, fractions)
        else:
            for m in small:
                metrics.threshold_boxes(cv2.resize(m, SIZE), fractions)

    def measure_maps() -> None:
        def measure(m: np.ndarray) -> None:
            metrics.sweep_hits(m, truth, (0.3, 0.5, 0.7))
            metrics.map_extent(m, truth)

        if hasattr(metrics, "sweep_hits"):
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # as `evaluate.measure_maps` does; then it was one core
                list(pool.map(measure, maps))
        else:
            metrics.max_box_accuracy(maps, [truth] * MAPS, iou=(0.5,))
            metrics.max_box_accuracy(maps, [truth] * MAPS, components="best")
            for m in maps:
                metrics.map_extent(m, truth)

    return {
        "files to boxes of the 5 best classes": lambda: evaluate.localize(net, photographs, preset),
        "files to boxes by ten crops": lambda: evaluate.localize_released(net, photographs, preset),
        f"{MAPS} maps of 500x375 at 61 thresholds": box_maps,
        f"MaxBoxAcc, MaxBoxAccV2 and extent of {MAPS} maps, all cores": measure_maps,
        f"{LISTED:,} annotations read again": lambda: datasets.load("ilsvrc2012", folder / "listed", "val"),
        f"fingerprint of {LISTED:,} files again": lambda: listed.fingerprint,
    }


def time_jobs(folder: Path) -> None:
    """Print seconds per repeat of every job, as JSON."""
    cv2.setNumThreads(1)
    found: dict[str, list[float]] = {}
    for name, job in list_jobs(folder).items():
        job()  # compiles and fills caches
        for _ in range(REPEATS):
            started = time.perf_counter()
            job()
            found.setdefault(name, []).append(time.perf_counter() - started)
    print(json.dumps(found))


def run(code: Path, folder: Path, cache: str) -> dict[str, list[float]]:
    command = [sys.executable, __file__, "--jobs", str(folder)]
    variables = {**os.environ, "PYTHONPATH": str(code), "CAMLIB_CACHE": cache}
    made = subprocess.run(command, env=variables, cwd=code, check=True, stdout=subprocess.PIPE)
    return json.loads(made.stdout.splitlines()[-1])


def main(commit: str = COMMIT, count: int = 48) -> None:
    """Print the table."""
    seconds: dict[str, dict[str, list[float]]] = {"old": {}, "new": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder, old = Path(temporary), Path(temporary) / "old"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(old), commit], cwd=ROOT, check=True)
        try:
            prepare(folder, count)
            for _ in range(TURNS):
                for side, code in (("old", old), ("new", ROOT)):
                    for name, found in run(code, folder, str(folder / f"cache-{side}")).items():
                        seconds[side].setdefault(name, []).extend(found)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(old)], cwd=ROOT, check=True)
    print("## Against the first version\n")
    print(f"{os.cpu_count()} cores, {count} photographs; time of this code as a share of commit {commit}'s\n")
    print("| work | now / then | then, s | now, s |\n| --- | --- | --- | --- |")
    for name, before in seconds["old"].items():
        then, now = statistics.median(before), statistics.median(seconds["new"][name])
        print(f"| {name} | {now / then:.2f} | {then:.3g} | {now:.3g} |", flush=True)


if __name__ == "__main__":
    arguments: list[Any] = sys.argv[1:]
    if arguments[:1] == ["--jobs"]:
        time_jobs(Path(arguments[1]))
    else:
        main(*arguments[:1], *map(int, arguments[1:2]))
