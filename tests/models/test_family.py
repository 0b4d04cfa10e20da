"""One suite for every network. A new network is a row in FAMILY (and a file in conf/model)."""

import ast
import inspect
import sys
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

import striate.models
from striate.models.alexnet import AlexNet
from striate.models.arithmetic import count
from striate.models.cifar_convnet import CifarConvNet
from striate.models.googlenet import GoogLeNet
from striate.models.lenet5 import LeNet5
from striate.models.mlp import MLP
from striate.models.mobilenet import MobileNet
from striate.models.network import Network
from striate.models.resnet import CifarResNet, ResNet
from striate.models.vgg import VGG
from striate.models.zfnet import ZFNet

GREY, CIFAR, IMAGENET = (1, 32, 32), (3, 32, 32), (3, 224, 224)
# Sides of the maps where layers do not pad, so that a map is smaller than its stride says.
BORDERED = {
    LeNet5: {"C1": 28, "S2": 14, "C3": 10, "S4": 5},
    AlexNet: {"conv1": 55, "pool1": 27, "conv2": 27, "pool2": 13, "conv3": 13, "conv4": 13, "conv5": 13, "pool5": 6},
    ZFNet: {"conv1": 110, "pool1": 55, "conv2": 26, "pool2": 13, "conv3": 13, "conv4": 13, "conv5": 13, "pool5": 6},
}
MODELS = Path(striate.models.__file__).parent
CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))


@dataclass(frozen=True, eq=False)
class Row:
    """A network with what an independent count says of it."""

    network: type[Network]
    input: tuple[int, int, int]
    classes: int
    parameters: int
    mult_adds: int
    options: dict[str, Any] = field(default_factory=dict)


@cache
def on_meta(row: Row) -> Network:
    with torch.device("meta"):
        return row.network(row.classes, row.input[0], **row.options)


def lenet5(parameters: int, mult_adds: int, side: int = 32, **options: Any) -> Row:
    return Row(LeNet5, (1, side, side), 10, parameters, mult_adds, options)


def resnet(parameters: int, mult_adds: int, **options: Any) -> Row:
    return Row(ResNet, IMAGENET, 1000, parameters, mult_adds, options)


def cifar(parameters: int, mult_adds: int, **options: Any) -> Row:
    return Row(CifarResNet, CIFAR, 10, parameters, mult_adds, options)


def imagenet(network: type[Network], parameters: int, mult_adds: int, side: int = 224, **options: Any) -> Row:
    return Row(network, (3, side, side), 1000, parameters, mult_adds, options)


def vgg(configuration: str, parameters: int, mult_adds: int, **options: Any) -> Row:
    return imagenet(VGG, parameters, mult_adds, configuration=configuration, **options)


def mlp(parameters: int, mult_adds: int, shape: tuple[int, int, int] = (1, 28, 28), **options: Any) -> Row:
    return Row(MLP, shape, 10, parameters, mult_adds, {"image_size": shape[1:], **options})


def mobilenet(parameters: int, mult_adds: int, side: int = 224, **options: Any) -> Row:
    return Row(MobileNet, (3, side, side), 1000, parameters, mult_adds, options)


