"""Classes in two halves: a function of the split, complementary, refused where a half is none."""

import pytest

from striate.configuration import compose
from striate.data.halves import half_of
from striate.errors import ConfigurationError
from striate.pipelines.train import build_datamodule

CLASSES = [f"class {number}" for number in range(9)]


@pytest.mark.parametrize("split", range(5))
def test_the_halves_are_a_function_of_the_split_and_hold_every_class_once(split):
    a, b = (half_of(CLASSES, half, split) for half in "AB")
    assert (len(a), len(b)) == (5, 4)
    assert sorted(a + b) == CLASSES
    assert a == half_of(CLASSES, "A", split) == sorted(a)


def test_splits_differ_and_each_class_is_in_either_half_about_as_often():
    halves = [half_of(CLASSES[:8], "A", split) for split in range(400)]
    assert len({tuple(half) for half in halves}) > 65  # of 70
    counts = [sum(name in half for half in halves) for name in CLASSES[:8]]
    assert max(abs(count - 200) for count in counts) < 40  # four deviations of a binomial


def test_a_given_split_names_the_classes_of_a():
    split = ["class 7", "class 1", "class 3"]
    assert half_of(CLASSES, "A", split) == ["class 1", "class 3", "class 7"]
    assert len(half_of(CLASSES, "B", split)) == 6


@pytest.mark.parametrize(
    ("split", "message"), [(["clas 1", "class 2"], "no class 'clas 1'"), (["class 1"], "leaves 1 of 9 classes")]
)
def test_a_given_split_that_is_none_is_refused(split, message):
    with pytest.raises(ConfigurationError, match=message) as refusal:
        half_of(CLASSES, "A", split)
    assert refusal.value.nearest in ("class 1", None)


def test_data_of_the_two_halves_share_no_sample(places, digits):
    halves = {}
    for half in "AB":
        datamodule = build_datamodule(compose("train", [*places, f"data.class_half={half}", "data.class_split=3"]))
        assert datamodule.meta.num_classes == 5
        halves[half] = datamodule
        for split in ("train", "val", "test"):
            counts = datamodule.meta.counts[split]
            assert len(datamodule.dataset(split)) == sum(counts)
    assert not set(halves["A"].meta.classes) & set(halves["B"].meta.classes)
    assert sum(len(data.dataset("test")) for data in halves.values()) == len(digits.dataset("test"))
    of_three = ["data.classes=['1','2','7']", "data.class_half=B", "data.class_split=['2','7']"]
    with pytest.raises(ConfigurationError, match="leaves 1 of 3"):
        _ = build_datamodule(compose("train", [*places, *of_three])).meta
