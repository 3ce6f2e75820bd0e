"""Feature extraction against a plain forward pass, and the linear SVM on 20,000 x 1,024 features, in one run.

    python benchmarks/features.py [classes] [images]

Extraction: the same network over the same loader, fresh cache each time; the ratio is of the best of 15 runs, in turn.
SVM: time and peak memory of `fit_linear` (up to 4 values of C in 3 folds, then the fit; how many are tried depends on
the data, so a fit at each C stands beside it), and of one LinearSVC for scale.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.svm import LinearSVC

from camlib import datasets, evaluate, features
from camlib.models import build_model
from camlib.transforms import centre_crop, get_preset, iterate_batches, normalize_images, pick_device


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def extraction() -> None:
    preset, images = get_preset("imagenet"), datasets.load("synthetic-objects", n=64)
    net, device = build_model("squeezenet1_1").eval(), pick_device()

    def plain() -> None:
        net.to(device)
        with torch.no_grad():
            for _, batch in iterate_batches(images, preset, 64):
                net(normalize_images(centre_crop(batch, preset.crop).to(device), preset)).cpu()

    def extract() -> None:
        with tempfile.TemporaryDirectory() as folder:
            evaluate.cache_dir = lambda: Path(folder)
            features.extract_features(net, images, preset)

    plain()  # fills the loader's own cache
    times = np.array([(seconds(plain), seconds(extract)) for _ in range(15)]).min(0)
    print(f"{len(images)} images of 224 px, {device.type}: plain forward {times[0]:.2f} s, ", end="")
    print(f"extract_features {times[1]:.2f} s: x{times[1] / times[0]:.3f} (asked: at most x1.05)")


def svm(classes: int, n: int) -> None:
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % classes)
    latent = 0.6 * rng.normal(size=(classes, 100))[y] + rng.normal(size=(n, 100))  # a falling spectrum, as of real ones
    x = (latent @ rng.normal(size=(100, 1024)) * 0.15).astype(np.float32)
    for part in np.array_split(np.arange(n), max(1, n // 5000)):
        x[part] = np.maximum(x[part] + 0.7 * rng.normal(size=(len(part), 1024)) - 0.3, 0)
    start, cpu = time.perf_counter(), time.process_time()
    found = features.fit_linear(x, y)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"SVM, {n:,} x 1,024, {classes} classes: {wall:.0f} s ({cpu:.0f} s of processor time), C = {found.c:g}, ",
        end="",
    )
    alone = [seconds(lambda c=c: features.fit_linear(x, y, candidates=[c])) for c in features.CANDIDATES]
    slowest = ", ".join(f"{c:g}: {s:.0f} s" for c, s in zip(features.CANDIDATES, alone, strict=True))
    print(f"a fit at each C {slowest}; ", end="")
    print(f"peak memory of the process {peak:.1f} GiB (asked: 2 minutes for 20,000; 6 GiB for 100,000)")
    if n <= 20_000:
        scaled = (x - x.mean(0)) / x.std(0)
        one = seconds(lambda: LinearSVC(C=found.c, dual="auto", tol=1e-3).fit(scaled, y == 0))
        print(
            f"  one class of scikit-learn's LinearSVC at that C: {one:.1f} s, so {classes * one:.0f} s for a single fit"
        )


if __name__ == "__main__":
    extraction()
    svm(*[int(a) for a in (sys.argv[1:] + ["397", "20000"][len(sys.argv) - 1 :])])
