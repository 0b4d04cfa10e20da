"""Learning rates at named steps, against numeric oracles and PyTorch's own, and their exact resumption."""

import io
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR, ReduceLROnPlateau, StepLR

from striate.optim import schedules


def optimizer(rate: float = 1.0, kind=torch.optim.SGD, **options) -> torch.optim.Optimizer:
    """Two groups of different rates."""
    options = options or ({"momentum": 0.9} if kind is torch.optim.SGD else {})
    parameters = [nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))]
    return kind([{"params": parameters[:1]}, {"params": parameters[1:], "lr": rate / 10}], lr=rate, **options)


def advance(own: torch.optim.Optimizer, scheduler) -> None:
    own.step()
    scheduler.step()


def rates(factory, total_steps: int, steps_per_epoch: int = 10, rate: float = 1.0, count: int | None = None, **options):
    """The rates of the updates 0, 1, … of the first group."""
    own = optimizer(rate)
    epochs = -(-total_steps // steps_per_epoch)
    plan = factory(own, total_steps=total_steps, steps_per_epoch=steps_per_epoch, max_epochs=epochs, **options)
    assert plan["interval"] == "step"
    seen = []
    for _ in range(total_steps if count is None else count):
        assert own.param_groups[1]["lr"] == pytest.approx(own.param_groups[0]["lr"] / 10)
        seen.append(own.param_groups[0]["lr"])
        advance(own, plan["scheduler"])
    return seen


# lr0, steps, step and rate, computed from the formula of the paper with 7 digits
POLY_ORACLE = [
    (2.5e-4, 20_000, 1_000, 2.387213e-4),
    (2.5e-4, 20_000, 10_000, 1.339717e-4),
    (2.5e-4, 20_000, 15_000, 7.179365e-5),
    (2.5e-4, 20_000, 20_000, 0.0),
    (0.007, 30_000, 10_000, 4.859772e-3),
    (0.007, 30_000, 15_000, 3.751207e-3),
]


@pytest.mark.parametrize(("rate", "total_steps", "step", "expected"), POLY_ORACLE)
def test_poly_equals_the_oracle(rate, total_steps, step, expected):
    own = optimizer(rate)
    plan = schedules.poly(own, total_steps=total_steps, steps_per_epoch=100, max_epochs=total_steps // 100)
    plan["scheduler"].last_epoch = step - 1  # the state is the step alone
    advance(own, plan["scheduler"])
    assert own.param_groups[0]["lr"] == pytest.approx(expected, rel=2e-7)


def test_constant_with_and_without_warm_up():
    assert rates(schedules.constant, 30) == [1.0] * 30
    warm = rates(schedules.constant, 30, warmup_epochs=1)
    assert warm == pytest.approx([(step + 1) / 10 for step in range(10)] + [1.0] * 20)


def test_step_equals_pytorch_at_whole_epochs():
    own = optimizer()
    reference = StepLR(own, step_size=2, gamma=0.5)
    seen = rates(schedules.step, 100, every=2, gamma=0.5)
    for epoch in range(10):
        assert seen[10 * epoch : 10 * epoch + 10] == pytest.approx([own.param_groups[0]["lr"]] * 10)
        advance(own, reference)


def test_step_takes_half_epochs_steps_and_fractions():
    # MobileNet's: times 0.94 each 2.5 epochs
    seen = rates(schedules.step, 60, every=2.5, gamma=0.94)
    assert seen[24:26] == pytest.approx([1.0, 0.94])
    assert seen[49:51] == pytest.approx([0.94, 0.94**2])
    seen = rates(schedules.step, 100, every=0.07, gamma=0.5, unit="fraction")  # 0.07 * 100 is 7.000…01
    assert [step for step in range(1, 100) if seen[step] != seen[step - 1]] == list(range(7, 100, 7))
    assert rates(schedules.step, 6, every=4, unit="step") == pytest.approx([1, 1, 1, 1, 0.1, 0.1])


def test_multistep_equals_pytorch_at_whole_epochs():
    own = optimizer()
    reference = MultiStepLR(own, [3, 5], gamma=0.1)
    seen = rates(schedules.multistep, 80, milestones=[3, 5], gamma=0.1)
    for epoch in range(8):
        assert seen[10 * epoch : 10 * epoch + 10] == pytest.approx([own.param_groups[0]["lr"]] * 10)
        advance(own, reference)


@pytest.mark.parametrize(("unit", "milestones"), [("step", [50, 75]), ("fraction", [0.5, 0.75]), ("epoch", [5, 7.5])])
def test_milestones_in_each_unit(unit, milestones):
    seen = rates(schedules.multistep, 100, milestones=milestones, unit=unit)
    assert [seen[step] for step in (0, 49, 50, 74, 75, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_fractions_that_binary_numbers_miss_fall_on_their_step():
    seen = rates(schedules.multistep, 100, milestones=[0.55, 0.57], unit="fraction")  # 55.000…01 and 56.999…99
    assert [step for step in range(1, 100) if seen[step] != seen[step - 1]] == [55, 57]


def test_milestones_stay_where_they_are_under_a_warm_up():
    seen = rates(schedules.multistep, 100, milestones=[0.5], unit="fraction", warmup_epochs=2)
    assert [seen[step] for step in (0, 9, 19, 20, 49, 50)] == pytest.approx([0.05, 0.5, 1, 1, 1, 0.1])


# LeNet-5: 0.0005 for 2 passes, 0.0002 for 3, 0.0001 for 3, 0.00005 for 4, 0.00001 to the twentieth.
LENET = [*[5e-4] * 2, *[2e-4] * 3, *[1e-4] * 3, *[5e-5] * 4, *[1e-5] * 8]


@pytest.mark.parametrize(
    "options",
    [
        {"values": [1.0, 0.4, 0.2, 0.1, 0.02]},
        {"values": [5e-4, 2e-4, 1e-4, 5e-5, 1e-5], "absolute": True},
    ],
)
def test_table_holds_the_rates_of_lenet5(options):
    seen = rates(schedules.table, 200, rate=5e-4, lengths=[2, 3, 3, 4], **options)
    assert seen == pytest.approx([rate for rate in LENET for _ in range(10)], rel=1e-12)


def test_table_begins_as_resnet_110_does():
    seen = rates(schedules.table, 600, rate=0.1, values=[0.1, 1.0], lengths=[400], unit="step")
    assert seen == pytest.approx([0.01] * 400 + [0.1] * 200)
    assert rates(schedules.table, 10, values=[1, 0], lengths=[0.55], unit="fraction") == [1.0] * 6 + [0.0] * 4


def test_step_lowers_the_rate_as_googlenet_does():
    # By 4 % every 8 epochs: 0.01, 0.0096, 0.009216.
    seen = rates(schedules.step, 170, rate=0.01, every=8, gamma=0.96)
    assert [seen[step] for step in (0, 79, 80, 159, 160)] == pytest.approx([0.01, 0.01, 0.0096, 0.0096, 0.009216])


def test_multistep_lowers_the_rate_as_resnet_does_on_cifar():
    own = optimizer(0.1)
    plan = schedules.multistep(
        own, total_steps=64_000, steps_per_epoch=390, max_epochs=165, milestones=[0.5, 0.75], unit="fraction"
    )
    for step, rate in ((31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 0.001), (63_999, 0.001)):
        plan["scheduler"].last_epoch = step - 1
        advance(own, plan["scheduler"])
        assert own.param_groups[0]["lr"] == pytest.approx(rate)


def test_cosine_equals_pytorch_and_warms_up():
    own = optimizer()
    reference = CosineAnnealingLR(own, T_max=60)
    for value in rates(schedules.cosine, 60):
        assert value == pytest.approx(own.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
        advance(own, reference)
    seen = rates(schedules.cosine, 110, warmup_epochs=1, final_factor=0.2)
    assert seen[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert seen[10] == 1.0
    assert seen[60] == pytest.approx(0.6)  # half-way through the remaining 100
    assert seen[-1] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi * 0.99)) / 2)


def test_poly_warms_up_and_ends_with_the_training():
    seen = rates(schedules.poly, 110, warmup_epochs=1, count=111)
    assert seen[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert [seen[step] for step in (10, 60, 110)] == pytest.approx([1.0, 0.5**0.9, 0.0])


def test_rates_stay_at_their_end_when_training_goes_on():
    assert rates(schedules.cosine, 10, count=13, final_factor=0.1)[10:] == pytest.approx([0.1] * 3)
    assert rates(schedules.poly, 10, count=13)[10:] == [0.0] * 3
    assert rates(schedules.one_cycle, 10, count=13)[10:] == pytest.approx([1 / 250_000] * 3)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize(("total_steps", "rise"), [(100, 0.3), (37, 0.25), (10, 0.5)])
def test_one_cycle_equals_pytorch_in_rate_and_momentum(kind, total_steps, rise):
    ours, theirs = optimizer(kind=kind), optimizer(kind=kind)
    plan = schedules.one_cycle(ours, total_steps=total_steps, steps_per_epoch=10, max_epochs=10, rise=rise)
    reference = OneCycleLR(theirs, max_lr=[1.0, 0.1], total_steps=total_steps, pct_start=rise)
    for step in range(total_steps):
        for mine, other in zip(ours.param_groups, theirs.param_groups, strict=True):
            assert mine["lr"] == pytest.approx(other["lr"], rel=1e-9)
            if kind is torch.optim.SGD:
                assert mine["momentum"] == pytest.approx(other["momentum"], rel=1e-9)
            else:
                assert mine["betas"] == pytest.approx(other["betas"], rel=1e-9)
        if step < total_steps - 1:
            advance(ours, plan["scheduler"])
            advance(theirs, reference)


def test_one_cycle_can_leave_momentum_alone():
    own = optimizer()
    plan = schedules.one_cycle(own, total_steps=10, steps_per_epoch=5, max_epochs=2, momentum_range=None)
    for _ in range(9):
        advance(own, plan["scheduler"])
        assert own.param_groups[0]["momentum"] == 0.9


def test_one_cycle_refuses_an_optimizer_without_momentum():
    for own in (optimizer(momentum=0.0), optimizer(kind=torch.optim.Adagrad, eps=1e-10)):
        with pytest.raises(ValueError, match="expected an optimizer with momentum"):
            schedules.one_cycle(own, total_steps=10, steps_per_epoch=5, max_epochs=2)


FACTORIES = {
    "constant": (schedules.constant, {"warmup_epochs": 0.7}),
    "step": (schedules.step, {"every": 1.3, "warmup_epochs": 0.7}),
    "multistep": (schedules.multistep, {"milestones": [1, 2.5], "warmup_epochs": 0.7}),
    "table": (schedules.table, {"values": [1, 0.5, 0.25], "lengths": [0.5, 2]}),
    "cosine": (schedules.cosine, {"warmup_epochs": 0.7}),
    "poly": (schedules.poly, {"warmup_epochs": 0.7}),
    "one_cycle": (schedules.one_cycle, {}),
}


def planned(name: str, total_steps: int):
    own = optimizer()
    factory, options = FACTORIES[name]
    return own, factory(own, total_steps=total_steps, steps_per_epoch=10, max_epochs=4, **options)["scheduler"]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(FACTORIES)), st.integers(8, 45), st.data())
def test_a_run_resumed_at_any_step_has_the_same_future(name, total_steps, data):
    stop = data.draw(st.integers(0, total_steps))
    own, scheduler = planned(name, total_steps)
    for _ in range(stop):
        advance(own, scheduler)
    file = io.BytesIO()
    torch.save({"optimizer": own.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other, resumed = planned(name, total_steps)
    resumed.load_state_dict(saved["scheduler"])
    other.load_state_dict(saved["optimizer"])
    for _ in range(stop, total_steps + 2):
        for group, expected in zip(other.param_groups, own.param_groups, strict=True):
            assert group["lr"] == expected["lr"]
            assert group["momentum"] == expected["momentum"]
        advance(own, scheduler)
        advance(other, resumed)


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_the_state_is_plain_data_and_holds_no_curve(name):
    own, scheduler = planned(name, 40)
    advance(own, scheduler)

    def is_plain(value) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and is_plain(entry) for key, entry in value.items())
        if isinstance(value, list | tuple):
            return all(map(is_plain, value))
        return value is None or isinstance(value, bool | int | float | str)

    state = scheduler.state_dict()
    assert is_plain(state), state
    # The configuration of the resumed run decides the curve, not the checkpoint.
    longer_optimizer, longer = planned(name, 80)
    reference_optimizer, reference = planned(name, 80)
    longer.load_state_dict(state)
    advance(reference_optimizer, reference)
    advance(reference_optimizer, reference)
    advance(longer_optimizer, longer)
    assert longer_optimizer.param_groups[0]["lr"] == reference_optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_the_curves_can_be_pickled(name):
    _, scheduler = planned(name, 40)
    for curve in scheduler.lr_lambdas:
        assert pickle.loads(pickle.dumps(curve))(17) == curve(17)


def test_plateau_waits_then_lowers_and_names_what_it_watches():
    own = optimizer()
    plan = schedules.plateau(
        own, total_steps=math.inf, steps_per_epoch=10, max_epochs=-1, monitor="val/top1_micro", mode="max", patience=2
    )
    assert isinstance(plan["scheduler"], ReduceLROnPlateau)
    assert (plan["monitor"], plan["interval"], plan["strict"]) == ("val/top1_micro", "epoch", True)
    seen = []
    for value in (0.5, 0.6, 0.6, 0.5, 0.6, 0.7, 0.7):
        plan["scheduler"].step(value)
        seen.append(own.param_groups[0]["lr"])
    assert seen == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1])
    file = io.BytesIO()
    torch.save(plan["scheduler"].state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["best"] == 0.7


def test_endless_training_needs_a_schedule_without_an_end():
    endless = {"total_steps": math.inf, "steps_per_epoch": 10, "max_epochs": -1}
    schedules.constant(optimizer(), **endless, warmup_epochs=1)
    schedules.step(optimizer(), **endless, every=3)
    schedules.multistep(optimizer(), **endless, milestones=[3])
    for factory, options in (
        (schedules.cosine, {}),
        (schedules.poly, {}),
        (schedules.one_cycle, {}),
        (schedules.step, {"every": 0.5, "unit": "fraction"}),
    ):
        with pytest.raises(ValueError, match="expected a finite number of steps"):
            factory(optimizer(), **endless, **options)


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (schedules.constant, {"warmup_epochs": 4}),  # as long as the training
        (schedules.constant, {"warmup_epochs": -1}),
        (schedules.step, {"every": 0}),
        (schedules.step, {"every": 1, "unit": "batch"}),
        (schedules.multistep, {"milestones": [3, 2]}),
        (schedules.multistep, {"milestones": [0]}),
        (schedules.table, {"values": [1, 0.5], "lengths": [1, 2]}),
        (schedules.table, {"values": [1, -0.5], "lengths": [1]}),
        (schedules.table, {"values": [1, 0.5], "lengths": [0]}),
        (schedules.table, {"values": [], "lengths": []}),
        (schedules.cosine, {"final_factor": 1.5}),
        (schedules.poly, {"power": 0}),
        (schedules.one_cycle, {"rise": 1.0}),
        (schedules.one_cycle, {"momentum_range": (0.9, 0.8)}),
        (schedules.plateau, {"monitor": "val/loss", "gamma": 1.0}),
    ],
)
def test_values_without_meaning_are_refused(factory, options):
    with pytest.raises(ValueError, match="expected "):
        factory(optimizer(), total_steps=40, steps_per_epoch=10, max_epochs=4, **options)
