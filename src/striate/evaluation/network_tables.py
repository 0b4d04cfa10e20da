"""The layer table of a network, what papers print of it, and the table of the whole family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from striate.evaluation.papers import PAPERS, Entry, Shape
from striate.evaluation.printed import Comparison, compare_all
from striate.evaluation.typesetting import Column, Sheet
from striate.models.arithmetic import Counts, Layer, TrainingMemory

RULE = (
    "One multiply-accumulate counts 1, for one picture; convolutions, transposed convolutions and linear layers only, "
    "padded positions included. Biases, normalisation, pooling, activations and sums are not counted."
)
FIELD_RULE = (
    "Receptive field: pixels that one unit sees along each axis, over the largest path, padding included; jump: pixels "
    "from one unit to the next."
)
MARKS = {"equal": "✓", "rounded": "✓", "truncated": "✓", "differs": "✗"}
VERDICTS = "✓: equal, rounded or truncated to what is printed; ✗: differs."


@dataclass(frozen=True)
class Member:
    """A network of the family, counted.

    Attributes:
        name: the option of `conf/model`, with its changes.
        kind: the class's name.
        input: (C, H, W).
        classes: K.
        counts: of the network.
        entry: what papers print of it, None for nothing.
    """

    name: str
    kind: str
    input: Shape
    classes: int
    counts: Counts
    entry: Entry | None

    @property
    def comparisons(self) -> list[Comparison]:
        return compare_all(self.counts, self.entry) if self.entry else []


def sizes(values: Sequence[int | Fraction] | str | None) -> str | None:
    """One number an axis as text: one number where they are equal, `same` and the like as they are."""
    if values is None or isinstance(values, str):
        return values
    texts = [str(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else "×".join(texts)


def times(values: Sequence[int]) -> str:
    return "×".join(map(str, values))


def mebibytes(size: int) -> str:
    return f"{size / 2**20:,.2f}"


LAYER_COLUMNS = (
    Column("layer", "layer"),
    Column("type", "type", spare=2),
    Column("kernel", "kernel"),
    Column("stride", "stride", True),
    Column("padding", "pad", True, spare=1),
    Column("dilation", "dil.", True, spare=5),
    Column("groups", "groups", True, spare=4),
    Column("output", "output"),
    Column("receptive_field", "rec. field", True),
    Column("jump", "jump", True),
    Column("parameters", "parameters", True),
    Column("mult_adds", "mult-adds", True),
    Column("activations", "activations", True, spare=3),
    Column("output_bytes", "batch, MiB", True, mebibytes, spare=6),
)


def layer_row(layer: Layer, batch_size: int) -> dict[str, Any]:
    """A row of the layer table; `output_bytes` are those of the layer's output for a batch, in float32."""
    return {
        "layer": layer.name,
        "type": layer.type,
        "kernel": times(layer.kernel) if layer.kernel else None,
        "stride": sizes(layer.stride) if layer.kernel else None,
        "padding": sizes(layer.padding) if layer.kernel else None,
        "dilation": sizes(layer.dilation) if layer.kernel else None,
        "groups": layer.groups,
        "output": times(layer.output_shape),
        "receptive_field": sizes(layer.receptive_field),
        "jump": sizes(layer.jump),
        "parameters": layer.parameters,
        "mult_adds": layer.mult_adds,
        "activations": layer.activations,
        "output_bytes": 4 * batch_size * layer.activations,
    }


def layer_sheet(member: Member, batch_size: int) -> Sheet:
    """The layer table, in order of execution, with totals."""
    counts = member.counts
    title = f"{member.name}: input {times(member.input)}, {member.classes:,} classes, batch of {batch_size}"
    total = {
        "layer": "total",
        "parameters": counts.parameters,
        "mult_adds": counts.mult_adds,
        "activations": counts.activations,
        "output_bytes": 4 * batch_size * counts.activations,
    }
    return Sheet(title, LAYER_COLUMNS, [layer_row(layer, batch_size) for layer in counts.layers], total)


def memory_note(memory: TrainingMemory, batch_size: int) -> str:
    parts = ", ".join(
        f"{kind} {mebibytes(getattr(memory, kind))}" for kind in ("parameters", "gradients", "optimizer", "activations")
    )
    return (
        f"Memory of a training step on a batch of {batch_size} with momentum, float32, what autograd keeps: "
        f"{mebibytes(memory.total)} MiB ({parts})."
    )


