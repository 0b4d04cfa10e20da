"""DeepLab v1 and v2: atrous VGG-16, one branch or several behind it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from striate.models.dense_head import check_dropout
from striate.models.network import Network, check_count
from striate.models.segmentation import Backbone, SegmentationNetwork
from striate.models.upsampling import resize_from_corner
from striate.models.vgg import VGG

VGG16 = partial(VGG, configuration="D", initialisation="he", pooled_size=1, hidden=1)


def make_atrous(backbone: Network) -> None:
    """Brings a VGG to stride 8, as DeepLab has it; other networks stay, and bring the stride that they have.

    The poolings become 3×3, those after block 4 and 5 lose their stride, and the convolutions of block 5, which would
    have seen every second unit, are spread by 2.
    """
    if not isinstance(backbone, VGG):
        return
    for block, stride in enumerate((2, 2, 2, 1, 1), start=1):
        setattr(backbone, f"pool{block}", nn.MaxPool2d(3, stride, padding=1))
    backbone.smallest_side, backbone.rounds_up = 1, True
    backbone.feature_info = {
        stage: replace(info, stride=min(info.stride, 8)) for stage, info in backbone.feature_info.items()
    }
    for name in backbone.feature_info["conv5"].modules:
        module = getattr(backbone, name)
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.dilation = module.padding = (2, 2)


class DeepLabV1(SegmentationNetwork):
    """DeepLab v1 (Chen, Papandreou, Kokkinos, Murphy, Yuille 2014, arXiv:1412.7062, sec. 3, 5.2).

    =========  =====================================================  =================
    layer      what                                                   output, 321×321 in
    =========  =====================================================  =================
    backbone   VGG-16, poolings 3×3, from pool4 on without stride     512×41×41
    fc6        3×3, rate 12                                           1024×41×41
    fc7        1×1                                                    1024×41×41
    fc8        1×1                                                    K×41×41
    (resize)   bilinear, unit i on pixel 8i                           K×321×321
    =========  =====================================================  =================

    ===================  ======  ====  ======  ===========  ===============
    variant              kernel  rate  hidden  parameters   mult-adds
    ===================  ======  ====  ======  ===========  ===============
    LargeFOV             3       12    1024     20,505,429   50,928,085,696
    7×7                  7       4     4096    134,346,581  242,284,734,144
    4×4                  4       4     4096     65,140,565  125,949,421,248
    ===================  ======  ====  ======  ===========  ===============

    (3 channels, 21 classes, 321×321.)

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        backbone: a VGG, which is brought to stride 8; any other classifier whose layers pad brings its own stride
            (ResNet: output_stride=8).
        kernel: side of fc6.
        rate: of fc6: pixels of its map between the taps of its kernel.
        hidden: maps of fc6 and fc7.
        dropout: probability that a unit of fc6 or fc7 is left out in training.

    Input: any size.

    Differs from the paper: the loss sees the resized scores, where the paper has labels of an eighth of the size; no
    conditional random field follows.
    """

    paper_input = (3, 321, 321)
    classifier_name = "fc8"
    class_layers = ("fc8",)

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        backbone: Backbone = VGG16,
        kernel: int = 3,
        rate: int = 12,
        hidden: int = 1024,
        dropout: float = 0.5,
    ):
        super().__init__(num_classes, in_channels)
        for name, value in (("kernel", kernel), ("rate", rate), ("hidden", hidden)):
            check_count(name, value)
        check_dropout("dropout", dropout)
        if kernel % 2 == 0 and rate % 2:
            raise ValueError(f"rate must be even with an even kernel, so that the map keeps its size; got {rate}")
        self._take_backbone(backbone, change=make_atrous)
        channels, padding = self.feature_info[self.last_stage].channels, rate * (kernel - 1) // 2
        self.fc6 = nn.Conv2d(channels, hidden, kernel, padding=padding, dilation=rate)
        self.act6, self.drop6 = nn.ReLU(inplace=True), nn.Dropout(dropout)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.act7, self.drop7 = nn.ReLU(inplace=True), nn.Dropout(dropout)
        self.fc8, self.num_features = nn.Conv2d(hidden, num_classes, 1), hidden
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        size, last = x.shape[2:], self.last_stage
        x = self.maps(x, [last])[last]
        x = self.drop6(self.act6(self.fc6(x)))
        x = self.drop7(self.act7(self.fc7(x)))
        return resize_from_corner(self.fc8(x), self.feature_info[last].stride, size)


class DeepLabV2(SegmentationNetwork):
    """DeepLab v2 (Chen, Papandreou, Kokkinos, Murphy, Yuille 2016, arXiv:1606.00915, sec. 3.2, Fig. 7).

    ===================  ====================================================  ==================
    layer                what                                                  output, 321×321 in
    ===================  ====================================================  ==================
    backbone             VGG-16, poolings 3×3, from pool4 on without stride    512×41×41
    fc6_1 … fc6_4        3×3, rates 6, 12, 18, 24, side by side                1024×41×41 each
    fc7_1 … fc7_4        1×1                                                   1024×41×41 each
    fc8_1 … fc8_4        1×1, summed                                           K×41×41
    (resize)             bilinear, unit i on pixel 8i                          K×321×321
    ===================  ====================================================  ==================

    37,877,652 parameters, 80,120,358,592 mult-adds (3 channels, 21 classes, 321×321). On ResNet-101 with
    hidden=0 44,048,532 parameters.

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        backbone: a VGG, which is brought to stride 8; any other classifier whose layers pad brings its own stride.
        rates: of the branches; the paper's ASPP-L, of which (2, 4, 8, 12) is its ASPP-S.
        hidden: maps of fc6 and fc7; 0 leaves them out, so that each branch is one 3×3 to the classes at its rate, as
            the paper has it behind ResNet-101.
        dropout: probability that a unit of fc6 or fc7 is left out in training.

    Input: any size.

    Differs from the paper: as `DeepLabV1`; several scales of the picture are a matter of evaluation here.
    """

    paper_input = (3, 321, 321)
    classifier_name = "fc8_1"

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        backbone: Backbone = VGG16,
        rates: Sequence[int] = (6, 12, 18, 24),
        hidden: int = 1024,
        dropout: float = 0.5,
    ):
        super().__init__(num_classes, in_channels)
        if not rates:
            raise ValueError("rates must be at least one number")
        for rate in rates:
            check_count("each of rates", rate)
        if isinstance(hidden, bool) or not isinstance(hidden, int) or hidden < 0:
            raise ValueError(f"hidden must be a whole number of at least 0; got {hidden!r}")
        check_dropout("dropout", dropout)
        self._take_backbone(backbone, change=make_atrous)
        channels = self.feature_info[self.last_stage].channels
        self.branches, self.num_features = [], hidden or channels
        for number, rate in enumerate(rates, start=1):
            layers: dict[str, nn.Module] = {}
            atrous = nn.Conv2d(channels, hidden or num_classes, 3, padding=rate, dilation=rate)
            if hidden:
                layers |= {f"fc6_{number}": atrous, f"act6_{number}": nn.ReLU(inplace=True)}
                layers |= {f"drop6_{number}": nn.Dropout(dropout), f"fc7_{number}": nn.Conv2d(hidden, hidden, 1)}
                layers |= {f"act7_{number}": nn.ReLU(inplace=True), f"drop7_{number}": nn.Dropout(dropout)}
            layers[f"fc8_{number}"] = nn.Conv2d(hidden, num_classes, 1) if hidden else atrous
            for name, layer in layers.items():
                self.add_module(name, layer)
            self.branches.append(list(layers))
        self.class_layers = tuple(f"fc8_{number}" for number in range(1, len(rates) + 1))
        # Branches stand side by side: each stage has a layer of every one, dropout with the layer that reads it.
        parts = {"fc6": slice(0, 2), "fc7": slice(2, 5), "fc8": slice(5, None)} if hidden else {"fc8": slice(None)}
        self.decoder_stages = {
            stage: tuple(name for names in self.branches for name in names[part]) for stage, part in parts.items()
        }
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        size, last = x.shape[2:], self.last_stage
        x = self.maps(x, [last])[last]
        scores = x.new_zeros(())
        for names in self.branches:
            branch = x
            for name in names:
                branch = self.get_submodule(name)(branch)
            scores = scores + branch
        return resize_from_corner(scores, self.feature_info[last].stride, size)
