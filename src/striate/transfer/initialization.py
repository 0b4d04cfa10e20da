"""Where a network's first weights come from: its own initialisation, or another run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.errors import ConfigurationError, nearest
from striate.messages import shown
from striate.storage import load_checkpoint
from striate.tasks.loading import network_weights, read_record
from striate.transfer.freezing import freeze

_NAMED = 4  # layers that a message names


@dataclass
class TransferReport:
    """What an initialisation did to each tensor."""

    source: str
    loaded: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)  # left as the network's own initialisation gave them
    unused: list[str] = field(default_factory=list)  # in the file, not in the network
    frozen: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        def listed(names: list[str]) -> str:
            return f" ({', '.join(names[:6])}{' …' if len(names) > 6 else ''})" if names else ""

        return (
            f"weights from {self.source}: {len(self.loaded)} tensors loaded, {len(self.new)} newly initialised"
            f"{listed(self.new)}, {len(self.unused)} not used{listed(self.unused)}, {len(self.frozen)} frozen"
            f"{listed(self.frozen)}"
        )


def initialise(
    network: nn.Module, init: Mapping[str, Any], path: Path | None, classes: Sequence[str]
) -> TransferReport | None:
    """Carries out the `init` group on a network that already has the data's number of classes.

    Args:
        network: the new network; its classifier is named by `network.classifier_name`.
        init: the resolved group: `kind`, and for transfer `exclude` and `freeze`.
        path: the checkpoint file, None when there is none.
        classes: of the data; a head that was trained for others is not loaded.

    Returns:
        What was done, or None for the network's own initialisation.

    Raises:
        ConfigurationError: a tensor of either side that no rule covers, or a stage that the network does not have.
        StorageError: a missing or damaged file.
    """
    if init["kind"] == "none":
        return None
    if init["kind"] != "checkpoint" or path is None:
        raise ConfigurationError(
            f"init.kind={init['kind']} is not valid", nearest=nearest(init["kind"], ("none", "checkpoint"))
        )
    content = load_checkpoint(path)
    same_classes = list(read_record(content, path)["meta"]["classes"]) == list(classes)
    weights, source = network_weights(content), shown(path)
    report = load_weights(network, weights, init["exclude"], source=source, new_head=not same_classes)
    report.frozen = freeze(network, init["freeze"])
    return report


@torch.no_grad()
def load_weights(
    network: nn.Module, weights: Mapping[str, torch.Tensor], exclude: Sequence[str], *, source: str, new_head: bool
) -> TransferReport:
    """Copies tensors by name; the classifier stays new if `new_head`, all else must fit or be excluded.

    Raises:
        ConfigurationError: a name or a shape that no pattern covers, on either side.
    """
    report, own = TransferReport(source), network.state_dict()
    patterns = [*exclude, *([f"{network.classifier_name}.*"] if new_head else [])]

    def excluded(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in patterns)

    for pattern in exclude:
        if not any(fnmatch(name, pattern) for name in own.keys() | weights.keys()):
            raise ConfigurationError(
                f"init.exclude: no tensor matches {pattern!r}",
                nearest=nearest(pattern, own),
            )
    uncovered = []
    for name, tensor in own.items():
        if excluded(name):
            report.new.append(name)
        elif name not in weights:
            uncovered.append(f"{name} is not in the file")
        elif weights[name].shape != tensor.shape:
            uncovered.append(f"{name} is {tuple(weights[name].shape)} in the file, {tuple(tensor.shape)} here")
        else:
            tensor.copy_(weights[name])
            report.loaded.append(name)
    for name in weights:
        if name not in own:
            (report.unused if excluded(name) else uncovered).append(
                name if excluded(name) else f"{name} is only in the file"
            )
    if uncovered:
        layers = list(dict.fromkeys(said.split()[0].rpartition(".")[0] for said in uncovered))
        named = ",".join(f"'{layer}.*'" for layer in layers) if len(layers) <= _NAMED else "PATTERN"
        raise ConfigurationError(
            f"{source} does not fit the network: {len(uncovered)} tensors, first: {uncovered[0]}",
            do="use model and data.prepare.channels of the checkpoint, or leave out what differs: "
            f'"init.exclude=[{named}]"',
        )
    return report
