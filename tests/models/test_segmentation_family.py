"""One suite for every network that labels pixels. A new one is a row in FAMILY and SMALL, and a file in conf/model."""

import csv
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import striate.models
from striate.models.alexnet import AlexNet
from striate.models.arithmetic import Layer, count, training_memory
from striate.models.backbone_unet import BackboneUNet
from striate.models.cifar_convnet import CifarConvNet
from striate.models.deconvnet import DeconvNet
from striate.models.deeplab import DeepLabV1, DeepLabV2
from striate.models.deeplab_v3 import DeepLabV3, DilatedFCN
from striate.models.fcn import FCN
from striate.models.googlenet import GoogLeNet
from striate.models.lenet5 import LeNet5
from striate.models.mlp import MLP
from striate.models.mobilenet import MobileNet
from striate.models.network import Network
from striate.models.resnet import CifarResNet, ResNet
from striate.models.segmentation import SegmentationNetwork
from striate.models.segnet import SegNet, SegNetBasic
from striate.models.unet import UNet
from striate.models.vgg import VGG
from striate.models.zfnet import ZFNet

TABLES = Path(__file__).parent / "layers"
CONFIGS = Path(striate.models.__file__).parents[3] / "conf" / "model"
VOC, CAMVID = (3, 500, 500), (3, 360, 480)


@dataclass(frozen=True, eq=False)
class Row:
    """A network with what an independent count says of it."""

    network: type[SegmentationNetwork]
    input: tuple[int, int, int]
    classes: int
    parameters: int
    mult_adds: int
    options: dict[str, Any] = field(default_factory=dict)
    trainable: int | None = None


@cache
def on_meta(row: Row) -> SegmentationNetwork:
    with torch.device("meta"):
        return row.network(row.classes, row.input[0], **row.options)


def segnet(classes: int, parameters: int, mult_adds: int, shape: tuple[int, int, int] = CAMVID, **options: Any) -> Row:
    return Row(SegNet, shape, classes, parameters, mult_adds, options)


def unet(shape: tuple[int, int, int], classes: int, parameters: int, mult_adds: int, **options: Any) -> Row:
    return Row(UNet, shape, classes, parameters, mult_adds, options)


def deeplab(network: type[SegmentationNetwork], parameters: int, mult_adds: int, **options: Any) -> Row:
    return Row(network, (3, 321, 321), 21, parameters, mult_adds, options)


def library(
    network: type[SegmentationNetwork], parameters: int, mult_adds: int, depth: int = 50, **options: Any
) -> Row:
    backbone = partial(ResNet, depth=depth, stride_in="3x3", output_stride=8)
    if network is DeepLabV3:
        options |= {"form": "torchvision", "rates": (12, 24, 36), "multi_grid": None}
    return Row(network, (3, 520, 520), 21, parameters, mult_adds, {"backbone": backbone, **options})


def on_vgg(**options: Any) -> dict[str, Any]:
    return {"backbone": partial(VGG, ceil_mode=True, pooled_size=1, hidden=1, **options), "centre": True}


