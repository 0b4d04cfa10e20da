"""Labels beside the points of a picture, none of which touches another label, a point or the line of another."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

Place = tuple[float, float]
_RADII = (7, 10, 14, 19, 26, 35, 46, 60, 78, 100, 130)  # of a label's edge from its point, in points
_DIRECTIONS = 32
_LINE_FROM = 10  # the radius from which a line leads to the point


def place_labels(axes: Axes, labels: Sequence[tuple[float, float, str]], taken: Sequence[Bbox] = ()) -> list[Bbox]:
    """Writes each label in the nearest free place around its point, the most crowded points first.

    Axes and figure must have their final limits and layout.

    Args:
        axes: where the points are drawn already.
        labels: x, y in data coordinates, and the text.
        taken: places to keep free, in pixels.

    Returns:
        Where the labels are, in pixels, in the order of `labels`.
    """
    pixels = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    centres: list[Place] = []
    for x, y, _ in labels:
        right, up = axes.transData.transform((x, y))
        centres.append((float(right), float(up)))
    occupied = [*taken, *(_around(centre, 4 * pixels) for centre in centres)]
    boxes: dict[int, Bbox] = {}
    for number in sorted(range(len(labels)), key=lambda own: _crowd(centres[own], centres, pixels)):
        x, y, text = labels[number]
        label = axes.annotate(
            text, (x, y), (0, 0), textcoords="offset points", fontsize=7.8, zorder=4, ha="center", va="center",
            color="#222222",
        )  # fmt: skip
        others = [centre for centre in centres if math.dist(centre, centres[number]) > 4 * pixels]
        # In a crowd no place is nearer to the own point than to all others: there a line must say whose label it is;
        # and at last it may cross points and other lines.
        own = (axes, label, centres[number])
        found = _placed(*own, occupied, others, pixels) or _placed(*own, occupied, [], pixels, nearest=_RADII[3])
        found = found or _placed(*own, [*taken, *boxes.values()], [], pixels, nearest=_RADII[3])
        boxes[number], line = found or (_box(label), [])
        occupied += [boxes[number], *line]
    return [boxes[number] for number in range(len(labels))]


def _around(centre: Place, half: float) -> Bbox:
    return Bbox.from_extents(centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half)


def _crowd(own: Place, centres: Sequence[Place], pixels: float) -> float:
    return -sum(1 / (1 + math.dist(own, other) / (30 * pixels)) for other in centres)


def _box(label: Annotation) -> Bbox:
    return label.get_window_extent()


def _distance(place: Place, box: Bbox) -> float:
    return math.dist(place, _edge(place, box))


def _edge(place: Place, box: Bbox) -> Place:
    """The point of a box that is nearest to a place."""
    return min(max(place[0], box.x0), box.x1), min(max(place[1], box.y0), box.y1)


def _placed(
    axes: Axes,
    label: Annotation,
    point: Place,
    occupied: Sequence[Bbox],
    others: Sequence[Place],
    pixels: float,
    nearest: int = 0,
) -> tuple[Bbox, list[Bbox]] | None:
    """Moves a label to where it is nearer to its own point than to the others; gives its place and those of its line.

    None when no place is free.
    """
    size, inside = _box(label), axes.get_window_extent()
    width, height = size.width + 2 * pixels, size.height + pixels
    for radius in filter(lambda radius: radius >= nearest, _RADII):
        for step in range(_DIRECTIONS):
            across, up = math.cos(math.tau * step / _DIRECTIONS), math.sin(math.tau * step / _DIRECTIONS)
            x = point[0] + across * radius * pixels + (math.copysign(width / 2, across) if abs(across) > 0.2 else 0)
            y = point[1] + up * (radius * pixels + height / 2)
            box = Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
            edge = _edge(point, box)
            line = _along(point, edge, pixels) if radius >= _LINE_FROM else []
            within = inside.x0 < box.x0 and box.x1 < inside.x1 and inside.y0 < box.y0 and box.y1 < inside.y1
            if any(_distance(other, box) < 1.5 * _distance(point, box) for other in others):
                continue
            if within and not any(own.overlaps(other) for own in (box, *line) for other in occupied):
                label.set_position(((x - point[0]) / pixels, (y - point[1]) / pixels))
                if line:
                    ends = axes.transData.inverted().transform([point, edge])
                    axes.plot(ends[:, 0], ends[:, 1], color="#999999", linewidth=0.6, zorder=2)
                return box, line
    return None


def _along(start: Place, end: Place, pixels: float) -> list[Bbox]:
    """Small boxes along a line, from outside its point on."""
    length = math.dist(start, end)
    first = 6 * pixels / length if length else 1.0
    shares = [first + (1 - first) * number / 8 for number in range(8)] if first < 1 else []
    return [_around((start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])), pixels) for t in shares]
