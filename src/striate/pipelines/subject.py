"""The network whose features are probed, with its data: out of a checkpoint, or built with its first weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate import runs
from striate.configuration import build
from striate.data.module import ImageDataModule
from striate.data.preprocessing import Preprocessing
from striate.errors import ConfigurationError
from striate.messages import say, shown
from striate.pipelines import starting
from striate.pipelines.checkpoint_data import data_of
from striate.tasks.building import build_network, require_picture_size
from striate.tasks.loading import load_task
from striate.transfer.features import weights_digest


@dataclass(frozen=True)
class Subject:
    """What is probed.

    Args:
        network: in evaluation mode, on its device.
        preprocessing: from a batch to its input.
        data: the pictures.
        model: the configuration of the network.
        source: where the weights come from, in words.
        folder: where results go when nobody says.
    """

    network: nn.Module
    preprocessing: Preprocessing
    data: ImageDataModule
    model: Mapping[str, Any]
    source: str
    folder: Path

    @cached_property
    def weights(self) -> str:
        """The digest of the weights."""
        return weights_digest(self.network)


def subject_of(config: dict[str, Any], device: torch.device) -> Subject:
    """What a configuration asks to be probed.

    Raises:
        ConfigurationError: neither or both of `ckpt_path` and `model`, or a network that does not take these pictures.
        StriateError: data or weights that are missing or broken.
    """
    if (config["ckpt_path"] is None) == (config["model"] is None):
        raise ConfigurationError(
            "say either ckpt_path or model",
            do="a trained network: ckpt_path=best; one with public weights: model=resnet18 init=torchvision data=…",
        )
    subject = _of_model(config) if config["ckpt_path"] is None else _of_checkpoint(config)
    subject.network.to(device).eval()
    return subject


def require_pictures(data: ImageDataModule) -> None:
    """Refuses data that have a label for every pixel (ConfigurationError)."""
    if data.labels_pixels:
        raise ConfigurationError(
            f"{data.name} has a label for every pixel, a probe says one of a picture", do="name others: data=…"
        )


def _of_checkpoint(config: Mapping[str, Any]) -> Subject:
    path = runs.resolve_checkpoint(config["ckpt_path"], Path(config["paths"]["runs_dir"]))
    task, record = load_task(path)
    say(f"Checkpoint: {shown(path)}")
    data, model = data_of(config, record), record["config"]["model"]
    require_pictures(data)
    if data.whole.channels != task.preprocessing.channels:
        raise ConfigurationError(
            f"the checkpoint was trained on {task.preprocessing.channels}-channel pictures, {data.name} has "
            f"{data.whole.channels}",
            do=f"prepare the data with data.prepare.channels={task.preprocessing.channels}",
        )
    run = runs.folder_of(path)
    return Subject(task.network, task.preprocessing, data, model, run.name, run / f"probe_{data.name}")


def _of_model(config: dict[str, Any]) -> Subject:
    if config["data"] is None:
        raise ConfigurationError("data is missing: which pictures?", do="data=digits, or data=folder data.root=PATH")
    starting.settle(config)
    given = {key: config[key] for key in ("batch_size", "num_workers") if config[key] is not None}
    data: ImageDataModule = build({**config["data"], **given}, "data", augmentation=None, seed=config["seed"])
    data.prepare_data()
    require_pictures(data)
    require_picture_size(config["model"], data.meta, data.input_shape)
    network = build_network(config["model"], data.meta, config["seed"], data.input_shape[1:])
    report, preprocessing, _ = starting.first_weights(config, network, data.meta.classes, data.preprocessing)
    if report is not None:
        say(str(report))
    name = config["model"]["_target_"].rsplit(".", 1)[-1].lower()
    label = f"{name}_{config['init']['kind']}_{data.name}"
    source = "its own initialisation" if report is None else report.source
    folder = Path(config["paths"]["runs_dir"]) / f"probe_{label}"
    return Subject(network, preprocessing, data, config["model"], source, folder)
