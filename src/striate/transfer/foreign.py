"""Tensors of another's file under the names, the axes and the channels of ours."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from striate.errors import ConfigurationError
from striate.transfer.layouts import canonical, fitted, flattened_maps
from striate.transfer.reading import WeightFile
from striate.transfer.renaming import rename


@torch.no_grad()
def translate(
    network: nn.Module,
    file: WeightFile,
    mapping: Mapping[str, str] | None,
    *,
    strict: bool = False,
    layout: str = "auto",
    flatten: str = "auto",
    grey: str = "refuse",
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file as the network would have them; nothing is loaded and nothing left out.

    Args:
        network: ours, possibly on the meta device.
        file: what was read.
        mapping: patterns of names → ours, applied to the names with PyTorch's last part; None leaves them.
        strict: every pattern must fit some name.
        layout: "torch", "keras" or "auto", by the names.
        flatten: how the file's network flattens maps: "chw", "hwc" or "auto", by the layout.
        grey: what becomes of filters over colours where the network sees grey pictures: "refuse" or "sum".

    Returns:
        The tensors, those without a counterpart under the names that they got; and what was done, in words.

    Raises:
        ConfigurationError: a mapping that does not hold, filters over colours for a grey network.
    """
    tensors, found = canonical(file.tensors, layout)  # type: ignore[arg-type]
    if flatten == "auto":
        flatten = "hwc" if found == "keras" else "chw"
    notes = ["axes and names of TensorFlow/Keras were turned into PyTorch's"] if found == "keras" else []
    names, own, maps = rename(tensors, mapping or {}, strict=strict), network.state_dict(), flattened_maps(network)
    first = next((name for name, tensor in own.items() if tensor.ndim == 4), None)
    result = {}
    for name, tensor in tensors.items():
        new = names[name]
        if new in own:
            shape = own[new].shape
            turned = flatten == "hwc" and (
                new in maps or (len(shape) == 4 and tensor.ndim == 2 and shape[2:].numel() > 1)
            )
            tensor = fitted(tensor, shape, maps.get(new), flatten)
            if turned:
                notes.append(f"{new} was reordered: the file's map was flattened (H, W, C)")
            if new == first and tensor.shape != shape:
                tensor = _for_channels(tensor, shape, grey, notes)
        result[new] = tensor
    return result, notes


def _for_channels(tensor: Tensor, shape: torch.Size, grey: str, notes: list[str]) -> Tensor:
    colours = tensor.ndim == 4 and tensor.shape[1] == 3 and shape[1] == 1 and tensor.shape[0] == shape[0]
    if not colours or tensor.shape[2:] != shape[2:]:
        return tensor
    if grey == "refuse":
        raise ConfigurationError(
            "the file's first filters see 3 channels, the pictures have 1",
            nearest="init.grey=sum",
            do="sum the filters over the colours (init.grey=sum), or data.prepare.channels=3",
        )
    notes.append("the first filters were summed over the colours: what a grey picture in all three would give")
    return tensor.sum(1, keepdim=True)
