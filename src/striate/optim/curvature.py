"""The diagonal of the Hessian by backpropagation, in the approximation of Gauss and Newton (LeCun et al. 1998).

A layer's curvatures come from those of the next by the squares of its derivatives (appendix C, equations 23-26 for a
weight, a weighted sum and a squashing function):

    d²E/dw_ij² = d²E/da_i² · x_j²      d²E/da_i² = f'(a_i)² · d²E/dx_i²      d²E/dx_j² = sum over i of w_ij² d²E/da_i²

Second derivatives of the squashing functions and everything off the diagonal are dropped, and the curvatures of all
connections that share a weight are added up. So the results are never negative, and cost two backward passes.

The network is any whose operations are known here: PyTorch's own record of the forward pass is walked backwards, and
each operation is asked for its derivative or the square of it. A square (of a distance) keeps its second derivative, 2:
it is what least squares are made of.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Criterion(Protocol):
    """What a loss says of its derivatives by the logits, (N, K) each."""

    def output_error(self, logits: Tensor, targets: Tensor) -> Tensor: ...
    def output_curvature(self, logits: Tensor, targets: Tensor) -> Tensor: ...


class Pair(NamedTuple):
    """First and second derivatives of the loss by the same tensor."""

    first: Tensor
    second: Tensor


# Copies, rearrangements, sums: derivatives of 0 and 1, so that the square of each is itself.
_ZERO_ONE = {
    *("Add", "Alias", "Cat", "Clone", "ConstantPadNd", "Expand", "IndexCopy", "IndexSelect", "MaxPool2DWithIndices"),
    *("Permute", "ReflectionPad2D", "Relu", "ReplicationPad2D", "ReshapeAlias", "Select", "Slice", "Squeeze", "Sum"),
    *("T", "ToCopy", "Transpose", "UnsafeView", "Unsqueeze", "View"),
}
# An output depends on one element of each operand: to multiply by the derivative twice is to multiply by its square.
_ELEMENTWISE = {
    *("Div", "Elu", "Exp", "Hardtanh", "LeakyRelu", "Mul", "Neg", "Pow", "Rsub", "Sigmoid", "Silu", "Softplus", "Sub"),
    "Tanh",
}


def hessian_diagonal(
    network: nn.Module, loss: Criterion, batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[nn.Parameter, Tensor]:
    """The mean over all samples of the second derivative of the loss by each weight.

    Args:
        network: maps inputs to logits (N, K); computed in evaluation mode, and left as it was.
        loss: its derivatives by the logits; class weights make the mean a weighted sum over the number of samples.
        batches: (inputs, targets); samples must not depend on each other.

    Returns:
        A tensor of the shape of each trainable parameter, 0 or more; 0 where the logits do not depend on it.

    Raises:
        ValueError: the network has an operation for which no rule is known, or there is no sample.
    """
    totals = {parameter: torch.zeros_like(parameter) for parameter in network.parameters() if parameter.requires_grad}
    modes = {module: module.training for module in network.modules()}
    samples = 0
    try:
        network.eval()
        for inputs, targets in batches:
            with torch.enable_grad():
                logits = network.forward(inputs)  # not the call: a compiled network shows no operations
            with torch.no_grad():
                start = Pair(loss.output_error(logits, targets), loss.output_curvature(logits, targets))
                for parameter, pair in walk(logits, start).items():
                    totals[parameter] += pair.second
            samples += len(targets)
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not samples:
        raise ValueError("expected at least one sample")
    # Terms of a square's second derivative cancel only up to rounding.
    return {parameter: total.div_(samples).clamp_(min=0) for parameter, total in totals.items()}


def walk(outputs: Tensor, start: Pair) -> dict[nn.Parameter, Pair]:
    """Carries both derivatives from the outputs back to the leaves of the recorded graph.

    Raises:
        ValueError: an operation without a rule.
    """
    root = outputs.grad_fn
    if root is None:
        return {}
    waiting = _uses(root)
    arrived: dict[Any, dict[int, Pair]] = {root: {outputs.output_nr: start}}
    ready, leaves = [root], {}
    while ready:
        node = ready.pop()
        pairs = arrived.pop(node)
        if hasattr(node, "variable"):
            leaves[node.variable] = pairs[0]
            continue
        for position, pair in _through(node, pairs):
            successor, number = node.next_functions[position]
            pair = Pair(*(tensor.sum_to_size(_shape(successor, number)) for tensor in pair))
            own = arrived.setdefault(successor, {})
            own[number] = Pair(*map(torch.add, own[number], pair)) if number in own else pair
        for successor, _ in node.next_functions:
            if successor is not None:
                waiting[successor] -= 1
                if not waiting[successor]:
                    ready.append(successor)
    return leaves


def _uses(root: Any) -> dict[Any, int]:
    """How often the result of each operation is used by others."""
    uses: dict[Any, int] = {root: 0}
    stack = [root]
    while stack:
        for successor, _ in stack.pop().next_functions:
            if successor is None:
                continue
            if successor not in uses:
                uses[successor] = 0
                stack.append(successor)
            uses[successor] += 1
    return uses


def _shape(node: Any, number: int) -> torch.Size:
    return node.variable.shape if hasattr(node, "variable") else torch.Size(node._input_metadata[number].shape)


def _through(node: Any, pairs: dict[int, Pair]) -> list[tuple[int, Pair]]:
    """Both derivatives by each operand that needs them, by the operand's place."""
    name = node.name().rstrip("0123456789").removesuffix("Backward")
    outputs = len(node._input_metadata)
    # None for the outputs that nobody uses, such as the places of a maximum.
    firsts, seconds = ([pairs[k][order] if k in pairs else None for k in range(outputs)] for order in range(2))
    by_operand = _operands(node(*firsts))
    places = [place for place, first in enumerate(by_operand) if first is not None and node.next_functions[place][0]]
    if name in _ZERO_ONE:
        squared = _operands(node(*seconds))
    elif name in _ELEMENTWISE:
        once = _operands(node(*seconds))
        squared = [_operands(node(once[place]))[place] if place in places else None for place in range(len(once))]
        if name == "Pow" and node._saved_exponent == 2:
            squared[0] = squared[0] + 2 * pairs[0].first
    elif name in _SQUARED:
        squared = _SQUARED[name](node, pairs[0].second)
    else:
        raise ValueError(f"no rule for the curvature of {name} ({node.name()})")
    return [(place, Pair(by_operand[place], squared[place])) for place in places]


