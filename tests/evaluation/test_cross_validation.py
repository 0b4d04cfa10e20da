"""What folds say together."""

import math

import numpy as np
import pytest

from striate.configuration import compose, plain
from striate.evaluation.cross_validation import (
    BEST,
    LAST,
    TEST,
    chosen_by_fold,
    corrected_interval,
    folds_figure,
    together,
)
from striate.pipelines.requiring import monitored


def test_the_interval_is_wider_than_that_of_independent_values():
    values = [0.90, 0.92, 0.88, 0.91, 0.89]
    found = corrected_interval(values, 5)
    deviation = np.std(values, ddof=1)
    assert found.mean == pytest.approx(0.9)
    # Student's 97.5 % point for 4 degrees of freedom; Nadeau and Bengio's variance for a test share of a fifth.
    assert found.high - found.mean == pytest.approx(2.7764 * deviation * math.sqrt(1 / 5 + 1 / 4))
    assert found.n == 5
    assert math.isnan(corrected_interval([0.9], 5).low)
    assert math.isnan(corrected_interval([], 5).mean)

    assert math.isnan(corrected_interval([0.9, 0.9, 0.9], 3).low), "folds that agree by chance are no certainty"


@pytest.mark.parametrize(
    ("words", "tested", "says"),
    [
        ([], True, "by the fold itself, whose figure is then too good; the last epoch's is not."),
        (["callbacks=[default,early_stopping]"], False,
         "by callbacks.early_stopping the last one too: both figures are then too good."),
        (["scheduler=plateau"], True,
         "by scheduler the last one too: both figures are then too good; the test split's is not."),
        (["scheduler=plateau", "scheduler.monitor=train/loss"], True, "the last epoch's is not."),
        (["experiment=finetune", "data.root=somewhere"], False, "by callbacks.early_stopping the last one too"),
    ],
)  # fmt: skip
def test_what_the_fold_itself_has_chosen(words, tested, says):
    assert says in chosen_by_fold(monitored(plain(compose("train", words))), tested)


def test_correlated_folds_are_covered():
    """Of values with the correlation that folds are taken to have, 1/k, some 95 % of the intervals hold the truth."""
    chance, folds, held = np.random.default_rng(0), 5, 0
    covariance = np.full((folds, folds), 1 / folds) + np.eye(folds) * (1 - 1 / folds)
    for values in chance.multivariate_normal(np.zeros(folds), covariance, 2000):
        found = corrected_interval(values.tolist(), folds)
        held += found.low <= 0 <= found.high
    assert 0.93 < held / 2000 < 0.97


def test_all_pictures_count_once():
    rows = [{"samples": 10, LAST: 0.9}, {"samples": 30, LAST: 0.5}]
    found = together(rows)
    assert found["samples"] == 40
    assert found["top1_micro"] == pytest.approx(24 / 40)
    assert found["top1_micro_low"] < 0.6 < found["top1_micro_high"]


@pytest.mark.parametrize("test", [0.8, None])
def test_the_picture_is_drawn_with_and_without_a_test(tmp_path, test):
    rows = [{"fold": fold, LAST: 0.9 - fold / 50, BEST: 0.93, TEST: test} for fold in range(3)]
    folds_figure(rows, 3, "a network on a set", tmp_path / "folds.png")
    assert (tmp_path / "folds.png").stat().st_size > 5000
