"""A training of seconds on data that were tampered with on purpose: nothing is selected, logged or kept."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback

from striate.configuration import build
from striate.data.module import ImageDataModule
from striate.data.pack import Pack
from striate.pipelines.train import assemble, build_datamodule
from striate.tasks.base import SupervisedTask

_TAG = 0x5417  # keeps the draws of shuffled labels apart from others of the same seed
_GREY = 128


class ConstantPack:
    """A pack whose pictures all show the same grey, each of its own size.

    Args:
        pack: the pictures.
    """

    def __init__(self, pack: Pack):
        self._pack = pack

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pack, name)

    def __len__(self) -> int:
        return len(self._pack)

    def read(self, indices: np.ndarray) -> Any:
        """Grey pictures of the sizes of those at these places."""
        pictures = self._pack.read(indices)
        if isinstance(pictures, np.ndarray):
            return np.full_like(pictures, _GREY)
        return [np.full_like(picture, _GREY) for picture in pictures]


def shuffled(targets: np.ndarray, seed: int) -> np.ndarray:
    """Labels that say nothing of their pictures, each as often as before: a function of the seed.

    Of each class the pictures get all labels in the proportions of the whole, as nearly as whole numbers allow, so that
    not even the mean picture of a class goes with a label.

    Args:
        targets: (N,) labels.
        seed: any.
    """
    generator, count = np.random.default_rng([seed, _TAG]), len(targets)
    # Each class is spread evenly over the unit interval in a random order, and the interval is cut into labels.
    places, result = np.empty(count), np.empty_like(targets)
    for label in np.unique(targets):
        of_class = generator.permutation(np.flatnonzero(targets == label))
        places[of_class] = (np.arange(len(of_class)) + generator.random()) / len(of_class)
    labels, counts = np.unique(targets, return_counts=True)
    turn = generator.permutation(len(labels))
    result[np.argsort(places, kind="stable")] = np.repeat(labels[turn], counts[turn])
    return result


def own_data(config: Mapping[str, Any], **changes: Any) -> ImageDataModule:
    """A data module of a configuration for one check alone, read in this process."""
    own = {**config, "data": {**config["data"], "num_workers": 0, **changes}}
    if changes.get("one_batch"):
        own["augmentation"] = None
    datamodule = build_datamodule(own)
    datamodule.prepare_data()
    return datamodule


def train_briefly(
    config: Mapping[str, Any], datamodule: ImageDataModule, steps: int, *, constant_rate: bool = False,
    watcher: Callback | None = None,
) -> tuple[SupervisedTask, pl.Trainer]:  # fmt: skip
    """Trains a new network for about so many steps, whole epochs where one is shorter.

    Args:
        config: of the training, settled.
        datamodule: what it sees.
        steps: of the optimizer.
        constant_rate: leave the schedule out.
        watcher: a callback of the check.

    Returns:
        The task with its last weights, and the trainer, which can test it.
    """
    task, _, _ = assemble(config, datamodule)
    if constant_rate:
        task.scheduler_factory = None
    accumulate = config["trainer"]["accumulate_grad_batches"]
    per_epoch = max(1, len(datamodule.dataset("train")) // datamodule.batch_size)
    node = {
        **config["trainer"], "max_epochs": -(-steps // per_epoch), "max_time": None, "devices": 1, "num_nodes": 1,
        "strategy": "auto", "limit_train_batches": min(steps, per_epoch) * accumulate, "limit_val_batches": 0,
        "check_val_every_n_epoch": 1, "enable_progress_bar": False, "profiler": None,
    }  # fmt: skip
    trainer: pl.Trainer = build(
        node, "trainer", callbacks=[watcher] if watcher else [], logger=False, enable_checkpointing=False,
        deterministic=config["deterministic"],
    )  # fmt: skip
    trainer.fit(task, datamodule=datamodule)
    return task, trainer
