"""What all networks share: the contract, the check of arguments and input, initialisation and batch normalisation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class FeatureInfo:
    """One stage of a network, as `forward_features` returns it.

    Attributes:
        channels: channels of its map.
        stride: input pixels between neighbouring units of its map; where every layer pads, an input of side s
            gives a map of side ceil(s / stride).
        modules: names of the submodules that compute it from the stage before, in order of execution.
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


def check_eps(value: object) -> None:
    """Raises ValueError when the ε of batch norm is not a number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f"batch_norm_eps must be above 0; got {value!r}")


def check_widths(widths: Sequence[int], stages: int) -> None:
    """Raises ValueError when `widths` is not one count of channels for each stage."""
    if len(widths) != stages:
        raise ValueError(f"widths must be {stages} numbers, one a stage; got {list(widths)}")
    for width in widths:
        check_count("each of widths", width)


class Network(nn.Module):
    """A classifier: pictures (N, `in_channels`, H, W) in, logits (N, `num_classes`) out, in every mode.

    Attributes:
        paper_input: (C, H, W) of the pictures for which the paper gives its figures.
        smallest_side: the least height and width that the layers leave something of.
        any_size: whether `forward_features` takes all sizes from there on.
        rounds_up: whether a side s gives maps of ceil(s / stride) whatever s; else only where the strides divide it.
        feature_info: stage name -> FeatureInfo, in order; unless a network says otherwise, the modules of its stages
            one after the other are its body.
        head: names of the modules that make logits of the last map, in order; the first linear layer flattens it. None
            where a network has a `forward_head` of its own.
        num_features: channels into the classifier.
        classifier_name: name of the last layer; the parameters and buffers below it depend on the classes.
        auxiliary_classifiers: names of the last layers of the auxiliary heads, where these were built.
        auxiliary_weights: of the losses of these heads, the main one having 1.
        labels_pixels: whether the logits are (N, K, H, W), one vector a pixel.
        optional_weights: patterns of tensors that a file for this network may lack, or have beyond.

    Raises:
        ValueError: a bad argument or an input of the wrong shape; the message names the valid values.
    """

    paper_input: ClassVar[tuple[int, int, int]]
    smallest_side: int = 1
    any_size: bool = True
    rounds_up: bool = True
    feature_info: dict[str, FeatureInfo]
    head: tuple[str, ...] = ("avgpool", "fc")
    num_features: int
    classifier_name: str = "fc"
    auxiliary_classifiers: tuple[str, ...] = ()
    auxiliary_weights: tuple[float, ...] = ()
    labels_pixels: bool = False
    optional_weights: tuple[str, ...] = ()

    def __init__(self, num_classes: int, in_channels: int):
        super().__init__()
        check_count("num_classes", num_classes)
        check_count("in_channels", in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels

    @property
    def class_layers(self) -> tuple[str, ...]:
        """Names of the layers whose shape depends on the classes."""
        return (self.classifier_name, *self.auxiliary_classifiers)

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        for stage in self.feature_info:
            x = self.forward_stage(stage, x)
        return self.forward_head(x)

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        """The map of every stage, (N, C, H, W) each, by stage name, in order."""
        self.check_input(x)
        features = {}
        for stage in self.feature_info:
            features[stage] = x = self.forward_stage(stage, x)
        return features

    def forward_aux(self, x: Tensor) -> tuple[Tensor, ...]:
        """The logits, then those of each auxiliary head, (N, K) all: what training looks at."""
        return (self(x),)

    def forward_stage(self, stage: str, x: Tensor) -> Tensor:
        """The map of one stage from that of the stage before, for the first from the pictures."""
        for name in self.feature_info[stage].modules:
            x = getattr(self, name)(x)
        return x

    def forward_head(self, x: Tensor) -> Tensor:
        """Logits (N, K) from the map of the last stage."""
        for name in self.head:
            module = getattr(self, name)
            x = module(x.flatten(1) if isinstance(module, nn.Linear) else x)
        return x

    def reset_classifier(self, num_classes: int) -> None:
        """Puts newly initialised classifiers for `num_classes`, in all heads, in the place of the old ones."""
        check_count("num_classes", num_classes)
        for name in (self.classifier_name, *self.auxiliary_classifiers):
            old = self.get_submodule(name)
            assert isinstance(old, nn.Linear)
            fresh = nn.Linear(old.in_features, num_classes).to(old.weight)
            initialise_classifier(fresh)
            self.set_submodule(name, fresh.train(self.training))
        self.num_classes = num_classes

    def check_input(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"expected an input (N, {self.in_channels}, H, W); got {tuple(x.shape)}")
        if min(x.shape[2:]) < self.smallest_side:
            side = self.smallest_side
            raise ValueError(f"expected pictures of at least {side}×{side}; got {x.shape[2]}×{x.shape[3]}")


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation that a batch of one survives.

    A single value per channel (one picture on a 1×1 map) has no variance, and PyTorch refuses it in training. Here it
    is normalised by the running statistics, which it leaves as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """Of maps (N, C, H, W), over pictures and positions; one value per channel: see `_BatchNorm`."""


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """Of vectors (N, C), over pictures; a batch of one: see `_BatchNorm`."""


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
