"""The checks of `check_sanity` that train: on one batch, on labels and on pictures that say nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from striate.data.module import ImageDataModule
from striate.evaluation.metrics import wilson_interval
from striate.pipelines.brief_training import ConstantPack, own_data, shuffled, train_briefly
from striate.pipelines.sanity_checks import Case, Finding

_LEAST = 10  # training pictures a class below which shuffled labels may be the true ones by luck
_BATCH = 64  # pictures of the batch that is learnt by heart, at most
_Z = 3.29  # one sound network in a thousand fails


class _UntilLearnt(Callback):
    """Ends a training once every answer of an epoch was right, and notes how many were wrong at least."""

    def __init__(self) -> None:
        self.least, self.epochs = 1.0, 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the epoch before: a task reports after the callbacks have run."""
        self.epochs += 1
        self._look(trainer, pl_module)
        trainer.should_stop = self.least == 0

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the last epoch too."""
        self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, pl_module: Any) -> None:
        error = trainer.callback_metrics.get(pl_module.train_error)
        self.least = self.least if error is None else min(self.least, float(error))


def learns_a_batch(case: Case) -> Finding:
    """One batch can be learnt by heart."""
    size = min(case.data.batch_size, _BATCH, len(case.data.dataset("train")))
    data, watcher = own_data(case.config, one_batch=True, batch_size=size), _UntilLearnt()
    train_briefly(case.config, data, 3 * case.steps, constant_rate=True, watcher=watcher)
    limit = 0.01 if case.data.labels_pixels is False else 0.1  # outlines are blurred
    unit = "pixels" if case.data.labels_pixels else "pictures"
    found = f"{watcher.least:.1%} of the {unit} of a batch of {size} wrong after {watcher.epochs} steps"
    return Finding(watcher.least <= limit, found, f"at most {limit:.0%} within {3 * case.steps}", watcher.least)


def _confusion(case: Case, change: Callable[[ImageDataModule], None]) -> np.ndarray:
    """Of a network trained and tested on changed data, (K, K), true classes in rows."""
    data = own_data(case.config)
    change(data)
    task, trainer = train_briefly(case.config, data, case.steps)
    trainer.test(task, datamodule=data, verbose=False)
    return task.tally.numpy()["confusion"]


def shuffled_labels_teach_nothing(case: Case) -> Finding:
    """A network that learnt permuted labels is right by chance alone.

    Chance is what answers that know nothing would give, each class as often as the network says it. Alike pictures get
    alike answers, so that the number of right ones varies more than that of independent tries: as of half as many.
    """
    if case.data.labels_pixels:
        return Finding.passed_over("every pixel has a label")
    if min(case.data.class_counts()) < _LEAST:
        return Finding.passed_over(f"a class has fewer than {_LEAST} training pictures")

    def change(data: ImageDataModule) -> None:
        dataset = data.dataset("train")
        dataset.targets = shuffled(dataset.targets, case.config["seed"])

    confusion = _confusion(case, change)
    samples = int(confusion.sum())
    chance = float(confusion.sum(0) @ confusion.sum(1)) / samples**2
    low, high = wilson_interval(round(chance * samples / 2), max(1, samples // 2), _Z)
    accuracy = int(confusion.trace()) / samples
    return Finding(low <= accuracy <= high, f"{accuracy:.1%} of the test pictures right",
                   f"{low:.1%} to {high:.1%} (chance {chance:.1%})", accuracy)  # fmt: skip


def constant_pictures_teach_nothing(case: Case) -> Finding:
    """A network that sees the same grey everywhere says one class, and is right as often as that occurs."""
    if case.data.labels_pixels:
        return Finding.passed_over("every pixel has a label")

    def change(data: ImageDataModule) -> None:
        for split in ("train", "test"):
            dataset: Any = data.dataset(split)
            dataset.pack = ConstantPack(dataset.pack)

    confusion = _confusion(case, change)
    said, shares = int((confusion.sum(0) > 0).sum()), confusion.sum(1) / confusion.sum()
    accuracy, most = int(confusion.trace()) / int(confusion.sum()), float(shares.max())
    return Finding(said == 1 and accuracy <= most + 1e-9, f"{said} class(es) said, {accuracy:.1%} right",
                   f"1, at most {most:.1%} (the most frequent class)", accuracy)  # fmt: skip
