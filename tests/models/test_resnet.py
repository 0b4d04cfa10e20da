"""Residual networks beyond what all networks share: strides traded for dilation, batch norm left out, shortcuts."""

import pytest
import torch
from torch import nn

from striate.models.residual_blocks import ZeroPadShortcut
from striate.models.resnet import CifarResNet, ResNet

NARROW = {"widths": (4, 6, 6, 10)}


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize(
    "options",
    [
        {"depth": 18},
        {"depth": 18, "shortcut": "A"},
        {"depth": 18, "shortcut": "none"},
        {"depth": 50},
        {"depth": 50, "stride_in": "3x3"},
        {"depth": 50, "stride_in": "3x3", "shortcut": "C"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
@pytest.mark.parametrize("size", [(64, 96), (57, 75)])
def test_traded_strides_leave_the_units_of_the_old_map(options: dict, output_stride: int, size: tuple[int, int]):
    torch.manual_seed(0)
    usual = ResNet(5, **NARROW, **options).double().eval()
    atrous = ResNet(5, **NARROW, output_stride=output_stride, **options).double().eval()
    for module in usual.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    atrous.load_state_dict(usual.state_dict())
    picture = torch.randn(1, 3, *size, dtype=torch.float64)
    expected, features = usual.forward_features(picture), atrous.forward_features(picture)
    for stage, info in usual.feature_info.items():
        step = info.stride // atrous.feature_info[stage].stride
        assert step == max(1, info.stride // output_stride)
        torch.testing.assert_close(features[stage][:, :, ::step, ::step], expected[stage], rtol=1e-10, atol=1e-12)
    assert features["conv5_x"].shape[2:] == tuple(-(-side // output_stride) for side in size)


def test_a_network_without_batch_norm_has_biases_and_no_scales():
    for network in (ResNet(5, depth=50, **NARROW, batch_norm=False), CifarResNet(5, depth=8, batch_norm=False)):
        modules = list(network.modules())
        assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
        assert all(module.bias is not None for module in modules if isinstance(module, nn.Conv2d))
    with_norm = CifarResNet(5, depth=8)
    assert all(module.bias is None for module in with_norm.modules() if isinstance(module, nn.Conv2d))


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
