"""`plan=true`: what would be trained, without training it and without writing anything."""

import os
import time
from collections.abc import Mapping
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from striate.data.module import ImageDataModule
from striate.errors import DataError
from striate.models.arithmetic import TrainingMemory, count, training_memory
from striate.pipelines.devices import device_count
from striate.pipelines.requiring import require_stages
from striate.tasks.building import build_task, choose_task, construct_network, require_picture_size
from striate.transfer.freezing import freeze

_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}


def run(config: dict[str, Any], datamodule: ImageDataModule) -> dict[str, float]:
    """Builds everything on the meta device, reads one real batch, takes one fake step, prints the plan.

    Returns:
        The figures of the plan.

    Raises:
        ConfigurationError: what the training would refuse of the network, its stages among it.
        DataError: the set is not prepared; preparing it would write.
    """
    if not (datamodule.folder / "meta.json").is_file():
        raise DataError(
            f"plan=true writes nothing, and {datamodule.folder} is not prepared yet",
            do="python src/prepare.py with the same data options, then plan again",
        )
    meta, shape = datamodule.meta, datamodule.input_shape
    choose_task(config, meta)
    require_picture_size(config["model"], meta, shape)
    with torch.device("meta"):
        network = construct_network(config["model"], meta, shape[1:])
    freeze(network, require_stages(network, config["init"]).frozen)
    counts, part = count(network, shape), batch_of_a_device(config, datamodule)
    task = build_task(config, network, meta, datamodule.preprocessing, class_counts=datamodule.class_counts())
    slots = fake_step(task, network, shape, part)
    precision = str(config["trainer"]["precision"])
    dtype = next((value for key, value in _DTYPES.items() if precision.startswith(key)), torch.float32)
    memory = training_memory(network, shape, part, optimizer_slots=slots, activation_dtype=dtype)
    samples = len(datamodule.dataset("train"))
    steps, keep = samples // datamodule.batch_size, config["callbacks"]["checkpointing"]["keep"]
    figures = {
        "parameters": counts.parameters,
        "trainable_parameters": counts.trainable_parameters,
        "mult_adds": counts.mult_adds,
        "memory_per_device": memory.total,
        "samples_train": samples,
        "steps_per_epoch": steps,
        "steps": steps * config["trainer"]["max_epochs"],
        "disk_for_checkpoints": (keep + 1) * (memory.parameters + memory.optimizer) + memory.parameters,
    }
    table = Table(title="What would be trained (nothing was written)", show_header=False, title_justify="left")
    for name, value in described(config, datamodule, figures, memory).items():
        table.add_row(name, value)
    Console().print(table)
    return {name: float(value) for name, value in figures.items()}


def described(
    config: Mapping[str, Any], datamodule: ImageDataModule, figures: Mapping[str, int], memory: TrainingMemory
) -> dict[str, str]:
    """The plan in words."""
    meta, (channels, height, width) = datamodule.meta, datamodule.input_shape
    name = config["model"]["_target_"].rsplit(".", 1)[-1]
    splits = ", ".join(f"{split} {len(datamodule.dataset(split)):,}" for split in meta.counts)
    kinds = ("parameters", "gradients", "optimizer", "activations")
    shares = ", ".join(f"{kind} {megabytes(getattr(memory, kind))}" for kind in kinds)
    devices, parts = device_count(config["trainer"]), config["trainer"]["accumulate_grad_batches"]
    size, milliseconds = datamodule.batch_size, 1000 * time_of_batch(datamodule)
    epochs, monitor = config["trainer"]["max_epochs"], config["monitor"]
    return {
        "network": f"{name}, {meta.num_classes} classes, input {channels}×{height}×{width}",
        "parameters": f"{figures['parameters']:,} ({figures['trainable_parameters']:,} trainable)",
        "multiply-adds": f"{figures['mult_adds']:,} a picture",
        "memory": f"{megabytes(memory.total)} a device (estimate): {shares}",
        "data": f"{meta.name} ({meta.pack} pack): {splits}",
        "batch": f"{size} = {devices} device(s) × {parts} part(s) × {size // (devices * parts)}; "
        f"read in {milliseconds:.1f} ms",
        "training": f"{figures['steps_per_epoch']:,} steps an epoch × {epochs} epochs = {figures['steps']:,} steps",
        "checkpoints": f"{megabytes(figures['disk_for_checkpoints'])} on disk at most",
        "selection": f"{monitor['metric']} ({monitor['mode']})",
    }


def batch_of_a_device(config: Mapping[str, Any], datamodule: ImageDataModule) -> int:
    """Samples that one device computes at a time."""
    return datamodule.batch_size // (device_count(config["trainer"]) * config["trainer"]["accumulate_grad_batches"])


def fake_step(task: Any, network: torch.nn.Module, shape: tuple[int, ...], batch_size: int) -> int:
    """One optimizer step on the meta device.

    Returns:
        How many tensors of the size of a parameter the optimizer keeps for each.
    """
    network.train()
    network.to(device="meta")
    images = torch.empty(batch_size, *shape, device="meta")
    logits = network(images)
    optimizer = task.optimizer_factory(task.parameter_groups())
    logits.sum().backward()
    optimizer.step()
    parameter, state = next(iter(optimizer.state.items()), (None, {}))
    kept = [value for value in state.values() if isinstance(value, torch.Tensor) and value.dim()]
    return sum(value.shape == parameter.shape for value in kept if parameter is not None)


def time_of_batch(datamodule: ImageDataModule) -> float:
    """Seconds that reading and augmenting one real batch takes in this process, the second time."""
    dataset, sampler = datamodule.dataset("train"), datamodule.train_dataloader().sampler
    requests = iter(sampler)
    first = next(requests)
    dataset[first]
    started = time.perf_counter()
    dataset[next(requests, first)]
    return time.perf_counter() - started


def megabytes(size: int) -> str:
    """Bytes for a reader."""
    return f"{size / 2**20:,.1f} MiB" if size < 2**30 else f"{size / 2**30:,.2f} GiB"


def free_memory() -> int:
    """Bytes of main memory that are free for use."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
