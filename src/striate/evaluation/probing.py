"""Simple classifiers on features that were computed once: logistic regression and nearest neighbours (scikit-learn).

What regularises them is chosen by the validation split; the test split is looked at once, with what was chosen.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from striate.evaluation.metrics import class_scores, macro, wilson_interval

Features = np.ndarray  # (N, D) float32
LINEAR, NEIGHBOURS = "linear", "neighbours"
_SMALL = 1 << 28  # products of numbers up to which threads wait for each other longer than they work


@dataclass(frozen=True)
class Labelled:
    """Features of a split and the class of each sample, (N,) int64."""

    features: Features
    labels: np.ndarray


@dataclass(frozen=True)
class Probe:
    """What a simple classifier has found.

    Attributes:
        kind: "linear" or "neighbours".
        chosen: the inverse strength of the regularisation, or the number of neighbours.
        val: top-1 accuracy on the validation split, by which it was chosen.
        predicted: (N,) classes of the test split.
        converged: whether every fit came to its end.
    """

    kind: str
    chosen: float
    val: float
    predicted: np.ndarray
    converged: bool = True

    def figures(self, labels: np.ndarray, classes: int) -> dict[str, float]:
        """Figures of the test split: top1_micro with its 95 % interval, and recall_macro (the balanced accuracy)."""
        hits = int((self.predicted == labels).sum())
        low, high = wilson_interval(hits, len(labels))
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (labels, self.predicted), 1)
        scores = class_scores(confusion)
        return {
            "top1_micro": hits / len(labels),
            "top1_micro_low": low,
            "top1_micro_high": high,
            "recall_macro": macro(scores.recall, scores.samples),
        }


def linear_probe(
    train: Labelled, val: Labelled, test: Labelled, strengths: Sequence[float], iterations: int = 500
) -> Probe:
    """Logistic regression over all classes, with an L2 penalty, on features of mean 0 and deviation 1.

    Each strength starts from the solution of the one before.

    Args:
        train: what it is fitted to.
        val: what chooses; of equally good ones the stronger penalty.
        test: what is predicted.
        strengths: inverse strengths C of the penalty, as in scikit-learn: C · Σ loss + |w|²/2.
        iterations: of L-BFGS, at most.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    mean, std = train.features.mean(0), train.features.std(0)
    scale = 1 / np.where(std > 0, std, 1.0).astype(np.float32)
    known, unknown, last = ((part.features - mean) * scale for part in (train, val, test))
    model, best, converged = LogisticRegression(max_iter=iterations, warm_start=True), (-1.0, 0.0), True
    predicted = np.empty(0, np.int64)
    threads = 1 if known.size * (int(train.labels.max()) + 1) < _SMALL else None
    for strength in sorted(strengths):
        model.set_params(C=strength)
        with warnings.catch_warnings(), threadpool_limits(threads):
            warnings.simplefilter("ignore", ConvergenceWarning)  # said once, by whoever asks
            model.fit(known, train.labels)
        converged &= int(np.max(model.n_iter_)) < iterations
        accuracy = float((model.predict(unknown) == val.labels).mean())
        if accuracy > best[0]:
            best, predicted = (accuracy, strength), model.predict(last)
    return Probe(LINEAR, best[1], best[0], predicted, converged)


def nearest_neighbours(train: Labelled, val: Labelled, test: Labelled, counts: Sequence[int]) -> Probe:
    """The class that most of the k nearest training samples have, by cosine; of equally many the one that is nearer.

    Args:
        train: the neighbours.
        val: what chooses k; of equally good ones the smallest.
        test: what is predicted.
        counts: the k that are tried; those above the number of training samples are not.
    """
    from sklearn.neighbors import NearestNeighbors

    possible = sorted(count for count in counts if count <= len(train.labels)) or [len(train.labels)]
    index = NearestNeighbors(n_neighbors=possible[-1], metric="cosine", algorithm="brute").fit(train.features)
    votes = _votes(index, train.labels, val.features)
    accuracies = [float((_elected(votes, count) == val.labels).mean()) for count in possible]
    best = int(np.argmax(accuracies))
    found = _elected(_votes(index, train.labels, test.features), possible[best])
    return Probe(NEIGHBOURS, possible[best], accuracies[best], found)


def _votes(index: Any, labels: np.ndarray, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Classes and similarities of the nearest samples, (N, k) each, the nearest first."""
    distances, places = index.kneighbors(features)
    return labels[places], 1 - distances


def _elected(votes: tuple[np.ndarray, np.ndarray], count: int) -> np.ndarray:
    """The class with most votes among the first `count`; of equal ones that with the larger sum of similarities."""
    classes, similarities = (part[:, :count] for part in votes)
    weights = 1 + np.clip(similarities, -1, 1) / (4 * count)  # all similarities together weigh less than half a vote
    totals = np.zeros((len(classes), int(classes.max(initial=0)) + 1))
    np.add.at(totals, (np.arange(len(classes))[:, None], classes), weights)
    return totals.argmax(1)
