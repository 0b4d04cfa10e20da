"""One training whose values are being chosen: what the rules need to know of it, as far as it has come."""

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from striate.configuration import plain
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError
from striate.models.arithmetic import count
from striate.pipelines import starting
from striate.pipelines.situation import Data, Machine, Weights, data_of, machine_of, weights_of
from striate.tasks.building import choose_task, construct_network
from striate.transfer.pairs import LIBRARIES


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

    def is_normalised(self) -> bool:
        """Whether the network has batch norm."""
        return any(isinstance(module, _BatchNorm) for module in self.network().modules())

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
