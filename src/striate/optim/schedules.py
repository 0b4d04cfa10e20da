"""Learning rates over training, as pure functions of the number of the optimizer step.

A schedule is a function `step -> factor`, by which the optimizer's own rate is multiplied, and a factory around it,
which the configuration names. The scheduler's state is thus the step alone: it is plain data in a checkpoint, and a run
that resumes at any step has the rates that it would have had.

Steps are optimizer steps, counted from 0: the first update uses `factor(0)`, the last one `factor(total_steps - 1)`.
Accumulated batches make one step. `plateau` is the exception to all this: it reacts to a metric after each validation.

A factory is called with the optimizer, `total_steps` (may be infinite), `steps_per_epoch` and `max_epochs`, and returns
Lightning's `lr_scheduler` configuration.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

Unit = Literal["epoch", "step", "fraction"]
Factor = Callable[[int], float]


# The factors


def constant_factor(step: int) -> float:
    return 1.0


def step_factor(step: int, *, every: float, gamma: float) -> float:
    """gamma^k after k periods of `every` steps, which need not be a whole number."""
    return gamma ** math.floor(step / every + 1e-9)  # 7 / (0.07 * 100) is below 1


def multistep_factor(step: int, *, milestones: Sequence[int], gamma: float) -> float:
    """gamma^k once k milestones are reached."""
    return gamma ** sum(step >= milestone for milestone in milestones)


def table_factor(step: int, *, starts: Sequence[int], factors: Sequence[float]) -> float:
    """The last of `factors` whose start is reached; the first one starts at 0."""
    return factors[sum(step >= start for start in starts[1:])]


def cosine_factor(step: int, *, total_steps: int, final: float) -> float:
    """Half a cosine from 1 to `final` at `total_steps` (Loshchilov & Hutter 2016, SGDR, equation 5)."""
    progress = min(step / total_steps, 1.0)
    return final + (1.0 - final) * (1.0 + math.cos(math.pi * progress)) / 2.0


def poly_factor(step: int, *, total_steps: int, power: float) -> float:
    """(1 - step/total_steps)^power, 0 from `total_steps` on (Chen et al. 2016, DeepLab v2, section 4.1.2)."""
    return max(1.0 - step / total_steps, 0.0) ** power


def one_cycle_factor(step: int, *, total_steps: int, rise: float, initial: float, final: float) -> float:
    """From `initial` up to 1 over the part `rise` of the steps and down to `final` at the last, each half a cosine.

    Equal to `torch.optim.lr_scheduler.OneCycleLR` (Smith & Topin 2017; the cosines are fast.ai's).
    """
    last = total_steps - 1
    peak = rise * total_steps - 1
    if step <= peak:
        return _half_cosine(initial, 1.0, step / peak if peak > 0 else 1.0)
    return _half_cosine(1.0, final, min((step - peak) / (last - peak), 1.0))


def warmed_up(step: int, *, factor: Factor, warmup_steps: int, postpone: bool) -> float:
    """Linear from 1/`warmup_steps` to 1 during the first `warmup_steps` (Goyal et al. 2017, section 2.2).

    `postpone` starts `factor` after the warm-up; otherwise it runs from step 0 and the warm-up multiplies it, so that
    milestones stay where they are.
    """
    if postpone:
        return (step + 1) / warmup_steps if step < warmup_steps else factor(step - warmup_steps)
    return (step + 1) / warmup_steps * factor(step) if step < warmup_steps else factor(step)


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * progress)) / 2.0


# The factories


def constant(
    optimizer: Optimizer, *, total_steps: float, steps_per_epoch: int, max_epochs: int, warmup_epochs: float = 0.0
) -> dict[str, Any]:
    """The optimizer's own rate throughout, after a warm-up if there is one."""
    warmup_steps = _warmup_steps(warmup_epochs, steps_per_epoch, total_steps)
    return _by_step(optimizer, partial(warmed_up, factor=constant_factor, warmup_steps=warmup_steps, postpone=False))


def step(
    optimizer: Optimizer,
    *,
    total_steps: float,
    steps_per_epoch: int,
    max_epochs: int,
    every: float,
    gamma: float = 0.1,
    unit: Unit = "epoch",
    warmup_epochs: float = 0.0,
) -> dict[str, Any]:
    """Multiply the rate by `gamma` each `every` epochs (or steps, or fractions of the training)."""
    if every <= 0 or gamma <= 0:
        raise ValueError(f"expected every > 0 and gamma > 0, got {every} and {gamma}")
    period = every * _steps_of(unit, steps_per_epoch, total_steps)
    factor = partial(step_factor, every=period, gamma=gamma)
    warmup_steps = _warmup_steps(warmup_epochs, steps_per_epoch, total_steps)
    return _by_step(optimizer, partial(warmed_up, factor=factor, warmup_steps=warmup_steps, postpone=False))


def multistep(
    optimizer: Optimizer,
    *,
    total_steps: float,
    steps_per_epoch: int,
    max_epochs: int,
    milestones: Sequence[float],
    gamma: float = 0.1,
    unit: Unit = "epoch",
    warmup_epochs: float = 0.0,
) -> dict[str, Any]:
    """Multiply the rate by `gamma` at each milestone, given in epochs, steps or fractions of the training."""
    if gamma <= 0 or list(milestones) != sorted(milestones) or any(milestone <= 0 for milestone in milestones):
        raise ValueError(f"expected rising milestones > 0 and gamma > 0, got {list(milestones)} and {gamma}")
    scale = _steps_of(unit, steps_per_epoch, total_steps)
    steps = tuple(math.ceil(milestone * scale - 1e-6) for milestone in milestones)  # 0.55 * 100 is above 55
    factor = partial(multistep_factor, milestones=steps, gamma=gamma)
    warmup_steps = _warmup_steps(warmup_epochs, steps_per_epoch, total_steps)
    return _by_step(optimizer, partial(warmed_up, factor=factor, warmup_steps=warmup_steps, postpone=False))


def table(
    optimizer: Optimizer,
    *,
    total_steps: float,
    steps_per_epoch: int,
    max_epochs: int,
    values: Sequence[float],
    lengths: Sequence[float],
    unit: Unit = "epoch",
    absolute: bool = False,
) -> dict[str, Any]:
    """The rates of a list, one after another, as papers print them.

    `values` are factors of the optimizer's rate, or rates themselves with `absolute`; each holds for the length at its
    place, and the last one, which has no length, for the rest.
    """
    if len(lengths) != len(values) - 1 or min(values, default=-1) < 0 or min(lengths, default=1) <= 0:
        raise ValueError(
            f"expected values of 0 or more and a length above 0 for each but the last, got {list(values)} "
            f"and {list(lengths)}"
        )
    if absolute and not optimizer.defaults["lr"] > 0:
        raise ValueError(f"expected an optimizer with a rate above 0, got {optimizer.defaults['lr']}")
    scale = _steps_of(unit, steps_per_epoch, total_steps)
    starts = [0, *(math.ceil(place * scale - 1e-6) for place in accumulate(lengths))]
    factors = [value / optimizer.defaults["lr"] if absolute else value for value in values]
    return _by_step(optimizer, partial(table_factor, starts=starts, factors=factors))


def cosine(
    optimizer: Optimizer,
    *,
    total_steps: float,
    steps_per_epoch: int,
    max_epochs: int,
    final_factor: float = 0.0,
    warmup_epochs: float = 0.0,
) -> dict[str, Any]:
    """Warm up, then half a cosine over the remaining steps down to `final_factor` times the rate."""
    if not 0.0 <= final_factor <= 1.0:
        raise ValueError(f"expected final_factor in 0 … 1, got {final_factor}")
    warmup_steps = _warmup_steps(warmup_epochs, steps_per_epoch, total_steps)
    factor = partial(cosine_factor, total_steps=_finite(total_steps) - warmup_steps, final=final_factor)
    return _by_step(optimizer, partial(warmed_up, factor=factor, warmup_steps=warmup_steps, postpone=True))


def poly(
    optimizer: Optimizer,
    *,
    total_steps: float,
    steps_per_epoch: int,
    max_epochs: int,
    power: float = 0.9,
    warmup_epochs: float = 0.0,
) -> dict[str, Any]:
    """Warm up, then (1 - step/steps)^power over the remaining steps."""
    if power <= 0:
        raise ValueError(f"expected power > 0, got {power}")
    warmup_steps = _warmup_steps(warmup_epochs, steps_per_epoch, total_steps)
    factor = partial(poly_factor, total_steps=_finite(total_steps) - warmup_steps, power=power)
    return _by_step(optimizer, partial(warmed_up, factor=factor, warmup_steps=warmup_steps, postpone=True))


def one_cycle(
    optimizer: Optimizer,
    *,
    total_steps: float,
    steps_per_epoch: int,
    max_epochs: int,
    rise: float = 0.3,
    initial_factor: float = 1 / 25,
    final_factor: float = 1 / 250_000,
    momentum_range: Sequence[float] | None = (0.85, 0.95),
) -> dict[str, Any]:
    """One rise to the optimizer's rate and one fall, of which the rise is the warm-up.

    Momentum (the first beta of the Adam family) moves against the rate, from the upper to the lower value and back;
    None leaves it alone.
    """
    if not 0.0 < rise < 1.0 or not 0.0 <= initial_factor <= 1.0 or not 0.0 <= final_factor <= 1.0:
        raise ValueError(f"expected rise and factors in 0 … 1, got {rise}, {initial_factor}, {final_factor}")
    total = _finite(total_steps)
    factor = partial(one_cycle_factor, total_steps=total, rise=rise, initial=initial_factor, final=final_factor)
    if momentum_range is None:
        return _by_step(optimizer, factor)
    low, high = momentum_range
    if not 0.0 <= low <= high < 1.0:
        raise ValueError(f"expected a rising momentum_range in 0 … 1, got {low} … {high}")
    wave = partial(one_cycle_factor, total_steps=total, rise=rise, initial=0.0, final=0.0)
    return {"scheduler": RateAndMomentum(optimizer, factor, wave, (low, high)), "interval": "step", "frequency": 1}


def plateau(
    optimizer: Optimizer,
    *,
    total_steps: float,
    steps_per_epoch: int,
    max_epochs: int,
    monitor: str,
    mode: Literal["min", "max"] = "min",
    gamma: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    min_rate: float = 0.0,
) -> dict[str, Any]:
    """Multiply the rate by `gamma` when the monitored metric has not got better for more than `patience` validations.

    There is one each `trainer.check_val_every_n_epoch` epochs.
    """
    if not 0.0 < gamma < 1.0 or patience < 0:
        raise ValueError(f"expected gamma between 0 and 1 and patience >= 0, got {gamma} and {patience}")
    scheduler = ReduceLROnPlateau(
        optimizer, mode, factor=gamma, patience=patience, threshold=threshold, min_lr=min_rate
    )
    return {"scheduler": scheduler, "interval": "epoch", "frequency": 1, "monitor": monitor, "strict": True}


class RateAndMomentum(LambdaLR):
    """A rate by a factor, and momentum moving within a range against a wave between 0 and 1."""

    def __init__(self, optimizer: Optimizer, factor: Factor, wave: Factor, momentum_range: tuple[float, float]):
        names = {"momentum", "betas"} & set(optimizer.defaults)
        if not names or (names == {"momentum"} and optimizer.defaults["momentum"] == 0):
            raise ValueError(
                f"expected an optimizer with momentum, got {type(optimizer).__name__}: "
                "give it one, or momentum_range=None"
            )
        self.wave, self.momentum_range = wave, momentum_range
        super().__init__(optimizer, factor)

    def get_lr(self) -> list[Any]:
        low, high = self.momentum_range
        momentum = high + (low - high) * self.wave(self.last_epoch)
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum
        return super().get_lr()

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        del state["wave"], state["momentum_range"]  # code and configuration, not state
        return state


def _by_step(optimizer: Optimizer, factor: Factor) -> dict[str, Any]:
    # LambdaLR keeps nothing of a partial in its state: the configuration decides the curve, also after resuming.
    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step", "frequency": 1}


def _finite(total_steps: float) -> int:
    if not 1 <= total_steps < math.inf:
        raise ValueError(f"expected a finite number of steps for this schedule, got {total_steps}: limit the epochs")
    return int(total_steps)


def _steps_of(unit: Unit, steps_per_epoch: int, total_steps: float) -> float:
    if unit not in ("epoch", "step", "fraction"):
        raise ValueError(f"expected the unit epoch, step or fraction, got {unit}")
    if unit == "fraction":
        return _finite(total_steps)
    return steps_per_epoch if unit == "epoch" else 1


def _warmup_steps(warmup_epochs: float, steps_per_epoch: int, total_steps: float) -> int:
    steps = round(warmup_epochs * steps_per_epoch)
    if steps < 0 or (steps and steps >= total_steps):
        raise ValueError(f"expected a warm-up of 0 or more epochs that ends before training does, got {warmup_epochs}")
    return steps
