"""DeepLab v3, and the FCN that torchvision builds, both on an atrous ResNet."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.dense_head import check_dropout
from striate.models.network import BatchNorm2d, Network, check_choice, check_count
from striate.models.resnet import ResNet
from striate.models.segmentation import Backbone, SegmentationNetwork, conv_norm_act
from striate.models.upsampling import resize, resize_from_corner

conv_layer = partial(conv_norm_act, norm=BatchNorm2d)
RESNET50 = partial(ResNet, depth=50, stride_in="3x3")


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (sec. 3.3, Fig. 5). (N, C, H, W) → (N, width, H, W).

    A 1×1 convolution, a 3×3 one a rate, and the mean of the map, side by side; a 1×1 convolution of all of them.
    """

    def __init__(self, in_channels: int, width: int, rates: Sequence[int], dropout: float):
        super().__init__()
        self.conv1x1 = conv_layer(in_channels, width, 1)
        self.atrous = nn.ModuleList(conv_layer(in_channels, width, 3, dilation=rate) for rate in rates)
        self.pool = conv_layer(in_channels, width, 1)
        self.project = conv_layer((2 + len(rates)) * width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.pool(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[2:])
        branches = [self.conv1x1(x), *(branch(x) for branch in self.atrous), mean]
        return self.dropout(self.project(torch.cat(branches, 1)))


class FCNHead(nn.Module):
    """3×3 to a quarter of the channels, batch norm, ReLU, dropout, 1×1. (N, C, H, W) → (N, K, H, W)."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float):
        super().__init__()
        width = max(in_channels // 4, 1)
        self.conv, self.dropout = conv_layer(in_channels, width, 3), nn.Dropout(dropout)
        self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.dropout(self.conv(x)))


class _Atrous(SegmentationNetwork):
    """Scores of the backbone's last map at the picture's size, and of its last but one stage by an auxiliary head."""

    aux: FCNHead

    def _add_auxiliary(self, auxiliary: bool) -> None:
        """Adds the head, with torchvision's weight, and initialises the network."""
        *_, stage, _ = self.feature_info
        self.auxiliary_stage = stage
        if auxiliary:
            self.aux = FCNHead(self.feature_info[stage].channels, self.num_classes, 0.1)
            self.auxiliary_classifiers, self.auxiliary_weights = ("aux.score",), (0.5,)
        self.class_layers = (self.classifier_name, *self.auxiliary_classifiers)
        self._initialise()

    def forward_scores(self, x: Tensor) -> Tensor:
        """(N, K, h, w) of the last map."""
        raise NotImplementedError

    def resize(self, x: Tensor, stage: str, size: Sequence[int]) -> Tensor:
        return resize(x, size)

    def forward(self, x: Tensor) -> Tensor:
        size, last = x.shape[2:], self.last_stage
        return self.resize(self.forward_scores(self.maps(x, [last])[last]), last, size)

    def forward_aux(self, x: Tensor) -> tuple[Tensor, ...]:
        if not self.auxiliary_weights:
            return (self(x),)
        size, last, stage = x.shape[2:], self.last_stage, self.auxiliary_stage
        maps = self.maps(x, [stage, last])
        scores = self.resize(self.forward_scores(maps[last]), last, size)
        return scores, self.resize(self.aux(maps[stage]), stage, size)


class DeepLabV3(_Atrous):
    """DeepLab v3 (Chen, Papandreou, Schroff, Adam 2017, arXiv:1706.05587, sec. 3).

    ==========  ====================================================  ===================
    layer       what                                                  output, 513×513 in
    ==========  ====================================================  ===================
    backbone    ResNet, output stride 16, or 8                        2048×33×33
    aspp        1×1, 3×3 at three rates, mean; 1×1                    256×33×33
    refine      3×3, form="torchvision" alone                         256×33×33
    classifier  1×1                                                   K×33×33
    (resize)    bilinear                                              K×513×513
    ==========  ====================================================  ===================

    ==========================  ==========  ==============  ===============  ===============
    form="torchvision" on       parameters  with auxiliary  mult-adds        with auxiliary
    ==========================  ==========  ==============  ===============  ===============
    ResNet-50                   39,638,869  42,004,074      168,731,205,888  178,721,945,088
    ResNet-101                  58,630,997  60,996,202      248,752,300,288  258,743,039,488
    ==========================  ==========  ==============  ===============  ===============

    (3 channels, 21 classes, 520×520, output stride 8, rates 12, 24, 36, no multi-grid. The paper's form has
    590,336 parameters less.)

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        backbone: any classifier whose layers pad; ResNet takes its output stride as an option.
        form: "paper", or "torchvision" for weights from there: a 3×3 convolution more, and units that are the centres
            of blocks of pixels, where the paper's stand on every eighth or sixteenth pixel from the corner on.
        rates: of the 3×3 branches; the paper has 6, 12, 18 at output stride 16 and twice that at 8.
        multi_grid: by what the dilation of each block of the last stage is multiplied (sec. 3.2.1); None leaves it.
        width: maps of the head.
        dropout: probability that a unit before the classifier is left out in training.
        auxiliary: builds a head on the last but one stage, whose loss training adds 0.5 times; not in the paper.

    Input: any size.

    Differs from the paper: it does not say anything of dropout.
    """

    paper_input = (3, 513, 513)
    classifier_name = "classifier"

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        backbone: Backbone = partial(RESNET50, output_stride=16),  # noqa: B008
        form: str = "paper",
        rates: Sequence[int] = (6, 12, 18),
        multi_grid: Sequence[int] | None = (1, 2, 4),
        width: int = 256,
        dropout: float = 0.1,
        auxiliary: bool = False,
    ):
        super().__init__(num_classes, in_channels)
        check_choice("form", form, ("paper", "torchvision"))
        check_count("width", width)
        check_dropout("dropout", dropout)
        for rate in (*rates, *(multi_grid or ())):
            check_count("each of rates and multi_grid", rate)
        body = self._take_backbone(backbone)
        if multi_grid is not None:
            spread(body, multi_grid)
        self.form, self.num_features = form, width
        self.aspp = ASPP(self.feature_info[self.last_stage].channels, width, rates, dropout)
        self.refine = conv_layer(width, width, 3) if form == "torchvision" else nn.Identity()
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self._add_auxiliary(auxiliary)

    def forward_scores(self, x: Tensor) -> Tensor:
        return self.classifier(self.refine(self.aspp(x)))

    def resize(self, x: Tensor, stage: str, size: Sequence[int]) -> Tensor:
        if self.form == "torchvision":
            return resize(x, size)
        return resize_from_corner(x, self.feature_info[stage].stride, size)


