"""What is said of a network that labels pixels, computed from one confusion matrix over all pixels of a set.

A class without a pixel in the truth counts in no mean: nothing is known of how well it is found. Over no pixels at all
there are no figures: `ValueError`.

The boundary F1 (Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?"; as in SegNet 2017)
compares outlines: precision is the share of a class's predicted boundary pixels that have a true one of the class
within `boundary_tolerance`, recall the same the other way round; the mean over the classes whose boundary a picture
shows, then over pictures. Per class the counts are summed over the set before they are divided.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from striate.evaluation.metrics import Counts, Floats, _shares, macro

TOLERANCE = 0.0075  # of the picture's diagonal, Csurka et al.'s
RESAMPLES = 1000  # of a bootstrap


def boundary_tolerance(height: int, width: int) -> int:
    """How far a boundary pixel may lie from its twin, in pixels: 0.75 % of the diagonal, rounded, at least 1."""
    return max(1, round(TOLERANCE * (height * height + width * width) ** 0.5))


def intersection_over_union(confusion: Counts) -> Floats:
    """Of each class, (..., K), NaN where it is neither true nor predicted anywhere.

    Args:
        confusion: (..., K, K) pixels, true classes in rows, predicted ones in columns.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _shares(hits, confusion.sum(-1) + confusion.sum(-2) - hits)


def iou_of_pictures(sums: np.ndarray) -> np.ndarray:
    """Mean IoU of each picture over the classes that it shows, (N,), NaN where no pixel has a label.

    Args:
        sums: (N, 3, K) as `segmentation_intervals` takes them.
    """
    hits, true, said = np.moveaxis(sums, 1, 0)
    shown = true > 0
    iou = hits / np.maximum(true + said - hits, 1)
    count = shown.sum(1)
    return np.where(count > 0, (iou * shown).sum(1) / np.maximum(count, 1), np.nan)


def class_boundary_f1(state: Mapping[str, Any]) -> Floats:
    """Of each class, (K,), NaN where the truth has no boundary of it, 0 where none of its boundary is met.

    Args:
        state: (K,) counts of boundary pixels: boundary_true, boundary_predicted, and how many of them have a twin,
            boundary_found and boundary_right.
    """
    recall = _shares(state["boundary_found"], state["boundary_true"])
    precision = np.nan_to_num(_shares(state["boundary_right"], state["boundary_predicted"]))
    total = precision + recall
    return np.where(np.isnan(recall), np.nan, 2 * precision * recall / np.where(total > 0, total, 1.0))


def segmentation_figures(state: Mapping[str, Any]) -> dict[str, float]:
    """Every figure of a network that labels pixels.

    Args:
        state: NumPy arrays under the names of `pixel_tally.PixelTally.state`.

    Returns:
        `loss` (weighted mean over pixels), `pixel_accuracy`, `mean_class_accuracy`, `miou`, `fwiou` (IoU weighted by
        the classes' true pixels) and `boundary_f1` (left out where no picture has a boundary). All in 0 to 1 but the
        first.

    Raises:
        ValueError: no labelled pixel.
    """
    confusion = state["confusion"]
    pixels, true = int(confusion.sum()), confusion.sum(axis=1)
    if pixels < 1:
        raise ValueError("expected labelled pixels, got none")
    hits, iou = confusion.diagonal(), intersection_over_union(confusion)
    figures = {
        "loss": float(state["criterion"]) / (float(state["criterion_weight"]) or 1.0),
        "pixel_accuracy": int(hits.sum()) / pixels,
        "mean_class_accuracy": macro(_shares(hits, true), true),
        "miou": macro(iou, true),
        "fwiou": float((np.nan_to_num(iou) * true).sum() / pixels),
    }
    if outlined := int(state["boundary_pictures"]):
        figures["boundary_f1"] = float(state["boundary_f1"]) / outlined
    return figures


def segmentation_intervals(pictures: Counts, *, seed: int = 0) -> dict[str, float]:
    """95 % intervals by drawing whole pictures anew with replacement: pixels of one picture are no independent samples.

    Args:
        pictures: (N, 3, K) pixels of each picture: hits, true and predicted of each class.
        seed: of the 1,000 drawings.

    Returns:
        `miou_low`, `miou_high`, `pixel_accuracy_low`, `pixel_accuracy_high`.

    Raises:
        ValueError: no pictures.
    """
    if not len(pictures):
        raise ValueError("expected at least one picture, got none")
    draws = np.random.default_rng(seed).multinomial(len(pictures), [1 / len(pictures)] * len(pictures), RESAMPLES)
    bounds = {name: np.percentile(values, [2.5, 97.5]) for name, values in drawn_figures(pictures, draws).items()}
    return {
        f"{name}_{end}": float(pair[place])
        for name, pair in bounds.items()
        for place, end in enumerate(("low", "high"))
    }


def drawn_figures(pictures: Counts, draws: Counts) -> dict[str, Floats]:
    """`miou` and `pixel_accuracy` of sets of pictures, each (R,).

    Args:
        pictures: (N, 3, K) as `segmentation_intervals` takes them.
        draws: (R, N) how often each picture is in each set.
    """
    hits, true, predicted = np.moveaxis(np.tensordot(draws, pictures, axes=1), 1, 0)  # each (R, K)
    iou, shown = _shares(hits, true + predicted - hits), true > 0
    return {
        "miou": (np.nan_to_num(iou) * shown).sum(1) / np.maximum(shown.sum(1), 1),
        "pixel_accuracy": hits.sum(1) / np.maximum(true.sum(1), 1),
    }


def class_table(state: Mapping[str, Any], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """One row a class: class, pixels (true ones), iou, accuracy (recall), precision, boundary_f1; NaN where there is
    nothing to divide by.

    Raises:
        ValueError: another number of names than of classes.
    """
    confusion = state["confusion"]
    if len(class_names) != len(confusion):
        raise ValueError(f"expected {len(confusion)} class names, got {len(class_names)}")
    hits, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    columns = {
        "pixels": true,
        "iou": intersection_over_union(confusion),
        "accuracy": _shares(hits, true),
        "precision": _shares(hits, predicted),
        "boundary_f1": class_boundary_f1(state),
    }
    return [
        {"class": name} | {column: values[place].item() for column, values in columns.items()}
        for place, name in enumerate(class_names)
    ]
