"""The four-layer network on which the AlexNet paper compares ReLU with tanh."""

from collections.abc import Sequence

from torch import Tensor, nn

from striate.models.network import (
    BatchNorm2d,
    FeatureInfo,
    Network,
    check_choice,
    check_count,
    check_eps,
    initialise_he,
)

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
POOLINGS = {  # which kind each of the three poolings is
    "mixed": ("max", "average", "average"),
    "max": ("max",) * 3,
    "average": ("average",) * 3,
}


class CifarConvNet(Network):
    """A four-layer convolutional network for CIFAR-10 (Krizhevsky, Sutskever, Hinton 2012, sec. 3.1 and Fig. 1).

    =====  ==============================  =======================
    layer  what                            output shape, 32×32 in
    =====  ==============================  =======================
    conv1  5×5, 32, padding 2, activation  32×32×32
    pool1  max 3×3, stride 2               32×16×16
    conv2  5×5, 32, padding 2, activation  32×16×16
    pool2  average 3×3, stride 2           32×8×8
    conv3  5×5, 64, padding 2, activation  64×8×8
    pool3  average 3×3, stride 2           64×4×4
    fc     linear                          K
    =====  ==============================  =======================

    89,578 parameters and 12,298,240 multiply-adds (3 channels, 10 classes, 32×32).

    The paper says: four layers, of ReLU or of tanh units, on CIFAR-10, no regularisation, a learning rate chosen for
    each. Everything else is that of the four-layer network which its first author published for CIFAR-10 in the same
    year (cuda-convnet, `layers-18pct`): three convolutions of 5×5 and a dense layer, their widths, overlapping pooling,
    the first of them by maximum.

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        widths: channels of the three convolutions.
        activation: "relu", "tanh" or "sigmoid".
        pooling: "mixed" as published (max, average, average), "max" or "average" for all three.
        batch_norm: batch normalisation before each activation (Ioffe & Szegedy 2015); those layers have no bias.
        batch_norm_eps: of that; 0.001 is usual in Keras.
        hidden: units of a dense layer with activation before the classifier; 0 for none, as in the paper.
        dropout: share of the inputs of each dense layer that training sets to zero; 0 in the paper.

    Input: any size; pooled to 4×4 before the dense layers, which changes nothing at 32×32.

    Differs from the paper: weights N(0, gain² / fan-in) with the gain of the activation (√2, 5/3, 1), the classifier
    N(0, 0.01²); the paper says nothing of them, and those of cuda-convnet (0.0001 in conv1) suit ReLU alone.
    """

    conv1: nn.Module
    conv2: nn.Module
    conv3: nn.Module
    bn1: nn.Module
    bn2: nn.Module
    bn3: nn.Module
    pool1: nn.Module
    pool2: nn.Module
    pool3: nn.Module

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        widths: Sequence[int] = (32, 32, 64),
        activation: str = "relu",
        pooling: str = "mixed",
        batch_norm: bool = False,
        batch_norm_eps: float = 1e-5,
        hidden: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__(num_classes, in_channels)
        check_choice("activation", activation, ACTIVATIONS)
        check_choice("pooling", pooling, POOLINGS)
        check_eps(batch_norm_eps)
        if len(widths) != 3:
            raise ValueError(f"widths must be 3 numbers, one a convolution; got {list(widths)}")
        for width in widths:
            check_count("each of widths", width)
        if isinstance(hidden, bool) or not isinstance(hidden, int) or hidden < 0:
            raise ValueError(f"hidden must be a whole number of at least 0; got {hidden!r}")
        if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1; got {dropout!r}")
        self.feature_info, channels = {}, in_channels
        for number, (width, kind) in enumerate(zip(widths, POOLINGS[pooling], strict=True), start=1):
            self.add_module(f"conv{number}", nn.Conv2d(channels, width, 5, padding=2, bias=not batch_norm))
            self.add_module(f"bn{number}", BatchNorm2d(width, batch_norm_eps) if batch_norm else nn.Identity())
            # ceil_mode: the last window may reach over the border; an average there is one of fewer units
            pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
            self.add_module(f"pool{number}", pool(3, 2, ceil_mode=True))
            self.feature_info[f"conv{number}"] = FeatureInfo(width, 2 ** (number - 1), (f"conv{number}", f"bn{number}"))
            channels = width
        self.activation = ACTIVATIONS[activation]()
        self.resize = nn.AdaptiveAvgPool2d(4)
        self.dropout = nn.Dropout(dropout)
        self.num_features = 16 * channels
        if hidden:
            self.fc_hidden = nn.Linear(self.num_features, hidden, bias=not batch_norm)
            self.bn_hidden = BatchNorm2d(hidden, batch_norm_eps) if batch_norm else nn.Identity()
            self.num_features = hidden
        self.hidden = hidden
        self.fc = nn.Linear(self.num_features, num_classes)
        initialise_he(self, activation)

    def forward(self, x: Tensor) -> Tensor:
        *_, last = self.forward_features(x).values()
        x = self.dropout(self.resize(self.pool3(last)).flatten(1))
        if self.hidden:
            x = self.bn_hidden(self.fc_hidden(x)[:, :, None, None]).flatten(
                1
            )  # a map of 1×1: a batch of one has it too
            x = self.dropout(self.activation(x))
        return self.fc(x)

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        self.check_input(x)
        features = {}
        features["conv1"] = x = self.activation(self.bn1(self.conv1(x)))
        features["conv2"] = x = self.activation(self.bn2(self.conv2(self.pool1(x))))
        features["conv3"] = self.activation(self.bn3(self.conv3(self.pool2(x))))
        return features
