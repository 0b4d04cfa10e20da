"""The blocks of residual networks and the shortcuts around them (He et al. 2015, arXiv:1512.03385, sec. 3 and 4.1)."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.network import BatchNorm2d, check_choice, check_eps

SHORTCUTS = ("A", "A-middle", "B", "C", "none")


class ZeroPadShortcut(nn.Module):
    """Option A where dimensions change: every `stride`-th unit, the channels that are missing zero; no parameters.

    The zeros come last, or with `middle` half of them first, as in some reimplementations: the same networks with
    their channels in another order, so that only weights of others need it.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, middle: bool = False):
        super().__init__()
        self.extra, self.stride = out_channels - in_channels, stride
        self.first = self.extra // 2 if middle else 0

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.first, self.extra - self.first))


class Projection(nn.Module):
    """Options B and C: 1×1 convolution and batch normalisation."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, options: "BlockOptions"):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=not options.batch_norm)
        self.bn = norm(out_channels, options)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


@dataclass(frozen=True)
class BlockOptions:
    """What all blocks of a network have in common.

    Attributes:
        shortcut: one of `SHORTCUTS`; "none" makes a plain network.
        stride_in: which convolution of a bottleneck has the stride, "1x1" for the first or "3x3" for the second; of a
            basic block it is always the first.
        zero_init: the last scale starts at 0, so that the block starts as its shortcut.
        batch_norm: after each convolution; without it the convolutions have biases.
        eps: of batch norm.
    """

    shortcut: str
    stride_in: str = "1x1"
    zero_init: bool = False
    batch_norm: bool = True
    eps: float = 1e-5

    def __post_init__(self) -> None:
        check_choice("shortcut", self.shortcut, SHORTCUTS)
        check_choice("stride_in", self.stride_in, ("1x1", "3x3"))
        check_eps(self.eps)
        if self.zero_init and not self.batch_norm:
            raise ValueError("zero_init_residual sets scales of batch norm: it needs batch_norm=True")


@dataclass(frozen=True)
class Geometry:
    """How a block samples its map.

    Attributes:
        stride: 1 or 2.
        before: dilation of the convolutions up to the stride, the one that has it included.
        after: dilation of the convolutions after it. Where a stride of 2 was traded for dilation, it is twice `before`,
            so that each sees the units that it would see on the smaller map.
    """

    stride: int = 1
    before: int = 1
    after: int = 1

    @property
    def changes_size(self) -> bool:
        """Whether the block has a stride of 2 before any trade."""
        return self.stride != 1 or self.before != self.after


def norm(channels: int, options: BlockOptions) -> nn.Module:
    return BatchNorm2d(channels, options.eps) if options.batch_norm else nn.Identity()


def conv3x3(in_channels: int, out_channels: int, stride: int, dilation: int, batch_norm: bool) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=not batch_norm)


def make_shortcut(options: BlockOptions, in_channels: int, out_channels: int, geometry: Geometry) -> nn.Module | None:
    if options.shortcut == "none":
        return None
    same = in_channels == out_channels and not geometry.changes_size
    if options.shortcut == "C" or (options.shortcut == "B" and not same):
        return Projection(in_channels, out_channels, geometry.stride, options)
    if out_channels < in_channels:
        raise ValueError(
            f"shortcut 'A' adds channels and cannot go from {in_channels} to {out_channels}: take 'B' or 'C'"
        )
    middle = options.shortcut == "A-middle"
    return nn.Identity() if same else ZeroPadShortcut(in_channels, out_channels, geometry.stride, middle)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut around them (Fig. 5, left). (N, C, H, W) → (N, width, H/stride, W/stride)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, geometry: Geometry, options: BlockOptions):
        super().__init__()
        with_norm = options.batch_norm
        self.conv1 = conv3x3(in_channels, width, geometry.stride, geometry.before, with_norm)
        self.bn1, self.relu1 = norm(width, options), nn.ReLU(inplace=True)
        self.conv2 = conv3x3(width, width, 1, geometry.after, with_norm)
        self.bn2, self.relu2 = norm(width, options), nn.ReLU(inplace=True)
        self.shortcut = make_shortcut(options, in_channels, width, geometry)
        if options.zero_init:
            nn.init.zeros_(self.get_parameter("bn2.weight"))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu2(out if self.shortcut is None else out + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """1×1, 3×3 and 1×1 convolution and a shortcut around them (Fig. 5, right). → (N, 4 width, H/stride, W/stride)."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, geometry: Geometry, options: BlockOptions):
        super().__init__()
        with_norm, first = options.batch_norm, options.stride_in == "1x1"
        strides = (geometry.stride, 1) if first else (1, geometry.stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, strides[0], bias=not with_norm)
        self.bn1, self.relu1 = norm(width, options), nn.ReLU(inplace=True)
        self.conv2 = conv3x3(width, width, strides[1], geometry.after if first else geometry.before, with_norm)
        self.bn2, self.relu2 = norm(width, options), nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=not with_norm)
        self.bn3, self.relu3 = norm(4 * width, options), nn.ReLU(inplace=True)
        self.shortcut = make_shortcut(options, in_channels, 4 * width, geometry)
        if options.zero_init:
            nn.init.zeros_(self.get_parameter("bn3.weight"))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu3(out if self.shortcut is None else out + self.shortcut(x))
