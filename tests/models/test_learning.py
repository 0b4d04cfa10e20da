"""The networks learn: real digits, a batch by heart, and falling loss over a few hundred steps."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from striate.models.alexnet import AlexNet
from striate.models.googlenet import GoogLeNet
from striate.models.lenet5 import LeNet5
from striate.models.mobilenet import MobileNet
from striate.models.network import Network
from striate.models.resnet import CifarResNet, ResNet
from striate.models.vgg import VGG
from striate.models.zfnet import ZFNet

NARROW = {"widths": (16, 24, 32, 32, 24), "hidden": 48, "pooled_size": 1, "dropout": 0.0, "initialisation": "he"}
LEARNERS: dict[str, tuple[type[Network], int, dict[str, Any]]] = {
    "lenet5": (LeNet5, 32, {}),
    "alexnet": (AlexNet, 67, NARROW),
    "alexnet-tanh": (AlexNet, 67, {**NARROW, "activation": "tanh"}),
    "alexnet-one-tower-bn": (AlexNet, 63, {**NARROW, "towers": 1, "batch_norm": True}),
    "zfnet": (ZFNet, 63, NARROW),
    "vgg11": (VGG, 32, {**NARROW, "configuration": "A"}),
    "vgg16_c": (VGG, 32, {**NARROW, "configuration": "C"}),
    "vgg16_bn": (VGG, 32, {**NARROW, "configuration": "D", "batch_norm": True}),
    "vgg19": (VGG, 32, {**NARROW, "configuration": "E"}),
    "googlenet-aux": (GoogLeNet, 32, {"auxiliary": True, "dropout": 0.0, "auxiliary_dropout": 0.0}),
    "googlenet_bn": (GoogLeNet, 32, {"form": "torchvision", "batch_norm": True, "dropout": 0.0}),
    "resnet18-atrous": (ResNet, 32, {"depth": 18, "widths": (8, 12, 16, 24), "output_stride": 8}),
    "resnet18-no-bn": (ResNet, 32, {"depth": 18, "widths": (8, 12, 16, 24), "batch_norm": False}),
    "plain14": (CifarResNet, 32, {"depth": 14, "widths": (8, 12, 16), "shortcut": "none"}),
    "mobilenet-same": (MobileNet, 32, {"width_multiplier": 0.25, "padding": "same"}),
}
RATE = {"googlenet-aux": 5e-4, "plain14": 5e-3}  # others 2e-3


def pictures(side: int) -> tuple[Tensor, Tensor]:
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    return F.interpolate(x, (side, side), mode="bilinear"), torch.tensor(digits.target)


def loss_of(network: Network, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The loss that training takes, and the main logits."""
    logits, *auxiliary = network.forward_aux(x)
    loss = F.cross_entropy(logits, y)
    for weight, head in zip(network.auxiliary_weights, auxiliary, strict=True):
        loss = loss + weight * F.cross_entropy(head, y)
    return loss, logits


@pytest.mark.parametrize("name", LEARNERS)
def test_a_batch_is_learned_by_heart(name: str):
    torch.manual_seed(0)
    kind, side, options = LEARNERS[name]
    network = kind(10, 1, **options)
    x, y = (part[:32] for part in pictures(side))
    optimizer = torch.optim.Adam(network.parameters(), RATE.get(name, 2e-3))
    first = None
    for _ in range(200):
        loss, logits = loss_of(network, x, y)
        first = float(loss.detach()) if first is None else first
        if (logits.argmax(1) == y).all() and loss < first / 10:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"loss {first:.3f} came down to {loss:.3f} only")


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_loss_falls_over_three_hundred_steps(name: str):
    torch.manual_seed(0)
    kind, side, options = LEARNERS[name]
    network = kind(10, 1, **options)
    x, y = pictures(side)
    optimizer = torch.optim.Adam(network.parameters(), RATE.get(name, 2e-3) / 2)
    losses = []
    for _ in range(300):
        chosen = torch.randint(len(x), (32,))
        loss, _ = loss_of(network, x[chosen], y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-30:]) < sum(losses[:30]) / 3
