"""Whether two ways of training differ: over seeds, over the samples of one test split, and by how much at least.

Two kinds of chance stand apart. Seeds: another training would have given another figure (Student's intervals, paired by
seed where seeds match). Samples: another test split of the same kind would have (paired bootstrap; McNemar's test).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.evaluation.pixel_metrics import drawn_figures
from striate.evaluation.study_statistics import Estimate, mean_interval, varies

RESAMPLES = 10_000
_PIXEL_RESAMPLES = 1_000  # each counts every class of every picture anew
_LEVELS = (2.5, 97.5)

Hits = NDArray[np.bool_]


def mcnemar(first: Hits, second: Hits) -> tuple[int, int, float]:
    """McNemar's exact test on samples that both were asked.

    Source: McNemar, Psychometrika 12 (1947); exact as the binomial test of the discordant samples, at any number of
    them, of which the chi-squared form is the approximation for many.

    Args:
        first: (N,) whether each answer is right.
        second: (N,) likewise, of the same samples.

    Returns:
        Samples that only the first has right, that only the second has right, and the two-sided p-value (1 where they
        never differ).

    Raises:
        ValueError: another number of samples.
    """
    from scipy.stats import binomtest

    if first.shape != second.shape:
        raise ValueError(f"expected the same samples, got {len(first)} and {len(second)}")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    return only_first, only_second, float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def bootstrap_mean(values: NDArray[np.float64], *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of a mean, by drawing samples anew with replacement (Efron & Tibshirani 1993).

    Few different values are drawn by how often each occurs, which has the same distribution and costs no more for
    50,000 samples than for 50.

    Args:
        values: (N,) such as the differences of two runs, sample by sample.
        seed: of the 10,000 drawings.

    Raises:
        ValueError: no samples.
    """
    if not len(values):
        raise ValueError("expected at least one sample, got none")
    different, counts = np.unique(values, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(values), counts / len(values), RESAMPLES)
    low, high = np.percentile(draws @ different / len(values), _LEVELS)
    return float(low), float(high)


def bootstrap_miou_difference(
    first: Sequence[NDArray[np.int64]], second: Sequence[NDArray[np.int64]], *, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of second − first, each the mean over its runs of the mean IoU over all pixels.

    Whole pictures are drawn anew, the same for all runs: pixels of one picture are no independent samples.

    Args:
        first: of each run (N, 3, K) pixels of each picture: hits, true and predicted of each class.
        second: likewise, of the same pictures.
        seed: of the 1,000 drawings.

    Raises:
        ValueError: other pictures.
    """
    pictures = len(first[0])
    if not pictures or any(len(sums) != pictures for sums in (*first, *second)):
        raise ValueError(f"expected the same pictures, got {[len(sums) for sums in (*first, *second)]}")
    draws = np.random.default_rng(seed).multinomial(pictures, [1 / pictures] * pictures, _PIXEL_RESAMPLES)
    means = [np.mean([drawn_figures(sums, draws)["miou"] for sums in runs], axis=0) for runs in (first, second)]
    low, high = np.percentile(means[1] - means[0], _LEVELS)
    return float(low), float(high)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> tuple[Estimate, float]:
    """Mean of second − first over pairs with its Student interval, and the p-value of the paired t-test.

    Pairs that all differ by the same give neither interval nor p-value.

    Args:
        first: a figure for each seed.
        second: likewise, of the same seeds.
    """
    from scipy.stats import ttest_rel

    estimate = mean_interval(np.subtract(second, first).tolist())
    if math.isnan(estimate.low):  # the test would divide by 0
        return estimate, math.nan
    return estimate, float(ttest_rel(second, first).pvalue)


def unpaired_difference(first: Sequence[float], second: Sequence[float]) -> tuple[Estimate, float]:
    """Difference of two means, second − first, with Welch's interval and p-value: deviations may differ.

    Source: Welch, Biometrika 34 (1947). With fewer than two values on a side, or none
    that differ on either, there is no interval.

    Args:
        first: independent values.
        second: likewise.
    """
    from scipy.stats import ttest_ind

    mean, n = float(np.mean(second) - np.mean(first)), min(len(first), len(second))
    if n < 2 or not (varies(first) or varies(second)):
        return Estimate(mean, math.nan, math.nan, n), math.nan
    found: Any = ttest_ind(second, first, equal_var=False)
    interval = found.confidence_interval(0.95)
    return Estimate(mean, float(interval.low), float(interval.high), n), float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for how many there are: each at most 1, NaN where there is none.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    known = [place for place, value in enumerate(p_values) if not math.isnan(value)]
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, place in enumerate(sorted(known, key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, p_values[place] * (len(known) - rank)))
        corrected[place] = largest
    return corrected
