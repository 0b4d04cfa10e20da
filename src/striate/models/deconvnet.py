"""DeconvNet: VGG-16 and its mirror image, joined by switches."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.network import BatchNorm2d, check_count
from striate.models.segmentation import Backbone, SegmentationNetwork
from striate.models.unpooling import Mirrored, mirrored_layers, require_switches, unpool_as
from striate.models.vgg import VGG

VGG16_BN = partial(
    VGG, configuration="D", batch_norm=True, ceil_mode=True, initialisation="he", pooled_size=1, hidden=1
)


class DeconvNet(SegmentationNetwork):
    """DeconvNet (Noh, Hong, Han 2015, arXiv:1505.04366, sec. 3, Fig. 2).

    ==============================  ========================================  ==================
    layer                           what                                      output, 224×224 in
    ==============================  ========================================  ==================
    backbone                        VGG-16 with batch norm, to pool5          512×7×7
    fc6                             7×7, no padding                           4096×1×1
    fc7                             1×1                                       4096×1×1
    fc6_deconv                      transposed 7×7                            512×7×7
    deconv5_1, deconv5_2, deconv5_3  unpooling, three transposed 3×3          512×14×14
    deconv4_1, deconv4_2, deconv4_3  unpooling, three transposed 3×3          256×28×28
    deconv3_1, deconv3_2, deconv3_3  unpooling, three transposed 3×3          128×56×56
    deconv2_1, deconv2_2            unpooling, two transposed 3×3             64×112×112
    deconv1_1, deconv1_2            unpooling, two transposed 3×3             64×224×224
    seg_score                       1×1                                       K×224×224
    ==============================  ========================================  ==================

    Batch norm (bn_fc6 … bn_deconv1_2) and ReLU behind every layer but the last. 251,805,653 parameters, 32,745,979,904
    mult-adds (3 channels, 21 classes, 224×224).

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        backbone: a VGG, of any configuration and widths.
        kernel: side of fc6 and fc6_deconv.
        hidden: maps of fc6 and fc7.

    Input: any size. A last map of the backbone that is smaller than the kernel (pictures under 193 pixels, for 7) is
    padded by zeros up to it.

    Differs from the paper: it labels whole pictures; the paper labels 50 proposals of each, resized to 224×224, and
    takes their maximum.
    """

    paper_input = (3, 224, 224)
    classifier_name = "seg_score"
    class_layers = ("seg_score",)
    backbone: VGG

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        backbone: Backbone = VGG16_BN,
        kernel: int = 7,
        hidden: int = 4096,
    ):
        super().__init__(num_classes, in_channels)
        check_count("kernel", kernel)
        check_count("hidden", hidden)
        body, self.kernel = require_switches(self._take_backbone(backbone), "DeconvNet"), kernel
        channels = self.feature_info[self.last_stage].channels
        self._add("fc6", nn.Conv2d(channels, hidden, kernel))
        self._add("fc7", nn.Conv2d(hidden, hidden, 1))
        self._add("fc6_deconv", nn.ConvTranspose2d(hidden, channels, kernel))
        mirrored: dict[str, list[Mirrored]] = mirrored_layers(body)
        self.decoder: dict[str, list[str]] = {}
        for block, layers in mirrored.items():
            self.decoder[block] = []
            for index, layer in enumerate(layers, start=1):
                name, outputs = f"deconv{block[-1]}_{index}", layer.outputs
                if layer.name == "conv1_1":  # its mirror image would be a picture
                    outputs = layer.inputs
                self._add(name, nn.ConvTranspose2d(layer.inputs, outputs, layer.kernel, padding=layer.kernel // 2))
                self.decoder[block].append(name)
        self.decoder_stages = {
            f"deconv{block[-1]}": tuple(each for name in names for each in (name, f"bn_{name}"))
            for block, names in self.decoder.items()
        }
        self.num_features = outputs
        self.seg_score = nn.Conv2d(outputs, num_classes, 1)
        self._initialise()

    def _add(self, name: str, layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
        self.add_module(name, layer)
        self.add_module(f"bn_{name}", BatchNorm2d(layer.out_channels))

    def _run(self, name: str, x: Tensor) -> Tensor:
        return F.relu(self.get_submodule(f"bn_{name}")(self.get_submodule(name)(x)), inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        features, switches = self.backbone.forward_with_indices(x)
        x = features[self.last_stage]
        height, width = x.shape[2:]
        missing = max(self.kernel - height, 0), max(self.kernel - width, 0)
        top, left = (side // 2 for side in missing)
        x = F.pad(x, (left, missing[1] - left, top, missing[0] - top)) if any(missing) else x
        for name in ("fc6", "fc7", "fc6_deconv"):
            x = self._run(name, x)
        x = x[:, :, top : top + height, left : left + width]
        for block, names in self.decoder.items():
            x = unpool_as(x, switches[block])
            for name in names:
                x = self._run(name, x)
        return self.seg_score(x)