FAMILY = {
    "fcn32s": Row(FCN, VOC, 21, 136_152_917, 181_365_854_976, {"finest_stride": 32}, 134_346_581),
    "fcn16s": Row(FCN, VOC, 21, 134_815_994, 181_448_086_272, {"finest_stride": 16}, 134_357_354),
    "fcn8s": Row(FCN, VOC, 21, 134_489_759, 181_529_034_048, {"finest_stride": 8}, 134_362_751),
    # a kernel a class: 21 times fewer than the 127,008 of all pairs
    "fcn8s-grouped": Row(
        FCN, VOC, 21, 134_489_759 - 127_008 + 6_048, 181_529_034_048 - 563_153_472 + 26_816_832,
        {"grouped": True, "upsampling": "learned"}, 134_368_799,
    ),
    "deconvnet": Row(DeconvNet, (3, 224, 224), 21, 251_805_653, 32_745_979_904),
    "segnet-11": segnet(11, 29_449_355, 106_712_432_640),
    "segnet-12": segnet(12, 29_449_932, 106_811_965_440),
    "segnet-21": segnet(21, 29_455_125, 31_213_486_080, (3, 224, 224)),
    "segnet-37": segnet(37, 29_464_357, 109_300_285_440),
    "segnet-no-biases": segnet(11, 29_441_408, 106_712_432_640, biases=False),
    "segnet_basic": Row(SegNetBasic, CAMVID, 11, 1_416_587, 59_188_838_400),
    "segnet_basic-no-biases": Row(SegNetBasic, CAMVID, 11, 1_416_075, 59_188_838_400, {"biases": False}),
    # what a picture of 388×388 costs is what the paper's tile of 572×572 does
    "unet": unet((1, 388, 388), 2, 31_030_658, 150_428_424_448),
    "unet-one-class": unet((1, 388, 388), 1, 31_030_593, 150_418_789_632),
    "unet-colour": unet((3, 388, 388), 2, 31_031_810, 150_802_709_248),
    "unet-same": unet((3, 512, 512), 21, 31_033_045, 193_005_092_864, padding="same"),
    "unet-same-bn": unet((1, 512, 512), 2, 31_036_546, 192_384_335_872, padding="same", batch_norm=True),
    "deeplab_largefov": deeplab(DeepLabV1, 20_505_429, 50_928_085_696),
    "deeplab-7x7": deeplab(DeepLabV1, 134_346_581, 242_284_734_144, kernel=7, rate=4, hidden=4096),
    "deeplab-4x4": deeplab(DeepLabV1, 65_140_565, 125_949_421_248, kernel=4, rate=4, hidden=4096),
    # the body of LargeFOV and four times what stands behind it
    "deeplab_v2": deeplab(DeepLabV2, 37_877_652, 41_197_328_064 + 4 * 9_730_757_632),
    "deeplab_v3-50": library(DeepLabV3, 39_638_869, 168_731_205_888),
    "deeplab_v3-50-aux": library(DeepLabV3, 42_004_074, 178_721_945_088, auxiliary=True),
    "deeplab_v3-101": library(DeepLabV3, 58_630_997, 248_752_300_288, 101),
    "deeplab_v3-101-aux": library(DeepLabV3, 60_996_202, 258_743_039_488, 101, auxiliary=True),
    "fcn_resnet50": library(DilatedFCN, 32_957_013, 142_725_772_800),
    "fcn_resnet50-aux": library(DilatedFCN, 35_322_218, 152_716_512_000, auxiliary=True),
    "fcn_resnet101": library(DilatedFCN, 51_949_141, 222_746_867_200, 101),
    "fcn_resnet101-aux": library(DilatedFCN, 54_314_346, 232_737_606_400, 101, auxiliary=True),
    "unet_resnet34": Row(BackboneUNet, (3, 512, 512), 21, 24_439_269, 32_010_928_128),
    "unet_vgg16": Row(BackboneUNet, (3, 512, 512), 21, 23_751_141, 99_694_411_776, on_vgg()),
    "unet_vgg16_bn": Row(BackboneUNet, (3, 512, 512), 21, 23_759_589, 99_694_411_776, on_vgg(batch_norm=True)),
}  # fmt: skip

# How the parameters divide: biases of convolutions, scales and shifts of batch norm.
SPLIT = {
    "fcn32s": (12_437, 0),
    "fcn16s": (12_458, 0),
    "fcn8s": (12_479, 0),
    "deconvnet": (16_725, 33_408),
    "segnet-11": (7_947, 15_872),
    "segnet-37": (7_973, 15_872),
    "segnet-no-biases": (0, 15_872),
    "segnet_basic": (523, 1_024),
    "segnet_basic-no-biases": (11, 1_024),
    "unet": (6_850, 0),
    "unet-same": (6_869, 0),
    "unet-same-bn": (962, 11_776),
    "deeplab_largefov": (6_293, 0),
    "deeplab-7x7": (12_437, 0),
    "deeplab_v3-50": (21, 56_704),
    "deeplab_v3-101-aux": (42, 109_440),
    "fcn_resnet50": (21, 54_144),
    "fcn_resnet101-aux": (42, 106_880),
    "unet_resnet34": (21, 19_008),
    "unet_vgg16": (4_245, 4_032),
}

