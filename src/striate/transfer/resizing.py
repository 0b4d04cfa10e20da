"""Tensors whose size the data decide, brought from that of the weights to that of the network; only when asked."""

from collections.abc import Mapping
from math import isqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import ConfigurationError
from striate.transfer.layouts import flattened_maps

Grey = Literal["refuse", "sum", "mean"]
Resize = Literal["refuse", "bilinear"]


@torch.no_grad()
def resized(
    network: nn.Module, weights: Mapping[str, Tensor], grey: Grey, resize: Resize
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors in the network's own sizes, as far as colours and the size of pictures decide these.

    - The first filters, for colour pictures where the network sees grey ones, or the other way round. "sum": their sum
      over the channels stays, so that a grey picture, shown in all channels, gives what it gave; "mean": their mean
      stays, so that each channel weighs what the average one did.
    - The weights of a dense layer that reads a flattened map of another size. "bilinear": so that a map gives what it
      would give if it were brought to the old size first, by bilinear interpolation (anti-aliased where it shrinks).

    Args:
        network: ours.
        weights: tensors under its names; others are passed through.
        grey: what becomes of the first filters.
        resize: what becomes of the dense layer.

    Returns:
        The tensors, and what was done, by name.

    Raises:
        ConfigurationError: what may not be resized, unless somebody says how.
    """
    result, said, own = dict(weights), {}, network.state_dict()
    first = next((name for name, tensor in own.items() if tensor.ndim == 4), None)
    for name in (name for name in own if name in weights):
        tensor, shape, fresh = weights[name], own[name].shape, None
        if tensor.shape == shape:
            continue
        if name == first:
            fresh, how = _for_channels(tensor, shape, grey)
        elif name in (maps := flattened_maps(network)) and tensor.ndim == 2:
            fresh, how = _for_places(name, tensor, shape, maps[name], resize)
        if fresh is not None:
            result[name], said[name] = fresh, f"{tuple(tensor.shape)} → {tuple(shape)}: {how}"
    return result, said


def _for_channels(tensor: Tensor, shape: torch.Size, grey: Grey) -> tuple[Tensor | None, str]:
    same = tensor.ndim == 4 and tensor.shape[0] == shape[0] and tensor.shape[2:] == shape[2:]
    if not same or {tensor.shape[1], shape[1]} != {1, 3}:
        return None, ""
    if grey == "refuse":
        raise ConfigurationError(
            f"the file's first filters see {_channels(tensor.shape[1])}, the pictures have {shape[1]}",
            nearest="init.grey=sum",
            do=f"keep their sum over the channels (init.grey=sum), or data.prepare.channels={tensor.shape[1]}",
        )
    spread = tensor.sum(1, keepdim=True).expand(shape) / (shape[1] if grey == "sum" else tensor.shape[1])
    return spread, f"the {grey} over the channels stays"


def _for_places(
    name: str, tensor: Tensor, shape: torch.Size, channels: int, resize: Resize
) -> tuple[Tensor | None, str]:
    outputs, sides = shape[0], [isqrt(inputs // channels) for inputs in (tensor.shape[1], shape[1])]
    square = all(channels * side**2 == inputs for side, inputs in zip(sides, (tensor.shape[1], shape[1]), strict=True))
    if tensor.shape[0] != outputs or not square:
        return None, ""
    before, after = sides
    if resize == "refuse":
        raise ConfigurationError(
            f"{name} reads {before}×{before} places in the file, {after}×{after} here",
            nearest="init.resize=bilinear",
            do=f"interpolate it, bring the pictures to the other size, or leave it out: init.exclude=['{name}']",
        )
    each = torch.eye(after, dtype=tensor.dtype)[None, None]
    line = F.interpolate(each, (before, after), mode="bilinear", antialias=True)[0, 0]  # of the old place a, new i
    maps = torch.einsum("ocab,ai,bj->ocij", tensor.view(outputs, channels, before, before), line, line)
    return maps.reshape(shape), f"from {before}×{before} to {after}×{after} places"


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count > 1 else ''}"
