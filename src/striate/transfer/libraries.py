"""Pretrained weights of torchvision and timm: which there are, where the libraries keep them, what they expect."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from striate.errors import ConfigurationError, StorageError, nearest
from striate.messages import say
from striate.transfer.pairs import Pair

_GIVE = "init.path=FILE (convert.py: input=FILE)"  # a file that a person has


@dataclass(frozen=True)
class Expected:
    """How pictures must be shown to a network of others, and what its outputs mean.

    Args:
        mean: per channel, on a scale of 0 to 1.
        std: likewise.
        input_size: side in pixels; None where nobody said.
        crop_fraction: share of the short side that the centre crop keeps at evaluation.
        interpolation: of the resizing before it.
        classes: what the outputs mean, in order; None where nobody said.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: int | None = None
    crop_fraction: float | None = None
    interpolation: str = "bilinear"
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Published:
    """One published set of weights of a network in a library; nothing was downloaded yet."""

    pair: Pair
    weights: str
    expected: Expected
    place: Any

    def fetch(self) -> Path:
        """The file in the library's own cache, downloaded by the library if it is not there.

        Raises:
            StorageError: it cannot be had; the message names the file to put there.
        """
        return _fetch_torchvision(self) if self.pair.library == "torchvision" else _fetch_timm(self)

    def __str__(self) -> str:
        return f"{self.pair.library} {self.pair.name} {self.weights}"


def obtainable(wanted: Published, patience: float = 5.0) -> str:
    """Why weights of torchvision cannot be had here, or nothing: they are in the cache, or their server answers.

    Args:
        wanted: of torchvision.
        patience: seconds that the server has.
    """
    from threading import Thread

    url, answers = wanted.place.url, []
    if (_torchvision_cache() / url.rpartition("/")[2]).is_file():
        return ""

    def ask() -> None:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=2 * patience):
                answers.append("")
        except Exception as error:  # of urllib, http, ssl and sockets
            answers.append(" ".join(str(error).split())[:120] or type(error).__name__)

    # In a thread: nothing limits how long the system looks for a name.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return answers[0] if answers else f"no answer in {patience:g} s"


def published(pair: Pair, weights: str) -> Published:
    """The weights of that name, or the library's best by the name DEFAULT.

    Raises:
        ConfigurationError: the library is not there, or has no weights of that name.
    """
    if find_spec(pair.library) is None:
        raise ConfigurationError(
            f"{pair.library} is not installed", do=f"pip install {pair.library}, or init.path=FILE"
        )
    return _of_torchvision(pair, weights) if pair.library == "torchvision" else _of_timm(pair, weights)


def _refuse(pair: Pair, weights: str, names: list[str]) -> ConfigurationError:
    return ConfigurationError(
        f"init.weights={weights}: {pair.library} has no such weights of {pair.name}",
        nearest=nearest(weights, names),
        do=f"one of {', '.join(names)}",
    )


# ---- torchvision -----------------------------------------------------------------------------------------------------


def _of_torchvision(pair: Pair, weights: str) -> Published:
    import torchvision

    entries = torchvision.models.get_model_weights(pair.name)
    names = [entry.name for entry in entries]
    if weights != "DEFAULT" and weights not in names:
        raise _refuse(pair, weights, ["DEFAULT", *names])
    entry = entries[weights]  # of two names of one entry the enumeration gives the first
    view = entry.transforms()
    mean, std = pair.levels or (tuple(view.mean), tuple(view.std))
    categories = entry.meta.get("categories")
    expected = Expected(
        mean, std, int(view.crop_size[0]), view.crop_size[0] / view.resize_size[0], str(view.interpolation.value),
        None if categories is None else tuple(categories),
    )  # fmt: skip
    return Published(pair, entry.name, expected, entry)


def _torchvision_cache() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _fetch_torchvision(wanted: Published) -> Path:
    url = wanted.place.url
    file = _torchvision_cache() / url.rpartition("/")[2]
    if not file.is_file():
        try:
            wanted.place.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
        except Exception as error:  # of urllib, http, ssl, the hash and the disk
            raise _unreachable(wanted, error, f"get {url} by other means, then {_GIVE}") from error
    return file


# ---- timm ------------------------------------------------------------------------------------------------------------


def _of_timm(pair: Pair, weights: str) -> Published:
    import timm

    names = [name.partition(".")[2] for name in timm.list_pretrained(f"{pair.name}.*")]
    default: Any = timm.get_pretrained_cfg(pair.name)
    tag = default.tag if weights == "DEFAULT" else weights
    if tag not in names:
        raise _refuse(pair, weights, ["DEFAULT", *names])
    settings: Any = timm.get_pretrained_cfg(f"{pair.name}.{tag}")
    expected = Expected(
        tuple(settings.mean), tuple(settings.std), int(settings.input_size[-1]), float(settings.crop_pct),
        str(settings.interpolation), _imagenet_classes() if tag.endswith("in1k") else None,
    )  # fmt: skip
    return Published(pair, tag, expected, settings)


def _imagenet_classes() -> tuple[str, ...]:
    from torchvision.models import AlexNet_Weights

    return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


def _fetch_timm(wanted: Published) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    settings = wanted.place
    # As timm.models.load_state_dict_from_hf looks for them, which gives the tensors and not the file.
    names = ("model.safetensors", settings.hf_hub_filename or "pytorch_model.bin")
    for name in names:
        with suppress(LocalEntryNotFoundError):
            return Path(hf_hub_download(settings.hf_hub_id, name, local_files_only=True))
    say(f"Downloading {settings.hf_hub_id}")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # of each retry it warns twice
    for name in names:
        try:
            return Path(hf_hub_download(settings.hf_hub_id, name))
        except Exception as error:
            # Without a network nobody knows whether there is such an entry: LocalEntryNotFoundError.
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            do = f"get {name} of {settings.hf_hub_id} by other means, then {_GIVE}"
            raise _unreachable(wanted, error, do) from error
    raise _unreachable(wanted, FileNotFoundError(f"no {' or '.join(names)}"), "name another init.weights")


def _unreachable(wanted: Published, error: Exception, do: str) -> StorageError:
    reason = " ".join(str(error).split()).partition(". ")[0][:160] or type(error).__name__
    return StorageError(f"the weights {wanted} are not in the cache and cannot be downloaded: {reason}", do=do)
