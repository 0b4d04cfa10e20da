"""Tables for people: on the terminal, in Markdown and in LaTeX, from the same columns and rows as their CSV."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from striate.evaluation.tables import write_csv
from striate.storage import atomic_file

Row = Mapping[str, Any]
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"×": r"$\times$", "·": r"$\cdot$", "−": "$-$", "…": r"\dots{}", "–": "--", "✓": r"$\surd$", "✗": r"$\neq$"},
    **{"≈": r"$\approx$", "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$", "α": r"$\alpha$"},
}


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        key: of the rows, and the name in CSV.
        title: for people.
        numeric: set to the right.
        show: a value as text; by default thousands get commas, None is empty.
        spare: above 0 where a narrow terminal may go without it, the highest first.
    """

    key: str
    title: str
    numeric: bool = False
    show: Callable[[Any], str] | None = None
    spare: int = 0

    def text(self, row: Row) -> str:
        value = row.get(self.key)
        if value is None:
            return ""
        if self.show is not None:
            return self.show(value)
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        title: one line.
        columns: in order.
        rows: by column key.
        total: the last row, set off from the others.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    total: Row | None = None

    def rich(self, width: int | None = None) -> Table:
        """For the terminal; where it is narrower than the table, without columns that can be spared, and saying so."""
        columns, left_out = list(self.columns), []
        while width is not None and self._width(columns) > width and any(column.spare for column in columns):
            left_out.append(max(columns, key=lambda column: column.spare))
            columns.remove(left_out[-1])
        names = ", ".join(column.title for column in self.columns if column in left_out)
        table = Table(
            title=self.title, title_justify="left", title_style="bold", show_footer=self.total is not None,
            caption=f"too narrow for: {names}" if names else None, caption_justify="left",
        )  # fmt: skip
        for column in columns:
            footer = column.text(self.total) if self.total is not None else ""
            justify: Literal["left", "right"] = "right" if column.numeric else "left"
            table.add_column(column.title, footer, justify=justify, overflow="fold", no_wrap=column.numeric)
        for row in self.rows:
            table.add_row(*(column.text(row) for column in columns))
        return table

    def _width(self, columns: Sequence[Column]) -> int:
        """Characters that a line needs on the terminal, long texts being folded."""
        rows = [*self.rows, *([] if self.total is None else [self.total])]
        longest = [max([len(column.title), *(len(column.text(row)) for row in rows)]) for column in columns]
        needed = [size if column.numeric else min(size, 28) for column, size in zip(columns, longest, strict=True)]
        return sum(needed) + 3 * len(columns) + 1

    def markdown(self) -> str:
        """A table of GitHub's Markdown, without its title."""
        lines = [
            [column.title for column in self.columns],
            ["---:" if column.numeric else "---" for column in self.columns],
            *([column.text(row) for column in self.columns] for row in self.rows),
        ]
        if self.total is not None:
            lines.append([f"**{text}**" if (text := column.text(self.total)) else "" for column in self.columns])
        return "".join(f"| {' | '.join(_cell(text) for text in line)} |\n" for line in lines)

    def latex(self) -> str:
        """A `longtable` with the rules of `booktabs`."""
        layout = "".join("r" if column.numeric else "l" for column in self.columns)
        head = [r"% needs \usepackage{booktabs,longtable}", rf"\begin{{longtable}}{{{layout}}}"]
        head += [rf"\caption{{{latex(self.title)}}} \\", r"\toprule", _latex_row(c.title for c in self.columns)]
        body = [_latex_row(column.text(row) for column in self.columns) for row in self.rows]
        total = [] if self.total is None else [r"\midrule", _latex_row(c.text(self.total) for c in self.columns)]
        end = [r"\bottomrule", r"\end{longtable}"]
        return "\n".join([*head, r"\midrule", r"\endhead", *body, *total, *end, ""])

    def write(self, folder: Path, name: str, *, notes: Sequence[str] = ()) -> list[Path]:
        """Writes NAME.csv, NAME.md and NAME.tex.

        Args:
            folder: made where it is missing.
            name: without ending.
            notes: paragraphs below the table, in Markdown and LaTeX; the CSV holds figures alone.

        Raises:
            StorageError: a file cannot be written.
        """
        everything = [*self.rows, *([] if self.total is None else [self.total])]
        write_csv(folder / f"{name}.csv", [column.key for column in self.columns], everything)
        text = f"# {self.title}\n\n{self.markdown()}" + "".join(f"\n{note}\n" for note in notes)
        source = self.latex() + "".join(f"\n{latex(note)}\n" for note in notes)
        for path, content in ((folder / f"{name}.md", text), (folder / f"{name}.tex", source)):
            with atomic_file(path, "w") as file:
                file.write(content)
        return [folder / f"{name}.{ending}" for ending in ("csv", "md", "tex")]


def wide_console() -> Console:
    """The terminal as it is; where there is none (a file, a pipe), lines of 180 characters."""
    console = Console()
    return console if console.is_terminal else Console(width=180)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _latex_row(texts: Iterable[str]) -> str:
    return " & ".join(map(latex, texts)) + r" \\"


def latex(text: str) -> str:
    """A text as LaTeX source."""
    return re.sub("|".join(map(re.escape, _LATEX)), lambda match: _LATEX[match[0]], text)


def replace_between(text: str, marker: str, content: str) -> str:
    """Puts `content` between `<!-- MARKER -->` and `<!-- /MARKER -->`.

    Raises:
        ValueError: the text has not exactly one such pair.
    """
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
        raise ValueError(f"expected one {begin} and, behind it, one {end}")
    return text[: text.index(begin) + len(begin)] + f"\n{content}" + text[text.index(end) :]
