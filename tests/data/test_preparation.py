"""From raw pictures to a pack: what comes out, what is refused, that nothing half-made stays."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.data import decoding, spooling
from striate.data.meta import Meta
from striate.data.pack import open_pack, verify_pack
from striate.data.pictures import apply_geometry, decode
from striate.data.preparation import Preparation, prepare
from striate.data.sources.folder import FolderSource
from striate.errors import ConfigurationError, DataError, StorageError

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"


def make(root, destination, *, force=False, **options):
    return prepare("set", FolderSource(str(root)), Preparation(**options), destination, progress=False, force=force)


def digests(folder):
    """File name → content of a prepared set."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def report(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


def pixels_of(folder):
    """Name → pixels, over all splits."""
    found = {}
    for split in Meta.load(folder).splits:
        pack = open_pack(folder, split)
        found |= dict(zip(pack.names, pack.read(np.arange(len(pack))), strict=True))
    return found


@pytest.fixture
def raw(tmp_path, written, class_files):
    """Two classes of twelve PNGs."""
    return written(tmp_path / "raw", class_files("cat dog", 12))


# what comes out


@pytest.mark.parametrize("pack", ["array", "encoded"])
def test_pack_and_passport_agree_with_numpy(pack, raw, tmp_path):
    meta = make(raw, tmp_path / "set", pack=pack, val_fraction=0.2, test_fraction=0.25)
    assert meta == Meta.load(tmp_path / "set") == verify_pack(tmp_path / "set")
    assert (meta.name, meta.pack, meta.classes, meta.channels) == ("set", pack, ("cat", "dog"), 3)
    assert meta.counts == {"train": (7, 7), "val": (2, 2), "test": (3, 3)}
    assert meta.image_size == ((24, 32) if pack == "array" else None)
    assert all(name.startswith(tuple(meta.counts)) for name in meta.files)
    train = open_pack(tmp_path / "set", "train")
    pictures = np.stack(list(train.read(np.arange(14)))).reshape(-1, 3) / 255
    assert np.allclose(meta.mean, pictures.mean(0), rtol=1e-12)
    assert np.allclose(meta.std, pictures.std(0), rtol=1e-9)
    found = pixels_of(tmp_path / "set")
    assert set(found) == {str(path.relative_to(raw)) for path in raw.rglob("*.png")}
    for name, pixels in found.items():
        assert np.array_equal(pixels, np.asarray(Image.open(raw / name)))
    for split in meta.splits:
        one = open_pack(tmp_path / "set", split)
        assert list(one.names) == sorted(one.names)
        assert [meta.classes[label] for label in one.labels] == [name.split("/")[0] for name in one.names]
    with Image.open(tmp_path / "set" / "contact_sheet.png") as sheet:
        assert min(sheet.size) > 100
    assert not list((tmp_path / "set").glob("*.spool"))


def test_array_and_encoded_packs_hold_the_same(raw, tmp_path):
    one = make(raw, tmp_path / "a", pack="array")
    two = make(raw, tmp_path / "e", pack="encoded")
    assert (one.mean, one.std, one.counts) == (two.mean, two.std, two.counts)
    first, second = pixels_of(tmp_path / "a"), pixels_of(tmp_path / "e")
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_predict_repeats_the_geometry_to_the_bit(tmp_path, written, encoded, picture):
    sizes = [(40, 60), (61, 37), (32, 32), (90, 33)]
    files = {
        f"{name}/{i}.jpg": encoded(picture(100 * label + i, *sizes[i % 4]), "JPEG")
        for label, name in enumerate(("a", "b"))
        for i in range(8)
    }
    raw = written(tmp_path / "raw", files)
    for number, options in enumerate(
        [{"image_size": 24}, {"image_size": 24, "fit": "pad", "channels": 1}, {"image_size": 24, "fit": "stretch"}]
    ):
        meta = make(raw, tmp_path / f"set{number}", **options)
        for name, pixels in pixels_of(tmp_path / f"set{number}").items():
            again = apply_geometry(decode(files[name], meta.channels), meta.geometry)
            assert np.array_equal(pixels, again)
    # An encoded pack keeps JPEGs that are small enough as they are; what was shrunk has one more compression behind it.
    meta = make(raw, tmp_path / "encoded", max_short_side=32)
    assert meta.pack == "encoded"
    for name, pixels in pixels_of(tmp_path / "encoded").items():
        again = apply_geometry(decode(files[name], 3), meta.geometry)
        assert min(pixels.shape[:2]) == 32
        assert np.abs(pixels.astype(int) - again).max() <= (0 if name[2] in "26" else 16)