# The same code with real numbers, narrow and on small backbones of all kinds that the wiring allows.
WIDTHS = (4, 6, 8, 8, 6)
UNPOOLED = partial(VGG, configuration="B", batch_norm=True, ceil_mode=True, initialisation="he", widths=WIDTHS,
                   pooled_size=1, hidden=1)  # fmt: skip
DENSE = partial(VGG, configuration="A", ceil_mode=True, initialisation="he", widths=WIDTHS, hidden=10)
RESNET18 = partial(ResNet, depth=18, widths=(4, 6, 8, 10))
SMALL: dict[str, tuple[type[SegmentationNetwork], dict[str, Any]]] = {
    "fcn8s": (FCN, {"backbone": partial(DENSE, pooled_size=7)}),
    "fcn32s-unpadded": (FCN, {"backbone": partial(DENSE, pooled_size=3), "padding": 0, "finest_stride": 32}),
    "fcn16s-learned": (FCN, {"backbone": partial(DENSE, pooled_size=5), "finest_stride": 16, "upsampling": "learned"}),
    "fcn8s-resnet18": (FCN, {"backbone": RESNET18, "upsampling": "intermediate", "grouped": True}),
    "fcn8s-mobilenet": (FCN, {"backbone": partial(MobileNet, width_multiplier=0.1)}),
    "deconvnet": (DeconvNet, {"backbone": UNPOOLED, "kernel": 3, "hidden": 12}),
    "segnet": (SegNet, {"backbone": UNPOOLED}),
    "segnet-no-biases": (SegNet, {"backbone": partial(UNPOOLED, configuration="C"), "biases": False}),
    "segnet_basic": (SegNetBasic, {"width": 6}),
    "unet": (UNet, {"widths": (4, 6, 8)}),
    "unet-same-bn": (UNet, {"widths": (4, 6, 8, 10), "padding": "same", "batch_norm": True}),
    "deeplab": (DeepLabV1, {"backbone": partial(DENSE, pooled_size=1), "rate": 2, "hidden": 9}),
    "deeplab-4x4-bn": (DeepLabV1, {"backbone": UNPOOLED, "kernel": 4, "rate": 2, "hidden": 9}),
    "deeplab_v2": (DeepLabV2, {"backbone": partial(DENSE, pooled_size=1), "rates": (1, 2, 3), "hidden": 9}),
    "deeplab_v2-resnet18": (
        DeepLabV2,
        {"backbone": partial(RESNET18, output_stride=8), "rates": (1, 2), "hidden": 0},
    ),
    "deeplab_v3": (
        DeepLabV3,
        {"backbone": partial(RESNET18, output_stride=16), "rates": (1, 2), "multi_grid": (1, 2), "width": 8},
    ),
    "deeplab_v3-torchvision-aux": (
        DeepLabV3,
        {"backbone": partial(RESNET18, output_stride=8), "form": "torchvision", "rates": (2, 4), "multi_grid": None,
         "width": 8, "auxiliary": True, "dropout": 0.5},
    ),
    "deeplab_v3-googlenet": (DeepLabV3, {"backbone": GoogLeNet, "multi_grid": None, "width": 8, "rates": ()}),
    "fcn_resnet-aux": (DilatedFCN, {"backbone": RESNET18, "auxiliary": True}),
    "unet_resnet18": (BackboneUNet, {"backbone": RESNET18, "widths": (8, 7, 6, 5, 4), "centre": True}),
    "unet_cifar": (
        BackboneUNet,
        {"backbone": partial(CifarResNet, depth=8, widths=(4, 6, 8)), "widths": (6, 4), "full_size_skip": True},
    ),
}  # fmt: skip


def build(name: str, classes: int = 5, channels: int = 3, **changes: Any) -> SegmentationNetwork:
    torch.manual_seed(0)
    network, options = SMALL[name]
    return network(classes, channels, **{**options, **changes})


@pytest.fixture(params=SMALL)
def small(request: pytest.FixtureRequest) -> SegmentationNetwork:
    return build(request.param)


