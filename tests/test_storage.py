"""Durable files: whole or not there, and broken ones recognised."""

import errno
import os
import resource
import subprocess
import sys
import textwrap

import pytest
import torch

from striate.errors import StorageError
from striate.storage import atomic_file, checkpoint_fault, load_checkpoint, save_checkpoint, write_json


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "step-00000001.ckpt"
    save_checkpoint({"weights": torch.arange(1000.0), "plain": {"step": 1}}, path)
    return path


def test_a_checkpoint_comes_back_as_it_was(checkpoint):
    content = load_checkpoint(checkpoint)
    assert torch.equal(content["weights"], torch.arange(1000.0))
    assert content["plain"] == {"step": 1}
    assert checkpoint_fault(checkpoint) is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_refused(checkpoint, share):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(len(content) * share)])
    assert "do not match" in (checkpoint_fault(checkpoint) or "")
    with pytest.raises(StorageError, match="cut short or damaged"):
        load_checkpoint(checkpoint)


def test_one_flipped_bit_is_found(checkpoint):
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(StorageError, match="do not match"):
        load_checkpoint(checkpoint)


def test_a_checkpoint_without_its_checksum_is_not_gone_on_from(checkpoint):
    checkpoint.with_name(checkpoint.name + ".sha256").unlink()
    assert "missing" in (checkpoint_fault(checkpoint) or "")


class _Bomb:
    """Unpickling it would make a file."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


def test_a_checkpoint_that_carries_code_is_refused_and_nothing_runs(tmp_path):
    path, canary = tmp_path / "evil.ckpt", tmp_path / "canary"
    torch.save({"state_dict": {}, "callbacks": _Bomb(canary)}, path)
    with pytest.raises(StorageError, match="other than tensors and plain data"):
        load_checkpoint(path)
    assert not canary.exists()


def test_an_error_leaves_the_old_file_and_no_remains(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()

    def write_and_fail():
        with atomic_file(path) as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


def test_a_full_disk_leaves_the_old_checkpoint_whole(checkpoint):
    program = textwrap.dedent("""
        import resource, signal, sys, torch
        from pathlib import Path
        from striate.errors import StorageError
        from striate.storage import save_checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        try:
            save_checkpoint({"weights": torch.zeros(100_000)}, Path(sys.argv[1]))
        except StorageError as error:
            print(error)
            sys.exit(error.exit_code)
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(checkpoint)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 5, done.stderr
    assert str(checkpoint) in done.stdout
    assert checkpoint_fault(checkpoint) is None
    assert sorted(entry.name for entry in checkpoint.parent.iterdir()) == [checkpoint.name, f"{checkpoint.name}.sha256"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_parent_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="not a directory"):
        write_json(tmp_path / "file" / "metrics.json", {})


def test_errors_that_are_not_the_disks_pass(tmp_path):
    def fail():
        with atomic_file(tmp_path / "a"):
            raise OSError(errno.EBADF, "a fault of our own")

    with pytest.raises(OSError, match="a fault of our own"):
        fail()
