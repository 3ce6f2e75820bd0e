"""The linear SVM of notebooks 03 to 08 on drawn features, beside one fit of scikit-learn's LinearSVC, in one run.

    python benchmarks/svm.py [classes] [images]

`fit_linear` tries up to 4 values of C in 3 folds and fits; how many are tried depends on the data.
"""

import os
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
from sklearn.svm import LinearSVC

from camlib import features


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def main(classes: int = 40, n: int = 8000) -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % classes)
    latent = 0.6 * rng.normal(size=(classes, 100))[y] + rng.normal(size=(n, 100))  # a falling spectrum, as of real ones
    x = (latent @ rng.normal(size=(100, 1024)) * 0.15).astype(np.float32)
    for part in np.array_split(np.arange(n), max(1, n // 5000)):
        x[part] = np.maximum(x[part] + 0.7 * rng.normal(size=(len(part), 1024)) - 0.3, 0)
    start = time.perf_counter()
    found = features.fit_linear(x, y)
    chosen = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    scaled = (x - x.mean(0)) / x.std(0)
    one = classes * seconds(lambda: LinearSVC(C=found.c, dual="auto", tol=1e-3).fit(scaled, y == 0))
    print("## The linear SVM\n")
    print(f"{os.cpu_count()} cores; {n:,} features of length 1,024, {classes} classes; peak memory {peak:.1f} GiB\n")
    print("| work | way | against | ratio of times |\n| --- | --- | --- | --- |")
    print(f"| choosing C and fitting | camlib | one fit of LinearSVC, class by class | {chosen / one:.2f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
