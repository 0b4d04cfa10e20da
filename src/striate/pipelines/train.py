"""`python src/train.py`: from a configuration to a trained network, its figures and its pictures."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from striate import resumption, runs
from striate.configuration import build, masked, masked_command
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError, DataError, InterruptedRun, StorageError, ending_of
from striate.messages import calm_libraries, is_main_process, say, shown
from striate.pipelines import choosing, plan, starting, transferring
from striate.pipelines.devices import lost_process
from striate.pipelines.fitting import carry_out
from striate.pipelines.requiring import require_measured, require_one_balance, require_size_of_effect
from striate.storage import require_writable
from striate.tasks.base import SupervisedTask
from striate.tasks.building import build_network, build_task, choose_task, require_picture_size


def run(cfg: DictConfig) -> dict[str, float]:
    """Trains, selects, tests once.

    Returns:
        The figures of validation (best epoch) and test, named `val/…` and `test/…`.

    Raises:
        StriateError: a mistake of the person's, a diverged or an interrupted run.
    """
    calm_libraries()
    config, datamodule = choosing.settled(cfg, build_datamodule)
    starting.settle(config)
    if config["plan"]:
        return plan.run(config, datamodule)
    if config["output_dir"] is not None:
        require_writable(Path(config["output_dir"]))
    if is_main_process():
        datamodule.prepare_data()
    choose_task(config, datamodule.meta)
    require_size_of_effect(datamodule, starting.typed_keys())
    task, hashes, report = assemble(config, datamodule)
    label = f"{config['model']['_target_'].rsplit('.', 1)[-1].lower()}_{datamodule.name}"
    start = resumption.decide(masked(config), label, hashes, masked_command(runs.command_line()))
    say(f"Run directory: {shown(start.run.folder)}")
    transferring.tell(report, config, task, start.run.folder)
    try:
        return carry_out(config, datamodule, task, start)
    except BaseException as error:
        if is_main_process():
            record_end(start.run, error, named=config["run_dir"] is not None)
        if isinstance(error, MisconfigurationException):
            raise ConfigurationError(f"trainer: {' '.join(str(error).split())}", do="see conf/trainer") from error
        if (lost := lost_process(error)) is not None:
            raise lost from error
        raise


def build_datamodule(config: Mapping[str, Any]) -> ImageDataModule:
    """The data of a configuration, with its augmentation."""
    accumulate = config["trainer"]["accumulate_grad_batches"]
    return build(
        config["data"],
        "data",
        augmentation=build(config["augmentation"], "augmentation"),
        seed=config["seed"],
        accumulate=accumulate,
    )


def assemble(config: Mapping[str, Any], datamodule: ImageDataModule) -> tuple[SupervisedTask, dict[str, str], Any]:
    """The task with its first weights, the hashes that name the computation, and the report of a transfer."""
    meta, code = datamodule.meta, runs.code_version()
    require_picture_size(config["model"], meta, datamodule.input_shape)
    network = build_network(config["model"], meta, config["seed"], datamodule.input_shape[1:])
    report, preprocessing, weights = starting.first_weights(config, network, meta.classes, datamodule.preprocessing)
    if config["channels_last"]:
        network.to(memory_format=torch.channels_last)
    if config["compile"]:
        network.compile()
    task = build_task(config, network, meta, preprocessing, class_counts=datamodule.class_counts(), code=code)
    require_measured(config, task)
    require_one_balance(config)
    for split in {"val", "test"} & meta.counts.keys():
        datamodule.dataset(split)  # opened now: the set may be prepared anew before they are read
    return task, {"data": meta.hash, "code": str(code["hash"]), "weights": weights}, report


def record_end(run: runs.Run, error: BaseException, *, named: bool) -> None:
    """Notes why a run ended; a directory in which nothing was begun is taken back, unless a person `named` it."""
    ending = ending_of(error)
    stopped = ending.state == "interrupted"
    keyboard = stopped and not isinstance(error, InterruptedRun)  # which says of itself that it can go on
    refused = keyboard or isinstance(error, ConfigurationError | DataError | MisconfigurationException)
    if refused and not named and run.is_empty():
        run.discard()
        return
    with suppress(StorageError):  # the disk may be what failed
        run.record(ending.state, **({} if stopped else {"reason": ending.reason}))
    run.release()
