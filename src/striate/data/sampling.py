"""Chance as a function: the order of samples and every random number of an augmentation.

Nothing here holds a state. The order of an epoch is a function of (seed, epoch); a random number of an augmentation is
a function of (seed, epoch, sample index, stream), where a stream is the number of a draw. Hence neither the number of
workers, nor that of processes, nor what ran before can change a batch, and a run that resumes in the middle of an epoch
continues exactly.

The random numbers are those of a counter-based generator: the finaliser of SplitMix64 (Steele, Lea & Flood, "Fast
splittable pseudorandom number generators", OOPSLA 2014, section 3 and figure 17; variant 13 of Stafford's mixers) over
a counter. One call serves a whole batch with a few array operations and no generator object per sample.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

Keys = NDArray[np.uint64]
Indices = NDArray[np.int64]

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio, odd: the increment of SplitMix64
WORD = (1 << 64) - 1


def mix(words: Keys) -> Keys:
    """The finaliser of SplitMix64: a bijection of 64-bit words; each bit of the input flips half of the output's."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _mix_word(word: int) -> int:
    """`mix` of one Python integer, without the price of an array."""
    word &= WORD
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & WORD
    return word ^ word >> 31


def hashed(*place: int) -> int:
    """One 64-bit number for a place given by integers in their order: a seed for what only takes seeds."""
    word = 0
    for value in place:
        word = _mix_word(word + value + GOLDEN)
    return word


def keys(seed: int, epoch: int, indices: ArrayLike) -> Keys:
    """One 64-bit key per sample, from which all its random numbers of this epoch follow.

    Within an epoch the map from index to key is one-to-one, so that no two samples share their numbers.

    Args:
        seed: of the run, 0 or more.
        epoch: 0 or more.
        indices: sample indices (B,), 0 or more. An index beyond the set's length is a repetition (see `epoch_order`).

    Returns:
        (B,) of dtype uint64.
    """
    _check_not_negative(seed=seed, epoch=epoch)
    base = _mix_word(_mix_word(seed + GOLDEN) + GOLDEN * (epoch + 1))
    counters = np.asarray(indices).astype(np.uint64, casting="unsafe") + np.uint64(1)
    return mix(counters * np.uint64(GOLDEN) + np.uint64(base))


def bits(keys: Keys, stream: int) -> Keys:
    """64 random bits per key; draws of different streams are independent. Also serves to derive keys from keys."""
    return mix(keys ^ np.uint64(_mix_word(GOLDEN * (stream + 1))))


def uniform(keys: Keys, stream: int, low: ArrayLike = 0.0, high: ArrayLike = 1.0) -> NDArray[np.float64]:
    """Uniform in [low, high) on a grid of 2^53 steps; bounds are numbers or arrays (B,)."""
    unit = (bits(keys, stream) >> np.uint64(11)) * 2.0**-53
    low = np.asarray(low, np.float64)
    return low + unit * (np.asarray(high, np.float64) - low)


def integers(keys: Keys, stream: int, low: ArrayLike, high: ArrayLike) -> Indices:
    """Uniform in low, …, high − 1; bounds are numbers or arrays (B,).

    The upper 32 bits times the span, without rejection: no value's probability is off by more than span/2^32 of itself.

    Raises:
        ValueError: an empty range, or a span above 2^32.
    """
    low, high = np.asarray(low, np.int64), np.asarray(high, np.int64)
    span = high - low
    if (span < 1).any() or (span > 1 << 32).any():
        raise ValueError(f"expected 1 to 2^32 values from low to high - 1, got low {low}, high {high}")
    return low + ((((bits(keys, stream) >> np.uint64(32)) * span.astype(np.uint64)) >> np.uint64(32)).astype(np.int64))


def normal(keys: Keys, stream: int, mean: float = 0.0, std: float = 1.0) -> NDArray[np.float64]:
    """Normally distributed, by the transform of Box and Muller (1958); |value - mean| stays below 8.6 std."""
    own = bits(keys, stream)  # two further draws, which must not be those of the neighbouring streams
    radius = np.sqrt(-2.0 * np.log1p(-uniform(own, 0)))
    return mean + std * radius * np.cos(2.0 * np.pi * uniform(own, 1))


def epoch_order(length: int, seed: int, epoch: int, shuffle: bool, labels: ArrayLike | None = None) -> Indices:
    """The order in which an epoch visits the samples: a pure function of its arguments.

    Args:
        length: number of samples, of which as many are drawn.
        seed: of the run, 0 or more.
        epoch: 0 or more.
        shuffle: a permutation by NumPy's default generator seeded with (seed, epoch); False gives 0, …, length − 1.
        labels: (length,) the class of each sample: all classes are then drawn equally often, to one draw. This is
            class-balanced sampling (Kang et al. 2020, arXiv:1910.09217, section 3, q = 0, on average; here exactly). A
            class goes round: none of its samples comes again before all others of the class have come. Needs `shuffle`.

    Returns:
        (length,) int64. With labels a sample may come several times, in round k (from 0) under the index
        `sample + k * length`: the sample is `index % length`, and `keys` of the index differ, so that the repetitions
        of a rare picture are augmented differently.
    """
    _check_not_negative(length=length, seed=seed, epoch=epoch)
    if labels is not None and not shuffle:
        raise ValueError("balanced classes are drawn at random: expected shuffle=True with labels")
    if not shuffle:
        return np.arange(length, dtype=np.int64)
    generator = np.random.default_rng([seed, epoch])
    if labels is None:
        return generator.permutation(length)
    labels = np.asarray(labels, np.int64)
    if labels.shape != (length,):
        raise ValueError(f"expected {length} labels, got shape {labels.shape}")
    return _balanced(labels, generator)