def test_auto_takes_arrays_for_pictures_of_one_size(tmp_path, written, class_files, encoded, picture, monkeypatch):
    raw = written(tmp_path / "raw", class_files("cat dog", 12))
    meta = make(raw, tmp_path / "one", max_short_side=12)
    assert (meta.pack, meta.image_size) == ("array", (12, 16))
    assert meta.geometry["image_size"] == [12, 16]
    name, pixels = next(iter(pixels_of(tmp_path / "one").items()))
    assert np.array_equal(pixels, apply_geometry(decode((raw / name).read_bytes(), 3), meta.geometry))
    monkeypatch.setattr(spooling, "ARRAY_BYTES", 20_000)
    assert make(raw, tmp_path / "large").pack == "encoded"
    monkeypatch.undo()
    (raw / "dog" / "other.png").write_bytes(encoded(picture(999, 30, 30)))
    meta = make(raw, tmp_path / "many")
    assert (meta.pack, meta.image_size) == ("encoded", None)
    with pytest.raises(DataError, match=r"cat/000.png is 32 × 24, dog/other.png is 30 × 30"):
        make(raw, tmp_path / "no", pack="array")


def test_channels_follow_the_pictures(tmp_path, written, class_files, encoded, picture):
    raw = written(tmp_path / "raw", class_files("cat dog", 12, channels=1))
    # Grey in three channels is grey too.
    grey = np.repeat(picture(5, channels=1), 3, axis=2)
    (raw / "cat" / "rgb.png").write_bytes(encoded(grey))
    auto = make(raw, tmp_path / "auto" / "set")
    assert auto.channels == 1
    assert len(auto.mean) == 1
    one = make(raw, tmp_path / "one" / "set", channels=1)
    assert one == auto
    assert digests(tmp_path / "auto" / "set") == digests(tmp_path / "one" / "set")
    encoded_auto = make(raw, tmp_path / "encoded", pack="encoded")
    assert encoded_auto.channels == 1
    pictures = pixels_of(tmp_path / "encoded")
    assert np.array_equal(pictures["cat/rgb.png"], grey[..., :1])
    assert make(raw, tmp_path / "three", channels=3).channels == 3
    (raw / "cat" / "colour.png").write_bytes(encoded(picture(6)))
    assert make(raw, tmp_path / "colour").channels == 3


def test_given_splits_are_kept_and_missing_ones_cut(tmp_path, written, class_files):
    files = class_files("cat dog", 20, "Training/") | class_files("cat dog", 3, "valid/", seed=1)
    raw = written(tmp_path / "raw", files)
    meta = make(raw, tmp_path / "set", test_fraction=0.1)
    assert meta.counts == {"train": (18, 18), "val": (3, 3), "test": (2, 2)}
    assert all(name.startswith("valid/") for name in open_pack(tmp_path / "set", "val").names)
    assert all(name.startswith("Training/") for name in open_pack(tmp_path / "set", "test").names)
    assert make(raw, tmp_path / "none", test_fraction=0).splits == ("train", "val")
    other = make(raw, tmp_path / "seed", split_seed=1)
    assert other.counts == meta.counts
    assert list(open_pack(tmp_path / "seed", "test").names) != list(open_pack(tmp_path / "set", "test").names)


# determinism


def test_the_same_bytes_whatever_the_workers_and_the_archive(tmp_path, written, class_files, monkeypatch):
    monkeypatch.setattr(decoding, "CHUNK_PICTURES", 7)
    files = class_files("cat dog cow", 20, format="JPEG") | {"cow/x.txt": b"?"}
    raw = written(tmp_path / "raw", files)
    tar = tmp_path / "raw.tar"
    with tarfile.open(tar, "w:gz") as archive:
        for name in reversed(list(files)):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            archive.addfile(info, io.BytesIO(files[name]))
    for pack in ("array", "encoded"):
        first = make(raw, tmp_path / f"{pack}1", pack=pack, workers=1)
        second = make(raw, tmp_path / f"{pack}2", pack=pack, workers=2)
        third = make(tar, tmp_path / f"{pack}3", pack=pack, workers=1)
        assert first == second == third
        assert digests(tmp_path / f"{pack}1") == digests(tmp_path / f"{pack}2") == digests(tmp_path / f"{pack}3")


