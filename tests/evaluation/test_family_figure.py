"""The pictures of the family: labels that can be read."""

import itertools

import numpy as np
import pytest
from PIL import Image
from torch import nn

from striate.evaluation.family_figure import Point, draw_family
from striate.evaluation.receptive_field_figure import draw_receptive_fields, growth
from striate.models.arithmetic import count


def crowd(number: int, seed: int) -> list[Point]:
    """Networks in three heaps, as the real ones are."""
    generator = np.random.default_rng(seed)
    heap = generator.integers(3, size=number)
    places = 10 ** (np.array([5, 7.5, 9.5])[heap, None] + generator.normal(0, 0.25, (number, 2)))
    return [
        Point(f"network{index}", f"kind {heap[index]}", int(x), int(y / 50), 20 + index if index % 3 else None)
        for index, (x, y) in enumerate(places)
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_no_label_touches_another_and_all_are_inside(seed, tmp_path):
    boxes = draw_family(crowd(30, seed), tmp_path / "family.png")
    assert len(boxes) == 30
    assert not any(first.overlaps(second) for first, second in itertools.combinations(boxes, 2))
    with Image.open(tmp_path / "family.png") as image:
        width, height = image.size
    assert all(0 < box.x0 < box.x1 < width and 0 < box.y0 < box.y1 < height for box in boxes)


def test_twins_share_a_label(tmp_path):
    twins = [
        Point("net", "A", 1_000_000, 5000, 30.0),
        Point("net_bn", "A", 1_000_000, 5010, None),
        Point("other", "B", 3_000_000, 5000, None),
    ]
    assert len(draw_family(twins, tmp_path / "twins.png")) == 2


def test_one_network_without_a_score(tmp_path):
    assert len(draw_family([Point("net", "A", 100, 100, None)], tmp_path / "one.png")) == 1
    with pytest.raises(ValueError, match="at least one network"):
        draw_family([], tmp_path / "none.png")


def test_the_same_figures_give_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        draw_family(crowd(8, 2), tmp_path / f"{name}.png")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_the_growth_of_receptive_fields(tmp_path):
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(32, 2)
    )
    layers = count(network, (1, 14, 14)).layers
    assert growth(layers) == ([1, 3, 4, 8], [2])
    boxes = draw_receptive_fields({"one": layers, "two": layers[:3]}, tmp_path / "fields.png")
    assert not boxes[0].overlaps(boxes[1])
    assert (tmp_path / "fields.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="expected 1 to 7 networks, got 0"):
        draw_receptive_fields({}, tmp_path / "none.png")