def _operands(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple) else [result]


def _convolution(node: Any, curvature: Tensor) -> list[Any]:
    needed = [successor is not None for successor, _ in node.next_functions]
    inputs, weight = node._saved_input.square(), node._saved_weight.square()
    return list(
        torch.ops.aten.convolution_backward(
            curvature, inputs, weight, [curvature.shape[1]], node._saved_stride, node._saved_padding,
            node._saved_dilation, node._saved_transposed, node._saved_output_padding, node._saved_groups, needed,
        )
    )  # fmt: skip


def _product(left: Tensor | None, right: Tensor | None, curvature: Tensor) -> list[Any]:
    by_left = None if right is None else curvature @ right.square().mT
    by_right = None if left is None else left.square().mT @ curvature
    return [by_left, by_right]


def _mean(node: Any, curvature: Tensor) -> list[Any]:
    """Each of n elements has a weight of 1/n."""
    inputs = _shape(*node.next_functions[0])
    return [node(curvature) * (curvature.numel() / inputs.numel())]


def _average(node: Any, curvature: Tensor) -> list[Any]:
    if node._saved_divisor_override or (not node._saved_count_include_pad and any(node._saved_padding)):
        raise ValueError("no rule for the curvature of an average over parts of its window")
    height, width = (*node._saved_kernel_size, *node._saved_kernel_size)[:2]
    return [node(curvature) / (height * width)]


_SQUARED: dict[str, Callable[[Any, Tensor], list[Any]]] = {
    "Convolution": _convolution,
    "Addmm": lambda node, curvature: [curvature, *_product(node._saved_mat1, node._saved_mat2, curvature)],
    "Mm": lambda node, curvature: _product(node._saved_self, node._saved_mat2, curvature),
    "Mean": _mean,
    "AvgPool2D": _average,
}
