"""What a training refuses once its task is built, before anything is written."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from striate.configuration.schema import Init
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError, nearest
from striate.evaluation.metrics import OTHER_NAMES
from striate.tasks.base import SupervisedTask
from striate.transfer.freezing import Learning, learning_of
from striate.transfer.stages import first_stages


def monitored(config: Mapping[str, Any]) -> dict[str, str]:
    """The figures by which the schedule and callbacks of a training decide, by the keys of those."""
    nodes = {"scheduler": config["scheduler"]}
    nodes |= {f"callbacks.{name}": node for name, node in config["callbacks"].items()}
    return {key: node["monitor"] for key, node in nodes.items() if node and "monitor" in node}


def require_measured(config: Mapping[str, Any], task: SupervisedTask) -> None:
    """Refuses to select or schedule by a figure that no epoch will have.

    Raises:
        ConfigurationError: the figure, and those that there are.
    """
    names = task.metric_names()
    wanted = {f"{key}.monitor": name for key, name in monitored(config).items()}
    for key, name in {"monitor.metric": config["monitor"]["metric"], **wanted}.items():
        if name not in names:
            split, _, figure = name.rpartition("/")
            meant = f"{split or 'val'}/{OTHER_NAMES.get(figure, figure)}"
            raise ConfigurationError(
                f"{key}={name} is not measured",
                nearest=meant if meant in names else nearest(name, names),
                do=f"choose among {', '.join(names)}",
            )


def require_size_of_effect(datamodule: ImageDataModule, typed: Collection[str]) -> None:
    """Refuses a size that a person gives pictures which are seen as they are.

    Args:
        datamodule: prepared.
        typed: keys of the command line.

    Raises:
        ConfigurationError: a typed `data.input_size` of an array pack, other than that of its pictures.
    """
    meta, side = datamodule.whole, datamodule.input_size
    if "data.input_size" not in typed or meta.pack != "array" or datamodule.labels_pixels or side is None:
        return
    if meta.image_size != (side, side):
        assert meta.image_size is not None
        own = "×".join(map(str, meta.image_size))
        raise ConfigurationError(
            f"data.input_size={side} has no effect: all pictures of {meta.name} have {own} pixels and are seen whole",
            do=f"data.prepare.image_size={side} data.name={meta.name}_{side} prepares them at that size",
        )


def require_stages(network: nn.Module, init: Mapping[str, Any]) -> Learning:
    """What of a network learns under an `init` group, whose weights need not be there.

    Raises:
        ConfigurationError: stages that the network does not have.
    """
    settings = Init(**init)
    if settings.first is not None:
        first_stages(network, settings.first, "init.first")
    return learning_of(network, settings)


def require_one_balance(config: Mapping[str, Any]) -> None:
    """Refuses to make up twice for classes that are rare.

    Raises:
        ConfigurationError: balanced draws and any weights of classes at once.
    """
    weights = config["loss"].get("class_weights")
    if config["data"].get("sampling") == "balanced" and weights is not None:
        given = weights if isinstance(weights, str) else "[…]"
        raise ConfigurationError(
            f"data.sampling=balanced and loss.class_weights={given}: rare classes would count twice",
            do="take one of them: loss.class_weights=null or data.sampling=uniform",
        )
