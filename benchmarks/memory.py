"""Memory: a pack ten times as large as the process may be, and a thousand epochs.

    python benchmarks/memory.py

The limit is RLIMIT_DATA: all private writable memory, used or only reserved, that a process may have. Pages of a
memory-mapped pack are not part of it: the system gives them back when it needs the room. The large pack is a sparse
file, so that it takes no room on the disk.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import psutil

import pictures
from measuring import ROOT, Row, environment, memory_of, options, pack_overrides, report, say, train_command

Sample = dict[str, float]
LIMIT_MIB = 1536  # the libraries alone reserve nearly 1,000


def watched(command: list[str], history: Path, every: float, limit: Callable[[], None] | None = None) -> list[Sample]:
    """Memory of a training while it runs; each sample has the epochs that were done.

    Args:
        command: the training, one thread.
        history: its `history.csv`, which has a row an epoch.
        every: seconds between samples.
        limit: called in the new process before the command.

    Raises:
        RuntimeError: the training failed.
    """
    samples: list[Sample] = []
    log = history.parent.with_suffix(".log")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=ROOT, env=environment(1), stdout=output, stderr=output, preexec_fn=limit
        ) as process,
    ):
        one = psutil.Process(process.pid)
        while process.poll() is None:
            epochs = max(0, history.read_bytes().count(b"\n") - 1) if history.is_file() else 0
            samples.append({"epoch": epochs, **memory_of(one)})
            time.sleep(every)
    if process.returncode:
        raise RuntimeError(f"the training ended with {process.returncode}:\n{log.read_text(errors='replace')[-4000:]}")
    return [sample for sample in samples if sample["resident"]]


def large_pack(folder: Path, batches: int, limit_mib: int = LIMIT_MIB) -> list[Row]:
    """Trains LeNet-5 on random places of a pack ten times as large as the limit."""
    size = 10 * limit_mib * 2**20
    pack = pictures.sparse_pack(folder / "large", 32, 3, size)
    run_dir = folder / "large_run"
    shared = {
        **pack_overrides(pack),
        "model": "lenet5_modern",
        "augmentation": "crop_flip",
        "trainer.accelerator": "cpu",
    }
    words = {"data.batch_size": 64, "trainer.max_epochs": 1, "trainer.limit_train_batches": batches, "run_dir": run_dir}
    limit = limit_mib * 2**20
    samples = watched(
        train_command(**shared, **words), run_dir / "history.csv", 0.05,
        lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )  # fmt: skip
    what = f"training on a pack of {size / 2**30:g} GiB, at most {limit_mib} MiB of its own"
    peaks = {key: max(sample[key] for sample in samples) for key in ("anonymous", "resident")}
    return [
        Row(f"{what}: anonymous memory", "MiB", (peaks["anonymous"],), most=limit_mib),
        Row(f"{what}: with cached pages of the pack", "MiB", (peaks["resident"],)),
    ]


def many_epochs(folder: Path, epochs: int) -> list[Row]:
    """Memory and open files of a training with validation and checkpoints."""
    pack = pictures.array_pack(folder / "small", 28, 1, 64)
    run_dir = folder / "epochs_run"
    model = {"model": "lenet5_modern", "augmentation": "crop_flip", "data.batch_size": 32}
    validated = {"trainer.limit_val_batches": "null", "monitor.metric": "val/top1_micro", "monitor.mode": "max"}
    length = {"trainer.max_epochs": epochs, "trainer.accelerator": "cpu", "run_dir": run_dir}
    command = train_command(**pack_overrides(pack), **model, **validated, **length)
    return growth(watched(command, run_dir / "history.csv", 0.05), epochs)


def growth(samples: list[Sample], epochs: int) -> list[Row]:
    """A line through the samples, from when all is warm (a tenth of the epochs) to before the closing."""
    trained = [sample for sample in samples if epochs // 10 <= sample["epoch"] < epochs]
    for mark in range(epochs // 10, epochs, max(1, epochs // 10)):
        nearest = min(trained, key=lambda sample: abs(sample["epoch"] - mark))
        say(", ".join(f"{key} {value:,.1f}" for key, value in nearest.items()))
    axis = [sample["epoch"] for sample in trained]
    memory, handles = (
        1000 * float(np.polyfit(axis, [sample[key] for sample in trained], 1)[0]) for key in ("anonymous", "handles")
    )
    what = f"growth over {epochs:,} epochs, for each 1,000"
    return [
        Row(f"{what}: anonymous memory", "MiB", (memory,), most=5.0),
        Row(f"{what}: open files", "handles", (handles,), most=0.5),
    ]


def main() -> None:
    parser = options(__doc__, repetitions=1)
    parser.add_argument("--epochs", type=int, default=1000)
    chosen = parser.parse_args()
    with pictures.workplace(chosen.folder) as folder:
        rows = large_pack(folder, 4 if chosen.quick else 1000)
        rows += many_epochs(folder, 20 if chosen.quick else chosen.epochs)
    report("Memory", rows, chosen.json)


if __name__ == "__main__":
    main()