def shaken(network: nn.Module) -> nn.Module:
    """With values where layers start at zero, so that every gradient has a way."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.any():
                module.weight.normal_(0, 0.5)
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("name", FAMILY)
def test_counts_and_shapes_are_exact(name: str):
    row = FAMILY[name]
    network = on_meta(row)
    counts = count(network, row.input)
    assert counts.parameters == row.parameters
    assert counts.trainable_parameters == (row.trainable or row.parameters)
    assert sum(layer.parameters for layer in counts.layers) == row.parameters
    assert counts.mult_adds == row.mult_adds


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("size", [(321, 481), (97, 33)])
def test_the_output_has_the_pictures_size(name: str, size: tuple[int, int]):
    row = FAMILY[name]
    for logits in on_meta(row).forward_aux(torch.empty(1, row.input[0], *size, device="meta")):
        assert logits.shape == (1, row.classes, *size)


@pytest.mark.parametrize("name", SPLIT)
def test_parameters_divide_exactly(name: str):
    biases = affine = 0
    for module in on_meta(FAMILY[name]).modules():
        for kind, parameter in module.named_parameters(recurse=False):
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                affine += parameter.numel()
            elif kind == "bias":
                biases += parameter.numel()
    assert (biases, affine) == SPLIT[name]


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("fcn8s", "fcn8s"),
        ("deconvnet", "deconvnet"),
        ("segnet", "segnet-11"),
        ("segnet_basic", "segnet_basic"),
        ("unet", "unet"),
        ("deeplab_largefov", "deeplab_largefov"),
    ],
)
def test_every_layer_with_parameters_is_exact(table: str, name: str):
    def line(layer: Layer) -> list[str]:
        kernel, stride = (str(size[0]) if size else "" for size in (layer.kernel, layer.stride))
        output = "x".join(map(str, layer.output_shape))
        groups = "" if layer.groups is None else str(layer.groups)
        return [kernel, stride, groups, output, str(layer.weights), str(layer.biases), str(layer.mult_adds)]

    with (TABLES / f"{table}.csv").open() as file:
        _, *expected = csv.reader(file)
    layers = [layer for layer in count(on_meta(FAMILY[name]), FAMILY[name].input).layers if layer.parameters]
    for layer, figures in zip(layers, expected, strict=True):
        assert line(layer) == figures, layer.name


def test_published_receptive_fields():
    layers = {layer.name: layer for layer in count(on_meta(FAMILY["deeplab_largefov"]), (3, 321, 321)).layers}
    fields = {"pool4": 115, "conv5_1": 147, "conv5_2": 179, "conv5_3": 211, "pool5": 227}
    for name, expected in fields.items():
        assert layers[f"backbone.{name}"].receptive_field == (expected, expected), name
    assert layers["fc6"].receptive_field == (419, 419)
    layers = {layer.name: layer for layer in count(on_meta(FAMILY["fcn32s"]), VOC).layers}
    assert layers["backbone.fc6"].receptive_field == (404, 404)  # Long et al. 2015, Table 1


@pytest.mark.parametrize("name", SMALL)
def test_batches_of_one_and_two_give_finite_gradients_everywhere(name: str):
    network = shaken(build(name))
    assert network.labels_pixels
    for training in (True, False):
        for size, shape in ((1, (45, 70)), (2, (64, 33))):
            network.train(training).zero_grad()
            outputs = network.forward_aux(torch.randn(size, 3, *shape))
            assert len(outputs) == 1 + len(network.auxiliary_weights)
            for logits in outputs:
                assert logits.shape == (size, 5, *shape)
                assert logits.isfinite().all()
            sum((logits * torch.randn_like(logits)).sum() for logits in outputs).backward()
            for label, parameter in network.named_parameters():
                if not parameter.requires_grad:
                    assert label.startswith("upscore")
                    continue
                assert parameter.grad is not None, label
                assert parameter.grad.isfinite().all(), label
                # in training, batch norm takes a bias before it away, and two values on a 1×1 map become ±1
                assert training or parameter.grad.abs().max() > 0, label


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(1, 1), (2, 31), (65, 7)])
def test_pictures_may_be_tiny(name: str, size: tuple[int, int]):
    network = build(name).train()
    assert network(torch.randn(1, 3, *size)).shape == (1, 5, *size)


def test_a_picture_gives_the_same_alone_and_in_a_batch(small):
    shaken(small).eval()
    batch = torch.randn(3, 3, 47, 64)
    with torch.no_grad():
        together, alone = small(batch), torch.cat([small(picture[None]) for picture in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_forward_gives_the_main_logits_alone(small):
    shaken(small).eval()
    batch = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(small(batch), small.forward_aux(batch)[0])
    assert len(small.auxiliary_classifiers) == len(small.auxiliary_weights)


def test_features_are_those_that_the_network_looks_at(small):
    """`feature_info` names modules of the network, and the maps have the channels and strides that it says."""
    small.eval()
    features = small.forward_features(torch.randn(1, 3, 64, 64)) if not isinstance(small, UNet) else {}
    assert list(features) in (list(small.feature_info), [])
    for stage, info in small.feature_info.items():
        assert all(any(True for _ in small.get_submodule(name).modules()) for name in info.modules)
        if features:
            assert features[stage].shape == (1, info.channels, 64 // info.stride, 64 // info.stride), stage


def test_nothing_of_the_classifier_is_left(small):
    backbone = getattr(small, "backbone", None)
    if backbone is None:
        return
    used = {name for info in small.feature_info.values() for name in info.modules}
    used |= {f"backbone.{name}" for name in backbone.head}
    assert {f"backbone.{name}" for name, _ in backbone.named_children()} == used
    assert not any(isinstance(module, nn.Linear) for module in small.modules())


@pytest.mark.parametrize("name", SMALL)
def test_reset_classifier_changes_what_depends_on_the_classes_and_nothing_else(name: str):
    network = shaken(build(name)).double().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    frozen = {key for key, parameter in network.named_parameters() if not parameter.requires_grad}
    network.reset_classifier(3)
    assert network.num_classes == 3
    for logits in network.forward_aux(torch.randn(1, 3, 40, 33, dtype=torch.float64)):
        assert logits.shape == (1, 3, 40, 33)
    assert not any(module.training for module in network.modules())
    assert {key for key, parameter in network.named_parameters() if not parameter.requires_grad} == frozen
    after = network.state_dict()
    assert set(after) == set(before)
    fresh = build(name, classes=3).state_dict()
    assert all(after[key].shape == fresh[key].shape for key in fresh)
    changed = {key for key in after if after[key].shape != before[key].shape}
    assert {key.rpartition(".")[0] for key in changed} == set(network.class_layers)
    assert network.classifier_name in network.class_layers
    for key, value in after.items():
        if key.rpartition(".")[0] not in network.class_layers:
            assert torch.equal(value, before[key]), key
    with pytest.raises(ValueError, match="at least 1"):
        network.reset_classifier(0)


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_decides_the_weights(name: str):
    network, options = SMALL[name]
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(network(5, 1, **options).state_dict())
    first, same, other = states
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_finished_network_is_a_backbone_too():
    torch.manual_seed(0)
    classifier = RESNET18(10, 1)
    picture = torch.randn(1, 1, 64, 64)
    expected = classifier.eval().forward_features(picture)["conv5_x"]
    network = DeepLabV3(4, 1, backbone=classifier, multi_grid=None, width=8).eval()
    assert network.backbone is classifier
    assert torch.equal(network.forward_features(picture)["conv5_x"], expected)
    assert network(picture).shape == (1, 4, 64, 64)


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        (FCN, {"finest_stride": 4}, "finest_stride must be one of 32, 16, 8; got 4"),
        (FCN, {"padding": 50}, "padding must be one of 100, 0; got 50"),
        (FCN, {"upsampling": "nearest"}, "upsampling must be one of 'fixed', 'intermediate', 'learned'"),
        (FCN, {"backbone": partial(DENSE, pooled_size=2)}, "odd pooled_size of its backbone"),
        (FCN, {"backbone": CifarResNet}, "FCN needs a backbone of stride 32; CifarResNet has 4"),
        (FCN, {"backbone": partial(RESNET18, output_stride=8)}, "FCN needs a backbone of stride 32; ResNet has 8"),
        (FCN, {"backbone": 3}, "whose stages of maps follow one another; got int"),
        (FCN, {"backbone": nn.Identity()}, "whose stages of maps follow one another; got Identity"),
        (FCN, {"backbone": LeNet5}, "whose stages of maps follow one another; got LeNet5"),
        (FCN, {"backbone": MLP}, "whose stages of maps follow one another; got MLP"),
        (DilatedFCN, {"backbone": CifarConvNet}, "whose stages of maps follow one another; got CifarConvNet"),
        (FCN, {"backbone": UNet}, "whose stages of maps follow one another; got UNet"),
        (DeepLabV1, {"in_channels": 1, "backbone": RESNET18(10, 3)}, "backbone must be for pictures of 1 channels"),
        (SegNet, {"backbone": ResNet}, "needs the pooling indices of a VGG; ResNet gives none"),
        (DeconvNet, {"backbone": MobileNet}, "needs the pooling indices of a VGG; MobileNet gives none"),
        (SegNet, {"backbone": VGG}, "needs a VGG whose pooling windows leave no row out: ceil_mode=true; got false"),
        (DeconvNet, {"kernel": 0}, "kernel must be a whole number of at least 1"),
        (SegNetBasic, {"width": -1}, "width must be a whole number of at least 1"),
        (UNet, {"padding": "mirror"}, "padding must be one of 'valid', 'same'"),
        (UNet, {"widths": (8,)}, "widths must be at least 2 numbers"),
        (UNet, {"dropout": 1}, "dropout must be at least 0 and below 1"),
        (DeepLabV1, {"kernel": 4, "rate": 3}, "rate must be even with an even kernel"),
        (DeepLabV1, {"rate": 0}, "rate must be a whole number of at least 1; got 0"),
        (DeepLabV2, {"rates": ()}, "rates must be at least one number"),
        (DeepLabV2, {"hidden": -1}, "hidden must be a whole number of at least 0; got -1"),
        (DeepLabV3, {"form": "v3+"}, "form must be one of 'paper', 'torchvision'"),
        (DeepLabV3, {"multi_grid": (1, 2)}, "ResNet has 3 blocks there, got \\[1, 2\\]"),
        (DeepLabV3, {"backbone": MobileNet}, "or null; MobileNet has 0 blocks there"),
        (DeepLabV3, {"rates": (0,)}, "each of rates and multi_grid must be a whole number"),
        (BackboneUNet, {"widths": (8, 4)}, "widths must be 5 numbers, one a stage"),
        (BackboneUNet, {"num_classes": 0}, "num_classes must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_arguments_are_refused_with_the_valid_ones(network: type[Network], arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        network(**arguments)


def test_bad_inputs_are_refused_with_what_is_expected(small):
    for shape in ((2, 4, 40, 40), (3, 40, 40), (2, 1600)):
        with pytest.raises(ValueError, match=r"expected an input \(N, 3, H, W\)"):
            small(torch.empty(shape))


@pytest.mark.parametrize(
    ("network", "backbone"),
    [
        (DilatedFCN, partial(ZFNet, widths=(6, 8, 10, 10, 8), hidden=12)),
        (DilatedFCN, partial(AlexNet, widths=(6, 8, 10, 10, 8), hidden=12)),
    ],
)
def test_maps_too_small_to_label_all_pixels_are_refused(network: type[SegmentationNetwork], backbone):
    built = network(5, backbone=backbone)
    with pytest.raises(ValueError, match="choose a backbone whose layers pad"):
        built(torch.randn(1, 3, 91, 97))


def test_memory_of_a_training_step_is_told():
    memory = training_memory(build("segnet"), (3, 48, 64), 2)
    twice = training_memory(build("segnet"), (3, 48, 64), 4)
    assert 0 < memory.activations < twice.activations
    frozen = build("fcn8s")
    assert training_memory(frozen, (3, 48, 64), 1).gradients < sum(4 * p.numel() for p in frozen.parameters())


def test_every_network_has_a_configuration():
    targets = {OmegaConf.load(path)["_target_"].rpartition(".")[2] for path in CONFIGS.glob("*.yaml")}
    assert {row.network.__name__ for row in FAMILY.values()} <= targets
