"""Archives read member by member, without unpacking and without trust.

Nothing is written, so a hostile name can do no harm on the disk; it is refused all the same, since such an archive is
not what its maker says. Limits are checked at each header, before what it announces is decompressed.
"""

import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from striate.data.pictures import MAX_FILE_BYTES
from striate.data.sources.base import Content, OneContent, Unreadable, printable, too_large
from striate.errors import DataError

ARCHIVE_NAME = re.compile(r"\.(tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz|zip)$", re.IGNORECASE)
SMALL = 256 << 20  # up to here no ratio of compression is suspicious: flat pictures compress well

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError, NotImplementedError)


@dataclass(frozen=True)
class Limits:
    """What an archive may hold: members, bytes of all members, and times the size of the archive itself."""

    members: int = 500_000
    total_bytes: int = 200 << 30
    ratio: float = 200.0


class Member(NamedTuple):
    """A file or folder in an archive; `name` has no leading "./", `key` finds it again."""

    name: str
    is_folder: bool
    size: int
    key: Any


class _Checker:
    """Refuses, header by header, what no honest archive of pictures holds."""

    def __init__(self, path: Path, limits: Limits):
        self.path, self.limits = path, limits
        self.archive_bytes = path.stat().st_size
        self.names: set[str] = set()
        self.total = 0

    def refuse(self, reason: str) -> NoReturn:
        raise DataError(f"{self.path} is refused: {reason}", do="unpack it yourself where you trust it, or repack it")

    def member(self, name: str, size: int) -> str:
        """The cleaned name of a member that passes."""
        parts = [part for part in printable(name).split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or (parts and re.fullmatch(r"[A-Za-z]:", parts[0])):
            self.refuse(f"the member {printable(name)!r} leads outside of it")
        clean = "/".join(parts)
        if clean in self.names:
            self.refuse(f"it holds {clean!r} twice")
        self.names.add(clean)
        self.total += size
        if len(self.names) > self.limits.members:
            self.refuse(f"more than {self.limits.members:,} members (data.source.max_members)")
        if self.total > self.limits.total_bytes:
            self.refuse(f"more than {self.limits.total_bytes:,} bytes when unpacked (data.source.max_bytes)")
        if self.total > max(SMALL, self.limits.ratio * self.archive_bytes):
            self.refuse(f"it unpacks to more than {self.limits.ratio:g} times its size (data.source.max_ratio)")
        return clean


_USUAL_HEADER = re.compile(  # of a regular file, from its mode on
    rb"(?:[0-7]{7}\0){3}([0-7]{11})\0[0-7]{11}\0([0-7]{6})\0 0\0{100}ustar(?:\x0000|  \0)"
    rb".{64}(?:[0-7]{7}\0|\0{8}){2}\0.{166}",
    re.DOTALL,
)


class _TarMember(tarfile.TarInfo):
    """A header whose extensions are small: the standard library would read a name of gigabytes into memory."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_TarMember":
        # The standard library reads 16 fields of each header, which for small pictures takes longer than decoding them.
        usual = _USUAL_HEADER.fullmatch(buf, 100)
        if usual is None or int(usual[2], 8) != sum(buf) - sum(buf[148:156]) + 8 * ord(" "):
            return super().frombuf(buf, encoding, errors)
        info = cls(buf[:100].split(b"\0", 1)[0].decode(encoding, errors))
        info.size = int(usual[1], 8)
        return info

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        extensions = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
                      tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)  # fmt: skip
        if self.type in extensions and self.size > 1 << 20:
            raise tarfile.ReadError(f"a header extension of {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


def list_members(path: Path, limits: Limits) -> list[Member]:
    """The files and folders of an archive, in its order.

    Raises:
        DataError: it is damaged, or holds links, devices, names that lead outside, names twice, or too much.
    """
    return _guarded(path, lambda: _list_zip(path, limits) if _is_zip(path) else _list_tar(path, limits))


def read_members(path: Path, members: Sequence[Member]) -> Iterator[Content]:
    """The contents of some members, given in the archive's order.

    Raises:
        DataError: the archive as a whole cannot be read on.
    """
    if _is_zip(path) or _is_plain(path):
        with open_members(path) as read:
            yield from map(read, members)
        return
    reading = _read_compressed_tar(path, members)
    while True:
        content = _guarded(path, lambda: next(reading, None))
        if content is None:
            return
        yield content


def _guarded(path: Path, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} cannot be read: {reason}", do="get the archive anew and compare its checksum"
        ) from error


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _is_plain(path: Path) -> bool:
    with open(path, "rb") as stream:
        return not stream.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ"))


def _open_tar(path: Path) -> tarfile.TarFile:
    # A compressed archive is read as a stream: seeking back in it would decompress it from the start each time.
    return tarfile.open(path, "r:" if _is_plain(path) else "r|*", tarinfo=_TarMember, ignore_zeros=False)


def _list_tar(path: Path, limits: Limits) -> list[Member]:
    checker, members = _Checker(path, limits), []
    with _open_tar(path) as tar:
        for info in tar:
            name = checker.member(info.name, info.size)
            if not (info.isdir() or info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)):
                kind = "link" if info.issym() or info.islnk() else "special file"
                checker.refuse(f"the member {name!r} is a {kind}")
            if info.sparse:
                checker.refuse(f"the member {name!r} is a sparse file")
            members.append(Member(name, info.isdir(), info.size, info.offset_data))
            # The list that tarfile keeps would grow with the archive.
            tar.members = []  # type: ignore[attr-defined]
        end = tar.offset
    if _is_plain(path) and checker.archive_bytes <= end:
        # tarfile takes an archive that was cut between two members for a whole one.
        raise tarfile.ReadError("it is cut off: the mark of its end is missing")
    return members


@contextmanager
def open_members(path: Path) -> Iterator[Callable[[Member], OneContent]]:
    """Opens a plain .tar or a .zip for reading members in any order.

    Yields:
        What gives the content of a member.

    Raises:
        DataError: the archive as a whole cannot be read.
    """
    read = _zip_reader if _is_zip(path) else _tar_reader
    with ExitStack() as stack:
        reader = _guarded(path, lambda: stack.enter_context(read(path)))
        yield lambda member: _guarded(path, lambda: reader(member))


@contextmanager
def _tar_reader(path: Path) -> Iterator[Callable[[Member], OneContent]]:
    def read(member: Member) -> OneContent:
        if member.size > MAX_FILE_BYTES:
            return too_large(member.size)
        content = os.pread(stream.fileno(), member.size, member.key)
        return content if len(content) == member.size else Unreadable("the archive is cut off here")

    with open(path, "rb") as stream:
        yield read


@contextmanager
def _zip_reader(path: Path) -> Iterator[Callable[[Member], OneContent]]:
    def read(member: Member) -> OneContent:
        if member.size > MAX_FILE_BYTES:
            return too_large(member.size)
        try:
            return archive.read(member.key)
        except (zipfile.BadZipFile, zlib.error, EOFError, LZMAError) as error:
            return Unreadable(f"damaged in the archive: {' '.join(str(error).split())}")

    with zipfile.ZipFile(path) as archive:
        yield read


def _read_compressed_tar(path: Path, members: Sequence[Member]) -> Iterator[Content]:
    wanted = iter(members)
    member = next(wanted, None)
    with _open_tar(path) as tar:
        for info in tar:
            tar.members = []  # type: ignore[attr-defined]
            if member is None:
                return
            if info.offset_data != member.key:
                continue
            if member.size > MAX_FILE_BYTES:
                yield too_large(member.size)
            else:
                stream = tar.extractfile(info)
                assert stream is not None
                yield stream.read()
            member = next(wanted, None)


def _list_zip(path: Path, limits: Limits) -> list[Member]:
    checker, members = _Checker(path, limits), []
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            # Archives made on Windows may hold backslashes where the format wants slashes.
            name = checker.member(info.filename.replace("\\", "/"), info.file_size)
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                checker.refuse(f"the member {name!r} is a {'link' if stat.S_ISLNK(mode) else 'special file'}")
            if info.flag_bits & 1:
                checker.refuse(f"the member {name!r} is encrypted")
            members.append(Member(name, info.is_dir(), info.file_size, info))
    return members
