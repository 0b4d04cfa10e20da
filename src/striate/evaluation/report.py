"""What an evaluation leaves in its folder: figures for `dvc metrics`, tables for `dvc plots`, pictures for people."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.evaluation import figures, metrics
from striate.evaluation.tables import without_markup, write_csv
from striate.storage import storage_errors, write_json

GALLERY = 30  # mistakes that are shown
_PLOTTED_CLASSES = 60  # a browser draws a matrix of 60 × 60 cells, not one of 1,000 × 1,000
FILES = (
    "metrics.json", "evaluation.json", "per_class.csv", "confusion.csv", "reliability.csv", "predictions.csv",
    "mistakes.csv", "confusion_matrix.png", "confusion_matrix_normalised.png", "reliability.png", "mistakes.png",
)  # fmt: skip
CALIBRATED_FILES = ("reliability_calibrated.csv",)  # besides, where there is a temperature
_COLUMNS = ("name", "true", "predicted", "probability")
_BINS = ("low", "high", "samples", "confidence", "accuracy")


@dataclass(frozen=True)
class Predictions:
    """What a network said of each sample of a split, in the split's order.

    Args:
        names: (N,) of the picture files.
        targets: (N,) labels.
        predicted: (N,) labels.
        probability: (N,) of the predicted label, through the temperature if there is one.
        temperature: by which logits were divided, or None.
    """

    names: Sequence[str]
    targets: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    temperature: float | None = None

    def mistakes(self) -> np.ndarray:
        """Places of the wrong predictions, the most confident first."""
        wrong = np.flatnonzero(self.predicted != self.targets)
        return wrong[np.argsort(-self.probability[wrong], kind="stable")]


def begin_report(folder: Path, record: Mapping[str, Any]) -> None:
    """Makes the folder and writes `evaluation.json`, so that a place which cannot be written is found before the work.

    Args:
        folder: made where it is missing; an earlier evaluation in it counts as incomplete from now on.
        record: what is evaluated: checkpoint, data, code.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("metrics.json", *CALIBRATED_FILES):
            (folder / name).unlink(missing_ok=True)
    write_json(folder / "evaluation.json", dict(record))


def write_report(
    folder: Path,
    state: Mapping[str, Any],
    class_names: Sequence[str],
    predictions: Predictions,
    pictures: Callable[[np.ndarray], np.ndarray],
) -> dict[str, float]:
    """Writes the tables and pictures of `FILES`; `metrics.json` comes last and marks the rest as complete.

    The same evaluation gives the same bytes.

    Args:
        folder: as `begin_report` left it.
        state: sums over the split, as `ClassificationTally.numpy` gives them.
        class_names: index = label.
        predictions: of each sample.
        pictures: `pictures(places)` gives (B, H, W, C) uint8, what the network saw of the samples at these places.

    Returns:
        The content of `metrics.json`: samples, the figures of `metrics.classification_figures` and their intervals.

    Raises:
        ValueError: the sums are not those of the predictions, or not finite.
        StorageError: a file cannot be written.
    """
    confusion = state["confusion"]
    if int(confusion.sum()) != len(predictions.targets):
        raise ValueError(f"expected {len(predictions.targets)} samples in the sums, got {int(confusion.sum())}")
    results = {
        "samples": len(predictions.targets),
        **metrics.classification_figures(state),
        **metrics.classification_intervals(state),
    }
    if not all(math.isfinite(value) for value in results.values()):
        raise ValueError("expected sums that are finite: JSON has no other numbers")
    _write_tables(folder, state, class_names, predictions)
    _draw(folder, state, class_names, predictions, pictures)
    results = dict(sorted(results.items()))
    write_json(folder / "metrics.json", results)
    return results


def _write_tables(folder: Path, state: Mapping[str, Any], class_names: Sequence[str], predictions: Predictions) -> None:
    rows = metrics.class_table(state["confusion"], [without_markup(name) for name in class_names])
    write_csv(folder / "per_class.csv", ("class", "samples", "precision", "recall", "f1"), rows)
    write_csv(folder / "reliability.csv", _BINS, metrics.reliability(*metrics.bins_of(state)))
    if predictions.temperature is not None:
        after = metrics.reliability(*metrics.bins_of(state, metrics.CALIBRATED))
        write_csv(folder / CALIBRATED_FILES[0], _BINS, after)
    everything = write_predictions(folder / "predictions.csv", class_names, predictions)
    write_csv(folder / "mistakes.csv", _COLUMNS, (everything[place] for place in predictions.mistakes()))
    write_csv(folder / "confusion.csv", ("actual", "predicted"), _plotted(state["confusion"], class_names, predictions))


def write_predictions(path: Path, class_names: Sequence[str], predictions: Predictions) -> list[dict[str, Any]]:
    """Writes one row a sample, in the split's order, and gives the rows: name, true, predicted, probability."""
    columns = (predictions.names, predictions.targets, predictions.predicted, predictions.probability)
    rows = [
        dict(zip(_COLUMNS, (name, class_names[true], class_names[said], float(probability)), strict=True))
        for name, true, said, probability in zip(*columns, strict=True)
    ]
    write_csv(path, _COLUMNS, rows)
    return rows


def _plotted(confusion: np.ndarray, class_names: Sequence[str], predictions: Predictions) -> list[dict[str, str]]:
    """One row a sample, which `dvc plots` counts (templates confusion and confusion_normalized).

    Of more than 60 classes, those with the most mistakes, and only the samples among them.
    """
    wrong = confusion.sum(axis=1) + confusion.sum(axis=0) - 2 * confusion.diagonal()
    shown = np.zeros(len(class_names), bool)
    shown[np.argsort(-wrong, kind="stable")[:_PLOTTED_CLASSES]] = True
    names = [without_markup(name) for name in class_names]
    return [
        {"actual": names[true], "predicted": names[predicted]}
        for true, predicted in zip(predictions.targets, predictions.predicted, strict=True)
        if shown[true] and shown[predicted]
    ]


def _draw(
    folder: Path,
    state: Mapping[str, Any],
    class_names: Sequence[str],
    predictions: Predictions,
    pictures: Callable[[np.ndarray], np.ndarray],
) -> None:
    for name, normalised in (("confusion_matrix.png", False), ("confusion_matrix_normalised.png", True)):
        figures.confusion_matrix(state["confusion"], class_names, folder / name, normalised=normalised)
    temperature = predictions.temperature
    calibrated = None if temperature is None else (*_bins_and_error(state, metrics.CALIBRATED), temperature)
    figures.reliability_diagram(*_bins_and_error(state), folder / "reliability.png", calibrated=calibrated)
    draw_mistakes(folder / "mistakes.png", class_names, predictions, pictures)


def draw_mistakes(
    path: Path,
    class_names: Sequence[str],
    predictions: Predictions,
    pictures: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Draws the most confident mistakes; the arguments are those of `write_report`."""
    mistakes = predictions.mistakes()
    shown = mistakes[:GALLERY]
    gallery = [
        {
            "image": image,
            "true": class_names[predictions.targets[place]],
            "predicted": class_names[predictions.predicted[place]],
            "confidence": float(predictions.probability[place]),
            "name": predictions.names[place],
        }
        for place, image in zip(shown, pictures(shown) if len(shown) else (), strict=True)
    ]
    figures.mistakes_gallery(gallery, path, total=len(mistakes))


def _bins_and_error(state: Mapping[str, Any], form: str = "{}") -> tuple[list[dict[str, float]], float]:
    bins = metrics.bins_of(state, form)
    return metrics.reliability(*bins), metrics.expected_calibration_error(*bins)
