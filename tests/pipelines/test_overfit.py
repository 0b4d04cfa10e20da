"""Every classifier of `conf/model`, narrow, by the pipeline on real digits: one batch by heart, falling loss on all."""

import csv

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from striate.configuration import FOLDER


def classifies(path):
    return not getattr(get_class(OmegaConf.load(path)["_target_"]), "labels_pixels", False)


# 1,202 layers take a quarter of an hour for 300 steps on a core; the same class learns with 110.
MODELS = sorted({path.stem for path in (FOLDER / "model").glob("*.yaml") if classifies(path)} - {"resnet1202"})
SMALL_DENSE = ["model.hidden=64", "model.dropout=0.0"]
ALEXNET = ["model.widths=[16,24,32,32,24]", "model.pooled_size=1", "model.initialisation=he", *SMALL_DENSE]
VGG = ["model.widths=[8,16,24,32,32]", "model.pooled_size=1", "model.initialisation=he", *SMALL_DENSE]
LARGE = ["data.name=digits_67", "data.prepare.image_size=67"]  # the least that two towers of AlexNet take
# What makes a network small, and the pictures large enough, by the beginning of its name.
IMAGENET, CIFAR = (18, 34, 50, 101, 152), (20, 32, 44, 56, 110)
NARROW = {
    "alexnet": [*ALEXNET, *LARGE],
    "zfnet": [*ALEXNET, *LARGE],
    "vgg": VGG,
    "googlenet": ["model.dropout=0.0", "optimizer.lr=0.0005"],
    "mobilenet": ["model.width_multiplier=0.25"],
    "cifar_convnet": ["model.widths=[8,12,16]"],
    "mlp": [
        *("model.initialisation=scaled", "task=backpropagation", "loss=squared_error", "loss.activation=sigmoid"),
        *("optimizer=sgd", "optimizer.lr=3.0", "optimizer.momentum=0", "optimizer.weight_decay=0"),
    ],
    "lenet5": ["optimizer.lr=0.001"],
    **{f"resnet{depth}": ["model.widths=[16,32,32,64]"] for depth in IMAGENET},
    **{f"resnet{depth}": ["model.widths=[8,8,16]"] for depth in CIFAR},
    # Without shortcuts depth costs: wider, and at a higher rate, which each finds within 300 steps or not at all.
    **{f"plain{depth}": ["model.widths=[32,32,64,64]", "optimizer.lr=0.005"] for depth in (18, 34)},
    **{f"plain{depth}": ["model.widths=[16,32,64]", "optimizer.lr=0.005"] for depth in (20, 32, 56)},
    "plain20": ["model.widths=[16,32,64]", "optimizer.lr=0.01"],
    "plain44": ["model.widths=[16,16,32]", "optimizer.lr=0.005"],
}
QUICK = ("cifar_convnet", "mlp")
COMMON = ["recipe=none", "augmentation=none", "scheduler=constant", "data.batch_size=32", "optimizer=adam",
          "optimizer.lr=0.002", "test=false", "callbacks.checkpointing.keep=1"]  # fmt: skip
models = pytest.mark.parametrize(
    "model", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)


def words_of(model):
    own = NARROW[max((start for start in NARROW if model.startswith(start)), key=len)]
    common = [word for word in COMMON if word.partition("=")[0] not in {word.partition("=")[0] for word in own}]
    return [f"model={model}", *common, *own]


def history(folder):
    with open(folder / "history.csv", newline="") as stream:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]


@models
def test_a_batch_is_learned_by_heart(model, train, tmp_path):
    train("debug=overfit", *words_of(model), f"run_dir={tmp_path / 'run'}")
    rows = history(tmp_path / "run")
    errors, losses = ([row[f"train/{name}"] for row in rows] for name in ("error_micro", "loss"))
    print(f"{model}: error {errors[-1]:.3f}, loss {losses[0]:.3f} to {losses[-1]:.4f}, 99 % after "
          f"{next((row['step'] for row in rows if row['train/error_micro'] < 0.01), None)} steps")  # fmt: skip
    assert errors[-1] < 0.01  # of 32 pictures: none wrong
    assert losses[-1] < losses[0] / 4


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_loss_falls_over_three_hundred_steps(model, train, tmp_path):
    train(*words_of(model), "trainer.max_epochs=9", f"run_dir={tmp_path / 'run'}")
    losses = [row["train/loss"] for row in history(tmp_path / "run")]
    print(f"{model}: loss {losses[0]:.3f} to {losses[-1]:.4f}")
    # Deep networks without shortcuts learn slowly (He et al. 2015, Figure 6, left).
    assert losses[-1] < (0.7 if model == "plain56" else 0.6) * losses[0]
