"""Recipes and experiments: each opens with what one types and expects, composes, and builds all that it names.

Networks are built without memory (the meta device) for the classes and sizes of the data, the optimizer takes a step on
them, and the rate is followed through the training where the paper prints it.
"""

import re
from functools import cache

import numpy as np
import pytest
import torch

from striate.configuration import FOLDER, build, compose, plain
from striate.data import multiview
from striate.data.meta import Meta
from striate.data.preprocessing import Preprocessing
from striate.pipelines.plan import fake_step
from striate.pipelines.train import build_datamodule
from striate.tasks.building import build_task, construct_network

EXPERIMENTS = sorted(path.stem for path in (FOLDER / "experiment").glob("*.yaml") if path.stem != "none")
RECIPES = sorted(path.stem for path in (FOLDER / "recipe").glob("*.yaml"))
MODELS = {path.stem for path in (FOLDER / "model").glob("*.yaml")}
# Classes, channels, sides of an array pack's pictures (None: encoded), training pictures.
SETS = {
    "digits": (10, 1, 32, 1169),
    "mnist": (10, 1, 28, 54_000),
    "fashion_mnist": (10, 1, 28, 54_000),
    "cifar10": (10, 3, 32, 45_000),
    "clothing": (10, 3, None, 3068),
    "imagenet": (1000, 3, None, 1_268_356),
    "camvid": (11, 3, (360, 480), 367),
    "voc2012_sbd": (21, 3, None, 9524),
    "pets_trimaps": (2, 3, None, 3312),
    "segmentation_digits": (11, 1, 64, 2000),
}
# What a person must say: here, where the pictures are.
NEEDED = {"finetune": ("data.root=photographs", "data.name=clothing")}
WITH_MASKS = ("camvid", "voc2012_sbd", "pets_trimaps", "segmentation_digits")
# What has a paper's protocol, and a modern one beside it.
PAPERS = (
    *("mlp_mnist", "lenet5_mnist", "resnet20_cifar10", "resnet56_cifar10", "resnet110_cifar10"),
    *("alexnet_imagenet", "zfnet_imagenet", "vgg16_imagenet", "googlenet_imagenet", "mobilenet_imagenet"),
    *("resnet18_imagenet", "resnet34_imagenet", "resnet50_imagenet"),
)


