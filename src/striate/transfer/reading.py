"""Weight files of others: tensors by name, out of every usual form, and never any code."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from striate.errors import ConfigurationError, StorageError
from striate.storage import load_checkpoint

PYTORCH = (".pt", ".pth", ".th", ".ckpt", ".tar", ".bin", ".pkl")
HDF5 = (".h5", ".hdf5", ".keras")
SUFFIXES = (*PYTORCH, ".safetensors", ".npz", ".npy", *HDF5)
MAX_BYTES = 16 << 30  # of all tensors; the largest network of the family has 0.6 GB

# Under which names tensors are wrapped, the likeliest first.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "params", "weights")
_PREFIXES = ("module.", "_orig_mod.", "network.", "model.", "net.")


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file.

    Args:
        path: of the file.
        kind: what it is, in words.
        tensors: name → tensor, on the CPU, as they lie in the file.
        ordered: whether their order is that in which the network was built.
        notes: what was taken off or passed over, in words.
    """

    path: Path
    kind: str
    tensors: dict[str, Tensor]
    ordered: bool = True
    notes: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())


def read_weights(path: Path) -> WeightFile:
    """Reads a file of weights.

    The kind follows from the first bytes, not from the name.

    Raises:
        ConfigurationError: no such file.
        StorageError: damaged, of an unknown kind, holding no tensors, or anything else than tensors and plain data.
    """
    return _READERS[kind_of(path)](path)


def is_pytorch(path: Path) -> bool:
    """Whether a file is PyTorch's by its first bytes, or of no kind that is known."""
    return kind_of(path) == "pytorch"


def kind_of(path: Path) -> str:
    """The kind of a file by its first bytes: hdf5, keras, npy, npz, safetensors; everything else may be pytorch's.

    Raises:
        ConfigurationError: no such file.
        StorageError: a damaged archive, or one that PyTorch has not written.
    """
    if not path.is_file():
        raise ConfigurationError(f"there is no weight file {path}", do=f"name a file: {', '.join(SUFFIXES)}")
    with open(path, "rb") as stream:
        first = stream.read(16)
    if first.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if first.startswith(b"\x93NUMPY"):
        return "npy"
    if first.startswith(b"PK"):
        members = _members(path)
        if "model.weights.h5" in members:
            return "keras"
        if members and all(name.endswith(".npy") for name in members):
            return "npz"
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise refused(path, "its parts are compressed, which PyTorch never does")
    elif path.suffix == ".safetensors" or (first[8:9] == b"{" and path.suffix not in PYTORCH):
        return "safetensors"
    return "pytorch"


def refused(path: Path, reason: str, do: str | None = None) -> StorageError:
    return StorageError(
        f"the weight file {path} is refused: {reason}",
        do=do or "use a state dict (.pt, .pth, .th), .safetensors or .npz that holds tensors and nothing else",
    )


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


class _Ignored:
    """Stands in for what old training scripts put beside the weights (numpy scalars, parsed arguments)."""

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


_BESIDE = (
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "argparse.Namespace"),
    *("numpy.dtypes.Float64DType", "numpy.dtypes.Float32DType", "numpy.dtypes.Int64DType"),
)


def _read_pytorch(path: Path) -> WeightFile:
    # Under their names a class of no effect is called; nothing of numpy's or of anybody else's.
    with torch.serialization.safe_globals([(_Ignored, name) for name in _BESIDE]):
        content = load_checkpoint(path)
    if "striate" in content and isinstance(content.get("state_dict"), Mapping):
        content = {name: value for name, value in content["state_dict"].items() if name.startswith("network.")}
    tensors, notes = unwrapped(content)
    if not tensors:
        raise refused(path, "it holds no tensors")
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise refused(path, f"{name} is sparse or quantized")
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > MAX_BYTES:
        raise refused(path, f"its tensors declare more than {MAX_BYTES >> 30} GiB")
    return WeightFile(path, "PyTorch state dict", tensors, notes=notes)


