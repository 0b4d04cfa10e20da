"""From a node of `conf/model` to counts, and to what papers print of that network."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from striate.configuration import FOLDER, build, plain
from striate.configuration.targets import locate, parameters
from striate.errors import ConfigurationError
from striate.evaluation.network_tables import Member, times
from striate.evaluation.papers import ENTRIES, Entry, Shape
from striate.models.arithmetic import count

# Options that change no count: what papers print holds for any value of them.
WITHOUT_COST = {
    *("activation", "pooling", "initialisation", "dropout", "auxiliary_dropout", "batch_norm_eps"),
    "zero_init_residual",
}


@cache
def options() -> dict[str, dict[str, Any]]:
    """Every option of `conf/model` and what it holds."""
    return {file.stem: plain(OmegaConf.load(file)) for file in sorted((FOLDER / "model").glob("*.yaml"))}


def typed_option() -> str | None:
    """The option of `model` on the command line; None where this is not a script."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get().runtime.choices.get("model") if HydraConfig.initialized() else None


def recognised(node: Mapping[str, Any], size: Shape | None) -> tuple[str, Entry | None]:
    """The option of `conf/model` that a node is, with its changes, and what papers print of it for this input.

    For no size, the first entry of the network, whose input is the paper's.
    """

    def costs(of: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in of.items() if key not in WITHOUT_COST}

    known = options()
    changes = {
        name: {key: value for key, value in node.items() if own.get(key, value) != value or key not in own}
        for name, own in known.items()
        if own["_target_"] == node["_target_"]
    }
    usual = min(changes, key=lambda option: len(changes[option]), default=str(node["_target_"]).rpartition(".")[2])
    typed = typed_option()
    name = typed if typed in changes and len(changes[typed]) == len(changes[usual]) else usual
    changed = [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in changes.get(name, {}).items()
    ]
    full = " ".join([name, *changed])
    for entry in ENTRIES:
        own = known.get(entry.model)
        if own and costs({**own, **entry.options}) == costs(node) and size in (None, entry.input):
            return full, entry
    return full, None


def counted(node: Mapping[str, Any], size: Shape | None, classes: int | None) -> tuple[Member, nn.Module]:
    """The network of a node on the meta device, and its counts.

    Raises:
        ConfigurationError: it does not take pictures of this size.
    """
    name, entry = recognised(node, size)
    target = locate(node["_target_"], ("model",))
    usual = inspect.signature(target).parameters["num_classes"].default
    classes = classes or usual
    shape: Shape | None = size or (entry.input if entry else getattr(target, "paper_input", None))
    if shape is None:
        raise ConfigurationError(f"{name} does not say which pictures it is for", do="input=[CHANNELS,HEIGHT,WIDTH]")
    given: dict[str, Any] = {"num_classes": classes, "in_channels": shape[0]}
    if "image_size" in parameters(target)[0]:
        given["image_size"] = shape[1:]
    with torch.device("meta"):
        network = build(node, "model", **given)
    try:
        counts = count(network, shape)
    except (ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"{name} does not take pictures of {times(shape)}: {' '.join(str(error).split())[:300]}",
            do="name another size: input=[CHANNELS,HEIGHT,WIDTH]",
        ) from error
    return Member(name, target.__name__, shape, classes, counts, entry if classes == usual else None), network
