"""Residual networks for ImageNet and for CIFAR, and their plain twins."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from striate.models.network import FeatureInfo, Network, check_choice, check_widths, initialise_he
from striate.models.residual_blocks import BasicBlock, BlockOptions, BottleneckBlock, Geometry, norm


class _ResidualNetwork(Network):
    """conv1-bn1-relu1-pool1 of the subclass, then what both forms share: stages, global average, linear layer."""

    conv1: nn.Conv2d
    bn1: nn.Module
    relu1: nn.ReLU
    pool1: nn.Module

    def _add_stages(
        self,
        block: type[BasicBlock] | type[BottleneckBlock],
        counts: Sequence[int],
        widths: Sequence[int],
        options: BlockOptions,
        output_stride: int = 32,
    ) -> None:
        """Adds conv2_x, conv3_x … with blocks conv2_1, conv2_2 …, each stage but the first with stride 2.

        What strides of 2 would go beyond `output_stride` is traded for dilation.
        """
        channels, stride = self.conv1.out_channels, self.conv1.stride[0]
        self.feature_info = {"conv1": FeatureInfo(channels, stride, ("conv1", "bn1", "relu1"))}
        stride *= 1 if isinstance(self.pool1, nn.Identity) else 2
        dilation = 1
        for stage, (width, count) in enumerate(zip(widths, counts, strict=True), start=2):
            if stage == 2:
                first = Geometry()
            elif stride < output_stride:
                first, stride = Geometry(2), 2 * stride
            else:
                first, dilation = Geometry(1, dilation, 2 * dilation), 2 * dilation
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            for index in range(1, count + 1):
                geometry = first if index == 1 else Geometry(1, dilation, dilation)
                blocks[f"conv{stage}_{index}"] = block(channels, width, geometry, options)
                channels = width * block.expansion
            self.add_module(f"conv{stage}_x", nn.Sequential(blocks))
            modules = ("pool1", "conv2_x") if stage == 2 else (f"conv{stage}_x",)
            self.feature_info[f"conv{stage}_x"] = FeatureInfo(channels, stride, modules)
        self.num_features = channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, self.num_classes)
        initialise_he(self)


class ResNet(_ResidualNetwork):
    """ResNet for ImageNet (He, Zhang, Ren, Sun 2015, arXiv:1512.03385, Table 1).

    =======  =========================================  ====================
    layer    what                                       output, 224×224 in
    =======  =========================================  ====================
    conv1    7×7, 64, stride 2                          64×112×112
    pool1    max 3×3, stride 2                          64×56×56
    conv2_x  blocks of 64                               64 (256)×56×56
    conv3_x  blocks of 128, the first with stride 2     128 (512)×28×28
    conv4_x  blocks of 256, the first with stride 2     256 (1024)×14×14
    conv5_x  blocks of 512, the first with stride 2     512 (2048)×7×7
    fc       global average, linear                     K
    =======  =========================================  ====================

    In brackets the channels of bottleneck blocks (50, 101, 152).

    =====  ==========  =====================  ======================
    depth  parameters  mult-adds, as printed  mult-adds, stride_in=3x3
    =====  ==========  =====================  ======================
    18     11,689,512   1,814,073,344         the same
    34     21,797,672   3,663,761,408         the same
    50     25,557,032   3,857,973,248          4,089,184,256
    101    44,549,160   7,570,194,432          7,801,405,440
    152    60,192,808  11,282,415,616         11,513,626,624
    =====  ==========  =====================  ======================

    (3 channels, 1000 classes, 224×224, option B.)

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        depth: 18, 34, 50, 101 or 152.
        widths: channels inside the blocks of the four stages, conv1 having those of the first; the paper's by default.
        shortcut: "A" zero-padded identity, "B" projection where dimensions change, "C" projections everywhere
            (sec. 4.1), "none" for the plain network of the same depth.
        stride_in: which convolution of a bottleneck has the stride, "1x1" as in the paper or "3x3" ("v1.5", as in
            torchvision); in basic blocks it is always the first 3×3.
        zero_init_residual: last batch norm of each block starts at scale 0 (Goyal et al. 2017), not in the paper.
        output_stride: 32, or 16 or 8, where the last one or two strides of 2 are traded for dilation (Chen et al. 2017,
            arXiv:1706.05587, sec. 3.1), not in the paper: every second or fourth unit of the larger maps is what it
            was, with the same weights.
        batch_norm: after each convolution, before its activation; without it the convolutions have biases.
        batch_norm_eps: the paper gives none; 0.00001 is that of the authors' release, 0.001 is usual in Keras.

    Input: any size; sizes that 32 does not divide are rounded up at each stride.

    Differs from the paper: the classifier starts at N(0, 0.01²), of which the paper says nothing. Running averages in
    batch normalisation, where the authors' release has averages over a large batch after training: training goes on
    and is evaluated in between.
    """

    paper_input = (3, 224, 224)
    counts = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # noqa: RUF012

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        depth: int = 50,
        widths: Sequence[int] = (64, 128, 256, 512),
        shortcut: str = "B",
        stride_in: str = "1x1",
        zero_init_residual: bool = False,
        output_stride: int = 32,
        batch_norm: bool = True,
        batch_norm_eps: float = 1e-5,
    ):
        super().__init__(num_classes, in_channels)
        check_choice("depth", depth, self.counts)
        check_choice("output_stride", output_stride, (32, 16, 8))
        check_widths(widths, 4)
        options = BlockOptions(shortcut, stride_in, zero_init_residual, batch_norm, batch_norm_eps)
        self.conv1 = nn.Conv2d(in_channels, widths[0], 7, 2, padding=3, bias=not batch_norm)
        self.bn1, self.relu1 = norm(widths[0], options), nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool2d(3, 2, padding=1)
        block = BasicBlock if depth < 50 else BottleneckBlock
        self._add_stages(block, self.counts[depth], widths, options, output_stride)


class CifarResNet(_ResidualNetwork):
    """ResNet for CIFAR (He et al. 2015, arXiv:1512.03385, sec. 4.2): 6n + 2 layers.

    =======  ====================================  ==================
    layer    what                                  output, 32×32 in
    =======  ====================================  ==================
    conv1    3×3, 16                               16×32×32
    conv2_x  n blocks of 16                        16×32×32
    conv3_x  n blocks of 32, the first: stride 2   32×16×16
    conv4_x  n blocks of 64, the first: stride 2   64×8×8
    fc       global average, linear                K
    =======  ====================================  ==================

    Parameters and multiply-adds (3 channels, 10 classes, 32×32, option A): 269,722 and 40,551,040 at depth 20; 464,154
    and 68,862,592 at 32; 658,586 and 97,174,144 at 44; 853,018 and 125,485,696 at 56; 1,727,962 and 252,887,680 at 110;
    19,421,274 and 2,829,238,912 at 1202.

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        depth: 6n + 2; the paper has 20, 32, 44, 56, 110 and 1202.
        widths: channels of the three stages, conv1 having those of the first; the paper's by default.
        shortcut: "A" (the paper's choice here), "A-middle" with zero channels on both sides (for weights of others),
            "B", "C", or "none" for the plain network.
        zero_init_residual: last batch norm of each block starts at scale 0 (Goyal et al. 2017), not in the paper.
        batch_norm: after each convolution, before its activation; without it the convolutions have biases.
        batch_norm_eps: the paper gives none; 0.00001 is that of the authors' release, 0.001 is usual in Keras.

    Input: any size.

    Differs from the paper: as `ResNet`. The paper does not name these layers; the names go on from its Table 1.
    """

    paper_input = (3, 32, 32)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        depth: int = 20,
        widths: Sequence[int] = (16, 32, 64),
        shortcut: str = "A",
        zero_init_residual: bool = False,
        batch_norm: bool = True,
        batch_norm_eps: float = 1e-5,
    ):
        super().__init__(num_classes, in_channels)
        options = BlockOptions(shortcut, "1x1", zero_init_residual, batch_norm, batch_norm_eps)
        check_widths(widths, 3)
        if not isinstance(depth, int) or depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth must be 6n + 2: 8, 14, 20, 32, 44, 56, 110, 1202 …; got {depth!r}")
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=not batch_norm)
        self.bn1, self.relu1 = norm(widths[0], options), nn.ReLU(inplace=True)
        self.pool1 = nn.Identity()
        self._add_stages(BasicBlock, (depth // 6,) * 3, widths, options)
