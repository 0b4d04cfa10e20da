"""How a file of weights fits a network: by its names, by those of a library, by a mapping, or by order and shape."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from striate.errors import ConfigurationError
from striate.transfer.pairs import PAIRS, Pair
from striate.transfer.proposal import COUNTER, Proposal, outline, propose, shapes_of
from striate.transfer.renaming import rename
from striate.transfer.variant import choose

Builder = Callable[[Mapping[str, Any], int, int], nn.Module]  # (node, num_classes, in_channels) → network


@dataclass(frozen=True)
class Match:
    """A network for a file, and which tensor is which.

    Args:
        model: the node of the network, in the variant that the weights need.
        network: of it, on the meta device.
        num_classes: that the file's classifier has.
        in_channels: that its first layer sees.
        proposal: the pairs of names.
        how: they were found, in words.
        pair: the networks, where the names are those of a library.
        line: says what was changed in the node.
    """

    model: dict[str, Any]
    network: nn.Module
    num_classes: int
    in_channels: int
    proposal: Proposal
    how: str
    pair: Pair | None = None
    line: str = ""


def match(
    model: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    build: Builder,
    *,
    mapping: Mapping[str, str] | None = None,
    by_order: bool = False,
    ordered: bool = True,
    num_classes: int | None = None,
    asked: Collection[str] = (),
) -> Match:
    """Finds out how tensors fit a network; what is missing or too many is in the proposal.

    Args:
        model: the node of the network.
        tensors: of the file, with PyTorch's last names and axes (`layouts.canonical`).
        build: makes the network of a node.
        mapping: a person's, from the file's names to ours; None to find one.
        by_order: pair by order and shape, whatever the names are.
        ordered: whether the file keeps the order of the layers.
        num_classes: where somebody said.
        asked: dotted keys that a person gave a value.
    """

    def outlined(node: Mapping[str, Any], classes: int, channels: int) -> nn.Module:
        with torch.device("meta"):
            return build(node, classes, channels)

    def by_names(node: Mapping[str, Any], names: Mapping[str, str], how: str, pair: Pair | None, line: str) -> Match:
        classes, channels = _sizes(outlined(node, num_classes or 2, 3), names, tensors)
        network = outlined(node, classes, channels)
        return Match(dict(node), network, classes, channels, _named(network, names, tensors), how, pair, line)

    if mapping is not None:
        return by_names(model, rename(tensors, mapping, strict=True), "by the mapping", None, "")
    found = by_names(model, {name: name for name in tensors}, "the names are ours", None, "")
    if not by_order and not found.proposal.missing:
        return found
    for pair in () if by_order else PAIRS:
        if pair.target == model["_target_"] and (chosen := _chosen(model, pair, asked)) is not None:
            how = f"the names are those of {pair.library}'s {pair.name}"
            candidate = by_names(chosen[0], _quietly_renamed(tensors, pair.mapping), how, pair, chosen[1])
            if not candidate.proposal.missing:
                return candidate
    sizes = outline(lambda classes, channels: outlined(model, classes, channels), tensors, num_classes)
    network, classes, channels = sizes or (found.network, found.num_classes, found.in_channels)
    proposal = propose(network.state_dict(), tensors, ordered=ordered)
    return Match(dict(model), network, classes, channels, proposal, "by order and shape")


def _chosen(model: Mapping[str, Any], pair: Pair, asked: Collection[str]) -> tuple[dict[str, Any], str] | None:
    """The variant of our network that a pair needs, and what was changed; None where ours is another network."""
    try:
        node, chosen, line = choose(model, pair.library, asked)
    except ConfigurationError:
        return None
    return (node, line) if chosen is pair else None


def recognised(tensors: Mapping[str, Tensor], own: Collection[str]) -> Pair | None:
    """The library's network under whose names a file has all of ours."""
    wanted = {name for name in own if not name.endswith(COUNTER)}
    for pair in PAIRS:
        if wanted <= set(_quietly_renamed(tensors, pair.mapping).values()):
            return pair
    return None


def _quietly_renamed(tensors: Mapping[str, Tensor], mapping: Mapping[str, str]) -> dict[str, str]:
    try:
        return rename(tensors, mapping)
    except ConfigurationError:  # two of a name: then these are not that library's
        return {}


def _sizes(network: nn.Module, names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Classes and channels that a file has under the names of a network; the network's own where it does not tell."""
    shapes = {new: tensors[old].shape for old, new in names.items()}
    head = shapes.get(f"{network.classifier_name}.weight")
    first = next((name for name, tensor in network.state_dict().items() if tensor.ndim == 4), None)
    filters = shapes.get(first) if first else None
    classes = int(head[0]) if head is not None and len(head) > 1 and head[0] > 0 else int(network.num_classes)  # type: ignore[arg-type]
    channels = int(filters[1]) if filters is not None and len(filters) == 4 and filters[1] in (1, 3) else 3
    return classes, channels


def _named(network: nn.Module, names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Proposal:
    own = shapes_of(network.state_dict())
    mapping = {old: new for old, new in names.items() if new in own}
    reached = set(mapping.values())
    return Proposal(
        mapping,
        missing=[name for name in own if name not in reached],
        extra=[name for name in shapes_of(tensors) if name not in mapping],
    )
