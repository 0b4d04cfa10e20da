"""Receptive fields by a rule that follows the computation itself: every operation, whatever module it comes from.

Unit i of a map sees, along one axis, the pixels low + jump·i … high + jump·i. A picture has low = high = 0, jump = 1. A
convolution or pooling of kernel k, dilation d, stride s and padding p makes of it

    low' = low − jump·p        high' = high + jump·(d·(k − 1) − p)        jump' = jump·s

so that the receptive field high − low + 1 grows by jump·d·(k − 1). Where branches meet (sums, concatenations), the
lowest low and the highest high count: the largest path, which contains the others. Layers that join all positions
(global pooling, flattening) see from the first unit's low to the last unit's high. Padding counts as picture: a field
may be larger than the picture, and units at the border see less of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten
POOLING = {
    *(aten.max_pool2d_with_indices, aten.max_pool3d_with_indices, aten.avg_pool2d, aten.avg_pool3d),
    *(aten.max_pool2d, aten.max_pool3d, aten.max_pool1d, aten.avg_pool1d),
}
PADDING = {
    *(aten.constant_pad_nd, aten.replication_pad1d, aten.replication_pad2d, aten.replication_pad3d),
    *(aten.reflection_pad1d, aten.reflection_pad2d, aten.reflection_pad3d),
}
ADAPTIVE = {
    *(aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d, aten.adaptive_max_pool2d, aten.adaptive_max_pool3d),
    *(aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d, aten.adaptive_max_pool1d),
}


@dataclass(frozen=True)
class Span:
    """What the units of a map see along one axis.

    Attributes:
        low: first pixel that unit 0 sees; negative in the padding.
        high: last pixel that unit 0 sees.
        jump: pixels from one unit to the next; None when one unit stands for all positions.
        whole: first and last pixel that all units see together, where they do not follow from the rest.
    """

    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)
    jump: Fraction | None = Fraction(1)
    whole: tuple[Fraction, Fraction] | None = None

    @property
    def size(self) -> int:
        """The receptive field in pixels."""
        return int(self.high - self.low) + 1

    def window(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Span":
        assert self.jump is not None
        high = self.high + self.jump * (dilation * (kernel - 1) - padding)
        return Span(self.low - self.jump * padding, high, self.jump * stride)

    def adaptive(self, before: int, after: int) -> "Span":
        """Pooling to `after` of `before` units: regular windows if they divide, else the largest of them."""
        assert self.jump is not None
        if before % after == 0:
            return self.window(before // after, before // after, 0)
        largest = max(-((-before * (i + 1)) // after) - before * i // after for i in range(after))
        whole = (self.low, self.high + self.jump * (before - 1))
        return Span(self.low, self.high + self.jump * (largest - 1), self.jump * Fraction(before, after), whole)

    def all_positions(self, units: int) -> "Span":
        if self.jump is None:
            return self
        return Span(*(self.whole or (self.low, self.high + self.jump * (units - 1))), jump=None)


Spans = tuple[Span, ...]


class ReceptiveFields(TorchDispatchMode):
    """While it is active, follows what every tensor sees of the pictures that were given to `start`.

    Operations that it has no rule for keep the field where they keep the size of the map; where they change it
    (resizing, transposed convolution), the field is unknown from there on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._spans = WeakTensorKeyDictionary()

    def start(self, picture: Tensor) -> None:
        """(N, C, *space): each pixel sees itself."""
        self._spans[picture] = (Span(),) * (picture.ndim - 2)

    def of(self, tensor: Tensor) -> Spans:
        """What a unit of this tensor sees, by axis; () when nothing of the picture, or when it is unknown."""
        return self._spans.get(tensor, ())

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        seeing = [
            leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor) and leaf in self._spans
        ]
        if seeing:
            for result in tree_leaves(output):
                if isinstance(result, Tensor):
                    self._spans[result] = self._rule(func, args, seeing, result)
        return output

    def _rule(self, func: Any, args: tuple, seeing: Sequence[Tensor], output: Tensor) -> Spans:
        """The spans of an output; () when unknown."""
        source, spans = seeing[0], joined([self._spans[tensor] for tensor in seeing])
        axes = len(spans)
        if not axes or any(span.jump is None for span in spans):
            return spans
        operation, units = func.overloadpacket, source.shape[-axes:]
        if operation is aten.convolution:
            _, weight, _, stride, padding, dilation, transposed, *_ = args
            return () if transposed else windows(spans, weight.shape[2:], stride, padding, dilation)
        if operation in POOLING:
            # Local response normalisation pools over channels: a pooling of three axes on a map of two.
            kernel, stride, padding, dilation = (*args[1:], *((), (), (), ())[len(args) - 1 :])[:4]
            dilation = dilation if "max" in str(operation) else ()
            return windows(spans, kernel, stride or kernel, padding or [0], dilation or [1])
        if operation in PADDING:
            before = [*args[1][: 2 * axes : 2], *[0] * axes][:axes]  # from the last axis to the first
            return tuple(shifted(span, -pad) for span, pad in zip(spans, reversed(before), strict=True))
        if operation is aten.slice:
            given: list[Any] = [*args[1:], *(0, 0, None, 1)[len(args) - 1 :]]
            dimension, start, _, step = given
            axis, start = dimension % source.ndim - (source.ndim - axes), start or 0
            first = start + source.shape[dimension] if start < 0 else start
            return tuple(shifted(span, first, step) if place == axis else span for place, span in enumerate(spans))
        if operation in ADAPTIVE:
            sizes = zip(units, output.shape[-axes:], strict=True)
            return tuple(span.adaptive(*size) for span, size in zip(spans, sizes, strict=True))
        if operation in (aten.permute, aten.transpose):
            order = list(range(source.ndim))
            if operation is aten.permute:
                order = [order[dimension] for dimension in args[1]]
            else:
                order[args[1]], order[args[2]] = order[args[2]], order[args[1]]
            return spans if order[-axes:] == sorted(order)[-axes:] else ()
        if output.shape[-axes:] == units:
            return spans
        if "upsample" in str(operation) or "unpool" in str(operation):
            return ()
        return tuple(span.all_positions(size) for span, size in zip(spans, units, strict=True))


def windows(spans: Spans, *sizes: Sequence[int]) -> Spans:
    """Kernel, stride, padding and dilation, each one number for all axes or one an axis, the last ones counting."""
    axes = len(spans)
    numbers = [list(size) * axes if len(size) == 1 else list(size)[-axes:] for size in sizes]
    return tuple(span.window(*own) for span, *own in zip(spans, *numbers, strict=True))


def shifted(span: Span, units: int, step: int = 1) -> Span:
    assert span.jump is not None
    distance = units * span.jump
    return replace(span, low=span.low + distance, high=span.high + distance, jump=span.jump * step)


def joined(branches: Sequence[Spans]) -> Spans:
    """The largest of several paths; () where one is unknown or their units stand for different things."""
    if len({tuple(span.jump for span in spans) for spans in branches}) > 1:
        return ()
    return tuple(
        Span(min(span.low for span in axis), max(span.high for span in axis), axis[0].jump, axis[0].whole)
        for axis in zip(*branches, strict=True)
    )
