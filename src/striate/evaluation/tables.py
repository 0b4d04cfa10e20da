"""Tables as CSV files that are safe to open in a spreadsheet and to show in a page."""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from striate.storage import atomic_file

_FORMULA = re.compile(r"^\s*[=+\-@\t\r]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def cell(value: Any) -> str:
    """A value as the text of a cell.

    Numbers keep their full precision; NaN and None are empty. A text that a spreadsheet would take for a formula (a
    class may be called `=cmd()`) gets an apostrophe in front, and control characters are written as escapes, so that
    each row is one line.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return repr(float(value))  # NumPy's own float64 is one, but shows itself otherwise
    text = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(value))
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def without_markup(text: str) -> str:
    """A name for tables that `dvc plots` puts into a page as they are: its angle brackets become others."""
    return text.translate({ord("<"): "‹", ord(">"): "›"})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows under these columns, as a whole or not at all; what a row lacks stays empty.

    Raises:
        StorageError: the file cannot be written.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    with atomic_file(path) as file:
        # A file name need not be valid UTF-8.
        file.write(stream.getvalue().encode("utf-8", "backslashreplace"))
