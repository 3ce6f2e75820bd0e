"""Intervals and comparisons against closed forms and simulated truths."""

from collections.abc import Callable

import numpy as np
import pytest

from camlib import stats
from camlib.stats import bootstrap_interval


@pytest.mark.parametrize("draw", [lambda rng: rng.random(400) < 0.3, lambda rng: rng.normal(2, 3, 400)])
def test_interval_agrees_with_the_normal_approximation(draw: Callable[[np.random.Generator], np.ndarray]) -> None:
    values = draw(np.random.default_rng(0))
    for level, z in ((0.95, 1.96), (0.5, 0.6745)):
        estimate, low, high = bootstrap_interval(values, level=level, n_resamples=20_000)
        half = z * values.std() / np.sqrt(len(values))
        assert estimate == values.mean()
        assert low == pytest.approx(estimate - half, abs=0.08 * half)
        assert high == pytest.approx(estimate + half, abs=0.08 * half)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = rng.random((400, 200)) < 0.4
    intervals = [bootstrap_interval(sample, level=0.9, n_resamples=500, seed=i) for i, sample in enumerate(samples)]
    covered = np.mean([low <= 0.4 <= high for _, low, high in intervals])
    assert 0.85 < covered < 0.95


def test_paired_intervals_are_narrower_on_correlated_data() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(1000)
    a, b = hard < 0.50, hard < 0.46  # the same images are right
    paired, unpaired = bootstrap_interval(a, b), bootstrap_interval(a, b, paired=False)
    assert paired.estimate == pytest.approx(unpaired.estimate)
    assert paired.estimate == pytest.approx(a.mean() - b.mean())
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)
    assert unpaired.high - unpaired.low == pytest.approx(2 * 1.96 * np.sqrt(a.var() / 1000 + b.var() / 1000), rel=0.1)
    assert bootstrap_interval(a, b[:500], paired=False).estimate == pytest.approx(a.mean() - b[:500].mean())


def test_intervals_repeat_by_seed_and_run_in_chunks() -> None:
    values = np.random.default_rng(0).normal(size=3000)
    first = bootstrap_interval(values, n_resamples=1500, seed=3)
    assert first == bootstrap_interval(values, n_resamples=1500, seed=3)
    assert first != bootstrap_interval(values, n_resamples=1500, seed=4)
    assert len(stats._resampled_means(values, 1501, np.random.default_rng(0))) == 1501  # more than one chunk
    assert bootstrap_interval([1, 1, 1]) == (1, 1, 1)


def test_intervals_refuse_bad_input() -> None:
    with pytest.raises(ValueError, match="paired"):
        bootstrap_interval([0, 1], [1])
    with pytest.raises(ValueError, match="values have shape"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="other have shape"):
        bootstrap_interval([1.0], [np.nan])
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap_interval([0, 1], level=95)


def test_comparisons_say_what_their_interval_allows():
    right, wrong = np.ones(50, bool), np.zeros(50, bool)
    mixed = np.arange(50) % 2 == 0
    assert stats.compare(right, wrong).describe() == "better by 100.0 points [100.0, 100.0]"
    assert stats.compare(mixed, right).verdict == "worse"
    assert stats.compare(mixed, ~mixed).describe().startswith("no difference seen, +0.0 points [-")


def test_seed_comparison_pairs_seeds_and_images():
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.5  # the same images are hard for both
    first = 100.0 * np.stack([hard ^ (rng.random(400) < 0.02) for _ in range(3)])
    second = 100.0 * np.stack([(hard | (rng.random(400) < 0.10)) for _ in range(3)])
    row = stats.compare_seeds(first, second)
    assert row.difference == pytest.approx((first - second).mean())
    assert row.seed_differences == pytest.approx((first - second).mean(1))
    low, high = row.interval
    assert low < row.difference < high < 0
    assert high - low < (row.intervals[0][1] - row.intervals[0][0]) / 2  # pairing takes the images' own spread out
    sentence = row.sentence("top-1 localization error", "GAP", "GMP")
    assert sentence.startswith("Top-1 localization error: GAP better by")
    assert "3 of 3 seeds" in sentence
    assert "GAP worse by" in stats.compare_seeds(second, first).sentence("error", "GAP", "GMP")
    assert "no difference seen" in stats.compare_seeds(first, first).sentence("error", "GAP", "GMP")
    with pytest.raises(ValueError, match=r"same .seeds, images."):
        stats.compare_seeds(first, second[:2])
