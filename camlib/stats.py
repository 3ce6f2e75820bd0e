"""Intervals and paired comparisons, and what they allow to say."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Interval(NamedTuple):
    """An estimate and its interval."""

    estimate: float
    low: float
    high: float


def _resampled_means(values: NDArray[np.float64], n_resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of `n_resamples` draws of N of the values (N,) with replacement, in bounded memory."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= 16:  # right / wrong and their differences: draw how often each value occurs instead
        return rng.multinomial(len(values), counts / len(values), size=n_resamples) @ distinct / len(values)
    rows = max(1, 2_000_000 // len(values))
    sizes = [min(rows, n_resamples - done) for done in range(0, n_resamples, rows)]
    return np.concatenate([values[rng.integers(len(values), size=(size, len(values)))].mean(1) for size in sizes])


def bootstrap_interval(
    values: ArrayLike,
    other: ArrayLike | None = None,
    *,
    paired: bool = True,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval over images: of the mean of values (N,), or of how far it exceeds other's.

    values, other: one number or bool per image. paired: `other` (N,) is about the same images, which are drawn
    together; else the two samples are independent and may differ in number.
    -> (estimate, low, high); the same seed gives the same interval. Raises ValueError for empty input, NaN, unequal
    lengths when paired, or a level outside (0, 1).

        bootstrap_interval(gap_right, gmp_right)  # GAP - GMP on the same images
    """
    samples = [np.asarray(sample, dtype=np.float64) for sample in (values, other) if sample is not None]
    for what, sample in zip(("values", "other"), samples, strict=False):
        if sample.ndim != 1 or not len(sample) or not np.isfinite(sample).all():
            raise ValueError(f"{what} have shape {sample.shape}; expected (N,), N > 0, finite")
    if not 0 < level < 1 or n_resamples < 1:
        raise ValueError(f"level is {level}, n_resamples {n_resamples}; expected 0 < level < 1, n_resamples >= 1")
    if paired and len(samples) == 2:
        if len(samples[0]) != len(samples[1]):
            raise ValueError(
                f"values have {len(samples[0])} images, other {len(samples[1])}; paired needs as many of both"
            )
        samples = [samples[0] - samples[1]]
    rng = np.random.default_rng(seed)
    means = _resampled_means(samples[0], n_resamples, rng)
    estimate = samples[0].mean()
    if len(samples) == 2:
        means = means - _resampled_means(samples[1], n_resamples, rng)
        estimate = estimate - samples[1].mean()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(estimate), float(low), float(high))


def bootstrap_curve(values: ArrayLike, seed: int = 0) -> tuple[NDArray[np.float64], tuple[NDArray, NDArray]]:
    """Means of each column of values (N, T) over images -> means (T,), (low (T,), high (T,)) of 95 % intervals."""
    ends = np.array([bootstrap_interval(column, seed=seed) for column in np.asarray(values).T])  # (T, 3)
    return ends[:, 0], (ends[:, 1], ends[:, 2])


class Comparison(NamedTuple):
    """A paired difference in percentage points, and what its 95 % interval allows to say."""

    verdict: str  # one of the two words of `compare`, or "no difference seen"
    difference: float
    low: float
    high: float

    def describe(self) -> str:
        """ "better by 3.1 points [1.0, 5.2]", and so on."""
        if self.verdict == "no difference seen":
            return f"no difference seen, {self.difference:+.1f} points [{self.low:+.1f}, {self.high:+.1f}]"
        low, high = sorted((abs(self.low), abs(self.high)))
        return f"{self.verdict} by {abs(self.difference):.1f} points [{low:.1f}, {high:.1f}]"


def compare(
    values: ArrayLike, other: ArrayLike, seed: int = 0, words: tuple[str, str] = ("better", "worse")
) -> Comparison:
    """Which of two methods has the higher share on the same images: vectors (N,) of right or wrong or shares, paired.

    words: what a difference above 0 is called, and one below.
    """
    difference, low, high = (100 * v for v in bootstrap_interval(values, other, seed=seed))
    verdict = words[0] if low > 0 else words[1] if high < 0 else "no difference seen"
    return Comparison(verdict, difference, low, high)


class SeedComparison(NamedTuple):
    """Two methods over S paired seeds and the same N images, in the unit of the values. Lower is better for errors."""

    means: tuple[float, float]
    intervals: tuple[tuple[float, float], tuple[float, float]]  # 95 %, over images, of the mean over seeds
    difference: float  # first - second
    interval: tuple[float, float]  # 95 %, paired over images, of the mean over seeds
    seed_differences: tuple[float, ...]  # one per seed

    def describe(self, first: str, second: str) -> dict[str, str]:
        """The row of a table, as text."""
        texts = [f"{m:.1f} [{lo:.1f}, {hi:.1f}]" for m, (lo, hi) in zip(self.means, self.intervals, strict=True)]
        difference = f"{self.difference:+.1f} [{self.interval[0]:+.1f}, {self.interval[1]:+.1f}]"
        seeds = ", ".join(f"{d:+.1f}" for d in self.seed_differences)
        return {first: texts[0], second: texts[1], f"{first} - {second}": difference, "by seed": seeds}

    def sentence(self, error: str, first: str, second: str) -> str:
        """The verdict on an error in %, computed from the interval: better, worse, or no difference seen."""
        low, high = self.interval
        verdict = f"{first} better by" if high < 0 else f"{first} worse by" if low > 0 else "no difference seen,"
        size = abs(self.difference) if high < 0 or low > 0 else self.difference
        ends = (-high, -low) if high < 0 else (low, high)
        agree = sum((d < 0) == (self.difference < 0) for d in self.seed_differences)
        return (
            f"{error[0].upper()}{error[1:]}: {verdict} {size:.1f} points [{ends[0]:.1f}, {ends[1]:.1f}] "
            f"({agree} of {len(self.seed_differences)} seeds with that sign)."
        )


def compare_seeds(first: ArrayLike, second: ArrayLike, seed: int = 0) -> SeedComparison:
    """Compare two methods over paired seeds: values (S, N) of S seeds on the same N images, in the unit to report.

    The bootstrap draws images, the same for both methods and all seeds; seeds are shown one by one, not resampled.
    Raises ValueError unless both are (S, N), finite.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"values have shapes {a.shape} and {b.shape}; expected the same (seeds, images)")
    mean_a, mean_b = (bootstrap_interval(v.mean(0), seed=seed) for v in (a, b))
    difference = bootstrap_interval(a.mean(0), b.mean(0), seed=seed)
    return SeedComparison(
        (mean_a.estimate, mean_b.estimate),
        ((mean_a.low, mean_a.high), (mean_b.low, mean_b.high)),
        difference.estimate,
        (difference.low, difference.high),
        tuple(float(d) for d in (a - b).mean(1)),
    )