# what is refused


def broken_files(encoded, picture):
    large = picture(50, 80, 80)
    return {
        "cat/cut.jpg": encoded(large, "JPEG")[:700],
        "cat/cut.png": encoded(large)[:700],
        "dog/empty.png": b"",
        "dog/text.jpg": b"This is no picture at all.\n" * 5,
        "dog/frames.gif": encoded(large, "GIF"),
    }


def test_broken_pictures_are_all_listed(raw, tmp_path, written, encoded, picture, capsys):
    broken = broken_files(encoded, picture)
    written(raw, broken)
    (raw / "cat" / "really.jpg").write_bytes(encoded(picture(51)))
    with pytest.raises(DataError, match=r"5 of 30 pictures cannot be read: cat/cut\.jpg") as caught:
        make(raw, tmp_path / "set")
    assert caught.value.exit_code == 3
    assert len(str(caught.value).splitlines()) <= 3
    assert "data.prepare.bad=drop" in caught.value.do
    listed = report(tmp_path / "set.report.csv")
    assert {name for name, row in listed.items() if row["kept"] == "no"} == set(broken)
    assert listed["cat/really.jpg"]["reason"] == "read by its content: it is PNG, not .jpg"
    assert not (tmp_path / "set").exists()

    meta = make(raw, tmp_path / "set", bad="drop")
    assert sum(map(sum, meta.counts.values())) == 25
    assert not (tmp_path / "set.report.csv").exists()
    listed = report(tmp_path / "set" / "report.csv")
    assert {name for name, row in listed.items() if row["kept"] == "no"} == set(broken)
    assert "truncated" in listed["cat/cut.jpg"]["reason"]
    assert listed["dog/empty.png"]["reason"] == "empty file"
    assert "GIF is not read" in listed["dog/frames.gif"]["reason"]


def test_the_report_harms_no_spreadsheet(tmp_path, written, class_files):
    raw = written(tmp_path / "raw", class_files("cat dog", 6) | {"cat/=cmd().png": b"", "cat/a,b\nc.png": b""})
    os.rename(raw / "cat" / "=cmd().png", raw / "=cmd().txt")
    make(raw, tmp_path / "set", bad="drop")
    names = set(report(tmp_path / "set" / "report.csv"))
    assert names == {"'=cmd().txt", "cat/a,b\nc.png"}


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (1, {}, r"'cat' has 1 picture\(s\): too few to cut 2 split\(s\) off training, which needs 3"),
        (2, {"test_fraction": 0}, None),
        (1, {"test_fraction": 0}, r"'cat' has 1 picture\(s\): too few to cut 1 split"),
        (1, {"test_fraction": 0, "val_fraction": 0}, None),
    ],
)
def test_small_classes(count, options, message, tmp_path, written, class_files):
    raw = written(tmp_path / "raw", class_files("cat", count) | class_files("dog", 9, seed=1))
    if message is None:
        assert make(raw, tmp_path / "set", **options).counts["train"][0] == 1
    else:
        with pytest.raises(DataError, match=message) as caught:
            make(raw, tmp_path / "set", **options)
        assert len(str(caught.value).splitlines()) <= 3


def test_a_class_of_broken_pictures_is_named(tmp_path, written, class_files):
    raw = written(tmp_path / "raw", class_files("cat dog", 5) | {"cow/1.png": b"x", "cow/2.png": b""})
    with pytest.raises(DataError, match="'cow' has no training picture left"):
        make(raw, tmp_path / "set", bad="drop")
    with pytest.raises(DataError, match="2 of 2 pictures cannot be read"):
        make(written(tmp_path / "all", {"a/1.png": b"", "b/1.png": b""}), tmp_path / "set", bad="drop")


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 0}, {"image_size": 2.5}, {"image_size": "32"}, {"image_size": True}, {"channels": 2},
        {"channels": "grey"}, {"channels": True}, {"fit": "corp"}, {"interpolation": "area"}, {"bad": "ignore"},
        {"leaks": None}, {"pack": "tar"}, {"workers": 0}, {"workers": "all"}, {"val_fraction": 1.0},
        {"val_fraction": -0.1}, {"test_fraction": "0.1"}, {"val_fraction": 0.5, "test_fraction": 0.5},
        {"split_seed": -1}, {"max_short_side": 0}, {"max_pixels": None}, {"val_fraction": float("nan")},
    ],
)  # fmt: skip
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigurationError, match=f"data.prepare.{next(iter(options))}") as caught:
        Preparation(**options)
    assert len(str(caught.value).splitlines()) <= 3
    if options.get("fit"):
        assert caught.value.nearest == "crop"


