"""Tests and intervals against their definitions, against SciPy, and against counts by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from striate.evaluation import significance
from striate.evaluation.pixel_metrics import segmentation_intervals


def hits(*counts):
    """Answers of two runs: so many both right, only first, only second, both wrong."""
    pairs = np.repeat([(True, True), (True, False), (False, True), (False, False)], counts, axis=0)
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 1), (0, 8), (3, 6), (10, 10), (2, 25), (40, 61)])
def test_mcnemar_is_the_binomial_sum(only_first, only_second):
    found = significance.mcnemar(*hits(50, only_first, only_second, 7))
    n, least = only_first + only_second, min(only_first, only_second)
    tail = Fraction(sum(math.comb(n, k) for k in range(least + 1)), 2**n)
    assert found[:2] == (only_first, only_second)
    assert found[2] == pytest.approx(float(min(Fraction(1), 2 * tail)))


def test_mcnemar_of_many_nears_the_chi_squared_form():
    b, c = 400, 470
    chi_squared = (abs(b - c) - 1) ** 2 / (b + c)  # with Edwards' correction
    assert significance.mcnemar(*hits(5000, b, c, 300))[2] == pytest.approx(stats.chi2.sf(chi_squared, 1), rel=0.02)


def test_runs_that_never_differ_and_runs_on_other_samples():
    assert significance.mcnemar(*hits(5, 0, 0, 5)) == (0, 0, 1.0)
    with pytest.raises(ValueError, match="the same samples, got 3 and 2"):
        significance.mcnemar(np.ones(3, bool), np.ones(2, bool))


def test_bootstrap_agrees_with_scipy_and_with_a_resampling_of_the_samples_themselves():
    first, second = hits(60, 5, 17, 18)
    differences = second.astype(float) - first
    low, high = significance.bootstrap_mean(differences)
    expected = stats.bootstrap((differences,), np.mean, n_resamples=10_000, method="percentile",
                               random_state=np.random.default_rng(1)).confidence_interval  # fmt: skip
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.01)
    generator = np.random.default_rng(2)
    means = differences[generator.integers(0, 100, (10_000, 100))].mean(axis=1)
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.01)
    assert significance.bootstrap_mean(differences) == (low, high), "a function of the samples"
    assert significance.bootstrap_mean(np.full(9, 0.25)) == (0.25, 0.25)
    with pytest.raises(ValueError, match="at least one sample"):
        significance.bootstrap_mean(np.empty(0))


def test_pictures_are_drawn_for_both_runs_alike():
    generator = np.random.default_rng(0)
    true = generator.integers(50, 100, (40, 4))
    good, bad = ((share * true).astype(np.int64) for share in (0.9, 0.5))
    runs = [np.stack([found, true, true], axis=1) for found in (bad, good)]
    low, high = significance.bootstrap_miou_difference([runs[0]], [runs[1]])
    each = [segmentation_intervals(run) for run in runs]
    assert each[1]["miou_low"] - each[0]["miou_high"] < low < high < each[1]["miou_high"] - each[0]["miou_low"]
    assert 0.4 < low < high < 0.55
    assert significance.bootstrap_miou_difference([runs[0]], [runs[0], runs[0]]) == (0.0, 0.0)
    with pytest.raises(ValueError, match="the same pictures"):
        significance.bootstrap_miou_difference([runs[0]], [runs[1][:-1]])


def test_differences_over_seeds_are_those_of_scipy():
    first, second = [0.91, 0.88, 0.90, 0.87], [0.93, 0.94, 0.92, 0.95]
    estimate, p = significance.paired_difference(first, second)
    paired = stats.ttest_rel(second, first)
    assert p == paired.pvalue
    assert (estimate.low, estimate.high) == pytest.approx(tuple(paired.confidence_interval(0.95)), abs=1e-6)
    estimate, p = significance.unpaired_difference(first, second[:3])
    welch = stats.ttest_ind(second[:3], first, equal_var=False)
    assert (estimate.mean, p) == (pytest.approx(np.mean(second[:3]) - np.mean(first)), welch.pvalue)
    assert (estimate.low, estimate.high) == tuple(welch.confidence_interval(0.95))


def test_without_deviation_there_is_no_interval():
    for estimate, p in (
        significance.unpaired_difference([0.5], [0.6]),
        significance.unpaired_difference([0.5, 0.5], [0.6, 0.6]),
    ):
        assert estimate.mean == pytest.approx(0.1)
        assert math.isnan(estimate.low)
        assert math.isnan(p)
    for first, second in (([0.5, 0.5], [0.75, 0.75]), ([0.90, 0.91], [0.91, 0.92])):  # the latter but for rounding
        estimate, p = significance.paired_difference(first, second)
        assert estimate.mean == pytest.approx(second[0] - first[0])
        assert estimate.n == 2
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.high)
        assert math.isnan(p)


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, and never less than the one before.
    assert significance.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    corrected = significance.holm([0.4, math.nan, 0.9])
    assert corrected[0] == pytest.approx(0.8)
    assert math.isnan(corrected[1])
    assert corrected[2] == pytest.approx(0.9)
    assert significance.holm([]) == []
