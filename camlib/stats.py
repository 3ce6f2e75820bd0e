"""Intervals and paired comparisons, and what they allow to say."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, t


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


class Effect(NamedTuple):
    """A mean or a difference, its standard error, and the degrees of freedom of the t distribution behind it."""

    estimate: float
    se: float
    df: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval that covers the truth with this probability."""
        half = float(t.ppf((1 + level) / 2, self.df)) * self.se
        return self.estimate - half, self.estimate + half

    def p_differs(self) -> float:
        """p of "the truth is 0", two-sided."""
        return min(1.0, 2 * min(self._p_above(0.0), self._p_below(0.0)))

    def p_within(self, low: float, high: float) -> float:
        """p of "the truth is not inside low..high": the larger p of two one-sided tests."""
        return max(self._p_above(low), self._p_below(high))

    def p_outside(self, low: float, high: float) -> float:
        """p of "the truth is inside low..high", two-sided."""
        return min(1.0, 2 * min(self._p_above(high), self._p_below(low)))

    def _p_above(self, bound: float) -> float:
        """p of "the truth is at most `bound`", one-sided."""
        if self.se == 0:  # no variation at all: right or wrong everywhere alike
            return float(self.estimate <= bound)
        return float(t.sf((self.estimate - bound) / self.se, self.df))

    def _p_below(self, bound: float) -> float:
        return Effect(-self.estimate, self.se, self.df)._p_above(-bound)


def measure_effect(values: ArrayLike) -> Effect:
    """The mean of values (N,) over images, or (S, N) over seeds and images, with its standard error.

    (S, N), S > 1: seeds and images are both samples. Two-way analysis of variance without replication gives the
    components of the mean's variance, s_seed^2 / S + s_image^2 / N + s_rest^2 / (S N), a negative one taken as 0;
    Satterthwaite's formula gives the degrees of freedom. One seed says nothing about others: the error is over images.
    Raises ValueError for fewer than two images, another number of axes, or values that are not finite.
    """
    v = np.asarray(values, dtype=np.float64)
    if v.ndim not in (1, 2) or v.size == 0 or v.shape[-1] < 2 or not np.isfinite(v).all():
        raise ValueError(f"values have shape {v.shape}; expected (N,) or (S, N), N > 1, finite")
    if v.ndim == 1 or len(v) == 1:
        n = v.shape[-1]
        return Effect(float(v.mean()), float(v.std(ddof=1) / np.sqrt(n)), n - 1)
    s, n = v.shape
    seeds, images = v.mean(1, keepdims=True), v.mean(0, keepdims=True)
    rest = v - seeds - images + v.mean()
    # Mean squares and their degrees of freedom.
    ms = {
        "seed": (n * float(seeds.var(ddof=1)), s - 1),
        "image": (s * float(images.var(ddof=1)), n - 1),
        "rest": (float((rest**2).sum()) / ((s - 1) * (n - 1)), (s - 1) * (n - 1)),
    }
    above = [name for name in ("seed", "image") if ms[name][0] > ms["rest"][0]]
    signs = dict.fromkeys(above, 1) | {"rest": 1 - len(above)}  # seed + image - rest where both components are positive
    total = sum(sign * ms[name][0] for name, sign in signs.items())
    spread = sum((sign * ms[name][0]) ** 2 / ms[name][1] for name, sign in signs.items())
    df = total**2 / spread if spread > 0 else float((s - 1) * (n - 1))
    return Effect(float(v.mean()), float(np.sqrt(total / (s * n))), df)


def adjust_holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction for testing several hypotheses: name -> p to be compared with the level itself."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def wilson_interval(right: ArrayLike, level: float = 0.95) -> Interval:
    """A share and its Wilson interval: right (N,) of 0 and 1 -> fractions. ValueError for none, or other values."""
    outcomes = np.asarray(right, dtype=np.float64)
    if outcomes.ndim != 1 or not len(outcomes) or not np.isin(outcomes, (0, 1)).all():
        raise ValueError(f"right has shape {outcomes.shape}; expected (N,), N > 0, of 0 and 1")
    found = binomtest(int(outcomes.sum()), len(outcomes)).proportion_ci(level, method="wilson")
    return Interval(float(outcomes.mean()), float(found.low), float(found.high))


