"""Simple classifiers on features: against scikit-learn's own, and what chooses them."""

import numpy as np
import pytest

from striate.evaluation.probe_figure import probe_figure
from striate.evaluation.probing import Labelled, Probe, linear_probe, nearest_neighbours


def blobs(count: int, seed: int, classes: int = 3, spread: float = 1.0, numbers: int = 5) -> Labelled:
    centres = np.random.default_rng(99).normal(0, 2, (classes, numbers))
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, classes, count)
    return Labelled((centres[labels] + chance.normal(0, spread, (count, numbers))).astype(np.float32), labels)


@pytest.fixture(scope="module")
def splits():
    return blobs(300, 0, spread=2.0), blobs(120, 1, spread=2.0), blobs(200, 2, spread=2.0)


def test_the_linear_probe_is_logistic_regression_on_standardised_features(splits):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, val, test = splits
    found = linear_probe(train, val, test, [0.1])
    own = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(train.features, train.labels)
    assert found.converged
    assert found.val == pytest.approx((own.predict(val.features) == val.labels).mean())
    assert (found.predicted == own.predict(test.features)).mean() > 0.99


def test_validation_chooses_the_strength_and_the_stronger_of_equally_good_penalties(splits):
    train, val, test = splits
    each = [linear_probe(train, val, test, [strength]).val for strength in (1e-6, 1e-3, 1.0)]
    found = linear_probe(train, val, test, [1.0, 1e-6, 1e-3])
    assert found.val == pytest.approx(max(each), abs=0.01)
    easy = [blobs(60, seed, spread=0.01) for seed in range(3)]
    assert linear_probe(*easy, [10.0, 0.1, 1.0]).chosen == 0.1
    assert not linear_probe(train, val, test, [1e6], iterations=2).converged


def test_neighbours_vote_as_scikit_learns_do(splits):
    from sklearn.neighbors import KNeighborsClassifier

    train, val, test = splits
    accuracies = {}
    for count in (1, 3, 11, 41):
        own = KNeighborsClassifier(count, metric="cosine", algorithm="brute").fit(train.features, train.labels)
        found = nearest_neighbours(train, val, test, [count])
        scores = np.sort(own.predict_proba(test.features), 1)
        clear = scores[:, -1] > scores[:, -2] + 1e-9  # of equally many votes the nearer win here, the first class there
        assert clear.mean() > 0.8
        assert (found.predicted == own.predict(test.features))[clear].all()
        accuracies[count] = found.val
    best = nearest_neighbours(train, val, test, [41, 11, 3, 1, 10_000])
    assert best.chosen == max(accuracies, key=lambda count: (accuracies[count], -count))
    assert best.val == accuracies[best.chosen]


def test_of_equally_many_votes_the_nearer_win_and_too_many_neighbours_are_all():
    train = Labelled(np.array([[1, 0], [1, 0.1], [1, 1], [1, 0.9]], np.float32), np.array([1, 1, 0, 0]))
    asked = Labelled(np.array([[1, 0.02], [1, 0.98]], np.float32), np.array([1, 0]))
    found = nearest_neighbours(train, asked, asked, [4])
    assert found.predicted.tolist() == [1, 0]
    assert nearest_neighbours(train, asked, asked, [50]).chosen == 4


def test_figures_of_a_probe():
    figures = Probe("linear", 1.0, 0.5, np.array([0, 0, 0, 1])).figures(np.array([0, 0, 0, 2]), 3)
    assert figures["top1_micro"] == 0.75
    assert figures["recall_macro"] == 0.5  # class 1 has no sample
    assert figures["top1_micro_low"] < 0.75 < figures["top1_micro_high"]


def test_constant_features_and_pictures_of_them(tmp_path):
    parts = [Labelled(np.ones((20, 3), np.float32), np.arange(20) % 2) for _ in range(3)]
    rows = [
        {"stage": stage, "kind": probe.kind, **probe.figures(parts[2].labels, 2)}
        for stage in ("pixels", "a_stage_with_a_very_long_name_indeed", *"abcdefg")
        for probe in (linear_probe(*parts, [1.0]), nearest_neighbours(*parts, [3]))
    ]
    assert all(row["top1_micro"] == 0.5 for row in rows)
    probe_figure(rows, "Title $x", 0.5, tmp_path / "probe.png")
    assert (tmp_path / "probe.png").stat().st_size > 5000
