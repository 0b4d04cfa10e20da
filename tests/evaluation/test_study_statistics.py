"""Intervals, comparisons and verdicts of studies, against SciPy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from striate.evaluation.study_figures import study_figure
from striate.evaluation.study_report import judged, report, summary
from striate.evaluation.study_statistics import (
    AGREES,
    DISAGREES,
    UNDECIDED,
    Estimate,
    best_x,
    judge,
    mean_interval,
    outcome_of,
    student_95,
)


@pytest.mark.parametrize("degrees", [*range(1, 31), 31, 40, 60, 120, 1000])
def test_student_quantiles(degrees):
    assert student_95(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=6e-5)


def test_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(0).normal(3, 2, 7)
    found = mean_interval(values.tolist())
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high), rel=1e-5)
    assert found.n == 7


def test_few_values_give_no_interval():
    one, none = mean_interval([2.0]), mean_interval([float("nan")])
    assert (one.mean, one.n) == (2.0, 1)
    assert math.isnan(one.low)
    assert none.n == 0
    assert outcome_of(one, 0, math.inf) == UNDECIDED


def test_values_that_are_all_the_same_give_no_interval_and_decide_nothing():
    for values in ([3.0, 3.0], [0.91 - 0.90, 0.92 - 0.91, 0.93 - 0.92]):  # the latter but for rounding
        found = mean_interval(values)
        assert (found.mean, found.n) == (pytest.approx(values[0]), len(values))
        assert math.isnan(found.low)
        assert outcome_of(found, 0, math.inf) == UNDECIDED
    assert mean_interval([1e-6, 2e-6]).low < 1.5e-6, "small values that differ have one"


def test_a_claim_is_judged_by_the_whole_interval():
    estimate = Estimate(1.0, 0.5, 1.5, 5)
    assert outcome_of(estimate, 0, math.inf) == AGREES
    assert outcome_of(estimate, 2, math.inf) == DISAGREES
    assert outcome_of(estimate, -math.inf, 0.4) == DISAGREES
    assert outcome_of(estimate, 1, math.inf) == UNDECIDED
    assert outcome_of(estimate, -2, 2) == AGREES


def rows(arm, x, values, *, figure="test_accuracy", mult_adds=100, **more):
    return [
        {"arm": arm, "x": x, "seed": seed, "status": "finished", "cell": f"{arm}{x}{seed}", figure: value,
         "mult_adds": mult_adds, "reason": None, **more}
        for seed, value in enumerate(values)
    ]  # fmt: skip


def test_differences_are_paired_by_seed():
    # Seeds differ much, arms little: only the pairs show it. Seed 3 has no partner.
    cells = rows("a", None, [0.50, 0.60, 0.70]) + rows("b", None, [0.51, 0.612, 0.708, 0.99])
    comparison = {"figure": "test_accuracy", "of": {"arm": "b"}, "against": {"arm": "a"}, "low": 0}
    verdict = judge(cells, comparison)
    expected = mean_interval([0.01, 0.012, 0.008])
    assert (verdict.estimate.mean, verdict.estimate.low) == pytest.approx((expected.mean, expected.low))
    assert verdict.outcome == AGREES


def test_a_ratio_is_a_geometric_mean_at_the_best_points():
    cells = [
        *rows("tanh", 0.1, [9, 9], figure="epochs_to_25", reached=True),
        *rows("tanh", 0.2, [4, 16], figure="epochs_to_25", reached=True),
        *rows("relu", 0.1, [2, 2], figure="epochs_to_25", reached=True),
        *rows("relu", 0.2, [5, 5], figure="epochs_to_25", reached=True),
    ]
    sides = {"of": {"arm": "tanh", "x": "best"}, "against": {"arm": "relu", "x": "best"}}
    verdict = judge(cells, {"figure": "epochs_to_25", "kind": "ratio", "low": 1, **sides})
    assert verdict.estimate.mean == pytest.approx(4.5)  # 9 over 2: the mean of tanh at 0.2 is 10
    assert verdict.bound == ""
    assert best_x(cells, "epochs_to_25", "relu") == 0.1


@pytest.mark.parametrize(("late", "low", "bound", "outcome"), [
    ("tanh", 1, "at least", AGREES), ("relu", 1, "at most", UNDECIDED), ("both", 1, "unknown:", UNDECIDED),
])  # fmt: skip
def test_cells_that_ended_before_the_target_bound_the_ratio(late, low, bound, outcome):
    cells = [
        *rows("tanh", None, [20, 20.2], figure="epochs_to_25", reached=late == "relu"),
        *rows("relu", None, [5, 5.1], figure="epochs_to_25", reached=late == "tanh"),
    ]
    sides = {"of": {"arm": "tanh"}, "against": {"arm": "relu"}}
    verdict = judge(cells, {"figure": "epochs_to_25", "kind": "ratio", "low": low, **sides})
    assert (verdict.bound, verdict.outcome) == (bound, outcome)


def test_the_mean_over_the_axis_is_taken_in_each_seed_that_is_whole():
    cells = rows("a", 1, [0.5, 0.6, 0.7]) + rows("a", 2, [0.7, 0.9]) + rows("base", 0, [0.4, 0.5, 0.6])
    of = {"arm": "a", "x": "mean"}
    verdict = judge(cells, {"figure": "test_accuracy", "of": of, "against": {"arm": "base", "x": 0}, "low": 0})
    expected = mean_interval([0.2, 0.25])  # the third seed has no value at 2
    assert (verdict.estimate.mean, verdict.estimate.low) == pytest.approx((expected.mean, expected.low))
    least = {"arm": "a", "x": "least"}  # of its own places: the base is further left
    assert judge(cells, {"figure": "test_accuracy", "of": of, "against": least}).estimate.mean == pytest.approx(0.125)


def test_a_gain_is_compared_with_nothing():
    cells = rows("a", 1, [0.01, 0.02, 0.03], figure="gain") + rows("a", 2, [0.03, 0.04, 0.05], figure="gain")
    comparison = {"says": "a gains.", "figure": "gain", "of": {"arm": "a", "x": "mean"}, "low": 0}
    verdict = judge(cells, comparison)
    expected = mean_interval([0.02, 0.03, 0.04])
    assert (verdict.estimate.mean, verdict.estimate.high) == pytest.approx((expected.mean, expected.high))
    content = {**CONTENT, "comparisons": {"gain": comparison}}
    ((_, _, text),) = judged(content, cells)
    assert "a (mean over rate): mean +3.0 points (+0.5 to +5.5)" in text


def test_a_slope_is_over_the_logarithm_of_the_multiply_adds():
    cells = []
    for mult_adds, values in ((1000, [0.5, 0.52]), (10_000, [0.6, 0.63]), (100_000, [0.7, 0.74])):
        cells += rows("width 1", mult_adds, values, mult_adds=mult_adds)
    verdict = judge(cells, {"figure": "test_accuracy", "kind": "slope", "of": {"arm": "*"}, "low": 0})
    assert verdict.estimate.mean == pytest.approx((0.1 + 0.11) / 2)
    assert verdict.outcome == AGREES


CONTENT = {
    "title": "A study", "claim": "b is better.", "source": "nobody 2000",
    "arms": {"a": {"like": None, "x": None}, "b": {"like": None, "x": None}},
    "axis": {"label": "rate", "overrides": ["optimizer.lr={x}"], "log": True},
    "figures": ["test_accuracy", "train_error"],
    "comparisons": {"better": {"says": "b beats a.", "figure": "test_accuracy", "of": {"arm": "b", "x": "most"},
                               "against": {"arm": "a", "x": "most"}, "low": 0}},
    "panels": {"points": {"kind": "points", "y": "test_accuracy"},
               "trade": {"kind": "points", "y": "test_accuracy", "x": "mult_adds"},
               "curves": {"kind": "curves", "y": "train/error_micro", "at": "best"}},
}  # fmt: skip


def studied():
    cells = []
    for x, mult_adds in ((0.01, 1000), (0.1, 2000)):
        cells += rows("a", x, [0.50, 0.51, 0.49], mult_adds=mult_adds, train_error=0.2)
        cells += rows("b", x, [0.60, 0.62, 0.61], mult_adds=mult_adds, train_error=0.1)
    cells[0] |= {"status": "diverged", "reason": "the loss is NaN", "test_accuracy": None, "train_error": None}
    histories = {
        row["cell"]: [{"epoch": epoch, "train/error_micro": 1 / epoch + row["seed"] / 50} for epoch in (1, 2, 3)]
        for row in cells
    }
    return cells, histories


def test_a_report_says_claim_sight_and_what_was_lost():
    cells, _ = studied()
    lines = summary(CONTENT, cells)
    assert [line["rate"] for line in lines] == ["0.01", "0.01", "0.1", "0.1"]
    assert lines[0]["seeds"] == "2, 1 diverged"
    assert lines[3]["test accuracy"].startswith("61.0 % (58.5 to 63.5)")
    text = report(CONTENT, cells, {"command": "`python src/study.py study=x`"})
    assert "*b beats a.* **agrees**" in text
    assert "+11.0 points (+8.5 to +13.5)" in text
    assert "diverged: the loss is NaN" in text
    assert "In short: agrees: better." in text
    ((_, verdict, _),) = judged(CONTENT, cells)
    assert verdict.estimate.n == 3


def test_a_picture_has_every_kind_of_panel(tmp_path):
    cells, histories = studied()
    study_figure(CONTENT, cells, histories, tmp_path / "first.png")
    study_figure(CONTENT, cells, histories, tmp_path / "second.png")
    first = (tmp_path / "first.png").read_bytes()
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert first == (tmp_path / "second.png").read_bytes()
    assert len(first) < 150_000
    without = {**CONTENT, "axis": None, "panels": {"arms": {"kind": "points", "y": "test_accuracy"}}}
    study_figure(without, [{**row, "x": None} for row in cells if row["x"] == 0.1], histories, tmp_path / "arms.png")
    assert (tmp_path / "arms.png").read_bytes() != first
