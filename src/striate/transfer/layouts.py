"""Layouts of others: TensorFlow's and Keras's names and axes, and maps that were flattened in another order."""

import re
from collections.abc import Iterable, Mapping
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from striate.errors import ConfigurationError
from striate.transfer.renaming import fitting

Layout = Literal["auto", "torch", "keras"]
Flatten = Literal["auto", "chw", "hwc"]

# Last part of a name → ours. TensorFlow says weights and biases, Keras kernel and bias, old archives of arrays W and b.
_KINDS = {
    "kernel": "weight", "weights": "weight", "depthwise_kernel": "weight", "depthwise_weights": "weight", "W": "weight",
    "bias": "bias", "biases": "bias", "b": "bias", "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip
_TELLING = (
    *("kernel", "weights", "biases", "depthwise_kernel", "depthwise_weights"),
    *("gamma", "moving_mean", "moving_variance"),
)
_JOINED = re.compile(r"(.+)_(kernel|weights|W|biases|bias|b)")  # conv1_1_W
_NUMBERED = re.compile(r"(.*?)[./]vars[./](\d+)")  # Keras 3 numbers the variables of a layer
_NORM = ("weight", "bias", "running_mean", "running_var")


def is_keras(names: Iterable[str]) -> bool:
    """Whether tensors are named as TensorFlow and Keras name theirs."""
    return any(_last(name) in _TELLING or _NUMBERED.fullmatch(name) for name in names)


def canonical(
    tensors: Mapping[str, Tensor], layout: Layout, mapping: Mapping[str, str] | None = None
) -> tuple[dict[str, Tensor], str]:
    """The tensors with PyTorch's last names and axes.

    Convolutions (H, W, I, O) become (O, I, H, W), depthwise ones (H, W, C, M) become (C·M, 1, H, W), dense layers
    (I, O) become (O, I), whatever they are called; `a/b/kernel:0` becomes `a.b.weight`, `a_W` becomes `a.weight`.

    Args:
        tensors: of a file.
        layout: "torch", "keras" or "auto", by the names.
        mapping: a person's; a name for which it has a pattern, and for what would become of it none, stays.

    Returns:
        The tensors, and the layout that they were in: "torch" or "keras".

    Raises:
        ConfigurationError: two tensors get the same name.
    """
    if layout == "torch" or (layout == "auto" and not is_keras(tensors)):
        return dict(tensors), "torch"
    layers: dict[str, list[str]] = {}
    for name in tensors:
        if match := _NUMBERED.fullmatch(name):
            layers.setdefault(match[1], []).append(name)
    result: dict[str, Tensor] = {}
    fits = fitting(mapping or {})
    for name, tensor in tensors.items():
        new = _numbered(name, layers, tensors) or _named(name)
        if fits(name) and not fits(new):
            new = name
        if new in result:
            raise ConfigurationError(f"two tensors of the file become {new}, one of them {name}", do="exclude one")
        result[new] = _transposed(name, tensor)
    return result, "keras"


def _last(name: str) -> str:
    return re.split(r"[./]", name.split(":")[0])[-1]


def _named(name: str) -> str:
    parts = re.split(r"[./]", name.split(":")[0])
    if parts[-1] in _KINDS:
        parts[-1] = _KINDS[parts[-1]]
    elif match := _JOINED.fullmatch(parts[-1]):
        parts[-1:] = [match[1], _KINDS[match[2]]]
    # Keras 2 names the group of a layer and the layer in it alike: conv1/conv1/kernel.
    return ".".join(part for index, part in enumerate(parts) if index == 0 or part != parts[index - 1])


def _numbered(name: str, layers: Mapping[str, list[str]], tensors: Mapping[str, Tensor]) -> str | None:
    match = _NUMBERED.fullmatch(name)
    if match is None:
        return None
    variables = layers[match[1]]
    norm = len(variables) == len(_NORM) and all(tensors[variable].ndim == 1 for variable in variables)
    kinds = _NORM if norm else ("weight", "bias")
    index = int(match[2])
    if index >= len(kinds):
        return None
    return f"{match[1].replace('/', '.')}.{kinds[index]}"


def _transposed(name: str, tensor: Tensor) -> Tensor:
    if tensor.ndim == 2:
        return tensor.T
    if tensor.ndim != 4:
        return tensor
    height, width, channels, last = tensor.shape
    if "depthwise" in name.lower() and "pointwise" not in _last(name):
        return tensor.permute(2, 3, 0, 1).reshape(channels * last, 1, height, width)
    return tensor.permute(3, 2, 0, 1)


# ---- what a network flattens -----------------------------------------------------------------------------------------


def flattened_maps(network: nn.Module) -> dict[str, int]:
    """Dense layers that see a flattened map of more than one place: name of the weight → channels of that map."""
    found: dict[str, int] = {}
    channels = int(getattr(network, "in_channels", 0))
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            channels = module.out_channels
        elif isinstance(module, nn.Linear):
            if channels and module.in_features > channels and module.in_features % channels == 0:
                found[f"{name}.weight"] = channels
            channels = 0  # what follows sees no map
    return found


def absorbed(network: nn.Module) -> dict[str, str]:
    """Biases that a network lacks since batch norm follows, as Keras has them: name → the running mean they come off.

    The layer before a batch norm is the last convolution or dense layer that was registered before it in its module.
    """
    found: dict[str, str] = {}
    before = None
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            before = name, module
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and before is not None:
            (layer, weights), before = before, None
            beside = layer.rpartition(".")[0] == name.rpartition(".")[0]
            if beside and weights.bias is None and len(weights.weight) == module.num_features:
                found[f"{layer}.bias"] = f"{name}.running_mean"
    return found


def fitted(tensor: Tensor, shape: torch.Size, channels: int | None, flatten: str) -> Tensor:
    """A tensor in the shape of ours where both say the same; else as it is.

    Args:
        tensor: out of a file, in PyTorch's axes.
        shape: of our tensor.
        channels: of the map that our dense layer sees flattened, None for other layers.
        flatten: "hwc" where the file's network flattened its maps (H, W, C) and ours flattens (C, H, W).
    """
    if len(shape) == 2 and tensor.ndim == 4 and tensor.shape[0] == shape[0] and tensor[0].numel() == shape[1]:
        return tensor.reshape(shape)  # a convolution over the whole map is a dense layer; its axes are (O, C, H, W)
    if len(shape) == 4 and tensor.ndim == 2 and tuple(tensor.shape) == (shape[0], prod(shape[1:])):
        if flatten == "hwc":
            return tensor.reshape(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
        return tensor.reshape(shape)
    if channels is not None and flatten == "hwc" and tensor.shape == shape:
        places = shape[1] // channels
        return tensor.reshape(shape[0], places, channels).transpose(1, 2).reshape(shape)
    if len(shape) == 4 and shape[1] == 1 and tensor.ndim == 4 and tensor.shape[:2] == (1, shape[0]):
        return tensor.transpose(0, 1)  # depthwise, with nothing in its name that said so
    return tensor
