"""The laws of chance: pure functions of (seed, epoch, index), for any number of workers and processes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from striate.data.sampling import (
    GOLDEN,
    BatchSampler,
    bits,
    epoch_order,
    integers,
    keys,
    mix,
    normal,
    uniform,
)

MANY = 100_000


def chi_square(values: np.ndarray, bins: int) -> float:
    """Standardised: about normal with mean 0 and deviation 1 where all bins are equally likely."""
    counts = np.bincount(values, minlength=bins)
    assert len(counts) == bins
    expected = len(values) / bins
    statistic = ((counts - expected) ** 2 / expected).sum()
    return (statistic - (bins - 1)) / np.sqrt(2 * (bins - 1))


def test_mix_gives_the_published_stream_of_splitmix64():
    # The first outputs for the seed 1234567, as public implementations in C, Java and Rust give them.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    states = [(1234567 + GOLDEN * count) % 2**64 for count in range(1, 6)]
    assert mix(np.array(states, np.uint64)).tolist() == published


def in_integers(seed: int, epoch: int, index: int) -> int:
    """`keys` once more, in Python's integers."""

    def finalise(word: int) -> int:
        word %= 2**64
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        return word ^ word >> 31

    base = finalise(finalise(seed + GOLDEN) + GOLDEN * (epoch + 1))
    return finalise(base + GOLDEN * (index + 1))


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**31), st.lists(st.integers(0, 2**62), min_size=1, max_size=5))
def test_keys_equal_the_formula(seed, epoch, indices):
    assert keys(seed, epoch, indices).tolist() == [in_integers(seed, epoch, index) for index in indices]


def test_keys_never_change_between_releases():
    assert keys(0, 0, [0, 1]).tolist() == [2558736989570252433, 17913671590881668180]
    assert keys(7, 3, [41]).tolist() == [14493520397872867393]


def test_keys_tell_samples_epochs_and_seeds_apart():
    drawn = [keys(seed, epoch, np.arange(10_000)) for seed in range(3) for epoch in range(3)]
    assert len(np.unique(np.concatenate(drawn))) == 9 * 10_000


def test_keys_refuse_negative_seed_and_epoch():
    with pytest.raises(ValueError, match="expected seed to be 0 or more, got -1"):
        keys(-1, 0, [0])
    with pytest.raises(ValueError, match="expected epoch to be 0 or more, got -1"):
        keys(0, -1, [0])


def test_uniform_is_uniform_and_independent_of_its_neighbours():
    here = uniform(keys(0, 0, np.arange(MANY)), 0)
    assert here.min() >= 0.0
    assert here.max() < 1.0
    assert abs(chi_square((here * 256).astype(int), 256)) < 4
    others = {
        "next sample": uniform(keys(0, 0, np.arange(1, MANY + 1)), 0),
        "next epoch": uniform(keys(0, 1, np.arange(MANY)), 0),
        "next seed": uniform(keys(1, 0, np.arange(MANY)), 0),
        "next stream": uniform(keys(0, 0, np.arange(MANY)), 1),
        "derived keys": uniform(bits(keys(0, 0, np.arange(MANY)), 0), 0),
    }
    for name, there in others.items():
        assert abs(np.corrcoef(here, there)[0, 1]) < 4 / np.sqrt(MANY), name
        joint = (here * 16).astype(int) * 16 + (there * 16).astype(int)
        assert abs(chi_square(joint, 256)) < 4, name


def test_every_bit_of_a_draw_is_fair():
    words = bits(keys(3, 2, np.arange(MANY)), 5)
    for bit in range(64):
        ones = int(((words >> np.uint64(bit)) & np.uint64(1)).sum())
        assert abs(ones - MANY / 2) < 4.5 * np.sqrt(MANY) / 2, bit


def test_uniform_keeps_bounds_for_each_sample():
    low, high = np.arange(1000.0), np.arange(1000.0) + 0.5
    drawn = uniform(keys(0, 0, np.arange(1000)), 0, low, high)
    assert ((drawn >= low) & (drawn < high)).all()


def test_integers_are_uniform_over_the_range():
    drawn = integers(keys(0, 0, np.arange(MANY)), 0, -4, 5)
    assert drawn.dtype == np.int64
    assert abs(chi_square(drawn + 4, 9)) < 4
    high = np.arange(1, 1001)
    drawn = integers(keys(0, 0, np.arange(1000)), 1, 0, high)
    assert ((drawn >= 0) & (drawn < high)).all()


