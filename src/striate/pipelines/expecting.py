"""What foreign weights expect of pictures and mean by their outputs: as somebody said, or as is assumed and said."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from striate.data.meta import Meta
from striate.errors import ConfigurationError
from striate.messages import say
from striate.tasks.building import construct_network
from striate.transfer.libraries import Expected
from striate.transfer.matching import Match

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of torchvision's weights, and of most that followed
_CROPPED_FROM = 128  # networks for smaller pictures see them whole
_LARGEST_FILE = 16 << 20


def class_names(file: str | None) -> list[str] | None:
    """The names of a file, one a line in the order of the outputs, or a JSON list.

    Raises:
        ConfigurationError: no such file, fewer than two names, or one twice.
    """
    if file is None:
        return None
    path = Path(file).expanduser()
    if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
        raise ConfigurationError(f"classes={file}: there is no such file of names", do="a text file, one name a line")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else [line.strip() for line in text.splitlines()]
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"classes={file} cannot be read: {' '.join(str(error).split())[:120]}") from error
    if not isinstance(content, list):
        raise ConfigurationError(f"classes={file} is no list of names", do="a text file, one name a line")
    names = [str(name) for name in content if str(name)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or len(names) < 2:
        fault = f"names {twice!r} twice" if twice else f"has {len(names)} names"
        raise ConfigurationError(f"classes={file} {fault}", do="one name a line, each once, at least two")
    return names


def expectation(config: Mapping[str, Any], found: Match, library: Expected | None) -> Expected:
    """Levels, size, crop and classes: what the person said, else the library, else an assumption that is said.

    Raises:
        ConfigurationError: levels for another number of channels, or on another scale than said.
    """
    levels = _given_levels(config, found.in_channels)
    if levels is None:
        levels = (library.mean, library.std) if library else _assumed_levels(found)
    paper = getattr(type(found.network), "paper_input", (3, 224, 224))
    size = config["input_size"] or (library.input_size if library else None) or int(paper[1])
    crop = config["crop_fraction"] or (library.crop_fraction if library else None)
    crop = crop or (0.875 if size >= _CROPPED_FROM else 1.0)
    names = class_names(config["classes"])
    if names is None and library is not None and library.classes is not None:
        names = _distinct(library.classes)
    if names is None or len(names) != found.num_classes:
        names = [str(index) for index in range(found.num_classes)]
        say(f"The classes have no names (classes=FILE): they are called 0 … {found.num_classes - 1}")
    return Expected(*levels, size, crop, "bilinear", tuple(names))


def passport(name: str, classes: Sequence[str], channels: int, levels: Sequence[tuple[float, ...]] = ()) -> Meta:
    """What is known of data that were never seen: classes, channels, mean and deviation; no pictures."""
    mean, std = levels or ((0.0,) * channels, (1.0,) * channels)
    return Meta.create(
        name=name, kind="classification", pack="encoded", classes=tuple(classes), channels=channels, image_size=None,
        mean=mean, std=std, counts={"train": (0,) * len(classes)}, geometry={}, files={},
    )  # fmt: skip


def outlined(model: Mapping[str, Any], classes: int, channels: int, size: tuple[int, int] | None = None) -> nn.Module:
    """The network of a node for so many classes and channels, of which nobody knows the data."""
    meta = passport("outline", [str(index) for index in range(classes)], channels)
    return construct_network(model, meta, size)


def measured(expected: Expected) -> list[str]:
    """How the published figures of weights were measured, where a library says so."""
    if expected.input_size is None or expected.crop_fraction is None:
        return []
    resized = "" if expected.interpolation == "bilinear" else f", {expected.interpolation} (here bilinear)"
    return [
        f"their published figures are for data.input_size={expected.input_size} "
        f"data.crop_fraction={expected.crop_fraction:.4g}{resized}"
    ]


def _given_levels(config: Mapping[str, Any], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    mean, std, scale = config["mean"], config["std"], config["pixels"]
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise ConfigurationError("mean and std go together", do="give both, for pixels of 0 to pixels=1 or pixels=255")
    if len(mean) != channels or len(std) != channels:
        raise ConfigurationError(
            f"mean has {len(mean)} and std {len(std)} values, the network sees {channels} channels",
            do="one value a channel",
        )
    if max(mean) > scale or max(std) > scale:
        raise ConfigurationError(
            f"mean={mean} std={std} do not lie within pixels=0…{scale}", nearest="pixels=255" if scale == 1 else None
        )
    order = -1 if config["colours"] == "bgr" else 1
    return tuple(value / scale for value in mean[::order]), tuple(value / scale for value in std[::order])


def _assumed_levels(found: Match) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if found.pair is not None and found.pair.levels is not None:
        levels: tuple[tuple[float, ...], tuple[float, ...]] = found.pair.levels
    else:
        levels = IMAGENET if found.in_channels == 3 else ((0.0,) * found.in_channels, (1.0,) * found.in_channels)
    say(f"mean and std were not given; assumed: {list(levels[0])} and {list(levels[1])}")
    return levels


def _distinct(names: Sequence[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name} ({index})" for index, name in enumerate(names)]
