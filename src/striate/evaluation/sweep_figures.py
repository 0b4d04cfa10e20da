"""Pictures of a sweep: every trial as a line through the values it was given (Inselberg 1985), and what mattered."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from striate.evaluation.figures import BLUE, GREY, RED, _drawing, label

_MANY = 8.0  # a ratio of the ends from which on evenly spread factors are drawn as such
_SPREAD = 0.022  # how far lines through one choice are set apart for each trial, and 0.16 of the axis at most


@dataclass(frozen=True)
class Line:
    """A trial as it is drawn.

    Args:
        values: a word for each axis that it has.
        value: of the monitored figure; None for none.
        finished: whether it came to its end; the others are drawn grey.
    """

    values: Mapping[str, str]
    value: float | None
    finished: bool


@dataclass(frozen=True)
class Scale:
    """Where the values of an axis lie, from 0 at the bottom to 1 at the top.

    Args:
        places: of each value that occurs.
        ticks: places and their labels.
        discrete: whether lines through one value are set apart.
    """

    places: Mapping[str, float]
    ticks: Sequence[tuple[float, str]]
    discrete: bool


def scale_of(values: Sequence[str], log: bool | None = None) -> Scale:
    """The axis of these values: numbers on a line, in logarithms where asked or where they step by factors.

    Args:
        values: words of the command line.
        log: of a continuous axis, whether equal factors are equal distances; None for an axis of choices, where the
            values decide that and each is marked.
    """
    distinct = list(dict.fromkeys(values))
    numbers = {word: number for word in distinct if (number := _number(word)) is not None}
    few = log is None and len(distinct) <= 8
    if len(numbers) < len(distinct) or len(distinct) < 2:
        places = {word: (place + 0.5) / len(distinct) for place, word in enumerate(distinct)}
        return Scale(places, [(place, label(word, 22)) for word, place in places.items()], True)
    low, high = min(numbers.values()), max(numbers.values())
    if log is None:
        log = low > 0 and high / low >= _MANY
    log = log and low > 0

    def place(number: float) -> float:
        if log:
            return (math.log(number) - math.log(low)) / (math.log(high) - math.log(low))
        return (number - low) / (high - low)

    marks = sorted(numbers.values()) if few else _marks(low, high, log)
    return Scale(
        {word: place(number) for word, number in numbers.items()},
        [(place(number), f"{number:.4g}") for number in marks],
        few,
    )


def _number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _marks(low: float, high: float, log: bool) -> list[float]:
    """Round numbers between the ends."""
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1, 2, 5) if high / low < 1000 else (1,)
        return [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    return [mark for mark in MaxNLocator(6).tick_values(low, high) if low <= mark <= high]


def parallel_coordinates(
    lines: Sequence[Line],
    logs: Mapping[str, bool | None],
    path: Path,
    *,
    metric: str,
    mode: str = "max",
    title: str = "",
) -> None:
    """Draws every trial as a line over one axis for each varied value and one for the result; the best is marked.

    Args:
        lines: the trials; those without a result end before the last axis.
        logs: the axes in their order, each with whether it is logarithmic (None: as its values suggest).
        path: of the PNG file.
        metric: name of the monitored figure.
        mode: "max" or "min": which of its values are good.
        title: above all.

    Raises:
        ValueError: no trial that finished has a value.
    """
    scored = [line for line in lines if line.finished and line.value is not None]
    if not scored:
        raise ValueError("expected at least one finished trial with a value")
    results = np.array([line.value for line in scored], dtype=np.float64)
    best = scored[int(results.argmax() if mode == "max" else results.argmin())]
    scales = {
        name: scale_of(_sorted([line.values[name] for line in lines if name in line.values]), log)
        for name, log in logs.items()
    }
    low, high = float(results.min()), float(results.max())
    pad = 0.03 * (high - low) or max(abs(high), 1e-6) * 0.01
    norm = Normalize(low, high) if high > low else Normalize(low - pad, high + pad)
    with _drawing(path, (max(1.7 * (len(scales) + 1) + 1.4, 5.2), 4.3)) as figure:
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        axes = figure.subplots()
        ordered = sorted(lines, key=lambda line: (line.finished, _goodness(line, mode)))
        apart = _set_apart(ordered, scales)
        for line in ordered:
            points = [
                (place, scale.places[line.values[name]] + apart[name].get(id(line), 0.0))
                for place, (name, scale) in enumerate(scales.items())
                if name in line.values
            ]
            shown = line.finished and line.value is not None
            if shown and line.value is not None:
                points.append((len(scales), _place(line.value, low - pad, high + pad)))
            _draw_line(axes, points, line is best, shown, norm, line.value)
        _draw_axes(axes, scales, metric, low - pad, high + pad)
        _legend(figure, axes, norm, metric, best, any(not line.finished for line in lines))


def _sorted(values: Sequence[str]) -> list[str]:
    numbers = [_number(value) for value in values]
    if all(number is not None for number in numbers):
        return sorted(values, key=float)
    return sorted(values)


def _goodness(line: Line, mode: str) -> float:
    if line.value is None:
        return -math.inf
    return line.value if mode == "max" else -line.value


def _place(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def _set_apart(lines: Sequence[Line], scales: Mapping[str, Scale]) -> dict[str, dict[int, float]]:
    """Shifts by which lines through one value do not hide each other; the better are above."""
    shifts: dict[str, dict[int, float]] = {name: {} for name in scales}
    for name, scale in scales.items():
        if not scale.discrete:
            continue
        steps = sorted(scale.places.values())
        room = min((b - a for a, b in pairwise(steps)), default=1.0)
        for word in scale.places:
            through = [line for line in lines if line.values.get(name) == word]
            if len(through) < 2:
                continue
            reach = min(0.16, 0.3 * room, _SPREAD * (len(through) - 1))
            for line, shift in zip(through, np.linspace(-reach / 2, reach / 2, len(through)), strict=True):
                shifts[name][id(line)] = float(shift)
    return shifts


def _draw_line(
    axes: Axes, points: Sequence[tuple[float, float]], best: bool, shown: bool, norm: Normalize, value: float | None
) -> None:
    """A smooth line: it leaves and meets each axis at a right angle, so that crossings can be followed."""
    vertices: list[tuple[float, float]] = [points[0]]
    codes = [Curve.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = 0.42 * (x1 - x0)
        vertices += [(x0 + bend, y0), (x1 - bend, y1), (x1, y1)]
        codes += [Curve.CURVE4] * 3
    colour = _colours()(norm(value)) if shown and value is not None else "#B9B9B9"
    style = (
        {"linewidth": 1.5, "alpha": 0.85, "zorder": 2.0} if shown else {"linewidth": 0.9, "alpha": 0.7, "zorder": 1.0}
    )
    curve = Curve(vertices, codes)
    if best:
        axes.add_patch(PathPatch(curve, fill=False, edgecolor="white", linewidth=5.0, zorder=3.0))
        colour, style = RED, {"linewidth": 2.8, "alpha": 1.0, "zorder": 3.1}
        axes.plot(*zip(*points, strict=True), "o", color=RED, markersize=5, markeredgecolor="white", zorder=5)
    axes.add_patch(PathPatch(curve, fill=False, edgecolor=colour, capstyle="round", **style))


def _colours() -> ListedColormap:
    return ListedColormap(colormaps["viridis_r"](np.linspace(0.1, 1, 256)))  # palest yellow is lost on white


def _draw_axes(axes: Axes, scales: Mapping[str, Scale], metric: str, low: float, high: float) -> None:
    ends: list[tuple[str, Sequence[tuple[float, str]]]] = [(name, scale.ticks) for name, scale in scales.items()]
    marks = [mark for mark in MaxNLocator(6).tick_values(low, high) if low <= mark <= high]
    ends.append((metric, [(_place(mark, low, high), f"{mark:.4g}") for mark in marks]))
    for place, (name, ticks) in enumerate(ends):
        axes.plot([place, place], [0, 1], color="#444444", linewidth=1.0, zorder=4)
        for height, text in ticks:
            axes.plot([place - 0.018, place + 0.018], [height, height], color="#444444", linewidth=0.8, zorder=4)
            axes.annotate(
                text, (place, height), (5, 0), textcoords="offset points", va="center", fontsize=8, zorder=6,
                bbox={"boxstyle": "square,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.72},
            )  # fmt: skip
        group, _, leaf = name.rpartition("." if place < len(scales) else "/")
        axes.annotate(
            f"{group}\n" if group else "", (place, 1), (0, 15), textcoords="offset points", ha="center", va="bottom",
            fontsize=7.5, color=GREY, linespacing=1.7,
        )  # fmt: skip
        axes.annotate(leaf, (place, 1), (0, 15), textcoords="offset points", ha="center", va="bottom", fontsize=9.5)
    axes.set(xlim=(-0.2, len(scales) + 0.28), ylim=(-0.09, 1.07))
    axes.axis("off")


def _legend(figure: Figure, axes: Axes, norm: Normalize, metric: str, best: Line, others: bool) -> None:
    bar = figure.colorbar(ScalarMappable(norm, _colours()), ax=axes, fraction=0.03, pad=0.0, aspect=30)
    bar.outline.set_visible(False)
    bar.set_label(metric)
    handles = [axes.plot([], [], color=RED, linewidth=2.8, label=f"best: {best.value:.4g}")[0]]
    if others:
        handles.append(axes.plot([], [], color="#B9B9B9", linewidth=0.9, label="pruned, diverged or failed")[0])
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2, fontsize=8)


def importance_bars(importances: Mapping[str, float], path: Path, *, metric: str, trials: int) -> None:
    """Draws how much of the result's spread each value explains.

    Args:
        importances: shares that add up to 1.
        path: of the PNG file.
        metric: name of the monitored figure.
        trials: that they were taken from.
    """
    ordered = sorted(importances.items(), key=lambda entry: entry[1])
    shares: NDArray[np.float64] = np.array([share for _, share in ordered])
    with _drawing(path, (5.4, 0.36 * len(ordered) + 1.0)) as figure:
        axes = figure.subplots()
        axes.barh(range(len(ordered)), shares, color=BLUE, height=0.62)
        axes.set_yticks(range(len(ordered)), [label(name, 34) for name, _ in ordered])
        for place, share in enumerate(shares):
            axes.annotate(f"{share:.0%}", (share, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set(xlim=(0, 1.13 * max(float(shares.max()), 0.1)), xlabel=f"share of what is explained of {metric}")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(f"What mattered, by a random forest over {trials} trials")