def test_no_permission_and_no_space(raw, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="it is a file"):
        make(raw, tmp_path / "file" / "set")
    import errno

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("striate.data.making.write_array_split", full)
    with pytest.raises(StorageError, match="no space left"):
        make(raw, tmp_path / "set")
    assert not list(tmp_path.glob("set*"))


# equal pictures


def test_equal_pictures_stay_on_one_side(tmp_path, written, class_files, encoded, picture):
    files = class_files("cat dog", 30)
    for i in range(10):  # the same pixels in another format, under another name
        pixels = decode(files[f"cat/{i:03d}.png"], 3)
        files[f"cat/copy{i}.bmp"] = encoded(pixels, "BMP")
    raw = written(tmp_path / "raw", files)
    meta = make(raw, tmp_path / "set", val_fraction=0.25, test_fraction=0.25)
    where = {name: split for split in meta.splits for name in open_pack(tmp_path / "set", split).names}
    assert len(where) == 70
    for i in range(10):
        assert where[f"cat/{i:03d}.png"] == where[f"cat/copy{i}.bmp"]
    listed = report(tmp_path / "set" / "report.csv")
    assert len(listed) == 10
    assert listed["cat/copy3.bmp"]["reason"] == "the same pixels as cat/003.png"
    assert listed["cat/copy3.bmp"]["kept"] == "yes"


def test_names_cannot_break_a_message(tmp_path, written, class_files):
    name = "cat/a\nb\x1b[31m.png"
    raw = written(tmp_path / "raw", class_files("cat dog", 6) | {name: b""})
    with pytest.raises(DataError, match=r"cat/a\\nb\\x1b\[31m\.png") as caught:
        make(raw, tmp_path / "set")
    assert len(str(caught.value).splitlines()) == 2
    assert name in report(tmp_path / "set.report.csv")


def test_one_picture_of_two_classes_is_told(tmp_path, written, class_files):
    files = class_files("cat dog", 9)
    files["dog/same.png"] = files["cat/004.png"]
    make(written(tmp_path / "raw", files), tmp_path / "set")
    listed = report(tmp_path / "set" / "report.csv")
    assert listed["dog/same.png"]["reason"] == "the same pixels as cat/004.png, which is 'cat'"


def test_leaks_between_given_splits(tmp_path, written, class_files):
    train, test = class_files("cat dog", 8, "train/"), class_files("cat dog", 4, "test/", seed=1)
    train["train/cat/leak.png"] = test["test/cat/001.png"]
    train["train/dog/leak.png"] = test["test/cat/002.png"]
    raw = written(tmp_path / "raw", train | test)
    with pytest.raises(
        DataError, match=r"2 picture\(s\) are in two splits.*train/cat/leak.png = test/cat/001.png"
    ) as error:
        make(raw, tmp_path / "set")
    assert error.value.exit_code == 3
    assert "train/dog/leak.png" in report(tmp_path / "set.report.csv")
    kept = make(raw, tmp_path / "set", leaks="keep", val_fraction=0)
    assert kept.counts == {"train": (9, 9), "test": (4, 4)}
    dropped = make(raw, tmp_path / "set", leaks="drop", val_fraction=0)
    assert dropped.counts == {"train": (8, 8), "test": (4, 4)}
    row = report(tmp_path / "set" / "report.csv")["train/dog/leak.png"]
    assert row["kept"] == "no"
    assert row["reason"] == "the same pixels as test/cat/002.png, which is 'cat'"


# once, whole, alone


def test_a_second_call_does_nothing(raw, tmp_path, capsys):
    meta = make(raw, tmp_path / "set")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").iterdir()}
    capsys.readouterr()
    assert make(raw, tmp_path / "set") == meta
    assert "up to date" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "set").iterdir()} == files
    make(raw, tmp_path / "set", force=True)
    assert {path.stat().st_ino for path in files} != set(files)
    assert (tmp_path / "set" / "meta.json").stat().st_mtime_ns != files[tmp_path / "set" / "meta.json"]


