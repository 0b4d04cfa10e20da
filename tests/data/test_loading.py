"""Small batches are read several at once: the same batches, wherever an epoch begins."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from striate.data import loading
from striate.data.augmentation import HorizontalFlip, PadAndCrop, Pipeline
from striate.data.loading import BatchDataset, ResumableLoader
from striate.data.preprocessing import Preprocessing
from striate.data.sampling import BatchSampler


class Pictures:
    """What a loader asks of a pack, with noise in memory."""

    def __init__(self, count, size):
        self.images = np.random.default_rng(0).integers(0, 256, (count, size, size, 1), dtype=np.uint8)
        self.reads = 0

    def __len__(self):
        return len(self.images)

    def read(self, rows):
        self.reads += 1
        return self.images[rows]


@pytest.fixture
def dataset():
    count = 203
    augmentation = Pipeline([PadAndCrop(2), HorizontalFlip()])
    preprocessing = Preprocessing(1, (0.5,), (0.3,))
    return BatchDataset(Pictures(count, 12), np.arange(count), np.arange(count) % 10, preprocessing, augmentation, 3)


@pytest.mark.parametrize("bulk", [1, 3000, 1 << 20])
@pytest.mark.parametrize("start", [0, 1, 7])
@pytest.mark.parametrize("options", [{"drop_last": True, "shuffle": True}, {}, {"rank": 1, "world_size": 2}])
def test_batches_are_those_read_one_by_one(dataset, monkeypatch, bulk, start, options):
    monkeypatch.setattr(loading, "BULK_BYTES", bulk)
    sampler = BatchSampler(len(dataset), 10, seed=5, **options)
    sampler.set_epoch(2)
    expected = [dataset[request] for request in sampler][start:]
    dataset.pack.reads = 0
    loader = ResumableLoader(dataset, sampler)
    loader.load_state_dict({"batches": start})
    batches = list(loader)
    assert len(batches) == len(expected)
    for batch, one in zip(batches, expected, strict=True):
        assert all(torch.equal(own, other) for own, other in zip(batch, one, strict=True))
    if bulk == 1 << 20:
        assert dataset.pack.reads == 2  # the first batch, then all the others


def test_the_position_counts_batches_handed_out_not_read(dataset):
    loader = ResumableLoader(dataset, BatchSampler(len(dataset), 10, shuffle=True))
    batches = iter(loader)
    for handed_out in range(1, 6):
        next(batches)
        assert loader.state_dict() == {"batches": handed_out}


def test_a_share_without_samples_is_an_empty_batch(dataset):
    dataset.rows, dataset.targets = dataset.rows[:1], dataset.targets[:1]
    batches = list(ResumableLoader(dataset, BatchSampler(1, 2, rank=1, world_size=2)))
    assert [len(batch.images) for batch in batches] == [0]


ENDS = """
import builtins, numpy as np
from striate.data.loading import BatchDataset, ResumableLoader
from striate.data.preprocessing import Preprocessing
from striate.data.sampling import BatchSampler
class Pictures:
    def __len__(self):
        return 40
    def read(self, rows):
        return np.zeros((len(rows), 4, 4, 1), np.uint8)
dataset = BatchDataset(Pictures(), np.arange(40), np.zeros(40, np.int64), Preprocessing(1, (0.5,), (0.3,)), None, 0)
batches = iter(ResumableLoader(dataset, BatchSampler(40, 4, shuffle=True), num_workers=1, persistent_workers=True))
next(batches)
builtins.kept = batches  # still there when the interpreter leaves
"""


def test_a_process_that_leaves_in_the_middle_of_an_epoch_takes_its_workers_with_it():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", ENDS], check=True, env=environment, timeout=120)
