"""The ledger of a sweep: what has become of each trial, on disk, for any number of workers at a time.

    runs/sweeps/NAME/
      sweep.json            the command, what is varied, the engine
      study.db, identity.txt  of an Optuna study: its database, and which of its trials are this ledger's
      trials/KEY/           trial.json (its record), log.txt (what it printed), run.txt (its run directory)
      trials.csv, *.png     the report

The key of a trial is the digest of its configuration in a grid, its number in a study.
"""

import csv
import json
import math
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from striate import runs
from striate.errors import ConfigurationError, nearest
from striate.messages import shown
from striate.storage import storage_errors, write_json, write_text

FOLDER = "sweeps"  # in paths.runs_dir
SETTLED = ("finished", "pruned", "diverged")  # computed again, they would come out the same


@dataclass
class Trial:
    """One trial and what has become of it.

    Args:
        key: its directory in `trials`.
        number: from 0, in the order of the grid or of the study.
        varied: the values that are its own, as words of the command line.
        fixed: the words that all trials of its command have.
        digest: of its configuration; empty in a study.
        status: running, finished, pruned, diverged, failed or interrupted.
        value: best value of the monitored figure; None for none.
        metric: which figure that is.
        run_dir: where its run is.
        reason: why it did not finish.
        code: its exit code.
        started: when, in seconds since 1970.
        ended: when.
        found_in: the sweep that had done it before.
    """

    key: str
    number: int
    varied: dict[str, str]
    fixed: list[str] = field(default_factory=list)
    digest: str = ""
    status: str = "running"
    value: float | None = None
    metric: str | None = None
    run_dir: str | None = None
    reason: str | None = None
    code: int | None = None
    started: float = 0.0
    ended: float = 0.0
    found_in: str | None = None

    @property
    def words(self) -> list[str]:
        """Its command line."""
        return [*self.fixed, *(f"{name}={value}" for name, value in self.varied.items())]

    @property
    def title(self) -> str:
        """Its own words, for a line on the screen."""
        return " ".join(f"{name}={value}" for name, value in self.varied.items())


class Ledger:
    """The directory of a sweep."""

    def __init__(self, folder: Path):
        self.folder = folder

    def place(self, key: str) -> Path:
        """The directory of a trial."""
        return self.folder / "trials" / key

    def read(self, key: str) -> Trial | None:
        """The record of a trial, if it has one."""
        try:
            content = json.loads((self.place(key) / "trial.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        known = {entry.name for entry in fields(Trial)}
        return Trial(**{name: value for name, value in content.items() if name in known})

    def write(self, trial: Trial) -> None:
        """Writes a record, as a whole or not at all."""
        self.place(trial.key).mkdir(parents=True, exist_ok=True)
        write_json(self.place(trial.key) / "trial.json", asdict(trial))

    def forget(self, key: str) -> None:
        """Takes a record back; whoever does it holds the trial."""
        (self.place(key) / "trial.json").unlink(missing_ok=True)

    def trials(self) -> list[Trial]:
        """All records, in the order of their numbers."""
        keys = [entry.name for entry in (self.folder / "trials").glob("*/")]
        found = [trial for key in keys if (trial := self.read(key)) is not None]
        return sorted(found, key=lambda trial: (trial.number, trial.started))

    def hold(self, key: str) -> runs.Run | None:
        """The trial for this process alone, until it lets it go or dies; None while another has it."""
        self.place(key).mkdir(parents=True, exist_ok=True)
        held = runs.Run(self.place(key))
        return held if held.acquire() else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The whole ledger for this process alone, for a moment."""
        held = runs.Run(self.folder)
        while not held.acquire():
            time.sleep(0.05)
        try:
            yield
        finally:
            held.release()

    def identity(self) -> str:
        """A name that no other ledger has, wherever it lies; made by the first who asks, while the ledger is his."""
        place = self.folder / "identity.txt"
        if not place.is_file():
            write_text(place, f"{socket.gethostname()} {secrets.token_hex(8)}")
        return place.read_text(encoding="utf-8")

    def run_of(self, key: str) -> Path | None:
        """The run directory of a trial, once its run has one."""
        try:
            return Path((self.place(key) / "run.txt").read_text(encoding="utf-8"))
        except OSError:
            return None

    def describe(self, content: dict[str, Any]) -> None:
        """Writes `sweep.json`."""
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "sweep.json", content)

    def description(self) -> dict[str, Any]:
        """What `sweep.json` says; empty when there is none."""
        try:
            return json.loads((self.folder / "sweep.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}


def find(name: str, runs_dir: Path) -> Ledger:
    """The ledger that a person means by a name, a directory, or `last`.

    Raises:
        ConfigurationError: there is no such sweep.
    """
    place = runs_dir / FOLDER
    sweeps = sorted(place.glob("*/sweep.json"), key=lambda file: file.stat().st_mtime)
    if name == "last" and sweeps:
        return Ledger(sweeps[-1].parent)
    for folder in (Path(name).expanduser(), place / name):
        if (folder / "sweep.json").is_file():
            return Ledger(folder.resolve())
    names = [file.parent.name for file in sweeps]
    raise ConfigurationError(
        f"there is no sweep {name} in {shown(place)}",
        nearest=nearest(name, names),
        do=f"name one: {', '.join(names[-6:])}" if names else "python src/train.py -m optimizer.lr=0.01,0.1 makes one",
    )


def outcome_of(run_dir: Path) -> dict[str, Any]:
    """What a run says of a trial: best value of the monitored figure, its name, why the run did not finish."""
    reason = (runs.read(run_dir) or {}).get("reason")
    try:
        monitor = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))["monitor"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return {"reason": reason}
    values = [value for row in _history(run_dir) if (value := _number(row.get(monitor["metric"]))) is not None]
    best = max if monitor["mode"] == "max" else min
    return {"value": best(values) if values else None, "metric": monitor["metric"], "reason": reason}


def _history(run_dir: Path) -> list[dict[str, str]]:
    try:
        with open(run_dir / "history.csv", newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except OSError:
        return []


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
