"""Weights of classifiers for the backbones of networks that label pixels."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from striate.errors import ConfigurationError
from striate.models.deeplab_v3 import DeepLabV3
from striate.models.fcn import FCN
from striate.models.resnet import ResNet
from striate.models.segnet import SegNet
from striate.models.vgg import VGG
from striate.pipelines.expecting import outlined
from striate.transfer.backbones import choose_inner, recognise_inner
from striate.transfer.initialization import Foreign, initialise

DENSE = partial(VGG, configuration="A", initialisation="he", widths=(4, 6, 8, 8, 6), hidden=10, pooled_size=3)
INIT = {
    "exclude": [],
    "freeze": [],
    "mapping": None,
    "layout": "auto",
    "flatten": "auto",
    "grey": "refuse",
    "head": "auto",
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def checkpoint(network: torch.nn.Module, path: Path, classes: list[str]) -> Path:
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"striate": {"format": 1, "meta": {"classes": classes}}, "state_dict": tensors}, path)
    return path


def test_a_checkpoint_of_a_classifier_becomes_a_backbone_with_its_dense_layers(tmp_path: Path):
    classifier = DENSE(3, 3, ceil_mode=True).eval()
    path = checkpoint(classifier, tmp_path / "best.ckpt", ["a", "b", "c"])
    network = FCN(3, backbone=partial(DENSE, ceil_mode=True)).eval()
    report = initialise(network, {**INIT, "kind": "checkpoint", "freeze": ["backbone"]}, path, ["a", "b", "c"])
    assert report is not None
    assert {"backbone.conv1_1.weight", "backbone.fc7.bias"} <= set(report.loaded)
    assert set(report.loaded) == {name for name in network.state_dict() if name.startswith("backbone.")}
    assert set(report.new) == {name for name in network.state_dict() if not name.startswith("backbone.")}
    assert set(report.skipped) == {"fc8.weight", "fc8.bias"}
    assert set(report.frozen) >= set(report.loaded)
    picture = torch.randn(1, 3, 96, 96)
    expected = classifier(picture)
    *_, last = network.forward_features(picture).values()
    hidden = network.backbone.forward_head(last).flatten(1)
    torch.testing.assert_close(classifier.fc8(hidden), expected)


def test_a_backbone_without_dense_layers_leaves_those_of_the_file(tmp_path: Path):
    path = checkpoint(DENSE(3, 3, batch_norm=True), tmp_path / "best.ckpt", ["a", "b", "c"])
    network = SegNet(2, backbone=partial(DENSE, batch_norm=True, ceil_mode=True, hidden=1, pooled_size=1))
    report = initialise(network, {**INIT, "kind": "checkpoint"}, path, ["x", "y"])
    assert report is not None
    assert {name.partition(".")[0] for name in report.skipped} == {"fc6", "fc7", "fc8"}
    assert "backbone.bn5_2.running_var" in report.loaded


def test_a_checkpoint_of_the_whole_network_is_loaded_as_a_whole(tmp_path: Path):
    build = partial(FCN, backbone=partial(DENSE, ceil_mode=True))
    path = checkpoint(build(2), tmp_path / "best.ckpt", ["a", "b"])
    report = initialise(build(2), {**INIT, "kind": "checkpoint"}, path, ["a", "b"])
    assert report is not None
    assert not report.new
    assert "score_fr.weight" in report.loaded
    with pytest.raises(ConfigurationError, match="does not fit the network"):
        initialise(SegNet(2, backbone=partial(DENSE, ceil_mode=True)), {**INIT, "kind": "checkpoint"}, path, ["a", "b"])


@pytest.mark.parametrize("pair", [False, True], ids=["by its names", "by the library"])
def test_weights_of_torchvision_go_to_the_backbone(tmp_path: Path, pair: bool):
    theirs = torchvision.models.resnet18(num_classes=9)
    torch.save(theirs.state_dict(), path := tmp_path / "resnet18.pth")
    network = DeepLabV3(4, backbone=partial(ResNet, depth=18, output_stride=8), multi_grid=None, width=8)
    node = {"_target_": "striate.models.resnet.ResNet", "_partial_": True, "depth": 18}
    chosen = choose_inner({"_target_": "x", "backbone": node}, "torchvision")[1] if pair else None
    foreign = Foreign("torchvision's", chosen)
    report = initialise(network, {**INIT, "kind": "file"}, path, ["a", "b", "c", "d"], foreign)
    assert report is not None
    assert set(report.loaded) == {name for name in network.state_dict() if name.startswith("backbone.")}
    assert torch.equal(network.backbone.conv1.weight, theirs.conv1.weight)
    assert torch.equal(network.backbone.conv5_x.conv5_2.bn2.bias, theirs.layer4[1].bn2.bias)
    assert not any("classifier" in note for note in report.notes)


def test_the_variant_of_the_backbone_is_chosen_within_its_node():
    inner: dict[str, Any] = {"_target_": "striate.models.resnet.ResNet", "_partial_": True, "depth": 50}
    model = {"_target_": "striate.models.deeplab_v3.DeepLabV3", "backbone": inner, "width": 64}
    chosen, pair, line = choose_inner(model, "torchvision")
    assert pair.name == "resnet50"
    assert chosen == {**model, "backbone": {**inner, "stride_in": "3x3"}}
    assert "stride_in=3x3" in line
    with pytest.raises(ConfigurationError, match=r"model\.backbone\.stride_in=1x1 does not go") as refusal:
        choose_inner(model, "torchvision", {"model.backbone.stride_in"})
    assert refusal.value.nearest == "model.backbone.stride_in=3x3"


@pytest.mark.parametrize("headless", [False, True])
def test_the_names_in_a_file_choose_the_variant_of_the_backbone(headless: bool):
    with torch.device("meta"):
        tensors = torchvision.models.resnet50().state_dict()
    if headless:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    inner: dict[str, Any] = {"_target_": "striate.models.resnet.ResNet", "_partial_": True, "depth": 50}
    model = {"_target_": "striate.models.deeplab_v3.DeepLabV3", "backbone": inner, "width": 64}
    chosen, line = recognise_inner(model, tensors, outlined)
    assert chosen == {**model, "backbone": {**inner, "stride_in": "3x3"}}
    assert "stride_in=3x3" in line
    assert recognise_inner(chosen, tensors, outlined) == (chosen, ""), "what was chosen stays"
    with pytest.raises(ConfigurationError, match=r"model\.backbone\.stride_in=1x1 does not go"):
        recognise_inner(model, tensors, outlined, {"model.backbone.stride_in"})
    whole = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    assert recognise_inner(model, whole, outlined) == (model, "")


def test_windows_that_stand_over_are_no_other_variant():
    inner = {"_target_": "striate.models.vgg.VGG", "_partial_": True, "configuration": "D", "batch_norm": True,
             "ceil_mode": True, "hidden": 1}  # fmt: skip
    model = {"_target_": "striate.models.segnet.SegNet", "backbone": inner}
    chosen, pair, line = choose_inner(model, "torchvision")
    assert (pair.name, line) == ("vgg16_bn", "")
    assert chosen == model
    assert list(chosen["backbone"]) == list(inner)


def test_a_classifier_is_chosen_as_ever():
    node = {"_target_": "striate.models.resnet.ResNet", "depth": 18}
    assert choose_inner(node, "timm")[0] == node
