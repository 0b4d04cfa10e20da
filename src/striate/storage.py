"""Durable files: written aside in the same directory, synced, renamed, told from broken ones by a checksum."""

import errno
import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from striate.errors import StorageError

CHECKSUM_SUFFIX = ".sha256"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals to write into one line that names the path."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "no space left",
            errno.EDQUOT: "disk quota exceeded",
            errno.EFBIG: "the file would be larger than allowed",
            errno.EACCES: "permission denied",
            errno.EPERM: "not permitted",
            errno.EROFS: "the file system is read-only",
            errno.ENOTDIR: f"{'it' if path.is_file() else 'a parent of it'} is a file, not a directory",
            errno.EEXIST: f"{'it' if path.is_file() else 'a parent of it'} is a file, not a directory",
            errno.EISDIR: "it is a directory",
            errno.ENOENT: "the place does not exist and cannot be made",
            errno.EIO: "input/output error",
        }
        reason = reasons.get(error.errno or 0)
        if reason is None:
            raise
        raise StorageError(
            f"cannot write {path}: {reason}",
            do="free space or name another place; what had been written before is unharmed",
        ) from error


def require_writable(folder: Path) -> None:
    """Finds out whether files could be written below a folder, which is not made: now, and not after the work.

    Raises:
        StorageError: they could not.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    with storage_errors(folder):
        TemporaryFile(dir=there).close()


@contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a file that appears under its name only when the block ends without an error.

    Raises:
        StorageError: the file cannot be written; the file that was there before stays as it was.
    """
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(
                temporary, mode, encoding=None if "b" in mode else "utf-8", newline="" if "b" not in mode else None
            ) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes a text file as a whole or not at all."""
    with atomic_file(path, "w") as stream:
        stream.write(text)


def write_json(path: Path, content: Any) -> None:
    """Writes plain data as readable JSON, as a whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def sync_directory(folder: Path) -> None:
    """Puts a directory on the disk: a rename lasts only once the directory that holds the name is there too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _HashingStream(io.RawIOBase):
    """Passes bytes on and keeps their digest, so that a file is hashed while it is written."""

    def __init__(self, stream: IO[bytes]):
        self._stream, self._digest = stream, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, chunk: Any) -> int:
        self._digest.update(chunk)
        return self._stream.write(chunk)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint and its checksum beside it (`NAME.sha256`, in the format of sha256sum).

    The checksum is in place before the checkpoint appears: a checkpoint without one was not written whole.
    """
    import torch

    with atomic_file(path) as stream:
        hashing = _HashingStream(stream)
        try:
            torch.save(content, hashing)  # type: ignore[arg-type]
        except RuntimeError as error:
            # The zip writer reports a failed write in its own words; the cause is the operating system's.
            cause = error.__context__ if isinstance(error.__context__, OSError) else OSError(errno.ENOSPC, str(error))
            raise cause from error
        write_text(Path(f"{path}{CHECKSUM_SUFFIX}"), f"{hashing.hexdigest()}  {Path(path).name}\n")


def checkpoint_fault(path: Path) -> str | None:
    """Why a checkpoint cannot be trusted: missing, without checksum, or not what the checksum says. None if sound."""
    if not path.is_file():
        return "it does not exist"
    side = Path(f"{path}{CHECKSUM_SUFFIX}")
    if not side.is_file():
        return f"its checksum file {side.name} is missing"
    expected = side.read_text(encoding="utf-8").split()
    if not expected or expected[0] != sha256_of(path):
        return f"its bytes do not match {side.name} (cut short or damaged)"
    return None


def load_checkpoint(path: Path, *, verify: bool = True) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU with `weights_only=True`: tensors and plain data, never code.

    Args:
        path: the file.
        verify: refuse a file that does not match its checksum. A file that never had one is read all the same.

    Raises:
        StorageError: missing, damaged, or holding something other than tensors and plain data.
    """
    import warnings

    import torch

    path = Path(path)
    if not path.is_file():
        raise StorageError(f"there is no checkpoint {path}", do="name a .ckpt file or a run directory")
    if verify and Path(f"{path}{CHECKSUM_SUFFIX}").is_file() and (fault := checkpoint_fault(path)):
        raise StorageError(f"the checkpoint {path} is refused: {fault}", do="use another checkpoint of the same run")
    with open(path, "rb") as stream:
        begins_like_one = stream.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle protocol, where the refusal says more
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle can raise anything in a reader of pickles
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.EIO:
            raise
        reason = (
            "it holds objects other than tensors and plain data"
            if begins_like_one and "weights_only" in str(error).lower()
            else "it is not a whole PyTorch file"
        )
        raise StorageError(
            f"the checkpoint {path} is refused: {reason}",
            do="use a checkpoint written by Striate or a plain state dict",
        ) from error
    if not isinstance(content, dict):
        raise StorageError(
            f"the checkpoint {path} is refused: it holds a {type(content).__name__}, not a dictionary",
            do="use a checkpoint written by Striate or a plain state dict",
        )
    return content
