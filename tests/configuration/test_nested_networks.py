"""Networks whose configuration holds another network: what is built, also out of a file, and what is refused."""

import copy
from typing import Any

import pytest
import torch

from striate.configuration import compose, plain
from striate.configuration.keys import InvalidEntry
from striate.data.meta import Meta
from striate.errors import ConfigurationError
from striate.tasks.building import construct_network
from striate.tasks.loading import _NETWORKS

META = Meta.create(
    name="given", kind="classification", pack="array", classes=("a", "b", "c"), channels=1, image_size=(32, 32),
    mean=(0.5,), std=(0.2,), counts={"train": (1, 1, 1)}, geometry={}, files={},
)  # fmt: skip


def node(*words: str) -> dict[str, Any]:
    return plain(compose("train", list(words)).model)


@pytest.fixture(scope="module")
def segnet() -> dict[str, Any]:
    return node("model=segnet", "model.backbone.widths=[4,4,4,4,4]", "model.backbone.configuration=A")


@pytest.mark.parametrize("namespaces", [_NETWORKS, None])
def test_the_data_reach_the_inner_network(segnet: dict[str, Any], namespaces):
    with torch.device("meta"):
        network = construct_network(segnet, META, **({"namespaces": namespaces} if namespaces else {}))
        assert network(torch.empty(1, 1, 33, 47)).shape == (1, 3, 33, 47)
    assert network.backbone.in_channels == 1


def test_an_inner_network_of_another_place_is_not_built_out_of_a_file(segnet: dict[str, Any]):
    for target in ("torchvision.models.vgg16", "striate.tasks.classification.ClassificationTask", "os.system"):
        foreign = copy.deepcopy(segnet)
        foreign["backbone"] = {"_target_": target, "_partial_": True}
        with pytest.raises(InvalidEntry, match=r"model\.backbone\._target_.*is not allowed in a configuration"):
            construct_network(foreign, META, namespaces=_NETWORKS)


def test_a_slip_in_the_inner_network_is_named_with_its_place(segnet: dict[str, Any]):
    wrong = copy.deepcopy(segnet)
    wrong["backbone"]["width"] = wrong["backbone"].pop("widths")
    with pytest.raises(InvalidEntry) as refusal:
        construct_network(wrong, META)
    assert refusal.value.nearest == "model.backbone.widths"
    wrong = copy.deepcopy(segnet)
    wrong["backbone"]["configuration"] = "F"
    with pytest.raises(ConfigurationError, match=r"model\.backbone .*configuration must be one of 'A'"):
        construct_network(wrong, META)
    del wrong["backbone"]["_target_"]
    with pytest.raises(InvalidEntry, match=r"model\.backbone"):
        construct_network(wrong, META)


def test_another_inner_network_where_the_wiring_does_not_allow_it(segnet: dict[str, Any]):
    other = {**segnet, "backbone": {"_target_": "striate.models.mobilenet.MobileNet", "_partial_": True}}
    with pytest.raises(ConfigurationError, match="needs the pooling indices of a VGG; MobileNet gives none"):
        construct_network(other, META)
