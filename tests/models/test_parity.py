"""The same weights in an independent implementation give the same output and the same gradients."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from striate.models.alexnet import AlexNet
from striate.models.googlenet import GoogLeNet
from striate.models.mobilenet import MobileNet, SameConv2d
from striate.models.network import BatchNorm1d, BatchNorm2d, Network
from striate.models.resnet import ResNet
from striate.models.vgg import VGG


def randomise(network: nn.Module) -> None:
    """Values of a useful size for a network that came from the meta device."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            module.reset_parameters()


def copy_by_order(source: nn.Module, target: nn.Module) -> None:
    """Random biases, scales and statistics into `source`, and all of `source` into `target`, by registration."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in source.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
            if getattr(module, "bias", None) is not None:
                module.bias.normal_(0, 0.2)
        for kind in ("parameters", "buffers"):
            for ours, theirs in zip(getattr(target, kind)(), getattr(source, kind)(), strict=True):
                ours.copy_(theirs)


def distance(got: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return float(((got - expected).abs().max() / expected.abs().max()).detach())


def outputs_of(theirs: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    outputs = theirs(x)
    return (outputs.logits, outputs.aux_logits1, outputs.aux_logits2) if isinstance(outputs, tuple) else (outputs,)


def assert_same(ours: Network, theirs: nn.Module, side: int, *, double: bool = True) -> None:
    """Equal logits in both modes, gradients of a sum of squares, and statistics after it."""
    copy_by_order(theirs, ours)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        if dtype == torch.float64 and not double:
            continue
        x = torch.randn(2, 3, side, side, dtype=dtype)
        ours.to(dtype), theirs.to(dtype)
        with torch.no_grad():
            assert distance(ours.eval()(x), theirs.eval()(x)) <= tolerance
        ours.train().zero_grad(), theirs.train().zero_grad()
        expected = outputs_of(theirs, x)
        got = ours.forward_aux(x) if len(expected) > 1 else (ours(x),)
        for our_logits, their_logits in zip(got, expected, strict=True):
            assert distance(our_logits, their_logits) <= tolerance
        sum(logits.square().sum() for logits in got).backward()
        sum(logits.square().sum() for logits in expected).backward()
        for (name, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert distance(parameter.grad, other.grad) <= tolerance, name
    for our_buffer, their_buffer in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(our_buffer, their_buffer)


def narrow_classifier(inputs: int) -> nn.Sequential:
    """For torchvision's, which have most of the weights and the least structure."""
    return nn.Sequential(nn.Linear(inputs, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 11))


def test_alexnet_in_one_tower_is_torchvisions():
    with torch.device("meta"):
        theirs = torchvision.models.alexnet()
    theirs.classifier = narrow_classifier(256 * 36).to("meta")
    randomise(theirs.to_empty(device="cpu"))
    assert_same(AlexNet(11, towers=1, hidden=24, dropout=0.0), theirs, 97)


@pytest.mark.parametrize("batch_norm", [False, True], ids=["", "bn"])
@pytest.mark.parametrize("configuration", ["A", "B", "D", "E"])
def test_vgg_is_torchvisions(configuration: str, batch_norm: bool):
    """torchvision's, its layers an eighth as wide."""
    scaled = [width if width == "M" else width // 8 for width in cfgs[configuration]]
    with torch.device("meta"):
        theirs = torchvision.models.VGG(make_layers(scaled, batch_norm=batch_norm), init_weights=False)
    theirs.classifier = narrow_classifier(64 * 49).to("meta")
    randomise(theirs.to_empty(device="cpu"))
    options = {"widths": (8, 16, 32, 64, 64), "hidden": 24, "dropout": 0.0}
    assert_same(VGG(11, configuration=configuration, batch_norm=batch_norm, **options), theirs, 70)


@pytest.mark.parametrize("auxiliary", [False, True], ids=["", "aux"])
def test_googlenet_is_torchvisions(auxiliary: bool):
    theirs = torchvision.models.GoogLeNet(11, auxiliary, init_weights=False, dropout=0.0, dropout_aux=0.0)
    options = {"form": "torchvision", "batch_norm": True, "dropout": 0.0, "auxiliary_dropout": 0.0}
    assert_same(GoogLeNet(11, auxiliary=auxiliary, **options), theirs, 65)


@pytest.mark.parametrize(("depth", "stride_in"), [(18, "1x1"), (50, "3x3")])
def test_resnet_is_torchvisions(depth: int, stride_in: str):
    theirs = torchvision.models.get_model(f"resnet{depth}", weights=None, num_classes=11)
    assert_same(ResNet(11, depth=depth, stride_in=stride_in), theirs, 65)


@pytest.mark.parametrize("output_stride", [16, 8])
def test_atrous_resnet_is_torchvisions(output_stride: int):
    replaced = [False, output_stride == 8, True]
    theirs = torchvision.models.resnet50(num_classes=11, replace_stride_with_dilation=replaced)
    assert_same(ResNet(11, depth=50, stride_in="3x3", output_stride=output_stride), theirs, 33, double=False)


def test_mobilenet_is_timms():
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=11)
    assert_same(MobileNet(11, activation="relu6", batch_norm_eps=1e-5), theirs, 65)


