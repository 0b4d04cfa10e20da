"""What an evaluation of pixels leaves in its folder: figures for `dvc metrics`, tables, mosaics for people."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from striate.evaluation import figures, pixel_metrics
from striate.evaluation.pixel_figures import Labelled, iou_of_classes, mosaic
from striate.evaluation.tables import without_markup, write_csv
from striate.storage import write_json

SHOWN = 6  # pictures of a mosaic
_COUNTS = ("hits", "true", "predicted")
FILES = (
    "metrics.json", "evaluation.json", "per_class.csv", "per_picture.csv", "pixel_counts.csv", "confusion.csv",
    "confusion_matrix.png", "iou.png", "mosaic.png", "mosaic_worst.png",
)  # fmt: skip


def spread(count: int, wanted: int = SHOWN) -> tuple[int, ...]:
    """Places of so many pictures, evenly over a split of `count`."""
    return tuple(sorted({round(place) for place in np.linspace(0, count - 1, min(wanted, count))}))


def write_pixel_report(
    folder: Path,
    state: Mapping[str, Any],
    classes: Sequence[str],
    colours: Sequence[Sequence[int]],
    names: Sequence[str],
    sums: np.ndarray,
    shown: Mapping[str, Sequence[int]],
    picture: Callable[[int], Labelled],
) -> dict[str, float]:
    """Writes the tables and pictures of `FILES`; `metrics.json` comes last and marks the rest as complete.

    The same evaluation gives the same bytes.

    Args:
        folder: as `report.begin_report` left it.
        state: sums over the split, as `PixelTally.numpy` gives them.
        classes: K names, index = value in masks.
        colours: K times (red, green, blue).
        names: of the N pictures.
        sums: (N, 3, K) pixels of each picture: hits, true and predicted of each class.
        shown: file → places of the pictures in it.
        picture: what is drawn of a place.

    Returns:
        The content of `metrics.json`: samples (pictures), pixels, `pixel_metrics.segmentation_figures`, their
        intervals, and `iou/CLASS` of each class that has pixels.

    Raises:
        ValueError: sums that are not those of the pictures, or not finite.
        StorageError: a file cannot be written.
    """
    if not np.array_equal(sums.sum(0), [state["confusion"].diagonal(), *map(state["confusion"].sum, (1, 0))]):
        raise ValueError("expected sums of the pictures that are those of the confusion matrix")
    table = pixel_metrics.class_table(state, [without_markup(name) for name in classes])
    results = {
        "samples": len(names),
        "pixels": int(state["confusion"].sum()),
        **pixel_metrics.segmentation_figures(state),
        **pixel_metrics.segmentation_intervals(sums),
        **{f"iou/{row['class']}": row["iou"] for row in table if row["pixels"]},
    }
    if not all(math.isfinite(value) for value in results.values()):
        raise ValueError("expected sums that are finite: JSON has no other numbers")
    _write_tables(folder, state["confusion"], classes, names, sums, table)
    figures.confusion_matrix(state["confusion"], classes, folder / "confusion_matrix.png", normalised=True)
    iou = np.where(state["confusion"].sum(1) > 0, pixel_metrics.intersection_over_union(state["confusion"]), np.nan)
    iou_of_classes(iou, classes, folder / "iou.png", mean=results["miou"])
    for file, places in shown.items():
        title = (
            "The pictures with the least mean IoU" if "worst" in file else f"{len(places)} of {len(names):,} pictures"
        )
        mosaic([picture(place) for place in places], classes, colours, folder / file, title=title)
    results = dict(sorted(results.items()))
    write_json(folder / "metrics.json", results)
    return results


def _write_tables(
    folder: Path,
    confusion: np.ndarray,
    classes: Sequence[str],
    names: Sequence[str],
    sums: np.ndarray,
    table: Sequence[Mapping[str, Any]],
) -> None:
    write_csv(folder / "per_class.csv", tuple(table[0]), table)
    write_csv(folder / "per_picture.csv", ("name", "pixels", "pixel_accuracy", "miou"), _per_picture(names, sums))
    write_counts(folder / "pixel_counts.csv", classes, names, sums)
    cells = ({"true": classes[row], "predicted": classes[column], "pixels": int(confusion[row, column])}
             for row, column in np.argwhere(confusion))  # fmt: skip
    write_csv(folder / "confusion.csv", ("true", "predicted", "pixels"), cells)


def write_counts(path: Path, classes: Sequence[str], names: Sequence[str], sums: np.ndarray) -> None:
    """Writes how many pixels of each class each picture has: hits, true and predicted; classes that it lacks are left
    out, and a picture without any has one row without a class.

    Args:
        path: of the table.
        classes: K names.
        names: of the N pictures.
        sums: (N, 3, K) pixels: hits, true and predicted.
    """
    rows = []
    for name, picture in zip(names, sums, strict=True):
        found = np.flatnonzero(picture.any(axis=0))
        rows += [
            {"name": name, "class": classes[label]} | dict(zip(_COUNTS, picture[:, label].tolist(), strict=True))
            for label in found.tolist()
        ] or [{"name": name}]
    write_csv(path, ("name", "class", *_COUNTS), rows)


def _per_picture(names: Sequence[str], sums: np.ndarray) -> list[dict[str, Any]]:
    scores = pixel_metrics.iou_of_pictures(sums)
    hits, true = sums[:, 0].sum(1), sums[:, 1].sum(1)
    return [
        {"name": name, "pixels": int(true[place]), "miou": float(scores[place]),
         "pixel_accuracy": hits[place] / true[place] if true[place] else None}
        for place, name in enumerate(names)
    ]  # fmt: skip
