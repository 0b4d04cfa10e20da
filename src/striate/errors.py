"""What goes wrong on a person's side, as one short message and one exit code each.

A fault of the program itself is an ordinary exception: it keeps its traceback and exits with 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


def nearest(word: object, choices: Iterable[object]) -> str | None:
    """The choice that looks most like `word`, or None when none does."""
    by_lower = {str(choice).lower(): str(choice) for choice in choices}
    found = get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


class StriateError(Exception):
    """A mistake with a message of at most three lines.

    Args:
        what: what is wrong and where, one line.
        nearest: the nearest valid choice, if there is one.
        do: what the person can do about it, one line.
    """

    exit_code = 1

    def __init__(self, what: str, *, nearest: str | None = None, do: str | None = None):
        super().__init__(what)
        self.what, self.nearest, self.do = what, nearest, do

    def __str__(self) -> str:
        lines = [self.what]
        if self.nearest is not None:
            lines.append(f"nearest valid choice: {self.nearest}")
        if self.do is not None:
            lines.append(f"what to do: {self.do}")
        return "\n".join(lines)


class ConfigurationError(StriateError):
    """A word, a type or a range in the configuration that is not valid."""

    exit_code = 2


class DataError(StriateError):
    """Data that are missing, broken or not what the configuration says."""

    exit_code = 3


class DivergedError(StriateError):
    """Training that left the finite numbers."""

    exit_code = 4


class StorageError(StriateError):
    """No space, no permission, a path of the wrong kind, a file that fails its checksum."""

    exit_code = 5


class PrunedRun(StriateError):
    """A trial that its study has given up, since others were better at the same epoch."""

    exit_code = 6


class CheckError(StriateError):
    """A check of data, network or training that failed."""

    exit_code = 7


class InterruptedRun(StriateError):
    """A run that was told to stop, saved itself and can go on; 143 for SIGTERM, 130 for Ctrl-C."""

    def __init__(self, what: str, *, exit_code: int, do: str | None = None):
        super().__init__(what, do=do)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Args:
        state: finished, interrupted, pruned, diverged or failed.
        exit_code: of the process.
        reason: in one line, where it did not finish.
    """

    state: str
    exit_code: int
    reason: str = ""


def ending_of(error: BaseException) -> Ending:
    """How a run ended that an exception ended."""
    if isinstance(error, InterruptedRun):
        return Ending("interrupted", error.exit_code, error.what)
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return Ending("interrupted", 130)
    if not isinstance(error, StriateError):
        return Ending("failed", 1, " ".join(f"{type(error).__name__}: {error}".split()))
    states: dict[type, str] = {DivergedError: "diverged", PrunedRun: "pruned"}
    return Ending(states.get(type(error), "failed"), error.exit_code, " ".join(error.what.split()))
