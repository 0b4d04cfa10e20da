"""Hostile and broken archives: refused by name, with nothing written anywhere."""

import gzip
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile

import pytest

from striate.data.sources import archives
from striate.data.sources.archives import Limits, list_members, read_members
from striate.data.sources.base import Unreadable
from striate.errors import DataError


def tar_of(path, *members, mode="w"):
    """Writes a tar of (name, content or TarInfo type, target)."""
    with tarfile.open(path, mode) as archive:
        for name, content, *target in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes) and len(content) != 1:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type = content
                info.linkname = target[0] if target else ""
                archive.addfile(info)
    return path


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, *mode in members:
            info = zipfile.ZipInfo(name)
            if mode:
                info.external_attr = mode[0] << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


GOOD = ("cat/1.png", b"good content")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (("../out.png", b"evil"), "leads outside"),
        (("cat/../../out.png", b"evil"), "leads outside"),
        (("/etc/out.png", b"evil"), "leads outside"),
        (("C:/out.png", b"evil"), "leads outside"),
        (("cat/link.png", tarfile.SYMTYPE, "/etc/passwd"), "'cat/link.png' is a link"),
        (("cat/hard.png", tarfile.LNKTYPE, "cat/1.png"), "'cat/hard.png' is a link"),
        (("cat/device.png", tarfile.CHRTYPE), "special file"),
        (("cat/block.png", tarfile.BLKTYPE), "special file"),
        (("cat/pipe.png", tarfile.FIFOTYPE), "special file"),
        (("cat/1.png", b"other"), "holds 'cat/1.png' twice"),
        (("./cat//1.png", b"other"), "holds 'cat/1.png' twice"),
    ],
)
def test_hostile_tars_are_refused(member, reason, mode, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = tar_of(tmp_path / "x.tar", GOOD, member, mode=mode)
    with pytest.raises(DataError, match=reason) as caught:
        list_members(path, Limits())
    assert len(str(caught.value).splitlines()) <= 3
    assert os.listdir(tmp_path) == ["work", "x.tar"] or sorted(os.listdir(tmp_path)) == ["work", "x.tar"]
    assert os.listdir(tmp_path / "work") == []


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (("../out.png", b"evil"), "leads outside"),
        (("..\\out.png", b"evil"), "leads outside"),
        (("/etc/out.png", b"evil"), "leads outside"),
        (("cat/link.png", b"/etc/passwd", stat.S_IFLNK | 0o777), "is a link"),
        (("cat/pipe.png", b"", stat.S_IFIFO), "special file"),
    ],
)
def test_hostile_zips_are_refused(member, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        list_members(zip_of(tmp_path / "x.zip", GOOD, member), Limits())


def test_an_encrypted_zip_is_refused(tmp_path):
    path = zip_of(tmp_path / "x.zip", GOOD)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        list_members(path, Limits())


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_limits(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 1000)
    members = [(f"cat/{i}.png", bytes(3000)) for i in range(10)]
    path = tmp_path / f"x.{kind}"
    zip_of(path, *members) if kind == "zip" else tar_of(path, *members, mode="w:gz" if kind == "tar.gz" else "w")
    assert len(list_members(path, Limits(ratio=10_000))) == 10
    with pytest.raises(DataError, match=r"more than 9 members \(data.source.max_members\)"):
        list_members(path, Limits(members=9, ratio=10_000))
    with pytest.raises(DataError, match=r"more than 29,000 bytes when unpacked"):
        list_members(path, Limits(total_bytes=29_000, ratio=10_000))
    if kind != "tar":
        with pytest.raises(DataError, match="more than 8 times its size"):
            list_members(path, Limits(ratio=8))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    # 20 GB of zeros announced by one header: the header is enough.
    info = tarfile.TarInfo("cat/1.png")
    info.size = 20 << 30
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(info.tobuf())
        stream.write(bytes(1 << 20))
    with pytest.raises(DataError, match="more than 200 times its size"):
        list_members(path, Limits())


def test_a_giant_name_is_not_read_into_memory(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 200 << 20
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(info.tobuf())
        for _ in range(200):
            stream.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match="header extension"):
        list_members(path, Limits())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_cut_archives_are_refused(kind, share, tmp_path):
    members = [(f"cat/{i}.png", os.urandom(3000)) for i in range(10)]
    path = tmp_path / f"x.{kind}"
    zip_of(path, *members) if kind == "zip" else tar_of(path, *members, mode="w:gz" if kind == "tar.gz" else "w")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match="cannot be read"):
        list(read_members(path, list_members(path, Limits())))


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_large_members_are_told_not_read(kind, tmp_path, monkeypatch):
    members = [("cat/1.png", b"small"), ("cat/2.png", bytes(2000)), ("cat/3.png", b"small too")]
    path = tmp_path / f"x.{kind}"
    zip_of(path, *members) if kind == "zip" else tar_of(path, *members, mode="w:gz" if kind == "tar.gz" else "w")
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1000)
    found = list(read_members(path, list_members(path, Limits())))
    assert found[0] == b"small"
    assert isinstance(found[1], Unreadable)
    assert found[2] == b"small too"
    # Not all members need be wanted.
    some = [member for member in list_members(path, Limits()) if "3" in member.name]
    assert list(read_members(path, some)) == [b"small too"]


def test_a_damaged_zip_member_is_told(tmp_path):
    path = zip_of(tmp_path / "x.zip", ("cat/1.png", os.urandom(500)), ("cat/2.png", b"sound content"))
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    found = list(read_members(path, list_members(path, Limits())))
    assert isinstance(found[0], Unreadable)
    assert found[1] == b"sound content"


def test_backslashes_of_windows_zips_are_slashes(tmp_path):
    path = tmp_path / "x.zip"
    zip_of(path, ("train/cat/1.png", b"x"))
    path.write_bytes(path.read_bytes().replace(b"train/cat/1.png", b"train\\cat\\1.png"))
    assert [member.name for member in list_members(path, Limits())] == ["train/cat/1.png"]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_usual_and_rare_headers_give_what_the_standard_library_reads(tmp_path, format):
    """Short and long names, letters of two bytes, old and odd fields: some go the quick way, some do not."""
    names = ["a.png", "x" * 100, "y" * 90 + "/" + "z" * 60, "n" * 60 + "/é.png", "plain/b.png"]
    with tarfile.open(tmp_path / "x.tar", "w", format=format) as archive:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid, info.uname = number * 700, number * 1e5, number, "ü" * number
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    with tarfile.open(tmp_path / "x.tar") as archive:
        expected = [(info.name, info.size, info.offset_data) for info in archive]
    found = list_members(tmp_path / "x.tar", Limits())
    assert [(member.name, member.size, member.key) for member in found] == expected


def test_a_header_that_fails_its_checksum_is_refused(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("cat/a.png"))
    content = bytearray(path.read_bytes())
    content[0] ^= 1  # another name
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        list_members(path, Limits())
