"""The two lists of names of a conversion, side by side, and what they leave open."""

from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from striate.errors import ConfigurationError
from striate.messages import say
from striate.pipelines.matching_files import misfitting
from striate.transfer.layouts import absorbed
from striate.transfer.matching import Match
from striate.transfer.proposal import shapes_of

_NAMED = 6  # tensors that a message names
_NORM = 4  # tensors of a batch normalisation: scale, shift, mean and variance


def print_names(found: Match, tensors: Mapping[str, Tensor], source: str) -> None:
    """Prints the file's tensors and ours side by side, pair by pair; nothing stands where there is no counterpart.

    The four tensors of a batch normalisation that all have their counterparts are one line.
    """
    own, theirs = shapes_of(found.network.state_dict()), shapes_of(tensors)
    misfits = set(misfitting(found, tensors))
    back = {new: old for old, new in found.proposal.mapping.items()}
    ambiguous = set(found.proposal.ambiguous)
    say(f"{source}: {found.how}")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("file", "shape", type(found.network).__name__, "shape", ""):
        table.add_column(column, overflow="fold", no_wrap=not column)
    for layer in _layers(own):
        whole = [back.get(name) for name in layer]
        olds = {old.rpartition(".")[0] for old in whole if old is not None}
        if len(layer) == _NORM and None not in whole and len(olds) == 1 and not (ambiguous | misfits) & set(layer):
            shape = f"{_shown(own[layer[0]])} (4 of it)"
            table.add_row(f"{olds.pop()}.*", shape, f"{layer[0].rpartition('.')[0]}.*", shape, "")
            continue
        for name, old in zip(layer, whole, strict=True):
            there = None if old is None else theirs[old]
            remark = "other shape" if name in misfits else _remark(there, own[name], name in ambiguous)
            table.add_row(old or "", "" if there is None else _shown(there), name, _shown(own[name]), remark)
    for name, mean in absorbed(found.network).items():
        if name in back:
            table.add_row(back[name], _shown(theirs[back[name]]), mean, _shown(own[mean]), "comes off it")
    for name in found.proposal.extra:
        table.add_row(name, _shown(theirs[name]), "", "", "only there")
    Console().print(table)


def _layers(names: Iterable[str]) -> list[list[str]]:
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    return list(layers.values())


def _remark(theirs: tuple[int, ...] | None, own: tuple[int, ...], guessed: bool) -> str:
    if theirs is None:
        return "missing"
    if theirs != own:
        return "reshaped"
    return "a guess" if guessed else ""


def refuse_gaps(found: Match, gaps: Sequence[str], *, accept: bool, nearest: str | None = None) -> None:
    """Refuses a pairing that is not complete, or that is a guess.

    Args:
        found: the pairing.
        gaps: of it (`gaps_of`).
        accept: whether the person has looked at the guesses and takes them.
        nearest: the choice that would leave no gaps.

    Raises:
        ConfigurationError: what is missing, too many, of another shape or a guess.
    """
    proposal = found.proposal
    if gaps:
        raise ConfigurationError(
            f"the file does not fit {type(found.network).__name__} ({found.how}): {len(gaps)} tensors: {_some(gaps)}",
            nearest=nearest,
            do="other options of the model (see the shapes), mapping=FILE, or leave tensors of the file out: "
            'exclude="[PATTERN]"',
        )
    if proposal.ambiguous and not accept:
        raise ConfigurationError(
            f"order and shape alone do not decide {len(proposal.ambiguous)} pairs: {_some(proposal.ambiguous)}",
            do="look at the table; if it is right accept_order=true, else mapping=FILE",
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return "; ".join(names[:_NAMED]) + more


def _shown(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "1"
