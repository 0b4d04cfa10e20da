"""What all predictions share: pictures that could not be read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from striate.errors import DataError
from striate.messages import say, shown

_REPORTED = 10  # unreadable pictures that are named on the screen; the table names all


def readable(rows: Sequence[Mapping[str, Any]], table: Path, pattern: str) -> int:
    """Names the pictures that could not be read; gives the number of the others.

    Args:
        rows: with name and error (None or the reason).
        table: where all of them stand.
        pattern: what was asked for.

    Raises:
        DataError: none could be read.
    """
    failed = [row for row in rows if row["error"]]
    for row in failed[:_REPORTED]:
        say(f"not read: {row['name']}: {row['error']}")
    if len(failed) > _REPORTED:
        say(f"not read: {len(failed) - _REPORTED} more, see {shown(table)}")
    if len(failed) == len(rows):
        raise DataError(
            f"none of the {len(rows)} pictures of input={pattern} could be read",
            do=f"see the column error of {shown(table)}",
        )
    return len(rows) - len(failed)
