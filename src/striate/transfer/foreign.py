"""Tensors of another's file under the names, the axes and the channels of ours."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from striate.transfer.layouts import absorbed, canonical, fitted, flattened_maps
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
    reshaped: dict[str, str] | None = None,
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file as the network would have them; nothing is loaded and nothing left out.

    Args:
        network: ours, possibly on the meta device.
        file: what was read.
        mapping: patterns of names → ours, applied to the names with PyTorch's last part, or as the file has them; None
            leaves them.
        strict: every pattern must fit some name.
        layout: "torch", "keras" or "auto", by the names.
        flatten: how the file's network flattens maps: "chw", "hwc" or "auto", by the layout.
        reshaped: gets what had another shape in the file, by our name.

    Returns:
        The tensors, those without a counterpart under the names that they got; and what was done, in words.

    Raises:
        ConfigurationError: a mapping that does not hold.
    """
    tensors, found = canonical(file.tensors, layout, mapping)  # type: ignore[arg-type]
    if flatten == "auto":
        flatten = "hwc" if found == "keras" else "chw"
    notes = ["axes and names of TensorFlow/Keras were turned into PyTorch's"] if found == "keras" else []
    names, own, maps = rename(tensors, mapping or {}, strict=strict), network.state_dict(), flattened_maps(network)
    result = {}
    for name, tensor in tensors.items():
        new = names[name]
        if new in own:
            shape = own[new].shape
            turned = flatten == "hwc" and (
                new in maps or (len(shape) == 4 and tensor.ndim == 2 and shape[2:].numel() > 1)
            )
            before, tensor = tensor.shape, fitted(tensor, shape, maps.get(new), flatten)
            if reshaped is not None and before != tensor.shape:
                reshaped[new] = f"{tuple(before)} → {tuple(shape)}: the same layer in another form"
            if turned:
                notes.append(f"{new} was reordered: the file's map was flattened (H, W, C)")
        result[new] = tensor
    return result, notes + _absorb(network, result)


def _absorb(network: nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    """Takes biases before batch norm, which ours lacks, off its running means: the same network; says so.

    γ (W x + b - μ) / σ + β = γ (W x - (μ - b)) / σ + β, and statistics of a batch contain b themselves.
    """
    taken = []
    for bias, mean in absorbed(network).items():
        if bias in tensors and mean in tensors and tensors[bias].shape == tensors[mean].shape:
            tensors[mean] = tensors[mean] - tensors.pop(bias)
            taken.append(bias)
    first = f"{len(taken)} biases before batch norm ({taken[0]} …)" if len(taken) > 1 else "".join(taken)
    return [f"{first} came off its running means, which is the same"] if taken else []
