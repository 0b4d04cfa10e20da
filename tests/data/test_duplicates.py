"""Equal pictures and leaks against slow, obvious oracles."""

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data.duplicates import group_equal, leaked


def digests_of(pictures):
    return np.array([list(hashlib.sha256(bytes([value])).digest()) for value in pictures], np.uint8).reshape(-1, 32)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=40), st.randoms(use_true_random=False))
def test_groups_are_called_after_their_first_by_name(pictures, random):
    names = [f"{i:02d}" for i in range(len(pictures))]
    random.shuffle(names)
    groups = group_equal(digests_of(pictures), names)
    for place, value in enumerate(pictures):
        equals = [other for other, content in enumerate(pictures) if content == value]
        assert groups[place] == min(equals, key=lambda other: names[other])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), max_size=30))
def test_leaks_are_those_with_an_equal_nearer_to_test(content):
    pictures = [picture for picture, _ in content]
    splits = np.array([split for _, split in content], np.int8)
    groups = group_equal(digests_of(pictures), [f"{i:02d}" for i in range(len(pictures))])
    twins = leaked(groups, splits)
    for place, (picture, split) in enumerate(content):
        later = [other for other, (value, where) in enumerate(content) if value == picture and where > split]
        assert (twins[place] in later) if later else twins[place] == -1
    kept = twins < 0
    for value in set(pictures):
        where = {splits[place] for place, picture in enumerate(pictures) if picture == value and kept[place]}
        assert len(where) == 1  # nothing is lost altogether, nothing is in two splits
