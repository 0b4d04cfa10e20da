"""`python src/sweep_report.py`: what the trials of a sweep have found, and the command that trains the best again."""

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from striate import runs
from striate.configuration import plain
from striate.errors import ConfigurationError
from striate.evaluation.sweep_figures import Line, importance_bars, parallel_coordinates
from striate.evaluation.tables import write_csv
from striate.messages import say, shown
from striate.sweeping.importance import importances
from striate.sweeping.ledger import Ledger, Trial, find
from striate.sweeping.space import Space, space_of

ROWS = 20
HEADLINES = ("test/top1_micro", "test/miou", "test/pixel_accuracy", "test/loss")


def run(cfg: DictConfig) -> dict[str, float]:
    """Reports a sweep.

    Returns:
        How many trials there are, and the best value.

    Raises:
        ConfigurationError: no such sweep, or one without trials.
    """
    config = plain(cfg)
    ledger = find(config["sweep"], Path(config["paths"]["runs_dir"]))
    if not ledger.trials():
        raise ConfigurationError(f"{shown(ledger.folder)} has no trials yet", do="wait for the first")
    return conclude(ledger, config["rows"])


def conclude(ledger: Ledger, rows: int = ROWS) -> dict[str, float]:
    """Writes trials.csv and the pictures, prints the table, and names the best trial."""
    about, trials = ledger.description(), ledger.trials()
    mode = (about.get("monitor") or {}).get("mode", "max")
    metric = next((trial.metric for trial in trials if trial.metric), "")
    ranked = sorted(trials, key=lambda trial: order_of(trial, mode))
    axes = list(dict.fromkeys(name for trial in trials for name in trial.varied))
    write_csv(ledger.folder / "trials.csv", columns(axes, metric), [row_of(trial, metric) for trial in ranked])
    say_table(ledger, ranked[:rows], axes, metric, len(trials))
    figures: dict[str, float] = {"trials": len(trials)}
    files = ["trials.csv"]
    finished = [trial for trial in ranked if trial.status == "finished" and trial.value is not None]
    if finished:
        space = space_of(about.get("space", {}))
        shares = importances(finished, space, mode)
        if shares:
            listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
            say(f"What mattered (of {len(finished)} finished trials): {listed}")
            importance_bars(shares, ledger.folder / "importance.png", metric=metric, trials=len(finished))
            files.append("importance.png")
        picture(ledger, ranked, axes, space, metric, mode)
        files.append("parallel_coordinates.png")
        say_best(finished[0], about, metric)
        figures["best"] = float(finished[0].value or 0)
    note_mixture(finished)
    note_others(about.get("elsewhere") or {}, metric)
    say("Worth opening: " + ", ".join(shown(ledger.folder / name) for name in files))
    return figures


def order_of(trial: Trial, mode: str) -> tuple[int, float, int]:
    """Finished trials first, the best of them before the others."""
    value = trial.value if trial.value is not None else 0.0
    worth = -value if mode == "max" else value
    rank = 0 if trial.status == "finished" and trial.value is not None else 1 if trial.value is not None else 2
    return rank, worth, trial.number


def columns(axes: Sequence[str], metric: str) -> list[str]:
    """Those of trials.csv."""
    return ["trial", *axes, *([metric] if metric else []), "status", "seconds", "run_dir", "found_in", "reason"]


def row_of(trial: Trial, metric: str) -> dict[str, Any]:
    """The row of a trial."""
    seconds = round(trial.ended - trial.started, 1) if trial.ended else None
    facts = {"trial": trial.number, "status": trial.status, "seconds": seconds, "run_dir": trial.run_dir}
    return {**trial.varied, metric: trial.value, **facts, "found_in": trial.found_in, "reason": trial.reason}


def say_table(ledger: Ledger, shown_trials: Sequence[Trial], axes: Sequence[str], metric: str, total: int) -> None:
    """The best trials on the screen."""
    counts = Counter(trial.status for trial in ledger.trials())
    states = ", ".join(f"{number} {state}" for state, number in counts.most_common())
    say(f"\nSweep {ledger.folder.name}: {states}")
    table = Table()
    leaves = Counter(name.rpartition(".")[2] for name in axes)
    short = [leaf if leaves[leaf := name.rpartition(".")[2]] == 1 else name for name in axes]
    for name in ["trial", *short, *([metric] if metric else []), "status"]:
        table.add_column(name, justify="right" if name in ("trial", metric) else "left")
    for trial in shown_trials:
        value = ["" if trial.value is None else f"{trial.value:.4f}"] if metric else []
        table.add_row(str(trial.number), *(trial.varied.get(name, "") for name in axes), *value, trial.status)
    Console().print(table)
    if total > len(shown_trials):
        say(f"… and {total - len(shown_trials)} more in trials.csv")


def say_best(best: Trial, about: dict[str, Any], metric: str) -> None:
    """The best trial, its test figures, and its command."""
    figures = (runs.read(Path(best.run_dir)) or {}).get("metrics", {}) if best.run_dir else {}
    tests = ", ".join(f"{name} {figures[name]:.4f}" for name in HEADLINES if name in figures)
    say(f"Best: trial {best.number}, {metric} {best.value:.4f} ({best.title})")
    if tests:
        say(f"  its test figures, which selected nothing: {tests}")
    if best.run_dir:
        say(f"  its run: {shown(Path(best.run_dir))}")
    command = ["python", about.get("script", "src/train.py"), *about.get("sources", []), *best.words]
    say(f"Train it again: {shlex.join(command)}")


def note_mixture(finished: Sequence[Trial]) -> None:
    """Says where trials cannot be compared: other data, or other code."""
    for name in ("data", "code"):
        hashes = {
            (runs.read(Path(trial.run_dir)) or {}).get("hashes", {}).get(name) for trial in finished if trial.run_dir
        }
        if len(hashes - {None}) > 1:
            say(f"Note: these trials were made with {len(hashes)} versions of the {name}; resume=never trains all anew")


def note_others(elsewhere: dict[str, Any], metric: str) -> None:
    """Says what the study has on machines that share its database alone, as of the end of the last command here."""
    if elsewhere.get("trials"):
        best = "" if elsewhere["best"] is None else f", the best of them with {metric} {elsewhere['best']:.4f}"
        say(f"Note: {elsewhere['trials']} more trials count in this study{best}; they are reported where they ran")


def picture(ledger: Ledger, ranked: Sequence[Trial], axes: Sequence[str], space: Space, metric: str, mode: str) -> None:
    """parallel_coordinates.png"""
    lines = [
        Line(trial.varied, trial.value, trial.status == "finished") for trial in ranked if trial.status != "running"
    ]
    kinds = {name: space.get(name) for name in axes}
    logs = {name: None if kind is None or kind.kind == "choice" else kind.log for name, kind in kinds.items()}
    path = ledger.folder / "parallel_coordinates.png"
    parallel_coordinates(lines, logs, path, metric=metric, mode=mode, title=f"Sweep {ledger.folder.name}")
