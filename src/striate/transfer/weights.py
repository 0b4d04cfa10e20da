"""Tensors by name into a network: all are accounted for, on both sides."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from functools import partial

import torch
from torch import nn

from striate.errors import ConfigurationError, nearest
from striate.transfer.report import TransferReport

Fit = Callable[[nn.Module, Mapping[str, torch.Tensor]], tuple[dict[str, torch.Tensor], dict[str, str]]]
Remedy = Callable[[str], str]  # what leaves the tensors out → what a person can do
_NAMED = 4  # layers that a message names
_LISTED = 8  # tensors that a message names


@torch.no_grad()
def load_weights(
    network: nn.Module,
    weights: Mapping[str, torch.Tensor],
    exclude: Sequence[str],
    *,
    source: str,
    new_head: bool,
    optional: Sequence[str] = (),
    only: Sequence[str] | None = None,
    fit: Fit | None = None,
    do: Remedy = "use model and data.prepare.channels of the checkpoint, {}".format,
) -> TransferReport:
    """Copies tensors by name; the classifiers stay new if `new_head`, all else must fit or be excluded.

    Args:
        network: what gets them.
        weights: tensors under the network's names.
        exclude: patterns of tensors of either side that are left out.
        source: what they are, in words.
        new_head: whether the classifier is for other classes.
        optional: patterns of tensors that either side may lack.
        only: names of the modules that are loaded; None for all.
        fit: brings what is loaded to the network's sizes: (network, tensors) → tensors and what was done, by name.
        do: what a person can do who reads that they do not fit, made of the words that leave them out.

    Raises:
        ConfigurationError: a name or a shape that no pattern covers, on either side; nothing was copied.
    """
    report, own = TransferReport(source), network.state_dict()
    _require_known(exclude, own, weights)
    optional = [*optional, *getattr(network, "optional_weights", ())]
    patterns = [*exclude, *(f"{layer}.*" for layer in (network.class_layers if new_head else ()))]  # type: ignore[union-attr]

    def left_out(name: str) -> bool:
        inside = only is None or any(name == module or name.startswith(f"{module}.") for module in only)
        return not inside or matches(patterns, name)

    if fit is not None:
        fitting, report.resized = fit(network, {name: t for name, t in weights.items() if not left_out(name)})
        weights = {**weights, **fitting}
    uncovered = _account(report, own, weights, left_out, partial(matches, optional))
    if uncovered:
        raise _uncovered(source, uncovered, do)
    for name in report.loaded:
        own[name].copy_(weights[name])
    return report


def _account(
    report: TransferReport,
    own: Mapping[str, torch.Tensor],
    weights: Mapping[str, torch.Tensor],
    left_out: Callable[[str], bool],
    optional: Callable[[str], bool],
) -> list[str]:
    """Puts each tensor of both sides into the report; what no rule covers is returned, in words."""
    uncovered = []
    for name, tensor in own.items():
        if left_out(name) or (name not in weights and optional(name)):
            report.new.append(name)
        elif name not in weights:
            uncovered.append(f"{name} is not in the file")
        elif weights[name].shape != tensor.shape:
            uncovered.append(f"{name} is {tuple(weights[name].shape)} in the file, {tuple(tensor.shape)} here")
        else:
            report.loaded.append(name)
    loaded = set(report.loaded)
    for name in (name for name in weights if name not in loaded):
        if left_out(name) or optional(name):
            report.skipped.append(name)
        elif name not in own:
            uncovered.append(f"{name} is only in the file")
    return uncovered


def matches(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _require_known(exclude: Sequence[str], *sides: Mapping[str, torch.Tensor]) -> None:
    for pattern in exclude:
        if not any(fnmatch(name, pattern) for side in sides for name in side):
            raise ConfigurationError(f"init.exclude: no tensor matches {pattern!r}", nearest=nearest(pattern, sides[0]))


def _uncovered(source: str, said: Sequence[str], do: Remedy) -> ConfigurationError:
    layers = list(dict.fromkeys(one.split()[0].rpartition(".")[0] for one in said))
    named = ",".join(f"'{layer}.*'" for layer in layers) if len(layers) <= _NAMED else "PATTERN"
    return ConfigurationError(
        f"{source} does not fit the network: {len(said)} tensors: {some(said)}",
        do=do(f'or leave out what differs: "init.exclude=[{named}]"'),
    )


def require_finite(weights: Mapping[str, torch.Tensor], report: TransferReport, do: str | None = None) -> None:
    """Refuses loaded values that are no numbers (ConfigurationError); `do` where leaving them out is no remedy."""
    bad = [name for name in report.loaded if name in weights and not weights[name].isfinite().all()]
    if bad:
        raise ConfigurationError(
            f"{report.source} has values that are no numbers in {some(bad)}",
            do=do or f'leave them out: "init.exclude=[{",".join(bad[:_NAMED])}]"',
        )


def some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return "; ".join(names[:_LISTED]) + more
