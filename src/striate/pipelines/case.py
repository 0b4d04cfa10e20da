"""One training whose values are being chosen: what the rules need to know of it, as far as it has come."""

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from striate.configuration import plain
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError
from striate.models.arithmetic import count
from striate.pipelines import recalling, starting, tuning
from striate.pipelines import rules_of_networks as networks
from striate.pipelines import rules_of_training as training
from striate.pipelines.situation import Choice, Data, Machine, Option, Weights, data_of, machine_of, weights_of
from striate.tasks.building import choose_task, construct_network
from striate.transfer.libraries import obtainable
from striate.transfer.pairs import LIBRARIES

_PUBLIC = {"kind": "torchvision", "weights": "IMAGENET1K_V1"}


class Case:
    """A configuration into which choices are written one after another.

    Args:
        cfg: the configuration, whose present state counts.
        make: from a plain configuration to its data module, whose set is prepared.
        keys: what is to be chosen.
    """

    def __init__(
        self, cfg: DictConfig, make: Callable[[Mapping[str, Any]], ImageDataModule], keys: Collection[str] = ()
    ):
        self.cfg, self.make, self.keys = cfg, make, keys

    @property
    def config(self) -> dict[str, Any]:
        """As it is now."""
        return plain(self.cfg)

    @cached_property
    def data(self) -> Data:
        return data_of(self.make({**self.config, "augmentation": None}))

    @cached_property
    def machine(self) -> Machine:
        return machine_of(self.config["trainer"])

    @property
    def weights(self) -> Weights | None:
        """The first weights, and what they expect as far as the network says it."""
        weights, config = weights_of(self.config), self.config
        if weights is None or config["init"]["kind"] not in LIBRARIES:
            return weights
        try:
            published = starting.library_weights(config)
        except ConfigurationError:  # not of this network; it is said where the weights are loaded
            return weights
        return Weights(str(published), published.expected.input_size)

    @property
    def epochs(self) -> int:
        return int(self.config["trainer"]["max_epochs"])

    def network(self, side: int | None = None) -> nn.Module:
        """On the meta device, for pictures of so many pixels each way."""
        config, data = self.config, self.make(self.config)
        shape = data.input_shape if side is None else (data.meta.channels, side, side)
        with torch.device("meta"):
            return construct_network(config["model"], data.meta, shape[1:])

    def cost(self, side: int) -> int:
        """Multiply-adds for a picture of so many pixels each way."""
        return count(self.network(side), (self.data.channels, side, side)).mult_adds

    def settled(self) -> tuple[dict[str, Any], ImageDataModule]:
        """The configuration with what its first weights and its data imply, and its data module."""
        config = self.config
        starting.settle(config)
        data = self.make(config)
        choose_task(config, data.meta)
        return config, data

    # ---- rules that ask more than a table ----------------------------------------------------------------------------

    def public_weights(self) -> Choice:
        """`init`: torchvision's weights where they fit and can be had, else none; said which and why."""
        none, data = Option("none"), self.data
        if data.side < networks.PRETRAINED_FROM:
            return Choice(none, f"pictures of {data.side} pixels are too small for public weights: from scratch")
        model = self.config["model"]
        if "model" in self.keys:
            option = networks.network(data, self.machine, Weights("torchvision")).value
            own = self.cfg.copy()
            recalling.put(own, "model", option)
            model = plain(own.model)
        try:
            published = starting.library_weights({"model": model, "init": _PUBLIC})
        except ConfigurationError as error:
            return Choice(none, f"{error.what}: from scratch")
        fault = obtainable(published)
        if fault:
            return Choice(none, f"{published} cannot be had ({fault}): from scratch, with a small network")
        grey = {"grey": "sum"} if data.channels == 1 else {}
        return Choice(Option("torchvision", grey), f"{published} is at hand")

    def batch(self) -> Choice:
        config, data = self.settled()
        most = training.largest_batch(self.data, self.machine) if not self.cfg.find_batch_size else None
        return tuning.found_batch(config, data, most)

    def rate(self) -> Choice | None:
        config, optimizer = self.config, self.config["optimizer"]["_target_"].rpartition(".")[2]
        normalised = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.network().modules())
        batch = self.make(config).batch_size
        choice = training.rate(optimizer, batch, self.weights, config["init"].get("train"), normalised)
        return choice or self.searched_rate()

    def searched_rate(self) -> Choice:
        return tuning.found_rate(*self.settled())


RULES: dict[str, Callable[[Case], Choice | None]] = {
    "init": Case.public_weights,
    "model": lambda case: networks.network(case.data, case.machine, case.weights),
    "trainer.max_epochs": lambda case: training.max_epochs(case.data, case.weights),
    "data.input_size": lambda case: networks.input_size(case.data, case.machine, case.weights, case.epochs, case.cost),
    "augmentation": lambda case: networks.augmentation(case.data),
    "loss.class_weights": lambda case: training.class_weights(case.data),
    "monitor": lambda case: training.monitor(case.data),
    "init.train": lambda case: networks.trained(case.data, case.weights),
    "init.unfreeze_every": lambda case: networks.unfreeze_every(case.data, case.weights, case.epochs),
    "init.stage_decay": lambda case: networks.stage_decay(case.weights),
    "data.batch_size": Case.batch,
    "callbacks.early_stopping.patience": lambda case: training.patience(case.epochs),
    "trainer.precision": lambda case: training.precision(case.machine),
    "optimizer.lr": Case.rate,
    "data.num_workers": lambda case: training.workers(case.data, case.machine),
}