class DilatedFCN(_Atrous):
    """The fully convolutional network that torchvision calls fcn_resnet50: one 3×3 and one 1×1 on an atrous ResNet.

    It has the name of Long et al. 2015, not their network (`fcn.FCN`): no skips, and resizing in place of transposed
    convolutions.

    ==========  ==========================  ===================
    layer       what                        output, 520×520 in
    ==========  ==========================  ===================
    backbone    ResNet, output stride 8     2048×65×65
    classifier  3×3, 1×1                    K×65×65
    (resize)    bilinear                    K×520×520
    ==========  ==========================  ===================

    ==========  ==========  ==============  ===============  ===============
    on          parameters  with auxiliary  mult-adds        with auxiliary
    ==========  ==========  ==============  ===============  ===============
    ResNet-50   32,957,013  35,322,218      142,725,772,800  152,716,512,000
    ResNet-101  51,949,141  54,314,346      222,746,867,200  232,737,606,400
    ==========  ==========  ==============  ===============  ===============

    (3 channels, 21 classes, 520×520.)

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        backbone: any classifier whose layers pad; ResNet takes its output stride as an option.
        dropout: probability that a unit before the classifier is left out in training.
        auxiliary: builds the same head on the last but one stage, whose loss training adds 0.5 times.

    Input: any size.

    Differs from the paper: there is none.
    """

    paper_input = (3, 520, 520)
    classifier_name = "classifier.score"

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        backbone: Backbone = partial(RESNET50, output_stride=8),  # noqa: B008
        dropout: float = 0.1,
        auxiliary: bool = False,
    ):
        super().__init__(num_classes, in_channels)
        check_dropout("dropout", dropout)
        self._take_backbone(backbone)
        channels = self.feature_info[self.last_stage].channels
        self.classifier = FCNHead(channels, num_classes, dropout)
        self.num_features = self.classifier.score.in_channels
        self._add_auxiliary(auxiliary)

    def forward_scores(self, x: Tensor) -> Tensor:
        return self.classifier(x)


def spread(backbone: Network, multi_grid: Sequence[int]) -> None:
    """Multiplies the dilation of the 3×3 convolutions of each block of the last stage.

    Raises:
        ValueError: the last stage has another number of blocks, or none.
    """
    *_, last = backbone.feature_info.values()
    stage = getattr(backbone, last.modules[-1])
    blocks = list(stage) if isinstance(stage, nn.Sequential) else []
    if len(blocks) != len(multi_grid):
        raise ValueError(
            f"multi_grid must be one number a block of the last stage, or null; {type(backbone).__name__} has "
            f"{len(blocks)} blocks there, got {list(multi_grid)}"
        )
    convolutions = [[m for m in block.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
                    for block in blocks]  # fmt: skip
    base = max(layer.dilation[0] for layers in convolutions for layer in layers)
    for layers, factor in zip(convolutions, multi_grid, strict=True):
        for layer in layers:
            layer.dilation = layer.padding = (base * factor, base * factor)