FAMILY = {
    "mlp": mlp(23_860, 23_820),
    "mlp-100": mlp(79_510, 79_400, hidden=(100,)),
    "mlp-colour-deep-bn": mlp(309_834, 309_560, (3, 32, 32), hidden=(100, 20, 12), batch_norm=True, activation="relu"),
    "mlp-linear": mlp(7_850, 7_840, hidden=()),
    "lenet5": lenet5(60_000, 325_680),
    "lenet5-28": lenet5(60_000, 325_680, side=28),
    "lenet5-modern": lenet5(61_706, 416_520, side=28, form="modern"),
    "lenet5-modern-32": lenet5(61_706, 416_520, form="modern", pooling="average", activation="tanh"),
    "alexnet": imagenet(AlexNet, 60_965_224, 724_406_816, side=227),
    "alexnet-224": imagenet(AlexNet, 60_965_224, 724_406_816, conv1_padding=2),
    "alexnet-one-tower": imagenet(AlexNet, 61_100_840, 714_188_480, towers=1),
    "alexnet-ungrouped": imagenet(
        AlexNet, 62_378_344, 1_135_256_096, side=227, towers=1, widths=(96, 256, 384, 384, 256), conv1_padding=0
    ),
    "zfnet": imagenet(ZFNet, 62_357_608, 1_168_032_896),
    "zfnet-512-1024-512": imagenet(ZFNet, 107_627_624, 2_476_704_896, widths=(96, 256, 512, 1024, 512)),
    "vgg11": vgg("A", 132_863_336, 7_609_090_048),
    "vgg11-lrn": vgg("A-LRN", 132_863_336, 7_609_090_048),
    "vgg11_bn": vgg("A", 132_868_840, 7_609_090_048, batch_norm=True),
    "vgg13": vgg("B", 133_047_848, 11_308_466_176),
    "vgg13_bn": vgg("B", 133_053_736, 11_308_466_176, batch_norm=True),
    "vgg16_c": vgg("C", 133_638_952, 11_770_888_192),
    "vgg16": vgg("D", 138_357_544, 15_470_264_320),
    "vgg16_bn": vgg("D", 138_365_992, 15_470_264_320, batch_norm=True),
    "vgg19": vgg("E", 143_667_240, 19_632_062_464),
    "vgg19_bn": vgg("E", 143_678_248, 19_632_062_464, batch_norm=True),
    "googlenet": imagenet(GoogLeNet, 6_998_552, 1_582_671_872),
    "googlenet-aux": imagenet(GoogLeNet, 13_378_280, 1_591_044_096, auxiliary=True),
    "googlenet-torchvision": imagenet(GoogLeNet, 6_624_904, 1_498_376_192, form="torchvision", batch_norm=True),
    "googlenet-torchvision-aux": imagenet(  # torchvision leaves the heads' 8,372,224 out in evaluation
        GoogLeNet, 13_004_888, 1_498_376_192 + 8_372_224, form="torchvision", batch_norm=True, auxiliary=True
    ),
    "resnet18": resnet(11_689_512, 1_814_073_344, depth=18),
    "resnet34": resnet(21_797_672, 3_663_761_408, depth=34),
    "resnet50": resnet(25_557_032, 3_857_973_248, depth=50),
    "resnet101": resnet(44_549_160, 7_570_194_432, depth=101),
    "resnet152": resnet(60_192_808, 11_282_415_616, depth=152),
    "resnet50-v1.5": resnet(25_557_032, 4_089_184_256, depth=50, stride_in="3x3"),
    "resnet101-v1.5": resnet(44_549_160, 7_801_405_440, depth=101, stride_in="3x3"),
    "resnet152-v1.5": resnet(60_192_808, 11_513_626_624, depth=152, stride_in="3x3"),
    "resnet18-A": resnet(11_515_688, 1_794_805_760, depth=18, shortcut="A"),
    "resnet18-C": resnet(12_043_816, 1_878_298_624, depth=18, shortcut="C"),
    "resnet18-plain": resnet(11_515_688, 1_794_805_760, depth=18, shortcut="none"),
    "resnet34-A": resnet(21_623_848, 3_644_493_824, depth=34, shortcut="A"),
    "resnet34-C": resnet(22_716_840, 3_830_747_136, depth=34, shortcut="C"),
    "resnet34-plain": resnet(21_623_848, 3_644_493_824, depth=34, shortcut="none"),
    "resnet20": cifar(269_722, 40_551_040, depth=20),
    "resnet20-B": cifar(272_474, 40_813_184, depth=20, shortcut="B"),
    "resnet20-plain": cifar(269_722, 40_551_040, depth=20, shortcut="none"),
    "resnet32": cifar(464_154, 68_862_592, depth=32),
    "resnet32-B": cifar(466_906, 69_124_736, depth=32, shortcut="B"),
    "resnet32-plain": cifar(464_154, 68_862_592, depth=32, shortcut="none"),
    "resnet44": cifar(658_586, 97_174_144, depth=44),
    "resnet44-B": cifar(661_338, 97_436_288, depth=44, shortcut="B"),
    "resnet44-plain": cifar(658_586, 97_174_144, depth=44, shortcut="none"),
    "resnet56": cifar(853_018, 125_485_696, depth=56),
    "resnet56-B": cifar(855_770, 125_747_840, depth=56, shortcut="B"),
    "resnet56-plain": cifar(853_018, 125_485_696, depth=56, shortcut="none"),
    "resnet110": cifar(1_727_962, 252_887_680, depth=110),
    "resnet110-B": cifar(1_730_714, 253_149_824, depth=110, shortcut="B"),
    "resnet1202": cifar(19_421_274, 2_829_238_912, depth=1202),
    "cifar_convnet": Row(CifarConvNet, CIFAR, 10, 89_578, 12_298_240),
    "cifar_convnet-dense": Row(CifarConvNet, CIFAR, 10, 145_578, 12_354_176, {"hidden": 64, "activation": "tanh"}),
    "cifar_convnet-bn": Row(CifarConvNet, CIFAR, 10, 89_706, 12_298_240, {"batch_norm": True, "pooling": "max"}),
    "mobilenet": mobilenet(4_231_976, 568_740_352),
    "mobilenet-same": mobilenet(4_231_976, 568_740_352, padding="same"),
    "mobilenet-192": mobilenet(4_231_976, 418_121_728, side=192),
    "mobilenet-160": mobilenet(4_231_976, 290_675_200, side=160),
    "mobilenet-128": mobilenet(4_231_976, 186_400_768, side=128),
    "mobilenet-0.75": mobilenet(2_585_560, 325_400_448, width_multiplier=0.75),
    "mobilenet-0.75-192": mobilenet(2_585_560, 239_273_472, side=192, width_multiplier=0.75),
    "mobilenet-0.75-160": mobilenet(2_585_560, 166_396_800, side=160, width_multiplier=0.75),
    "mobilenet-0.75-128": mobilenet(2_585_560, 106_770_432, side=128, width_multiplier=0.75),
    "mobilenet-0.5": mobilenet(1_331_592, 149_497_088, width_multiplier=0.5),
    "mobilenet-0.5-192": mobilenet(1_331_592, 109_970_432, side=192, width_multiplier=0.5),
    "mobilenet-0.5-160": mobilenet(1_331_592, 76_524_800, side=160, width_multiplier=0.5),
    "mobilenet-0.5-128": mobilenet(1_331_592, 49_160_192, side=128, width_multiplier=0.5),
    "mobilenet-0.25": mobilenet(470_072, 41_030_272, width_multiplier=0.25),
    "mobilenet-0.25-192": mobilenet(470_072, 30_212_608, side=192, width_multiplier=0.25),
    "mobilenet-0.25-160": mobilenet(470_072, 21_059_200, side=160, width_multiplier=0.25),
    "mobilenet-0.25-128": mobilenet(470_072, 13_570_048, side=128, width_multiplier=0.25),
    "mobilenet-shallow": mobilenet(2_887_976, 307_323_392, shallow=True),
    "mobilenet-full": mobilenet(29_294_088, 4_867_293_184, full_convolution=True),
}

