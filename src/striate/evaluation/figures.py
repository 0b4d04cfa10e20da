"""Pictures of results, fit for a paper: each function draws one and writes it as a whole or not at all.

Nothing global is touched: figures are drawn without pyplot, so that they can be made in any process and thread.
Colours are those of Okabe & Ito (2008), which people with any kind of colour vision can tell apart.
"""

import math
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from striate.evaluation.metrics import wilson_interval
from striate.storage import atomic_file

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6E6E6E"
DPI = 160

# Beyond the first, fonts that know scripts which it lacks; only those that are installed are asked.
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Noto Sans Arabic", "Noto Sans")
_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a class may be called "$x"
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}

_CELLS_WITH_NUMBERS = 30  # classes up to which each cell of a confusion matrix says its count
_NAMED_CLASSES = 130  # classes up to which the axes say names, not numbers
_SHARES = ("error", "mean IoU")  # panels of learning curves in percent
_UNNAMED = ("learning rate", "gradient norm")  # those with a single curve
_PAIRS = 25  # most frequent confusions listed beside a large matrix


@contextmanager
def _drawing(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """A figure of this size in inches that is written to `path` when the block ends without an error."""
    installed = set(fontManager.get_font_names())
    families = [name for name in _FONTS if name in installed]
    with rc_context({**_STYLE, "font.family": families or ["sans-serif"]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # an exotic name is drawn as boxes
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with atomic_file(path) as stream:
            # Without the version of matplotlib in it, the same figures give the same bytes.
            figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})


def label(name: object, limit: int = 18) -> str:
    """A name as it can be drawn: in one line, without control characters, its middle cut out where it is too long."""
    text = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in str(name)).strip()
    if len(text) <= limit:
        return text or "(no name)"
    tail = (limit - 1) // 3
    return f"{text[: limit - 1 - tail]}…{text[-tail:] if tail else ''}"


def confusion_matrix(confusion: ArrayLike, class_names: Sequence[str], path: Path, *, normalised: bool = False) -> None:
    """Draws a confusion matrix: numbers in the cells of a small one, the most frequent confusions beside a large one.

    Args:
        confusion: (K, K) counts, true classes in rows.
        class_names: K names.
        path: of the PNG file.
        normalised: draw the shares of each true class (its recall is on the diagonal) instead of counts.

    Raises:
        ValueError: another number of names than of classes.
    """
    counts = np.asarray(confusion)
    if counts.shape != (len(class_names),) * 2:
        raise ValueError(f"expected a confusion matrix of {len(class_names)} classes, got shape {counts.shape}")
    samples = counts.sum(axis=1, keepdims=True)
    shown = counts / np.maximum(samples, 1) if normalised else counts.astype(np.float64)
    right, total = int(counts.trace()), int(counts.sum())
    large = len(counts) > _CELLS_WITH_NUMBERS
    side = 9.5 if large else min(max(3.4, 0.42 * len(counts) + 1.2), 9.5)
    with _drawing(path, (side + (4.6 if large else 0.9), side + 0.4)) as figure:
        kind = "share of each true class, in percent" if normalised else "samples"
        title = f"Confusion matrix: {right:,} of {total:,} right ({right / max(total, 1):.2%})\n{kind}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        axes, table = figure.subplots(1, 2, width_ratios=(10, 3.2)) if large else (figure.subplots(), None)
        # A root lets a single sample be seen beside hundreds on the diagonal; where cells are tiny, a higher one.
        norm = PowerNorm(0.35 if large else 0.5, vmin=0, vmax=1 if normalised else max(shown.max(), 1))
        picture = axes.imshow(shown, cmap="Blues", norm=norm, interpolation="nearest")
        bar = figure.colorbar(picture, ax=axes, aspect=40, fraction=0.03, pad=0.02)
        bar.outline.set_visible(False)
        bar.locator = MaxNLocator(5, integer=not normalised)
        if normalised:
            bar.formatter = FuncFormatter(_percent)
        bar.update_ticks()
        _name_classes(axes, class_names)
        if table is None:
            _write_cells(axes, norm(shown), shown, counts, normalised)
        else:
            _list_confusions(table, counts, class_names)


def _percent(value: float, _: int | None = None) -> str:
    return f"{100 * value:.3g}%"


def _name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    classes = len(class_names)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if classes > _NAMED_CLASSES:
        axes.set_xlabel("predicted (number of the class)")
        axes.set_ylabel("true (number of the class)")
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.set_xlim(-0.5, classes - 0.5)
        axes.set_ylim(classes - 0.5, -0.5)
        return
    size = min(9.0, 560 / classes)
    names = [label(name) for name in class_names]
    upright = max(map(len, names)) * size * 0.6 < 430 / classes or max(map(len, names)) <= 2
    axes.set_xticks(range(classes), names, fontsize=size, rotation=0 if upright else 90)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.tick_params(length=0)


