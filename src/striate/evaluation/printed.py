"""Exact counts against the figures that papers print."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose, prod

from striate.evaluation.papers import Entry, Figure
from striate.models.arithmetic import Counts, Layer

SCALES = {"": 1.0, "K": 1e3, "Ki": 1024.0, "M": 1e6, "G": 1e9, "%": 0.01}


def _is_convolution(layer: Layer) -> bool:
    return layer.mult_adds > 0 and layer.kernel is not None


KINDS: Mapping[str, Callable[[Layer], bool]] = {
    "convolutions": _is_convolution,
    "1×1 convolutions": lambda layer: _is_convolution(layer) and set(layer.kernel or ()) == {1},
    "depthwise convolutions": lambda layer: _is_convolution(layer) and 1 < (layer.groups or 1) == layer.input_shape[0],
    "3×3 convolutions": lambda layer: _is_convolution(layer) and set(layer.kernel or ()) == {3} and layer.groups == 1,
    "linear layers": lambda layer: layer.mult_adds > 0 and layer.kernel is None,
}


def connections(layer: Layer) -> int:
    """Connections as LeCun et al. 1998 count them: inputs of every unit, its bias included."""
    units = layer.activations
    if layer.mult_adds:
        return layer.mult_adds + (units if layer.biases else 0)
    if layer.parameters and layer.kernel:  # trainable subsampling
        return units * (prod(layer.kernel) + 1)
    return prod(layer.input_shape) * units if layer.type == "EuclideanRBF" else 0


def _weights(layers: Sequence[Layer]) -> int:
    return sum(layer.weights for layer in layers if layer.mult_adds)


QUANTITIES: Mapping[str, Callable[[Sequence[Layer]], float]] = {
    "parameters": lambda layers: sum(layer.parameters for layer in layers),
    "weights": _weights,
    "mult_adds": lambda layers: sum(layer.mult_adds for layer in layers),
    "activations": lambda layers: layers[-1].activations,
    "connections": lambda layers: sum(connections(layer) for layer in layers),
    "receptive_field": lambda layers: max(layers[-1].receptive_field or (0,)),
    "side": lambda layers: layers[-1].output_shape[-1],
}


@dataclass(frozen=True)
class Comparison:
    """A printed figure beside the exact one.

    Attributes:
        figure: as printed.
        exact: what the network has, in the same rule.
        verdict: "equal", "rounded" (to the last digit printed), "truncated" or "differs".
    """

    figure: Figure
    exact: float
    verdict: str

    @property
    def agrees(self) -> bool:
        return self.verdict != "differs"

    @property
    def difference(self) -> float:
        """Of the printed figure from the exact one, relative to the exact one."""
        return parse(self.figure.printed)[0] / self.exact - 1

    @property
    def shown(self) -> str:
        """The exact figure in the unit of the printed one, with two more digits."""
        number, unit = _split(self.figure.printed)
        decimals = len(number.partition(".")[2])
        return f"{self.exact / SCALES[unit]:,.{decimals + 2 if unit else 0}f} {unit}".strip()


def _split(printed: str) -> tuple[str, str]:
    match = re.fullmatch(r"([\d,]+(?:\.\d+)?) ?(K|Ki|M|G|%)?", printed)
    if match is None:
        raise ValueError(f"expected a number and a unit among {', '.join(filter(None, SCALES))}; got {printed!r}")
    return match[1].replace(",", ""), match[2] or ""


def parse(printed: str, digits: int | None = None) -> tuple[float, float]:
    """The value of a printed figure and that of its last significant digit: "15.3 G" → 15.3e9, 0.1e9.

    Args:
        printed: number and unit.
        digits: significant digits, where zeros at the end of a whole number only fill: "720 M" with 2 → 720e6, 10e6.

    Raises:
        ValueError: no such number or unit.
    """
    number, unit = _split(printed)
    whole, _, decimals = number.partition(".")
    step = 10.0 ** (len(whole) - digits if digits else -len(decimals))
    return float(number) * SCALES[unit], step * SCALES[unit]


def compare(counts: Counts, figure: Figure) -> Comparison:
    """What the exact count says of a printed figure.

    Raises:
        ValueError: the network has no such part.
    """
    exact = measure(counts, figure)
    value, step = parse(figure.printed, figure.digits)
    if isclose(exact, value, rel_tol=1e-12):
        return Comparison(figure, exact, "equal")
    if abs(exact - value) <= step / 2:
        return Comparison(figure, exact, "rounded")
    return Comparison(figure, exact, "truncated" if value <= exact < value + step else "differs")


def measure(counts: Counts, figure: Figure) -> float:
    """The exact count of what a printed figure counts."""
    quantity, share, _ = figure.quantity.partition("_share")
    if quantity == "parameters" and not figure.part:
        return counts.parameters
    rule, layers = QUANTITIES[quantity], _part(counts.layers, figure.part)
    if not layers:
        raise ValueError(f"the network has no part {figure.part!r}")
    return rule(layers) / rule(counts.layers) if share else rule(layers)


def _part(layers: Sequence[Layer], part: str) -> list[Layer]:
    if part in KINDS:
        return [layer for layer in layers if KINDS[part](layer)]

    def below(layer: Layer, name: str) -> bool:
        return layer.name == name or layer.name.startswith((f"{name}.", f"{name}_"))

    if part.startswith("!"):
        return [layer for layer in layers if not below(layer, part[1:])]
    return [layer for layer in layers if not part or below(layer, part)]


def compare_all(counts: Counts, entry: Entry) -> list[Comparison]:
    """Every printed figure of an entry."""
    return [compare(counts, figure) for figure in entry.figures]