def test_touched_files_are_compared_by_content(raw, tmp_path, capsys, encoded, picture):
    meta = make(raw, tmp_path / "set")
    before = (tmp_path / "set" / "meta.json").stat().st_ino
    for path in raw.rglob("*.png"):
        os.utime(path)
    assert make(raw, tmp_path / "set") == meta
    assert (tmp_path / "set" / "meta.json").stat().st_ino == before
    # The same size and another content.
    path = raw / "cat" / "003.png"
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    make(raw, tmp_path / "set")
    assert (tmp_path / "set" / "meta.json").stat().st_ino != before


@pytest.mark.parametrize("change", ["options", "more", "damaged pack", "lost pack", "lost record"])
def test_changes_prepare_anew(change, raw, tmp_path, encoded, picture):
    old = make(raw, tmp_path / "set")
    options = {}
    if change == "options":
        options = {"split_seed": 5}
    elif change == "more":
        (raw / "cat" / "new.png").write_bytes(encoded(picture(777)))
    elif change == "damaged pack":
        (tmp_path / "set" / "train.images.npy").write_bytes(b"")
    elif change == "lost pack":
        (tmp_path / "set" / "meta.json").unlink()
    else:
        (tmp_path / ".set.source.json").unlink()
    before = (tmp_path / "set").stat().st_ino
    meta = make(raw, tmp_path / "set", **options)
    assert (tmp_path / "set").stat().st_ino != before
    assert (meta == old) == (change not in ("options", "more"))
    verify_pack(tmp_path / "set")


def test_a_pack_outlives_its_raw_data(raw, tmp_path):
    meta = make(raw, tmp_path / "set")
    raw.rename(tmp_path / "gone")
    assert make(raw, tmp_path / "set") == meta
    with pytest.raises(DataError, match="no raw data at"):
        make(raw, tmp_path / "set", split_seed=9)
    assert Meta.load(tmp_path / "set") == meta  # what cannot be replaced stays


def test_a_refused_set_leaves_the_one_before(raw, tmp_path):
    meta = make(raw, tmp_path / "set")
    (raw / "cat" / "bad.png").write_bytes(b"")
    with pytest.raises(DataError):
        make(raw, tmp_path / "set")
    assert verify_pack(tmp_path / "set") == meta
    assert sorted(path.name for path in tmp_path.glob("set*")) == ["set", "set.report.csv"]


def test_leftovers_of_killed_processes_are_cleared(raw, tmp_path):
    meta = make(raw, tmp_path / "set")
    (tmp_path / "set.partial-99999").mkdir()
    (tmp_path / "set.partial-99999" / "pixels.spool").write_bytes(b"x")
    # Killed between the two renames: the old set waits under another name.
    (tmp_path / "set").rename(tmp_path / "set.old-99999")
    assert make(raw, tmp_path / "set") == meta
    assert sorted(path.name for path in tmp_path.glob("set*")) == ["set"]


SLOW = """
import sys, time
from striate.data.preparation import Preparation, prepare
from striate.data.sources.folder import FolderSource

class Slow(FolderSource):
    def read(self, inventory):
        for number, content in enumerate(super().read(inventory)):
            if number == 16:
                print("half", flush=True)
            if number >= 16:
                time.sleep(float(sys.argv[4]))
            yield content

def main():
    source = Slow(sys.argv[1])
    prepare("set", source, Preparation(workers=int(sys.argv[3])), sys.argv[2], progress=False)
    print("done", flush=True)

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def slow(tmp_path, raw):
    """Starts a preparation that slows down in the middle."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    started = []

    def start(workers=1, pause=0.3):
        process = subprocess.Popen(
            [sys.executable, str(script), str(raw), str(tmp_path / "set"), str(workers), str(pause)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def session_members(leader):
    """Processes of a session that still live."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if fields and int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interruption_leaves_nothing_that_looks_whole(signum, workers, slow, raw, tmp_path):
    process = slow(workers)
    assert process.stdout.readline() == "half\n"
    assert len(list(tmp_path.glob("set.partial-*"))) == 1
    os.kill(process.pid, signum)
    process.wait(20)
    assert process.returncode != 0
    assert not (tmp_path / "set").exists()
    end = time.monotonic() + 10
    while session_members(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert session_members(process.pid) == []  # no orphans
    if signum == signal.SIGINT:
        assert list(tmp_path.glob("set*")) == []
    meta = make(raw, tmp_path / "set")
    assert verify_pack(tmp_path / "set") == meta
    assert [path.name for path in tmp_path.glob("set*")] == ["set"]


def test_the_second_of_two_waits_and_has_nothing_to_do(slow, tmp_path):
    first = slow(pause=0.2)
    assert first.stdout.readline() == "half\n"
    second = slow(pause=0)
    assert second.stdout.readline() == "set is being prepared by another process: waiting for it\n"
    said = second.communicate(timeout=20)[0]
    assert "is up to date" in said
    assert "half" not in said
    assert "done" in first.communicate(timeout=20)[0]
    verify_pack(tmp_path / "set")


def test_memory_stays_bounded(tmp_path, written):
    """160 MB of pictures pass through; what the process holds of its own grows by a fraction of that."""
    noise = np.random.default_rng(0).integers(0, 256, (512, 680, 3), dtype=np.uint8)
    files = {}
    for number in range(160):
        noise[0, 0] = number
        stream = io.BytesIO()
        Image.fromarray(noise).save(stream, "PPM")
        files[f"{'cat' if number % 2 else 'dog'}/{number:03d}.ppm"] = stream.getvalue()
    raw = written(tmp_path / "raw", files)
    script = """
import sys, threading, time
from striate.data.preparation import Preparation, prepare
from striate.data.sources.folder import FolderSource

def held():
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) >> 10 for line in stream if line.startswith("RssAnon"))

