"""Which tensor of a file is which of ours, proposed from order and shape alone."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from torch import Tensor, nn

KINDS = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"  # has no effect, and is missing in many files
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Proposal:
    """Pairs of names.

    Args:
        mapping: their name → ours.
        ambiguous: names of ours that shape alone does not decide, and the order of the layers differs.
        missing: names of ours without a counterpart.
        extra: names of theirs without one.
    """

    mapping: dict[str, str]
    ambiguous: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The shapes of the tensors that have an effect."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if not name.endswith(COUNTER)}


def propose(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], *, ordered: bool = True) -> Proposal:
    """Pairs the layers of two networks.

    A layer is what shares the first part of its tensors' names; it is known by the kinds and shapes of these. Where
    both networks have equal layers in the same order, they are paired one by one; else the layers of each kind and
    shape are paired in their order, and where there are several of them, that is a guess.

    Args:
        own: our tensors, in order.
        theirs: the file's, with PyTorch's last names and axes (`layouts.canonical`).
        ordered: whether the file keeps the order of the layers.
    """
    mine, other = _layers(own), _layers(theirs)
    in_step = ordered and [layer.signature for layer in mine] == [layer.signature for layer in other]
    mapping: dict[str, str] = {}
    ambiguous: list[str] = []
    for signature in dict.fromkeys(layer.signature for layer in mine):
        here = [layer for layer in mine if layer.signature == signature]
        there = [layer for layer in other if layer.signature == signature]
        for one, two in zip(here, there, strict=False):
            mapping |= {two.names[kind]: name for kind, name in one.names.items()}
            if (counter := f"{two.prefix}.{COUNTER}") in theirs:
                mapping[counter] = f"{one.prefix}.{COUNTER}"
            if not in_step and max(len(here), len(there)) > 1:
                ambiguous += one.names.values()
    reached = set(mapping.values())
    return Proposal(
        mapping,
        ambiguous,
        [name for name in shapes_of(own) if name not in reached],
        [name for name in shapes_of(theirs) if name not in mapping],
    )


@dataclass(frozen=True)
class _Layer:
    prefix: str
    names: dict[str, str]  # kind → name
    signature: tuple[tuple[str, Shape], ...]


def _layers(tensors: Mapping[str, Tensor]) -> list[_Layer]:
    shapes, layers = shapes_of(tensors), dict[str, dict[str, str]]()
    for name in shapes:
        prefix, _, kind = name.rpartition(".")
        layers.setdefault(prefix if kind in KINDS else name, {})[kind] = name
    return [
        _Layer(prefix, names, tuple(sorted((kind, _flat(shapes[name])) for kind, name in names.items())))
        for prefix, names in layers.items()
    ]


def _flat(shape: Shape) -> Shape:
    """Filters as rows: a convolution over a whole map and a dense layer are the same."""
    return (shape[0], prod(shape[1:])) if len(shape) > 1 else shape


def outline(
    build: Callable[[int, int], nn.Module], theirs: Mapping[str, Tensor], num_classes: int | None = None
) -> tuple[nn.Module, int, int] | None:
    """A network whose layers are those of the file, for some number of classes and channels.

    Args:
        build: (num_classes, in_channels) → network, on the meta device.
        theirs: the file's tensors, with PyTorch's last names and axes.
        num_classes: where it is known.

    Returns:
        The network, its number of classes and of channels; None where the layers differ for all.
    """
    wanted = _signatures(_layers(theirs))
    for channels in (3, 1):
        probe = build(num_classes or 2, channels)
        heads = {str(probe.classifier_name), *getattr(probe, "auxiliary_classifiers", ())}
        layers = _layers(probe.state_dict())
        middle = _signatures(layer for layer in layers if layer.prefix not in heads)
        inputs = next((_inputs(layer) for layer in layers if layer.prefix in heads), None)
        if middle - wanted or sum(wanted.values()) != len(layers):
            continue
        # What is left of the file are its classifiers: they see as many units as ours, and say how many classes.
        rest = list((wanted - middle).elements())
        classes = {shape[0] for signature in rest for _, shape in signature if shape[1:] == (inputs,)}
        if len(classes) == 1:
            network = build(found := classes.pop(), channels)
            if _signatures(_layers(network.state_dict())) == wanted:
                return network, found, channels
    return None


def _signatures(layers: Iterable[_Layer]) -> Counter:
    return Counter(layer.signature for layer in layers)


def _inputs(layer: _Layer) -> int | None:
    return next((shape[1] for kind, shape in layer.signature if kind == "weight" and len(shape) > 1), None)
