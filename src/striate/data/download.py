"""Getting a file over the network: with a time-out, retries, a checksum, and never half a file under its name."""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from striate.errors import DataError
from striate.storage import atomic_file

BLOCK = 1 << 16


def download(
    urls: Sequence[str],
    path: Path,
    check: Callable[[Path], str | None],
    *,
    timeout: float = 20.0,
    deadline: float = 900.0,
    attempts: int = 3,
    pause: float = 1.0,
    max_bytes: int = 1 << 30,
) -> None:
    """Downloads a file from the first address that gives the right one.

    Args:
        urls: addresses of the same file, tried in turn.
        path: where to; it appears there only when it is whole and right.
        check: says what is wrong with a downloaded file, or None.
        timeout: seconds without a byte after which an attempt ends.
        deadline: seconds that one attempt may take as a whole.
        attempts: how often all addresses are tried.
        pause: seconds before the second attempt; doubled for each further one.
        max_bytes: more than that is refused.

    Raises:
        DataError: no address gave the right file; the message has the reason of the last one.
    """
    reason = "no address is given"
    for attempt in range(attempts):
        for url in urls:
            try:
                with atomic_file(path) as stream:
                    _receive(url, stream, timeout, deadline, max_bytes)
                    stream.flush()
                    if (fault := check(Path(stream.name))) is not None:
                        raise _Refused(fault)
                return
            except (_Refused, HTTPException, OSError) as error:  # URLError and time-outs are OSErrors
                detail = getattr(error, "reason", None) or error
                reason = f"{url}: {str(detail) or type(error).__name__}"
        if attempt + 1 < attempts:
            time.sleep(pause * 2**attempt)
    raise DataError(
        f"cannot download {path.name}: {reason} ({attempts} attempts)", do=f"put the file into {path.parent} yourself"
    )


class _Refused(Exception):
    """The server gave something else than what is wanted."""


def _receive(url: str, stream, timeout: float, deadline: float, max_bytes: int) -> None:
    end = time.monotonic() + deadline
    request = urllib.request.Request(url, headers={"User-Agent": "striate"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        announced = response.headers.get("Content-Length")
        received = 0
        while block := response.read1(BLOCK):
            received += len(block)
            if received > max_bytes:
                raise _Refused(f"larger than {max_bytes:,} bytes")
            if time.monotonic() > end:
                raise _Refused(f"not finished after {deadline:g} s")
            stream.write(block)
    if announced is not None and received != int(announced):
        raise _Refused(f"cut off after {received:,} of {int(announced):,} bytes")


def writable_folder(folder: Path) -> Path:
    """Makes a folder to download into.

    Raises:
        DataError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make {folder}: {error.strerror}", do="data.root=FOLDER of your own") from error
    if not os.access(folder, os.W_OK):
        raise DataError(f"cannot write into {folder}", do="data.root=FOLDER of your own")
    return folder


def remove_if_empty(folder: Path) -> None:
    """Takes back the folder of a download that brought nothing."""
    with suppress(OSError):
        folder.rmdir()
