"""The blocks of residual networks and the shortcuts around them (He et al. 2015, arXiv:1512.03385, sec. 3 and 4.1)."""

import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.network import BatchNorm2d

SHORTCUTS = ("A", "B", "C", "none")


class ZeroPadShortcut(nn.Module):
    """Option A where dimensions change: every `stride`-th unit, the channels that are missing zero; no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.extra, self.stride = out_channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


class Projection(nn.Module):
    """Options B and C: 1×1 convolution and batch normalisation."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.bn = BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


def make_shortcut(option: str, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if option == "none":
        return None
    same = in_channels == out_channels and stride == 1
    if option == "C" or (option == "B" and not same):
        return Projection(in_channels, out_channels, stride)
    if out_channels < in_channels:
        raise ValueError(
            f"shortcut 'A' adds channels and cannot go from {in_channels} to {out_channels}: take 'B' or 'C'"
        )
    return nn.Identity() if same else ZeroPadShortcut(in_channels, out_channels, stride)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut around them (Fig. 5, left). (N, C, H, W) → (N, width, H/stride, W/stride).

    Args:
        shortcut: one of `SHORTCUTS`; "none" makes it a part of a plain network.
        stride_in: which convolution has the stride, here always the first.
        zero_init: the last scale starts at 0, so that the block starts as its shortcut.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: str, stride_in: str, zero_init: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1, self.relu1 = BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2, self.relu2 = BatchNorm2d(width), nn.ReLU(inplace=True)
        self.shortcut = make_shortcut(shortcut, in_channels, width, stride)
        if zero_init:
            nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu2(out if self.shortcut is None else out + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """1×1, 3×3 and 1×1 convolution and a shortcut around them (Fig. 5, right). → (N, 4 width, H/stride, W/stride).

    Args: as `BasicBlock`; stride_in is "1x1" for the first convolution or "3x3" for the second.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: str, stride_in: str, zero_init: bool):
        super().__init__()
        strides = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, strides[0], bias=False)
        self.bn1, self.relu1 = BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, strides[1], padding=1, bias=False)
        self.bn2, self.relu2 = BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3, self.relu3 = BatchNorm2d(4 * width), nn.ReLU(inplace=True)
        self.shortcut = make_shortcut(shortcut, in_channels, 4 * width, stride)
        if zero_init:
            nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu3(out if self.shortcut is None else out + self.shortcut(x))
