"""U-Net: what the contracting path saw, at every size, beside what the expanding path makes of it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from striate.models.dense_head import check_dropout
from striate.models.network import BatchNorm2d, FeatureInfo, check_choice, check_count
from striate.models.segmentation import SegmentationNetwork
from striate.models.upsampling import mirrored


class UNet(SegmentationNetwork):
    """U-Net (Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, sec. 2, Fig. 1).

    =========  =============================================  ==================  ==================
    layer      what                                           valid, 572×572 in   same, 512×512 in
    =========  =============================================  ==================  ==================
    down1      two 3×3                                        64×568×568          64×512×512
    down2      max 2×2, two 3×3                               128×280×280         128×256×256
    down3      max 2×2, two 3×3                               256×136×136         256×128×128
    down4      max 2×2, two 3×3                               512×64×64           512×64×64
    down5      max 2×2, two 3×3                               1024×28×28          1024×32×32
    up4        transposed 2×2, down4's middle, two 3×3        512×52×52           512×64×64
    up3        transposed 2×2, down3's middle, two 3×3        256×100×100         256×128×128
    up2        transposed 2×2, down2's middle, two 3×3        128×196×196         128×256×256
    up1        transposed 2×2, down1's middle, two 3×3        64×388×388          64×512×512
    score      1×1                                            K×388×388           K×512×512
    =========  =============================================  ==================  ==================

    =============  =======  ==========  =================
    variant        classes  parameters  mult-adds
    =============  =======  ==========  =================
    valid, grey    2        31,030,658  150,428,424,448
    valid, grey    1        31,030,593  150,418,789,632
    valid, colour  2        31,031,810  150,802,709,248
    same, colour   21       31,033,045  193,005,092,864
    same, bn       2        31,036,546  192,384,335,872
    =============  =======  ==========  =================

    Without padding, the output of the layers is 184 pixels smaller than what they see. `forward` gives the picture's
    own size all the same, by the paper's overlap-tile strategy with the whole picture as one tile: it mirrors the
    picture at its borders by 92 pixels and up to the next size that the poolings divide, so that each pixel has the
    context that it would have in the middle. A picture of 388×388 costs what the paper's tile of 572×572 does.
    `forward_tile` gives the smaller map of a tile that has its borders already.

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        widths: channels of the contracting path, from the top to the bottom; the expanding path mirrors them.
        padding: "valid", none, as in the paper; or "same", by zeros, the common variant.
        batch_norm: after each 3×3 convolution, before its activation, in place of its biases; not in the paper.
        dropout: probability that an activation of the last two maps of the contracting path is left out.

    Input: any size.

    Differs from the paper: where sizes do not divide, "same" mirrors the picture at the bottom and on the right. Of
    dropout the paper says that it is at the end of the contracting path, not its rate.
    """

    paper_input = (1, 388, 388)  # what a tile of 572×572 labels
    classifier_name = "score"
    class_layers = ("score",)

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        padding: str = "valid",
        batch_norm: bool = False,
        dropout: float = 0.5,
    ):
        super().__init__(num_classes, in_channels)
        check_choice("padding", padding, ("valid", "same"))
        check_dropout("dropout", dropout)
        if len(widths) < 2:
            raise ValueError(f"widths must be at least 2 numbers, one a size of the maps; got {list(widths)}")
        for width in widths:
            check_count("each of widths", width)
        self.padding, self.levels, self.feature_info, self.decoder_stages = padding, len(widths), {}, {}
        channels, pad = in_channels, int(padding == "same")
        for level, width in enumerate(widths, start=1):
            pool = nn.MaxPool2d(2) if level > 1 else nn.Identity()
            drop = nn.Dropout(dropout) if level > len(widths) - 2 else nn.Identity()
            modules = {
                f"pool{level}": pool,
                f"down{level}": two_convolutions(channels, width, pad, batch_norm),
                f"drop{level}": drop,
            }
            for name, module in modules.items():
                self.add_module(name, module)
            self.feature_info[f"down{level}"] = FeatureInfo(width, 2 ** (level - 1), tuple(modules))
            channels = width
        for level in range(len(widths) - 1, 0, -1):
            width = widths[level - 1]
            self.add_module(f"upconv{level}", nn.ConvTranspose2d(channels, width, 2, 2))
            self.add_module(f"up{level}", two_convolutions(2 * width, width, pad, batch_norm))
            self.decoder_stages[f"up{level}"] = (f"upconv{level}", f"up{level}")
            channels = width
        self.score, self.num_features = nn.Conv2d(channels, num_classes, 1), channels
        self._initialise()

    def forward_stage(self, stage: str, x: Tensor) -> Tensor:
        for name in self.feature_info[stage].modules:
            x = self.get_submodule(name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        size = (x.shape[2], x.shape[3])
        borders = [self._borders(side) for side in size]
        before, after = ((borders[0][end], borders[1][end]) for end in (0, 1))
        return self.forward_tile(mirrored(x, before, after))[:, :, : size[0], : size[1]].contiguous()

    def forward_tile(self, x: Tensor) -> Tensor:
        """The scores of what remains of a tile, (N, K, H - 184, W - 184) with the paper's five sizes and no padding.

        Raises:
            ValueError: a size that the poolings do not divide, or of which nothing remains.
        """
        self.check_input(x)
        for side in x.shape[2:]:
            if self.padding == "same":
                fits = side % 2 ** (self.levels - 1) == 0
            else:
                fits = side == sum(self._borders(remaining := side - 2 * self._margin)) + remaining and remaining > 0
            if not fits:
                raise ValueError(f"expected sides of a tile that {self.levels - 1} poolings divide; got {side}")
        skips = []
        for level in range(1, self.levels + 1):
            x = self.forward_stage(f"down{level}", x)
            skips.append(x)
        for level in range(self.levels - 1, 0, -1):
            x = self.get_submodule(f"upconv{level}")(x)
            skip = skips[level - 1]
            top, left = ((have - want) // 2 for have, want in zip(skip.shape[2:], x.shape[2:], strict=True))
            skip = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
            x = self.get_submodule(f"up{level}")(torch.cat((skip, x), 1))
        return self.score(x)

    @property
    def _margin(self) -> int:
        """Pixels that the layers take away on each side: 2 a pair of convolutions, in units of their maps."""
        if self.padding == "same":
            return 0
        below = 2 * 2 ** (self.levels - 1)
        return below + sum(2 * 2 * 2**level for level in range(self.levels - 1))

    def _borders(self, side: int) -> tuple[int, int]:
        """What is mirrored before and after a side, so that at least the side remains and the poolings divide it."""
        step = 2 ** (self.levels - 1)
        if self.padding == "same":
            return 0, -side % step
        # Upwards from the bottom's output: each level doubles and takes 4 units; the units there make up the side.
        lost = 4 * (step - 1)
        remaining = step * max(-(-(side + lost) // step), 1) - lost
        return self._margin, self._margin + remaining - side


def two_convolutions(in_channels: int, width: int, padding: int, batch_norm: bool) -> nn.Sequential:
    """Two 3×3 convolutions, each with a ReLU, of an input (N, C, H, W); without padding each takes 2 rows away."""
    layers: list[nn.Module] = []
    for channels in (in_channels, width):
        layers.append(nn.Conv2d(channels, width, 3, padding=padding, bias=not batch_norm))
        layers += [BatchNorm2d(width)] if batch_norm else []
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