peak = [0]
def watch():
    while True:
        peak[0] = max(peak[0], held())
        time.sleep(0.005)

before = held()
threading.Thread(target=watch, daemon=True).start()
prepare("set", FolderSource(sys.argv[1]), Preparation(workers=1, pack="array"), sys.argv[2], progress=False)
print(peak[0] - before)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(raw), str(tmp_path / "set")], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert int(run.stdout.splitlines()[-1]) < 80


# real sets


@pytest.mark.skipif(not (SHARED / "hymenoptera").is_dir(), reason="the ants and bees are not at hand")
def test_ants_and_bees(tmp_path):
    source = FolderSource(str(SHARED / "hymenoptera" / "hymenoptera.tar"))
    with pytest.raises(
        DataError, match=r"1 of 398 pictures cannot be read: train/ants/imageNotFound.gif \(GIF is not read"
    ):
        prepare("bees", source, Preparation(), tmp_path / "bees", progress=False)
    meta = prepare("bees", source, Preparation(bad="drop", test_fraction=0), tmp_path / "bees", progress=False)
    assert meta.classes == ("ants", "bees")
    assert meta.pack == "encoded"
    assert meta.counts["val"] == (70, 83)
    assert meta.counts["train"] == (123, 121)
    with tarfile.open(SHARED / "hymenoptera" / "hymenoptera.tar") as archive:
        pack = open_pack(tmp_path / "bees", "val")
        for place in (0, 50, 152):
            expected = Image.open(archive.extractfile(pack.names[place]))
            assert np.array_equal(pack.read(np.array([place]))[0], np.asarray(expected))


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "clothing").is_dir(), reason="the clothing set is not at hand")
def test_clothing(tmp_path):
    meta = prepare("clothing", FolderSource(str(SHARED / "clothing")), Preparation(), tmp_path / "clothing")
    assert meta.counts == {
        "train": (241, 123, 455, 184, 468, 290, 198, 202, 112, 795),
        "val": (32, 14, 49, 24, 49, 29, 26, 25, 12, 81),
        "test": (15, 12, 72, 38, 42, 26, 73, 30, 12, 52),
    }


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "cifar10").is_dir(), reason="the CIFAR-10 JPEGs are not at hand")
def test_cifar10(tmp_path):
    meta = prepare("cifar10", FolderSource(str(SHARED / "cifar10")), Preparation(val_fraction=0), tmp_path / "cifar10")
    assert meta.counts == {"train": (5000,) * 10, "test": (1000,) * 10}
    assert (meta.pack, meta.image_size) == ("array", (32, 32))
    assert np.round(meta.mean, 4).tolist() == [0.4913, 0.4821, 0.4465]  # as its README says
    assert np.round(meta.std, 4).tolist() == [0.2452, 0.2428, 0.2606]
    assert [row["name"] for row in report(tmp_path / "cifar10" / "report.csv").values()] == ["README.md"]
    again = prepare(
        "cifar10", FolderSource(str(SHARED / "cifar10")), Preparation(val_fraction=0, workers=1), tmp_path / "again"
    )
    assert json.dumps(again.to_dict()) == json.dumps(meta.to_dict())
