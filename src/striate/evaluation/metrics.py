"""What is said of a classifier, computed from counts: a confusion matrix, sums over samples, bins of confidence.

Every figure that Striate reports for a classifier is computed here, whether in training, by `evaluate` or from an
exported network. The names carry the average: `micro` over samples, `macro` over classes. What a share of nothing is
stands once:

* A class without a sample counts in no macro average: nothing is known of how well it is found.
* A class that has samples and is never predicted has precision 0, hence F1 0.
* In the table per class, a figure whose denominator is 0 is NaN, and files leave its cell empty.
* Over no samples at all there are no figures: `ValueError`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15  # as in Guo et al. (2017), table 1
CALIBRATED = "{}_calibrated"  # a figure after temperature scaling
TOP = 5  # the second figure of ImageNet's challenge
Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution
# What figures are called elsewhere: the mean of the classes' recalls is the balanced accuracy.
OTHER_NAMES = {
    **dict.fromkeys(("balanced_accuracy", "accuracy_macro", "macro_accuracy", "top1_macro"), "recall_macro"),
    **dict.fromkeys(("accuracy", "acc", "top1", "accuracy_micro"), "top1_micro"),
    **dict.fromkeys(("f1", "macro_f1", "f1_score"), "f1_macro"),
}

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassScores:
    """One row a class, each (K,): samples, and precision, recall and F1, NaN where the denominator is 0."""

    samples: Counts
    precision: Floats
    recall: Floats
    f1: Floats


def _shares(parts: ArrayLike, wholes: ArrayLike) -> Floats:
    parts, wholes = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    return np.divide(parts, wholes, out=np.full(wholes.shape, np.nan), where=wholes > 0)


def class_scores(confusion: Counts) -> ClassScores:
    """Precision, recall and F1 of each class against all others.

    Args:
        confusion: (K, K) counts, true classes in rows, predicted ones in columns.
    """
    hits, samples, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision = _shares(hits, predicted)
    precision[(predicted == 0) & (samples > 0)] = 0.0
    return ClassScores(samples, precision, _shares(hits, samples), _shares(2 * hits, samples + predicted))


def macro(values: Floats, samples: Counts) -> float:
    """The mean over the classes that have samples.

    Raises:
        ValueError: none has.
    """
    if not samples.any():
        raise ValueError("expected at least one sample, got none")
    return float(values[samples > 0].mean())


def wilson_interval(hits: int, samples: int, z: float = Z_95) -> tuple[float, float]:
    """Bounds of a share, 95 % by default, that stay within 0 and 1 and are of use for few samples too.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Args:
        hits: 0 to `samples`.
        samples: at least 1.
        z: quantile of the normal distribution.

    Raises:
        ValueError: another number of hits or samples.
    """
    if samples < 1 or not 0 <= hits <= samples:
        raise ValueError(f"expected at least one sample and 0 to {samples} hits, got {hits} of {samples}")
    share, weight = hits / samples, z * z / samples
    centre = (share + weight / 2) / (1 + weight)
    half = z * np.sqrt(share * (1 - share) / samples + weight / (4 * samples)) / (1 + weight)
    # At 0 and 1 the bound is exact, which the subtraction of nearly equal numbers misses.
    low = 0.0 if hits == 0 else float(centre - half)
    high = 1.0 if hits == samples else float(centre + half)
    return low, high


def reliability(bin_samples: Counts, bin_confidence: Floats, bin_hits: Counts) -> list[dict[str, float]]:
    """The table behind a reliability diagram, one row a bin of equal width.

    Args:
        bin_samples: (B,) samples whose confidence lies in (low, high].
        bin_confidence: (B,) sums of their confidence.
        bin_hits: (B,) how many of them are right.

    Returns:
        Rows of low, high, samples, confidence, accuracy (both means; NaN in an empty bin).
    """
    edges = np.linspace(0.0, 1.0, len(bin_samples) + 1)
    confidence, accuracy = _shares(bin_confidence, bin_samples), _shares(bin_hits, bin_samples)
    columns = zip(edges[:-1], edges[1:], bin_samples, confidence, accuracy, strict=True)
    names = ("low", "high", "samples", "confidence", "accuracy")
    return [dict(zip(names, (number.item() for number in row), strict=True)) for row in columns]


def expected_calibration_error(bin_samples: Counts, bin_confidence: Floats, bin_hits: Counts) -> float:
    """How far confidence and accuracy are apart on average: sum over bins of |hits − confidence| / samples, in 0 to 1.

    Source: Naeini, Cooper & Hauskrecht (2015); Guo et al., "On calibration of modern neural networks" (2017), eq. 3.

    Args:
        bin_samples: (B,) as for `reliability`.
        bin_confidence: (B,) likewise.
        bin_hits: (B,) likewise.

    Raises:
        ValueError: no samples.
    """
    total = int(bin_samples.sum())
    if total < 1:
        raise ValueError("expected at least one sample, got none")
    return float(np.abs(bin_hits - bin_confidence).sum() / total)


def classification_figures(state: Mapping[str, Any]) -> dict[str, float]:
    """Every figure of a classifier.

    Args:
        state: NumPy arrays under the names of `tally.ClassificationTally.state`.

    Returns:
        `loss` (weighted mean of the criterion over samples; left out where none was given), `nll` (mean negative log
        likelihood, in nats), `brier` (mean squared error of the probabilities, summed over classes, 0 to 2; Brier
        1950), `top1_micro`, `top5_micro` (more than 5 classes only), `error_micro`, `precision_macro`, `recall_macro`
        (balanced or macro accuracy), `f1_macro`, `ece_15bins`; and where a temperature was there, `nll_calibrated`,
        `brier_calibrated` and `ece_15bins_calibrated` after it. All in 0 to 1 but `loss`, `nll` and `brier`.

    Raises:
        ValueError: no samples, or a criterion for some of them only.
    """
    confusion = state["confusion"]
    samples, hits = int(confusion.sum()), int(confusion.trace())
    with_criterion = int(state["criterion_samples"])
    if samples < 1 or with_criterion not in (0, samples):
        raise ValueError(f"expected samples, and a criterion for all or none: got {samples}, {with_criterion} with one")
    scores = class_scores(confusion)
    figures = {"loss": float(state["criterion"]) / (float(state["criterion_weight"]) or 1.0)} if with_criterion else {}
    figures |= {"nll": float(state["nll"]) / samples, "top1_micro": hits / samples}
    if len(confusion) > TOP:
        figures["top5_micro"] = int(state["top5_hits"]) / samples
    return figures | {
        "error_micro": (samples - hits) / samples,
        "precision_macro": macro(scores.precision, scores.samples),
        "recall_macro": macro(scores.recall, scores.samples),
        "f1_macro": macro(scores.f1, scores.samples),
        **probability_figures(state, samples),
    }


def bins_of(state: Mapping[str, Any], form: str = "{}") -> tuple[Any, Any, Any]:
    """The three sums a bin of confidence that `reliability` takes; with `CALIBRATED`, those after the temperature."""
    return state[form.format("bin_samples")], state[form.format("bin_confidence")], state[form.format("bin_hits")]


def is_calibrated(state: Mapping[str, Any]) -> bool:
    """Whether the samples were counted after a temperature too."""
    return bool(state[CALIBRATED.format("bin_samples")].any())


def probability_figures(state: Mapping[str, Any], samples: int) -> dict[str, float]:
    """What is said of the probabilities beside `nll`: as the network gives them, and after a temperature."""
    figures = {"brier": float(state["brier"]) / samples, f"ece_{BINS}bins": expected_calibration_error(*bins_of(state))}
    if is_calibrated(state):
        for name in ("nll", "brier"):
            figures[CALIBRATED.format(name)] = float(state[CALIBRATED.format(name)]) / samples
        error = expected_calibration_error(*bins_of(state, CALIBRATED))
        figures[CALIBRATED.format(f"ece_{BINS}bins")] = error
    return figures


def classification_intervals(state: Mapping[str, Any]) -> dict[str, float]:
    """95 % intervals of the micro averages and of the macro average of recall.

    Args:
        state: as for `classification_figures`.

    Returns:
        `top1_micro_low`, `top1_micro_high`, `recall_macro_low`, `recall_macro_high` and, for more than 5 classes,
        `top5_micro_low`, `top5_micro_high`.

    Raises:
        ValueError: no samples.
    """
    confusion = state["confusion"]
    hits = {"top1_micro": int(confusion.trace())}
    if len(confusion) > TOP:
        hits["top5_micro"] = int(state["top5_hits"])
    intervals: dict[str, float] = {}
    for name, count in hits.items():
        intervals[f"{name}_low"], intervals[f"{name}_high"] = wilson_interval(count, int(confusion.sum()))
    intervals["recall_macro_low"], intervals["recall_macro_high"] = macro_recall_interval(confusion)
    return intervals


def macro_recall_interval(confusion: Counts) -> tuple[float, float]:
    """Bounds of the mean of the classes' recalls, 95 %, from Wilson's of each (method of variance estimates recovery).

    Source: G. Y. Zou & A. Donner, "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27 (2008), equation 3 for a mean of independent shares.

    Args:
        confusion: (K, K) counts, true classes in rows, with at least one sample.
    """
    samples, hits = confusion.sum(axis=1), confusion.diagonal()
    there = samples > 0
    hits, samples = hits[there], samples[there]
    bounds = np.array([wilson_interval(*pair) for pair in zip(hits.tolist(), samples.tolist(), strict=True)])
    recalls = hits / samples
    below, above = (float(np.sqrt(((recalls - side) ** 2).sum())) / len(recalls) for side in bounds.T)
    return float(recalls.mean()) - below, float(recalls.mean()) + above


def class_table(confusion: Counts, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """One row a class: class, samples, precision, recall, f1 (see `class_scores`).

    Raises:
        ValueError: another number of names than of classes.
    """
    if len(class_names) != len(confusion):
        raise ValueError(f"expected {len(confusion)} class names, got {len(class_names)}")
    scores = class_scores(confusion)
    columns = zip(class_names, scores.samples, scores.precision, scores.recall, scores.f1, strict=True)
    names = ("samples", "precision", "recall", "f1")
    return [{"class": row[0]} | dict(zip(names, (number.item() for number in row[1:]), strict=True)) for row in columns]
