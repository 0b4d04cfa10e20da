"""`python src/train.py`: from a configuration to a trained network, its figures and its pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from striate import resumption, runs
from striate.configuration import build, masked, plain
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError, DivergedError, InterruptedRun
from striate.messages import calm_libraries, is_main_process, say, shown
from striate.pipelines import plan, tuning
from striate.pipelines.fitting import carry_out
from striate.storage import sha256_of, write_json
from striate.tasks.building import build_network, build_task
from striate.tasks.classification import ClassificationTask
from striate.transfer.initialization import initialise


def run(cfg: DictConfig) -> dict[str, float]:
    """Trains, selects, tests once.

    Returns:
        The figures of validation (best epoch) and test, named `val/…` and `test/…`.

    Raises:
        StriateError: a mistake of the person's, a diverged or an interrupted run.
    """
    calm_libraries()
    config = plain(cfg)
    datamodule = build_datamodule(config)
    if config["plan"]:
        return plan.run(config, datamodule)
    if is_main_process():
        datamodule.prepare_data()
    tuning.apply(config, datamodule)
    task, hashes, report = assemble(config, datamodule)
    label = f"{config['model']['_target_'].rsplit('.', 1)[-1].lower()}_{datamodule.name}"
    start = resumption.decide(masked(config), label, hashes)
    say(f"Run directory: {shown(start.run.folder)}")
    if report is not None:
        say(str(report))
        if is_main_process():
            write_json(start.run.folder / "transfer.json", report.__dict__)
    try:
        figures = carry_out(config, datamodule, task, start)
    except InterruptedRun:
        record(start.run, "interrupted")
        raise
    except DivergedError as error:
        record(start.run, "diverged", reason=error.what)
        raise
    except MisconfigurationException as error:
        record(start.run, "failed", reason=str(error))
        raise ConfigurationError(f"trainer: {' '.join(str(error).split())}", do="see conf/trainer") from error
    except BaseException as error:
        record(start.run, "failed", reason=f"{type(error).__name__}: {error}")
        raise
    return figures


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


def assemble(config: Mapping[str, Any], datamodule: ImageDataModule) -> tuple[ClassificationTask, dict[str, str], Any]:
    """The task with its first weights, the hashes that name the computation, and the report of a transfer."""
    meta, code = datamodule.meta, runs.code_version()
    network = build_network(config["model"], meta, config["seed"])
    path = config["init"].get("path")
    source = None if path is None else runs.resolve_checkpoint(path, Path(config["paths"]["runs_dir"]))
    report = initialise(network, config["init"], source, meta.classes)
    if config["channels_last"]:
        network.to(memory_format=torch.channels_last)
    if config["compile"]:
        network.compile()
    task = build_task(
        config, network, meta, datamodule.preprocessing, class_counts=datamodule.class_counts(), code=code
    )
    weights = "" if source is None else sha256_of(source)
    return task, {"data": meta.hash, "code": str(code["hash"]), "weights": weights}, report


def record(run: runs.Run, status: str, **facts: Any) -> None:
    """Notes how a run ended; the main process writes."""
    if is_main_process():
        run.record(status, **facts)