def _balanced(labels: Indices, generator: np.random.Generator) -> Indices:
    """As many draws as labels, of every class that occurs equally many, or one more; see `epoch_order`."""
    length, by_class = len(labels), np.argsort(labels, kind="stable")
    if not length:
        return by_class
    classes = np.split(by_class, np.flatnonzero(np.diff(labels[by_class])) + 1)
    one_more = generator.permutation(len(classes)) < length % len(classes)  # other classes in other epochs
    drawn = []
    for members, more in zip(classes, one_more.tolist(), strict=True):
        wanted = length // len(classes) + more
        rounds = range(-(-wanted // len(members)))
        drawn.append(np.concatenate([generator.permutation(members) + length * number for number in rounds])[:wanted])
    return generator.permutation(np.concatenate(drawn))


class BatchSampler(Sampler[tuple[int, Indices]]):
    """Whole batches as (epoch, indices), of which each process takes its part.

    The global batches are consecutive stretches of `epoch_order`, hence the same for any number of processes; rank r
    takes the positions r, r + world_size, … of each. Every rank yields equally many batches, so that processes which
    synchronise once a batch stay in step. Nothing is padded and no sample comes twice: in the last batch the parts may
    differ by one sample and, where it has fewer samples than there are processes, some are empty. An evaluation must
    therefore skip the network on an empty part and reduce sums, not means. A training which averages gradients over
    the processes equals that of one process where `batch_size` is a multiple of `world_size` and `drop_last` is True.

    For a `DataLoader` with `batch_size=None`, whose data set is asked for one (epoch, indices) at a time.

    Args:
        length: number of samples.
        batch_size: of the global batch, over all processes.
        seed: of the run.
        shuffle: another order each epoch.
        drop_last: leave out the last batch where it is not full.
        rank: of this process.
        world_size: number of processes.
        labels: (length,) classes that are drawn equally often, see `epoch_order`, also for what an index of `length`
            or more means.
        parts: a global batch comes in so many requests, one after another, whose gradients are accumulated; a number
            above 1 needs `drop_last`, so that every batch has all its parts, and must divide `batch_size`.
        kinds: (length,) whole numbers: no batch holds samples of two kinds. The order is then that of the kinds, and
            within a kind that of the samples; not with `shuffle`, `drop_last` or `labels`.

    Attributes:
        epoch: of the next iteration; set by `set_epoch`, which Lightning calls.
        start_batch: batches that the next iteration skips, and that one only: for resuming in the middle of an epoch.
            `len` remains that of the whole epoch, since Lightning compares it with the number of the batch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        labels: ArrayLike | None = None,
        parts: int = 1,
        kinds: ArrayLike | None = None,
    ):
        _check_not_negative(length=length, seed=seed)
        if parts < 1 or batch_size % parts or (parts > 1 and not drop_last):
            raise ValueError(f"expected full batches of {batch_size} samples in equal parts, got {parts} parts")
        if not 0 <= rank < world_size:
            raise ValueError(f"expected a rank in 0 … {world_size - 1}, got {rank}")
        if batch_size < world_size:
            raise ValueError(
                f"expected a global batch of at least one sample per process ({world_size}), got {batch_size}"
            )
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.shuffle, self.drop_last = shuffle, drop_last
        self.rank, self.world_size, self.parts = rank, world_size, parts
        self.labels = None if labels is None else np.asarray(labels, np.int64)
        if kinds is not None and (shuffle or drop_last or labels is not None or np.shape(kinds) != (length,)):
            raise ValueError(f"kinds need samples in order, all of them: expected one for each of {length} and no more")
        self._kinds = None if kinds is None else np.asarray(kinds, np.int64)
        self.epoch = 0
        self.start_batch = 0

    def set_epoch(self, epoch: int) -> None:
        _check_not_negative(epoch=epoch)
        self.epoch = epoch

    def order(self, epoch: int) -> Indices:
        """(length,) the indices of a whole epoch in the order of the global batches, before any is left out."""
        return epoch_order(self.length, self.seed, epoch, self.shuffle, self.labels)

    def __len__(self) -> int:
        """Requests in a whole epoch, the same on every rank: batches times parts."""
        if self._kinds is not None:
            return len(self._of_one_kind(self._kinds))
        batches = self.length // self.batch_size if self.drop_last else -(-self.length // self.batch_size)
        return batches * self.parts

    def _of_one_kind(self, kinds: Indices) -> list[Indices]:
        """Global batches whose samples are of one kind."""
        order = np.argsort(kinds, kind="stable")
        runs = np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1) if len(order) else []
        return [run[start : start + self.batch_size] for run in runs for start in range(0, len(run), self.batch_size)]

    def __iter__(self) -> Iterator[tuple[int, Indices]]:
        # A generator: PyTorch's loader with worker processes asks for an iterator twice and draws from the second
        # alone, so the start must be used up by the first draw and not by the asking.
        start, self.start_batch = self.start_batch, 0
        if not 0 <= start <= len(self):
            raise ValueError(f"expected to start at one of the {len(self)} batches, got {start}")
        epoch = self.epoch
        if self._kinds is not None:
            yield from (
                (epoch, batch[self.rank :: self.world_size]) for batch in self._of_one_kind(self._kinds)[start:]
            )
            return
        order = self.order(epoch)
        size = self.batch_size // self.parts
        for request in range(start, len(self)):
            part = order[request * size : (request + 1) * size]
            yield epoch, part[self.rank :: self.world_size]


def _check_not_negative(**values: int) -> None:
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"expected {name} to be 0 or more, got {value}")
