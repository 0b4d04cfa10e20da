"""Weights of a classifier for a network that labels pixels: they go to its backbone."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from striate.transfer.matching import Builder, of_a_library
from striate.transfer.pairs import PAIRS, Pair
from striate.transfer.variant import choose

PREFIX = "backbone."
_KEPT = ("ceil_mode",)  # of a backbone: no other variant, since it changes nothing where maps are even


def choose_inner(
    model: Mapping[str, Any], library: str, asked: Collection[str] = ()
) -> tuple[dict[str, Any], Pair, str]:
    """`variant.choose` for the classifier in a model's node: the model itself, or its backbone."""
    backbone = inner(model)
    if backbone is None:
        return choose(model, library, asked)
    node, pair, line = choose(
        {key: value for key, value in backbone.items() if key not in _KEPT}, library, asked, key="model.backbone"
    )
    return _around(model, node), pair, line


def recognise_inner(
    model: Mapping[str, Any], tensors: Mapping[str, Tensor], build: Builder, asked: Collection[str] = ()
) -> tuple[dict[str, Any], str]:
    """The node with the variant whose arithmetic a file's weights have, and what was changed, by `of_a_library`.

    Where no name in the file is of a backbone, they are for the classifier in the node, as `receiver` has it. Of names
    that are no library's nothing is known, and nothing changed.
    """
    backbone = inner(model)
    if backbone is None or any(name.startswith(PREFIX) for name in tensors):
        found = of_a_library(model, tensors, build, asked=asked)
        return (dict(model), "") if found is None else (found.model, found.line)

    def build_inner(node: Mapping[str, Any], classes: int, channels: int) -> nn.Module:
        return build(_around(model, node), classes, channels).get_submodule(PREFIX.rstrip("."))

    own = {key: value for key, value in backbone.items() if key not in _KEPT}
    found = of_a_library(own, tensors, build_inner, asked=asked, key="model.backbone")
    return (dict(model), "") if found is None else (_around(model, found.model), found.line)


def inner(model: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The node of the classifier within that of a network that labels pixels; None for any other."""
    backbone = model.get("backbone")
    return backbone if isinstance(backbone, Mapping) and "_target_" in backbone else None


def has_pairs(model: Mapping[str, Any]) -> bool:
    """Whether some library has a network that the classifier in a model's node is, so that names may tell of it."""
    return (inner(model) or model)["_target_"] in {pair.target for pair in PAIRS}


def _around(model: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """A model with another backbone, whose options keep their order and what is no other variant its value."""
    before = model["backbone"]
    whole = {**node, **{key: value for key, value in before.items() if key in _KEPT}}
    return {**model, "backbone": {key: whole[key] for key in {**before, **node}}}


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
