"""A prepared set appears as a whole or not at all, and one process at a time makes it."""

import fcntl
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from striate.storage import storage_errors, sync_directory


@contextmanager
def sole_maker(destination: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Waits until no other process makes this set, and cleans up after those that were killed while they did.

    The lock is the operating system's and ends with its process: none can be left behind.
    """
    with storage_errors(destination.parent):
        destination.parent.mkdir(parents=True, exist_ok=True)
        lock = beside(destination, "lock").open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{destination.name} is being prepared by another process: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _clean_up(destination)
        yield


def beside(destination: Path, what: str) -> Path:
    """A hidden file beside a prepared set."""
    return destination.with_name(f".{destination.name}.{what}")


@contextmanager
def built_aside(destination: Path) -> Iterator[Path]:
    """A folder that takes the place of `destination` when the block ends well, and vanishes when it does not.

    Raises:
        StorageError: no space or no permission.
    """
    partial = destination.with_name(f"{destination.name}.partial-{os.getpid()}")
    with storage_errors(partial):
        try:
            partial.mkdir(parents=True)
            yield partial
            _publish(partial, destination)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _publish(partial: Path, destination: Path) -> None:
    for path in partial.iterdir():
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
    sync_directory(partial)
    old = destination.with_name(f"{destination.name}.old-{os.getpid()}")
    if destination.exists():
        os.rename(destination, old)
    os.rename(partial, destination)
    sync_directory(destination.parent)
    shutil.rmtree(old, ignore_errors=True)


def _clean_up(destination: Path) -> None:
    # Whoever holds the lock is the only maker, so what others left unfinished is nobody's.
    pattern = glob.escape(str(destination))
    for old in glob.glob(f"{pattern}.old-*"):
        if destination.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:  # killed between the two renames: the set that was there before is whole
            os.rename(old, destination)
    for partial in glob.glob(f"{pattern}.partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
