"""How the receptive field grows from layer to layer."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from striate.evaluation.figures import BLUE, GREEN, GREY, ORANGE, RED, _drawing
from striate.evaluation.labels import place_labels
from striate.models.arithmetic import Layer

_COLOURS = (BLUE, RED, GREEN, ORANGE, "#CC79A7", "#56B4E9", GREY)


def growth(layers: Sequence[Layer]) -> tuple[list[int], list[int]]:
    """The largest receptive field so far after each layer with a kernel, and the places of those with a stride.

    Args:
        layers: in order of execution.

    Returns:
        Pixels, one number a layer; indices of the layers after which the jump between units is larger than before.
    """
    fields, strides, before = [1], [], 1.0
    for layer in layers:
        if layer.kernel is None or layer.receptive_field is None:
            continue
        fields.append(max(fields[-1], *layer.receptive_field))
        if layer.jump and layer.jump[-1] > before:
            before = float(layer.jump[-1])
            strides.append(len(fields) - 1)
    return fields, strides


def draw_receptive_fields(networks: Mapping[str, Sequence[Layer]], path: Path) -> list[Bbox]:
    """Draws receptive fields against depth; a dot is a layer with a stride, after which each kernel reaches further.

    Args:
        networks: name -> layers in order of execution; at most seven.
        path: of the PNG file.

    Returns:
        Where the labels are, in pixels.

    Raises:
        ValueError: no networks, or more than colours.
    """
    if not 0 < len(networks) <= len(_COLOURS):
        raise ValueError(f"expected 1 to {len(_COLOURS)} networks, got {len(networks)}")
    with _drawing(path, (8.4, 4.8)) as figure:
        axes, ends, longest, drawn = figure.subplots(), [], 0, []
        for (name, layers), colour in zip(networks.items(), _COLOURS, strict=False):
            fields, strides = growth(layers)
            axes.plot(range(len(fields)), fields, color=colour, linewidth=1.3)
            axes.plot(strides, [fields[place] for place in strides], "o", color=colour, markersize=4)
            drawn += list(enumerate(fields))
            ends.append((float(len(fields) - 1), float(fields[-1]), f"{name}: {fields[-1]}"))
            longest = max(longest, len(fields))
        axes.axhline(224, color=GREY, linewidth=0.8, dashes=(4, 3))
        axes.annotate(
            "a picture of 224", (longest * 1.13, 224), (0, -3), textcoords="offset points", fontsize=7.5, color=GREY,
            ha="right", va="top",
        )  # fmt: skip
        highest = max(end[1] for end in ends)
        axes.set(yscale="log", xlim=(0, longest * 1.14), ylim=(1, 1.8 * highest))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set(xlabel="convolutions and poolings, in order of execution", ylabel="receptive field, pixels")
        axes.set_title("Receptive field of one unit; dots: layers with a stride")
        axes.grid(which="minor", visible=False)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        return place_labels(axes, ends, [_dot(*axes.transData.transform(point)) for point in drawn])


def _dot(x: float, y: float) -> Bbox:
    return Bbox.from_extents(x - 3, y - 3, x + 3, y + 3)
