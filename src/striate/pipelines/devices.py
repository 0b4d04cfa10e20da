"""The devices that a trainer's configuration asks for, and those that there are."""

from collections.abc import Mapping
from typing import Any

import torch

from striate.errors import ConfigurationError, StriateError

_GPU = ("gpu", "cuda", "mps")


def device_count(trainer: Mapping[str, Any]) -> int:
    """How many processes a trainer configuration asks for on this machine."""
    devices, nodes = trainer["devices"], trainer["num_nodes"]
    if isinstance(devices, list):
        return len(devices) * nodes
    if devices == "auto":
        return (gpu_count() if trainer["accelerator"] != "cpu" else 0) * nodes or nodes
    return int(devices) * nodes


def gpu_count() -> int:
    """GPUs of this machine that PyTorch can use."""
    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def require_devices(trainer: Mapping[str, Any]) -> None:
    """Refuses GPUs that are not there; CPU processes there can be as many as wanted.

    Raises:
        ConfigurationError: how many there are, and what to write instead.
    """
    devices, accelerator, there = trainer["devices"], trainer["accelerator"], gpu_count()
    if accelerator in _GPU and not there:
        raise ConfigurationError(
            f"trainer.accelerator={accelerator}: PyTorch finds no GPU on this machine",
            nearest="trainer.accelerator=auto",
            do="auto takes CPU processes where there is no GPU",
        )
    if not there or accelerator == "cpu" or devices == "auto":
        return
    absent = [number for number in devices if number >= there] if isinstance(devices, list) else []
    if absent or (isinstance(devices, int) and devices > there):
        raise ConfigurationError(
            f"trainer.devices={devices}: this machine has {there} GPU(s)",
            nearest=f"trainer.devices={there}" if not absent else f"trainer.devices={list(range(there))}",
            do="or as many CPU processes: trainer.accelerator=cpu",
        )


def strategy_for(trainer: Mapping[str, Any], *, unused: bool) -> str:
    """The strategy of a trainer's configuration; with parameters that get no gradient for a while, one that bears it.

    Raises:
        ConfigurationError: there is none of this kind.
    """
    strategy, bears = str(trainer["strategy"]), "_find_unused_parameters_true"
    if not unused or device_count(trainer) == 1 or strategy.endswith(bears):
        return strategy
    if strategy not in ("auto", "ddp", "ddp_spawn", "ddp_fork"):
        raise ConfigurationError(
            f"init.unfreeze_every does not go with trainer.strategy={strategy}, which lays out the gradients of all "
            "parameters at the start",
            nearest="trainer.strategy=ddp",
        )
    return f"{'ddp' if strategy == 'auto' else strategy}{bears}"


def lost_process(error: BaseException) -> StriateError | None:
    """What an exception means that a process meets when another one of its run is no more; None for others."""
    text = str(error)
    ended = isinstance(error, RuntimeError) and "gloo" in text and ("closed by peer" in text or "reset by peer" in text)
    if not (ended or isinstance(error, torch.distributed.DistBackendError)):
        return None
    return StriateError(
        f"another process of the run has ended (killed, out of memory, or for the reason above): {text[:160]}",
        do="the last checkpoint is whole: repeat the same command to go on from there",
    )
