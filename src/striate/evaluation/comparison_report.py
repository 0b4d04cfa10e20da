"""What a comparison leaves in its folder: figures for `dvc metrics`, tables, a page of Markdown, a picture."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from striate.evaluation.comparison import Difference, Group, sampling_interval
from striate.evaluation.comparison_figure import comparison_figure
from striate.evaluation.measured import Measured
from striate.evaluation.tables import write_csv
from striate.messages import shown
from striate.storage import write_json, write_text

FILES = ("metrics.json", "runs.csv", "groups.csv", "differences.csv", "pairs.csv", "comparison.png", "report.md")
_NAMES = {"top1_micro": "Top-1 accuracy", "miou": "Mean IoU"}
_SHARES = ("top1", "top5", "error", "precision", "recall", "f1", "ece", "miou", "fwiou", "pixel_accuracy",
           "mean_class_accuracy", "boundary")  # fmt: skip


def is_share(figure: str) -> bool:
    """Whether a figure is a share, which is shown in percent."""
    return figure.startswith(_SHARES)


def number(value: float, figure: str, *, signed: bool = False) -> str:
    """A value for a reader: percent (points where `signed`) of a share, else four digits; a dash for NaN."""
    if math.isnan(value):
        return "–"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f}" if is_share(figure) else f"{value:{sign}.4g}"


def interval(low: float, high: float, figure: str, *, signed: bool = False) -> str:
    """Bounds for a reader; empty for NaN."""
    if math.isnan(low):
        return ""
    return f"{number(low, figure, signed=signed)} to {number(high, figure, signed=signed)}"


def group_rows(groups: Sequence[Group], figure: str) -> list[dict[str, str]]:
    """A line a group."""
    return [
        {
            "group": group.name,
            "runs": str(len(group.runs)),
            "mean": number(group.estimate.mean, figure),
            "deviation": number(group.deviation, figure),
            "95 % interval over seeds": interval(group.estimate.low, group.estimate.high, figure),
        }
        for group in groups
    ]


def difference_rows(differences: Sequence[Difference], figure: str) -> list[dict[str, str]]:
    """A line a difference."""
    rows = []
    for entry in differences:
        seeds = interval(entry.seeds.low, entry.seeds.high, figure, signed=True)
        how = f" ({entry.seeds.n} pairs)" if entry.paired else " (not paired)" if seeds else ""
        row = {
            "difference": entry.name,
            "mean": number(entry.seeds.mean, figure, signed=True),
            "95 % interval over seeds": seeds + how,
            "over test samples": interval(*entry.samples, figure, signed=True),
            "p": _p(entry.p),
        }
        if len(differences) > 1:
            row["p (Holm)"] = _p(entry.p_holm)
        rows.append(row | {"outcome": entry.outcome})
    return rows


def pair_rows(differences: Sequence[Difference], figure: str) -> list[dict[str, str]]:
    """A line for each two runs on the same samples; those with one seed, side by side."""
    return [
        {
            "difference": entry.name,
            "seed": ", ".join(map(str, pair.repeat)),
            "mean": number(pair.difference, figure, signed=True),
            "95 % interval over test samples": interval(pair.low, pair.high, figure, signed=True),
            "only first right": "" if pair.only_first is None else str(pair.only_first),
            "only second right": "" if pair.only_second is None else str(pair.only_second),
            "p (McNemar, exact)": "" if math.isnan(pair.p) else _p(pair.p),
        }
        for entry in differences
        for pair in entry.pairs
    ]


def run_rows(groups: Sequence[Group], figure: str) -> list[dict[str, str]]:
    """A line a run."""
    return [
        {
            "group": group.name,
            "seed": ", ".join(map(str, repeat)),
            "figure": number(value, figure),
            "95 % interval over test samples": interval(*sampling_interval(run, figure), figure),
            "run": shown(run.folder),
        }
        for group in groups
        for (repeat, run), value in zip(group.runs.items(), group.values, strict=True)
    ]


def _p(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2g}" if value >= 0.001 else f"{value:.0e}"


def figures_of(groups: Sequence[Group], differences: Sequence[Difference]) -> dict[str, Any]:
    """The numbers as nested plain data; what is not known is left out."""
    content: dict[str, Any] = {}
    for group in groups:
        estimate = group.estimate
        content[group.name] = _known(
            runs=len(group.runs), mean=estimate.mean, deviation=group.deviation, low=estimate.low, high=estimate.high
        )
    for entry in differences:
        low, high = entry.samples
        content[entry.name] = _known(
            pairs=entry.seeds.n if entry.paired else math.nan, mean=entry.seeds.mean, low=entry.seeds.low,
            high=entry.seeds.high, low_over_samples=low, high_over_samples=high, p=entry.p, p_holm=entry.p_holm,
        )  # fmt: skip
    return content


def _known(**values: float) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isnan(value)}


def title_of(figure: str, run: Measured) -> str:
    """What is compared, in words."""
    data, unit = run.about["data"], ", in percent" if is_share(figure) else ""
    what = f"{_NAMES.get(figure, figure)} on the {data['split']} split of {data['name']}"
    return f"{what} ({len(run.samples):,} samples){unit}"


def write_comparison(
    folder: Path, groups: Sequence[Group], differences: Sequence[Difference], figure: str, facts: Mapping[str, str]
) -> dict[str, Any]:
    """Writes `FILES`; `metrics.json` comes last and marks the rest as complete.

    Args:
        folder: made where it is missing.
        groups: what was compared.
        differences: what lies between them.
        figure: of the values.
        facts: what else to say, by name: command, data, code …

    Returns:
        The content of `metrics.json`.

    Raises:
        StorageError: a file cannot be written.
    """
    first = next(iter(groups[0].runs.values()))
    tables = {
        "groups.csv": group_rows(groups, figure),
        "differences.csv": difference_rows(differences, figure),
        "pairs.csv": pair_rows(differences, figure),
        "runs.csv": run_rows(groups, figure),
    }
    for name, rows in tables.items():
        write_csv(folder / name, tuple(rows[0]) if rows else ("difference",), rows)
    title = title_of(figure, first)
    comparison_figure(groups, differences, folder / "comparison.png", title=title, share=is_share(figure))
    write_text(folder / "report.md", page(title, tables, facts))
    content = figures_of(groups, differences)
    write_json(folder / "metrics.json", content)
    return content


def page(title: str, tables: Mapping[str, Sequence[Mapping[str, str]]], facts: Mapping[str, str]) -> str:
    """The comparison as a page of Markdown."""
    heads = {"groups.csv": "Groups", "differences.csv": "Differences", "pairs.csv": "Run against run",
             "runs.csv": "Runs"}  # fmt: skip
    lines = [f"# {title}", "", "![](comparison.png)", ""]
    for name, head in heads.items():
        if tables[name]:
            lines += [f"## {head}", "", *markdown(tables[name]), ""]
    lines += [
        "Over seeds: Student's interval of the mean, what another training might give; paired where seeds match, else "
        "Welch's. Over test samples: bootstrap of the mean over the runs, what another test split of this kind might "
        "give. p: t-test over seeds; of two single runs McNemar's exact test. Higher or lower is said where each "
        "interval leaves out 0 and p, with Holm's correction of several differences, is below 0.05.",
        "",
    ]
    return "\n".join([*lines, *(f"- {name}: {value}" for name, value in facts.items())]) + "\n"


def markdown(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Rows as a Markdown table."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    return [line(list(rows[0])), f"|{' --- |' * len(rows[0])}", *(line(list(row.values())) for row in rows)]
