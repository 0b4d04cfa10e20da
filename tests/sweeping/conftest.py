"""Sweeps of a trial that takes no time, so that what is tested is the sweep."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from striate.configuration.trials import Program
from striate.sweeping.grid import GridPlan, cells_of
from striate.sweeping.ledger import Ledger
from striate.sweeping.workers import Worker, new_worker


@pytest.fixture
def toy(tmp_path: Path) -> Program:
    return Program(str(Path(__file__).parent / "toy.py"), str(tmp_path), ())


@pytest.fixture
def grid(toy: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Ledger, Worker]]:
    """`grid(rates, *fixed)` makes a sweep over rates and the worker for it."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))

    def make(rates: list[str], *fixed: str, name: str = "rates", afresh: bool = False, jobs: int = 1) -> Any:
        words = [({"rate": rate}, list(fixed)) for rate in rates]
        digests = [hashlib.sha256(f"{fixed} {rate}".encode()).hexdigest() for rate in rates]
        since = time.time()
        cells = cells_of(words, digests)
        plan = GridPlan(cells, since, afresh, "c", {cell.key: {"data": "d", "weights": "w"} for cell in cells})
        worker = new_worker(tmp_path / "sweeps" / name, toy, plan, hydra_words=(), jobs=jobs, since=since)
        return Ledger(worker.folder), worker

    return make
