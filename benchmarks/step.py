"""Whole training steps, in pictures per second: `python src/train.py` against a bare loop over the same network.

    python benchmarks/step.py --networks lenet5_modern,resnet20
    python benchmarks/step.py --accelerator gpu --precision bf16-mixed --compile --scale 50

train.py reads, augments, normalises, counts errors and writes its CSV; its figure is the median over the epochs after
the first: of `history.csv`, or of the processor's time with `--clock cpu`, which other programs disturb less. The bare
loop has one batch that is normalised and in place. "Lightning" is what lightning-hydra-template makes of it:
torchvision's transforms in a plain DataModule, torchmetrics in a plain module.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import psutil

import pictures
from measuring import (
    ROOT,
    Case,
    Row,
    cpu_of,
    environment,
    interleaved,
    options,
    pack_overrides,
    report,
    run_for_json,
    train_command,
)

UNITS = {"wall": "pictures/s", "cpu": "pictures/CPU-s"}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Network:
    """What is trained.

    Args:
        overrides: of the configuration.
        size: side of the pictures.
        channels: of them; 0 for JPEGs.
        samples: of an epoch that takes some seconds on two cores.
        least: the share of the bare loop's speed that is wanted.
        threads: of each process; a second one makes small networks no faster.
        lightning: whether Lightning as a template has it is measured too.
        masks: every pixel has a label: JPEGs of 480×360 with masks, enlarged or shrunk, and windows of `size`.
    """

    overrides: tuple[str, ...]
    size: int
    channels: int
    samples: int
    least: float
    threads: int = 1
    lightning: bool = False
    masks: bool = False


SMALL = ("data.batch_size=128", "augmentation=crop_flip")
NETWORKS = {
    "lenet5_modern": Network(("model=lenet5_modern", *SMALL), 28, 1, 60_000, 0.88, lightning=True),
    "lenet5": Network(("model=lenet5", "optimizer.lr=0.005", *SMALL), 32, 1, 50_000, 0.88),
    "resnet20": Network(("model=resnet20", *SMALL), 32, 3, 8_000, 0.96, lightning=True),
    "mobilenet": Network(
        ("model=mobilenet", "data.batch_size=32", "augmentation=resized_crop", "data.num_workers=2"),
        224,
        0,
        256,
        0.92,
        threads=2,
    ),
    "unet_resnet18": Network(
        (
            *("model=unet_resnet34", "model.backbone.depth=18", "model.backbone.widths=[32,64,128,256]"),
            *("model.widths=[96,64,48,32,16]", "data.batch_size=8", "augmentation=scale_crop_flip"),
            *("data.input_size=224", "data.num_workers=1"),
        ),
        224,
        0,
        320,
        0.9,
        threads=2,
        masks=True,
    ),
}


def pack_of(network: Network, folder: Path, scale: float) -> Path:
    """The pictures of a network, and an epoch's number of them."""
    samples = int(network.samples * scale)
    if network.channels:
        name = f"step{network.size}x{network.channels}_{samples}"
        return pictures.array_pack(folder / name, network.size, network.channels, samples)
    if network.masks:
        raw = pictures.pairs(folder / f"step_pairs_{samples}", max(16, samples * 5 // 4))
        return pictures.prepared_pairs(folder, f"step_pair_{samples}", raw, pack="encoded")
    raw = pictures.jpegs(folder / "step_jpegs", max(64, samples * 5 // 4))  # a fifth is kept for validation and test
    return pictures.prepared(folder, "step_jpeg", raw, pack="encoded", max_short_side=256)


def overrides(network: Network, pack: Path, chosen: argparse.Namespace) -> dict[str, str]:
    """The words of the command line that train.py and the bare loop share."""
    words = dict(word.split("=", 1) for word in network.overrides)
    device = {"trainer.accelerator": chosen.accelerator, "trainer.precision": chosen.precision}
    return {**words, **pack_overrides(pack), **device, "scheduler": "constant", "compile": str(chosen.compile).lower()}


def trained(words: dict[str, str], epochs: int, threads: int, clock: str) -> float:
    """Speed of train.py, in a process of its own: the median over the epochs after the first."""
    with TemporaryDirectory(prefix="striate-step-") as folder:
        history = Path(folder) / "run" / "history.csv"
        command = train_command(**words, **{"trainer.max_epochs": epochs, "run_dir": history.parent})
        with (
            (Path(folder) / "log").open("wb") as log,
            subprocess.Popen(command, cwd=ROOT, env=environment(threads), stdout=log, stderr=log) as process,
        ):
            watched, marks = psutil.Process(process.pid), []  # CPU seconds when a row was written
            while process.poll() is None:
                if history.is_file() and history.read_bytes().count(b"\n") - 1 > len(marks):
                    marks.append(cpu_of(watched))
                time.sleep(0.01)
        if process.returncode:
            raise RuntimeError((Path(folder) / "log").read_text(errors="replace")[-4000:])
        rows = list(csv.DictReader(history.open(encoding="utf-8")))
    if clock == "wall":
        return statistics.median(float(row["samples_per_second"]) for row in rows[1:])
    samples = int(rows[0]["step"]) * int(words["data.batch_size"])
    return statistics.median(samples / (end - start) for start, end in pairwise(marks[:epochs]))


def bare(words: dict[str, str], seconds: float, clock: str, keep: bool) -> float:
    """Speed of the plainest loop over the same network, with one ready batch; in this process.

    With `keep` it has the one trick of train.py that a loop can have: freed memory stays in the process.
    """
    import torch

    from peers import bare_step
    from striate.allocation import keep_freed_memory
    from striate.configuration import build, compose, plain
    from striate.pipelines.train import build_datamodule
    from striate.tasks.building import build_network

    if keep:
        keep_freed_memory()
    config = plain(compose("train", [f"{key}={value}" for key, value in words.items()]))
    datamodule = build_datamodule(config)
    device = torch.device("cuda" if config["trainer"]["accelerator"] == "gpu" else "cpu")
    batch = next(iter(datamodule.train_dataloader()))
    images = datamodule.preprocessing.normalise(batch.images.to(device)).contiguous(memory_format=torch.channels_last)
    targets = batch.targets.to(device).long()  # of masks, bytes
    network = build_network(config["model"], datamodule.meta, config["seed"]).to(device)
    network.to(memory_format=torch.channels_last)
    if config["compile"]:
        network.compile()
    optimizer = build(config["optimizer"], "optimizer")(network.parameters())

    def steps(until: Callable[[int], bool]) -> float:
        start, done = CLOCKS[clock](), 0
        while not until(done):
            bare_step(network, optimizer, images, targets, config["trainer"]["precision"])
            done += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
        return done * len(images) / (CLOCKS[clock]() - start)

    guess = steps(lambda done: done == 3) and steps(lambda done: done == 5)
    wanted = max(1, round(guess * seconds / len(images)))  # counted, since asking a GPU for the time would wait for it
    return steps(lambda done: done == wanted)


def measure_network(name: str, chosen: argparse.Namespace, folder: Path) -> list[Row]:
    """The rows of a network."""
    network, quick = NETWORKS[name], chosen.quick
    words = overrides(network, pack_of(network, folder, 0.02 if quick else chosen.scale), chosen)
    epochs, seconds, threads = 2 if quick else 3, 0.2 if quick else 8.0, chosen.threads or network.threads
    loop = ("--bare", json.dumps(words), "--seconds", str(seconds), "--clock", chosen.clock)
    cases = [
        Case("Striate", lambda: trained(words, epochs, threads, chosen.clock)),
        Case("bare loop", lambda: run_for_json("step.py", *loop, threads=threads)),
        Case("bare loop, memory kept", lambda: run_for_json("step.py", *loop, "--keep", threads=threads)),
    ]
    if network.lightning:
        peer = json.dumps({"words": words, "size": network.size, "epochs": epochs, "clock": chosen.clock})
        cases.append(Case("Lightning", lambda: run_for_json("lightning_peer.py", peer, threads=threads)))
    figures = interleaved(cases, 1 if quick else chosen.repetitions, warm_up=False)
    what = f"step, {name}, batch {words['data.batch_size']}"
    return [
        Row(
            what,
            UNITS[chosen.clock],
            figures["Striate"],
            other,
            figures[other],
            network.least if other == "bare loop" else None,
        )
        for other in figures
        if other != "Striate"
    ]


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = options(__doc__, repetitions=3)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="of %(default)s")
    parser.add_argument("--accelerator", default="cpu", choices=("cpu", "gpu"))
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu for one thread on a busy machine")
    parser.add_argument("--threads", type=int, help="of each process; default: 1, and 2 for mobilenet")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many pictures an epoch; 50 for a GPU")
    parser.add_argument("--bare", type=json.loads, help="only the bare loop of these overrides")
    parser.add_argument("--keep", action="store_true", help="with --bare: keep freed memory, as train.py does")
    parser.add_argument("--seconds", type=float, default=8.0, help="of the bare loop")
    return parser


def main() -> None:
    chosen = parser().parse_args()
    if chosen.bare is not None:
        print(json.dumps(bare(chosen.bare, chosen.seconds, chosen.clock, chosen.keep)))
        return
    with pictures.workplace(chosen.folder) as folder:
        rows = [row for name in chosen.networks.split(",") for row in measure_network(name, chosen, folder)]
    report("Whole training step", rows, chosen.json)


if __name__ == "__main__":
    main()
