"""What the folds of a cross-validation say together: mean, interval, all pictures at once, a picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from striate.evaluation.figures import BLUE, GREY, _drawing, _percent
from striate.evaluation.metrics import wilson_interval
from striate.evaluation.study_statistics import Estimate, student_95, varies

LAST, BEST, TEST = "val/top1_micro_last", "val/top1_micro_best", "test/top1_micro"
NAMES = {
    LAST: "its fold, last epoch",
    BEST: "its fold, best epoch",
    TEST: "test split, best epoch",
}


def corrected_interval(values: Sequence[float], folds: int) -> Estimate:
    """Mean and 95 % interval of a figure over folds; of values that are all the same no interval.

    Networks that share most of their training pictures err together: the variance of the mean is taken as
    (1/k + 1/(k − 1)) s² instead of s²/k, with the shares of k folds in the formula of C. Nadeau & Y. Bengio,
    "Inference for the generalization error", Machine Learning 52 (2003), section 3, and Student's distribution. It is
    an approximation: no unbiased estimate exists (Y. Bengio & Y. Grandvalet, JMLR 5, 2004).

    Args:
        values: of the folds that finished.
        folds: k, 2 or more.
    """
    mean = float(np.mean(values)) if len(values) else math.nan
    if len(values) < 2 or not varies(values):
        return Estimate(mean, math.nan, math.nan, len(values))
    half = student_95(len(values) - 1) * float(np.std(values, ddof=1)) * math.sqrt(1 / len(values) + 1 / (folds - 1))
    return Estimate(mean, mean - half, mean + half, len(values))


def mean_share(rows: Sequence[Mapping[str, Any]], key: str, folds: int) -> Estimate:
    """`corrected_interval` of a share over the folds that have it, cut off at 0 and 1."""
    found = corrected_interval([row[key] for row in rows if row.get(key) is not None], folds)
    return found if math.isnan(found.low) else replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def chosen_by_fold(monitored: Mapping[str, str], tested: bool) -> str:
    """What the fold itself has chosen of the training that it validates, in words.

    Args:
        monitored: the figures by which parts of a fold's training decide, by the keys of those parts.
        tested: whether there are figures of a test split too.
    """
    watchers = [
        key for key, figure in monitored.items() if "checkpointing" not in key and figure.startswith(("val/", "auto"))
    ]
    if not watchers:
        return "The best epoch is chosen by the fold itself, whose figure is then too good; the last epoch's is not."
    free = "; the test split's is not" if tested else ""
    return (
        f"The best epoch is chosen by the fold itself, and by {' and '.join(watchers)} the last one too: both figures "
        f"are then too good{free}."
    )


def together(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy over the pictures of all folds, each said by a network that did not learn it, at its last epoch.

    Args:
        rows: with `samples` and `val/top1_micro_last`.

    Returns:
        samples, top1_micro and the bounds of its 95 % interval (Wilson's).
    """
    samples = sum(row["samples"] for row in rows)
    hits = sum(round(row[LAST] * row["samples"]) for row in rows)
    low, high = wilson_interval(hits, samples)
    return {"samples": samples, "top1_micro": hits / samples, "top1_micro_low": low, "top1_micro_high": high}


def folds_figure(rows: Sequence[Mapping[str, Any]], folds: int, title: str, path: Path) -> None:
    """Draws the accuracy of each fold, with their means and intervals.

    Args:
        rows: of the folds that finished.
        folds: k.
        title: what was trained on what.
        path: of the PNG file.
    """
    shown = [name for name in (LAST, BEST, TEST) if any(row.get(name) is not None for row in rows)]
    with _drawing(path, (1.7 * len(shown) + 1.6, 3.9)) as figure:
        axes = figure.subplots()
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        for place, name in enumerate(shown):
            own = [row for row in rows if row.get(name) is not None]
            for row in own:
                shift = place - 0.22 + 0.3 * row["fold"] / max(folds - 1, 1)
                axes.plot(shift, row[name], "o", color=GREY, markersize=4.5, alpha=0.85)
                axes.annotate(
                    str(row["fold"]), (shift, row[name]), (0, 5), textcoords="offset points", ha="center", fontsize=7
                )
            found = mean_share(own, name, folds)
            sides = None if math.isnan(found.low) else [[found.mean - found.low], [found.high - found.mean]]
            axes.errorbar(place + 0.25, found.mean, yerr=sides, color=BLUE, marker="D", markersize=5, capsize=4)
            axes.annotate(
                f"{found.mean:.1%}", (place + 0.25, found.mean), (7, 0), textcoords="offset points", va="center",
                color=BLUE, fontsize=8,
            )  # fmt: skip
        axes.set_xticks(range(len(shown)), [NAMES[name].replace(", ", ",\n") for name in shown])
        axes.set_xlim(-0.5, len(shown) - 0.3)
        axes.grid(axis="x", visible=False)
        axes.set_ylabel("accuracy")
        axes.yaxis.set_major_formatter(FuncFormatter(_percent))
