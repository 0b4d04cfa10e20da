"""Every file of conf/optimizer, conf/scheduler and conf/loss builds something that trains."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from striate.configuration import FOLDER, build
from striate.errors import ConfigurationError
from striate.optim.groups import parameter_groups

PIXELS = ("dice", "cross_entropy_dice")  # losses of labelled pixels


def node(group: str, name: str):
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose(overrides=[f"+{group}={name}", "+monitor.metric=val/top1_micro", "+monitor.mode=max"])
    return config[group]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))


@pytest.mark.parametrize("loss", options("loss"))
@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_an_optimizer_and_a_loss_learn_one_batch(optimizer, loss):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    inputs, targets = torch.randn(12, 8), torch.arange(12) % 3
    own = build(node("optimizer", optimizer))(parameter_groups(network))
    criterion = build(node("loss", loss), class_counts=[4, 4, 4])
    assert [group["weight_decay"] for group in own.param_groups] == [node("optimizer", optimizer).weight_decay, 0.0]
    values = []
    for _ in range(30):
        own.zero_grad()
        logits, labels = network(inputs), targets
        if loss in PIXELS:  # one picture of twelve pixels
            logits, labels = logits.mT[None, :, :, None], targets[None, :, None]
        value = criterion.reduce(criterion(logits, labels), labels)
        value.backward()
        own.step()
        values.append(value.item())
    assert values[-1] < 0.95 * values[0]


@pytest.mark.parametrize("scheduler", options("scheduler"))
@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_a_scheduler_fits_every_optimizer(optimizer, scheduler):
    own = build(node("optimizer", optimizer))([nn.Parameter(torch.ones(1))])
    rate = own.param_groups[0]["lr"]
    if scheduler == "one_cycle" and optimizer == "sdlm":  # it has no momentum to move against the rate
        with pytest.raises(ConfigurationError, match="expected an optimizer with momentum"):
            build(node("scheduler", scheduler))(own, total_steps=120, steps_per_epoch=2, max_epochs=60)
        return
    plan = build(node("scheduler", scheduler))(own, total_steps=120, steps_per_epoch=2, max_epochs=60)
    if scheduler == "plateau":
        assert plan["monitor"] == "val/top1_micro"
        assert plan["scheduler"].mode == "max"
        return
    seen = []
    for _ in range(120):
        seen.append(own.param_groups[0]["lr"])
        own.step()
        plan["scheduler"].step()
    assert max(seen) == pytest.approx(rate, rel=0.01)
    assert (seen[-1] < 0.2 * rate) == (scheduler != "constant")


def test_each_key_has_a_comment():
    for group in ("optimizer", "scheduler", "loss"):
        for name in options(group):
            lines = (FOLDER / group / f"{name}.yaml").read_text().splitlines()
            assert lines[0].startswith("# ")
            for line in lines[1:]:
                assert line.strip().startswith(("_target_", "_partial_")) or "  # " in line, (name, line)
