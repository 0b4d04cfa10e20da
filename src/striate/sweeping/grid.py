"""A grid as a plan: its cells one after another, each once, whoever computes it."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from striate import runs
from striate.sweeping.ledger import SETTLED, Ledger, Trial

# A run is named by what lies there, whatever the place; a cell has its name before anything is read.
PLACES = ("data.root", "data.prepared_dir", "data.source", "init.path")


def digest_of(config: Mapping[str, Any]) -> str:
    """The name of what a resolved configuration computes from the places that it names, whatever the code."""
    named = tuple(f"{key}." for key in PLACES)
    places = {key: _absolute(value) for key, value in runs.flatten(config) if f"{key}.".startswith(named)}
    content = json.dumps([runs.with_effect(config), places], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def _absolute(value: Any) -> Any:
    """A path that exists, wherever it is typed; another value as it is."""
    path = Path(value).expanduser() if isinstance(value, str) else None
    return str(path.resolve()) if path is not None and path.exists() else value


@dataclass(frozen=True)
class GridPlan:
    """The cells of a grid.

    Args:
        cells: records that have not begun.
        since: when the command was given, in seconds since 1970: what failed before that is tried again.
        afresh: whether what was done before counts for nothing (`resume=never`).
        code: hash of the source code; what another sweep has done counts if it was done by the same.
        hashes: of the data and first weights that a cell would meet, by its key: likewise, and without them not.
    """

    cells: tuple[Trial, ...]
    since: float
    afresh: bool
    code: str
    hashes: Mapping[str, Mapping[str, str]]

    def take(self, ledger: Ledger) -> tuple[Trial, runs.Run] | None:
        """The next cell that nobody has done and nobody is at, held for this process; None when there is none."""
        for cell in self.cells:
            if self.is_done(ledger.read(cell.key)):
                continue
            held = ledger.hold(cell.key)
            if held is None:
                continue
            if self.is_done(ledger.read(cell.key)):  # in the meantime
                held.release()
                continue
            if not self.afresh and (before := self._done_elsewhere(ledger.folder, cell)) is not None:
                ledger.write(before)
                held.release()
                continue
            if self.afresh and (known := ledger.read(cell.key)) is not None and known.started < self.since:
                ledger.forget(cell.key)
            return replace(cell, started=time.time()), held
        return None

    def is_done(self, known: Trial | None) -> bool:
        """Whether a record needs nothing more."""
        if known is None or known.status not in (*SETTLED, "failed"):
            return False
        return known.ended >= self.since or (known.status in SETTLED and not self.afresh)

    def begin(self, ledger: Ledger, trial: Trial) -> dict[str, str]:
        """What the trial finds in its environment: nothing."""
        return {}

    def conclude(self, ledger: Ledger, trial: Trial) -> None:
        """Nothing beyond the record."""

    def _done_elsewhere(self, folder: Path, cell: Trial) -> Trial | None:
        """The record of a trial of another sweep that computed the same of the same, as one of this."""
        wanted = self.hashes.get(cell.key)
        for name, known, hashes in elsewhere(folder, cell, self.code) if wanted is not None else ():
            if all(hashes.get(what) == value for what, value in (wanted or {}).items()):
                now = time.time()
                return replace(
                    cell, status="finished", value=known.value, metric=known.metric, run_dir=known.run_dir, code=0,
                    started=now, ended=now, found_in=name,
                )  # fmt: skip
        return None


def elsewhere(folder: Path, cell: Trial, code: str) -> Iterator[tuple[str, Trial, Mapping[str, str]]]:
    """Finished trials of other sweeps under the same words and code: sweep, record, and the hashes of its run."""
    for other in sorted(folder.parent.glob(f"*/trials/{cell.key}")):
        known = Ledger(other.parents[1]).read(cell.key)
        if other.parents[1] == folder or known is None or known.status != "finished" or known.run_dir is None:
            continue
        hashes = (runs.read(Path(known.run_dir)) or {}).get("hashes", {})
        if known.digest == cell.digest and hashes.get("code") == code:
            yield other.parents[1].name, known, hashes


def cells_of(words: Sequence[tuple[Mapping[str, str], Sequence[str]]], digests: Sequence[str]) -> tuple[Trial, ...]:
    """The cells of a grid; combinations that compute the same are one cell.

    Args:
        words: of each combination, the values that are its own and the words that all have.
        digests: of their configurations.
    """
    cells: dict[str, Trial] = {}
    for (varied, fixed), digest in zip(words, digests, strict=True):
        cells.setdefault(digest, Trial(digest[:12], len(cells), dict(varied), list(fixed), digest))
    return tuple(cells.values())
