"""Weight files in every form give the same tensors; others are refused, and nothing in them runs."""

import argparse
import io
import json
import os
import struct
import zipfile
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from striate.errors import ConfigurationError, StorageError
from striate.transfer import reading
from striate.transfer.reading import read_weights

TENSORS = {
    "conv1.weight": torch.arange(24, dtype=torch.float32).view(2, 3, 2, 2),
    "bn1.running_var": torch.tensor([0.5, 2.0]),
    "bn1.num_batches_tracked": torch.tensor(7),
    "fc.weight": torch.arange(6, dtype=torch.float64).view(3, 2).t(),  # not contiguous
}


def prefixed(prefix):
    return {f"{prefix}{name}": tensor for name, tensor in TENSORS.items()}


FORMS = {
    "plain.pt": TENSORS,
    "wrapped.pth": {"state_dict": TENSORS, "epoch": 90, "arch": "resnet", "best_acc1": torch.tensor(76.1)},
    "parallel.th": {"state_dict": prefixed("module."), "best_prec1": np.float64(91.7)},
    "model.pt": {"model": TENSORS, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "twice.pt": {"model": {"state_dict": prefixed("module.")}},
    "compiled.pt": prefixed("_orig_mod.module."),
    "lightning.ckpt": {"state_dict": prefixed("network."), "loops": {}, "pytorch-lightning_version": "2.0"},
    "arguments.pth": {"model": TENSORS, "args": argparse.Namespace(lr=0.1, data="x")},
    "averages.pth": {"state_dict": TENSORS, "state_dict_ema": {name: tensor * 0 for name, tensor in TENSORS.items()}},
}


def assert_same(file):
    assert list(file.tensors) == list(TENSORS) or not file.ordered
    assert file.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(file.tensors[name], tensor), name
        assert file.tensors[name].dtype == tensor.dtype


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_pytorch_files(tmp_path, name, zipped):
    torch.save(FORMS[name], tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert_same(read_weights(tmp_path / name))


def test_what_was_taken_off_is_said(tmp_path):
    torch.save(FORMS["parallel.th"], tmp_path / "net.th")
    assert read_weights(tmp_path / "net.th").notes == ["taken from state_dict", "without the prefix module."]
    torch.save(FORMS["averages.pth"], tmp_path / "net.th")
    assert read_weights(tmp_path / "net.th").notes == ["taken from state_dict, of state_dict, state_dict_ema"]
    torch.save(TENSORS | {"epoch": 3}, tmp_path / "net.th")
    assert read_weights(tmp_path / "net.th").notes == ["passed over: epoch"]


def test_other_forms(tmp_path):
    contiguous = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    save_file(contiguous, tmp_path / "net.safetensors")
    np.savez(tmp_path / "net.npz", **{name: tensor.numpy() for name, tensor in TENSORS.items()})
    np.savez_compressed(tmp_path / "small.npz", **{name: tensor.numpy() for name, tensor in TENSORS.items()})
    for name, kind in (
        ("net.safetensors", "safetensors"),
        ("net.npz", "NumPy archive"),
        ("small.npz", "NumPy archive"),
    ):
        file = read_weights(tmp_path / name)
        assert_same(file)
        assert file.kind == kind
        (tmp_path / name).rename(tmp_path / "weights.dat")  # by content, whatever the name is
        assert_same(read_weights(tmp_path / "weights.dat"))


def test_a_checkpoint_of_striate_is_a_state_dict_too(trained):
    (path,) = (trained / "checkpoints").glob("best-*.ckpt")
    assert "C1.weight" in read_weights(path).tensors


class Payload:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def object_archive(path):
    np.savez(path, a=np.array([{}], dtype=object))


def declaring_archive(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header.getvalue() + b"\0" * 64)


def safetensors(header, data=b"", length=None):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(*offsets, shape=(2,)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": list(offsets)}


HOSTILE = {
    "payload.pth": (lambda path, canary: torch.save({"state_dict": Payload(canary)}, path), "objects other than"),
    "old.th": (
        lambda path, canary: torch.save({"a": Payload(canary)}, path, _use_new_zipfile_serialization=False),
        "objects other than",
    ),
    "objects.npz": (lambda path, _: object_archive(path), "Python objects"),
    "huge.npz": (lambda path, _: declaring_archive(path), "not a whole NumPy archive"),
    "pickle.npy": (lambda path, _: np.save(path, np.array([{}], dtype=object)), "or a pickle"),
    "header.safetensors": (lambda path, _: path.write_bytes(safetensors(b"{}", length=1 << 60)), "declares"),
    "overlap.safetensors": (
        lambda path, _: path.write_bytes(safetensors({"a": entry(0, 8), "b": entry(4, 12)}, b"\0" * 12)), "not a whole",
    ),
    "beyond.safetensors": (
        lambda path, _: path.write_bytes(safetensors({"a": entry(0, 4000, shape=(1000,))}, b"\0" * 8)), "not a whole",
    ),
    "shape.safetensors": (
        lambda path, _: path.write_bytes(safetensors({"a": entry(0, 8, shape=(1 << 62, 4))}, b"\0" * 8)), "not a whole",
    ),
    "text.safetensors": (lambda path, _: path.write_text("no weights"), "safetensors"),
    "empty.safetensors": (lambda path, _: path.write_bytes(b""), "safetensors"),
    "empty.pth": (lambda path, _: path.write_bytes(b""), "not a whole PyTorch file"),
    "nothing.pth": (lambda path, _: torch.save({"epoch": 3}, path), "no tensors"),
    "sparse.pth": (lambda path, _: torch.save({"a": torch.eye(3).to_sparse()}, path), "sparse"),
    "archive.pth": (lambda path, _: zipfile.ZipFile(path, "w").close(), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore")
def test_hostile_and_damaged_files_are_refused_in_one_line(tmp_path, name):
    make, says = HOSTILE[name]
    make(tmp_path / name, str(tmp_path / "canary"))
    with pytest.raises(StorageError, match=says) as caught:
        read_weights(tmp_path / name)
    assert "refused" in caught.value.what
    assert len(str(caught.value).splitlines()) == 2
    assert not (tmp_path / "canary").exists(), "a file ran something"


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors", "net.npz"])
def test_every_cut_is_refused(tmp_path, name):
    if name == "net.pt":
        torch.save(TENSORS, tmp_path / name)
    elif name == "net.npz":
        np.savez(tmp_path / name, **{key: tensor.numpy() for key, tensor in TENSORS.items()})
    else:
        save_file({key: tensor.contiguous() for key, tensor in TENSORS.items()}, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for share in (0.02, 0.3, 0.6, 0.98):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(StorageError):
            read_weights(tmp_path / name)


def test_compressed_parts_are_no_pytorch_file(tmp_path):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "net.pt")
    with zipfile.ZipFile(tmp_path / "net.pt") as source, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info), compress_type=zipfile.ZIP_DEFLATED)
    with pytest.raises(StorageError, match="compressed"):
        read_weights(tmp_path / "bomb.pt")


def test_a_file_that_declares_more_than_any_network_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    torch.save({"a": torch.zeros(1).expand(1000)}, tmp_path / "net.pt")
    np.savez_compressed(tmp_path / "net.npz", a=np.zeros(1000))
    for name in ("net.pt", "net.npz"):
        with pytest.raises(StorageError, match="declare"):
            read_weights(tmp_path / name)


def test_no_file(tmp_path):
    with pytest.raises(ConfigurationError, match="no weight file"):
        read_weights(tmp_path / "net.pt")


def test_hdf5_needs_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    (tmp_path / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(StorageError, match="h5py") as caught:
        read_weights(tmp_path / "net.h5")
    assert caught.value.do == "pip install h5py, or save the arrays as .npz"


@pytest.mark.skipif(find_spec("h5py") is None, reason="h5py is not installed")
def test_hdf5(tmp_path):
    import h5py

    with h5py.File(tmp_path / "net.h5", "w") as file:
        for name, tensor in TENSORS.items():
            file[name.replace(".", "/")] = tensor.numpy()
        file["outside"] = h5py.ExternalLink("/etc/passwd", "x")
        file["optimizer_weights/m"] = np.zeros(3)
    found = read_weights(tmp_path / "net.h5").tensors
    assert {name.replace("/", ".") for name in found} == set(TENSORS)
    (tmp_path / "net.h5").write_bytes((tmp_path / "net.h5").read_bytes()[:600])
    with pytest.raises(StorageError, match="not a whole HDF5"):
        read_weights(tmp_path / "net.h5")
