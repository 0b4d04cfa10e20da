"""The variant of a network that a library's weights fit: chosen where it was left open, refused where it was not."""

import re

import pytest
import torch
import yaml
from pairing import NAMES, SCRIPT, theirs

from striate.configuration import FOLDER, build
from striate.errors import ConfigurationError
from striate.pipelines.expecting import outlined
from striate.transfer.matching import of_a_library, recognised
from striate.transfer.pairs import PAIRS
from striate.transfer.variant import choose


def node(option, **changes):
    return yaml.safe_load((FOLDER / "model" / f"{option}.yaml").read_text()) | changes


@pytest.mark.parametrize(
    ("option", "library", "name", "changed"),
    [
        ("resnet18", "torchvision", "resnet18", {}),
        ("resnet50", "torchvision", "resnet50", {"stride_in": "3x3"}),
        ("resnet152", "timm", "resnet152", {"stride_in": "3x3"}),
        ("alexnet", "torchvision", "alexnet", {"towers": 1}),
        ("alexnet_one_tower", "torchvision", "alexnet", {}),
        ("vgg16", "torchvision", "vgg16", {}),
        ("vgg11_bn", "timm", "vgg11_bn", {}),
        ("googlenet", "torchvision", "googlenet", {"form": "torchvision", "batch_norm": True}),
        ("mobilenet", "timm", "mobilenetv1_100", {"activation": "relu6", "batch_norm_eps": 1e-5}),
    ],
)
def test_what_is_left_open_is_chosen_and_said(option, library, name, changed):
    before = node(option)
    chosen, pair, line = choose(before, library)
    assert pair.name == name
    assert {key: value for key, value in chosen.items() if before.get(key) != value} == changed
    assert all(f"{key}={value}" in line for key, value in changed.items())
    assert bool(line) == bool(changed)
    assert choose(chosen, library)[::2] == (chosen, ""), "what was chosen stays"


@pytest.mark.parametrize(
    ("option", "changes", "asked", "nearest"),
    [
        ("resnet50", {"shortcut": "A"}, (), "model.shortcut=B"),
        ("plain18", {}, (), "model.shortcut=B"),
        ("resnet50", {}, ("model.stride_in",), "model.stride_in=3x3"),
        ("alexnet", {"lrn": True}, (), "model.lrn=False"),
        ("alexnet", {"conv1_padding": 0}, (), "model.conv1_padding=2"),
        ("vgg16", {"ceil_mode": True}, (), "model.ceil_mode=False"),
        ("resnet18", {"batch_norm_eps": 1e-3}, (), "model.batch_norm_eps=1e-05"),
        ("googlenet", {"batch_norm_eps": 1e-5}, (), "model.batch_norm_eps=0.001"),
    ],
)
def test_what_was_asked_for_and_does_not_fit_is_refused(option, changes, asked, nearest):
    with pytest.raises(ConfigurationError, match="does not go with the weights") as caught:
        choose(node(option, **changes), "torchvision", asked)
    assert caught.value.nearest == nearest


@pytest.mark.parametrize(
    ("option", "library", "says", "nearest"),
    [
        ("lenet5", "torchvision", "has no weights that fit LeNet5", None),
        ("mobilenet", "torchvision", "has no weights that fit MobileNet", "init=timm"),
        ("alexnet", "timm", "has no weights that fit AlexNet", "init=torchvision"),
        ("vgg16_c", "torchvision", "VGG with batch_norm=False, configuration=C", None),
        ("resnet20", "torchvision", "has no weights that fit CifarResNet", None),
    ],
)
def test_networks_that_a_library_has_not(option, library, says, nearest):
    with pytest.raises(ConfigurationError, match=says) as caught:
        choose(node(option), library)
    assert nearest is None or caught.value.nearest == nearest
    assert len(str(caught.value).splitlines()) <= 3


def test_the_padding_of_tensorflow_is_not_that_of_timm():
    with pytest.raises(ConfigurationError, match=r"model.padding=same does not go with") as caught:
        choose(node("mobilenet", padding="same"), "timm")
    assert caught.value.nearest == "model.padding=symmetric"


