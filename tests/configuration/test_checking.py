"""Types and keys, each alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt

from striate.configuration.annotations import described, fits, is_object
from striate.configuration.keys import dotted, dotted_keys, listed, one_slip, path_of


class Plain:
    """A class that no data can be."""


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, int, True), (1.0, int, False), (True, int, False), ("1", int, False), (None, int, False),
        (1, float, True), (float("nan"), float, True), ("1e3", float, False),
        (0, bool, False), (True, bool, True), ("a", str, True), (1, str, False),
        (None, int | None, True), ("auto", int | str, True), ([1], int | str, False),
        ("a", Literal["a", "b"], True), ("c", Literal["a", "b"], False),
        ([1, 2], tuple[int, int], True), ([1, 2, 3], tuple[int, int], False), ([1, "a"], list[str | int], True),
        ("x", Path, True), (3, Path, False), ({"a": 1}, dict[str, int], True), ({"a": "b"}, dict[str, int], False),
        (-1, Annotated[int, Ge(0)], False), (3, Any, True), ("cpu", Plain, True), ({"a": 1}, Plain, False),
        ("abc", float | Plain, False), (3, "not an annotation", True),
    ],
)  # fmt: skip
def test_fits(value: Any, annotation: Any, expected: bool) -> None:
    assert fits(value, annotation) is expected


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [(Plain, True), (Plain | None, True), (Any, False), (object, False), (dict[str, int], False), (Plain | dict, False),
     (Mapping, False), (Literal["a"], False), (list[int], True)],
)  # fmt: skip
def test_a_dict_cannot_be_an_object(annotation: Any, expected: bool) -> None:
    assert is_object(annotation) is expected


def test_annotations_in_words() -> None:
    assert described(int | None) == "int or null"
    assert described(Literal["a", "b"]) == "a or b"
    assert described(Annotated[int, Ge(0)]) == "int, at least 0"
    assert described(list[str | int]) == "list[str | int]"
    assert described(list[Annotated[float, Gt(0)]] | None) == "list[float] or null"
    assert described(tuple[int, ...]) == "tuple[int, ...]"


def test_keys() -> None:
    assert path_of(dotted(("a", "b", 2, "c"))) == ("a", "b", 2, "c")
    assert dotted_keys({"a": {"b": 1, "_target_": "x"}, "c": [{"d": 1}]}) == ["a", "c", "a.b"]
    assert listed(["a", "_b", "c"]) == "a, c"
    assert listed([]) == "none"
    assert [one_slip("lr", other) for other in ("rl", "l", "lrr", "lx", "xy", "")] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]