# How the parameters divide: biases of convolutions and dense layers, scales and shifts of batch norm.
SPLIT = {
    "alexnet": (10_568, 0),
    "alexnet-one-tower": (10_344, 0),
    "zfnet": (10_568, 0),
    "zfnet-512-1024-512": (11_592, 0),
    "vgg11": (11_944, 0),
    "vgg11_bn": (11_944, 5_504),
    "vgg13_bn": (12_136, 5_888),
    "vgg16_c": (13_416, 0),
    "vgg16_bn": (13_416, 8_448),
    "vgg19_bn": (14_696, 11_008),
    "googlenet": (8_280, 0),
    "googlenet-aux": (12_584, 0),
    "googlenet-torchvision": (1_000, 14_560),
    "googlenet-torchvision-aux": (5_048, 15_072),
    "resnet18": (1_000, 9_600),
    "resnet34": (1_000, 17_024),
    "resnet50": (1_000, 53_120),
    "resnet101": (1_000, 105_344),
    "resnet152": (1_000, 151_424),
    "resnet18-A": (1_000, 7_808),
    "resnet18-plain": (1_000, 7_808),
    "resnet34-C": (1_000, 22_784),
    "resnet20": (10, 1_376),
    "resnet56-B": (10, 4_256),
    "resnet1202": (10, 89_632),
    "mobilenet": (1_000, 21_888),
    "mobilenet-0.25": (1_000, 5_472),
    "mobilenet-shallow": (1_000, 11_648),
    "mobilenet-full": (1_000, 11_968),
}

