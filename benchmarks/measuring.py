"""What the measurements share: interleaved repetitions, ratios with their spread, a table, and JSON.

Machines change speed from minute to minute, so that two figures compare only where they were taken side by side: all
cases are measured in turn, A B C A B C …, each repetition gives one ratio, their median and spread are said.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Case:
    """Something to measure: `measure()` takes one figure, of the same unit as that of the cases beside it."""

    name: str
    measure: Callable[[], float]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: was measured.
        unit: of the figures; of a time or a size less is better, of all else more.
        ours: one figure a repetition.
        against: the peer or the floor, where there is one.
        other: its figures, of the same repetitions.
        least: the smallest ratio wanted.
        most: the largest figure of ours wanted.
    """

    what: str
    unit: str
    ours: tuple[float, ...]
    against: str = ""
    other: tuple[float, ...] = ()
    least: float | None = None
    most: float | None = None

    @property
    def ratios(self) -> list[float]:
        """How many times as fast, or as small, as the other; one a repetition."""
        pairs = list(zip(self.ours, self.other, strict=True)) if self.other else []
        return [other / ours if less_is_better(self.unit) else ours / other for ours, other in pairs]

    @property
    def met(self) -> bool | None:
        """Whether the medians are what is wanted; None where nothing is."""
        if self.least is not None:
            return statistics.median(self.ratios) >= self.least
        return None if self.most is None else statistics.median(self.ours) <= self.most

    def cells(self) -> tuple[str, ...]:
        """What, ours, the other, ratio with its spread, goal; as text."""
        goal = f"≥ {self.least:g} ×" if self.least is not None else ""
        goal = goal if self.most is None else f"≤ {self.most:g} {self.unit}"
        verdict = {True: " ✓", False: " ✗", None: ""}[self.met]
        other = f"{self.against}: {figure(self.other, self.unit)}" if self.other else self.against
        return self.what, figure(self.ours, self.unit), other, spread(self.ratios), goal + verdict


HEADINGS = ("what", "ours", "peer or floor", "ratio: median (range)", "goal")


def less_is_better(unit: str) -> bool:
    """Whether figures of a unit are times, sizes or counts of what should not be."""
    return unit.split(" ")[0] in ("s", "MiB", "handles")


def figure(values: Sequence[float], unit: str) -> str:
    """The median, with three or more digits."""
    value = statistics.median(values)
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def spread(ratios: Sequence[float]) -> str:
    """Median and range of ratios: `1.25 (1.20–1.31)`."""
    if not ratios:
        return ""
    digits = 1 if statistics.median(ratios) >= 5 else 2
    middle, low, high = (f"{value:.{digits}f}" for value in (statistics.median(ratios), min(ratios), max(ratios)))
    return middle if len(ratios) == 1 else f"{middle} ({low}–{high})"


def interleaved(cases: Sequence[Case], repetitions: int, warm_up: bool = True) -> dict[str, tuple[float, ...]]:
    """The figures of all cases, taken in turn; a first turn is thrown away, unless the cases warm themselves up."""
    figures: dict[str, list[float]] = {case.name: [] for case in cases}
    for turn in range(-1 if warm_up else 0, repetitions):
        for case in cases:
            value = case.measure()
            say(f"{case.name}: {value:,.4g}{' (warm-up)' if turn < 0 else ''}")
            if turn >= 0:
                figures[case.name].append(value)
    return {name: tuple(values) for name, values in figures.items()}


def say(text: str) -> None:
    """Progress, beside the output."""
    print(text, file=sys.stderr, flush=True)


def rate(draw: Callable[[], int], seconds: float) -> float:
    """Samples per CPU-second: `draw` makes some and says how many."""
    start, samples = time.process_time(), 0
    while (used := time.process_time() - start) < seconds:
        samples += draw()
    return samples / used


def environment(threads: int | None = None) -> dict[str, str]:
    """Of the measured processes: no look at a network, and so many threads a process."""
    limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled", **limits}


def run(command: Sequence[str], threads: int | None = None) -> str:
    """The output of a command that is run in the repository; its messages are shown if it fails."""
    done = subprocess.run(command, cwd=ROOT, env=environment(threads), capture_output=True, text=True)
    if done.returncode:
        messages = f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{messages}")
    return done.stdout


def cpu_of(process: psutil.Process) -> float:
    """Processor time of a process and of its children, in seconds; ended children count once they were waited for."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        own = process.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                total += times.user + times.system
    return total


def run_for_json(script: str, *words: str, threads: int | None = None) -> Any:
    """What a script of this folder prints as its last line, in a process of its own."""
    return json.loads(run([sys.executable, f"benchmarks/{script}", *words], threads).splitlines()[-1])


def train_command(**overrides: Any) -> list[str]:
    """The command line of a training that measures speed alone: a fresh run, no validation, no test."""
    fixed = {"resume": "never", "test": "false", "trainer.limit_val_batches": 0}
    chosen = {**fixed, "monitor.metric": "train/loss", "monitor.mode": "min", **overrides}
    return [sys.executable, "src/train.py", *(f"{key}={value}" for key, value in chosen.items())]


def pack_overrides(folder: Path) -> dict[str, str]:
    """The data of a training: a prepared set alone, without the pictures that it came from."""
    places = {"data.root": folder / "raw", "data.prepared_dir": folder.parent, "data.name": folder.name}
    return {"data": "folder", **{key: str(value) for key, value in places.items()}}


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    found = {"cpu": names[0] if names else platform.processor(), "cores": str(len(os.sched_getaffinity(0)))}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return {**found, "python": platform.python_version(), "torch": torch.__version__}


def options(description: str | None, repetitions: int = 5) -> argparse.ArgumentParser:
    """The options that all scripts have."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=repetitions, help=f"turns of all cases ({repetitions})")
    parser.add_argument("--quick", action="store_true", help="does it run at all? One short turn; no figures to quote")
    parser.add_argument("--folder", type=Path, help="keep the measured pictures there; default: a temporary folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    return parser


def report(title: str, rows: Sequence[Row], path: Path | None) -> None:
    """Prints the table and writes the JSON."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADINGS, title=title)
    for row in rows:
        table.add_row(*row.cells())
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if path is not None:
        content = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def row_of(record: Mapping[str, Any]) -> Row:
    """A row out of JSON."""
    return Row(**{**record, "ours": tuple(record["ours"]), "other": tuple(record["other"])})


def memory_of(process: psutil.Process) -> dict[str, float]:
    """Resident and anonymous (private, of no file) memory in MiB and open files, with those of its children."""
    total = {"resident": 0.0, "anonymous": 0.0, "handles": 0.0}
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
                memory = one.memory_info()
                total["resident"] += memory.rss / 2**20
                total["anonymous"] += (memory.rss - memory.shared) / 2**20
                total["handles"] += one.num_fds()
    return total