def meta_of(name: str) -> Meta:
    name = name.rpartition("_")[0] if name.rpartition("_")[2].isdigit() else name
    classes, channels, side, samples = SETS[name]
    size = (side, side) if isinstance(side, int) else side
    labelling = None
    if name in WITH_MASKS:
        rows = {"train": [100] * classes}
        labelling = {"ignore_index": 255, "colours": [[0, 0, 0]] * classes, "samples": {"train": samples},
                     "pixels": rows, "pixels_of_pictures_with": rows}  # fmt: skip
    share = tuple([samples // classes] * classes)
    return Meta.create(
        name=name,
        kind="classification" if labelling is None else "segmentation",
        pack="encoded" if side is None else "array",
        classes=tuple(map(str, range(classes))),
        channels=channels,
        image_size=size,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        counts=dict.fromkeys(("train",) if labelling else ("train", "val", "test"), share),
        geometry={},
        files={},
        labelling=labelling,
    )


@cache
def composed(*words: str) -> dict:
    return plain(compose("train", words))


def assembled(config: dict) -> tuple:
    """Task, network and shape of the input, built for data that need not be there."""
    datamodule = build_datamodule(config)
    meta = meta_of(datamodule.name)
    if config["data"]["classes"] is not None:
        meta = meta.subset([str(number) for number in config["data"]["classes"]])
    preprocessing = Preprocessing.of(meta, config["data"]["input_size"], config["data"]["crop_fraction"])
    side = preprocessing.input_size
    size = meta.image_size if side is None else (side, side)
    with torch.device("meta"):
        network = construct_network(config["model"], meta, size)
    return build_task(config, network, meta, preprocessing), network, (meta.channels, *size)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_builds_all_that_it_names(name):
    config = composed(f"experiment={name}", *NEEDED.get(name, ()))
    task, network, shape = assembled(config)
    fake_step(task, network, shape, 2)
    optimizer = task.optimizer_factory([torch.nn.Parameter(torch.zeros(2))])
    steps = sum(meta_of(config["data"]["name"]).counts["train"]) // config["data"]["batch_size"]
    epochs = config["trainer"]["max_epochs"]
    if task.scheduler_factory is not None:
        schedule = task.scheduler_factory(
            optimizer, total_steps=steps * epochs, steps_per_epoch=steps, max_epochs=epochs
        )
        assert schedule["scheduler"] is not None
    names = {key for key, node in config["callbacks"].items() if node and build(node, f"callbacks.{key}") is not None}
    assert {"checkpointing", "history", "divergence"} <= names


def head_of(name: str) -> str:
    lines = (FOLDER / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line[2:] for line in lines if line.startswith("#"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_opens_with_command_and_scores(name):
    head = head_of(name)
    assert head.startswith(f"@package _global_ python src/train.py experiment={name}")
    assert "xpected" in head
    if name in PAPERS or name.endswith("_modern"):
        assert "score" in head
        assert "Time:" in head
    if name in PAPERS:
        assert "Differs from the" in head


# Short sides of the rescaled pictures with which the papers tested.
TESTED_AT = {
    "alexnet_imagenet": [256],
    "zfnet_imagenet": [256],
    "vgg16_imagenet": [384],
    "googlenet_imagenet": [256, 288, 320, 352],
    "resnet18_imagenet": [256],
    "resnet34_imagenet": [256],
    "resnet50_imagenet": [256],
}


def test_no_experiment_of_a_paper_names_another_test():
    assert {name for name in PAPERS if "src/evaluate.py" in head_of(name)} == set(TESTED_AT)


@pytest.mark.parametrize("name", TESTED_AT)
def test_the_test_of_a_paper_sees_pictures_of_its_size_and_enlarges_none(name, monkeypatch):
    command = re.search(r"python src/evaluate\.py ((?:views\S+ ?)+)", head_of(name))
    views = build(plain(compose("evaluate", command.group(1).split()))["views"], "views")
    data = composed(f"experiment={name}")["data"]
    preprocessing = Preprocessing.of(meta_of(data["name"]), data["input_size"], data["crop_fraction"])
    kept, seen = data["prepare"]["max_short_side"], []
    rescale = multiview.rescale
    monkeypatch.setattr(multiview, "rescale", lambda image, side: seen.append(side) or rescale(image, side))
    views(np.zeros((kept, kept * 4 // 3, 3), np.uint8), preprocessing)
    assert seen == TESTED_AT[name]
    assert max(seen) <= kept


@pytest.mark.parametrize(("depth", "option"), [(18, "A"), (34, "B"), (50, "B")])  # Table 2, Table 3
def test_the_score_of_a_residual_network_is_that_of_its_shortcuts(depth, option):
    name = f"resnet{depth}_imagenet"
    assert composed(f"experiment={name}")["model"]["shortcut"] == option
    assert head_of(name).count(f"option {option}") == head_of(name).count("option ") > 0


@pytest.mark.parametrize(
    ("name", "learned", "fixed"),
    [
        ("fcn32s", [], "upscore32"),
        ("fcn16s", ["upscore2"], "upscore16"),
        ("fcn8s", ["upscore2", "upscore_pool4"], "upscore8"),
    ],
)
def test_all_upsampling_of_fcn_learns_but_the_last(name, learned, fixed):
    _, network, _ = assembled(composed(f"experiment={name}_voc"))
    found = {
        key.removesuffix(".weight"): each.requires_grad for key, each in network.named_parameters() if "upscore" in key
    }
    assert found == {**dict.fromkeys(learned, True), fixed: False}


def test_mobilenet_is_as_its_authors_released_it():
    model = composed("experiment=mobilenet_imagenet")["model"]
    released = {"activation": "relu6", "batch_norm_eps": 0.001, "batch_norm_momentum": 0.0003,
                "initialisation": "release"}  # fmt: skip
    assert model | released == model


@pytest.mark.parametrize("name", PAPERS)
def test_every_paper_has_a_modern_recipe_beside_it(name):
    assert name in EXPERIMENTS
    assert f"{name}_modern" in EXPERIMENTS


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_found_by_network_and_data(name):
    model = max((model for model in MODELS if name.startswith(f"{model}_")), key=len)
    data = name.removeprefix(f"{model}_")
    with_recipe, without = (composed(f"model={model}", f"data={data}", *more) for more in ((), ("recipe=none",)))
    assert with_recipe != without


def rates(name: str, steps_per_epoch: int, at: list[int]) -> list[float]:
    config = composed(f"experiment={name}")
    task, *_ = assembled(config)
    optimizer = task.optimizer_factory([torch.nn.Parameter(torch.zeros(2))])
    epochs = config["trainer"]["max_epochs"]
    scheduler = task.scheduler_factory(
        optimizer, total_steps=steps_per_epoch * epochs, steps_per_epoch=steps_per_epoch, max_epochs=epochs
    )["scheduler"]
    factor = scheduler.lr_lambdas[0]
    return [config["optimizer"]["lr"] * factor(step) for step in at]


@pytest.mark.parametrize(
    ("name", "steps_per_epoch", "at", "expected"),
    [
        ("resnet20_cifar10", 351, [0, 31_999, 32_000, 47_999, 48_000], [0.1, 0.1, 0.01, 0.01, 0.001]),
        ("resnet110_cifar10", 351, [0, 399, 400, 31_999, 32_000, 48_000], [0.01, 0.01, 0.1, 0.1, 0.01, 0.001]),
        ("googlenet_imagenet", 10, [0, 79, 80, 160], [0.01, 0.01, 0.0096, 0.009216]),
        ("mobilenet_imagenet", 10, [0, 24, 25, 50], [0.045, 0.045, 0.0423, 0.039762]),
        ("lenet5_mnist", 10, [0, 19, 20, 50, 80, 120], [5e-4, 5e-4, 2e-4, 1e-4, 5e-5, 1e-5]),
    ],
)
def test_the_rates_are_those_of_the_paper(name, steps_per_epoch, at, expected):
    assert rates(name, steps_per_epoch, at) == pytest.approx(expected)


def test_alexnet_is_the_papers():
    config = composed("experiment=alexnet_imagenet", "trainer.devices=2")
    assert config["optimizer"] == {
        "_target_": "striate.optim.momentum.VelocitySGD", "_partial_": True, "lr": 0.01, "momentum": 0.9,
        "weight_decay": 0.0005,
    }  # fmt: skip
    assert (config["data"]["batch_size"], config["trainer"]["devices"]) == (128, 2)
    _, network, shape = assembled(config)
    assert shape == (3, 227, 227)
    assert sum(parameter.numel() for parameter in network.parameters()) == 60_965_224