def test_options_that_the_weights_leave_open_are_free():
    changes = {"dropout": 0.1, "initialisation": "he"}
    assert choose(node("vgg16", **changes), "torchvision")[0] == node("vgg16", **changes)


# ---- files, which are known by their names ---------------------------------------------------------------------------


def names_of(pair):
    with torch.device("meta"):
        return theirs(NAMES[pair]).state_dict()


@pytest.mark.parametrize(
    ("option", "file", "changed"),
    [
        ("resnet18", "torchvision-resnet18", {}),
        ("resnet50", "torchvision-resnet50", {"stride_in": "3x3"}),
        ("alexnet", "torchvision-alexnet", {"towers": 1}),
        ("googlenet", "torchvision-googlenet", {"form": "torchvision", "batch_norm": True}),
        ("mobilenet", "timm-mobilenetv1_125", {"activation": "relu6", "batch_norm_eps": 1e-5}),
        ("resnet20", SCRIPT, {"shortcut": "A-middle"}),
    ],
)
@pytest.mark.parametrize("headless", [False, True], ids=["whole", "without a classifier"])
def test_the_names_in_a_file_choose_the_variant(option, file, changed, headless):
    before, tensors = node(option), names_of(file)
    if headless:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(("fc.", "linear.", "class"))}
        if option == "alexnet":
            pytest.skip("classifier.1 and classifier.4 are fc6 and fc7")
    found = of_a_library(before, tensors, outlined)
    assert {key: value for key, value in found.model.items() if before.get(key) != value} == changed
    assert all(f"{key}={value}" in found.line for key, value in changed.items())
    assert bool(found.line) == bool(changed)


@pytest.mark.parametrize(
    ("option", "changes", "file", "asked", "nearest"),
    [
        ("resnet50", {}, "torchvision-resnet50", ("model.stride_in",), "model.stride_in=3x3"),
        ("resnet50", {"shortcut": "A"}, "torchvision-resnet50", (), "model.shortcut=B"),
        ("plain18", {}, "timm-resnet18", (), "model.shortcut=B"),
        ("plain20", {}, SCRIPT, (), "model.shortcut=A-middle"),
        ("mobilenet", {"padding": "same"}, "timm-mobilenetv1_100", (), "model.padding=symmetric"),
        ("googlenet", {"batch_norm_eps": 1e-5}, "torchvision-googlenet", (), "model.batch_norm_eps=0.001"),
        ("vgg11", {"configuration": "A-LRN"}, "torchvision-vgg11", (), "model.configuration=A"),
    ],
)
def test_what_does_not_go_with_the_names_in_a_file_is_refused(option, changes, file, asked, nearest):
    with pytest.raises(ConfigurationError, match="does not go with the") as caught:
        of_a_library(node(option, **changes), names_of(file), outlined, asked=asked)
    assert caught.value.nearest == nearest
    assert "mapping=order" in caught.value.do


def test_names_of_no_library_say_nothing():
    network = build(node("resnet20", shortcut="B"), "model", num_classes=3, in_channels=3)
    assert of_a_library(node("resnet20", shortcut="B"), network.state_dict(), outlined) is None, "ours"
    others = {  # option B in CIFAR's form, which neither the script nor torchvision has
        re.sub(r"conv(\d)_x\.conv\d_(\d+)\.", lambda at: f"layer{int(at[1]) - 1}.{int(at[2]) - 1}.", name)
        .replace("shortcut.conv", "downsample.0")
        .replace("shortcut.bn", "downsample.1"): tensor
        for name, tensor in network.state_dict().items()
    }
    assert of_a_library(node("resnet20", shortcut="B"), others, outlined) is None
    assert recognised(others, network) is not None, "but they can be translated"
    assert of_a_library(node("resnet18"), {"a.weight": torch.zeros(3)}, outlined) is None


def test_every_pair_says_which_options_it_needs_of_a_class_that_has_them():
    import inspect

    from striate.configuration.targets import locate

    for pair in PAIRS:
        options = inspect.signature(locate(pair.target, ())).parameters
        assert set(pair.when) | set(pair.requires) | set(pair.fixed) <= set(options), pair.name
