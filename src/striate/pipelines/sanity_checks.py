"""What a check of `check_sanity` finds, and those that look at a new network alone."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from striate.data.loading import Batch
from striate.data.module import ImageDataModule
from striate.pipelines.train import assemble
from striate.tasks.base import SupervisedTask
from striate.tasks.soundness import dependence_on_batch, has_cross_entropy, initial_loss, unreached

_LOOKED_AT = 8  # pictures that are seen together and alone
_STEPS = 4  # after which every parameter must have had a gradient
_ROUNDING = 1e-3  # of the largest logit; single precision leaves 1e-6
_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
        passed: None where the check does not apply, or only warns.
        found: the figure, in words.
        expected: its range, in words.
        value: the figure itself.
    """

    passed: bool | None
    found: str
    expected: str
    value: float = math.nan

    @classmethod
    def passed_over(cls, reason: str) -> Self:
        """A check that does not apply."""
        return cls(None, reason, "")


@dataclass(frozen=True)
class Case:
    """What is checked: a settled configuration, its data, and how much to do.

    Args:
        config: of a training.
        data: its data module.
        steps: optimizer steps of each training.
        pictures: of a split that are compared with others, at most.
        folder: for what there is to look at.
    """

    config: Mapping[str, Any]
    data: ImageDataModule
    steps: int
    pictures: int
    folder: Path

    def task(self) -> SupervisedTask:
        """A new task, as training begins with it."""
        return assemble(self.config, self.data)[0].to("cpu")

    def batches(self, count: int, size: int = 32) -> Iterator[Batch]:
        """Training batches, as training sees them, spread over the split."""
        dataset = self.data.dataset("train")
        rows = np.random.default_rng(self.config["seed"]).permutation(len(dataset))
        for number in range(count):
            yield dataset[
                (0, np.sort(np.take(rows, range(number * size, (number + 1) * size), mode="wrap")[: len(rows)]))
            ]


def begins_at_chance(case: Case) -> Finding:
    """The loss of a new network lies near ln K."""
    task, classes = case.task(), case.data.meta.num_classes
    if case.config["init"]["kind"] != "none":
        return Finding.passed_over("the network does not begin anew (init)")
    if not has_cross_entropy(task):
        return Finding.passed_over(f"{type(task.loss).__name__} is no cross-entropy")
    loss, chance = initial_loss(task, next(case.batches(1))), math.log(classes)
    low, high = 0.8 * chance, 1.5 * chance
    return Finding(low <= loss <= high, f"{loss:.3f}", f"{low:.3f} to {high:.3f} (ln {classes} = {chance:.3f})", loss)


def gradients_everywhere(case: Case) -> Finding:
    """Every trainable parameter gets a gradient."""
    task = case.task()
    count = sum(parameter.requires_grad for parameter in task.network.parameters())
    missing = unreached(task, case.batches(_STEPS))
    names = f": {', '.join(missing[:_NAMED])}{' …' if len(missing) > _NAMED else ''}" if missing else ""
    return Finding(not missing, f"{len(missing)} of {count} without{names}", "0", len(missing))


def answers_alone(case: Case) -> Finding:
    """What a network says of a picture does not depend on the pictures beside it."""
    task = case.task()
    unreached(task, case.batches(_STEPS))  # a few steps, so that batch norm has statistics of its own
    images = next(case.batches(1, _LOOKED_AT)).images
    if len(images) < 2:
        return Finding.passed_over("one training picture")
    found = dependence_on_batch(task, images)
    return Finding(found <= _ROUNDING, f"{found:.1e} of the largest logit", f"at most {_ROUNDING:g}", found)
