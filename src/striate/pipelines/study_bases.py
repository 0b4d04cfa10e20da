"""Cells that start from the weights of another cell, their base."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from striate import runs
from striate.errors import ConfigurationError
from striate.pipelines.study_cells import Cell
from striate.pipelines.study_ledger import SETTLED, status
from striate.pipelines.study_sizes import BASE
from striate.pipelines.study_words import quoted
from striate.storage import sha256_of


def outstanding(cells: Sequence[Cell], folder: Path) -> list[Cell]:
    """The cells that are to be computed.

    Those are not settled, or settled with other weights than their base has now, or a base whose weights are gone.
    Where a base is itself among them, whether its dependents are is known when it has run: they are all listed.
    """
    bases, todo = {cell.base.name for cell in cells if cell.base}, dict[str, Cell]()
    for cell in cells:
        state = status(folder / cell.name)
        if (
            state not in SETTLED
            or (cell.base is not None and (cell.base.name in todo or not fits_base(cell, folder)))
            or (cell.name in bases and state == "finished" and weights_of(folder / cell.name) is None)
        ):
            todo[cell.name] = cell
    return list(todo.values())


def words_in(cell: Cell, folder: Path) -> tuple[str, ...]:
    """The words of a cell with the run directory of its base."""
    if cell.base is None:
        return cell.words
    place = f"init.path={quoted(folder / cell.base.name)}"
    return tuple(place if word == f"init.path={BASE}" else word for word in cell.words)


def fits_base(cell: Cell, folder: Path) -> bool:
    """Whether a cell started from the weights that its finished base has now; True for a cell without a base."""
    if cell.base is None:
        return True
    started_from = (runs.read(folder / cell.name) or {}).get("hashes", {}).get("weights")
    return started_from == weights_of(folder / cell.base.name)


def weights_of(run_dir: Path) -> str | None:
    """The SHA-256 of the file that a cell which starts from this run reads; None when there is none."""
    if status(run_dir) != "finished":
        return None
    with suppress(ConfigurationError):
        return sha256_of(runs.resolve_checkpoint(str(run_dir), run_dir.parent))
    return None


def settle_with_base(cell: Cell, folder: Path) -> bool:
    """Settles, where that takes no training, a cell whose base has run: one that has no weights to start from fails,
    saying so; one that was computed from the weights as they are stays.

    Returns:
        Whether nothing is left to be computed.
    """
    assert cell.base is not None
    place, base = folder / cell.name, runs.read(folder / cell.base.name) or {"status": "new"}
    if base["status"] != "finished":
        place.mkdir(parents=True, exist_ok=True)
        runs.Run(place).record("failed", reason=f"its base {cell.base.name} {base['status']}: {base.get('reason')}")
        return True
    return status(place) in SETTLED and fits_base(cell, folder)
