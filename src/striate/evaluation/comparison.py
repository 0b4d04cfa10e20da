"""Runs that differ by their seed alone as one group each, and what lies between two groups."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from striate import runs
from striate.errors import ConfigurationError
from striate.evaluation import significance
from striate.evaluation.measured import FIGURES, Measured
from striate.evaluation.metrics import wilson_interval
from striate.evaluation.study_statistics import Estimate, mean_interval
from striate.messages import shown

_ACCURACIES = ("top1_micro", "miou")  # figures that follow from the answers to single samples
_LEVEL = 0.05  # of the tests, as the intervals are of 95 %
_TOLD = 3  # keys that a name of a group is made of
_LONGEST = 40  # characters of a value in such a name


@dataclass(frozen=True)
class Group:
    """Runs of one configuration with different seeds.

    Args:
        name: for tables and pictures.
        runs: by what tells them apart: the seed, or the values of all keys that repeat a training.
        values: the figure of each, in the same order.
    """

    name: str
    runs: Mapping[tuple[Any, ...], Measured]
    values: Sequence[float]

    @property
    def estimate(self) -> Estimate:
        """Mean and 95 % interval over the runs."""
        return mean_interval(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over the runs, NaN of one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan


@dataclass(frozen=True)
class Pair:
    """Two runs on the same samples.

    Args:
        repeat: seed or whatever pairs them; () where nothing does.
        difference: second − first.
        low, high: 95 % interval over the samples, NaN where the figure does not follow from single samples.
        only_first, only_second: samples that only one of them has right; None where answers are no single labels.
        p: of McNemar's test, NaN without it.
    """

    repeat: tuple[Any, ...]
    first: Measured
    second: Measured
    difference: float
    low: float = math.nan
    high: float = math.nan
    only_first: int | None = None
    only_second: int | None = None
    p: float = math.nan


@dataclass(frozen=True)
class Difference:
    """What lies between two groups: second − first.

    Args:
        seeds: mean and 95 % interval over seeds; the interval is NaN of single runs.
        p: of the t-test over seeds; of two single runs, of McNemar's.
        paired: whether seeds were paired.
        samples: 95 % interval over the samples of the split, of the mean over the runs; NaN where there is none.
        pairs: seed by seed.
        p_holm: p corrected for the number of differences.
        among: that number.
    """

    first: Group
    second: Group
    seeds: Estimate
    p: float
    paired: bool
    samples: tuple[float, float]
    pairs: Sequence[Pair] = field(default_factory=list)
    p_holm: float = math.nan
    among: int = 1

    @property
    def name(self) -> str:
        return f"{self.second.name} − {self.first.name}"

    @property
    def outcome(self) -> str:
        """What may be said: each kind of chance that was looked at must leave 0 out, and the test must reject.

        Over seeds the test is the interval's own, and only its correction can be stricter. The bootstrap of two single
        runs is too narrow where few answers differ, and McNemar's test is exact.
        """
        bounds = {"seeds": (self.seeds.low, self.seeds.high), "test samples": self.samples}
        known = {kind: pair for kind, pair in bounds.items() if not math.isnan(pair[0])}
        if self.seeds.n > 1 and "seeds" not in known:
            alike = "all pairs differ by the same" if self.paired else "neither group varies"
            return f"not decided: {alike}, which says nothing of other seeds"
        if not known:
            return "not decided: single runs say nothing of this figure"
        if open_ones := [kind for kind, (low, high) in known.items() if low <= 0 <= high]:
            return f"not decided: 0 lies in the interval over {' and in that over '.join(open_ones)}"
        if self.p_holm >= _LEVEL:
            corrected = f", corrected for {self.among} differences" if self.among > 1 else ""
            return f"not decided: p = {self.p_holm:.2g}{corrected}"
        word = "higher" if self.seeds.mean > 0 else "lower"
        if "seeds" not in known:
            word += " on these test samples; of other seeds this says nothing"
        return f"{word}; not corrected for {self.among} differences" if self.among > 1 and math.isnan(self.p) else word


def figure_of(measured: Sequence[Measured], wanted: str) -> str:
    """The figure that a comparison is about; `auto` by the kind of data."""
    return FIGURES[measured[0].kind] if wanted == "auto" else wanted


def grouped(
    measured: Sequence[Measured], figure: str, repeats: Sequence[str], names: Sequence[str]
) -> tuple[list[Group], list[str]]:
    """Groups in the order of their first run, and what there is to say of runs that were left out or taken together.

    The configuration makes a group, but for the keys of `repeats`. Where it has a seed twice, the weights that runs
    started from, and then the code that trained them, divide it further.

    Args:
        measured: comparable runs.
        figure: of each.
        repeats: keys whose values tell runs of one group apart.
        names: of the groups, instead of those that are made up.

    Raises:
        ConfigurationError: a figure that a run lacks, or another number of names.
    """
    parts: dict[str, list[Measured]] = {}
    for run in measured:
        kept = {key: value for key, value in runs.with_effect(run.config).items() if key not in repeats}
        parts.setdefault(repr(sorted(kept.items())), []).append(run)
    divided = [part for whole in parts.values() for part in _without_repetition(whole, repeats)]
    chosen, notes = [], []
    for part in divided:
        by_repeat: dict[tuple[Any, ...], Measured] = {}
        for run in part:
            other = by_repeat.setdefault(_repeat(run, repeats), run)
            if other is not run:
                notes.append(f"{shown(run.folder)} repeats {shown(other.folder)} and is left out")
        chosen.append(by_repeat)
    if names and len(names) != len(chosen):
        raise ConfigurationError(f"names has {len(names)} entries, there are {len(chosen)} groups", do="one a group")
    made_up = _names([next(iter(part.values())) for part in chosen], repeats)
    groups = [
        Group(name, part, [run.figure(figure) for run in part.values()])
        for name, part in zip(names or made_up, chosen, strict=True)
    ]
    for group in groups:
        if (count := len({run.weights for run in group.runs.values()})) > 1:
            notes.append(
                f"{group.name}: {len(group.runs)} runs from {count} different first weights are one group, as if each "
                "seed had its own pretraining"
            )
    return groups, notes


def _repeat(run: Measured, repeats: Iterable[str]) -> tuple[Any, ...]:
    flat = dict(runs.flatten(run.config))
    return tuple(flat.get(key) for key in repeats)


def _without_repetition(part: list[Measured], repeats: Sequence[str]) -> list[list[Measured]]:
    """A group, divided by what else may differ where it has a seed twice."""
    groups = [part]
    for differing in (lambda run: run.weights, lambda run: run.code):
        if all(len({_repeat(run, repeats) for run in group}) == len(group) for group in groups):
            break
        divided: dict[tuple[int, str], list[Measured]] = {}
        for place, group in enumerate(groups):
            for run in group:
                divided.setdefault((place, differing(run)), []).append(run)
        groups = list(divided.values())
    return groups


def _names(firsts: Sequence[Measured], repeats: Iterable[str]) -> list[str]:
    """A name for each group from the keys in which the groups differ; numbered where that is not enough."""
    flats = [{key: value for key, value in runs.with_effect(run.config).items() if key not in repeats}
             for run in firsts]  # fmt: skip
    keys = [key for key in dict.fromkeys(key for flat in flats for key in flat)
            if any(flat.get(key) != flats[0].get(key) for flat in flats)]  # fmt: skip
    # The network and the first weights say more than what follows from them.
    keys.sort(key=lambda key: not key.startswith(("model._target_", "init.kind", "optimizer._target_")))
    names = []
    for flat, run in zip(flats, firsts, strict=True):
        own = [f"{key.removesuffix('._target_')}={_short(flat[key])}" for key in keys if key in flat]
        more = f", {len(own) - _TOLD} more" if len(own) > _TOLD else ""
        names.append(", ".join(own[:_TOLD]) + more or _short(run.config["model"]["_target_"]))
    for name in [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        same = [place for place, other in enumerate(names) if other == name]
        for number, place in enumerate(same, start=1):
            names[place] = f"{name} ({number})"
    return names


def _short(value: Any) -> str:
    text = str(value).rpartition(".")[2] if str(value).startswith(("striate.", "torch.")) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def differences(groups: Sequence[Group], figure: str, *, against: str) -> list[Difference]:
    """What lies between groups, with p-values corrected for how many differences there are.

    Args:
        groups: comparable ones.
        figure: of their values.
        against: "first": each other group against the first; "all": each pair.
    """
    pairs = combinations(groups, 2) if against == "all" else ((groups[0], group) for group in groups[1:])
    found = [_between(first, second, figure) for first, second in pairs]
    corrected = significance.holm([difference.p for difference in found])
    return [replace(difference, p_holm=p, among=len(found)) for difference, p in zip(found, corrected, strict=True)]


def _between(first: Group, second: Group, figure: str) -> Difference:
    common = [repeat for repeat in first.runs if repeat in second.runs]
    single = len(first.runs) == len(second.runs) == 1
    paired = len(common) > 1
    by_seed = [dict(zip(group.runs, group.values, strict=True)) for group in (first, second)]
    if paired:
        seeds, p = significance.paired_difference(*([values[repeat] for repeat in common] for values in by_seed))
    else:
        seeds, p = significance.unpaired_difference(first.values, second.values)
    matched = [(repeat, first.runs[repeat], second.runs[repeat]) for repeat in common]
    if single and not matched:
        matched = [((), next(iter(first.runs.values())), next(iter(second.runs.values())))]
    pairs = [_pair(repeat, left, right, figure) for repeat, left, right in matched]
    left, right = ([group.runs[repeat] for repeat in (common if paired else group.runs)] for group in (first, second))
    return Difference(
        first, second, seeds, pairs[0].p if single else p, paired, _over_samples(left, right, figure), pairs
    )


def _pair(repeat: tuple[Any, ...], first: Measured, second: Measured, figure: str) -> Pair:
    interval = _over_samples([first], [second], figure)
    pair = Pair(repeat, first, second, second.figure(figure) - first.figure(figure), *interval)
    if figure != "top1_micro" or first.hits is None or second.hits is None:
        return pair
    test = significance.mcnemar(first.hits, second.hits)
    return Pair(**{**pair.__dict__, **dict(zip(("only_first", "only_second", "p"), test, strict=True))})


def _over_samples(first: Sequence[Measured], second: Sequence[Measured], figure: str) -> tuple[float, float]:
    if figure not in _ACCURACIES:
        return math.nan, math.nan
    if first[0].sums is not None:
        sums = [[run.sums for run in side if run.sums is not None] for side in (first, second)]
        return significance.bootstrap_miou_difference(*sums)
    left, right = (np.mean([run.hits for run in side if run.hits is not None], axis=0) for side in (first, second))
    return significance.bootstrap_mean(np.round(right - left, 12))


def sampling_interval(run: Measured, figure: str) -> tuple[float, float]:
    """95 % interval of one run's accuracy over the samples (Wilson 1927); NaN of other figures."""
    if figure != "top1_micro" or run.hits is None:
        return math.nan, math.nan
    return wilson_interval(int(run.hits.sum()), len(run.hits))
