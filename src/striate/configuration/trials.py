"""One combination of `-m`: a process of its own, started from the words that were chosen for it.

In one process, the second trial would find what the first left behind: Lightning's variables, a CUDA context, a process
group. And a trial on several devices starts its other processes with the words of its own command line, which must not
be those of the sweep: each of them would run the whole sweep again.
"""

import argparse
import signal
import subprocess
import sys
from types import FrameType

INTERRUPTED = (130, 143)
OF_THE_SWEEP = ("hydra.mode", "hydra.sweep", "hydra/sweep", "hydra.launcher", "hydra/launcher")


def source_options(arguments: argparse.Namespace) -> list[str]:
    """The words that say where configuration files lie."""
    options = {
        "--config-path": arguments.config_path,
        "--config-name": arguments.config_name,
        "--config-dir": arguments.config_dir,
    }
    return [word for option in options.items() if option[1] is not None for word in option]


def run_trial(arguments: argparse.Namespace) -> int:
    """Runs the current job of a sweep and gives its exit code, also when it failed: the others go on.

    Raises:
        SystemExit: the trial was told to stop, so the sweep stops.
    """
    from hydra.core.hydra_config import HydraConfig

    settings = HydraConfig.get()
    words = [*settings.overrides.task, *(w for w in settings.overrides.hydra if not w.startswith(OF_THE_SWEEP))]
    code = _wait_for([sys.executable, sys.argv[0], *source_options(arguments), *words, "hydra.mode=RUN"])
    if code in INTERRUPTED:
        sys.exit(code)
    if code:
        print(f"trial {settings.job.num} ({' '.join(settings.overrides.task)}) failed: {code}", file=sys.stderr)
    return code


def _wait_for(command: list[str]) -> int:
    process = subprocess.Popen(command)

    def forward(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    previous = signal.signal(signal.SIGTERM, forward)
    try:
        while True:
            try:
                code = process.wait()
                return 128 - code if code < 0 else code
            except KeyboardInterrupt:
                continue  # the terminal told the trial too, which saves itself and then leaves
    finally:
        signal.signal(signal.SIGTERM, previous)
