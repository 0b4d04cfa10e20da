"""From a node to an object: what is handed over, who is blamed, what is kept secret."""

import json

import pytest
from omegaconf import OmegaConf

from striate.configuration import Factory, build, masked, resolved
from striate.errors import ConfigurationError, DataError


def test_build_constructs_with_what_the_configuration_cannot_hold() -> None:
    layer = build({"_target_": "torch.nn.Linear", "in_features": 4}, out_features=3)
    assert (layer.in_features, layer.out_features) == (4, 3)
    config = OmegaConf.create({"size": 2, "model": {"_target_": "torch.nn.Linear", "in_features": "${size}"}})
    assert build(config.model, out_features=1, in_features=7).in_features == 7, "the argument wins"
    assert build(config.model, out_features=1).in_features == 2
    assert build(None) is None


def test_build_hands_plain_containers_over_and_passes_objects_as_they_are() -> None:
    import torch

    network = torch.nn.Linear(2, 2)
    factory = build(OmegaConf.create({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5, "momentum": 0.9}))
    assert isinstance(factory, Factory)
    optimizer = factory([{"params": [network.weight], "weight_decay": 0.1}, {"params": [network.bias]}])
    assert optimizer.param_groups[0]["params"][0] is network.weight
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0]
    nested = build({"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Flatten", "start_dim": 2}]})
    assert nested[0].start_dim == 2
    images = build(OmegaConf.create({"_target_": "torchvision.datasets.FakeData", "image_size": [3, 8, 8]}))
    assert type(images.image_size) is list


@pytest.mark.parametrize(
    ("node", "what"),
    [
        ({"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 4, "kernel_size": 3, "groups": 2},
         r"^model \(torch.nn.modules.conv.Conv2d\): in_channels must be divisible by groups"),
        ({"_target_": "torch.nn.Dropout", "p": 2.0},
         r"^model \(torch.nn.modules.dropout.Dropout\): dropout probability"),
        ({"_target_": "torch.nn.Linear", "in_features": -1, "out_features": 2},
         r"^model \(torch.nn.modules.linear.Linear\)"),
        ({"_target_": "torch.nn.Linear", "in_features": 1}, r"out_features"),
        ({"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Dropout", "p": 2.0}]},
         r"^model._args_\[0\]"),
    ],
)  # fmt: skip
def test_refusal_of_a_constructor_names_key_class_and_signature(node: dict, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as refusal:
        build(node, "model")
    assert refusal.value.do.startswith("it accepts ")
    assert len(str(refusal.value).splitlines()) <= 3


def test_refusal_of_a_factory_names_its_key() -> None:
    import torch

    config = OmegaConf.create({"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "nesterov": True}})
    factory = build(config.optimizer)
    with pytest.raises(ConfigurationError, match=r"^optimizer \(torch.optim.sgd.SGD\): Nesterov momentum"):
        factory([torch.nn.Parameter(torch.zeros(1))])


class Picky:
    """Raises what it is given."""

    def __init__(self, error: Exception):
        raise error


def test_mistakes_pass_and_faults_stay_faults() -> None:
    with pytest.raises(DataError, match="no such folder"):
        Factory("data", Picky)(DataError("no such folder"))
    with pytest.raises(KeyError):
        Factory("data", Picky)(KeyError("a fault"))
    with pytest.raises(ConfigurationError, match=r"data .*must be even"):
        Factory("data", Picky)(ValueError("must be even"))


def test_secrets_are_masked() -> None:
    config = OmegaConf.create(
        {
            "logger": {"api_key": "abc", "WANDB_API_KEY": "abc", "token": "abc", "key": None, "entity": "team"},
            "data": {"url": "https://anna:pa:ss@host/x?y=1", "plain": "https://host/x", "keys": ["a"], "monkey": "b"},
            "nested": [{"password": ["p", "q"]}],
        }
    )
    shown = resolved(config)
    assert "abc" not in json.dumps(shown)
    assert shown["logger"]["key"] is None
    assert shown["logger"]["entity"] == "team"
    assert shown["data"] == {
        "url": "https://anna:***@host/x?y=1", "plain": "https://host/x", "keys": ["a"], "monkey": "b",
    }  # fmt: skip
    assert shown["nested"] == [{"password": ["***", "***"]}]
    assert config.logger.api_key == "abc", "the configuration itself is unchanged"
    assert masked("sqlite:///x") == "sqlite:///x"
