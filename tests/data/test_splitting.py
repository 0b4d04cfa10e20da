"""Laws of the cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data.splitting import TEST, TRAIN, VAL, cut_splits, deal_folds
from striate.errors import DataError


@st.composite
def sets(draw, equals=False):
    """Labels, groups, names and fractions of a set that is large enough to be cut."""
    sizes = draw(st.lists(st.integers(3, 40), min_size=1, max_size=6))
    labels, groups, place = [], [], 0
    for label, size in enumerate(sizes):
        for _ in range(size):
            count = draw(st.integers(1, 3)) if equals else 1
            labels += [label] * count
            groups += [place] * count
            place += count
    fractions = {
        split: draw(st.sampled_from([0.05, 0.1, 0.2, 0.3]))
        for split in draw(st.sampled_from([(VAL,), (TEST,), (VAL, TEST)]))
    }
    names = [f"{label}/{i:04d}" for i, label in enumerate(labels)]
    return np.array(labels), np.array(groups), names, [str(i) for i in range(len(sizes))], fractions


@settings(max_examples=80, deadline=None)
@given(sets(), st.integers(0, 2**40))
def test_counts_are_stratified_within_one(content, seed):
    labels, groups, names, classes, fractions = content
    splits = cut_splits(labels, groups, names, classes, fractions, seed)
    assert set(np.unique(splits)) == {TRAIN, *fractions}  # disjoint and complete: one split for each
    for label in range(len(classes)):
        counts = np.bincount(splits[labels == label], minlength=3)
        assert counts[TRAIN] >= 1
        for split, share in fractions.items():
            assert counts[split] >= 1
            # The last to be served leaves one for training.
            assert abs(counts[split] - share * counts.sum()) <= 1 or counts[TRAIN] == 1


@settings(max_examples=80, deadline=None)
@given(sets(equals=True), st.integers(0, 99))
def test_equal_pictures_stay_together(content, seed):
    labels, groups, names, classes, fractions = content
    splits = cut_splits(labels, groups, names, classes, fractions, seed)
    for group in np.unique(groups):
        assert len(set(splits[groups == group])) == 1
    for label in range(len(classes)):
        of_class = labels == label
        largest = np.bincount(groups[of_class]).max()
        counts = np.bincount(splits[of_class], minlength=3)
        assert (counts[[TRAIN, *fractions]] >= 1).all()
        for split, share in fractions.items():
            dealt = len(np.unique(groups[of_class & (splits == split)]))
            bound = largest if dealt == 1 else largest / 2 + 0.5  # one group at least, however large
            assert abs(counts[split] - share * counts.sum()) <= bound or counts[TRAIN] <= largest


@settings(max_examples=50, deadline=None)
@given(sets(equals=True), st.integers(0, 99), st.randoms(use_true_random=False))
def test_the_cut_is_a_function_of_seed_and_names_alone(content, seed, random):
    labels, groups, names, classes, fractions = content
    splits = cut_splits(labels, groups, names, classes, fractions, seed)
    order = list(range(len(names)))
    random.shuffle(order)
    shuffled_names = [names[place] for place in order]
    # A group is called after its first member by name, which now lies elsewhere.
    first = {group: min(np.flatnonzero(groups == group), key=lambda place: names[place]) for group in np.unique(groups)}
    new_groups = np.array([order.index(first[groups[place]]) for place in order])
    again = cut_splits(labels[order], new_groups, shuffled_names, classes, fractions, seed)
    assert np.array_equal(again, splits[order])


def test_seeds_differ_and_names_matter():
    labels, names = np.zeros(100, np.int64), [f"{i}" for i in range(100)]
    cuts = {tuple(cut_splits(labels, np.arange(100), names, ["a"], {VAL: 0.2}, seed)) for seed in range(5)}
    assert len(cuts) == 5


def test_a_new_picture_moves_few_others():
    names = [f"{i:03d}" for i in range(200)]
    before = cut_splits(np.zeros(200, np.int64), np.arange(200), names, ["a"], {VAL: 0.1, TEST: 0.2}, 0)
    after = cut_splits(np.zeros(201, np.int64), np.arange(201), [*names, "new"], ["a"], {VAL: 0.1, TEST: 0.2}, 0)
    assert (before != after[:200]).sum() <= 3


@pytest.mark.parametrize(
    ("count", "groups", "fractions", "message"),
    [
        (1, [0], {VAL: 0.1}, "'lone' has 1 picture.*too few to cut 1 split.*needs 2"),
        (2, [0, 1], {VAL: 0.1, TEST: 0.1}, "'lone' has 2 picture.*too few to cut 2 split.*needs 3"),
        (4, [0, 0, 0, 3], {VAL: 0.1, TEST: 0.1}, r"'lone' has 4 picture\(s\), 2 of them different"),
    ],
)
def test_too_few_pictures_are_named_with_numbers(count, groups, fractions, message):
    labels = np.r_[np.zeros(10, np.int64), np.ones(count, np.int64)]
    groups = np.r_[np.arange(10), np.array(groups) + 10]
    with pytest.raises(DataError, match=message) as caught:
        cut_splits(labels, groups, [str(i) for i in range(len(labels))], ["many", "lone"], fractions, 0)
    assert len(str(caught.value).splitlines()) <= 3


@settings(max_examples=80, deadline=None)
@given(sets(), st.integers(2, 3), st.integers(0, 2**40))
def test_folds_partition_a_set_and_are_stratified_within_one(content, folds, seed):
    labels, groups, names, classes, _ = content
    dealt = deal_folds(labels, groups, names, classes, folds, seed)
    assert dealt.shape == labels.shape  # every picture in exactly one fold
    held = np.stack([np.bincount(labels[dealt == fold], minlength=len(classes)) for fold in range(folds)])
    assert held.sum() == len(labels)
    assert (held.max(0) - held.min(0)).max() <= 1
    assert held.sum(1).max() - held.sum(1).min() <= 1
    assert held.min() >= 1


@settings(max_examples=80, deadline=None)
@given(sets(equals=True), st.integers(2, 3), st.integers(0, 99))
def test_folds_keep_equal_pictures_together(content, folds, seed):
    labels, groups, names, classes, _ = content
    dealt = deal_folds(labels, groups, names, classes, folds, seed)
    for group in np.unique(groups):
        assert len(set(dealt[groups == group])) == 1
    for label in range(len(classes)):
        held = np.bincount(dealt[labels == label], minlength=folds)
        assert held.max() - held.min() <= np.bincount(groups[labels == label]).max()
        assert held.min() >= 1


@settings(max_examples=50, deadline=None)
@given(sets(equals=True), st.integers(0, 99), st.randoms(use_true_random=False))
def test_folds_are_a_function_of_seed_and_names_alone(content, seed, random):
    labels, groups, names, classes, _ = content
    dealt = deal_folds(labels, groups, names, classes, 3, seed)
    order = list(range(len(names)))
    random.shuffle(order)
    again = deal_folds(labels[order], groups[order] + 7, [names[place] for place in order], classes, 3, seed)
    assert np.array_equal(again, dealt[order])


def test_folds_differ_by_seed_and_refuse_a_class_that_is_too_small():
    labels, names = np.repeat([0, 1], [50, 3]), [f"{i}" for i in range(53)]
    groups = np.arange(53)
    assert len({tuple(deal_folds(labels, groups, names, ["a", "b"], 3, seed)) for seed in range(5)}) == 5
    with pytest.raises(DataError, match=r"'b' has 3 different picture\(s\) for 4 folds") as caught:
        deal_folds(labels, groups, names, ["a", "b"], 4, 0)
    assert "data.folds=3" in str(caught.value)
    groups[51:] = 50  # all of b are the same picture
    with pytest.raises(DataError, match="'b' has 1 different"):
        deal_folds(labels, groups, names, ["a", "b"], 2, 0)
