"""Exact parameters, multiply-adds and receptive fields, layer by layer, and the memory that training takes.

The counting rule: one multiply-accumulate is 1; one picture; convolutions, transposed convolutions and linear layers
only, padded positions included. Biases, normalisation, pooling, activations and sums are not counted.

    convolution             kh · kw · (C_in / groups) · C_out · H_out · W_out
    transposed convolution  kh · kw · C_in · (C_out / groups) · H_in · W_in
    linear                  in · out

A layer that is none of these and multiplies by stored weights says its own count in a method
`mult_adds(input, output) -> int`, for one picture. Everything runs on the meta device: no numbers are computed.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import prod

import torch
from torch import Tensor, nn

from striate.models.meta_pass import run_with, stand_ins
from striate.models.receptive_field import ReceptiveFields, Spans

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# Layers without weights that have a row of their own in the table, because they change the size of the map.
RESIZING = ("torch.nn.modules.pooling", "torch.nn.modules.padding", "torch.nn.modules.upsampling")
ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)


@dataclass(frozen=True)
class Layer:
    """One call of one layer on one picture; shapes are without the batch axis.

    Attributes:
        receptive_field: pixels that one unit of the output sees along each axis (`receptive_field.py` has the rule);
            None when it is unknown.
        jump: pixels from one unit to the next; None where one unit stands for all positions.
    """

    name: str
    type: str
    kernel: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    padding: tuple[int, ...] | str | None
    dilation: tuple[int, ...] | None
    groups: int | None
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    weights: int
    biases: int
    mult_adds: int
    receptive_field: tuple[int, ...] | None = None
    jump: tuple[Fraction, ...] | None = None

    @property
    def parameters(self) -> int:
        return self.weights + self.biases

    @property
    def activations(self) -> int:
        """Elements of the output."""
        return prod(self.output_shape)


@dataclass(frozen=True)
class Counts:
    """The layer table, in order of execution, and its totals.

    Attributes:
        layers: layers with parameters, those that change the size of the map and those that count for themselves.
        parameters: all parameters of the network, whether its forward pass uses them or not.
        trainable_parameters: those with requires_grad.
    """

    layers: tuple[Layer, ...]
    parameters: int
    trainable_parameters: int

    @property
    def mult_adds(self) -> int:
        return sum(layer.mult_adds for layer in self.layers)

    @property
    def activations(self) -> int:
        return sum(layer.activations for layer in self.layers)


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that one training step holds on the device.

    Attributes:
        parameters: parameters and buffers.
        gradients: of the trainable parameters.
        optimizer: the optimizer's slots (1 per trainable parameter for momentum, 2 for Adam, 0 for plain descent).
        activations: the tensors that the forward pass keeps for the backward pass, each storage once, and the batch.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.activations


def count(network: nn.Module, input_shape: tuple[int, ...]) -> Counts:
    """Counts `network`, in evaluation mode, on a picture of `input_shape` (C, H, W); the network stays as it is.

    Auxiliary heads are counted where they were built.

    Raises:
        ValueError: for a layer with weights that the counting rule does not cover.
    """
    layers: list[Layer] = []
    counted: set[nn.Module] = set()
    fields, picture = ReceptiveFields(), torch.empty(1, *input_shape, device="meta")

    def record(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, ADAPTIVE) and inputs[0].shape == output.shape:
            return  # it has nothing to do at this size
        layers.append(_layer(name, module, inputs[0], output, fields.of(output), again=module in counted))
        counted.add(module)

    modes = {module: module.training for module in network.modules()}
    hooks = [
        module.register_forward_hook(partial(record, name))
        for name, module in network.named_modules()
        if _has_row(module)
    ]
    try:
        network.eval()
        with torch.no_grad(), fields:
            fields.start(picture)
            run_with(stand_ins(network), network, picture)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    parameters = list(network.parameters())
    return Counts(
        tuple(layers),
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    )


def training_memory(
    network: nn.Module,
    input_shape: tuple[int, ...],
    batch_size: int,
    *,
    optimizer_slots: int = 1,
    activation_dtype: torch.dtype = torch.float32,
) -> TrainingMemory:
    """Estimates the memory of a step of `network`, in its current modes, on `batch_size` pictures of `input_shape`.

    Counts what autograd says that it saves. Left out: workspaces of the kernels, gradients of activations on their way,
    the allocator's rounding, the loss, and the framework itself (some hundred MB on a GPU).

    Args:
        network: takes one tensor (N, C, H, W).
        input_shape: (C, H, W).
        batch_size: pictures on one device.
        optimizer_slots: what the optimizer keeps, in tensors per trainable parameter.
        activation_dtype: what floating-point activations are stored in; bfloat16 under its autocast.
    """
    substitutes = stand_ins(network)
    weights = {tensor.untyped_storage()._cdata for tensor in substitutes.values()}
    # A storage is kept here for as long as its address serves as its name.
    kept: dict[int, tuple[torch.UntypedStorage, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            element = activation_dtype.itemsize if tensor.is_floating_point() else tensor.element_size()
            kept[storage._cdata] = storage, storage.nbytes() // tensor.element_size() * element
        return tensor

    batch = keep(torch.empty(batch_size, *input_shape, device="meta"))
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run_with(substitutes, network, batch)
    gradients = sum(_bytes(parameter) for parameter in network.parameters() if parameter.requires_grad)
    return TrainingMemory(
        parameters=sum(_bytes(tensor) for tensor in (*network.parameters(), *network.buffers())),
        gradients=gradients,
        optimizer=optimizer_slots * gradients,
        activations=sum(size for _, size in kept.values()),
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _has_row(module: nn.Module) -> bool:
    has_parameters = next(module.parameters(recurse=False), None) is not None
    return has_parameters or hasattr(module, "mult_adds") or type(module).__module__ in RESIZING


def _layer(name: str, module: nn.Module, input: Tensor, output: Tensor, spans: Spans, *, again: bool) -> Layer:
    own = [] if again else list(module.named_parameters(recurse=False))
    padding = getattr(module, "padding", None)
    return Layer(
        name=name,
        type=type(module).__name__,
        kernel=_sizes(module, "kernel_size", input.ndim - 2),
        stride=_sizes(module, "stride", input.ndim - 2),
        padding=padding if isinstance(padding, str) else _sizes(module, "padding", input.ndim - 2),
        dilation=_sizes(module, "dilation", input.ndim - 2),
        groups=getattr(module, "groups", None),
        input_shape=tuple(input.shape[1:]),
        output_shape=tuple(output.shape[1:]),
        weights=sum(parameter.numel() for name, parameter in own if name != "bias"),
        biases=sum(parameter.numel() for name, parameter in own if name == "bias"),
        mult_adds=_mult_adds(name, module, input, output),
        receptive_field=tuple(span.size for span in spans) or None,
        jump=tuple(span.jump for span in spans if span.jump is not None) or None,
    )


def _sizes(module: nn.Module, attribute: str, axes: int) -> tuple[int, ...] | None:
    value = getattr(module, attribute, None)
    return (value,) * axes if isinstance(value, int) else value


def _mult_adds(name: str, module: nn.Module, input: Tensor, output: Tensor) -> int:
    own_rule = getattr(module, "mult_adds", None)
    if own_rule is not None:
        return own_rule(input, output)
    if isinstance(module, CONVOLUTIONS):
        return module.weight.numel() * output[0, 0].numel()
    if isinstance(module, TRANSPOSED):
        return module.weight.numel() * input[0, 0].numel()
    if isinstance(module, nn.Linear):
        return module.weight.numel() * (output[0].numel() // module.out_features)
    if any(parameter.ndim > 1 for parameter in module.parameters(recurse=False)):
        raise ValueError(
            f"no counting rule for {type(module).__name__} ({name}): give it mult_adds(input, output) -> int"
        )
    return 0
