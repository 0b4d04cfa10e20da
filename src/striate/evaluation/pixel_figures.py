"""Pictures of what was said of pixels: mosaics of masks and the IoU of each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from striate.data.masks import IGNORE, coloured
from striate.evaluation.figures import BLUE, GREY, _drawing, _percent, label

_NAMED = 24  # classes that a legend names
_WRONG, _RIGHT = (213, 94, 0), (225, 225, 225)
HEADINGS = ("picture", "truth", "prediction", "error")


@dataclass(frozen=True)
class Labelled:
    """A picture (H, W, C) uint8 of 1 or 3 channels, its mask and what was said of it, (H, W) uint8 each."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray

    @property
    def panels(self) -> tuple[np.ndarray, ...]:
        """Picture, and what stands beside it, (H, W, 3) uint8 each but for the colours of the classes."""
        return self.image, self.truth, self.predicted, self.error

    @property
    def error(self) -> np.ndarray:
        """(H, W, 3): wrong pixels in vermilion, right ones light, black where the truth says nothing."""
        panel = np.empty((*self.truth.shape, 3), np.uint8)
        panel[:] = _RIGHT
        panel[self.predicted != self.truth] = _WRONG
        panel[self.truth == IGNORE] = 0
        return panel


def mosaic(
    rows: Sequence[Labelled], class_names: Sequence[str], colours: Sequence[Sequence[int]], path: Path, *, title: str
) -> None:
    """Draws picture | truth | prediction | error, one row a picture, and the colours of the classes.

    Args:
        rows: at least one.
        class_names: K names.
        colours: K times (red, green, blue).
        path: of the PNG file.
        title: above them.
    """
    aspect = float(np.mean([row.truth.shape[0] / row.truth.shape[1] for row in rows]))
    seen = np.unique(np.concatenate([np.unique(mask) for row in rows for mask in (row.truth, row.predicted)]))
    named = [int(value) for value in seen if value < len(class_names)][:_NAMED]
    legend = 0.22 * -(-len(named) // 6) + 0.1
    with _drawing(path, (8.0, len(rows) * (2.0 * aspect + 0.24) + 0.6 + legend)) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        grid = figure.subplots(len(rows), len(HEADINGS), squeeze=False)
        for place, row in enumerate(rows):
            image, truth, predicted, error = row.panels
            panels = (image, coloured(truth, colours), coloured(predicted, colours), error)
            for axes, panel, heading in zip(grid[place], panels, HEADINGS, strict=True):
                grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if panel.shape[2] == 1 else {}
                smooth = "nearest" if panel is not image or max(panel.shape[:2]) <= 96 else "antialiased"
                axes.imshow(panel[..., 0] if grey else panel, interpolation=smooth, **grey)
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                axes.spines[:].set_visible(False)
                if not place:
                    axes.set_title(heading, fontsize=9, loc="center", pad=3)
            share = (row.predicted != row.truth)[row.truth != IGNORE]
            wrong = f"{share.mean():.1%} wrong" if share.size else "no labels"
            grid[place, 0].set_xlabel(label(row.name, 30), fontsize=6.5, color=GREY, labelpad=2)
            grid[place, 3].set_xlabel(wrong, fontsize=6.5, color=GREY, labelpad=2)
        patches = [Patch(color=f"#{bytes(colours[value]).hex()}", label=label(class_names[value])) for value in named]
        figure.legend(handles=patches, loc="outside lower left", ncols=6, fontsize=7.5, handlelength=1.1)


def iou_of_classes(iou: np.ndarray, class_names: Sequence[str], path: Path, *, mean: float) -> None:
    """Draws the IoU of each class as a bar, the best above, and their mean.

    Args:
        iou: (K,), NaN for a class without pixels, which is left out.
        class_names: K names.
        path: of the PNG file.
        mean: over the classes that count.
    """
    order = [place for place in np.argsort(-np.nan_to_num(iou), kind="stable") if not np.isnan(iou[place])]
    size = 8 if len(order) <= 40 else 5
    with _drawing(path, (6.0, 0.9 + len(order) * size * 0.028)) as figure:
        axes = figure.subplots()
        places = np.arange(len(order))
        axes.barh(places, iou[order], color=BLUE, height=0.7)
        for place, value in enumerate(iou[order].tolist()):
            axes.text(value + 0.01, place, f"{value:.1%}", va="center", fontsize=size - 1)
        axes.set_yticks(places, [label(class_names[place], 24) for place in order], fontsize=size)
        axes.axvline(mean, color=GREY, linestyle="--", linewidth=1)
        axes.set(xlim=(0, 1.08), ylim=(len(order) - 0.5, -0.5), title=f"IoU of each class; mean {mean:.2%} (dashed)")
        axes.xaxis.set_major_formatter(FuncFormatter(_percent))
        axes.grid(axis="y", visible=False)