@pytest.mark.parametrize(("low", "high"), [(3, 3), (3, 2), (0, 2**32 + 1)])
def test_integers_refuse_a_range_they_cannot_serve(low, high):
    with pytest.raises(ValueError, match="expected 1 to 2"):
        integers(keys(0, 0, [0]), 0, low, high)


def test_normal_has_the_moments_of_the_normal_distribution():
    drawn = normal(keys(0, 0, np.arange(MANY)), 0)
    assert abs(drawn.mean()) < 4 / np.sqrt(MANY)
    assert abs(drawn.std() - 1) < 4 / np.sqrt(2 * MANY)
    assert abs((drawn**3).mean()) < 4 * np.sqrt(15 / MANY)
    assert abs((drawn**4).mean() - 3) < 4 * np.sqrt(96 / MANY)
    assert np.isfinite(drawn).all()
    assert normal(keys(0, 0, [5]), 0, mean=2.0, std=3.0)[0] == pytest.approx(2.0 + 3.0 * drawn[5])


def test_epoch_order_is_a_pure_function_and_a_permutation():
    first = epoch_order(1000, seed=5, epoch=2, shuffle=True)
    np.random.default_rng(0).random(10)
    assert (epoch_order(1000, seed=5, epoch=2, shuffle=True) == first).all()
    assert (np.sort(first) == np.arange(1000)).all()
    assert (first != epoch_order(1000, seed=5, epoch=3, shuffle=True)).any()
    assert (first != epoch_order(1000, seed=6, epoch=2, shuffle=True)).any()
    assert (epoch_order(1000, seed=5, epoch=2, shuffle=False) == np.arange(1000)).all()


def test_each_sample_comes_to_each_place_equally_often():
    places = np.array([np.flatnonzero(epoch_order(20, 0, epoch, True) == 3)[0] for epoch in range(4000)])
    assert abs(chi_square(places, 20)) < 4


@st.composite
def classes_of_samples(draw):
    """Labels of a set whose classes differ in size, in any order; a number may stand for no class."""
    sizes = draw(st.lists(st.integers(0, 60), min_size=1, max_size=7).filter(any))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(draw(st.integers(0, 9))).permutation(labels)


@settings(deadline=None)
@given(classes_of_samples(), st.integers(0, 5), st.integers(0, 3))
def test_balanced_draws_are_equal_in_number_and_go_round(labels, seed, epoch):
    length = len(labels)
    order = epoch_order(length, seed, epoch, True, labels)
    assert (order == epoch_order(length, seed, epoch, True, labels)).all()
    assert len(order) == len(np.unique(order)) == length  # no two draws of a sample share their random numbers
    samples, rounds = order % length, order // length
    drawn = np.bincount(labels[samples], minlength=labels.max() + 1)[np.bincount(labels) > 0]
    assert drawn.max() - drawn.min() <= 1
    for label in np.unique(labels):
        times = np.bincount(samples[labels[samples] == label], minlength=length)[labels == label]
        assert times.max() - times.min() <= 1  # none comes again before all others have come
        for sample in np.unique(samples[labels[samples] == label])[:5]:
            assert sorted(rounds[samples == sample]) == list(range((samples == sample).sum()))


def test_balanced_draws_are_random_over_epochs():
    labels = np.repeat([0, 1], [18, 4])
    orders = [epoch_order(22, 0, epoch, True, labels) for epoch in range(3000)]
    times = np.bincount(np.concatenate(orders) % 22, minlength=22)
    expected = np.repeat([11 * 3000 / 18, 11 * 3000 / 4], [18, 4])
    assert (np.abs(times - expected) < 5 * np.sqrt(3000 / 4)).all()  # of each class every sample equally often
    first = np.array([labels[order[0] % 22] for order in orders])
    assert abs(first.mean() - 0.5) < 4 * 0.5 / np.sqrt(3000)


def test_balanced_draws_never_change_between_releases():
    assert epoch_order(8, 3, 1, True, [0, 0, 0, 0, 0, 0, 1, 2]).tolist() == [15, 14, 5, 6, 22, 7, 1, 2]


def test_labels_of_another_length_or_without_shuffle_are_refused():
    with pytest.raises(ValueError, match="expected 10 labels"):
        epoch_order(10, 0, 0, True, labels=np.zeros(9))
    with pytest.raises(ValueError, match="shuffle=True"):
        epoch_order(10, 0, 0, False, labels=np.zeros(10))


settings_of_a_sampler = st.tuples(
    st.integers(0, 100),  # length
    st.integers(4, 40),  # batch size, at least the largest world
    st.integers(0, 5),  # seed
    st.booleans(),  # shuffle
    st.booleans(),  # drop_last
)


