"""Where a network's first weights come from: its own initialisation, another run, a library, or any file."""

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
from striate.transfer.backbones import PREFIX, as_convolutions, receiver
from striate.transfer.foreign import translate
from striate.transfer.freezing import freeze
from striate.transfer.layouts import canonical
from striate.transfer.libraries import Expected
from striate.transfer.matching import recognised
from striate.transfer.pairs import LIBRARIES, Pair
from striate.transfer.proposal import COUNTER, propose
from striate.transfer.reading import WeightFile, read_weights
from striate.transfer.renaming import ORDER

KINDS = ("none", "checkpoint", "file", *LIBRARIES)
_NAMED = 4  # layers that a message names
_LISTED = 8  # tensors that a message names
_ALIKE = 0.95  # share of the class names that must be the same: libraries spell a few of ImageNet's in another way


@dataclass
class TransferReport:
    """What an initialisation did to each tensor."""

    source: str
    loaded: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)  # left as the network's own initialisation gave them
    unused: list[str] = field(default_factory=list)  # in the file, not in the network
    frozen: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def name_within(self, whole: nn.Module, part: nn.Module) -> None:
        """Names tensors as the whole network does, where a part of it, its backbone, got the weights."""
        if part is whole:
            return
        self.loaded, self.new = ([f"{PREFIX}{name}" for name in names] for names in (self.loaded, self.new))
        self.new += [name for name in whole.state_dict() if not name.startswith(PREFIX)]

    def __str__(self) -> str:
        def listed(names: list[str]) -> str:
            return f" ({', '.join(names[:6])}{' …' if len(names) > 6 else ''})" if names else ""

        return "\n".join(
            (
                f"weights from {self.source}: {len(self.loaded)} tensors loaded, {len(self.new)} newly initialised"
                f"{listed(self.new)}, {len(self.unused)} not used{listed(self.unused)}, {len(self.frozen)} frozen"
                f"{listed(self.frozen)}",
                *self.notes,
            )
        )


@dataclass(frozen=True)
class Foreign:
    """What is known of weights that are not Striate's.

    Args:
        source: what they are, in words.
        pair: the networks, where they come from a library.
        expected: what they expect, as far as somebody said.
    """

    source: str
    pair: Pair | None = None
    expected: Expected | None = None


def initialise(
    network: nn.Module,
    init: Mapping[str, Any],
    path: Path | None,
    classes: Sequence[str],
    foreign: Foreign | None = None,
) -> TransferReport | None:
    """Carries out the `init` group on a network that already has the data's number of classes.

    Args:
        network: the new network; its classifier is named by `network.classifier_name`.
        init: the resolved group: `kind`, and for transfer `exclude`, `freeze` and what `conf/init` has beside them.
        path: the file of the weights, None when there is none.
        classes: of the data; a head that was trained for others is not loaded.
        foreign: of the weights of a library or of another's file.

    Returns:
        What was done, or None for the network's own initialisation.

    Raises:
        ConfigurationError: a tensor of either side that no rule covers, or a stage that the network does not have.
        StorageError: a missing or damaged file.
    """
    kind = init["kind"]
    if kind == "none":
        return None
    if kind not in KINDS or path is None or (kind != "checkpoint" and foreign is None):
        raise ConfigurationError(f"init.kind={kind} is not valid", nearest=nearest(kind, KINDS))
    if kind == "checkpoint":
        content = load_checkpoint(path)
        same_classes = list(read_record(content, path)["meta"]["classes"]) == list(classes)
        weights, source = network_weights(content), shown(path)
        target = receiver(network, weights)
        weights, same_classes = as_convolutions(weights, target.state_dict()), same_classes and target is network
        report = load_weights(target, weights, init["exclude"], source=source, new_head=not same_classes)
        report.name_within(network, target)
    else:
        assert foreign is not None
        report = _load_foreign(network, init, path, classes, foreign)
    report.frozen = freeze(network, init["freeze"])
    return report


def _load_foreign(
    network: nn.Module, init: Mapping[str, Any], path: Path, classes: Sequence[str], foreign: Foreign
) -> TransferReport:
    file, whole = read_weights(path), network
    network = receiver(network, file.tensors, init["mapping"])
    pair, mapping, said_of_names = _names(network, file, init, foreign)
    weights, notes = translate(
        network, file, mapping, strict=foreign.pair is None and pair is None, layout=init["layout"],
        flatten=init["flatten"], grey=init["grey"],
    )  # fmt: skip
    notes += said_of_names
    head = weights.get(f"{network.classifier_name}.weight")
    same, said = same_head(init["head"], None if head is None else len(head), classes, foreign.expected)
    # Counters have no effect; files from before 2018, and of other frameworks, have none.
    optional = [f"*{COUNTER}", *([] if pair is None else pair.unused)]
    report = load_weights(
        network, weights, init["exclude"], source=foreign.source, new_head=not same, optional=optional,
        do=f"see both sides: python src/convert.py model=… input={shown(path)}; then init.mapping=FILE, or leave out: ",
    )  # fmt: skip
    _require_finite(weights, report)
    report.name_within(whole, network)
    report.notes += [*file.notes, *notes, *([said] if said else [])]
    return report