# The same code with real numbers, narrow and on small pictures; the sides give maps of 1×1 and odd maps at the end.
NARROW, NARROW_CIFAR = {"widths": (4, 6, 8, 10)}, {"widths": (4, 6, 8), "depth": 8}
NARROW_DENSE = {"widths": (6, 8, 10, 10, 8), "hidden": 12, "pooled_size": 2}
SMALL: dict[str, tuple[type[Network], tuple[int, int, int], dict[str, Any]]] = {
    "mlp": (MLP, (1, 12, 9), {"image_size": (12, 9), "hidden": (11, 8)}),
    "mlp-linear": (MLP, (3, 8, 8), {"image_size": (8, 8), "hidden": ()}),
    "mlp-bn-relu": (
        MLP,
        (3, 8, 8),
        {"image_size": (8, 8), "batch_norm": True, "activation": "relu", "initialisation": "scaled"},
    ),
    "lenet5": (LeNet5, GREY, {}),
    "lenet5-28-colour": (LeNet5, (3, 28, 28), {}),
    "lenet5-modern": (LeNet5, GREY, {"form": "modern"}),
    "lenet5-modern-28-tanh": (LeNet5, (3, 28, 28), {"form": "modern", "pooling": "average", "activation": "tanh"}),
    "alexnet": (AlexNet, (3, 67, 71), NARROW_DENSE),
    "alexnet-tanh": (AlexNet, (1, 99, 67), {"activation": "tanh", "initialisation": "he", **NARROW_DENSE}),
    "alexnet-one-tower-bn": (AlexNet, (3, 63, 80), {"towers": 1, "batch_norm": True, **NARROW_DENSE}),
    "zfnet": (ZFNet, (3, 63, 63), NARROW_DENSE),
    "zfnet-bn": (ZFNet, (1, 70, 95), {"batch_norm": True, "lrn": False, "initialisation": "he", **NARROW_DENSE}),
    "vgg-A-LRN": (VGG, CIFAR, {"configuration": "A-LRN", **NARROW_DENSE}),
    "vgg-C-bn": (VGG, (1, 47, 33), {"configuration": "C", "batch_norm": True, **NARROW_DENSE}),
    "vgg-E": (VGG, (3, 28, 29), {"configuration": "E", "ceil_mode": True, "initialisation": "he", **NARROW_DENSE}),
    "googlenet": (GoogLeNet, CIFAR, {}),
    "googlenet-aux": (GoogLeNet, (1, 31, 45), {"auxiliary": True, "auxiliary_dropout": 0.5}),
    "googlenet-torchvision-aux": (
        GoogLeNet,
        CIFAR,
        {"form": "torchvision", "batch_norm": True, "auxiliary": True, "dropout": 0.2},
    ),
    "resnet18": (ResNet, CIFAR, {"depth": 18, **NARROW}),
    "resnet18-atrous": (ResNet, (3, 41, 57), {"depth": 18, "output_stride": 8, **NARROW}),
    "resnet50-atrous-plain-no-bn": (
        ResNet,
        CIFAR,
        {"depth": 50, "output_stride": 16, "shortcut": "none", "batch_norm": False, **NARROW},
    ),
    "resnet18-A": (ResNet, (1, 41, 57), {"depth": 18, "shortcut": "A", **NARROW}),
    "resnet18-plain": (ResNet, (3, 64, 64), {"depth": 18, "shortcut": "none", **NARROW}),
    "resnet50": (ResNet, (1, 28, 28), {"depth": 50, **NARROW}),
    "resnet50-A": (ResNet, (1, 28, 28), {"depth": 50, "shortcut": "A", **NARROW}),
    "resnet50-v1.5-C": (ResNet, (3, 65, 65), {"depth": 50, "stride_in": "3x3", "shortcut": "C", **NARROW}),
    "cifar": (CifarResNet, (1, 28, 28), NARROW_CIFAR),
    "cifar-no-bn": (CifarResNet, CIFAR, {"batch_norm": False, **NARROW_CIFAR}),
    "cifar-B": (CifarResNet, (3, 33, 31), {"shortcut": "B", **NARROW_CIFAR}),
    "cifar-C": (CifarResNet, CIFAR, {"shortcut": "C", **NARROW_CIFAR}),
    "cifar-plain": (CifarResNet, CIFAR, {"shortcut": "none", **NARROW_CIFAR}),
    "cifar_convnet": (CifarConvNet, CIFAR, {"widths": (4, 6, 8)}),
    "cifar_convnet-28-tanh": (CifarConvNet, (1, 28, 28), {"widths": (4, 6, 8), "activation": "tanh", "pooling": "max"}),
    "cifar_convnet-bn-dense": (
        CifarConvNet,
        (3, 41, 57),
        {"widths": (4, 6, 8), "batch_norm": True, "hidden": 12, "pooling": "average", "activation": "sigmoid"},
    ),
    "mobilenet": (MobileNet, (1, 28, 28), {"width_multiplier": 0.25}),
    "mobilenet-shallow-relu6": (
        MobileNet,
        (3, 32, 32),
        {"width_multiplier": 0.25, "shallow": True, "activation": "relu6"},
    ),
    "mobilenet-same-no-bn": (
        MobileNet,
        (3, 33, 46),
        {"width_multiplier": 0.25, "padding": "same", "batch_norm": False},
    ),
    "mobilenet-full": (MobileNet, (3, 61, 70), {"width_multiplier": 0.1, "full_convolution": True}),
}