class Comparison(NamedTuple):
    """A paired difference in percentage points, and what its 95 % interval allows to say."""

    verdict: str  # one of the two words of `compare`, or "no difference seen"
    effect: Effect

    @property
    def difference(self) -> float:
        """First - second."""
        return self.effect.estimate

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.effect.interval()[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.effect.interval()[1]

    def describe(self) -> str:
        """ "better by 3.1 points [1.0, 5.2]", and so on."""
        if self.verdict == "no difference seen":
            return f"no difference seen, {self.difference:+.1f} points [{self.low:+.1f}, {self.high:+.1f}]"
        low, high = sorted((abs(self.low), abs(self.high)))
        return f"{self.verdict} by {abs(self.difference):.1f} points [{low:.1f}, {high:.1f}]"


def compare(values: ArrayLike, other: ArrayLike, words: tuple[str, str] = ("better", "worse")) -> Comparison:
    """Which of two methods has the higher share on the same images: vectors (N,) of right or wrong or shares, paired.

    words: what a difference above 0 is called, and one below. The interval is Student's, over the images' differences.
    Raises ValueError for vectors of unequal length, or not finite.
    """
    first, second = np.asarray(values, np.float64), np.asarray(other, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"values have shapes {first.shape} and {second.shape}; paired needs the same (N,)")
    effect = measure_effect(100 * (first - second))
    low, high = effect.interval()
    verdict = words[0] if low > 0 else words[1] if high < 0 else "no difference seen"
    return Comparison(verdict, effect)


class SeedComparison(NamedTuple):
    """Two methods over S paired seeds and the same N images, in the unit of the values. Lower is better for errors."""

    methods: tuple[Effect, Effect]  # the mean of each, over seeds and images
    effect: Effect  # first - second
    seed_differences: tuple[float, ...]  # one per seed

    def describe(self, first: str, second: str) -> dict[str, str]:
        """The row of a table, as text."""
        texts = [f"{one.estimate:.1f} [{one.interval()[0]:.1f}, {one.interval()[1]:.1f}]" for one in self.methods]
        low, high = self.effect.interval()
        seeds = ", ".join(f"{d:+.1f}" for d in self.seed_differences)
        difference = f"{self.effect.estimate:+.1f} [{low:+.1f}, {high:+.1f}]"
        return {first: texts[0], second: texts[1], f"{first} - {second}": difference, "by seed": seeds}

    def sentence(self, error: str, first: str, second: str) -> str:
        """What the interval allows to say of an error in %: better, worse, or no difference seen."""
        found = self.effect
        low, high = found.interval()
        verdict = f"{first} better by" if high < 0 else f"{first} worse by" if low > 0 else "no difference seen,"
        size = abs(found.estimate) if high < 0 or low > 0 else found.estimate
        ends = (-high, -low) if high < 0 else (low, high)
        agree = sum(d * found.estimate > 0 for d in self.seed_differences)
        return (
            f"{error[0].upper()}{error[1:]}: {verdict} {size:.1f} points [{ends[0]:.1f}, {ends[1]:.1f}] "
            f"({agree} of {len(self.seed_differences)} seeds with that sign)."
        )


def compare_seeds(first: ArrayLike, second: ArrayLike) -> SeedComparison:
    """Compare two methods over paired seeds: values (S, N) of S seeds on the same N images, in the unit to report.

    Intervals are of other seeds and other images: see `measure_effect`. Raises ValueError unless both are (S, N),
    finite.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"values have shapes {a.shape} and {b.shape}; expected the same (seeds, images)")
    differences = tuple(float(d) for d in (a - b).mean(1))
    return SeedComparison((measure_effect(a), measure_effect(b)), measure_effect(a - b), differences)
