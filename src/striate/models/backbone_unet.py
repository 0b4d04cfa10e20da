"""U-Net's expanding path on any classifier, as libraries build it."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.network import BatchNorm2d, check_widths
from striate.models.resnet import ResNet
from striate.models.segmentation import Backbone, SegmentationNetwork, conv_norm_act

conv_layer = partial(conv_norm_act, kernel=3, norm=BatchNorm2d)


class BackboneUNet(SegmentationNetwork):
    """A classifier as contracting path, and an expanding path after Ronneberger et al. 2015 (arXiv:1505.04597).

    ========  ====================================================  ==================
    layer     what, on ResNet-34                                    output, 512×512 in
    ========  ====================================================  ==================
    backbone  ResNet-34                                             512×16×16
    up16      doubled, conv4_x beside it, two 3×3                   256×32×32
    up8       doubled, conv3_x beside it, two 3×3                   128×64×64
    up4       doubled, conv2_x beside it, two 3×3                   64×128×128
    up2       doubled, conv1 beside it, two 3×3                     32×256×256
    up1       doubled, two 3×3                                      16×512×512
    score     3×3                                                   K×512×512
    ========  ====================================================  ==================

    The layers of the expanding path have batch norm and ReLU and no biases; doubling repeats units.

    ========================  ==========  ==============
    on                        parameters  mult-adds
    ========================  ==========  ==============
    ResNet-34                 24,439,269  32,010,928,128
    VGG-16, centre            23,751,141  99,694,411,776
    VGG-16, batch norm, same  23,759,589  99,694,411,776
    ========================  ==========  ==============

    (3 channels, 21 classes, 512×512: the Unet of segmentation_models_pytorch.)

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        backbone: any classifier whose layers pad and whose strides are powers of 2; of each size of its maps the last
            one goes to the expanding path.
        widths: channels of the expanding path, from the smallest map to the picture's size, one a doubling.
        centre: two 3×3 on the smallest map before the path begins.
        full_size_skip: takes a map of the picture's own size too, where the backbone has one.

    Input: any size.

    Differs from the paper: the contracting path, batch norm, padding, and doubling in place of transposed convolutions.
    """

    paper_input = (3, 512, 512)
    classifier_name = "score"
    class_layers = ("score",)

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        backbone: Backbone = partial(ResNet, depth=34),  # noqa: B008
        widths: Sequence[int] = (256, 128, 64, 32, 16),
        centre: bool = False,
        full_size_skip: bool = False,
    ):
        super().__init__(num_classes, in_channels)
        self._take_backbone(backbone)
        last = self.feature_info[self.last_stage]
        check_widths(widths, doublings(last.stride))
        channels, stride = last.channels, last.stride
        self.centre = self._two(channels, channels) if centre else nn.Identity()
        self.skips: dict[int, str | None] = {}
        for width in widths:
            stride //= 2
            known = any(info.stride == stride for info in self.feature_info.values())
            stage = self.stage_at(stride) if known and (stride > 1 or full_size_skip) else None
            beside = self.feature_info[stage].channels if stage else 0
            self.add_module(f"up{stride}", self._two(channels + beside, width))
            self.skips[stride], channels = stage, width
        self.score, self.num_features = nn.Conv2d(channels, num_classes, 3, padding=1), channels
        self._initialise()

    @staticmethod
    def _two(in_channels: int, width: int) -> nn.Sequential:
        return nn.Sequential(conv_layer(in_channels, width), conv_layer(width, width))

    def forward(self, x: Tensor) -> Tensor:
        size, last = x.shape[2:], self.last_stage
        maps = self.maps(x, {last, *(stage for stage in self.skips.values() if stage)})
        x = self.centre(maps[last])
        for stride, stage in self.skips.items():
            x = F.interpolate(x, [-(-side // stride) for side in size], mode="nearest")
            if stage:
                x = torch.cat((x, maps[stage]), 1)
            x = self.get_submodule(f"up{stride}")(x)
        return self.score(x)


def doublings(stride: int) -> int:
    """How often a map of this stride doubles until it is as large as the picture."""
    if stride < 2 or stride & (stride - 1):
        raise ValueError(f"BackboneUNet needs a backbone whose stride is 2, 4, 8 …; got {stride}")
    return stride.bit_length() - 1