@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (1, 2)])
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (2, 4)])
def test_same_padding_is_tensorflows_in_timms_words(shape: tuple[int, int], stride: int, groups: int):
    layers = pytest.importorskip("timm.layers")
    ours, theirs = SameConv2d(4, 8, 3, stride, groups, True), layers.Conv2dSame(4, 8, 3, stride, groups=groups)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, *shape)
    torch.testing.assert_close(ours(x), theirs(x))
    if shape == (8, 8) and stride == 2:
        torch.testing.assert_close(
            ours(x), nn.functional.conv2d(nn.ZeroPad2d((0, 1, 0, 1))(x), ours.weight, ours.bias, 2, groups=groups)
        )


FULL = {
    "alexnet": (AlexNet, {"towers": 1, "dropout": 0.0}),
    **{
        f"vgg{layers}{suffix}": (
            VGG,
            {"configuration": configuration, "batch_norm": bool(suffix), "dropout": 0.0},
        )
        for layers, configuration in ((11, "A"), (13, "B"), (16, "D"), (19, "E"))
        for suffix in ("", "_bn")
    },
    "googlenet": (GoogLeNet, {"form": "torchvision", "batch_norm": True, "dropout": 0.0}),
    **{f"resnet{depth}": (ResNet, {"depth": depth, "stride_in": "3x3"}) for depth in (18, 34, 50, 101, 152)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_at_the_full_size(name: str):
    network, options = FULL[name]
    theirs_options = {key: value for key, value in options.items() if key == "dropout"}
    if name == "googlenet":
        theirs_options |= {"aux_logits": False, "init_weights": False}
    with torch.device("meta"):
        theirs, ours = torchvision.models.get_model(name, weights=None, **theirs_options), network(**options)
    randomise(theirs.to_empty(device="cpu"))
    assert_same(ours.to_empty(device="cpu"), theirs, 224, double=False)


@pytest.mark.parametrize(
    ("layer", "usual", "axes"), [(BatchNorm2d(3), nn.BatchNorm2d(3), (1, 1)), (BatchNorm1d(3), nn.BatchNorm1d(3), ())]
)
def test_batch_norm_normalises_one_value_by_the_running_statistics_and_leaves_them(layer, usual, axes):
    statistics = {"running_mean": torch.tensor([1.0, 2.0, 3.0]), "running_var": torch.tensor([1.0, 4.0, 9.0])}
    layer.load_state_dict(statistics, strict=False)
    one = torch.tensor([2.0, 4.0, 6.0]).view(1, 3, *axes)
    torch.testing.assert_close(layer(one).flatten(), torch.ones(3), atol=1e-4, rtol=0)
    assert torch.equal(layer.running_mean, statistics["running_mean"])
    assert layer.num_batches_tracked == 0
    usual.load_state_dict(layer.state_dict())
    more = torch.randn(2, 3, *axes)
    assert torch.equal(layer(more), usual(more))
    assert torch.equal(layer.running_var, usual.running_var)
