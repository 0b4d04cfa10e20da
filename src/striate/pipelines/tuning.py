"""`find_lr=true`, `find_batch_size=true`: values found on this machine before training."""

import math
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError
from striate.models.arithmetic import training_memory
from striate.pipelines import starting
from striate.pipelines.devices import device_count
from striate.pipelines.plan import free_memory
from striate.pipelines.situation import Choice
from striate.pipelines.trial_step import step_fits
from striate.tasks.building import build_network, build_task

_LARGEST_BATCH = 4096
_SHARE_OF_MEMORY = 0.8
_AS_IN_TRAINING = ("precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")


def require_possible(config: Mapping[str, Any]) -> None:
    """Refuses searches that a configuration asks for and that cannot be carried out.

    Raises:
        ConfigurationError: with more than one process, whose results could differ, or a rate of backpropagation.
    """
    if not (config["find_lr"] or config["find_batch_size"]):
        return
    if device_count(config["trainer"]) > 1:
        raise ConfigurationError(
            "find_lr and find_batch_size work with one process",
            do="search with trainer.devices=1, then give the values found",
        )
    if config["find_lr"] and config["task"]["kind"] == "backpropagation":
        raise ConfigurationError(
            "find_lr moves the rate by Lightning's own optimisation, which task=backpropagation does without",
            do="search with task=classification, then give optimizer.lr",
        )


def found_rate(config: Mapping[str, Any], datamodule: ImageDataModule) -> Choice:
    """The rate at which the loss falls fastest in a range test (Smith 2017): Lightning's finder on a copy.

    Args:
        config: settled, with a task.
        datamodule: of its data.

    Raises:
        ConfigurationError: the loss did not fall.
    """
    import lightning.pytorch as pl
    from lightning.pytorch.tuner import Tuner

    meta = datamodule.meta
    network = build_network(config["model"], meta, config["seed"], datamodule.input_shape[1:])
    _, preprocessing, _ = starting.first_weights(config, network, meta.classes, datamodule.preprocessing)
    task = build_task(config, network, meta, preprocessing, class_counts=datamodule.class_counts())
    task.lr = config["optimizer"]["lr"]  # the finder wants an attribute to replace; the copy is thrown away
    task.scheduler_factory = None
    assert task.optimizer_factory is not None
    task.optimizer_factory = _with_own_rates(task.optimizer_factory)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = pl.Trainer(
            accelerator=config["trainer"]["accelerator"],
            **{key: config["trainer"][key] for key in _AS_IN_TRAINING},
            devices=1,
            max_epochs=100,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            default_root_dir=scratch,
        )
        finder = Tuner(trainer).lr_find(
            task, datamodule=datamodule, min_lr=1e-6, max_lr=10, num_training=100, update_attr=False
        )
    rate = None if finder is None else finder.suggestion()
    if rate is None or not math.isfinite(rate):
        raise ConfigurationError(
            "find_lr found no rate: the loss did not fall in the range test", do="give optimizer.lr yourself"
        )
    return Choice(float(f"{rate:.4g}"), f"by a range test, for a batch of {datamodule.batch_size}")


def _with_own_rates(factory: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
    """Lets each group of parameters learn at its own share of the rate, which Lightning's finder sets in all alike."""

    def make(groups: Any) -> Optimizer:
        optimizer = factory(groups)
        common: list[float] = []

        def scale(*_: Any) -> None:
            common[:] = [group["lr"] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group["lr"] *= group.get("rate", 1.0)

        def restore(*_: Any) -> None:
            for group, rate in zip(optimizer.param_groups, common, strict=True):
                group["lr"] = rate

        optimizer.register_step_pre_hook(scale)
        optimizer.register_step_post_hook(restore)
        return optimizer

    return make


def found_batch(config: Mapping[str, Any], datamodule: ImageDataModule, most: int | None = None) -> Choice:
    """The largest batch whose training step fits: by trial on a GPU, by estimate of the free memory on a CPU.

    Powers of two, times the devices and the parts in which they compute it.

    Args:
        config: settled.
        datamodule: of its data.
        most: beyond which nobody wants to go; None: as many as leave 20 steps an epoch, so that a small set is not
            swallowed in a few.
    """
    meta, shape, samples = datamodule.meta, datamodule.input_shape, len(datamodule.dataset("train"))
    limit = min(samples, max(8, min(_LARGEST_BATCH, samples // 20))) if most is None else most
    parts = config["trainer"]["accumulate_grad_batches"] * device_count(config["trainer"])
    on_gpu = torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu"
    network = build_network(config["model"], meta, config["seed"], datamodule.input_shape[1:])
    task = None
    if on_gpu:
        counts = datamodule.class_counts()
        task = build_task(config, network, meta, datamodule.preprocessing, class_counts=counts).cuda()
    found, reason = parts, f"more would leave few steps an epoch of {samples:,} pictures"
    if most is not None and samples > 20 * most:
        reason = "usual, and it fits into the memory"
    while found * 2 <= limit:
        part = found * 2 // parts
        fits = step_fits(task, config, shape, part) if task is not None else (
            training_memory(network, shape, part, optimizer_slots=2).total < _SHARE_OF_MEMORY * free_memory()
        )  # fmt: skip
        if not fits:
            return Choice(found, f"{found * 2} do not fit into the memory")
        found *= 2
    return Choice(found, reason)