@pytest.fixture(params=SMALL)
def small(request: pytest.FixtureRequest) -> tuple[Network, tuple[int, int, int]]:
    torch.manual_seed(0)
    network, shape, options = SMALL[request.param]
    return network(7, shape[0], **options), shape


@pytest.mark.parametrize("name", FAMILY)
def test_counts_and_shapes_are_exact(name: str):
    row = FAMILY[name]
    network = on_meta(row)
    counts = count(network, row.input)
    assert network(torch.empty(2, *row.input, device="meta")).shape == (2, row.classes)
    assert counts.parameters == counts.trainable_parameters == row.parameters
    assert sum(layer.parameters for layer in counts.layers) == row.parameters
    assert counts.mult_adds == row.mult_adds


@pytest.mark.parametrize("name", SPLIT)
def test_parameters_divide_exactly(name: str):
    weights = biases = affine = 0
    for module in on_meta(FAMILY[name]).modules():
        for kind, parameter in module.named_parameters(recurse=False):
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                affine += parameter.numel()
            elif kind == "bias":
                biases += parameter.numel()
            else:
                weights += parameter.numel()
    assert (biases, affine) == SPLIT[name]
    assert weights == FAMILY[name].parameters - biases - affine


@pytest.mark.parametrize("name", FAMILY)
def test_feature_info_tells_the_truth(name: str):
    row = FAMILY[name]
    network = on_meta(row)
    features = network.forward_features(torch.empty(2, *row.input, device="meta"))
    assert list(features) == list(network.feature_info)
    modules = [module for info in network.feature_info.values() for module in info.modules]
    assert len(modules) == len(set(modules))
    assert set(modules) <= {child for child, _ in network.named_children()}
    for stage, info in network.feature_info.items():
        side = BORDERED[row.network][stage] if row.network in BORDERED else ceil(row.input[1] / info.stride)
        assert features[stage].shape == (2, info.channels, side, side), stage


def test_batches_of_one_and_two_give_finite_gradients_everywhere(small):
    network, shape = small
    for training in (True, False):
        for size in (1, 2):
            network.train(training).zero_grad()
            outputs = network.forward_aux(torch.randn(size, *shape))
            assert len(outputs) == 1 + len(network.auxiliary_weights)
            for logits in outputs:
                assert logits.shape == (size, 7)
                assert logits.isfinite().all()
            sum(nn.functional.cross_entropy(logits, torch.arange(size)) for logits in outputs).backward()
            for name, parameter in network.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
                # in training two values per channel on a 1×1 map are ±1 whatever they were: gradients may vanish there
                assert training or parameter.grad.abs().max() > 0, name


def test_a_picture_gives_the_same_alone_and_in_a_batch(small):
    network, shape = small
    network.eval()
    batch = torch.randn(3, *shape)
    with torch.no_grad():
        together, alone = network(batch), torch.cat([network(picture[None]) for picture in batch])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_forward_gives_the_main_logits_alone(small):
    network, shape = small
    network.eval()
    batch = torch.randn(2, *shape)
    with torch.no_grad():
        assert torch.equal(network(batch), network.forward_aux(batch)[0])
    assert len(network.auxiliary_classifiers) == len(network.auxiliary_weights)


def test_features_come_from_the_modules_that_they_name(small):
    network, shape = small
    network.eval()
    batch = torch.randn(2, *shape)
    with torch.no_grad():
        before = network.forward_features(batch)
        for stage, info in reversed(network.feature_info.items()):
            if not any(True for module in info.modules for _ in network.get_submodule(module).parameters()):
                continue  # pooling: nothing to change
            for module in info.modules:
                for parameter in network.get_submodule(module).parameters():
                    parameter.mul_(0.5).add_(0.1)
            after = network.forward_features(batch)
            changed = [name for name in before if not torch.equal(before[name], after[name])]
            assert changed == list(before)[list(before).index(stage) :]


