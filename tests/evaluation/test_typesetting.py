"""Tables on the terminal, in Markdown, in LaTeX and in CSV."""

import csv
import io

import pytest
from rich.console import Console

from striate.evaluation.typesetting import Column, Sheet, latex, replace_between

COLUMNS = (Column("name", "name"), Column("size", "size, %", True), Column("share", "share", True, "{:.1f}".format))
SHEET = Sheet(
    "A & B", COLUMNS, [{"name": "a|b_1", "size": 12345, "share": 0.25}, {"name": "=cmd()"}], {"name": "sum", "size": 7}
)


def test_markdown():
    assert SHEET.markdown().splitlines() == [
        "| name | size, % | share |",
        "| --- | ---: | ---: |",
        "| a\\|b_1 | 12,345 | 0.2 |",
        "| =cmd() |  |  |",
        "| **sum** | **7** |  |",
    ]


def test_latex():
    lines = SHEET.latex().splitlines()
    assert lines[1:4] == [r"\begin{longtable}{lrr}", r"\caption{A \& B} \\", r"\toprule"]
    assert r"name & size, \% & share \\" in lines
    assert r"a|b\_1 & 12,345 & 0.2 \\" in lines
    assert lines[-3:] == [r"sum & 7 &  \\", r"\bottomrule", r"\end{longtable}"]
    assert latex(r"3×3 {x} ~ ^ \ 50 % #1 $") == (
        r"3$\times$3 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} 50 \% \#1 \$"
    )


def test_files_hold_the_same_rows(tmp_path):
    files = SHEET.write(tmp_path / "new", "table", notes=["All of it: 100 %."])
    assert [file.name for file in files] == ["table.csv", "table.md", "table.tex"]
    with files[0].open() as file:
        assert list(csv.DictReader(file)) == [
            {"name": "a|b_1", "size": "12345", "share": "0.25"},
            {"name": "'=cmd()", "size": "", "share": ""},
            {"name": "sum", "size": "7", "share": ""},
        ]
    assert files[1].read_text().startswith("# A & B\n\n| name |")
    assert files[1].read_text().endswith("\n\nAll of it: 100 %.\n")
    assert files[2].read_text().endswith("\\end{longtable}\n\nAll of it: 100 \\%.\n")


def test_terminal():
    stream = io.StringIO()
    Console(file=stream, width=80).print(SHEET.rich())
    text = stream.getvalue()
    assert all(word in text for word in ("A & B", "a|b_1", "12,345", "sum"))


def test_a_narrow_terminal_goes_without_what_can_be_spared():
    columns = (Column("name", "name"), Column("size", "size", True, spare=1), Column("share", "share", True, spare=2))
    sheet = Sheet("A", columns, [{"name": "a" * 10, "size": 1234567890, "share": "0.123456789"}])

    def shown(width: int) -> str:
        stream = io.StringIO()
        Console(file=stream, width=width).print(sheet.rich(width))
        return stream.getvalue()

    assert "0.123456789" in shown(60)
    assert "too narrow" not in shown(60)
    assert "0.123456789" not in shown(40)
    assert "too narrow for: share" in shown(40)
    assert "1,234,567,890" in shown(40)
    assert "1,234,567,890" not in shown(20)


def test_between_marks():
    text = "before\n<!-- x -->\nold\n<!-- /x -->\nafter\n"
    assert replace_between(text, "x", "new\n") == "before\n<!-- x -->\nnew\n<!-- /x -->\nafter\n"
    assert replace_between(replace_between(text, "x", "new\n"), "x", "old\n") == text
    for broken in ("nothing", "<!-- /x --> <!-- x -->", "<!-- x --> <!-- x --> <!-- /x -->"):
        with pytest.raises(ValueError, match="expected one <!-- x -->"):
            replace_between(broken, "x", "")
