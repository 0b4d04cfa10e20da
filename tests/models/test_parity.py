"""The same weights in an independent implementation give the same output."""

import pytest
import torch
import torchvision
from torch import nn

from striate.models.mobilenet import MobileNet
from striate.models.network import BatchNorm2d
from striate.models.residual_blocks import ZeroPadShortcut
from striate.models.resnet import CifarResNet, ResNet


def copy_by_order(source: nn.Module, target: nn.Module) -> None:
    """Random weights and statistics into `source`, and the same into `target`, by order of registration."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in source.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
        for kind in ("parameters", "buffers"):
            for ours, theirs in zip(getattr(target, kind)(), getattr(source, kind)(), strict=True):
                ours.copy_(theirs)


def assert_same(ours: nn.Module, theirs: nn.Module, side: int) -> None:
    copy_by_order(theirs, ours)
    for training in (False, True):
        x = torch.randn(2, 3, side, side)
        expected, got = theirs.train(training)(x), ours.train(training)(x)
        assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
    for ours_buffer, theirs_buffer in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(ours_buffer, theirs_buffer)


@pytest.mark.parametrize(("depth", "stride_in"), [(18, "1x1"), (50, "3x3")])
def test_resnet_is_torchvisions(depth: int, stride_in: str):
    theirs = torchvision.models.get_model(f"resnet{depth}", weights=None, num_classes=11)
    assert_same(ResNet(11, depth=depth, stride_in=stride_in), theirs, 97)


def test_mobilenet_is_timms():
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=11)
    assert_same(MobileNet(11, activation="relu6", batch_norm_eps=1e-5), theirs, 97)


def test_zero_pad_shortcut_keeps_every_second_unit_and_adds_empty_channels():
    x = torch.randn(2, 3, 7, 5)
    y = ZeroPadShortcut(3, 8, 2)(x)
    assert y.shape == (2, 8, 4, 3)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])
    assert not y[:, 3:].any()
    y = ZeroPadShortcut(3, 8, 2, middle=True)(x)
    assert torch.equal(y[:, 2:5], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 5:].any()


def test_blocks_that_start_at_zero_are_their_shortcuts():
    torch.manual_seed(0)
    network = CifarResNet(depth=8, zero_init_residual=True).eval()
    features = network.forward_features(torch.randn(1, 3, 32, 32))
    assert torch.equal(features["conv2_x"], features["conv1"])
    plain = CifarResNet(depth=8).eval().forward_features(torch.randn(1, 3, 32, 32))
    assert not torch.equal(plain["conv2_x"], plain["conv1"])


def test_batch_norm_normalises_one_value_by_the_running_statistics_and_leaves_them():
    layer, usual = BatchNorm2d(3), nn.BatchNorm2d(3)
    statistics = {"running_mean": torch.tensor([1.0, 2.0, 3.0]), "running_var": torch.tensor([1.0, 4.0, 9.0])}
    layer.load_state_dict(statistics, strict=False)
    one = torch.tensor([2.0, 4.0, 6.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(layer(one).flatten(), torch.ones(3), atol=1e-4, rtol=0)
    assert torch.equal(layer.running_mean, statistics["running_mean"])
    assert layer.num_batches_tracked == 0
    usual.load_state_dict(layer.state_dict())
    more = torch.randn(2, 3, 1, 1)
    assert torch.equal(layer(more), usual(more))
    assert torch.equal(layer.running_var, usual.running_var)
