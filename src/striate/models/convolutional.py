"""Classifiers as convolutions, so that a picture of any size gives a map of scores."""

from copy import deepcopy
from math import isqrt

import torch
from torch import Tensor, nn

from striate.models.network import BatchNorm2d, Network


class FullyConvolutional(nn.Module):
    """Pictures (N, C, H, W) in, a map of scores (N, K, H', W') out.

    Attributes:
        body: the network up to the map of its last stage.
        head: what made logits of that map, as convolutions.
    """

    def __init__(self, body: Network, head: nn.Sequential):
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        self.body.check_input(x)
        for stage in self.body.feature_info:
            x = self.body.forward_stage(stage, x)
        return self.head(x)


def fully_convolutional(network: Network) -> FullyConvolutional:
    """A copy of a classifier with convolutions for dense layers, weights kept (VGG paper, sec. 3.2).

    A dense layer that reads s×s units of the last map becomes a convolution of s×s, what follows it and a classifier
    behind a global average become 1×1; the pooling between falls away. The network stays as it is.

    - AlexNet, ZFNet, VGG and the modern LeNet-5 give on pictures of their own size one score a class, that of the
      network, and on larger ones a map of them, one for every step of the last stage's stride. (In LeNet-5 each is
      exactly that of the cut-out below it; where convolutions pad, a cut-out has a border that the picture has not.)
    - Behind a global average (GoogLeNet, ResNet, MobileNet) the map is as large as that of the last stage, and its mean
      over the positions is the score of the network, whatever the size.

    Auxiliary heads are left out. The modern LeNet-5 takes pictures from 32×32 on then, and pads none.

    Raises:
        ValueError: a network that does more between the last map and the logits than `Network.head` can say.
    """
    own_way = type(network).forward is not Network.forward
    if own_way or not network.head or not all(hasattr(network, name) for name in network.head):
        kind = type(network).__name__
        raise ValueError(f"{kind} has no convolutional form: it does not end on pooling and dense layers in a line")
    body = deepcopy(network)
    *_, last = body.feature_info.values()
    channels, layers = last.channels, []
    for module in (getattr(body, name) for name in body.head):
        if isinstance(module, nn.AdaptiveAvgPool2d):
            continue
        if isinstance(module, nn.Linear):
            module = as_convolution(module, channels)
            channels = module.out_channels
        elif isinstance(module, nn.BatchNorm1d):
            module = _over_maps(module)
        layers.append(module)
    auxiliary = {name.partition(".")[0] for name in body.auxiliary_classifiers}
    for name in {*body.head, *auxiliary}:
        if any(True for _ in getattr(body, name).parameters()):
            delattr(body, name)
    body.head, body.auxiliary_classifiers, body.auxiliary_weights, body.any_size = (), (), (), True
    return FullyConvolutional(body, nn.Sequential(*layers))


def as_convolution(layer: nn.Linear, channels: int) -> nn.Conv2d:
    """The same parameters, over the maps that were flattened channel by channel, row by row."""
    side = isqrt(layer.in_features // channels)
    assert channels * side**2 == layer.in_features
    with torch.device("meta"):
        convolution = nn.Conv2d(channels, layer.out_features, side, bias=layer.bias is not None)
    weight = layer.weight.detach().view(layer.out_features, channels, side, side)
    convolution.weight = nn.Parameter(weight, layer.weight.requires_grad)
    convolution.bias = layer.bias
    return convolution.train(layer.training)


def _over_maps(norm: nn.BatchNorm1d) -> BatchNorm2d:
    fresh = BatchNorm2d(norm.num_features, norm.eps, norm.momentum).to(norm.weight)
    fresh.load_state_dict(norm.state_dict())
    return fresh.train(norm.training)
