"""What all networks share: the contract, the check of arguments and input, initialisation and batch normalisation."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class FeatureInfo:
    """One stage of a network, as `forward_features` returns it.

    Attributes:
        channels: channels of its map.
        stride: input pixels between neighbouring units of its map; where every layer pads, an input of side s
            gives a map of side ceil(s / stride).
        modules: names of the submodules that compute it from the stage before.
    """

    channels: int
    stride: int
    modules: tuple[str, ...]


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raises ValueError, with all valid values, when `value` is none of them."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


def check_count(name: str, value: object) -> None:
    """Raises ValueError when `value` is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}")


class Network(nn.Module):
    """A classifier: pictures (N, `in_channels`, H, W) in, logits (N, `num_classes`) out, in every mode.

    Attributes:
        feature_info: stage name -> FeatureInfo, in the order of `forward_features`.
        num_features: channels into the classifier.
        classifier_name: name of the last layer; the parameters and buffers below it depend on the classes.

    Raises:
        ValueError: a bad argument or an input of the wrong shape; the message names the valid values.
    """

    feature_info: dict[str, FeatureInfo]
    num_features: int
    classifier_name: str = "fc"

    def __init__(self, num_classes: int, in_channels: int):
        super().__init__()
        check_count("num_classes", num_classes)
        check_count("in_channels", in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        """The map of every stage, (N, C, H, W) each, by stage name, in order."""
        raise NotImplementedError

    def reset_classifier(self, num_classes: int) -> None:
        """Puts a newly initialised classifier for `num_classes` in the place of the old one."""
        check_count("num_classes", num_classes)
        old = self.get_submodule(self.classifier_name)
        head = nn.Linear(self.num_features, num_classes).to(next(old.parameters()))
        initialise_classifier(head)
        self.set_submodule(self.classifier_name, head.train(self.training))
        self.num_classes = num_classes

    def check_input(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"expected an input (N, {self.in_channels}, H, W); got {tuple(x.shape)}")


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that a batch of one survives.

    A single value per channel (one picture on a 1×1 map) has no variance, and PyTorch refuses it in training. Here it
    is normalised by the running statistics, which it leaves as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def initialise_he(network: Network, nonlinearity: str = "relu") -> None:
    """He et al. 2015 (arXiv:1502.01852), eq. 10: weights N(0, gain² / fan-in), biases 0; the classifier apart.

    Fan-in and not fan-out, because it is the right count for depthwise convolutions too.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity=nonlinearity)  # type: ignore[arg-type]
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    initialise_classifier(network.get_submodule(network.classifier_name))


def initialise_classifier(layer: nn.Module) -> None:
    """Weights N(0, 0.01²), biases 0 (Goyal et al. 2017, sec. 5.1), so that training starts at a loss of ln K."""
    assert isinstance(layer, nn.Linear)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
