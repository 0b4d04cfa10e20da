"""One trial of a sweep (`-m`): a process of its own, started from the words that were chosen for it.

In one process, the second trial would find what the first left behind: Lightning's variables, a CUDA context, a process
group. And a trial on several devices starts its other processes with the words of its own command line, which must not
be those of the sweep: each of them would run the whole sweep again.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from omegaconf import DictConfig

INTERRUPTED = (130, 143)
OF_THE_SWEEP = ("hydra.mode", "hydra.sweep", "hydra/sweep", "hydra.launcher", "hydra/launcher")


@dataclass(frozen=True)
class Program:
    """How the trials of a sweep are started.

    Args:
        script: its absolute path.
        directory: the current one, wherever a launcher works.
        sources: the options that say where configuration files lie.
    """

    script: str
    directory: str
    sources: tuple[str, ...]

    def command(self, words: Sequence[str], hydra_words: Sequence[str] = ()) -> list[str]:
        """The command line of a trial; of Hydra's own words those that are the sweep's are left out."""
        kept = [word for word in hydra_words if not word.startswith(OF_THE_SWEEP)]
        return [sys.executable, self.script, *self.sources, *words, *kept, "hydra.mode=RUN"]


@dataclass
class SweepOrder:
    """What a sweeper must know of the command that asked for it; it finds it as `order` of the task function.

    Args:
        program: starts trials.
        settle: checks a composed configuration strictly and completes it.
        tracebacks: what HYDRA_FULL_ERROR was when the person called.
    """

    program: Program
    settle: Callable[[DictConfig], DictConfig] = field(repr=False)
    tracebacks: str | None = None


def program_of(arguments: argparse.Namespace) -> Program:
    """The program of the command line that is being run."""
    options = {
        "--config-path": arguments.config_path,
        "--config-name": arguments.config_name,
        "--config-dir": arguments.config_dir,
    }
    sources = tuple(word for option in options.items() if option[1] is not None for word in option)
    return Program(os.path.abspath(sys.argv[0]), os.getcwd(), sources)


def run_trial(program: Program) -> int:
    """Runs the current job of a sweeper that is not ours, such as Hydra's `basic`, and gives its exit code.

    Raises:
        SystemExit: the trial was told to stop, so the sweep stops.
    """
    from hydra.core.hydra_config import HydraConfig

    settings = HydraConfig.get()
    code = _wait_for(program.command(settings.overrides.task, settings.overrides.hydra))
    if code in INTERRUPTED:
        sys.exit(code)
    if code:
        print(f"trial {settings.job.num} ({' '.join(settings.overrides.task)}) failed: {code}", file=sys.stderr)
    return code


def exit_code(returned: int) -> int:
    """The exit code of a process as a shell gives it, also of one that a signal ended."""
    return 128 - returned if returned < 0 else returned


def _wait_for(command: list[str]) -> int:
    process = subprocess.Popen(command)

    def forward(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    previous: Any = signal.signal(signal.SIGTERM, forward)
    try:
        while True:
            try:
                return exit_code(process.wait())
            except KeyboardInterrupt:
                continue  # the terminal told the trial too, which saves itself and then leaves
    finally:
        signal.signal(signal.SIGTERM, previous)
