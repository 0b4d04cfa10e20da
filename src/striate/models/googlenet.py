"""GoogLeNet: nine inception modules, with two auxiliary heads on request."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.dense_head import check_dropout
from striate.models.network import (
    BatchNorm2d,
    FeatureInfo,
    Network,
    check_choice,
    check_eps,
    initialise_classifier,
    initialise_he,
)

# Table 1 of the paper: #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5, pool proj.
MODULES = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
BEFORE = {"inception3a": ("norm2", "pool2"), "inception4a": ("pool3",), "inception5a": ("pool4",)}
HEADS = {"aux1": "inception4a", "aux2": "inception4d"}  # where the auxiliary heads stand


def conv_layer(in_channels: int, out_channels: int, kernel: int, eps: float | None, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the side (÷ stride), batch norm of that ε in place of its bias or none, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=eps is None)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if eps is not None:
        layers["bn"] = BatchNorm2d(out_channels, eps)
    layers["act"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


class Inception(nn.Module):
    """1×1, 3×3 and 5×5 convolutions and a pooling side by side (Fig. 2b). (N, C, H, W) → (N, sum of the four, H, W).

    Args:
        channels: a line of `MODULES`.
        large_kernel: of the third branch, 5 in the paper.
        eps: of batch norm; None for none.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], large_kernel: int, eps: float | None):
        super().__init__()
        one, reduce_three, three, reduce_five, five, projection = channels
        self.conv1x1 = conv_layer(in_channels, one, 1, eps)
        self.reduce3x3 = conv_layer(in_channels, reduce_three, 1, eps)
        self.conv3x3 = conv_layer(reduce_three, three, 3, eps)
        self.reduce5x5 = conv_layer(in_channels, reduce_five, 1, eps)
        self.conv5x5 = conv_layer(reduce_five, five, large_kernel, eps)
        self.pool = nn.MaxPool2d(3, 1, padding=1)
        self.proj = conv_layer(in_channels, projection, 1, eps)

    def forward(self, x: Tensor) -> Tensor:
        small, middle, large = self.conv1x1(x), self.conv3x3(self.reduce3x3(x)), self.conv5x5(self.reduce5x5(x))
        return torch.cat((small, middle, large, self.proj(self.pool(x))), 1)


class AuxiliaryHead(nn.Module):
    """Average pooling 5×5 with stride 3, 1×1 convolution, two dense layers (sec. 5). (N, C, 14, 14) → logits (N, K).

    Maps that this pooling does not bring to 4×4 are brought there by adaptive averaging, as all are in torchvision.
    """

    def __init__(self, in_channels: int, num_classes: int, dropout: float, eps: float | None, adaptive: bool):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4) if adaptive else nn.AvgPool2d(5, 3)
        self.conv = conv_layer(in_channels, 128, 1, eps)
        self.fc1, self.act = nn.Linear(2048, 1024), nn.ReLU(inplace=True)
        self.dropout, self.fc2 = nn.Dropout(dropout), nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x) if all(14 <= side <= 16 for side in x.shape[2:]) else F.adaptive_avg_pool2d(x, 4)
        return self.fc2(self.dropout(self.act(self.fc1(self.conv(x).flatten(1)))))