def _write_cells(
    axes: Axes, darkness: NDArray[Any], shown: NDArray[Any], counts: NDArray[Any], normalised: bool
) -> None:
    size = min(9.0, 150 / len(counts) + 2)
    for row, column in np.argwhere(counts > 0):
        text = f"{100 * shown[row, column]:.1f}".replace("100.0", "100") if normalised else f"{counts[row, column]:d}"
        colour = "white" if darkness[row, column] > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)


def _list_confusions(axes: Axes, counts: NDArray[Any], class_names: Sequence[str]) -> None:
    """The most frequent confusions as text."""
    axes.axis("off")
    axes.set_title("Most frequent confusions")
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    pairs = [(int(row), int(column)) for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    numbered = len(counts) > _NAMED_CLASSES  # the axes show numbers then, so the list ties them to names

    def name(place: int) -> str:
        return f"{place} {label(class_names[place], 16)}" if numbered else label(class_names[place])

    pairs = [pair for pair in pairs if wrong[pair]]
    shares = "\n".join(f"{wrong[pair]:,} of {counts[pair[0]].sum():,}" for pair in pairs)
    names = "\n".join(f"{name(row)} → {name(column)}" for row, column in pairs) or "none"
    axes.text(0.22, 0.99, shares, transform=axes.transAxes, ha="right", va="top", fontsize=8, linespacing=1.7)
    axes.text(0.27, 0.99, names, transform=axes.transAxes, va="top", fontsize=8, linespacing=1.7)


def reliability_diagram(
    rows: Sequence[Mapping[str, float]],
    error: float,
    path: Path,
    *,
    calibrated: tuple[Sequence[Mapping[str, float]], float, float] | None = None,
) -> None:
    """Draws accuracy against confidence, and how often each confidence occurs (Guo et al. 2017, figure 4).

    Args:
        rows: bins as `metrics.reliability` gives them.
        error: the expected calibration error, 0 to 1.
        path: of the PNG file.
        calibrated: bins, error and temperature of the same samples after temperature scaling, drawn beside; or None.
    """
    count = f"{len(rows)} bins, {int(sum(row['samples'] for row in rows)):,} samples"
    panels, title = [(rows, "")], f"Reliability: expected calibration error {error:.2%} ({count})"
    if calibrated is not None:
        after, error_after, temperature = calibrated
        title = f"Reliability: expected calibration error before and after temperature scaling ({count})"
        panels = [
            (rows, f"as the network says: {error:.2%}"),
            (after, f"through temperature {temperature:.4g}: {error_after:.2%}"),
        ]
    with _drawing(path, (5.4, 6.2) if calibrated is None else (9.6, 6.2)) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        axes = figure.subplots(2, len(panels), height_ratios=(3, 1), sharex=True, sharey="row", squeeze=False)
        for (upper, lower), (bins, heading) in zip(axes.T, panels, strict=True):
            _draw_reliability(upper, lower, bins, legend_above=calibrated is None)
            upper.set_title(heading)
        for upper, lower in axes[:, 1:].T:
            upper.set_ylabel("")
            lower.set_ylabel("")


def _draw_reliability(upper: Axes, lower: Axes, rows: Sequence[Mapping[str, float]], *, legend_above: bool) -> None:
    """Accuracy and confidence of the bins that hold samples, with intervals, and below how many each holds."""
    filled = [row for row in rows if row["samples"]]
    low, high, samples, confidence, accuracy = (
        np.array([row[name] for row in filled]) for name in ("low", "high", "samples", "confidence", "accuracy")
    )
    width, centre = high - low, (low + high) / 2
    total = max(int(samples.sum()), 1)
    right, mean = float((accuracy * samples).sum() / total), float((confidence * samples).sum() / total)
    bounds = [wilson_interval(round(share * count), int(count)) for share, count in zip(accuracy, samples, strict=True)]
    reach = np.abs(np.array(bounds).reshape(-1, 2).T - accuracy)
    upper.bar(centre, accuracy, width, color=to_rgba(BLUE, 0.45), edgecolor="white", linewidth=0.8, label="accuracy")
    upper.bar(
        centre, confidence - accuracy, width, bottom=accuracy, color=to_rgba(RED, 0.12), edgecolor=RED,
        hatch="////", linewidth=0.8, label="gap to confidence",
    )  # fmt: skip
    upper.errorbar(
        centre, accuracy, reach, fmt="none", ecolor="black", elinewidth=0.9, capsize=2, label="95 % interval"
    )
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="calibrated")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    lower.bar(centre, samples / total, width, color="#B5B5B5", edgecolor="white", linewidth=0.8)
    lower.axvline(right, color=BLUE, linewidth=1.6, label=f"accuracy {right:.1%}")
    lower.axvline(mean, color=RED, linewidth=1.6, linestyle="--", label=f"mean confidence {mean:.1%}")
    lower.set(xlabel="confidence", ylabel="share of samples")
    lower.yaxis.set_major_locator(MaxNLocator(4))
    lower.yaxis.set_major_formatter(FuncFormatter(_percent))
    above = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.99)}  # the axes, where nothing is hidden
    for axes, entries in ((upper, 4), (lower, 2)):
        inside = axes is upper and not legend_above
        place: dict[str, Any] = {"loc": "upper left"} if inside else {**above, "ncols": entries}
        axes.legend(fontsize=8, columnspacing=1.2, handlelength=1.6, **place)


