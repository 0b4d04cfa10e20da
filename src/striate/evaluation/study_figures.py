"""The picture of a study: training curves with bands, figures with intervals, every seed as a point."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from striate.evaluation.figures import BLUE, GREEN, GREY, ORANGE, RED, _drawing, _percent, label
from striate.evaluation.study_statistics import Row, mean_interval, resolved_x

NAMES = {
    "test_accuracy": "test accuracy",
    "val_accuracy": "validation accuracy",
    "gain": "test accuracy above the base's",
    "train_error": "training error, last epoch",
    "train_loss": "training loss, last epoch",
    "epochs_to_25": "epochs to 25 % training error",
    "mult_adds": "multiply-adds",
    "seconds": "seconds",
    "train/error_micro": "training error",
    "val/error_micro": "validation error",
    "val/top1_micro": "validation accuracy",
    "train/loss": "training loss",
    "val/loss": "validation loss",
}
_SHARES = ("accuracy", "error", "top1", "gain")
_COLOURS, _MARKERS = (BLUE, RED, GREEN, ORANGE, "#CC79A7", "#56B4E9", "black"), "osD^vP*"
Histories = Mapping[str, Sequence[Mapping[str, float]]]


def study_figure(content: Mapping[str, Any], rows: Sequence[Row], histories: Histories, path: Path) -> None:
    """Draws the panels of a study.

    Args:
        content: the study (`pipelines.study_file.StudyFile` as plain data).
        rows: one a cell, as in results.csv.
        histories: by the name of the cell, its rows of history.csv.
        path: of the PNG file.
    """
    panels = list(content["panels"].values())
    rows = [row for row in rows if row["arm"] in content["arms"]]  # a base is no answer
    seeds = len({row["seed"] for row in rows})
    with _drawing(path, ({1: 6.0, 2: 8.9}.get(len(panels), 3.7 * len(panels)), 3.9)) as figure:
        kind = "mean and 95 % interval" if seeds > 1 else "values"
        figure.set_layout_engine("constrained", wspace=0.06)
        figure.suptitle(f"{content['title']}: {kind} of {seeds} seed(s)", x=0.01, ha="left", fontsize=10)
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            if panel["kind"] == "curves":
                draw_curves(axes, content, panel, rows, histories)
            elif panel.get("x") == "mult_adds":
                draw_trade(axes, content, panel, rows)
            elif content.get("axis"):
                draw_axis(axes, content, panel, rows)
            else:
                draw_arms(axes, content, panel, rows)
            axes.set_ylabel(NAMES.get(panel["y"], panel["y"]))
            if panel.get("log_y"):
                axes.set_yscale("log")
            if panel["y"] == "gain":
                axes.axhline(0, color=GREY, linewidth=0.9, zorder=1)
            if any(word in panel["y"] for word in _SHARES):
                if panel["y"] != "gain":
                    axes.set_ylim(max(axes.get_ylim()[0], 0 if not panel.get("log_y") else 1e-9), None)
                axes.yaxis.set_major_formatter(FuncFormatter(_percent))
                axes.yaxis.set_minor_formatter(NullFormatter() if not panel.get("log_y") else FuncFormatter(_percent))


def draw_curves(
    axes: Axes, content: Mapping[str, Any], panel: Mapping[str, Any], rows: Sequence[Row], histories: Histories
) -> None:
    """A column of history.csv over the epochs, a line an arm."""
    first = content["figures"][0]
    for arm, colour, _ in styled(content):
        x = resolved_x(rows, first, {"arm": arm, "x": panel.get("at")})
        cells = [row["cell"] for row in rows if row["arm"] == arm and (x is None or row["x"] == x)]
        by_epoch: dict[int, list[float]] = {}
        for line in (line for cell in cells for line in histories.get(cell, ()) if panel["y"] in line):
            by_epoch.setdefault(int(line["epoch"]), []).append(line[panel["y"]])
        if not by_epoch:
            continue
        epochs = sorted(by_epoch)
        estimates = [mean_interval(by_epoch[epoch]) for epoch in epochs]
        at = f", {content['axis']['label']} {x:g}" if x is not None and content.get("axis") else ""
        axes.plot(epochs, [estimate.mean for estimate in estimates], color=colour, label=label(arm + at, 40))
        low, high = ([getattr(estimate, side) for estimate in estimates] for side in ("low", "high"))
        axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
    if "error" in panel["y"] and not panel.get("log_y"):
        axes.set_ylim(0, None)
    if content["figures"][0] == "epochs_to_25" and panel["y"] == "train/error_micro":
        axes.axhline(0.25, color=GREY, linestyle=":", linewidth=1.2)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.legend()


def draw_axis(axes: Axes, content: Mapping[str, Any], panel: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """A figure over the axis of the study, a line an arm."""
    arms = [style for style in styled(content) if panel.get("arms") is None or style[0] in panel["arms"]]
    xs = sorted({row["x"] for row in rows if any(row["arm"] == arm for arm, *_ in arms)})
    logarithmic = content["axis"].get("log", False)
    for number, (arm, colour, marker) in enumerate(arms):
        points = {x: cells for x in xs if (cells := values(rows, panel["y"], arm, x))}
        # Side by side, so that intervals of different arms can be told apart.
        shift = 0.012 * (number - (len(arms) - 1) / 2)
        span = math.log10(xs[-1] / xs[0]) if logarithmic else xs[-1] - xs[0]
        places = [x * 10 ** (shift * span) if logarithmic else x + shift * span for x in points]
        if content["arms"][arm]["x"] is not None and points:
            mean = float(np.mean(next(iter(points.values()))))
            axes.axhline(mean, color=GREY, linestyle=":", linewidth=1.0, zorder=1)
        pale, intervals = content["arms"][arm]["like"] is not None, panel.get("intervals", True)
        draw_points(axes, places, list(points.values()), colour, marker, arm, pale=pale, intervals=intervals)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(xs, [f"{x:g}" for x in xs])
    axes.set_xlabel(content["axis"]["label"])
    axes.legend()


def draw_trade(axes: Axes, content: Mapping[str, Any], panel: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """A figure over the multiply-adds of a picture, a line an arm, each point with its x."""
    for arm, colour, marker in styled(content):
        sizes = sorted({(row["mult_adds"], row["x"]) for row in rows if row["arm"] == arm})
        points = {place: cells for place, x in sizes if (cells := values(rows, panel["y"], arm, x))}
        draw_points(axes, list(points), list(points.values()), colour, marker, arm)
        for (place, cells), (_, x) in zip(points.items(), sizes, strict=False):
            if x is not None:
                axes.annotate(
                    f"{x:g}", (place, float(np.mean(cells))), (4, -10), textcoords="offset points", fontsize=7
                )
    axes.set_xscale("log")
    for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatter(FuncFormatter(_millions))
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.set_xlabel("multiply-adds a picture" + (f" (numbers: {content['axis']['label']})" if content["axis"] else ""))
    axes.legend()


def _millions(value: float, _: int | None = None) -> str:
    """1, 2 and 5 of each power of ten, in millions; the marks between them stay bare."""
    return f"{value / 1e6:g} M" if f"{value:e}"[0] in "125" else ""


def draw_arms(axes: Axes, content: Mapping[str, Any], panel: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """A figure for each arm; points of one seed are joined."""
    arms = [arm for arm, *_ in styled(content)]
    for seed in sorted({row["seed"] for row in rows}):
        line = [values([row for row in rows if row["seed"] == seed], panel["y"], arm, None) for arm in arms]
        if all(line):
            axes.plot(range(len(arms)), [cell[0] for cell in line], color=GREY, alpha=0.4, linewidth=0.9, zorder=1)
    for place, (arm, colour, marker) in enumerate(styled(content)):
        cells = values(rows, panel["y"], arm, None)
        if cells:
            draw_points(axes, [place], [cells], colour, marker, None, shift=0.14)
    axes.set_xticks(range(len(arms)), [label(arm, 24) for arm in arms])
    axes.set_xlim(-0.5, len(arms) - 0.3)
    axes.grid(axis="x", visible=False)


def draw_points(
    axes: Axes,
    places: Sequence[float],
    cells: Sequence[Sequence[float]],
    colour: str,
    marker: str,
    name: str | None,
    shift: float = 0.0,
    pale: bool = False,
    intervals: bool = True,
) -> None:
    """Seeds as pale points, mean and interval beside or above them; hollow and dashed for a variant."""
    for place, found in zip(places, cells, strict=True):
        axes.scatter([place] * len(found), found, s=12, color=colour, alpha=0.35, linewidth=0, zorder=2)
    estimates = [mean_interval(found) for found in cells]
    means = np.array([estimate.mean for estimate in estimates])
    reach = np.nan_to_num(np.array([estimate.high - estimate.mean for estimate in estimates]))
    line = "none" if len(places) < 2 else "--" if pale else "-"
    style: dict[str, Any] = {"linestyle": line, "markersize": 5, "capsize": 3}
    if pale:
        style |= {"markerfacecolor": "white", "linewidth": 1.2}
    axes.errorbar(
        np.asarray(places) + shift, means, reach if intervals else None, color=colour, marker=marker,
        elinewidth=1.2, zorder=3, label=name and label(name, 40), **style,
    )  # fmt: skip


def values(rows: Sequence[Row], figure: str, arm: str, x: Any) -> list[float]:
    """A figure of the cells of an arm at an x, without those that lack it."""
    chosen = [row for row in rows if row["arm"] == arm and (x is None or row["x"] == x)]
    return [float(row[figure]) for row in chosen if row.get(figure) is not None]


def styled(content: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each arm with its colour and its marker: a variant has those of the arm that it is like, one with a single place
    on the axis, from which others start or are counted, is black."""
    arms = content["arms"]
    own = [arm for arm, fields in arms.items() if variant_of(fields, content) is None and fields["x"] is None]
    styles = {arm: ("black", "o") for arm, fields in arms.items() if fields["x"] is not None}
    styles |= {arm: (_COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]) for place, arm in enumerate(own)}
    return [(arm, *styles[variant_of(fields, content) or arm]) for arm, fields in arms.items()]


def variant_of(fields: Mapping[str, Any], content: Mapping[str, Any]) -> str | None:
    """The arm that an arm is drawn like, where that one is drawn too."""
    return like if (like := fields["like"]) in content["arms"] else None