PRINTED_COLUMNS = (
    Column("quantity", "figure"),
    Column("part", "of"),
    Column("printed", "printed", True),
    Column("exact_shown", "exact", True),
    Column("verdict", "verdict"),
    Column("source", "where"),
    Column("note", "note", spare=1),
)


def printed_row(comparison: Comparison) -> dict[str, Any]:
    figure, exact = comparison.figure, comparison.exact
    differs = f"{MARKS['differs']} {100 * comparison.difference:+.2g} %"
    return {
        "quantity": figure.quantity.replace("_", " ").replace("mult adds", "mult-adds"),
        "part": figure.part.replace("!", "all but ") or None,
        "printed": figure.printed,
        "exact": exact if "share" in figure.quantity else int(exact),
        "exact_shown": comparison.shown,
        "verdict": f"{MARKS[comparison.verdict]} {comparison.verdict}" if comparison.agrees else differs,
        "source": figure.source,
        "note": figure.note or None,
    }


def printed_sheet(members: Sequence[Member]) -> Sheet:
    """Every printed figure of these networks beside the exact one."""
    rows = [
        {"network": f"{member.name}, {times(member.input)}", **printed_row(comparison)}
        for member in members
        for comparison in member.comparisons
    ]
    if len(members) == 1:
        return Sheet(f"{members[0].name}: figures that papers print", PRINTED_COLUMNS, rows)
    return Sheet("Figures that the papers print", (Column("network", "network"), *PRINTED_COLUMNS), rows)


SCORE_COLUMNS = (
    Column("network", "network"),
    Column("top1", "top-1 error, %", True),
    Column("top5", "top-5", True),
    Column("data", "on"),
    Column("protocol", "tested by"),
    Column("source", "where"),
)


def score_sheet(entries: Mapping[str, Entry]) -> Sheet:
    """Every published error, by the network's name; those of one protocol can be compared, others cannot."""
    rows = [
        {"network": name, **{column.key: getattr(score, column.key) for column in SCORE_COLUMNS[1:]}}
        for name, entry in entries.items()
        for score in entry.scores
    ]
    return Sheet("Published errors", SCORE_COLUMNS, rows)


FAMILY_COLUMNS = (
    Column("model", "`model=`"),
    Column("paper", "paper", spare=1),
    Column("input", "input"),
    Column("parameters", "parameters", True),
    Column("parameters_printed", "printed", True),
    Column("mult_adds", "multiply-adds", True),
    Column("mult_adds_printed", "printed", True),
    Column("top1", "top-1 error, %", True),
    Column("top5", "top-5", True),
    Column("tested", "on", spare=2),
)


def family_row(member: Member) -> dict[str, Any]:
    """A row of the family's table: exact counts, the first printed figure of each kind, the headline score."""
    entry = member.entry
    paper = (entry and entry.paper) or PAPERS.get(member.kind)
    score = entry.scores[0] if entry and entry.scores else None
    return {
        "model": member.name,
        "paper": str(paper) if paper else None,
        "input": times(member.input),
        "parameters": member.counts.parameters,
        "parameters_printed": _first(member.comparisons, "parameters"),
        "mult_adds": member.counts.mult_adds,
        "mult_adds_printed": _first(member.comparisons, "mult_adds"),
        "top1": score and score.top1,
        "top5": score and score.top5,
        "tested": score and f"{score.data}, {score.protocol}",
    }


def _first(comparisons: Sequence[Comparison], quantity: str) -> str | None:
    """The first figure that a paper prints for the whole network, and whether it is right."""
    whole = ("", "convolutions", "!fc")
    for comparison in comparisons:
        figure = comparison.figure
        if figure.quantity == quantity and figure.part in whole:
            limits = {"convolutions": " (conv.)", "!fc": " (without fc)"}.get(figure.part, "")
            return f"{figure.printed}{limits} {MARKS[comparison.verdict]}"
    return None


def family_sheet(members: Sequence[Member]) -> Sheet:
    """One row a network."""
    return Sheet("The family: exact counts and what the papers print", FAMILY_COLUMNS, list(map(family_row, members)))