def unwrapped(content: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a dictionary that holds them itself or under one of the usual keys, without common prefixes.

    Returns:
        The tensors, and what was taken off.
    """
    notes: list[str] = []
    for _ in range(3):  # such as {"model": {"state_dict": …}}
        inner = [key for key, value in content.items() if isinstance(value, Mapping) and _holds_tensors(value)]
        if any(isinstance(value, Tensor) for value in content.values()) and not inner:
            break
        if not inner:
            return {}, notes
        key = min(inner, key=lambda key: _WRAPPERS.index(key) if key in _WRAPPERS else len(_WRAPPERS))
        notes.append(f"taken from {key}" + (f", of {', '.join(map(str, inner))}" if len(inner) > 1 else ""))
        content = content[key]
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    passed = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if passed:
        notes.append(f"passed over: {', '.join(passed[:6])}{' …' if len(passed) > 6 else ''}")
    tensors, prefix = without_prefix(tensors)
    return tensors, [*notes, *([f"without the prefix {prefix}"] if prefix else [])]


def _holds_tensors(content: Mapping[Any, Any], depth: int = 2) -> bool:
    return any(
        isinstance(value, Tensor) or (depth > 0 and isinstance(value, Mapping) and _holds_tensors(value, depth - 1))
        for value in content.values()
    )


def without_prefix(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors without what data parallelism, compilation or a wrapping module put before every name."""
    names, taken = list(tensors), ""
    while True:
        prefix = next((one for one in _PREFIXES if names and all(name.startswith(one) for name in names)), None)
        if prefix is None:
            return dict(zip(names, tensors.values(), strict=True)), taken
        names, taken = [name.removeprefix(prefix) for name in names], taken + prefix


# ---- safetensors, NumPy, HDF5 ----------------------------------------------------------------------------------------


def _read_safetensors(path: Path) -> WeightFile:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with open(path, "rb") as stream:
        first = stream.read(8)
    header = int.from_bytes(first, "little")
    if len(first) < 8 or header > path.stat().st_size - 8:
        raise refused(path, f"its header declares {header:,} bytes, more than the file has")
    try:
        tensors = load_file(path, device="cpu")
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise refused(path, f"it is not a whole safetensors file ({' '.join(str(error).split())[:120]})") from error
    if not tensors:
        raise refused(path, "it holds no tensors")
    tensors, prefix = without_prefix(tensors)
    notes = [f"without the prefix {prefix}"] if prefix else []
    return WeightFile(path, "safetensors", tensors, ordered=False, notes=notes)


def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise refused(path, "it is not a whole archive (cut short or damaged)") from error


def _read_npz(path: Path) -> WeightFile:
    members = _members(path)
    if sum(info.file_size for info in members.values()) > MAX_BYTES:
        raise refused(path, f"its arrays declare more than {MAX_BYTES >> 30} GiB")
    tensors = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name, info in members.items():
                with archive.open(info) as stream:
                    tensors[name.removesuffix(".npy")] = _array(path, name, stream, info.file_size)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, NotImplementedError) as error:
        raise refused(path, f"it is not a whole NumPy archive ({' '.join(str(error).split())[:120]})") from error
    tensors, prefix = without_prefix(tensors)
    return WeightFile(path, "NumPy archive", tensors, notes=[f"without the prefix {prefix}"] if prefix else [])


def _read_npy(path: Path) -> WeightFile:
    raise refused(
        path,
        "an .npy file holds one array, or a pickle, which can run any program",
        do="save its arrays by name in an environment that you trust: numpy.savez(FILE, **dictionary)",
    )


def _array(path: Path, name: str, stream: IO[bytes], size: int) -> Tensor:
    """One array of an archive whose header was compared with its bytes before anything is allocated."""
    version = np.lib.format.read_magic(stream)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if reader is None:
        raise ValueError(f"{name} is of version {version}")
    shape, fortran, dtype = reader(stream)
    if dtype.hasobject or dtype.kind not in "fiub":
        raise refused(path, f"{name} holds {'Python objects' if dtype.hasobject else dtype}, not numbers")
    count = 1
    for side in shape:
        count *= side
    if count * dtype.itemsize > size:
        raise ValueError(f"{name} declares {count * dtype.itemsize:,} bytes and has fewer")
    content = stream.read(count * dtype.itemsize)
    array = np.frombuffer(bytearray(content), dtype).reshape(shape, order="F" if fortran else "C")
    return torch.from_numpy(np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=False)).reshape(shape))


def _read_keras(path: Path) -> WeightFile:
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as stream:
        return _read_hdf5(path, stream)


def _read_hdf5(path: Path, stream: Any = None) -> WeightFile:
    if find_spec("h5py") is None:
        raise refused(path, "HDF5 needs the package h5py", do="pip install h5py, or save the arrays as .npz")
    import h5py

    try:
        with h5py.File(path if stream is None else stream, "r") as file:
            tensors = dict(_datasets(file))
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise refused(path, f"it is not a whole HDF5 file ({' '.join(str(error).split())[:120]})") from error
    tensors = {name: tensor for name, tensor in tensors.items() if "optimizer" not in name.split("/")[0]}
    if not tensors:
        raise refused(path, "it holds no tensors")
    return WeightFile(path, "HDF5", tensors, ordered=False)


def _datasets(group: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The arrays of a file and their paths; links that lead out of the file, or elsewhere in it, are not followed."""
    import h5py

    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue
        node = group[key]
        if isinstance(node, h5py.Group):
            yield from _datasets(node, f"{prefix}{key}/")
        elif isinstance(node, h5py.Dataset) and node.dtype.kind in "fiu" and not node.external and not node.is_virtual:
            if node.nbytes > MAX_BYTES:
                raise ValueError(f"{prefix}{key} declares {node.nbytes:,} bytes")
            yield f"{prefix}{key}", torch.from_numpy(np.asarray(node[()]))


_READERS: dict[str, Callable[[Path], WeightFile]] = {
    "pytorch": _read_pytorch,
    "safetensors": _read_safetensors,
    "npz": _read_npz,
    "npy": _read_npy,
    "hdf5": _read_hdf5,
    "keras": _read_keras,
}
