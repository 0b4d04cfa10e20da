"""`python src/cross_validate.py`: one training for each fold, and what they say together."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from striate import runs
from striate.configuration import plain
from striate.errors import ConfigurationError, StriateError
from striate.evaluation.cross_validation import (
    BEST,
    LAST,
    NAMES,
    TEST,
    chosen_by_fold,
    folds_figure,
    mean_share,
    together,
)
from striate.evaluation.study_report import shown as worded
from striate.evaluation.tables import write_csv
from striate.evaluation.typesetting import wide_console
from striate.messages import calm_libraries, say, shown
from striate.pipelines.requiring import monitored
from striate.pipelines.starting import typed_words
from striate.pipelines.study import compute, hold, planned
from striate.pipelines.study_cells import Cell, prepared
from striate.pipelines.study_ledger import history_of
from striate.pipelines.study_words import composed, merged, quoted
from striate.pipelines.study_workers import worker_count
from striate.pipelines.train import build_datamodule
from striate.storage import write_json

OWN = ("workers", "output_dir", "plan", "data.folds", "data.fold")  # of the words, those that folds do not share
COLUMNS = ("fold", "status", "samples", LAST, BEST, TEST, "val/recall_macro_last", "best_epoch", "epochs", "run_dir")


def run(cfg: DictConfig, words: Sequence[str] | None = None) -> dict[str, float]:
    """Trains the folds that have not finished yet, then writes folds.csv, metrics.json and folds.png.

    Args:
        cfg: of the command.
        words: of its command line; None: those of this process.

    Returns:
        Means and bounds over the folds, and the accuracy over all their pictures.

    Raises:
        StriateError: a mistake of the person's, or folds that failed (after the results of the others are written).
    """
    calm_libraries()
    config = plain(cfg)
    cells = cells_of(config, typed_words() if words is None else words)
    name = config["model"]["_target_"].rsplit(".", 1)[-1].lower()
    folder = Path(config["output_dir"] or default_folder(config, f"{name}_{build_datamodule(cells[0].config).name}"))
    if config["plan"]:
        return planned(f"cross-validation of {name}", cells, folder)
    held = hold(folder)
    try:
        cells = prepared(cells)
        compute(cells, folder, worker_count(config["workers"], cells), f"cross-validation of {name}")
        return conclude(cells, [row_of(cell, folder) for cell in cells], folder, name)
    finally:
        held.release()


def cells_of(config: Mapping[str, Any], words: Sequence[str]) -> list[Cell]:
    """The trainings, one a fold, composed and checked.

    Raises:
        ConfigurationError: `data.fold`, or a place for a single run.
    """
    for key in ("run_dir", "ckpt_path"):
        if config[key] is not None:
            raise ConfigurationError(f"{key}={config[key]}: each fold has its own", do="output_dir=PATH for all folds")
    if config["data"]["folds"] is None or config["data"]["fold"] is not None:
        raise ConfigurationError("every fold is trained", do="say how many: data.folds=5, and not data.fold")
    shared = [word for word in words if word.partition("=")[0].lstrip("+") not in OWN]
    places = [f"paths.{key}={quoted(value)}" for key, value in config["paths"].items() if key != "root_dir"]
    folds, cells = config["data"]["folds"], []
    for fold in range(folds):
        own = merged([*shared, *places, f"data.folds={folds}", f"data.fold={fold}"])
        cells.append(Cell("fold", {"x": fold}, config["seed"], own, composed(own)))
    return cells


def default_folder(config: Mapping[str, Any], label: str) -> Path:
    """Where results go when nobody says: the same for the same computation."""
    content = json.dumps(runs.with_effect({**config, "workers": None}), sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode()).hexdigest()[:6]
    return Path(config["paths"]["runs_dir"]) / "cross_validation" / f"{label}_{digest}"


def row_of(cell: Cell, folder: Path) -> dict[str, Any]:
    """The row of folds.csv for a fold."""
    place = folder / "cells" / cell.name
    facts, history = runs.read(place) or {"status": "new"}, history_of(place)
    samples = build_datamodule(cell.config).meta.samples["val"]
    row: dict[str, Any] = {"fold": cell.point["x"], "status": facts["status"], "samples": samples}
    row |= {"run_dir": shown(place), "reason": facts.get("reason")}
    validated = [line for line in history if "val/top1_micro" in line]
    if facts["status"] == "finished" and validated:
        metrics = facts["metrics"]
        row |= {LAST: validated[-1]["val/top1_micro"], "val/recall_macro_last": validated[-1]["val/recall_macro"]}
        row |= {BEST: metrics["val/top1_micro"], TEST: metrics.get("test/top1_micro")}
        row |= {"best_epoch": metrics["best_epoch"], "epochs": metrics["epochs"]}
    return row


def conclude(cells: Sequence[Cell], rows: Sequence[dict[str, Any]], folder: Path, name: str) -> dict[str, float]:
    """Writes the results and says them."""
    from rich.table import Table

    done, folds = [row for row in rows if LAST in row], len(cells)
    write_csv(folder / "folds.csv", COLUMNS, rows)
    figures: dict[str, float] = {"folds": len(done)}
    data = build_datamodule(cells[0].config).name
    if done:
        title = f"{name} on {data}: {folds}-fold cross-validation, seed {cells[0].seed}"
        table = Table("fold", "pictures", *NAMES.values(), "macro recall, last", title=title)
        for row in done:
            values = (row[key] for key in (LAST, BEST, TEST, "val/recall_macro_last"))
            percents = ("–" if value is None else f"{value:.2%}" for value in values)
            table.add_row(str(row["fold"]), f"{row['samples']:,}", *percents)
        means = {key: mean_share(done, key, folds) for key in (LAST, BEST, TEST, "val/recall_macro_last")}
        for key in means:
            estimate = {"": means[key].mean, "_low": means[key].low, "_high": means[key].high}
            figures |= {f"{key}{end}": value for end, value in estimate.items() if value == value}
        table.add_row("mean (95 %)", "", *(worded(estimate, "test_accuracy") for estimate in means.values()))
        wide_console().print(table)
        figures |= (pooled := together(done))
        say(
            f"All {pooled['samples']:,} pictures, each by a network that did not learn it: {pooled['top1_micro']:.2%} "
            f"(95 % interval {pooled['top1_micro_low']:.2%} to {pooled['top1_micro_high']:.2%}), last epoch"
        )
        say(chosen_by_fold(monitored(cells[0].config), any(row.get(TEST) is not None for row in done)))
        folds_figure(done, folds, title, folder / "folds.png")
        say("Worth opening: " + ", ".join(shown(folder / file) for file in ("folds.png", "folds.csv")))
    write_json(folder / "metrics.json", figures)
    if failed := [row for row in rows if LAST not in row]:
        raise StriateError(
            f"{len(failed)} of {folds} folds have no figures, the first is {failed[0]['fold']}: {failed[0]['status']} "
            f"({failed[0]['reason']})",
            do=f"read {shown(folder / 'logs')}; the same command tries failed ones again and keeps the others",
        )
    return figures
