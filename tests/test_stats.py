"""Intervals and comparisons against closed forms and simulated truths."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

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
    assert row.effect.estimate == pytest.approx((first - second).mean())
    assert row.seed_differences == pytest.approx((first - second).mean(1))
    low, high = row.effect.interval()
    assert low < row.effect.estimate < high < 0
    assert row.effect.se < row.methods[0].se / 2  # pairing takes the images' own spread out
    sentence = row.sentence("top-1 localization error", "GAP", "GMP")
    assert sentence.startswith("Top-1 localization error: GAP better by")
    assert "3 of 3 seeds" in sentence
    assert "GAP worse by" in stats.compare_seeds(second, first).sentence("error", "GAP", "GMP")
    same = stats.compare_seeds(first, first).sentence("error", "GAP", "GMP")
    assert "no difference seen" in same
    assert f"0 of {len(first)} seeds with that sign" in same
    with pytest.raises(ValueError, match=r"same .seeds, images."):
        stats.compare_seeds(first, second[:2])


def test_seeds_that_disagree_leave_no_verdict():
    """By seed +3.1, -0.1 and +5.4 points, each with an interval over images that looks sure."""
    rng = np.random.default_rng(0)
    differences = np.array([3.1, -0.1, 5.4])[:, None] + rng.normal(0, 10, (3, 1000))
    differences += np.array([3.1, -0.1, 5.4])[:, None] - differences.mean(1, keepdims=True)
    found = stats.measure_effect(differences)
    low, high = found.interval()
    over_seeds = stats.measure_effect([3.1, -0.1, 5.4])
    assert over_seeds.interval() == pytest.approx((-4.1, 9.7), abs=0.05)
    assert low < 0 < high
    assert found.df == pytest.approx(2, abs=0.2), "the seeds carry the error"
    assert stats.measure_effect(differences.mean(0)).p_differs() < 1e-6, "over images alone it looks sure"


@pytest.mark.parametrize(("seed_sd", "image_sd"), [(2.0, 0.0), (0.0, 20.0), (2.0, 20.0), (0.0, 0.0)])
def test_intervals_over_seeds_and_images_cover_the_truth(seed_sd, image_sd):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        values = 3 + rng.normal(0, 5, (4, 60))
        values += rng.normal(0, seed_sd, (4, 1)) if seed_sd else 0
        values += rng.normal(0, image_sd, (1, 60)) if image_sd else 0
        low, high = stats.measure_effect(values).interval()
        covered += low <= 3 <= high
    assert 0.92 <= covered / 400 <= 0.995


def test_variance_components_equal_the_table_of_an_analysis_of_variance():
    values = np.array([[1.0, 4, 2, 9], [2, 6, 2, 12], [0, 3, 1, 5]])
    s, n = values.shape
    ms_seed = n * values.mean(1).var(ddof=1)
    ms_image = s * values.mean(0).var(ddof=1)
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    ms_rest = (rest**2).sum() / ((s - 1) * (n - 1))
    components = (ms_seed - ms_rest) / n, (ms_image - ms_rest) / s, ms_rest
    assert min(components) > 0
    found = stats.measure_effect(values)
    variance = components[0] / s + components[1] / n + components[2] / (s * n)
    assert found.se**2 == pytest.approx(variance)
    expected = (ms_seed + ms_image - ms_rest) ** 2 / (
        ms_seed**2 / (s - 1) + ms_image**2 / (n - 1) + ms_rest**2 / ((s - 1) * (n - 1))
    )
    assert found.df == pytest.approx(expected)


def test_one_sample_effects_are_scipys():
    values = np.random.default_rng(0).normal(0.4, 1, 30)
    found, theirs = stats.measure_effect(values), scipy.stats.ttest_1samp(values, 0)
    assert found.p_differs() == pytest.approx(theirs.pvalue)
    assert found.interval() == pytest.approx(tuple(theirs.confidence_interval()))
    greater = scipy.stats.ttest_1samp(values, -0.2, alternative="greater").pvalue
    less = scipy.stats.ttest_1samp(values, 0.9, alternative="less").pvalue
    assert found.p_within(-0.2, 0.9) == pytest.approx(max(greater, less))
    assert stats.measure_effect([1.0, 1.0]).p_differs() == 0
    assert stats.measure_effect([0.0, 0.0]).p_differs() == 1
    with pytest.raises(ValueError, match=r"expected .N,. or .S, N."):
        stats.measure_effect([1.0])


def test_holm_is_the_textbook_case():
    assert stats.adjust_holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert stats.adjust_holm({}) == {}


def test_wilsons_interval_by_its_formula():
    right = np.arange(40) < 3
    p, z, n = 3 / 40, 1.959964, 40
    centre, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = (p, (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n))
    assert stats.wilson_interval(right) == pytest.approx(expected, abs=1e-6)
    assert stats.wilson_interval([0, 0])[2] > 0.5, "no zero width at a share of 0"
    with pytest.raises(ValueError, match="of 0 and 1"):
        stats.wilson_interval([0.5])
