"""The picture of a comparison: every run as a point, means with intervals, and beside them what lies between groups."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from striate.evaluation.comparison import Difference, Group
from striate.evaluation.figures import BLUE, GREEN, GREY, ORANGE, RED, _drawing, label

_COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9")
_PALE = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0}  # behind words that lines cross
_NAME = 28  # characters of a group's name in a line


def comparison_figure(
    groups: Sequence[Group], differences: Sequence[Difference], path: Path, *, title: str, share: bool
) -> None:
    """Draws groups on the left and their differences on the right.

    Args:
        groups: at least one.
        differences: between them; none leaves the right side out.
        path: of the PNG file.
        title: what the figure is.
        share: whether values are shares, shown in percent.
    """
    scale = 100.0 if share else 1.0
    left, right = 1.6 + 1.35 * len(groups), (2.4 + 1.35 * len(differences)) if differences else 0.0
    with _drawing(path, (max(left + right, 5.2), 4.3)) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        if not differences:
            _draw_groups(figure.subplots(), groups, scale)
            return
        values, between = figure.subplots(1, 2, width_ratios=(left, right))
        _draw_groups(values, groups, scale)
        _draw_differences(between, differences, scale)


def _draw_groups(axes: Axes, groups: Sequence[Group], scale: float) -> None:
    """Runs as points, those of one seed joined; beside them the mean and its interval."""
    for repeat in groups[0].runs:
        places = [place for place, group in enumerate(groups) if repeat in group.runs]
        heights = [scale * groups[place].values[list(groups[place].runs).index(repeat)] for place in places]
        axes.plot(places, heights, color=GREY, alpha=0.4, linewidth=0.9, zorder=1)
    for place, group in enumerate(groups):
        colour, estimate = _COLOURS[place % len(_COLOURS)], group.estimate
        values = [scale * value for value in group.values]
        axes.scatter([place] * len(values), values, s=24, color=colour, edgecolor="white", linewidth=0.6, zorder=3)
        text = f"{scale * estimate.mean:.4g}"
        if not math.isnan(estimate.low):
            _whisker(axes, place + 0.2, estimate.mean, (estimate.low, estimate.high), scale, colour, "D")
            text += f"\n± {scale * group.deviation:.2g}"
        shift = 0.2 if len(values) > 1 else 0.0
        where = (place + shift, scale * estimate.mean)
        axes.annotate(text, where, (8, 0), textcoords="offset points", va="center", fontsize=8, zorder=5, bbox=_PALE)
    names = [f"{_wrapped(group.name)}\nn = {len(group.runs)}" for group in groups]
    axes.set_xticks(range(len(groups)), names, fontsize=8)
    axes.set_xlim(-0.45, len(groups) - 0.25)
    axes.grid(axis="x", visible=False)
    several = any(len(group.runs) > 1 for group in groups)
    axes.set_title("runs" + ("; diamonds: mean, 95 % interval over seeds" if several else ""), fontsize=9)


def _draw_differences(axes: Axes, differences: Sequence[Difference], scale: float) -> None:
    """Of each difference the pairs as points, the interval over seeds and that over test samples, and 0 as a line."""
    axes.axhline(0, color="black", linewidth=1)
    named: set[str] = set()
    for place, entry in enumerate(differences):
        pairs = [scale * pair.difference for pair in entry.pairs]
        if len(pairs) > 1:
            axes.scatter([place - 0.2] * len(pairs), pairs, s=16, color=GREY, alpha=0.6, linewidth=0, zorder=2,
                         label=_once("pairs of one seed", named))  # fmt: skip
        mean, seeds = entry.seeds.mean, (entry.seeds.low, entry.seeds.high)
        if not math.isnan(seeds[0]):
            _whisker(axes, place, mean, seeds, scale, BLUE, "D", _once("mean, 95 % interval over seeds", named))
        if not math.isnan(entry.samples[0]):
            _whisker(axes, place + 0.2, mean, entry.samples, scale, RED, "s", _once("over test samples", named))
        if math.isnan(seeds[0]) and math.isnan(entry.samples[0]):
            axes.scatter([place], [scale * mean], s=26, color=BLUE, marker="D", zorder=3)
        axes.annotate(f"{scale * mean:+.3g}", (place + 0.2, scale * mean), (8, 0), textcoords="offset points",
                      va="center", fontsize=8)  # fmt: skip
    names = [f"{_wrapped(entry.second.name)}\n− {_wrapped(entry.first.name)}" for entry in differences]
    axes.set_xticks(range(len(differences)), names, fontsize=8)
    axes.set_xlim(-0.6, len(differences) - 0.2)
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.3g}" if value else "0"))
    axes.set_title("differences" + (", in points" if scale != 1 else ""), fontsize=9)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.28 * (high - low))  # room for the legend
    axes.legend(loc="upper left", fontsize=7.5)


def _whisker(
    axes: Axes, x: float, mean: float, bounds: tuple[float, float], scale: float, colour: str, marker: str,
    name: str | None = None,
) -> None:  # fmt: skip
    reach = [[scale * (mean - bounds[0])], [scale * (bounds[1] - mean)]]
    reach = [[max(side[0], 0.0)] for side in reach]  # an interval of a bootstrap may leave the mean at its edge
    axes.errorbar([x], [scale * mean], reach, fmt=marker, color=colour, markersize=5, capsize=4, elinewidth=1.5,
                  zorder=4, label=name)  # fmt: skip


def _once(name: str, named: set[str]) -> str | None:
    """The name the first time, so that a legend has each entry once."""
    if name in named:
        return None
    named.add(name)
    return name


def _wrapped(name: str) -> str:
    """A name in lines of its parts."""
    return "\n".join(label(part, _NAME) for part in name.split(", "))
