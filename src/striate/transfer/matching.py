"""How a file of weights fits a network: by its names, by those of a library, by a mapping, or by order and shape."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from striate.errors import ConfigurationError
from striate.transfer.layouts import absorbed
from striate.transfer.pairs import PAIRS, Pair
from striate.transfer.proposal import Proposal, outline, propose, shapes_of
from striate.transfer.renaming import rename
from striate.transfer.variant import adapted, options_of

Builder = Callable[[Mapping[str, Any], int, int], nn.Module]  # (node, num_classes, in_channels) → network
_INSIST = "build the network that the weights are of; to take these all the same: mapping=order (init.mapping=order)"


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


@dataclass
class _Looker:
    """Compares a file's tensors with networks on the meta device, each of which is built once."""

    tensors: Mapping[str, Tensor]
    build: Builder
    num_classes: int | None
    built: dict[str, nn.Module] = field(default_factory=dict)

    def outlined(self, node: Mapping[str, Any], classes: int, channels: int) -> nn.Module:
        key = repr((sorted(node.items(), key=str), classes, channels))
        if key not in self.built:
            with torch.device("meta"):
                self.built[key] = self.build(node, classes, channels)
        return self.built[key]

    def by_names(self, node: Mapping[str, Any], names: Mapping[str, str], how: str, pair: Pair | None = None) -> Match:
        classes, channels = _sizes(self.outlined(node, self.num_classes or 2, 3), names, self.tensors)
        network = self.outlined(node, classes, channels)
        return Match(dict(node), network, classes, channels, _named(network, names, self.tensors), how, pair)


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

    Raises:
        ConfigurationError: a mapping that does not hold; names of a library whose arithmetic is another than asked for.
    """
    look = _Looker(tensors, build, num_classes)
    if mapping is not None:
        return look.by_names(model, rename(tensors, mapping, strict=True), "by the mapping")
    found = look.by_names(model, {name: name for name in tensors}, "the names are ours")
    if not by_order:
        known = None if not found.proposal.missing else of_a_library(model, tensors, build, num_classes, asked)
        if known is not None or not found.proposal.missing:
            return known or found
    sizes = outline(lambda classes, channels: look.outlined(model, classes, channels), tensors, num_classes)
    network, classes, channels = sizes or (found.network, found.num_classes, found.in_channels)
    proposal = propose(network.state_dict(), tensors, ordered=ordered)
    return Match(dict(model), network, classes, channels, proposal, "by order and shape")


def of_a_library(
    model: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    build: Builder,
    num_classes: int | None = None,
    asked: Collection[str] = (),
    *,
    key: str = "model",
) -> Match | None:
    """The match of a file by the names of a library, in the variant whose arithmetic weights of that name have.

    Args:
        model: as in `match`.
        tensors: likewise.
        build: likewise.
        num_classes: likewise.
        asked: likewise.
        key: the dotted key of the node.

    Returns:
        The match, in which the classifier alone may be missing; None where the names are others.

    Raises:
        ConfigurationError: the names are a library's, the arithmetic is another than asked for.
    """
    pairs = [pair for pair in PAIRS if pair.target == model["_target_"]]
    look = _Looker(tensors, build, num_classes)
    if not pairs or not _lacking(look.by_names(model, {name: name for name in tensors}, "")):
        return None
    options, other = options_of(model, key), None
    for pair in pairs:
        how, names = f"the names are those of {pair.library}'s {pair.name}", _quietly_renamed(tensors, pair.mapping)
        typed = look.by_names(model, names, how, pair)
        if not pair.is_of(options):
            other = other or (None if _lacking(typed) else pair)
            continue
        found = look.by_names({**model, **pair.requires}, names, how, pair)
        if _lacking(found) or not typed.proposal.mapping.keys() <= found.proposal.mapping.keys():
            continue  # what was typed takes more of the file than theirs would: another's network under such names
        try:
            node, line = adapted(model, pair, asked, key=key)
        except ConfigurationError as error:
            raise ConfigurationError(error.what, nearest=error.nearest, do=_INSIST) from None
        return replace(found, model=node, line=line)
    if other is not None and not any(pair.is_of(options) for pair in pairs):
        wrong = {name: value for name, value in other.when.items() if options.get(name) != value}
        given = ", ".join(f"{key}.{name}={options.get(name)}" for name in wrong)
        raise ConfigurationError(
            f"{given} does not go with the file, whose names are those of {other.library}'s {other.name}",
            nearest=" ".join(f"{key}.{name}={value}" for name, value in wrong.items()),
            do=_INSIST,
        )
    return None


def recognised(tensors: Mapping[str, Tensor], network: nn.Module) -> Pair | None:
    """The library's network under whose names, and not under ours, a file has all of a network but its classifier."""
    own, kind = set(_without_head(network, shapes_of(network.state_dict()))), type(network)
    target = f"{kind.__module__}.{kind.__qualname__}"
    for pair in () if own <= tensors.keys() else sorted(PAIRS, key=lambda pair: pair.target != target):
        if own <= set(_quietly_renamed(tensors, pair.mapping).values()):
            return pair
    return None


def _lacking(found: Match) -> list[str]:
    return _without_head(found.network, found.proposal.missing)


def _without_head(network: nn.Module, names: Iterable[str]) -> list[str]:
    heads = tuple(f"{layer}." for layer in getattr(network, "class_layers", ()))
    return [name for name in names if not name.startswith(heads)]


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
    taken = own.keys() | absorbed(network).keys()
    mapping = {old: new for old, new in names.items() if new in taken}
    reached = set(mapping.values())
    return Proposal(
        mapping,
        missing=[name for name in own if name not in reached],
        extra=[name for name in shapes_of(tensors) if name not in mapping],
    )
