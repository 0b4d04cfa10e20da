"""MobileNet v1: depthwise separable convolutions and two multipliers."""

from dataclasses import dataclass
from math import ceil

import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.network import BatchNorm2d, FeatureInfo, Network, check_choice, check_eps, initialise_he

# Table 1 of the paper: (channels, stride) of the blocks 1 to 13. The paper prints stride 2 for the last one; only with
# 1 do the map sizes and the 569 million multiply-adds of its Table 6 come out.
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    *((1024, 2), (1024, 1)),
)
SHALLOW = range(7, 12)  # the five blocks of 14×14×512 that the shallow network leaves out


class SameConv2d(nn.Conv2d):
    """A convolution whose map has side ceil(s / stride), padded as by TensorFlow: what is odd goes below and right."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, groups: int, bias: bool):
        super().__init__(in_channels, out_channels, kernel_size, stride, groups=groups, bias=bias)
        self.padding = "same"

    def forward(self, x: Tensor) -> Tensor:
        borders: list[int] = []
        for side, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            total = max((ceil(side / stride) - 1) * stride + kernel - side, 0)
            borders = [total // 2, total - total // 2, *borders]  # F.pad begins with the last axis
        return F.conv2d(F.pad(x, borders), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


@dataclass(frozen=True)
class LayerOptions:
    """What all layers of a network have in common; the names are those of `MobileNet`."""

    activation: str
    batch_norm: bool
    eps: float
    momentum: float
    padding: str

    def convolution(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> nn.Module:
        bias = not self.batch_norm
        if self.padding == "same" and kernel > 1:
            return SameConv2d(in_channels, out_channels, kernel, stride, groups, bias)
        return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=bias)

    def norm(self, channels: int) -> nn.Module:
        return BatchNorm2d(channels, self.eps, self.momentum) if self.batch_norm else nn.Identity()

    def act(self) -> nn.Module:
        return nn.ReLU6(inplace=True) if self.activation == "relu6" else nn.ReLU(inplace=True)


class SeparableBlock(nn.Module):
    """3×3 depthwise, 1×1 pointwise, each with batch norm and activation (Fig. 3). (N, C, H, W) → (N, D, H/s, W/s)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, options: LayerOptions):
        super().__init__()
        self.dw = options.convolution(in_channels, in_channels, 3, stride, groups=in_channels)
        self.dw_bn, self.dw_act = options.norm(in_channels), options.act()
        self.pw = options.convolution(in_channels, out_channels, 1)
        self.pw_bn, self.pw_act = options.norm(out_channels), options.act()

    def forward(self, x: Tensor) -> Tensor:
        x = self.dw_act(self.dw_bn(self.dw(x)))
        return self.pw_act(self.pw_bn(self.pw(x)))


