"""The picture of a probe: how much the stages of a network know, from the pixels to the last."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter

from striate.evaluation.figures import BLUE, GREY, ORANGE, _drawing, _percent, label
from striate.evaluation.probing import LINEAR, NEIGHBOURS

_LOOKS = {LINEAR: ("logistic regression", BLUE, "o"), NEIGHBOURS: ("nearest neighbours", ORANGE, "s")}


def probe_figure(rows: Sequence[Mapping[str, Any]], title: str, chance: float, path: Path) -> None:
    """Draws test accuracy over the stages, with 95 % intervals.

    Args:
        rows: of the table, one a stage and kind, the stages in order.
        title: what was probed.
        chance: accuracy of the most frequent class alone.
        path: of the PNG file.
    """
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    width = max(4.8, 0.62 * len(stages) + 2.2)
    with _drawing(path, (width, 3.9)) as figure:
        axes = figure.subplots()
        figure.suptitle(label(title, int(13 * width)), x=0.01, ha="left", fontsize=10)
        for shift, (kind, (name, colour, marker)) in zip((-0.06, 0.06), _LOOKS.items(), strict=True):
            own = [row for row in rows if row["kind"] == kind]
            places = [stages.index(row["stage"]) + shift for row in own]
            values = [row["top1_micro"] for row in own]
            below = [row["top1_micro"] - row["top1_micro_low"] for row in own]
            above = [row["top1_micro_high"] - row["top1_micro"] for row in own]
            axes.errorbar(
                places,
                values,
                yerr=(below, above),
                color=colour,
                marker=marker,
                markersize=4.5,
                capsize=2.5,
                label=name,
            )
        lowest, highest = axes.get_ylim()  # the line below may lie far away, and must not make the rest small
        axes.axhline(chance, color=GREY, linewidth=1.0, linestyle="--", label=f"most frequent class ({chance:.1%})")
        axes.set_ylim(lowest, min(highest, 1.005))
        axes.set_xticks(range(len(stages)), [label(stage) for stage in stages], rotation=35 if len(stages) > 6 else 0)
        for tick in axes.get_xticklabels() if len(stages) > 6 else ():
            tick.set_horizontalalignment("right")
        axes.set_xlabel("features handed on by")
        axes.set_ylabel("test accuracy")
        axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        axes.margins(x=0.06)
        axes.legend(loc="best")