def mistakes_gallery(mistakes: Sequence[Mapping[str, Any]], path: Path, *, total: int, columns: int = 6) -> None:
    """Draws the most confident mistakes, the most confident first.

    Args:
        mistakes: each with image (H, W, C) uint8 of 1 or 3 channels, true, predicted (names), confidence, name (file).
        path: of the PNG file.
        total: how many mistakes there are in all.
        columns: pictures in a row.
    """
    columns = max(min(columns, len(mistakes)), 3)
    rows = max(math.ceil(len(mistakes) / columns), 1)
    with _drawing(path, (1.75 * columns, 2.35 * rows + 0.4)) as figure:
        shown = f"the {len(mistakes)} most confident of {total:,}" if total > len(mistakes) else f"all {total:,}"
        figure.suptitle(
            f"Mistakes, {shown}: true → predicted" if total else "No mistakes", x=0.01, ha="left", fontsize=10
        )
        for axes, mistake in zip(figure.subplots(rows, columns, squeeze=False).flat, mistakes, strict=False):
            image = np.asarray(mistake["image"])
            # Small pictures keep their pixels, large ones are brought down without aliasing.
            smooth = "nearest" if max(image.shape[:2]) <= 96 else "antialiased"
            grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.shape[2] == 1 else {}
            axes.imshow(image[..., 0] if grey else image, interpolation=smooth, **grey)
            names = f"{label(mistake['true'], 20)}\n→ {label(mistake['predicted'], 18)}"
            axes.set_title(names, fontsize=8, loc="center", pad=3)
            caption = f"{mistake['confidence']:.1%}\n{label(mistake['name'], 30)}"
            axes.set_xlabel(caption, fontsize=6.5, color=GREY, labelpad=3)
        for axes in figure.axes:
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            axes.spines[:].set_visible(False)


def learning_curves(
    rows: Sequence[Mapping[str, Any]], path: Path, *, monitor: str = "val/top1_micro", mode: str = "max"
) -> None:
    """Draws loss, error, learning rate and gradient over the epochs, marks the best epoch and says how fast it went.

    Args:
        rows: one an epoch as in `history.csv`: epoch, train/loss, val/loss, train/error_micro, val/error_micro
            (of pixels train/pixel_error, val/miou), learning_rate, gradient_norm, samples_per_second, waiting. A
            missing or empty cell is not drawn, nor a gradient that nobody measured.
        path: of the PNG file.
        monitor: the figure by which the best epoch is chosen.
        mode: `max` or `min`.
    """
    pixels = any("val/miou" in row for row in rows)
    answers = {"train/error_micro": "training", "val/error_micro": "validation"}
    panels = (
        ("loss", {"train/loss": "training", "val/loss": "validation"}),
        ("mean IoU", {"train/pixel_error": "wrong pixels, training", "val/miou": "mean IoU, validation"})
        if pixels
        else ("error", answers),
        ("learning rate", {"learning_rate": ""}),
        *([("gradient norm", {"gradient_norm": ""})] if _column(rows, "gradient_norm")[0] else []),
    )
    best = _best_epoch(rows, monitor, mode)
    with _drawing(path, (3.5 * len(panels), 3.4)) as figure:
        for axes, (title, columns) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            drawn = [0.0]
            for (column, name), colour in zip(columns.items(), (BLUE, ORANGE), strict=False):
                epochs, values = _column(rows, column)
                if epochs:
                    points = "o" if len(epochs) <= 30 else None
                    axes.plot(epochs, values, color=colour if name else GREEN, label=name, marker=points, markersize=3)
                drawn += values
            if best is not None:
                value = _figure(best, list(columns)[-1])
                at = "" if value is None or title in _UNNAMED else f": {_short(value, title)}"
                axes.axvline(float(best["epoch"]), color=GREY, linestyle=":", linewidth=1.2, label=f"best epoch{at}")
            axes.set(title=title, xlabel="epoch", xlim=(0.5, len(rows) + 0.5), ylim=(0, 1.08 * max(drawn) or 1))
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
            if title in _SHARES:
                axes.yaxis.set_major_formatter(FuncFormatter(_percent))
            if title in _UNNAMED:
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
            elif axes.get_legend_handles_labels()[0]:
                axes.legend()
        found = [f"best epoch {int(float(best['epoch']))} of {len(rows)} by {monitor}"] if best is not None else []
        if said := " · ".join(found + _speed(rows)):
            figure.suptitle(said, x=0.01, ha="left", fontsize=9, color="#333333")


