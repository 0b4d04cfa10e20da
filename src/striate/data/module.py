"""The LightningDataModule of every prepared set: it prepares itself when it must, and gives batches."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning.pytorch as pl
import numpy as np
from annotated_types import Ge, Gt, Le

from striate.data.augmentation import Augmentation
from striate.data.duplicates import equal_in_pack
from striate.data.folding import POOL, Folds, dealt, pool_of, require_fold
from striate.data.halves import half_of
from striate.data.loading import Batch, BatchDataset, ResumableLoader, ViewBatch
from striate.data.masks import IGNORE
from striate.data.meta import Meta
from striate.data.multiview import Views, pictures_at_once
from striate.data.pack import Pack, open_pack
from striate.data.preparation import Preparation, prepare
from striate.data.preprocessing import Preprocessing
from striate.data.principal_colours import principal_colours
from striate.data.restoring import restore_raw
from striate.data.sampling import BatchSampler, epoch_order, keys, uniform
from striate.data.sources.base import Source
from striate.errors import ConfigurationError, DataError, nearest
from striate.messages import say, shown

SPLITS = ("train", "val", "test")
_TRIED = 8  # pictures on which an augmentation is tried before anything is made


class ImageDataModule(pl.LightningDataModule):
    """Batches of a prepared set.

    Args:
        name: the name of the set; its pack lies in `prepared_dir/name`.
        prepared_dir: where packs are kept.
        source: the raw pictures, needed only when the pack is missing.
        prepare: how raw pictures become a pack.
        root: where the raw data lie (for the source; named here so that `data.root=PATH` is a valid option).
        input_size: side of the square that the network sees; encoded packs only.
        crop_fraction: share of the short side that the centre crop keeps at evaluation; encoded packs only.
        batch_size: samples of one optimizer step over all devices and accumulated parts: the global batch; "all" is the
            whole training split, one step an epoch.
        num_workers: processes that read and augment; "auto" is 0 for arrays in memory, else one a core.
        classes: a subset of the set's classes by name; None for all. Pixels of other classes do not count.
        class_half: of these classes half "A" or "B"; None for both.
        class_split: how the classes are halved: the number of a random split, or the classes of A.
        one_batch: train on the samples of a single batch again and again: can the network learn them by heart?
        samples_per_class: at most so many training samples of each class, drawn by the seed; None for all.
        sampling: "uniform": an epoch has each training sample once; "balanced": it has as many draws, of every class
            equally many, so that samples of rare classes come several times and of frequent ones some only.
        folds: the pictures for training and validation are dealt out to so many folds by the seed, None: splits stay.
        fold: the one that validates, from 0.
        augmentation: what training does to pictures, or None.
        seed: with epoch and sample index, the only source of chance.
        accumulate: parts in which the global batch is computed.

    Raises:
        ConfigurationError: a value that is not valid, a class that the set does not have.
        DataError: the raw data are missing, or fewer training samples than a batch.
    """

    def __init__(
        self,
        name: str | None,
        prepared_dir: str,
        source: Source | None = None,
        prepare: Preparation | None = None,
        root: str | None = None,
        input_size: Annotated[int, Ge(1)] | None = None,
        crop_fraction: Annotated[float, Gt(0), Le(1)] = 0.875,
        batch_size: Annotated[int, Ge(1)] | Literal["all"] = 64,
        num_workers: Annotated[int, Ge(0)] | Literal["auto"] = "auto",
        classes: Sequence[str | int] | None = None,
        class_half: Literal["A", "B"] | None = None,
        class_split: Annotated[int, Ge(0)] | Sequence[str | int] = 0,
        samples_per_class: Annotated[int, Ge(1)] | None = None,
        sampling: Literal["uniform", "balanced"] = "uniform",
        folds: Annotated[int, Ge(2)] | None = None,
        fold: Annotated[int, Ge(0)] | None = None,
        one_batch: bool = False,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        accumulate: int = 1,
    ):
        super().__init__()
        if name is None and root is None:
            raise ConfigurationError(
                "data.name and data.root are both missing", do="say where the pictures are: data.root=PATH"
            )
        self.name: str = name or Path(str(root)).expanduser().resolve().name.split(".")[0]
        if Path(self.name).name != self.name or self.name == "..":
            raise ConfigurationError(
                f"data.name={self.name} is not the name of one folder", nearest=f"data.name={Path(self.name).name}"
            )
        self.folder = Path(prepared_dir) / self.name
        self.source, self.preparation = source, prepare
        self.input_size, self.crop_fraction = input_size, crop_fraction
        self._batch_size, self.num_workers, self.accumulate = batch_size, num_workers, accumulate
        self.classes = None if classes is None else [str(name) for name in classes]
        self.class_half, self.class_split = class_half, class_split
        self.samples_per_class, self.one_batch, self.sampling = samples_per_class, one_batch, sampling
        require_fold(folds, fold)
        self.folds, self.fold = folds, fold
        self.augmentation, self.seed = augmentation, seed
        self.test_split = "test"  # `evaluate` may name another
        self.test_views: Views | None = None  # and look at pictures more than once
        self._datasets: dict[str, BatchDataset] = {}
        self._prepared = False
        self._train_loader: ResumableLoader | None = None
        self._position: dict[str, int] | None = None

    @property
    def batch_size(self) -> int:
        """Samples of one optimizer step."""
        return len(self.dataset("train")) if self._batch_size == "all" else int(self._batch_size)

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        self._batch_size = value

    # Lightning's hook, on one process only.
    def prepare_data(self, *, only_missing: bool = False) -> None:
        """Makes the pack if it is missing, from raw data that are restored first if they are pinned.

        A pack that was made with other options is made anew, unless `only_missing`. What the augmentation must know of
        the training pictures is measured too, so that no other process needs to.
        """
        if self._prepared:
            return
        self._prepared = True
        self._prepare(only_missing)
        if self.augmentation is not None:
            self.augmentation.with_colours(lambda: principal_colours(self.folder, Meta.load(self.folder), keep=True))
        if self.folds is not None and not self.labels_pixels:
            pool = pool_of(self.folder, self.whole)
            equal_in_pack(self.folder, self.whole, pool, pool.names, keep=True)

    def _prepare(self, only_missing: bool) -> None:
        there = (self.folder / "meta.json").is_file()
        if self.source is None or self.preparation is None:
            if there:
                return
            raise DataError(f"there is no prepared set in {self.folder}", do=f"python src/prepare.py data={self.name}")
        if there and (only_missing or self.source.missing() is not None):
            return  # the pack is whole without the raw data
        if not there:
            say(f"{shown(self.folder)} is not there yet: preparing {self.name} first")
            restore_raw(self.source, self.name)
        # Costs a listing of the raw files when nothing has changed; a changed option of `prepare` makes the pack anew.
        prepare(self.name, self.source, self.preparation, self.folder, quiet=there)

    @cached_property
    def whole(self) -> Meta:
        """The passport of the whole set, as it was when first asked for: a set may be prepared anew under a run."""
        return Meta.load(self.folder)

    @property
    def meta(self) -> Meta:
        """The passport of what the network learns from: of the set, or of the chosen classes."""
        return self._chosen if self.folds is None else self._folds.recut(self._chosen, self.whole)

    @property
    def _chosen(self) -> Meta:
        """The passport of the chosen classes, in the set's own splits."""
        whole = self.whole
        for chosen in self.classes or ():
            if chosen not in whole.classes:
                raise ConfigurationError(
                    f"data.classes: {whole.name} has no class {chosen!r}",
                    nearest=nearest(chosen, whole.classes),
                    do=f"choose among {', '.join(whole.classes[:12])}{' …' if len(whole.classes) > 12 else ''}",
                )
        if self.classes is not None and len(set(self.classes)) < max(2, len(self.classes)):
            raise ConfigurationError(
                "data.classes needs at least two classes, each once", do="name them: data.classes=[a,b]"
            )
        if self.class_half is not None:
            return whole.subset(half_of(self.classes or whole.classes, self.class_half, self.class_split))
        return whole if self.classes is None else whole.subset(self.classes)

    @cached_property
    def _folds(self) -> Folds:
        assert self.folds is not None
        assert self.fold is not None
        return dealt(self.folder, self.whole, self._chosen.classes, self.folds, self.fold, self.seed)

    @property
    def preprocessing(self) -> Preprocessing:
        """What evaluation does to a picture."""
        return Preprocessing.of(self.whole, None if self.labels_pixels else self.input_size, self.crop_fraction)

    @property
    def labels_pixels(self) -> bool:
        """Whether pictures have masks: evaluation then sees them whole, at the size that they have in the pack."""
        return self.whole.kind == "segmentation"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of what the network sees."""
        meta = self.whole
        if meta.pack == "array":
            assert meta.image_size is not None
            return (meta.channels, *meta.image_size)
        if self.input_size is None:
            raise ConfigurationError(
                "data.input_size is missing: the pictures of this set differ in size", do="data.input_size=224"
            )
        return (meta.channels, self.input_size, self.input_size)

    def dataset(self, split: str) -> BatchDataset:
        """A split, with augmentation if it is `train`.

        Raises:
            ConfigurationError: no such split.
        """
        if split not in SPLITS:
            raise ConfigurationError(
                f"there is no split {split!r}", nearest=nearest(split, SPLITS), do=f"one of {', '.join(SPLITS)}"
            )
        if split not in self._datasets:
            self._datasets[split] = self._open(split)
        return self._datasets[split]

    def _open(self, split: str) -> BatchDataset:
        whole = self.whole
        if Meta.load(self.folder).hash != whole.hash:
            raise DataError(
                f"{shown(self.folder)} was prepared anew while this run was using it", do="start the run again"
            )
        new_label = np.full(whole.num_classes + 1, -1, np.int64)  # the last is that of -1
        for label, name in enumerate(self.meta.classes):
            new_label[whole.classes.index(name)] = label
        pack, rows = self._cut(split)
        targets = new_label[pack.labels]
        rows = rows if self.labels_pixels else rows[targets[rows] >= 0]
        if split == "train" and self.samples_per_class is not None:
            rows = self._few(rows, targets, self.samples_per_class)
        if split == "train" and self.one_batch and self._batch_size != "all":
            rows = np.sort(rows[epoch_order(len(rows), self.seed, 0, shuffle=True)[: self.batch_size]])
        augmentation = None
        seen_whole = self.input_size if whole.pack == "array" and not self.labels_pixels else None  # in evaluation
        if split == "train" and self.augmentation is not None:
            augmentation = self.augmentation.with_colours(lambda: principal_colours(self.folder, whole))
            if seen_whole is not None:
                augmentation = augmentation.keeping_size(seen_whole)
        if augmentation is None and whole.pack == "encoded" and self.input_size is None and not self.labels_pixels:
            raise ConfigurationError(
                "data.input_size is missing: the pictures of this set differ in size", do="data.input_size=224"
            )
        mask_labels = None
        if self.labels_pixels and self.meta.classes != whole.classes:
            mask_labels = np.full(256, IGNORE, np.uint8)
            mask_labels[: whole.num_classes] = new_label[:-1]  # -1, of classes that are not chosen, becomes 255
        dataset = BatchDataset(
            pack, rows, targets[rows], self.preprocessing, augmentation, self.seed, self.labels_pixels, mask_labels
        )
        if augmentation is not None:
            _try(dataset, seen_whole)
        return dataset

    def _cut(self, split: str) -> tuple[Pack, np.ndarray]:
        """The pack in which a split lies, and its rows there."""
        if self.folds is not None and split in POOL:
            return self._folds.pack, self._folds.rows(split)
        pack = open_pack(self.folder, split)
        return pack, np.arange(len(pack))

    def _few(self, rows: np.ndarray, targets: np.ndarray, count: int) -> np.ndarray:
        if self.labels_pixels:
            raise ConfigurationError(
                f"data.samples_per_class={count} is not for pictures with masks: a picture shows several classes",
                do="data.samples_per_class=null",
            )
        # A sample is chosen by its own draw, so that asking for more keeps the ones already chosen.
        draws = uniform(keys(self.seed, 0, rows), stream=2**31 - 1)
        chosen = []
        for label in np.unique(targets[rows]):
            of_class = np.flatnonzero(targets[rows] == label)
            chosen.append(rows[of_class[np.argsort(draws[of_class], kind="stable")[:count]]])
        return np.sort(np.concatenate(chosen))

    def class_counts(self) -> list[int]:
        """Training samples of each class, as they are really used; with masks, pictures in which the class occurs."""
        if self.labels_pixels:
            return list(self.meta.counts["train"])
        return np.bincount(self.dataset("train").targets, minlength=self.meta.num_classes).tolist()

    def _parts(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _loader(self, split: str, train: bool, views: Views | None = None) -> ResumableLoader:
        dataset, (rank, world_size) = self.dataset(split).seen_in(views), self._parts()
        batch_size = self.batch_size if views is None else max(world_size, pictures_at_once(views, self.batch_size))
        if train:
            multiple = world_size * self.accumulate
            if self.batch_size % multiple:
                raise ConfigurationError(
                    f"data.batch_size={self.batch_size} is not valid",
                    nearest=f"data.batch_size={max(1, round(self.batch_size / multiple)) * multiple}",
                    do=f"a multiple of devices × trainer.accumulate_grad_batches = {multiple}",
                )
            if len(dataset) < self.batch_size:
                raise DataError(
                    f"{self.name} has {len(dataset)} training samples, fewer than a batch of {self.batch_size}",
                    do=f"data.batch_size={len(dataset)} or less",
                )
        elif not len(dataset):
            raise DataError(
                f"the {split} split of {self.name} is empty",
                do="prepare it with a larger data.prepare.val_fraction or test_fraction",
            )
        sampler = BatchSampler(
            len(dataset), batch_size, seed=self.seed, shuffle=train, drop_last=train, rank=rank,
            world_size=world_size, labels=self._balanced(dataset) if train else None,
            parts=self.accumulate if train else 1,
            kinds=None if train or dataset.is_even else _kinds(dataset.sizes),
        )  # fmt: skip
        workers = self._workers()
        return ResumableLoader(
            dataset,
            sampler,
            num_workers=workers,
            persistent_workers=workers > 0 and train,
            pin_memory=self.trainer is not None and "cuda" in str(self.trainer.strategy.root_device),
            prefetch_factor=4 if workers else None,
        )

    def _balanced(self, dataset: BatchDataset) -> np.ndarray | None:
        """The classes that are drawn equally often; None for samples that come once each."""
        if self.sampling == "balanced" and self.labels_pixels:
            raise ConfigurationError(
                "data.sampling=balanced is not for pictures with masks: a picture shows several classes",
                do="loss.class_weights=balanced weighs pixels by their class",
            )
        return dataset.targets if self.sampling == "balanced" else None

    def drawn_counts(self, epoch: int, requests: int) -> list[int]:
        """Samples of each class that the first so many requests of a training epoch hold, over all processes."""
        assert self._train_loader is not None
        sampler, dataset = self._train_loader.sampler, self.dataset("train")
        assert isinstance(sampler, BatchSampler)
        drawn = sampler.order(epoch)[: requests * (sampler.batch_size // sampler.parts)] % len(dataset)
        return np.bincount(dataset.targets[drawn], minlength=self.meta.num_classes).tolist()

    def _workers(self) -> int:
        if self.num_workers != "auto":
            return int(self.num_workers)
        if self.whole.pack == "array":
            return 0  # reading a whole batch costs less than sending it from another process
        return min(8, len(os.sched_getaffinity(0)) // self._parts()[1])

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled, augmented; the last incomplete batch of an epoch is left out."""
        self._train_loader = self._loader("train", train=True)
        if self._position is not None:
            self._train_loader.load_state_dict(self._position)
            self._position = None
        return self._train_loader

    def state_dict(self) -> dict[str, int]:
        """The position in the epoch, for a checkpoint."""
        if self._train_loader is None or self.trainer is None:
            return {}
        loop = self.trainer.fit_loop.epoch_loop
        # An epoch may end before its loader does: limit_train_batches, max_time.
        ended = loop._num_ready_batches_reached() or self.trainer.should_stop
        return {"batches": 0} if ended else self._train_loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Lets the next training epoch begin there."""
        self._position = state_dict or None

    def val_dataloader(self) -> ResumableLoader:
        """Every sample once, in order, over all processes."""
        return self._loader("val", train=False)

    def test_dataloader(self) -> ResumableLoader:
        """Every sample once, in order, over all processes."""
        return self._loader(self.test_split, train=False, views=self.test_views)

    def transfer_batch_to_device(self, batch: Batch | ViewBatch, device: Any, dataloader_idx: int) -> Batch | ViewBatch:
        """Moves pictures and labels; the indices stay, for messages and tables."""
        if device.type == "cpu":
            return batch
        if isinstance(batch, ViewBatch):
            groups, owners = (
                [tensor.to(device, non_blocking=True) for tensor in part] for part in (batch.images, batch.owners)
            )
            return ViewBatch(groups, owners, batch.targets.to(device, non_blocking=True), batch.indices)
        images, targets = (tensor.to(device, non_blocking=True) for tensor in batch[:2])
        return Batch(images, targets, batch.indices)


def _kinds(sizes: np.ndarray) -> np.ndarray:
    """A number for each height and width (N, 2), ascending with them."""
    return np.unique(sizes, axis=0, return_inverse=True)[1].reshape(-1)


def _try(dataset: BatchDataset, input_size: int | None) -> None:
    """Augments some pictures, so that an augmentation which does not fit them is refused now and not by a worker.

    Args:
        dataset: of training.
        input_size: where evaluation sees pictures whole, the side of squares that training alone would see.

    Raises:
        ConfigurationError: it is for pictures of other channels, or leaves them at different sizes, or at that one.
    """
    try:
        seen = dataset[0, np.linspace(0, len(dataset) - 1, min(_TRIED, len(dataset))).round().astype(np.int64)].images
    except ValueError as error:
        raise ConfigurationError(
            f"augmentation: {error}", do="choose another: python src/show_samples.py augmentation=… shows what it does"
        ) from error
    whole, size = dataset.preprocessing.shape, tuple(seen.shape[1:3])
    if input_size is not None and size == (input_size, input_size) != whole:
        raise ConfigurationError(
            f"data.input_size={input_size}: the augmentation makes training see {size[0]}×{size[1]} pixels, evaluation "
            f"sees these pictures whole, {whole and '×'.join(map(str, whole))}",
            do="data.input_size=null, or another augmentation",
        )
