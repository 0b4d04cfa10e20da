"""From a pack to batches: one read a batch, chance from keys, and a loader that goes on in the middle of an epoch."""

import atexit
import copy
import signal
import time
import weakref
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from striate.allocation import keep_freed_memory
from striate.data.augmentation import Augmentation, as_batch, as_masks
from striate.data.multiview import Views, grouped
from striate.data.pack import ArrayPack, Pack
from striate.data.preprocessing import Preprocessing
from striate.data.sampling import BatchSampler, keys

BULK_BYTES = 1 << 20  # half the cache of a core


class Batch(NamedTuple):
    """What a task receives.

    `images` is (N, H, W, C) uint8, `targets` (N,) int64, `indices` (N,) int64: the samples' places in the split. Where
    every pixel has a label, `targets` is (N, H, W) uint8 of class numbers, 255 for pixels that do not count.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor


class ViewBatch(NamedTuple):
    """What a task receives where pictures are seen in several views.

    `images` are (n, H, W, C) uint8, one tensor for each size of view, `owners` (n,) int64 say of which of the N samples
    each view is; `targets` and `indices` as in `Batch`.
    """

    images: Sequence[Tensor]
    owners: Sequence[Tensor]
    targets: Tensor
    indices: Tensor


class BatchDataset(Dataset[Batch]):
    """A split of a pack, read in whole batches by the requests `(epoch, indices)` of a `BatchSampler`.

    Args:
        pack: the split.
        rows: the rows of the pack that take part; sample i of this data set is row `rows[i]`.
        targets: (len(rows),) labels, already numbered as the network numbers its classes.
        preprocessing: what evaluation sees of a picture.
        augmentation: what training sees instead, or None.
        seed: with epoch and index, the only source of chance.
        labels_pixels: pictures come with masks; they are seen whole unless they are augmented.
        new_label: (256,) uint8: what each value of a mask becomes; None: it stays.
    """

    def __init__(
        self,
        pack: Pack,
        rows: np.ndarray,
        targets: np.ndarray,
        preprocessing: Preprocessing,
        augmentation: Augmentation | None,
        seed: int,
        labels_pixels: bool = False,
        new_label: np.ndarray | None = None,
    ):
        self.pack, self.rows, self.targets = pack, rows, targets
        self.preprocessing, self.augmentation, self.seed = preprocessing, augmentation, seed
        self.labels_pixels, self.new_label = labels_pixels, new_label
        self.views: Views | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        """The name of each sample: the path of its raw picture."""
        return [self.pack.names[row] for row in self.rows]

    @property
    def sizes(self) -> np.ndarray:
        """(len(self), 2): height and width of each picture in the pack."""
        return self.pack.sizes()[self.rows]

    @property
    def is_even(self) -> bool:
        """Whether all batches hold pictures of one size."""
        return not self.labels_pixels or self.augmentation is not None or isinstance(self.pack, ArrayPack)

    def seen_in(self, views: Views | None) -> "BatchDataset":
        """The same pictures in several views, as `ViewBatch`; None for the single view, as they are."""
        if views is None:
            return self
        other = copy.copy(self)
        other.views = views
        return other

    def __getitem__(self, request: tuple[int, np.ndarray]) -> Any:
        epoch, indices = request
        if self.labels_pixels:
            return self._with_masks(epoch, indices)
        rounds, indices = np.divmod(indices, max(len(self), 1))  # an index from len(self) on is a repetition
        rows = self.rows[indices]
        pictures = self.pack.read(rows)
        if self.views is not None:
            images, owners = grouped([self.views(picture, self.preprocessing) for picture in pictures])
            targets = torch.from_numpy(self.targets[indices])
            return ViewBatch(images, owners, targets, torch.from_numpy(np.asarray(indices, np.int64)))
        if self.augmentation is not None and len(indices):
            # The key is that of the pack's row: a sample looks the same whichever subset it is drawn in.
            pictures = self.augmentation(pictures, keys(self.seed, epoch, rows + len(self.pack) * rounds))
        elif isinstance(pictures, list):
            size = self.preprocessing.input_size or 0
            views = [self.preprocessing.view(picture) for picture in pictures]
            pictures = np.stack(views) if views else np.empty((0, size, size, self.preprocessing.channels), np.uint8)
        return Batch(
            torch.from_numpy(np.ascontiguousarray(pictures)),
            torch.from_numpy(self.targets[indices]),
            torch.from_numpy(np.asarray(indices, np.int64)),
        )

    def _with_masks(self, epoch: int, indices: np.ndarray) -> Batch:
        rows = self.rows[indices]
        pictures, masks = self.pack.read(rows), self.pack.masks(rows)
        if self.augmentation is not None and len(indices):
            pictures, masks = self.augmentation.pair(pictures, masks, keys(self.seed, epoch, rows))
        return Batch(
            torch.from_numpy(np.ascontiguousarray(as_batch(pictures))),
            torch.from_numpy(np.ascontiguousarray(self._renumbered(as_masks(masks)))),
            torch.from_numpy(np.asarray(indices, np.int64)),
        )

    def _renumbered(self, masks: np.ndarray) -> np.ndarray:
        if self.new_label is None or not masks.size:
            return masks
        return cv2.LUT(masks.reshape(len(masks), -1), self.new_label).reshape(masks.shape)


class ResumableLoader(DataLoader[Batch]):
    """A loader that knows how many batches of the epoch it has handed out, and can begin an epoch in its middle.

    The data module saves and restores the position: Lightning's own way restores it only if nobody has asked for the
    number of steps before, and schedules ask. It still speaks Lightning's protocol of a loader that can be resumed.

    Attributes:
        waited: seconds of the running epoch in which the batch that was asked for was not there yet.
    """

    def __init__(self, dataset: BatchDataset, sampler: BatchSampler, **options: Any):
        self._handed_out, self.waited = 0, 0.0
        initialise = _begin_work if options.get("num_workers") else None
        super().__init__(dataset, batch_size=None, sampler=sampler, worker_init_fn=initialise, **options)

    def _get_iterator(self) -> Any:
        iterator = super()._get_iterator()
        if self.num_workers:
            _AT_WORK.add(iterator)
        return iterator

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self._handed_out = self.sampler.start_batch  # type: ignore[attr-defined]
        dataset: BatchDataset = self.dataset  # type: ignore[assignment]
        direct = self.num_workers == 0 and not self.pin_memory and dataset.views is None and dataset.is_even
        self.waited, asked = 0.0, time.perf_counter()
        for batch in self._in_bulk() if direct else super().__iter__():
            self._handed_out += 1
            self.waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()

    def _in_bulk(self) -> Iterator[Batch]:
        """Several batches at a time, where they are so small that the calls cost more than the work."""
        requests, at_once = iter(self.sampler), 1  # the first batch tells how large they are
        while group := list(islice(requests, at_once)):
            if len(group) == 1:
                batch = self.dataset[group[0]]
                at_once = min(max(BULK_BYTES // max(batch.images.nbytes, 1), 1), 64)
                yield batch
                continue
            epochs, indices = zip(*group, strict=True)
            bulk = self.dataset[epochs[0], np.concatenate(indices)]
            lengths = [len(part) for part in indices]
            yield from map(Batch, *(tensor.split(lengths) for tensor in bulk))

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, int]:
        """How far the epoch has come; Lightning never exhausts an iterator, hence the modulo."""
        return {"batches": self._handed_out % max(len(self), 1)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Lets the next epoch begin where the saved one stood; used up once."""
        self.sampler.start_batch = state["batches"]  # type: ignore[attr-defined]


_AT_WORK: weakref.WeakSet[Any] = weakref.WeakSet()


@atexit.register
def _end_workers() -> None:
    # By SIGTERM, as multiprocessing ends what is left when the interpreter leaves, they would not go.
    for iterator in list(_AT_WORK):
        iterator._shutdown_workers()


def _begin_work(worker: int) -> None:
    keep_freed_memory()
    # A stop that is sent to the whole group is answered by the training process, which still needs its batches.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