def _speed(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Median throughput, and the share of waiting for data, after the first epoch, which warms up."""
    speeds, shares = (_column(rows, name)[1] for name in ("samples_per_second", "waiting"))
    said = [f"{float(np.median(speeds[1:] or speeds)):,.0f} samples/s"] if speeds else []
    return said + ([f"{float(np.median(shares[1:] or shares)):.0%} of training waits for data"] if shares else [])


def _short(value: float, title: str) -> str:
    return f"{value:.2%}" if title in _SHARES else f"{value:.4g}"


def _figure(row: Mapping[str, Any], column: str) -> float | None:
    """A cell as a finite number; rows may come from a file and hold text, empty where there was no validation."""
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _column(rows: Sequence[Mapping[str, Any]], column: str) -> tuple[list[float], list[float]]:
    found = [(float(row["epoch"]), value) for row in rows if (value := _figure(row, column)) is not None]
    return [epoch for epoch, _ in found], [value for _, value in found]


def _best_epoch(rows: Sequence[Mapping[str, Any]], monitor: str, mode: str) -> Mapping[str, Any] | None:
    sign = -1.0 if mode == "max" else 1.0
    ranked = [(sign * value, place) for place, row in enumerate(rows) if (value := _figure(row, monitor)) is not None]
    return rows[min(ranked)[1]] if ranked else None


def transfer_gain(scores: Mapping[str, Sequence[float]], path: Path, *, metric: str = "test accuracy") -> None:
    """Draws how ways of training compare over seeds: every run as a point, mean ± deviation beside them.

    Args:
        scores: for each way its scores, 0 to 1, one a seed in the same order; such as
            `{"from scratch": […], "fine-tuned": […]}`. Runs of one seed are joined by a line.
        path: of the PNG file.
        metric: what the scores are.

    Raises:
        ValueError: a way without scores.
    """
    ways = {name: np.asarray(values, np.float64) for name, values in scores.items()}
    if not ways or not all(len(values) for values in ways.values()):
        raise ValueError("expected at least one way of training with at least one score each")
    with _drawing(path, (1.9 + 1.75 * len(ways), 4.2)) as figure:
        axes = figure.subplots()
        if len({len(values) for values in ways.values()}) == 1:
            for seed in np.array(list(ways.values())).T:
                axes.plot(range(len(ways)), seed, color=GREY, alpha=0.45, linewidth=0.9, zorder=1)
        for place, (values, colour) in enumerate(zip(ways.values(), _cycle(len(ways)), strict=True)):
            axes.scatter([place] * len(values), values, s=26, color=colour, edgecolor="white", linewidth=0.7, zorder=3)
            if len(values) > 1:
                mean, spread = values.mean(), values.std(ddof=1)
                axes.errorbar(
                    place + 0.18, mean, spread, fmt="D", color=colour, markersize=5, capsize=4, elinewidth=1.5
                )
                text = f"{mean:.1%}\n± {100 * spread:.1f}"
            else:
                mean, text = values[0], f"{values[0]:.1%}"
            shift = (place + (0.18 if len(values) > 1 else 0), mean)
            axes.annotate(text, shift, (9, 0), textcoords="offset points", va="center", fontsize=8.5)
        axes.set_xticks(range(len(ways)), [f"{label(name, 24)}\nn = {len(values)}" for name, values in ways.items()])
        axes.set_xlim(-0.5, len(ways) - 0.25)
        axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        axes.set_ylabel(metric)
        axes.grid(axis="x", visible=False)
        several = "; diamonds: mean ± standard deviation" if max(map(len, ways.values())) > 1 else ""
        axes.set_title(f"{_gain_title(ways)}\npoints: one seed each{several}")


def _cycle(count: int) -> list[str]:
    colours = [BLUE, ORANGE, GREEN, RED]
    return [colours[place % len(colours)] for place in range(count)]


def _gain_title(ways: Mapping[str, NDArray[np.float64]]) -> str:
    """The gain of the last way over the first, seed by seed where both have the same seeds."""
    first, *_, last = [*ways, *ways] if len(ways) == 1 else ways
    if first == last:
        return label(first, 40)
    base, other = ways[first], ways[last]
    gain = 100 * (other.mean() - base.mean())
    spread = f" ± {100 * (other - base).std(ddof=1):.1f}" if len(base) == len(other) > 1 else ""
    return f"{label(last, 24)}: {gain:+.1f}{spread} points over {label(first, 24)}"
