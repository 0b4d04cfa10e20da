"""What has become of the cells of a study: each run directory is its own record, so that nothing is kept twice."""

import csv
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from striate import runs
from striate.pipelines.study_cells import Cell

SETTLED = ("finished", "diverged")  # a cell that diverged would diverge again
COLUMNS = (
    *("arm", "x", "seed", "status", "test_accuracy", "val_accuracy", "gain", "train_error", "train_loss"),
    *("epochs_to_25", "reached", "epochs", "parameters", "mult_adds", "seconds", "cell", "reason"),
)
_TARGET = 0.25  # training error of AlexNet's Fig. 1


def status(folder: Path) -> str:
    """How far a cell is: new, running, finished, interrupted, diverged or failed."""
    return (runs.read(folder) or {"status": "new"})["status"]


def is_free(folder: Path) -> bool:
    """Whether no living process works in a run directory, such as one that a killed study left behind."""
    if not folder.is_dir():
        return True
    run = runs.Run(folder)
    free = run.acquire()
    run.release()
    return free


def discard_outdated(folder: Path) -> None:
    """Removes half a cell of other code: it cannot go on to the bit, and what it was is easily computed again."""
    facts: dict[str, Any] = runs.read(folder) or {}
    if (
        facts.get("status") not in (None, *SETTLED)
        and facts.get("hashes", {}).get("code") != runs.code_version()["hash"]
    ):
        shutil.rmtree(folder)


def rows_of(content: Mapping[str, Any], cells: Sequence[Cell], folder: Path) -> list[dict[str, Any]]:
    """The rows of results.csv, one a cell, with the gain over the arm that each is counted against.

    Args:
        content: the study.
        cells: of it.
        folder: of it.
    """
    rows = [row_of(cell, folder, content.get("diverged_accuracy")) for cell in cells]
    reached = {(row["arm"], row["seed"]): row.get("test_accuracy") for row in rows}  # those counted from have one x
    for row in rows:
        against = content["arms"].get(row["arm"], {}).get("against")
        own, other = row.get("test_accuracy"), reached.get((against, row["seed"]))
        if own is not None and other is not None:
            row["gain"] = own - other
    return rows


def row_of(cell: Cell, folder: Path, diverged_accuracy: float | None) -> dict[str, Any]:
    """The row of results.csv for a cell.

    Args:
        cell: which.
        folder: of the study.
        diverged_accuracy: what the accuracies of a diverged cell count as; None leaves them out.
    """
    place = folder / "cells" / cell.name
    facts, history = runs.read(place) or {"status": "new"}, history_of(place)
    metrics_file = place / "metrics.json"
    metrics = json.loads(metrics_file.read_text(encoding="utf-8")) if metrics_file.is_file() else {}
    row: dict[str, Any] = {
        "arm": cell.arm,
        "x": cell.point.get("x"),
        "seed": cell.seed,
        "status": facts["status"],
        "parameters": cell.parameters,
        "mult_adds": cell.mult_adds,
        "cell": cell.name,
        "reason": facts.get("reason"),
        "epochs": len(history),
        "seconds": round(sum(line["seconds"] for line in history), 1),
    }
    if facts["status"] == "diverged" and diverged_accuracy is not None:
        row |= {"test_accuracy": diverged_accuracy, "val_accuracy": diverged_accuracy}
    if facts["status"] == "finished" and history:
        reached = epochs_until([line["train/error_micro"] for line in history], _TARGET)
        row |= {
            "test_accuracy": metrics.get("test/top1_micro"),
            "val_accuracy": metrics.get("val/top1_micro"),
            "train_error": history[-1]["train/error_micro"],
            "train_loss": history[-1]["train/loss"],
            "epochs_to_25": len(history) if reached is None else round(reached, 3),
            "reached": reached is not None,
        }
    return row


def history_of(run_dir: Path) -> list[dict[str, float]]:
    """history.csv as numbers, one row an epoch; what is empty is left out."""
    try:
        with open(run_dir / "history.csv", newline="", encoding="utf-8") as stream:
            return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
    except OSError:
        return []


def epochs_until(errors: list[float], target: float) -> float | None:
    """Epochs until a curve is down at `target`, between two epochs on a straight line; None when it never is.

    The error of an epoch is the mean over its steps, as the network was then.
    """
    before, place = 1.0, 0.0
    for epoch, error in enumerate(errors, start=1):
        if error <= target:
            return place + (epoch - place) * (before - target) / (before - error) if before > error else float(epoch)
        if math.isfinite(error):
            before, place = error, float(epoch)
    return None
