"""Weights of a classifier for a network that labels pixels: they go to its backbone."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from striate.transfer.pairs import Pair
from striate.transfer.variant import choose

PREFIX = "backbone."


def choose_inner(
    model: Mapping[str, Any], library: str, asked: Collection[str] = ()
) -> tuple[dict[str, Any], Pair, str]:
    """`variant.choose` for the classifier in a model's node: the model itself, or its backbone.

    Pooling windows that stand over are no other variant of a backbone: they change nothing where maps are even.
    """
    backbone = model.get("backbone")
    if not isinstance(backbone, Mapping) or "_target_" not in backbone:
        return choose(model, library, asked)
    kept = {key: value for key, value in backbone.items() if key == "ceil_mode"}
    node, pair, line = choose(
        {key: value for key, value in backbone.items() if key not in kept}, library, asked, key="model.backbone"
    )
    return {**model, "backbone": {key: {**node, **kept}[key] for key in {**backbone, **node}}}, pair, line


def receiver(network: nn.Module, names: Collection[str], mapping: Mapping[str, str] | str | None = None) -> nn.Module:
    """What a file's tensors are for: the whole network, or its backbone where no name in the file is of one."""
    backbone = getattr(network, "backbone", None)
    whole = any(name.startswith(PREFIX) for name in names) or (
        isinstance(mapping, Mapping) and any(name.startswith(PREFIX) for name in mapping.values())
    )
    return network if whole or not isinstance(backbone, nn.Module) else backbone


def as_convolutions(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights of dense layers in the shape of the convolutions that they have become, and which those are."""

    def fits(name: str, tensor: Tensor) -> bool:
        return name in own and tensor.ndim == 2 and own[name].ndim == 4 and tensor.numel() == own[name].numel()

    dense = {name: tensor.view(own[name].shape) for name, tensor in weights.items() if fits(name, tensor)}
    said = {
        name: f"{tuple(weights[name].shape)} → {tuple(tensor.shape)}: a dense layer became a convolution"
        for name, tensor in dense.items()
    }
    return {**weights, **dense}, said