def test_reset_classifier_changes_the_classifier_and_nothing_else(small):
    network, shape = small
    network.double().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seen = []
    network.reset_classifier(4)
    network.get_submodule(network.classifier_name).register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    assert all(logits.shape == (2, 4) for logits in network.forward_aux(torch.randn(2, *shape, dtype=torch.float64)))
    assert seen[0].shape == (2, network.num_features)
    assert network.num_classes == 4
    assert not any(module.training for module in network.modules())
    after = network.state_dict()
    assert set(after) == set(before)
    for name, value in after.items():
        if name.rpartition(".")[0] not in (network.classifier_name, *network.auxiliary_classifiers):
            assert torch.equal(value, before[name]), name
    with pytest.raises(ValueError, match="at least 1"):
        network.reset_classifier(0)


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_decides_the_weights(name: str):
    network, shape, options = SMALL[name]
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(network(7, shape[0], **options).state_dict())
    first, same, other = states
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        (LeNet5, {"num_classes": 0}, "num_classes must be a whole number of at least 1; got 0"),
        (LeNet5, {"in_channels": 1.5}, "in_channels must be a whole number"),
        (LeNet5, {"form": "new"}, "form must be one of 'original', 'modern'; got 'new'"),
        (LeNet5, {"pooling": "max"}, "options of form='modern'"),
        (LeNet5, {"form": "modern", "pooling": "min"}, "pooling must be one of None, 'max', 'average'"),
        (LeNet5, {"form": "modern", "activation": "gelu"}, "activation must be one of None, 'relu', 'tanh'"),
        (LeNet5, {"num_classes": 169}, "1 to 168 with form='original'"),
        (AlexNet, {"towers": 3}, "towers must be one of 2, 1; got 3"),
        (AlexNet, {"widths": (96, 255, 384, 384, 256)}, "widths must be even with towers=2"),
        (AlexNet, {"widths": (96, 256)}, "widths must be 5 numbers"),
        (AlexNet, {"activation": "sigmoid"}, "activation must be one of 'relu', 'tanh'; got 'sigmoid'"),
        (AlexNet, {"conv1_padding": 6}, "conv1_padding must be one of None, 0, 1, 2"),
        (AlexNet, {"hidden": 0}, "hidden must be a whole number of at least 1; got 0"),
        (ZFNet, {"dropout": 1.0}, "dropout must be at least 0 and below 1; got 1.0"),
        (ZFNet, {"initialisation": "glorot"}, "initialisation must be one of 'paper', 'he'"),
        (VGG, {"configuration": "F"}, "configuration must be one of 'A', 'A-LRN', 'B', 'C', 'D', 'E'; got 'F'"),
        (VGG, {"pooled_size": -1}, "pooled_size must be a whole number of at least 1"),
        (GoogLeNet, {"form": "v3"}, "form must be one of 'paper', 'torchvision'"),
        (GoogLeNet, {"form": "torchvision"}, "form='torchvision' has batch norm: batch_norm=True"),
        (GoogLeNet, {"auxiliary_dropout": -0.1}, "auxiliary_dropout must be at least 0 and below 1; got -0.1"),
        (ResNet, {"output_stride": 4}, "output_stride must be one of 32, 16, 8; got 4"),
        (ResNet, {"batch_norm": False, "zero_init_residual": True}, "needs batch_norm=True"),
        (MobileNet, {"padding": "valid"}, "padding must be one of 'symmetric', 'same'; got 'valid'"),
        (ResNet, {"depth": 20}, "depth must be one of 18, 34, 50, 101, 152; got 20"),
        (ResNet, {"shortcut": "D"}, "shortcut must be one of 'A', 'A-middle', 'B', 'C', 'none'; got 'D'"),
        (ResNet, {"stride_in": "5x5"}, "stride_in must be one of '1x1', '3x3'"),
        (ResNet, {"widths": (64, 128)}, "widths must be 4 numbers"),
        (ResNet, {"widths": (64, 128, 0, 1)}, "each of widths must be a whole number"),
        (ResNet, {"depth": 18, "shortcut": "A", "widths": (64, 32, 16, 8)}, "shortcut 'A' adds channels"),
        (CifarResNet, {"depth": 21}, "depth must be 6n \\+ 2"),
        (CifarResNet, {"depth": 2}, "depth must be 6n \\+ 2"),
        (CifarResNet, {"widths": (16, 32, 64, 128)}, "widths must be 3 numbers"),
        (CifarConvNet, {"activation": "gelu"}, "activation must be one of 'relu', 'tanh', 'sigmoid'"),
        (CifarConvNet, {"pooling": "min"}, "pooling must be one of 'mixed', 'max', 'average'"),
        (CifarConvNet, {"widths": (32, 64)}, "widths must be 3 numbers"),
        (CifarConvNet, {"hidden": -1}, "hidden must be a whole number of at least 0"),
        (CifarConvNet, {"dropout": 1}, "dropout must be at least 0 and below 1"),
        (MLP, {"hidden": (3, 0)}, "each of hidden must be a whole number of at least 1; got 0"),
        (MLP, {"activation": "elu"}, "activation must be one of 'sigmoid', 'tanh', 'relu'; got 'elu'"),
        (MLP, {"initialisation": "he"}, "initialisation must be one of 'normal', 'scaled'"),
        (MLP, {"image_size": (28, 0)}, "each side of image_size must be a whole number"),
        (MobileNet, {"width_multiplier": 0}, "width_multiplier must be above 0; got 0"),
        (MobileNet, {"batch_norm_eps": float("nan")}, "batch_norm_eps must be above 0"),
        (MobileNet, {"activation": "swish"}, "activation must be one of 'relu', 'relu6'"),
    ],
)
def test_bad_arguments_are_refused_with_the_valid_ones(network: type[Network], arguments: dict, message: str):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        network(**arguments)


