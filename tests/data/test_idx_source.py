"""IDX files: read, checked, found, downloaded from a server on this machine."""

import gzip
import hashlib
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from striate.data.sources.idx import STANDARD_FILES, IdxSource
from striate.errors import ConfigurationError, DataError

CLASSES = ["zero", "one", "two"]


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


@pytest.fixture
def arrays():
    chance = np.random.default_rng(0)
    found = {}
    for split, count in (("train", 12), ("test", 6)):
        images, labels = STANDARD_FILES[split]
        found[images], found[labels] = chance.integers(0, 256, (count, 7, 5)), np.arange(count) % 3
    return found


@pytest.fixture
def files(arrays):
    return {name: idx(values) for name, values in arrays.items()}


@pytest.mark.parametrize("zipped", [True, False])
def test_plain_and_zipped_files_are_read(zipped, arrays, files, written, tmp_path):
    packed = {f"{name}.gz": gzip.compress(content) for name, content in files.items()} if zipped else files
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    source = IdxSource(str(written(tmp_path, packed)), CLASSES, sha256=sums)
    assert source.available()
    inventory = source.scan()
    contents = list(source.read(inventory))
    assert [(entry.name, entry.class_name, entry.split) for entry in inventory.entries[:2]] == [
        ("train/000000", "zero", "train"), ("train/000001", "one", "train"),
    ]  # fmt: skip
    assert inventory.entries[-1] == ("test/000005", "two", "test")
    expected = [*arrays["train-images-idx3-ubyte"], *arrays["t10k-images-idx3-ubyte"]]
    assert all(np.array_equal(found, values) for found, values in zip(contents, expected, strict=True))
    assert len(source.listing()) == 4


def test_further_places_are_searched(files, written, tmp_path):
    written(tmp_path / "system", files)
    source = IdxSource(str(tmp_path / "none"), CLASSES, search=[str(tmp_path / "nowhere"), str(tmp_path / "system")])
    assert source.available()
    assert len(source.scan().entries) == 18


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train-labels-idx1-ubyte", lambda a: np.where(a == 2, 7, a), "label 7 at place 2 is out of range"),
        ("train-labels-idx1-ubyte", lambda a: a[:-1], "12 pictures but .* 11 labels"),
        ("train-labels-idx1-ubyte", lambda a: a[:, None], "not an IDX file of unsigned bytes with 1 dimension"),
    ],
)
def test_wrong_labels_are_refused(name, change, message, arrays, files, written, tmp_path):
    source = IdxSource(str(written(tmp_path, {**files, name: idx(change(arrays[name]))})), CLASSES)
    with pytest.raises(DataError, match=message):
        source.scan()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-5], "its header says 420"),
        (lambda content: content + b"x", "its header says 420"),
        (lambda content: content[:3], "not an IDX file"),
        (lambda content: b"\0\0\x0d" + content[3:], "not an IDX file of unsigned bytes"),
        (lambda content: gzip.compress(content)[:-20], "cannot be unpacked"),
        (lambda content: content[:-1] + b"\0", "SHA-256 of its content is"),
    ],
)
def test_damaged_files_are_refused(damage, message, files, written, tmp_path):
    name = "train-images-idx3-ubyte"
    sums = {name: hashlib.sha256(files[name]).hexdigest()} if "SHA" in message else {}
    damaged = damage(files[name])
    del files[name]
    files[name + (".gz" if damaged.startswith(b"\x1f\x8b") else "")] = damaged
    source = IdxSource(str(written(tmp_path, files)), CLASSES, sha256=sums)
    with pytest.raises(DataError, match=message):
        list(source.read(source.scan()))


def test_missing_files_without_addresses_give_the_hint(tmp_path):
    source = IdxSource(str(tmp_path), CLASSES, hint="apt install it")
    assert source.missing() == str(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match="train-images-idx3-ubyte") as caught:
        source.fetch()
    assert caught.value.do == "apt install it"


