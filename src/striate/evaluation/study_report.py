"""The words of a study: a table with intervals, and what the paper claims beside what was seen."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from striate.evaluation.study_figures import NAMES
from striate.evaluation.study_statistics import (
    AGREES,
    DISAGREES,
    UNDECIDED,
    Estimate,
    Row,
    Verdict,
    judge,
    mean_interval,
    resolved_x,
)

_SHARES = ("test_accuracy", "val_accuracy", "gain", "train_error")


def summary(content: Mapping[str, Any], rows: Sequence[Row]) -> list[dict[str, str]]:
    """One line an arm and x: how many seeds, how many diverged or failed, mean and interval of each figure."""
    lines = []
    for x in sorted({row["x"] for row in rows if row["arm"] in content["arms"]}, key=lambda x: (x is not None, x)):
        for arm in content["arms"]:
            cells = [row for row in rows if row["arm"] == arm and row["x"] == x]
            if not cells:
                continue
            line = {"arm": arm} | ({content["axis"]["label"]: f"{x:g}"} if x is not None else {})
            line["seeds"] = str(sum(row["status"] == "finished" for row in cells))
            for status in ("diverged", "failed"):
                if count := sum(row["status"] == status for row in cells):
                    line["seeds"] += f", {count} {status}"
            for figure in content["figures"]:
                ended = figure == "epochs_to_25" and any(row.get("reached") is False for row in cells)
                found = mean_interval([row[figure] for row in cells if row.get(figure) is not None])
                line[NAMES[figure]] = ("≥ " if ended else "") + shown(found, figure)
            lines.append(line)
    return lines


def shown(estimate: Estimate, figure: str, *, kind: str = "difference", signed: bool = False) -> str:
    """An estimate for a reader, `81.2 % (79.9 to 82.5)`."""
    if not math.isfinite(estimate.mean):
        return "–"
    if figure == "mult_adds":
        return f"{estimate.mean / 1e6:,.3g} M"
    share, signed = figure in _SHARES and kind != "ratio", signed or figure == "gain"
    form = "{:+.1f}" if signed and share else "{:.1f}" if share else "{:+.3g}" if signed else "{:.3g}"
    mean, low, high = (
        form.format(100 * value if share else value) for value in (estimate.mean, estimate.low, estimate.high)
    )
    unit = " points" if share and signed else " %" if share else ""
    return f"{mean}{unit} ({low} to {high})" if math.isfinite(estimate.low) else f"{mean}{unit}"


def judged(content: Mapping[str, Any], rows: Sequence[Row]) -> list[tuple[Mapping[str, Any], Verdict, str]]:
    """Every comparison of a study with its verdict and with what was seen, in words."""
    found = []
    for comparison in content["comparisons"].values():
        verdict = judge(rows, comparison)
        figure, kind = comparison["figure"], comparison.get("kind", "difference")
        seen = shown(verdict.estimate, figure, kind=kind, signed=kind != "ratio")
        what = {"ratio": "ratio", "slope": "for ten times the multiply-adds"}.get(kind, "difference")
        what = "mean" if kind == "difference" and not comparison.get("against") else what
        sides = [side for side in (comparison["of"], comparison.get("against")) if side]
        between = " against ".join(described(content, rows, figure, side) for side in sides)
        text = f"{NAMES[figure]}, {between}: {what} {verdict.bound}{' ' if verdict.bound else ''}{seen}"
        found.append((comparison, verdict, text))
    return found


def in_short(content: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Which comparisons, by name, agree with their claim, which do not, and which are not decided."""
    found: dict[str, list[str]] = {}
    for name, comparison in content["comparisons"].items():
        found.setdefault(judge(rows, comparison).outcome, []).append(name)
    parts = [
        f"{outcome}: {', '.join(found[outcome])}" for outcome in (AGREES, DISAGREES, UNDECIDED) if outcome in found
    ]
    return "; ".join(parts)


def described(content: Mapping[str, Any], rows: Sequence[Row], figure: str, side: Mapping[str, Any]) -> str:
    """One side of a comparison in words."""
    x = resolved_x(rows, figure, side)
    name = "all arms" if side["arm"] == "*" else side["arm"]
    if x in (None, "mean"):
        return name if x is None else f"{name} (mean over {content['axis']['label']})"
    return f"{name} ({content['axis']['label']} {x:g})"


def report(content: Mapping[str, Any], rows: Sequence[Row], facts: Mapping[str, str]) -> str:
    """The study as a page of Markdown.

    Args:
        content: the study.
        rows: one a cell.
        facts: what else to say, by name: command, data, time …
    """
    lines = [f"# {content['title']}", "", f"**Claim** ({content['source']}): {content['claim'].strip()}", ""]
    for comparison, verdict, text in judged(content, rows):
        paper = f" In the paper: {comparison['paper']}." if comparison.get("paper") else ""
        lines.append(f"- *{comparison['says']}* **{verdict.outcome}**: {text} (n = {verdict.estimate.n}).{paper}")
    lines += ["", f"In short: {in_short(content, rows)}."]
    lines += ["", "![](figure.png)", "", *table(summary(content, rows)), ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    ended = [row for row in rows if row["status"] not in ("finished", "new", "running", "interrupted")]
    lines += [f"- {row['cell']} {row['status']}: {str(row['reason']).partition(' (')[0]}" for row in ended]
    return "\n".join(lines) + "\n"


def table(lines: Sequence[Mapping[str, str]]) -> list[str]:
    """Lines as a Markdown table."""
    if not lines:
        return []
    columns = list(dict.fromkeys(key for line in lines for key in line))
    head = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return head + [f"| {' | '.join(line.get(column, '') for column in columns)} |" for line in lines]
