"""The cells of a study as processes of `train.py`, several at a time, each in a run directory of its own."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from striate import runs
from striate.pipelines.devices import gpu_count
from striate.pipelines.study_bases import settle_with_base, words_in
from striate.pipelines.study_cells import Cell
from striate.pipelines.study_ledger import SETTLED, discard_outdated, is_free, status
from striate.pipelines.study_nursery import Nursery, Training
from striate.pipelines.study_words import quoted
from striate.processes import gpus_of_worker

_PATIENCE = 60.0  # seconds that stopped cells have for their last checkpoint
_INTERVAL = 0.25  # seconds between two looks at the cells
_ADVICE = ("nearest valid choice:", "what to do:")  # lines of a message after the one that says what is wrong


def worker_count(workers: int | str, cells: Sequence[Cell]) -> int:
    """Processes at a time: as told, else one a GPU where cells train on GPUs, else one a core."""
    if workers != "auto":
        return int(workers)
    gpus = gpu_count() if any(cell.config["trainer"]["accelerator"] != "cpu" for cell in cells) else 0
    devices = max((number for cell in cells if isinstance(number := cell.config["trainer"]["devices"], int)), default=1)
    return max(gpus // devices, 1) if gpus else len(os.sched_getaffinity(0))


@dataclass
class Workers:
    """Runs cells until each is settled or has failed.

    Args:
        folder: of the study; run directories are in `cells`, what cells print in `logs`.
        count: processes at a time.
        on_change: called a few times a second with the cells at work, and with the cell that has just ended.
    """

    folder: Path
    count: int
    on_change: Callable[[Sequence[Cell], Cell | None], None]
    _running: dict[int, tuple[Cell, Training]] = field(default_factory=dict)
    _nursery: Nursery = field(default_factory=Nursery)

    def run(self, cells: Sequence[Cell]) -> None:
        """Computes these cells, each after its base. Ctrl-C lets those at work save themselves, so that the same
        command goes on with them.

        Raises:
            KeyboardInterrupt: Ctrl-C, once they have.
        """
        waiting = list(cells)
        try:
            while waiting or self._running:
                for slot in set(range(self.count)) - self._running.keys():
                    if (ready := self._next(waiting)) is not None:
                        self._running[slot] = ready, self._start(ready, slot)
                time.sleep(_INTERVAL)
                ended = [slot for slot, (_, process) in self._running.items() if process.poll() is not None]
                for slot in ended:
                    cell, process = self._running.pop(slot)
                    self._conclude(cell, process.returncode or 0)
                    self.on_change(self.at_work, cell)
                self.on_change(self.at_work, None)
        finally:
            self._stop()

    @property
    def at_work(self) -> list[Cell]:
        return [cell for cell, _ in self._running.values()]

    def _next(self, waiting: list[Cell]) -> Cell | None:
        """Takes the next cell that can start out of those that wait, and those that need not start any more."""
        for cell in list(waiting):
            if cell.base is not None and cell.base.name in {other.name for other in (*waiting, *self.at_work)}:
                continue
            if not is_free(self._place(cell)):
                continue
            waiting.remove(cell)
            if cell.base is None or not settle_with_base(cell, self.folder / "cells"):
                return cell
            self.on_change(self.at_work, cell)
        return None

    def _place(self, cell: Cell) -> Path:
        return self.folder / "cells" / cell.name

    def _start(self, cell: Cell, slot: int) -> Training:
        run_dir, log = self._place(cell), self.folder / "logs" / f"{cell.name}.txt"
        discard_outdated(run_dir)
        if status(run_dir) in SETTLED:  # with other weights than its base has now, or without the weights for others
            shutil.rmtree(run_dir)
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [*words_in(cell, run_dir.parent), f"run_dir={quoted(run_dir)}", "trainer.enable_progress_bar=false"]
        environment = {key: value for key, value in os.environ.items() if key != "STRIATE_RUN"}
        environment.setdefault("OMP_NUM_THREADS", "1")  # whatever the number of workers: the same bits
        devices = cell.config["trainer"]["devices"]
        if isinstance(devices, int) and (own := gpus_of_worker(environment, gpu_count(), slot, self.count, devices)):
            environment["CUDA_VISIBLE_DEVICES"] = own
        return self._nursery.start(words, log, environment)

    def _conclude(self, cell: Cell, code: int) -> None:
        """A process that was killed, or refused before it had a run directory, has not noted why."""
        folder = self._place(cell)
        if code and status(folder) in ("new", "running"):
            log = self.folder / "logs" / f"{cell.name}.txt"
            text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
            said = [line for line in text.splitlines() if line.strip() and not line.startswith(_ADVICE)]
            reason = (
                f"killed by signal {-code}"
                if code < 0
                else f"exit code {code}: {said[-1].strip()[:200] if said else 'it said nothing'}"
            )
            folder.mkdir(parents=True, exist_ok=True)
            runs.Run(folder, facts=dict(runs.read(folder) or {})).record("failed", reason=reason)

    def _stop(self) -> None:
        for _, process in self._running.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        for _, process in self._running.values():
            process.wait(max(0.1, deadline - time.monotonic()))
        self._running.clear()
        self._nursery.close()
