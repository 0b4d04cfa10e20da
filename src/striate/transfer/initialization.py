"""Where a network's first weights come from: its own initialisation, another run, a library, or any file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from striate.configuration.schema import Init
from striate.errors import ConfigurationError, nearest
from striate.messages import shown
from striate.storage import load_checkpoint
from striate.tasks.loading import network_weights, read_record
from striate.transfer.backbones import PREFIX, as_convolutions, receiver
from striate.transfer.foreign import translate
from striate.transfer.freezing import Learning, freeze, learning_of
from striate.transfer.layouts import canonical
from striate.transfer.libraries import Expected
from striate.transfer.matching import recognised
from striate.transfer.pairs import LIBRARIES, Pair
from striate.transfer.proposal import COUNTER, propose
from striate.transfer.reading import WeightFile, read_weights
from striate.transfer.renaming import ORDER
from striate.transfer.report import TransferReport
from striate.transfer.resizing import resized
from striate.transfer.stages import first_stages
from striate.transfer.weights import Fit, load_weights, require_finite, some

KINDS = ("none", "checkpoint", "file", *LIBRARIES)
_ALIKE = 0.95  # share of the class names that must be the same: libraries spell a few of ImageNet's in another way


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
        init: the resolved group: `kind`, and what `conf/init` has beside it.
        path: the file of the weights, None when there is none.
        classes: of the data; a head that was trained for others is not loaded.
        foreign: of the weights of a library or of another's file.

    Returns:
        What was done, or None for the network's own initialisation of which all learns alike.

    Raises:
        ConfigurationError: a tensor of either side that no rule covers, or a stage that the network does not have.
        StorageError: a missing or damaged file.
    """
    kind, settings = init["kind"], Init(**init)
    learning = learning_of(network, settings)  # before anything is read: names that there are not
    if kind == "none":
        if learning == Learning() and settings.stage_decay == 1.0:
            return None
        report = TransferReport("the network's own initialisation", new=list(network.state_dict()))
    elif kind not in KINDS or path is None or (kind != "checkpoint" and foreign is None):
        raise ConfigurationError(f"init.kind={kind} is not valid", nearest=nearest(kind, KINDS))
    elif kind == "checkpoint":
        report = _load_checkpoint(network, settings, path, classes)
    else:
        assert foreign is not None
        report = _load_foreign(network, settings, path, classes, foreign)
    if kind != "none":
        learning = learning_of(network, settings, report.new)
    report.frozen = freeze(network, learning.frozen)
    report.tell_stages(network, learning)
    network.learning = learning  # type: ignore[assignment]
    return report


def _load_checkpoint(network: nn.Module, init: Init, path: Path, classes: Sequence[str]) -> TransferReport:
    content = load_checkpoint(path)
    same_classes = list(read_record(content, path)["meta"]["classes"]) == list(classes)
    weights = network_weights(content)
    target = receiver(network, weights)
    weights, reshaped = as_convolutions(weights, target.state_dict())
    report = load_weights(
        target, weights, init.exclude, source=shown(path),
        new_head=not (same_classes and target is network), only=_loaded_modules(network, target, init.first),
        fit=_fitting(init),
    )  # fmt: skip
    report.tell_shapes(reshaped)
    report.name_within(network, target)
    return report


def _fitting(init: Init) -> Fit:
    """What brings tensors to the network's sizes as far as the configuration allows."""
    return partial(resized, grey=init.grey, resize=init.resize)


def _loaded_modules(whole: nn.Module, target: nn.Module, first: int | None) -> tuple[str, ...] | None:
    """The modules of the first stages as the part of the network names them that gets the weights; None for all."""
    if first is None:
        return None
    modules = first_stages(whole, first, "init.first")
    if target is whole:
        return modules
    return tuple(name.removeprefix(PREFIX) for name in modules if name.startswith(PREFIX))


def _load_foreign(
    network: nn.Module, init: Init, path: Path, classes: Sequence[str], foreign: Foreign
) -> TransferReport:
    file, whole = read_weights(path), network
    network = receiver(network, file.tensors, init.mapping)
    pair, mapping, said_of_names = _names(network, file, init, foreign)
    reshaped: dict[str, str] = {}
    weights, notes = translate(
        network, file, mapping, strict=foreign.pair is None and pair is None, layout=init.layout,
        flatten=init.flatten, reshaped=reshaped,
    )  # fmt: skip
    notes += said_of_names
    head = weights.get(f"{network.classifier_name}.weight")
    same, said = same_head(init.head, None if head is None else len(head), classes, foreign.expected)
    # Counters have no effect; files from before 2018, and of other frameworks, have none.
    optional = [f"*{COUNTER}", *([] if pair is None else pair.unused)]
    see = f"see both sides: python src/convert.py model=… input={shown(path)}"
    report = load_weights(
        network, weights, init.exclude, source=foreign.source, new_head=not same, optional=optional,
        only=_loaded_modules(whole, network, init.first), fit=_fitting(init),
        do=lambda out: f"{see}; then init.mapping=FILE, {out}",
    )  # fmt: skip
    require_finite(weights, report)
    report.tell_shapes(reshaped)
    report.name_within(whole, network)
    report.notes += [*file.notes, *notes, *([said] if said else [])]
    return report


def _names(
    network: nn.Module, file: WeightFile, init: Init, foreign: Foreign
) -> tuple[Pair | None, Mapping[str, str] | None, list[str]]:
    """The library whose names a file has, if any, the mapping of its names, and what is to be said of it."""
    if foreign.pair is not None:
        return foreign.pair, foreign.pair.mapping, []
    if isinstance(init.mapping, Mapping):
        return None, init.mapping, []
    tensors = canonical(file.tensors, init.layout)[0]
    if init.mapping == ORDER:
        proposal = propose(network.state_dict(), tensors, ordered=file.ordered)
        if proposal.ambiguous:
            raise ConfigurationError(
                f"init.mapping=order: order and shape do not decide which is {some(proposal.ambiguous)}",
                do="give the mapping: init.mapping=FILE; python src/convert.py shows both lists of names",
            )
        return None, proposal.mapping, ["names were paired by order and shape"]
    pair = recognised(tensors, network)
    if pair is None:
        return None, None, []
    notes = [f"the names are those of {pair.library}, and were translated"]
    if pair.levels is not None:
        mean, std = map(list, pair.levels)
        notes.append(f"{pair.library} normalises for {pair.name} once more: its own weights expect {mean=} {std=}")
    return pair, pair.mapping, notes


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
