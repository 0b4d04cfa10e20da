"""SegNet and SegNet-Basic: decoders that put every maximum back at its place."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.network import BatchNorm2d, FeatureInfo, check_count
from striate.models.segmentation import Backbone, SegmentationNetwork
from striate.models.unpooling import Mirrored, mirrored_layers, require_switches, unpool_as
from striate.models.vgg import VGG, Switches

VGG16_BN = partial(
    VGG, configuration="D", batch_norm=True, ceil_mode=True, initialisation="he", pooled_size=1, hidden=1
)


class SegNet(SegmentationNetwork):
    """SegNet (Badrinarayanan, Kendall, Cipolla 2017, arXiv:1511.00561, sec. 3, Fig. 2).

    =========================  ==================================  ==================
    layer                      what                                output, 360×480 in
    =========================  ==================================  ==================
    backbone                   VGG-16 with batch norm, to pool5    512×12×15
    conv5_3_D … conv5_1_D      unpooling, three convolutions       512×23×30
    conv4_3_D … conv4_1_D      unpooling, three convolutions       256×45×60
    conv3_3_D … conv3_1_D      unpooling, three convolutions       128×90×120
    conv2_2_D, conv2_1_D       unpooling, two convolutions         64×180×240
    conv1_2_D                  unpooling, convolution              64×360×480
    conv1_1_D                  3×3, the classifier                 K×360×480
    =========================  ==================================  ==================

    Every convolution of the decoder is that of the encoder with its channels exchanged, with batch norm and ReLU behind
    it, bn5_3_D and so on, but the classifier.

    =======  ==========  ===============  =================
    classes  parameters  without biases   mult-adds, 360×480
    =======  ==========  ===============  =================
    11       29,449,355  29,441,408       106,712,432,640
    12       29,449,932                   106,811,965,440
    21       29,455,125
    37       29,464,357                   109,300,285,440
    =======  ==========  ===============  =================

    (3 channels; at 224×224 and 21 classes 31,213,486,080 mult-adds.)

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        backbone: a VGG, of any configuration and widths.
        biases: of all convolutions, those of the backbone included; the paper says that it has none, the authors'
            release has them.

    Input: any size.

    Differs from the paper: no dropout, which its benchmark has "after the deeper layers" without saying which.
    """

    paper_input = (3, 360, 480)
    classifier_name = "conv1_1_D"
    class_layers = ("conv1_1_D",)
    backbone: VGG

    def __init__(
        self,
        num_classes: int = 11,
        in_channels: int = 3,
        *,
        backbone: Backbone = VGG16_BN,
        biases: bool = True,
    ):
        super().__init__(num_classes, in_channels)
        body = require_switches(self._take_backbone(backbone), "SegNet")
        self.mirrored: dict[str, list[Mirrored]] = mirrored_layers(body)
        self.decoder_stages = {}
        for block, layers in self.mirrored.items():
            for layer in layers:
                name, last = f"{layer.name}_D", layer.name == "conv1_1"
                outputs, padding = num_classes if last else layer.outputs, layer.kernel // 2
                conv = nn.Conv2d(layer.inputs, outputs, layer.kernel, padding=padding, bias=biases)
                self.add_module(name, conv)
                if not last:
                    self.add_module(name.replace("conv", "bn"), BatchNorm2d(outputs))
                    stage = f"conv{block.removeprefix('pool')}_D"
                    self.decoder_stages[stage] = (*self.decoder_stages.get(stage, ()), name, name.replace("conv", "bn"))
        self.num_features = layer.inputs
        if not biases:
            for module in body.modules():
                if isinstance(module, nn.Conv2d):
                    module.register_parameter("bias", None)
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        features, switches = self.backbone.forward_with_indices(x)
        x = features[self.last_stage]
        for block, layers in self.mirrored.items():
            x = unpool_as(x, switches[block])
            for layer in layers:
                name = f"{layer.name}_D"
                x = self.get_submodule(name)(x)
                if name != self.classifier_name:
                    x = F.relu(self.get_submodule(name.replace("conv", "bn"))(x), inplace=True)
        return x


class SegNetBasic(SegmentationNetwork):
    """SegNet-Basic (Badrinarayanan, Kendall, Cipolla 2017, arXiv:1511.00561, sec. 3.1).

    ===================================  ==========================================  ==================
    layer                                what                                        output, 360×480 in
    ===================================  ==========================================  ==================
    norm                                 response normalisation of the picture       3×360×480
    conv1, bn1 … conv4, bn4              7×7, ReLU, max 2×2, four times              64×23×30
    conv_decode4, bn_decode4 … decode1   unpooling, 7×7, no ReLU, four times         64×360×480
    conv_classifier                      1×1                                         K×360×480
    ===================================  ==========================================  ==================

    1,416,587 parameters, 1,416,075 without biases but the classifier's, and 59,188,838,400 mult-adds (3 channels, 11
    classes, 360×480). The paper's 1.425 million cannot be had from its description.

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        width: maps of every layer.
        biases: of the 7×7 convolutions; the paper says that it has none, the authors' release has them.
        normalise_input: local response normalisation across the channels of the picture, as in the release (n = 5,
            α = 10⁻⁴, β = 0.75).

    Input: any size.

    Differs from the paper: nothing else that it prints.
    """

    paper_input = (3, 360, 480)
    classifier_name = "conv_classifier"
    class_layers = ("conv_classifier",)
    blocks = (1, 2, 3, 4)

    def __init__(
        self,
        num_classes: int = 11,
        in_channels: int = 3,
        *,
        width: int = 64,
        biases: bool = True,
        normalise_input: bool = True,
    ):
        super().__init__(num_classes, in_channels)
        check_count("width", width)
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1) if normalise_input else nn.Identity()
        self.feature_info, channels = {}, in_channels
        for block in self.blocks:
            self.add_module(f"conv{block}", nn.Conv2d(channels, width, 7, padding=3, bias=biases))
            self.add_module(f"bn{block}", BatchNorm2d(width))
            self.add_module(f"act{block}", nn.ReLU(inplace=True))
            modules = (f"conv{block}", f"bn{block}", f"act{block}")
            before = (f"pool{block - 1}",) if block > 1 else ("norm",)
            self.feature_info[f"conv{block}"] = FeatureInfo(width, 2 ** (block - 1), (*before, *modules))
            self.add_module(f"pool{block}", nn.MaxPool2d(2, ceil_mode=True))
            channels = width
        for block in reversed(self.blocks):
            self.add_module(f"conv_decode{block}", nn.Conv2d(width, width, 7, padding=3, bias=biases))
            self.add_module(f"bn_decode{block}", BatchNorm2d(width))
        self.conv_classifier, self.num_features = nn.Conv2d(width, num_classes, 1), width
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        x, switches = self.norm(x), {}
        for block in self.blocks:
            for name in (f"conv{block}", f"bn{block}", f"act{block}"):
                x = self.get_submodule(name)(x)
            size = (x.shape[2], x.shape[3])
            x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            switches[block] = Switches(indices, size)
        for block in reversed(self.blocks):
            x = self.get_submodule(f"conv_decode{block}")(unpool_as(x, switches[block]))
            x = self.get_submodule(f"bn_decode{block}")(x)
        return self.conv_classifier(x)

    def forward_stage(self, stage: str, x: Tensor) -> Tensor:
        for name in self.feature_info[stage].modules:
            x = self.get_submodule(name)(x)
        return x