@settings(deadline=None)
@given(settings_of_a_sampler, st.sampled_from([1, 2, 3, 4]), st.integers(0, 3))
def test_processes_share_the_batches_of_one(arguments, world_size, epoch):
    length, batch_size, _, _, drop_last = arguments
    alone = BatchSampler(*arguments)
    alone.set_epoch(epoch)
    wholes = list(alone)
    assert len(wholes) == len(alone)
    parts = []
    for rank in range(world_size):
        sampler = BatchSampler(*arguments, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler) == len(wholes)  # all stay in step
    for whole, *of_ranks in zip(wholes, *parts, strict=True):
        assert {number for number, _ in (whole, *of_ranks)} == {epoch}
        put_together = np.empty_like(whole[1])
        for rank, (_, part) in enumerate(of_ranks):
            put_together[rank::world_size] = part
        assert (put_together == whole[1]).all()
        sizes = [len(part) for _, part in of_ranks]
        assert max(sizes) - min(sizes) <= 1
    seen = np.sort(np.concatenate([indices for _, indices in wholes] or [np.empty(0, np.int64)]))
    if drop_last:
        assert len(seen) == length // batch_size * batch_size
        assert len(np.unique(seen)) == len(seen)
    else:
        assert (seen == np.arange(length)).all()


@settings(deadline=None)
@given(settings_of_a_sampler, st.data())
def test_start_batch_skips_exactly_so_many_once(arguments, data):
    sampler = BatchSampler(*arguments)
    whole = [indices.tolist() for _, indices in sampler]
    start = data.draw(st.integers(0, len(sampler)))
    sampler.start_batch = start
    assert len(sampler) == len(whole)  # that of the epoch, which Lightning compares with the batch's number
    assert [indices.tolist() for _, indices in sampler] == whole[start:]
    assert [indices.tolist() for _, indices in sampler] == whole


def test_the_start_is_used_up_by_drawing_not_by_asking():
    sampler = BatchSampler(12, 4, shuffle=True)
    sampler.start_batch = 1
    iter(sampler)  # PyTorch's loader with workers asks twice
    assert len(list(sampler)) == 2
    assert len(list(sampler)) == 3
    assert [epoch for epoch, _ in sampler] == [0, 0, 0]
    sampler.set_epoch(7)
    assert [epoch for epoch, _ in sampler] == [7, 7, 7]


@settings(deadline=None)
@given(classes_of_samples(), st.sampled_from([1, 2, 3, 4]), st.sampled_from([1, 2]), st.integers(0, 3), st.data())
def test_balanced_batches_are_the_same_for_any_number_of_processes_and_from_any_start(
    labels, world, parts, epoch, data
):
    options = {"length": len(labels), "batch_size": 2 * world, "shuffle": True, "drop_last": True, "labels": labels}
    alone = BatchSampler(**options)
    alone.set_epoch(epoch)
    whole = [indices for _, indices in alone]
    start = data.draw(st.integers(0, len(alone) * parts))
    shares = []
    for rank in range(world):
        sampler = BatchSampler(**options, rank=rank, world_size=world, parts=parts)
        sampler.set_epoch(epoch)
        sampler.start_batch = start
        shares.append([indices for _, indices in sampler])
    together = [np.stack(of_ranks, 1).ravel() for of_ranks in zip(*shares, strict=True)]
    assert np.array_equal(np.concatenate([*together, []]), np.concatenate([*whole, []])[start * 2 * world // parts :])


def test_samplers_refuse_what_has_no_meaning():
    with pytest.raises(ValueError, match="at least one sample per process"):
        BatchSampler(10, 1, world_size=2)
    with pytest.raises(ValueError, match="expected a rank in 0 … 1, got 2"):
        BatchSampler(10, 4, rank=2, world_size=2)
    sampler = BatchSampler(10, 4)
    sampler.start_batch = 4
    with pytest.raises(ValueError, match="one of the 3 batches, got 4"):
        next(iter(sampler))


class Echo(Dataset):
    """Gives back what it is asked for, with the keys that it means."""

    def __getitem__(self, request):
        epoch, indices = request
        return epoch, indices, keys(0, epoch, indices)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has cores
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(workers):
    def read(count: int) -> list:
        sampler = BatchSampler(50, 8, shuffle=True)
        loader = DataLoader(Echo(), batch_size=None, sampler=sampler, num_workers=count, persistent_workers=count > 0)
        batches = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            batches += [(number, indices.tolist(), own.tolist()) for number, indices, own in loader]
        return batches

    assert read(workers) == read(0)