class GoogLeNet(Network):
    """GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842, Table 1, Fig. 3).

    ===============  =======================================================  ====================
    layer            what                                                     output, 224×224 in
    ===============  =======================================================  ====================
    conv1            7×7, 64, stride 2                                        64×112×112
    conv2            max 3×3, stride 2, normalisation, 1×1, 64, 3×3, 192      192×56×56
    inception3a      normalisation, max 3×3, stride 2, module                 256×28×28
    inception3b      module                                                   480×28×28
    inception4a      max 3×3, stride 2, module                                512×14×14
    inception4b, 4c  modules                                                  512×14×14
    inception4d      module                                                   528×14×14
    inception4e      module                                                   832×14×14
    inception5a      max 3×3, stride 2, module                                832×7×7
    inception5b      module                                                   1024×7×7
    fc               global average, dropout, linear                          K
    ===============  =======================================================  ====================

    `MODULES` has the channels. ReLU after every convolution. Pooling windows with stride 2 may stand over (ceil mode).

    ====================  ==========  =============
    variant               parameters  mult-adds
    ====================  ==========  =============
    form="paper"           6,998,552  1,582,671,872
      with auxiliary      13,378,280  1,591,044,096
    form="torchvision"     6,624,904  1,498,376,192
      with auxiliary      13,004,888  1,506,748,416
    ====================  ==========  =============

    (3 channels, 1000 classes, 224×224; the heads are counted where they were built.)

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        form: "paper", or "torchvision" for weights from there: batch norm, 3×3 in the place of the 5×5, 2×2 windows in
            pool4, adaptive pooling in the auxiliary heads.
        batch_norm: before each activation, in place of the biases and of the response normalisation; not in the paper.
        batch_norm_eps: of that; 0.001 in the weights of torchvision and in the networks that followed this one.
        auxiliary: builds the heads aux1 after inception4a and aux2 after inception4d; only `forward_aux` computes
            them, and training adds 0.3 times their losses.
        dropout: probability that a channel's average is left out before fc.
        auxiliary_dropout: the same before fc2 of the auxiliary heads.

    Input: at least 31×31.

    Differs from the paper: it gives no numbers for its response normalisation, here those of the Caffe replication
    (n = 5, α = 10⁻⁴, β = 0.75, k = 1), and no initialisation, here He's. The parameters of some of its modules disagree
    with the widths that it prints beside them; the widths are followed.
    """

    paper_input = (3, 224, 224)
    smallest_side = 31
    rounds_up = False
    head = ("avgpool", "dropout", "fc")
    num_features = 1024

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        form: str = "paper",
        batch_norm: bool = False,
        batch_norm_eps: float = 1e-3,
        auxiliary: bool = False,
        dropout: float = 0.4,
        auxiliary_dropout: float = 0.7,
    ):
        super().__init__(num_classes, in_channels)
        check_choice("form", form, ("paper", "torchvision"))
        check_dropout("dropout", dropout)
        check_dropout("auxiliary_dropout", auxiliary_dropout)
        check_eps(batch_norm_eps)
        paper = form == "paper"
        if not (paper or batch_norm):
            raise ValueError("form='torchvision' has batch norm: batch_norm=True")
        eps = batch_norm_eps if batch_norm else None
        self.conv1 = conv_layer(in_channels, 64, 7, eps, stride=2)
        self.pool1, self.norm1 = nn.MaxPool2d(3, 2, ceil_mode=True), response_norm(batch_norm)
        self.conv2_reduce, self.conv2 = conv_layer(64, 64, 1, eps), conv_layer(64, 192, 3, eps)
        self.norm2, self.pool2 = response_norm(batch_norm), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.pool3, self.pool4 = (nn.MaxPool2d(kernel, 2, ceil_mode=True) for kernel in (3, 3 if paper else 2))
        self.feature_info = {
            "conv1": FeatureInfo(64, 2, ("conv1",)),
            "conv2": FeatureInfo(192, 4, ("pool1", "norm1", "conv2_reduce", "conv2")),
        }
        channels, stride = 192, 4
        for name, widths in MODULES.items():
            before = BEFORE.get(name, ())
            stride *= 2 if before else 1
            self.add_module(name, Inception(channels, widths, 5 if paper else 3, eps))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
            self.feature_info[name] = FeatureInfo(channels, stride, (*before, name))
        if auxiliary:
            for name, stage in HEADS.items():
                inputs = self.feature_info[stage].channels
                self.add_module(name, AuxiliaryHead(inputs, num_classes, auxiliary_dropout, eps, not paper))
            self.auxiliary_classifiers, self.auxiliary_weights = ("aux1.fc2", "aux2.fc2"), (0.3, 0.3)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        initialise_he(self)
        for name in self.auxiliary_classifiers:
            initialise_classifier(self.get_submodule(name))

    def forward_aux(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.forward_features(x)
        logits = [self.forward_head(features["inception5b"])]
        for name, stage in HEADS.items() if self.auxiliary_weights else ():
            logits.append(getattr(self, name)(features[stage]))
        return tuple(logits)


def response_norm(batch_norm: bool) -> nn.Module:
    return nn.Identity() if batch_norm else nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1)
