"""AlexNet's rule against the numbers that it gives, and against PyTorch's where they agree."""

import io

import pytest
import torch
from torch import nn

from striate.optim.momentum import VelocitySGD

RATES = [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
# Of w²/2 from w = 1: weight and velocity of this rule, weight of PyTorch's, under weight decay 0.0005.
ORACLE = [
    (0.89995, -0.10005, 0.89995),
    (0.7198650025, -0.1800849975, 0.7198650025),
    (0.48576601125, -0.23409899125, 0.48576601125),
    (0.270216830182, -0.215549181068, 0.459837013095),
    (0.073519047835, -0.196697782347, 0.431900245439),
    (-0.10424451435, -0.177763562186, 0.402435992594),
]


def step(weight, optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    (weight.square().sum() / 2).backward()
    optimizer.step()


def test_the_numbers_of_six_steps():
    ours, theirs = (nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(2))
    own = VelocitySGD([ours], lr=0.1, momentum=0.9, weight_decay=0.0005)
    other = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=0.0005)
    for rate, (weight, velocity, of_pytorch) in zip(RATES, ORACLE, strict=True):
        step(ours, own, rate)
        step(theirs, other, rate)
        assert ours.item() == pytest.approx(weight, abs=1e-12)
        assert own.state[ours]["velocity"].item() == pytest.approx(velocity, abs=1e-12)
        assert theirs.item() == pytest.approx(of_pytorch, abs=1e-12)


def test_at_a_constant_rate_it_is_pytorchs():
    torch.manual_seed(0)
    start = torch.randn(3, 5, dtype=torch.float64)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    own = VelocitySGD([ours], lr=0.05, momentum=0.9, weight_decay=0.01)
    other = torch.optim.SGD([theirs], lr=0.05, momentum=0.9, weight_decay=0.01)
    for _ in range(20):
        step(ours, own, 0.05)
        step(theirs, other, 0.05)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_groups_have_options_of_their_own_and_weights_without_gradient_stay():
    moved, kept, still = (nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = VelocitySGD([{"params": [moved, still]}, {"params": [kept], "weight_decay": 0.0}], lr=0.1)
    moved.grad = kept.grad = torch.zeros(2)
    optimizer.step()
    assert moved.tolist() == pytest.approx([1 - 0.1 * 0.0005] * 2)
    assert kept.tolist() == still.tolist() == [1.0, 1.0]


def test_a_resumed_run_goes_on_with_its_velocity():
    weights = [nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(2)]
    first, second = (VelocitySGD([weight], lr=0.1) for weight in weights)
    for _ in range(3):
        step(weights[0], first, 0.1)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    weights[1].data.copy_(weights[0].data)
    for weight, optimizer in zip(weights, (first, second), strict=True):
        step(weight, optimizer, 0.01)
    assert torch.equal(*weights)


@pytest.mark.parametrize("options", [{"lr": -1}, {"momentum": 1.0}, {"weight_decay": -0.1}])
def test_values_without_meaning_are_refused(options):
    with pytest.raises(ValueError, match="expected lr and weight_decay"):
        VelocitySGD([nn.Parameter(torch.ones(1))], **options)