def test_bad_inputs_are_refused_with_what_is_expected(small):
    network, (channels, height, width) = small
    for shape in ((2, channels + 1, height, width), (channels, height, width), (2, height * width)):
        with pytest.raises(ValueError, match=rf"expected an input \(N, {channels}, H, W\)"):
            network(torch.empty(shape))


@pytest.mark.parametrize("name", ["alexnet", "alexnet-224", "zfnet", "vgg16", "googlenet"])
def test_the_smallest_side_is_the_smallest(name: str):
    network = on_meta(FAMILY[name])
    side = network.smallest_side
    network(torch.empty(1, 3, side, side, device="meta"))
    small = torch.empty(1, 3, side + 5, side - 1, device="meta")
    with pytest.raises(ValueError, match=f"expected pictures of at least {side}×{side}; got {side + 5}×{side - 1}"):
        network(small)
    network.smallest_side = 1
    try:
        with pytest.raises(RuntimeError, match=r"[Oo]utput size"):
            network(small)
    finally:
        network.smallest_side = side


@pytest.mark.parametrize(
    "name", [name for name, row in SMALL.items() if "batch_norm" in inspect.signature(row[0]).parameters]
)
def test_the_epsilon_of_batch_norm_is_an_option_and_reaches_every_layer(name: str):
    network, shape, options = SMALL[name]
    with torch.device("meta"):
        built = network(7, shape[0], **options | {"batch_norm": True, "batch_norm_eps": 0.02})
    norms = [module for module in built.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert {norm.eps for norm in norms} == {0.02} or name == "mlp-linear"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_model_configuration_builds_and_lists_every_option(path: Path):
    config = OmegaConf.load(path)
    with torch.device("meta"):
        network = instantiate(config, num_classes=7, in_channels=2)
    assert isinstance(network, Network)
    assert (network.num_classes, network.in_channels) == (7, 2)
    parameters = inspect.signature(type(network)).parameters.values()
    options = {parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    assert set(config) == {"_target_", *options}
    lines = path.read_text().splitlines()
    assert all(" # " in line for line in lines if not line.startswith(("#", "_target_"))), "an option without comment"


def test_every_network_has_a_configuration():
    targets = {OmegaConf.load(path)["_target_"].rpartition(".")[2] for path in CONFIGS}
    assert {row.network.__name__ for row in FAMILY.values()} <= targets


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.py")), ids=lambda path: path.stem)
def test_models_import_torch_and_nothing_else(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            names = [node.module or ""]
        else:
            continue
        for name in names:
            allowed = name.partition(".")[0] in {"torch", *sys.stdlib_module_names} or name.startswith(
                "striate.models."
            )
            assert allowed, f"{path.name} imports {name}"
