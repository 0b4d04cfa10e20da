"""Workers: each takes the next trial of a plan, runs it in a process of its own, and writes what came of it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from striate import runs
from striate.configuration.trials import INTERRUPTED, Program, exit_code
from striate.errors import DivergedError, PrunedRun
from striate.processes import die_with_parent, gpus_of_worker, is_gone
from striate.resumption import TRIAL
from striate.sweeping.ledger import Ledger, Trial, outcome_of
from striate.sweeping.study import STUDY

_STATES = {0: "finished", DivergedError.exit_code: "diverged", PrunedRun.exit_code: "pruned"}
_OF_A_RUN = (
    *(TRIAL, STUDY, "STRIATE_RUN", "STRIATE_COMPOSED", "HYDRA_FULL_ERROR"),
    *("LOCAL_RANK", "RANK", "WORLD_SIZE"),
)
_LOOK = 0.25  # seconds between two looks at a trial
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Plan(Protocol):
    """Where trials come from."""

    def take(self, ledger: Ledger) -> tuple[Trial, runs.Run] | None:
        """The next trial, held for this process."""

    def begin(self, ledger: Ledger, trial: Trial) -> dict[str, str]:
        """What it finds in its environment."""

    def conclude(self, ledger: Ledger, trial: Trial) -> None:
        """What came of it."""


@dataclass(frozen=True)
class Worker:
    """Runs trials of a plan until none is left; a task function for Hydra's launchers, which may send it elsewhere.

    Args:
        folder: of the sweep.
        program: starts trials.
        plan: where they come from.
        hydra_words: words of the command line that are Hydra's own, for every trial.
        jobs: workers of this command.
        since: when the command was given, in seconds since 1970.
        host: the machine on which it was given.
        pid: its process there; a worker ends its trial when that process is gone.
        tracebacks: what HYDRA_FULL_ERROR shall be.
    """

    folder: Path
    program: Program
    plan: Plan
    hydra_words: tuple[str, ...]
    jobs: int
    since: float
    host: str
    pid: int
    tracebacks: str | None = None

    @property
    def stop_file(self) -> Path:
        """Where the command says that its workers shall stop."""
        return self.folder / f".stop.{self.host}.{self.pid}"

    def __call__(self, cfg: Any = None) -> int:
        """Works; gives how many trials it has run."""
        if os.getpid() != self.pid and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the command, which tells the workers
        ledger, count = Ledger(self.folder), 0
        while not self._is_told_to_stop() and (taken := self.plan.take(ledger)) is not None:
            trial, held = taken
            try:
                trial = self._run(ledger, trial)
                ledger.write(trial)
                self.plan.conclude(ledger, trial)
            finally:
                held.release()
            count += 1
            if trial.status == "interrupted":
                break
        return count

    def _is_told_to_stop(self) -> bool:
        return self.stop_file.exists() or is_gone(self.host, self.pid)

    def _run(self, ledger: Ledger, trial: Trial) -> Trial:
        place, before = ledger.place(trial.key), ledger.read(trial.key)
        run_dir = ledger.run_of(trial.key)
        left = None if before is None or before.status != "running" else run_dir
        if left is not None and (runs.read(left) or {}).get("status") == "finished":
            return self._judged(ledger, trial, 0)  # its worker was killed after it had finished
        (place / "run.txt").unlink(missing_ok=True)
        ledger.write(trial)
        command = self.program.command(trial.words, self.hydra_words)
        # A session of its own: the terminal's Ctrl-C reaches the command alone, which passes it on once.
        process: subprocess.Popen
        with _output(place, self.jobs > 1) as streams:
            process = subprocess.Popen(
                command,
                cwd=self.program.directory,
                env=self._environment(ledger, trial),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,
                **streams,
            )
        told = False
        while True:
            try:
                returned = process.wait(_LOOK)
                break
            except subprocess.TimeoutExpired:
                if not told and self._is_told_to_stop():
                    told = True
                    process.send_signal(signal.SIGTERM)
        return self._judged(ledger, trial, exit_code(returned), told)

    def _judged(self, ledger: Ledger, trial: Trial, code: int, told: bool = False) -> Trial:
        # A trial that somebody else has stopped or killed is its own affair, but SLURM stops all at once.
        if code in INTERRUPTED:
            told = told or self._is_told_to_stop() or "SLURM_JOB_ID" in os.environ
        status = "interrupted" if told and code else _STATES.get(code, "failed")
        run_dir = ledger.run_of(trial.key)
        found = {} if run_dir is None else outcome_of(run_dir)
        if status in ("diverged", "failed"):
            found |= {"value": None, "reason": found.get("reason") or _why(code)}
        elif status == "finished":
            found["reason"] = None
        place = None if run_dir is None else str(run_dir)
        return replace(trial, status=status, run_dir=place, code=code, ended=time.time(), **found)

    def _environment(self, ledger: Ledger, trial: Trial) -> dict[str, str]:
        environment = {key: value for key, value in os.environ.items() if key not in _OF_A_RUN}
        environment |= {TRIAL: str(ledger.place(trial.key) / "run.txt")} | self.plan.begin(ledger, trial)
        environment.setdefault("WANDB_RUN_GROUP", self.folder.name)
        if self.tracebacks is not None:
            environment["HYDRA_FULL_ERROR"] = self.tracebacks
        if self.jobs > 1 and not any(key in environment for key in ("SLURM_JOB_ID", *_THREADS)):
            environment["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // self.jobs))
        own = gpus_of_worker(environment, _gpu_count(), _slot(), self.jobs)
        if own is not None and "SLURM_JOB_ID" not in environment:
            environment["CUDA_VISIBLE_DEVICES"] = own
        return environment


def _why(code: int) -> str:
    """What an exit code says of a process."""
    try:
        return f"ended by {signal.Signals(code - 128).name}"
    except ValueError:
        return f"exit code {code}"


def _gpu_count() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))  # of which CUDA counts those that are there from 0


def _slot() -> int:
    """Which of the workers of a command this process is."""
    from hydra.core.hydra_config import HydraConfig

    return int(HydraConfig.get().job.num) if HydraConfig.initialized() else 0


@contextmanager
def _output(place: Path, aside: bool) -> Iterator[dict[str, Any]]:
    """Where a trial prints: on the screen while it is alone, else into a file."""
    if not aside:
        yield {}
        return
    with open(place / "log.txt", "a", encoding="utf-8") as stream:
        yield {"stdout": stream, "stderr": subprocess.STDOUT}


@contextmanager
def answering(worker: Worker) -> Iterator[None]:
    """While workers work: Ctrl-C and SIGTERM tell them to let their trials save themselves; twice leaves at once.

    Raises:
        SystemExit: when they have, with 130 or 143.
    """
    told: list[int] = []

    def tell(number: int, frame: Any) -> None:
        if told and time.monotonic() - since[0] > 1:
            raise KeyboardInterrupt
        if not told:
            told.append(number)
            since[0] = time.monotonic()
            worker.stop_file.touch()
            print("\nStopping: the trials at work save themselves; once more to leave at once.", flush=True)

    since = [0.0]
    previous = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        worker.stop_file.unlink(missing_ok=True)
    if told:
        sys.exit(128 + told[0])


class Reporter(threading.Thread):
    """Says in the command's own process what becomes of the trials, wherever they run.

    Args:
        ledger: of the sweep.
        since: when the command was given; what ended before is not said.
        total: trials that there shall be.
    """

    def __init__(self, ledger: Ledger, since: float, total: int):
        super().__init__(daemon=True)
        self.ledger, self.since, self.total = ledger, since, total
        self._said: set[str] = set()
        self._done = threading.Event()

    def run(self) -> None:
        """Looks about once a second."""
        while not self._done.wait(1.0):
            self.look()

    def close(self) -> None:
        """Ends, after a last look."""
        self._done.set()
        self.join()
        self.look()

    def look(self) -> None:
        """Says each trial that has ended since the last look."""
        with suppress(OSError):
            for trial in self.ledger.trials():
                if trial.key not in self._said and trial.status != "running" and trial.ended >= self.since:
                    self._said.add(trial.key)
                    self._say(trial)

    def _say(self, trial: Trial) -> None:
        if trial.status in ("failed", "diverged"):
            line = f"trial {trial.number} ({trial.title}) {trial.status}: {trial.reason}"
            print(line, file=sys.stderr, flush=True)
            return
        value = "" if trial.value is None else f", {trial.metric} {trial.value:.4f}"
        found = f", as {trial.found_in} has found" if trial.found_in else ""
        print(f"[{trial.number + 1}/{self.total}] {trial.status}{value} ({trial.title}){found}", flush=True)


def new_worker(folder: Path, program: Program, plan: Plan, **settings: Any) -> Worker:
    """A worker for the command that runs in this process."""
    return Worker(folder, program, plan, host=socket.gethostname(), pid=os.getpid(), **settings)