def _names(
    network: nn.Module, file: WeightFile, init: Mapping[str, Any], foreign: Foreign
) -> tuple[Pair | None, Mapping[str, str] | None, list[str]]:
    """The library whose names a file has, if any, the mapping of its names, and what is to be said of it."""
    if foreign.pair is not None or init["mapping"] not in (None, ORDER):
        return foreign.pair, init["mapping"] if foreign.pair is None else foreign.pair.mapping, []
    tensors, own = canonical(file.tensors, init["layout"])[0], network.state_dict()
    if init["mapping"] == ORDER:
        proposal = propose(own, tensors, ordered=file.ordered)
        if proposal.ambiguous:
            raise ConfigurationError(
                f"init.mapping=order: order and shape do not decide which is {_some(proposal.ambiguous)}",
                do="give the mapping: init.mapping=FILE; python src/convert.py shows both lists of names",
            )
        return None, proposal.mapping, ["names were paired by order and shape"]
    if (own.keys() - tensors.keys()) and (pair := recognised(tensors, own)) is not None:
        needed = ", ".join(f"model.{key}={value}" for key, value in pair.requires.items())
        note = f"the names are those of {pair.library}, and were translated" + (
            f"; its weights need {needed}" if needed else ""
        )
        return pair, pair.mapping, [note]
    return None, None, []


def same_head(wanted: str, outputs: int | None, classes: Sequence[str], expected: Expected | None) -> tuple[bool, str]:
    """Whether the classifier of the file is kept, and a line that says why not, or why all the same."""
    known = None if expected is None else expected.classes
    if wanted == "new" or outputs is None:
        return False, ""
    if outputs != len(classes):
        if wanted == "keep":
            raise ConfigurationError(
                f"init.head=keep: the file's classifier is for {outputs} classes, the data have {len(classes)}",
                nearest="init.head=auto",
            )
        return False, f"the classifier is new: the file's has {outputs} classes, the data have {len(classes)}"
    if wanted == "keep" or known is None or len(known) != outputs:
        return True, "the classifier is kept: it has as many classes as the data; init.head=new makes a new one"
    alike = sum(_plain(one) == _plain(other) for one, other in zip(known, classes, strict=True))
    if alike >= _ALIKE * outputs:
        return True, "the classifier is kept: its classes are those of the data"
    return False, "the classifier is new: its classes have other names than the data's; init.head=keep keeps it"


def _plain(name: str) -> str:
    return name.partition(",")[0].strip().lower().replace("_", " ")


def _require_finite(weights: Mapping[str, torch.Tensor], report: TransferReport) -> None:
    bad = [name for name in report.loaded if name in weights and not weights[name].isfinite().all()]
    if bad:
        raise ConfigurationError(
            f"{report.source} has values that are no numbers in {_some(bad)}",
            do=f'leave them out: "init.exclude=[{",".join(bad[:_NAMED])}]"',
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return "; ".join(names[:_LISTED]) + more


@torch.no_grad()
def load_weights(
    network: nn.Module,
    weights: Mapping[str, torch.Tensor],
    exclude: Sequence[str],
    *,
    source: str,
    new_head: bool,
    optional: Sequence[str] = (),
    do: str = "use model and data.prepare.channels of the checkpoint, or leave out what differs: ",
) -> TransferReport:
    """Copies tensors by name; the classifiers stay new if `new_head`, all else must fit or be excluded.

    Args:
        network: what gets them.
        weights: tensors under the network's names.
        exclude: patterns of tensors of either side that are left out.
        source: what they are, in words.
        new_head: whether the classifier is for other classes.
        optional: patterns of tensors that either side may lack.
        do: what a person can do who reads that they do not fit; patterns to exclude are added.

    Raises:
        ConfigurationError: a name or a shape that no pattern covers, on either side.
    """
    report, own = TransferReport(source), network.state_dict()
    optional = [*optional, *getattr(network, "optional_weights", ())]
    patterns = [*exclude, *(f"{layer}.*" for layer in (network.class_layers if new_head else ()))]  # type: ignore[union-attr]

    def fits(name: str, among: Sequence[str]) -> bool:
        return any(fnmatch(name, pattern) for pattern in among)

    for pattern in exclude:
        if not any(fnmatch(name, pattern) for name in own.keys() | weights.keys()):
            raise ConfigurationError(
                f"init.exclude: no tensor matches {pattern!r}",
                nearest=nearest(pattern, own),
            )
    uncovered = []
    for name, tensor in own.items():
        if fits(name, patterns) or (name not in weights and fits(name, optional)):
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
            covered = fits(name, patterns) or fits(name, optional)
            (report.unused if covered else uncovered).append(name if covered else f"{name} is only in the file")
    if uncovered:
        layers = list(dict.fromkeys(said.split()[0].rpartition(".")[0] for said in uncovered))
        named = ",".join(f"'{layer}.*'" for layer in layers) if len(layers) <= _NAMED else "PATTERN"
        raise ConfigurationError(
            f"{source} does not fit the network: {len(uncovered)} tensors: {_some(uncovered)}",
            do=f'{do}"init.exclude=[{named}]"',
        )
    return report
