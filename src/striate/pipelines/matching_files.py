"""How a file of weights fits a network of the configuration, and what that leaves open."""

from collections.abc import Mapping
from fnmatch import fnmatch
from functools import partial
from typing import Any

from torch import Tensor

from striate.errors import ConfigurationError
from striate.pipelines.expecting import class_names, outlined
from striate.pipelines.starting import typed_keys
from striate.transfer.layouts import canonical, fitted, flattened_maps
from striate.transfer.matching import Match, match
from striate.transfer.reading import WeightFile
from striate.transfer.renaming import ORDER

Mapped = Mapping[str, str] | str | None  # a person's mapping, or the word that pairs by order


def match_file(
    config: Mapping[str, Any], file: WeightFile, mapping: Mapped, layout: Any
) -> tuple[Match, dict[str, Tensor]]:
    """How the file, in some layout, fits the network of the configuration, and its tensors with PyTorch's axes."""
    size = (config["input_size"],) * 2 if config["input_size"] else None
    names = class_names(config["classes"])
    patterns = None if isinstance(mapping, str) else mapping
    tensors = canonical(file.tensors, layout, patterns)[0]
    found = match(
        config["model"], tensors, partial(outlined, size=size), mapping=patterns, by_order=mapping == ORDER,
        ordered=file.ordered, num_classes=None if names is None else len(names), asked=typed_keys(),
    )  # fmt: skip
    if names is not None and len(names) != found.num_classes:
        raise ConfigurationError(
            f"classes={config['classes']} names {len(names)} classes, the file's classifier has {found.num_classes}",
            do="one name a line, in the order of the outputs",
        )
    return found, tensors


def other_layout(config: Mapping[str, Any], file: WeightFile, mapping: Mapped) -> str | None:
    """The layout in which the file would leave no gaps, as a choice."""
    other = "torch" if canonical(file.tensors, config["layout"])[1] == "keras" else "keras"
    try:
        fits = not gaps_of(*match_file(config, file, mapping, other))
    except ConfigurationError:
        return None
    return f"layout={other}" if fits else None


def misfitting(found: Match, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The pairs of which neither is the other in another form of the layer: our name → both shapes, in words."""
    own, maps, said = found.network.state_dict(), flattened_maps(found.network), {}
    for old, new in found.proposal.mapping.items():
        if new in own and fitted(tensors[old], own[new].shape, maps.get(new), "chw").shape != own[new].shape:
            said[new] = f"{new} is {tuple(tensors[old].shape)} in the file, {tuple(own[new].shape)} here"
    return said


def gaps_of(found: Match, tensors: Mapping[str, Tensor]) -> list[str]:
    """What of a pairing is missing, too many or of another shape, in words."""
    unused = found.pair.unused if found.pair else ()
    extra = [name for name in found.proposal.extra if not any(fnmatch(name, pattern) for pattern in unused)]
    missing = [f"{name} is not in the file" for name in found.proposal.missing]
    return [*missing, *misfitting(found, tensors).values(), *(f"{name} is only in the file" for name in extra)]
