"""The functions behind the figures, on cases that can be counted on fingers."""

import numpy as np
import pytest

from striate.evaluation import metrics


@pytest.mark.parametrize(
    ("hits", "samples", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_that_of_the_literature(hits, samples, low, high):
    assert metrics.wilson_interval(hits, samples) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("samples", [1, 10, 50000])
def test_wilson_interval_stays_within_0_and_1_and_is_symmetric(samples):
    for hits in {0, 1, samples // 3, samples}:
        low, high = metrics.wilson_interval(hits, samples)
        assert 0 <= low <= hits / samples <= high <= 1
        assert metrics.wilson_interval(samples - hits, samples) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("hits", "samples"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_interval_of_an_impossible_count_is_refused(hits, samples):
    with pytest.raises(ValueError, match="expected"):
        metrics.wilson_interval(hits, samples)


def test_class_scores_of_a_small_matrix():
    # One true class a row; class 2 is rare and never found.
    scores = metrics.class_scores(np.array([[8, 2, 0], [1, 9, 0], [1, 0, 0]]))
    assert scores.samples.tolist() == [10, 10, 1]
    assert scores.precision == pytest.approx([0.8, 9 / 11, 0.0])
    assert scores.recall == pytest.approx([0.8, 0.9, 0.0])
    assert scores.f1 == pytest.approx([0.8, 18 / 21, 0.0])
    assert metrics.macro(scores.recall, scores.samples) == pytest.approx(1.7 / 3)


def test_macro_average_leaves_out_classes_without_samples():
    assert metrics.macro(np.array([0.5, np.nan, 1.0]), np.array([3, 0, 1])) == 0.75
    with pytest.raises(ValueError, match="at least one sample"):
        metrics.macro(np.array([np.nan]), np.array([0]))


def test_reliability_and_calibration_error_of_two_bins():
    # 4 samples at 0.5 of which 1 is right; 6 at 0.9 of which all are: |1 - 2| + |6 - 5.4| over 10.
    samples, confidence, hits = np.array([0, 4, 0, 6]), np.array([0.0, 2.0, 0.0, 5.4]), np.array([0, 1, 0, 6])
    assert metrics.expected_calibration_error(samples, confidence, hits) == pytest.approx(0.16)
    rows = metrics.reliability(samples, confidence, hits)
    assert [(row["low"], row["high"], row["samples"]) for row in rows] == [
        (0, 0.25, 0), (0.25, 0.5, 4), (0.5, 0.75, 0), (0.75, 1, 6)
    ]  # fmt: skip
    assert rows[1]["accuracy"] == 0.25
    assert rows[3]["confidence"] == pytest.approx(0.9)
    assert np.isnan(rows[0]["accuracy"])
    with pytest.raises(ValueError, match="at least one sample"):
        metrics.expected_calibration_error(samples * 0, confidence, hits)
