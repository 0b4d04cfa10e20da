"""Searches before a training: what they measure is that training."""

import pytest
import torch
from lightning.pytorch.tuner import Tuner

from striate.configuration import compose, plain
from striate.optim.losses import CrossEntropy
from striate.optim.pixel_losses import Dice
from striate.pipelines import tuning
from striate.pipelines.train import build_datamodule
from striate.pipelines.trial_step import trial_step
from striate.tasks.building import build_network, build_task, choose_task

CANVASES = ["data=segmentation_digits", "data.name=tiny", "data.source.canvases={train: 24, val: 8, test: 8}"]
CANVASES += ["data.source.size=32", "data.source.digits=[1,2]"]


def made(places, *words):
    """A settled configuration, its data module and its task."""
    config = plain(compose("train", [*places, *words]))
    data = build_datamodule(config)
    data.prepare_data()
    choose_task(config, data.meta)
    network = build_network(config["model"], data.meta, 0, data.input_shape[1:])
    return config, data, build_task(config, network, data.meta, data.preprocessing, class_counts=data.class_counts())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(
    ("words", "loss", "heads"),
    [
        (
            ["model=googlenet", "model.auxiliary=true", "data.prepare.image_size=64", "data.name=digits_64"],
            CrossEntropy,
            3,
        ),
        ([*CANVASES, "model=unet", "model.widths=[4,8]", "model.padding=same", "loss=dice"], Dice, 1),
    ],
)
def test_the_trial_of_a_batch_is_a_step_of_the_training(places, digits, monkeypatch, words, loss, heads, precision):
    config, data, task = made(places, *words, f"trainer.precision={precision}")
    before = {name: tensor.clone() for name, tensor in task.network.named_parameters()}
    seen = []
    forward = loss.forward
    monkeypatch.setattr(
        loss, "forward", lambda self, *given: seen.append([part.shape[0] for part in given]) or forward(self, *given)
    )
    low = []
    task.network.register_forward_hook(lambda *_: low.append(torch.is_autocast_enabled("cpu")))
    trial_step(task, config, data.input_shape, 4)
    assert seen == [[4, 4]] * heads
    assert set(low) <= {precision == "bf16-mixed"}
    still = {name for name, tensor in task.network.named_parameters() if tensor.grad is None}
    assert not still
    assert any(not torch.equal(before[name], tensor) for name, tensor in task.network.named_parameters())


def test_the_range_test_keeps_the_rates_of_parameter_groups(places, monkeypatch):
    """Lightning's finder sets one rate in all groups; what each step moves tells at which they learn."""
    words = [
        "model=unet_resnet34",
        "task.backbone_rate=0.1",
        "task.bias_rate=2",
        "optimizer=sgd",
        "optimizer.momentum=0",
    ]
    words += ["model.backbone.depth=18", "model.backbone.widths=[8,8,8,8]", "model.widths=[8,8,8,8,8]"]
    config, data, _ = made(places, *CANVASES, *words, "optimizer.weight_decay=0", "trainer.accumulate_grad_batches=2")
    moved, asked = {}, []

    class Found:
        @staticmethod
        def suggestion():
            return 0.25

    def lr_find(self, task, **_):
        asked.append(self._trainer.accumulate_grad_batches)
        optimizer = task.configure_optimizers()["optimizer"]
        for group in optimizer.param_groups:
            group["lr"] = 1.0
            for parameter in group["params"]:
                parameter.data.zero_()
                parameter.grad = -torch.ones_like(parameter)
        optimizer.step()
        assert {group["lr"] for group in optimizer.param_groups} == {1.0}, "the finder's own"
        moved.update({name: tensor.flatten()[0].item() for name, tensor in task.network.named_parameters()})
        return Found

    monkeypatch.setattr(Tuner, "lr_find", lr_find)
    assert tuning.found_rate(config, data).value == 0.25
    assert asked == [2]
    parts = {name.startswith("backbone."): value for name, value in moved.items() if name.endswith("conv1.weight")}
    assert parts[True] == pytest.approx(0.1)
    assert {round(value, 6) for value in moved.values()} >= {0.1, 1.0, 2.0}
