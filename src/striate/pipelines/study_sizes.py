"""What one size of a study computes: which arms, at which points, in which words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from striate.errors import ConfigurationError, nearest
from striate.pipelines.study_words import filled, merged

Point = dict[str, Any]  # x, and whatever else the words of a point need
BASE = "BASE"  # in words: stands for the run directory of the base, which is known when it has run


def at_size(content: Mapping[str, Any], size: str) -> dict[str, Any]:
    """The study without the arms, bases and comparisons that a size leaves out.

    Raises:
        ConfigurationError: no such size.
    """
    if size not in content["sizes"]:
        raise ConfigurationError(
            f"the study has no size {size}",
            nearest=f"size={found}" if (found := nearest(size, content["sizes"])) else None,
            do=f"choose among {', '.join(content['sizes'])}",
        )
    known, chosen = {**content["bases"], **content["arms"]}, content["sizes"][size].get("arms")
    arms = {arm: fields for arm, fields in content["arms"].items() if chosen is None or arm in chosen}
    needed = set(arms)
    while more := {base for arm in needed if (base := known[arm]["base"]) is not None} - needed:
        needed |= more
    arms = {arm: fields for arm, fields in content["arms"].items() if arm in needed}
    bases = {base: fields for base, fields in content["bases"].items() if base in needed}
    comparisons = {
        name: row
        for name, row in content["comparisons"].items()
        if all(side["arm"] in (*arms, "*") for side in (row["of"], row.get("against")) if side)
    }
    return {**content, "arms": arms, "bases": bases, "comparisons": comparisons}


def places(content: Mapping[str, Any], size: str) -> Iterator[tuple[str, Point]]:
    """Every base and arm of a size at every point at which it is trained, each after its base."""
    listed = content["sizes"][size].get("points") or [{}]
    points = [point if isinstance(point, dict) else {"x": point} for point in listed]
    single: dict[str, Point] = {base: {} for base in content["bases"]}
    single |= {arm: {"x": fields["x"]} for arm, fields in content["arms"].items() if fields["x"] is not None}
    if not content.get("axis"):
        single |= dict.fromkeys(content["arms"], points[0])
    fields, known = {**content["bases"], **content["arms"]}, set[str]()
    while waiting := [arm for arm in single if arm not in known]:
        arm = next(arm for arm in waiting if fields[arm]["base"] in (None, *known))
        known.add(arm)
        yield arm, single[arm]
    for point in points:
        yield from ((arm, point) for arm in content["arms"] if arm not in single)


def words_of(content: Mapping[str, Any], size: str, arm: str, point: Point, more: Sequence[str]) -> tuple[str, ...]:
    """The words of an arm or a base at a point, with `{seed}` still in them; `more` wins over all others."""
    chosen, fields = content["sizes"][size], {**content["bases"], **content["arms"]}[arm]
    single = arm in content["bases"] or fields["x"] is not None
    axis = [] if single else chosen.get("axis") or (content.get("axis") or {}).get("overrides", [])
    start = ["init=checkpoint", f"init.path={BASE}"] if fields["base"] else []
    entries = {**(chosen.get("entries") or {}), **point, "size": size}
    own = [filled(word, entries) for word in (*start, *axis, *fields["words"])]
    return merged([*content["overrides"], *chosen.get("overrides", []), *own, *more])