class FullBlock(nn.Module):
    """One 3×3 convolution with batch norm and activation. (N, C, H, W) → (N, D, H/s, W/s)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, options: LayerOptions):
        super().__init__()
        self.conv = options.convolution(in_channels, out_channels, 3, stride)
        self.bn, self.act = options.norm(out_channels), options.act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class MobileNet(Network):
    """MobileNet v1 (Howard et al. 2017, arXiv:1704.04861, Table 1).

    ==========  ==========================================  ==================
    layers      what                                        output, 224×224 in
    ==========  ==========================================  ==================
    conv0       3×3, 32, stride 2                           32×112×112
    block1      separable, 64                               64×112×112
    block2-3    separable, 128, the first with stride 2     128×56×56
    block4-5    separable, 256, the first with stride 2     256×28×28
    block6-11   separable, 512, the first with stride 2     512×14×14
    block12-13  separable, 1024, the first with stride 2    1024×7×7
    fc          global average, linear                      K
    ==========  ==========================================  ==================

    All channels × `width_multiplier`. The resolution multiplier ρ of the paper is the size of the input.

    ====================  ==========  ======================
    variant               parameters  mult-adds, 224×224 in
    ====================  ==========  ======================
    width_multiplier 1     4,231,976    568,740,352
    width_multiplier 0.75  2,585,560    325,400,448
    width_multiplier 0.5   1,331,592    149,497,088
    width_multiplier 0.25    470,072     41,030,272
    shallow                2,887,976    307,323,392
    full_convolution      29,294,088  4,867,293,184
    ====================  ==========  ======================

    (3 channels, 1000 classes.)

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        width_multiplier: the paper's α, above 0; 1, 0.75, 0.5 and 0.25 there. Channels are rounded down, but not
            below 8 (as in the authors' release).
        shallow: without blocks 7 to 11 (Table 5).
        full_convolution: each separable block replaced by one full 3×3 convolution (Table 4).
        activation: "relu" as in the paper or "relu6" as in the authors' release.
        batch_norm: after each convolution, before its activation; without it the convolutions have biases.
        batch_norm_eps: the paper gives none; 0.001 is that of the authors' release.
        batch_norm_momentum: share of the newest batch in the running averages; the authors' release has 0.0003 (a decay
            of 0.9997), which is for trainings of far more than 3,000 steps.
        padding: "symmetric", 1 on all sides; or "same", TensorFlow's, for weights from there: where the stride is 2 and
            the side even, below and on the right only. The same counts and sizes.
        initialisation: "he"; or "release", the authors' weights N(0, 0.09²) cut at two deviations, biases 0. The paper
            says nothing of it.

    Input: any size; sizes that 32 does not divide are rounded up at each stride, so that 28×28 and 32×32 end on a map
    of 1×1.

    Differs from the paper: stride 1 in the last block, a misprint there (see `BLOCKS`).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        width_multiplier: float = 1.0,
        shallow: bool = False,
        full_convolution: bool = False,
        activation: str = "relu",
        batch_norm: bool = True,
        batch_norm_eps: float = 1e-3,
        batch_norm_momentum: float = 0.1,
        padding: str = "symmetric",
        initialisation: str = "he",
    ):
        super().__init__(num_classes, in_channels)
        check_choice("activation", activation, ("relu", "relu6"))
        check_choice("padding", padding, ("symmetric", "same"))
        check_choice("initialisation", initialisation, ("he", "release"))
        check_eps(batch_norm_eps)
        if not isinstance(width_multiplier, (int, float)) or not width_multiplier > 0:
            raise ValueError(f"width_multiplier must be above 0; got {width_multiplier!r}")
        if not isinstance(batch_norm_momentum, (int, float)) or not 0 < batch_norm_momentum <= 1:
            raise ValueError(f"batch_norm_momentum must be above 0 and at most 1; got {batch_norm_momentum!r}")
        options = LayerOptions(activation, batch_norm, batch_norm_eps, batch_norm_momentum, padding)
        block = FullBlock if full_convolution else SeparableBlock
        channels, stride = max(8, int(32 * width_multiplier)), 2
        self.conv0 = options.convolution(in_channels, channels, 3, 2)
        self.bn0, self.act0 = options.norm(channels), options.act()
        self.feature_info = {}
        last = ""
        modules: tuple[str, ...] = ("conv0", "bn0", "act0")
        for number, (width, step) in enumerate(BLOCKS, start=1):
            if shallow and number in SHALLOW:
                continue
            if step == 2:  # the map before is the last of its size: a stage ends there
                self.feature_info[last] = FeatureInfo(channels, stride, modules)
                modules = ()
            name, width = f"block{number}", max(8, int(width * width_multiplier))
            self.add_module(name, block(channels, width, step, options))
            channels, stride, modules, last = width, stride * step, (*modules, name), name
        self.feature_info[last] = FeatureInfo(channels, stride, modules)
        self.num_features = channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        if initialisation == "he":
            initialise_he(self)
        else:
            self._initialise_as_released()

    def _initialise_as_released(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.09, a=-0.18, b=0.18)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
