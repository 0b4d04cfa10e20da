"""What a configuration may construct: nothing outside the allowed namespaces, however it is named."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from striate.configuration import InvalidEntry, build
from striate.configuration.targets import locate, parameters
from striate.errors import ConfigurationError

HOSTILE = [
    "os.system", "posix.system", "subprocess.Popen", "subprocess.run", "shutil.rmtree", "pathlib.Path.write_text",
    "builtins.eval", "builtins.exec", "builtins.getattr", "builtins.open", "importlib.import_module", "pickle.loads",
    "functools.partial", "operator.attrgetter", "types.FunctionType", "hydra.utils.instantiate",
    "hydra.utils.get_method",
    "torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter",
    "torch.ops.load_library",
    "torch.utils.cpp_extension.load", "torch.utils.data.DataLoader", "torch.nn.functional.relu",
    # allowed namespaces, but what is found there comes from elsewhere
    "torch.nn.modules.module.functools.partial", "torch.optim.optimizer.functools.partial", "torch.nn.init.math.sqrt",
    "torchvision.datasets.utils.os.system", "torchvision.datasets.folder.os.system",
    "torchvision.datasets.mnist.shutil.rmtree",
    "torchvision.datasets.utils.download_url", "torchvision.datasets.utils.extract_archive",
    "torchvision.io.write_file",
    "torchvision.models.get_model.__globals__", "lightning.pytorch.trainer.trainer.os.system",
    "lightning.pytorch.core.saving.load_hparams_from_yaml", "lightning.pytorch.LightningModule.load_from_checkpoint",
    "lightning.pytorch.cli.LightningCLI", "lightning.pytorch.seed_everything", "albumentations.load",
    "albumentations.from_dict",
    "torch.nn.Module.__subclasses__", "torch.nn.Module.__init__.__globals__", "torch.nn.modules", "torch.nn",
    "torch.nn.Linear.forward", "torch.nn.modules.module.OrderedDict", "torch.optim.lr_scheduler.partial",
    # our own, which write, delete or build
    "striate.storage.write_json", "striate.runs.claim", "striate.runs.subprocess.run", "striate.pipelines.train.run",
    "striate.configuration.build", "striate.configuration.building.Factory", "striate.errors.nearest",
    # not names at all
    "", ".", "torch", "torch.nn.", "torch.nn.Linear()", "torch.nn.Linear; import os", "../torch.nn.Linear",
    "${oc.env:HOME}",
]  # fmt: skip


@pytest.mark.parametrize("target", HOSTILE)
def test_hostile_target_is_refused(target: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    node = {"_target_": target, "_args_": [f"touch {canary}"]}
    for hostile in (
        node,
        {**node, "_partial_": True},
        {"_target_": "torch.nn.Sequential", "_args_": [node]},
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Identity", "x": {"y": [node]}}]},
    ):
        with pytest.raises(ConfigurationError, match=r"_target_"):
            build(hostile)
        with pytest.raises(ConfigurationError, match=r"_target_"):
            build(OmegaConf.create(hostile))
    assert not canary.exists()


@pytest.mark.parametrize("target", [None, 5, ["torch.nn.Linear"], {"_target_": "torch.nn.Linear"}])
def test_target_that_is_no_name(target: Any) -> None:
    with pytest.raises(ConfigurationError):
        build({"_target_": target})


def test_namespaces_can_be_narrowed() -> None:
    node = {"_target_": "torchvision.datasets.FakeData", "size": 1}
    assert len(build(node)) == 1
    with pytest.raises(InvalidEntry, match="not allowed"):
        build(node, namespaces=("striate.models", "torch.nn"))
    # nor by way of a name in a module that is allowed
    with pytest.raises(InvalidEntry):
        build({"_target_": "torchvision.datasets.FakeData"}, namespaces=("torchvision.models",))


def test_plain_data_are_literal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "secret")
    factory = build({"_target_": "torch.nn.Identity", "_partial_": True, "x": "${oc.env:CANARY}"})
    assert factory.keywords == {"x": "${oc.env:CANARY}"}


class Parent:
    def __init__(self, width: int, **kwargs: Any):
        del width, kwargs


class Child(Parent):
    def __init__(self, depth: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        del depth


class Closed(Child):
    def __init__(self, height: "int" = 1, *, unknown: "Nowhere" = 0, **kwargs: Any):  # noqa: F821
        super().__init__(**kwargs)
        del height, unknown


class Bottom:
    def __init__(self, width: int):
        del width


class Forwarding(Bottom):
    def __init__(self, depth: int = None, **kwargs: Any):  # noqa: RUF013 (as others write it)
        super().__init__(**kwargs)
        del depth


def test_parameters_follow_forwarded_keywords() -> None:
    assert parameters(Forwarding) == ({"depth": int | None, "width": int}, False)
    accepted, anything = parameters(Closed)
    assert anything, "the last one forwards to who knows where"
    assert accepted == {"height": int, "unknown": Any, "depth": int, "width": int}


def test_locate_finds_classes_functions_and_what_is_exported_elsewhere() -> None:
    import torch
    import torchvision

    assert locate("torch.nn.Linear", ()) is torch.nn.Linear
    assert locate("torchvision.models.resnet18", ()) is torchvision.models.resnet18
    with pytest.raises(InvalidEntry, match=r"torch.optim has no Adan") as refusal:
        locate("torch.optim.Adan", ("optimizer",))
    assert refusal.value.nearest == "torch.optim.Adam"
