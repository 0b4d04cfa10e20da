"""How long a person waits: for the help of `train.py`, and for the first training step of the default run.

    python benchmarks/startup.py

The default run saves a checkpoint after each step here, so that the first step's file shows when it was made: the time
until then is a little more than that until the step. Figures are wall seconds.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import pictures
from measuring import ROOT, Case, Row, environment, interleaved, options, report, run

TOO_LONG = 300.0


def seconds_of(*command: str) -> float:
    """Until a command has ended."""
    start = time.perf_counter()
    run([sys.executable, *command])
    return time.perf_counter() - start


def seconds_to_first_step(folder: Path, keep_pack: bool) -> float:
    """From the command to the file that its first step leaves; the run is ended then.

    Args:
        folder: for the data, the pack and the run of this measurement.
        keep_pack: take the pack that an earlier run has prepared; otherwise it is prepared before the step.
    """
    if not keep_pack:
        shutil.rmtree(folder / "prepared", ignore_errors=True)
    shutil.rmtree(folder / "runs", ignore_errors=True)
    places = [
        f"paths.data_dir={folder / 'data'}",
        f"paths.prepared_dir={folder / 'prepared'}",
        f"run_dir={folder / 'runs'}",
    ]
    command = [sys.executable, "src/train.py", *places, "callbacks.checkpointing.every_n_steps=1"]
    first, start = folder / "runs" / "checkpoints" / "step-00000001.ckpt", time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            while not first.is_file():
                if process.poll() is not None or time.perf_counter() - start > TOO_LONG:
                    output = process.stdout.read() if process.stdout and process.poll() is not None else b""
                    raise RuntimeError(f"no first step:\n{output.decode(errors='replace')}")
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            process.kill()


def make_digits(folder: Path) -> None:
    """The raw digits of the default run, as `dvc pull` restores them."""
    from striate.data.digits import write_digits

    if not (folder / "data" / "digits").is_dir():
        write_digits(folder / "data" / "digits")


def measure(folder: Path, repetitions: int, quick: bool) -> list[Row]:
    """All rows."""
    make_digits(folder)
    cases = [
        Case("help", lambda: seconds_of("src/train.py", "--help")),
        Case("first step, pack made first", lambda: seconds_to_first_step(folder, keep_pack=False)),
        Case("first step", lambda: seconds_to_first_step(folder, keep_pack=True)),
        Case("imports", lambda: seconds_of("-c", "import torch, lightning.pytorch")),
    ]
    figures = interleaved(cases, repetitions, warm_up=not quick)
    floor = ("import torch, lightning.pytorch", figures["imports"])
    first = "default run until after the first step"
    return [
        Row("`train.py --help`", "s", figures["help"], most=2.5),
        Row(f"{first}, set prepared", "s", figures["first step"], *floor, most=8.0),
        Row(f"{first}, set prepared by it", "s", figures["first step, pack made first"], *floor, most=8.0),
    ]


def main() -> None:
    chosen = options(__doc__).parse_args()
    with pictures.workplace(chosen.folder) as folder:
        report("Start-up", measure(folder, 1 if chosen.quick else chosen.repetitions, chosen.quick), chosen.json)


if __name__ == "__main__":
    main()
