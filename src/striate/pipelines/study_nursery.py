"""Trainings that start at once: importing costs seconds, a study is many cells, and `study_forks` imports once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.pipelines import study_forks as forks


class Nursery:
    """Starts trainings; what it starts ends with it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self, words: Sequence[str], log: Path, environment: Mapping[str, str]) -> "Training":
        """Starts `train.py` with these words; what it prints goes to `log`."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", forks.__name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C reaches the study alone, which passes it on
            )  # fmt: skip
        pid = self._ask({"words": list(words), "log": str(log), "environment": dict(environment)})
        return Training(self, pid) if pid is not None else Training(self, 0, returncode=-signal.SIGKILL)

    def poll(self, pid: int) -> int | None:
        """The exit code of one of its trainings, None while it runs; it counts as killed when the nursery was."""
        code = self._ask({"poll": pid})
        return None if code == "running" else -signal.SIGKILL if code is None else code

    def close(self) -> None:
        """Lets the nursery go, and with it whatever still runs there."""
        if self._process is not None:
            with suppress(OSError):
                self._process.stdin.close()  # type: ignore[union-attr]
            self._process.wait()
            self._process = None

    def _ask(self, request: Mapping[str, Any]) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline() or "null")
        except BrokenPipeError:
            return None


@dataclass
class Training:
    """A process of `train.py`, with the methods of `subprocess.Popen` that are needed of it."""

    nursery: Nursery
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self.nursery.poll(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> None:
        """Waits for its end, and kills it after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.send_signal(signal.SIGKILL)
            time.sleep(0.05)
