"""The family in one picture: what a picture costs against what the network weighs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from striate.evaluation.figures import GREY, _drawing
from striate.evaluation.labels import place_labels

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "<", ">", "d")
_TWINS = 0.03  # networks that differ less than this in both figures share a point's label


@dataclass(frozen=True)
class Point:
    """A network in the picture.

    Attributes:
        name: label.
        kind: what shares a marker and stands in the legend.
        mult_adds, parameters: its place.
        error: top-1 error on ImageNet in percent; None for networks for other pictures.
    """

    name: str
    kind: str
    mult_adds: int
    parameters: int
    error: float | None


def draw_family(points: Sequence[Point], path: Path) -> list[Bbox]:
    """Draws multiply-adds against parameters, both logarithmic; the colour is the published error.

    Args:
        points: at least one.
        path: of the PNG file.

    Returns:
        Where the labels are, in pixels: none touches another.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("expected at least one network")
    with _drawing(path, (9.6, 6.6)) as figure:
        axes = figure.subplots()
        _draw_points(figure, axes, points)
        axes.set(xscale="log", yscale="log", xlabel="multiply-adds for one picture", ylabel="parameters")
        for axis, sizes in (("x", [p.mult_adds for p in points]), ("y", [p.parameters for p in points])):
            low, high = math.log10(min(sizes)), math.log10(max(sizes))
            margin = 0.06 * max(high - low, 1)
            axes.set(**{f"{axis}lim": (10 ** (low - margin), 10 ** (high + 1.9 * margin))})
            getattr(axes, f"{axis}axis").set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axes.grid(which="minor", visible=False)
        axes.set_title("The family: what a picture costs, and what the network weighs")
        legend = axes.legend(loc="upper left", title="class (year of the paper)", ncols=2, borderaxespad=0.8)
        legend.set_alignment("left")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # nothing moves any more, so that labels stay where they were put
        taken = [legend.get_window_extent(), *_draw_reuse(axes)]
        return place_labels(axes, [(p.mult_adds, p.parameters, text) for p, text in _merged(points)], taken)


def _short(value: float) -> str:
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " K")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def _draw_points(figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    known = [point.error for point in points if point.error is not None] or [0.0]
    norm = Normalize(min(known), max(known))
    drawn = None
    for kind, marker in zip(dict.fromkeys(point.kind for point in points), MARKERS * len(points), strict=False):
        axes.plot([], [], marker, color=GREY, markerfacecolor="none", markersize=6, label=kind)
        own = [point for point in points if point.kind == kind]
        hollow, filled = ([p for p in own if (p.error is None) is without] for without in (True, False))
        axes.scatter(*_places(hollow), s=46, marker=marker, linewidth=0.9, facecolor="white", edgecolor=GREY, zorder=3)
        errors = [point.error or 0.0 for point in filled]
        dots = axes.scatter(
            *_places(filled), c=errors, s=46, marker=marker, cmap="viridis_r", norm=norm, linewidth=0.7,
            edgecolor="#333333", zorder=3,
        )  # fmt: skip
        drawn = dots if filled else drawn
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=axes, aspect=32, fraction=0.03, pad=0.015)
        bar.set_label("published top-1 error on ILSVRC-2012 val, % (protocols differ); hollow: none")
        bar.outline.set_visible(False)


def _places(points: Sequence[Point]) -> tuple[list[int], list[int]]:
    return [point.mult_adds for point in points], [point.parameters for point in points]


def _draw_reuse(axes: Axes) -> list[Bbox]:
    """Lines on which a weight is used equally often for one picture; gives the places of what is written on them."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    written = []
    for times, text in ((1, "each weight used once"), (10, "10 times"), (100, "100 times"), (1000, "1,000 times")):
        axes.plot([left, right], [left / times, right / times], color="#C9C9C9", linewidth=0.8, dashes=(4, 3), zorder=1)
        start = 1.5 * max(bottom, left / times)
        ends = axes.transData.transform([(start * times, start), (10 * start * times, 10 * start)])
        angle = math.degrees(math.atan2(ends[1, 1] - ends[0, 1], ends[1, 0] - ends[0, 0]))
        note = axes.annotate(
            text, (start * times, start), (3, -3), textcoords="offset points", fontsize=7.2, color="#8A8A8A",
            rotation=angle, rotation_mode="anchor", va="top",
        )  # fmt: skip
        written.append(note)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    return [note.get_window_extent() for note in written]


def _merged(points: Sequence[Point]) -> list[tuple[Point, str]]:
    """Points and labels, those that coincide with one label together."""
    groups: list[list[Point]] = []
    for point in points:
        for group in groups:
            near = [
                abs(math.log(getattr(point, axis) / getattr(group[0], axis))) < _TWINS
                for axis in ("mult_adds", "parameters")
            ]
            if all(near):
                group.append(point)
                break
        else:
            groups.append([point])
    return [(group[0], _joined([point.name for point in group])) for group in groups]


def _joined(names: Sequence[str]) -> str:
    """vgg16, vgg16_bn → vgg16(_bn)"""
    first, *rest = sorted(names, key=len)
    if rest and all(name.startswith(first) for name in rest):
        return first + "".join(f"({name.removeprefix(first)})" for name in rest)
    return ", ".join(names)
