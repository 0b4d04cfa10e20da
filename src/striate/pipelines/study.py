"""`python src/study.py`: many trainings that answer one question, and the answer with its picture."""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from striate import runs
from striate.configuration import plain
from striate.errors import StorageError, StriateError
from striate.evaluation.study_figures import study_figure
from striate.evaluation.study_report import in_short, judged, report, summary, table
from striate.evaluation.tables import write_csv
from striate.messages import calm_libraries, say, shown
from striate.pipelines.study_bases import outstanding, words_in
from striate.pipelines.study_cells import Cell, cells_of, prepared, require_stages_of
from striate.pipelines.study_file import load
from striate.pipelines.study_ledger import COLUMNS, SETTLED, history_of, rows_of, status
from striate.pipelines.study_sizes import at_size
from striate.pipelines.study_words import quoted
from striate.pipelines.study_workers import Workers, worker_count
from striate.storage import write_text


def run(cfg: DictConfig) -> dict[str, float]:
    """Computes what is not computed yet, then writes results.csv, figure.png and report.md.

    Returns:
        The mean of each comparison, by its name, and how many cells finished.

    Raises:
        StriateError: a mistake of the person's, or cells that failed (after the results of the others are written).
    """
    calm_libraries()
    config = plain(cfg)
    name, content = load(config["study"])
    places = [f"paths.{key}={quoted(value)}" for key, value in config["paths"].items() if key != "root_dir"]
    cells = cells_of(content, config["size"], config["seeds"], [*config["overrides"], *places])
    folder = Path(config["output_dir"] or Path(config["paths"]["runs_dir"]) / "studies" / f"{name}_{config['size']}")
    if config["plan"]:
        return planned(name, cells, folder / "cells")
    held = hold(folder)
    try:
        cells = prepared(cells)
        compute(cells, folder, worker_count(config["workers"], cells), f"{name} ({config['size']})")
        return conclude(content, cells, folder, config)
    finally:
        held.release()


def planned(name: str, cells: Sequence[Cell], folder: Path) -> dict[str, float]:
    """Says what would be computed."""
    require_stages_of(cells)
    for cell in cells:
        say(f"python src/train.py {shlex.join(word for word in words_in(cell, folder) if word[:6] != 'paths.')}")
    say(f"{name}: {len(cells)} cells, {sum(cell.epochs for cell in cells)} epochs; nothing was computed")
    return {"cells": len(cells)}


def hold(folder: Path) -> runs.Run:
    """The study's folder for this process alone.

    Raises:
        StorageError: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = runs.Run(folder)
    if not held.acquire():
        raise StorageError(f"another process computes the study in {shown(folder)}", do="wait for it")
    return held


def compute(cells: Sequence[Cell], folder: Path, count: int, title: str) -> None:
    """Runs the cells that are not settled, and shows how far they are."""
    todo = outstanding(cells, folder / "cells")
    done, total = len(cells) - len(todo), sum(cell.epochs for cell in todo)
    say(f"Study {title}: {len(cells)} cells, {done} of them computed before; {count} at a time; {shown(folder)}")
    known = {cell.name: 0 for cell in todo}
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs")),
        *(TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()),
    )
    with Progress(*columns, console=Console(), disable=not sys.stdout.isatty()) as progress:
        bar = progress.add_task(title, total=total)

        def on_change(at_work: Sequence[Cell], ended: Cell | None) -> None:
            if ended is None and progress.disable:
                return
            for cell in [*at_work, *([ended] if ended else [])]:
                known[cell.name] = len(history_of(folder / "cells" / cell.name))
            if ended is not None:
                known[ended.name] = ended.epochs
                finished = sum(status(folder / "cells" / cell.name) in SETTLED for cell in cells)
                progress.console.print(
                    f"[{finished}/{len(cells)}] {ended.name}: {status(folder / 'cells' / ended.name)}", markup=False
                )
            progress.update(bar, completed=sum(known.values()))

        Workers(folder, count, on_change).run(todo)


def conclude(
    content: Mapping[str, Any], cells: Sequence[Cell], folder: Path, config: Mapping[str, Any]
) -> dict[str, float]:
    """Writes the results and says them."""
    content = at_size(content, config["size"])
    rows = rows_of(content, cells, folder)
    histories = {cell.name: history_of(folder / "cells" / cell.name) for cell in cells}
    write_csv(folder / "results.csv", COLUMNS, rows)
    study_figure(content, rows, histories, folder / "figure.png")
    listed = ",".join(f"'{word}'" for word in config["overrides"])
    overrides = f' "overrides=[{listed}]"' if listed else ""
    seeds = "" if config["seeds"] is None else f" seeds={config['seeds']}"
    seconds, first = sum(row["seconds"] for row in rows), cells[0].config
    machine = runs.environment()
    facts = {
        "command": f"`python src/study.py study={config['study']} size={config['size']}{seeds}{overrides}`",
        "cells": f"{len(rows)}, {sum(row['status'] == 'finished' for row in rows)} of them finished",
        "time": f"{seconds / 60:.0f} minutes of training in all, {machine['processor']}, "
        f"{machine['cores']} cores, torch {machine['packages']['torch']}, {first['trainer']['precision']}",
        "date": time.strftime("%Y-%m-%d"),
    }
    write_text(folder / "report.md", report(content, rows, facts))
    say("\n" + "\n".join(table(summary(content, rows))) + "\n")
    verdicts = judged(content, rows)
    for comparison, verdict, text in verdicts:
        say(f"{verdict.outcome}: {comparison['says']}\n  {text} (n = {verdict.estimate.n})")
    say(f"In short: {in_short(content, rows)}")
    say("Worth opening: " + ", ".join(shown(folder / file) for file in ("figure.png", "report.md", "results.csv")))
    failed = [row for row in rows if row["status"] not in SETTLED]
    if failed:
        raise StriateError(
            f"{len(failed)} of {len(rows)} cells failed, the first is {failed[0]['cell']}: {failed[0]['reason']}",
            do=f"read {shown(folder / 'logs')}; the same command tries them again and keeps the others",
        )
    figures = {
        key: verdict.estimate.mean for key, (_, verdict, _) in zip(content["comparisons"], verdicts, strict=True)
    }
    return figures | {"cells": len(rows)}