def test_impossible_arguments_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="it needs train"):
        IdxSource(str(tmp_path), CLASSES, files={"test": ["a", "b"]})
    with pytest.raises(ConfigurationError, match="two names for each split"):
        IdxSource(str(tmp_path), CLASSES, files={"train": ["a"]})


class Server(BaseHTTPRequestHandler):
    """Serves files; `behaviour` tells what goes wrong with the n-th request of a name."""

    files: dict = {}  # noqa: RUF012
    behaviour: dict = {}  # noqa: RUF012
    asked: list = []  # noqa: RUF012

    def do_GET(self):
        name = self.path.strip("/").removeprefix("mirror/")
        self.asked.append(self.path)
        content = self.files.get(name)
        trouble = self.behaviour.get(name, [])
        what = trouble.pop(0) if trouble else "fine"
        if content is None or what == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if what == "slow":
            self.wfile.write(content[:10])
            self.wfile.flush()
            time.sleep(1.5)
        elif what == "cut":
            self.wfile.write(content[: len(content) // 2])
        elif what == "wrong":
            self.wfile.write(gzip.compress(b"something else")[: len(content)].ljust(len(content)))
        else:
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(files):
    kind = type("Handler", (Server,), {
        "files": {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()},
        "behaviour": {}, "asked": [],
    })  # fmt: skip
    running = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    kind.url = f"http://127.0.0.1:{running.server_port}"
    yield kind
    running.shutdown()
    running.server_close()


def downloading(server, files, folder: Path, **options):
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return IdxSource(str(folder), CLASSES, sha256=sums, urls=[f"{server.url}/"], timeout=0.4, **options)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    from striate.data import download

    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)


@pytest.mark.parametrize("trouble", [[], ["cut"], ["wrong", "missing"]])
def test_download_with_retries(trouble, server, files, tmp_path):
    server.behaviour["train-images-idx3-ubyte.gz"] = list(trouble)
    source = downloading(server, files, tmp_path / "new")
    assert not source.available()
    source.fetch()
    assert source.available()
    assert len(source.scan().entries) == 18
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(server.files)
    assert len(server.asked) == 4 + len(trouble)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [("cut", "cut off after|IncompleteRead"), ("wrong", "SHA-256|unpacked"), ("missing", "404|Not Found")],
)
def test_a_download_that_never_succeeds_leaves_nothing(trouble, reason, server, files, tmp_path):
    server.behaviour["train-images-idx3-ubyte.gz"] = [trouble] * 9
    with pytest.raises(DataError, match=reason) as caught:
        downloading(server, files, tmp_path / "new").fetch()
    assert "3 attempts" in caught.value.what
    assert not (tmp_path / "new").exists()


def test_a_slow_server_is_given_up(server, files, tmp_path, monkeypatch):
    server.behaviour["train-images-idx3-ubyte.gz"] = ["slow"]
    monkeypatch.undo()  # the server's own sleep
    started = time.monotonic()
    downloading(server, files, tmp_path / "new").fetch()
    assert time.monotonic() - started < 8
    assert server.asked.count("/train-images-idx3-ubyte.gz") == 2


def test_no_network_is_told_in_three_lines(tmp_path, files):
    source = IdxSource(str(tmp_path / "new"), CLASSES, urls=["http://127.0.0.1:9"], timeout=0.5)
    with pytest.raises(DataError, match=r"cannot download train-images-idx3-ubyte\.gz: .*refused") as caught:
        source.fetch()
    assert len(str(caught.value).splitlines()) <= 3


DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian_is_the_real_one(tmp_path):
    from striate.configuration import build, compose

    source = build(compose("prepare", ["data=fashion_mnist", f"data.root={tmp_path}"]).data.source)
    inventory = source.scan()
    assert len(inventory.entries) == 70_000
    assert inventory.classes[9] == "ankle boot"
    first = next(source.read(inventory))
    assert first.shape == (28, 28)
    assert int(first.sum()) == 76247  # the boot that the set begins with
