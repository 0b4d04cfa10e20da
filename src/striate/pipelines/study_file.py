"""`sweeps/study/NAME.yaml`: what a study consists of (`study_format` has every field).

Arms that start from a network which the study trains itself name their *base*:

    bases:
      pretrained: [data.class_half=A, "data.class_split={seed}"]    # words of train.py; one training a seed
    arms:
      scratch: []
      all layers: {base: pretrained}
      head only: {base: pretrained, words: [init.train=head]}

Each base is trained once a seed, before the arms that start from it and shared by them; it is no answer itself, so that
it is neither drawn nor compared (though in results.csv). Where it is an answer too, it is an arm with one place on the
axis: `whole: {words: [...], x: 0}`, which others then name as their base. An arm with a base gets `init=checkpoint` and
`init.path` (the base's best weights) put before its words, so that `init.train`, `init.first`, `init.freeze` … may
follow. What a cell computes, and so its name, includes what its base computes: a changed base has new dependents. Where
a base fails, the cells that start from it fail with a reason that names it; the same command tries both again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from striate.configuration import REPOSITORY, check
from striate.errors import ConfigurationError, nearest
from striate.pipelines.study_format import Arm, StudyFile

FOLDER = REPOSITORY / "sweeps" / "study"


def load(study: str) -> tuple[str, dict[str, Any]]:
    """A study by its name or by the path of its file, as (name, checked plain data, arms and bases with all fields).

    Raises:
        ConfigurationError: there is none, or something in it is not valid.
    """
    path = Path(study) if study.endswith((".yaml", ".yml")) else FOLDER / f"{study}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in FOLDER.glob("*.yaml"))
        found = nearest(study, known)
        raise ConfigurationError(
            f"there is no study {study}",
            nearest=f"study={found}" if found else None,
            do=f"choose among {', '.join(known)}, or name a file: study=PATH.yaml",
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not valid YAML: {' '.join(str(error).split())[:200]}") from error
    try:
        check(content, StudyFile)
    except ConfigurationError as error:
        error.what = f"{path.name}: {error.what}"
        raise
    for kind in ("arms", "bases"):
        content[kind] = {name: whole(arm) for name, arm in (content.get(kind) or {}).items()}
    require_consistent(path.name, content)
    return path.stem, content


def whole(arm: Mapping[str, Any] | list[str]) -> dict[str, Any]:
    """An arm with all its fields."""
    return asdict(Arm(**({"words": arm} if isinstance(arm, list) else arm)))


def require_consistent(name: str, content: Mapping[str, Any]) -> None:
    """Refuses a study that speaks of arms or points that it has not, or of bases that could not come first.

    Raises:
        ConfigurationError: what does not fit together.
    """
    arms, bases = content["arms"], content["bases"]
    if twice := arms.keys() & bases.keys():
        raise ConfigurationError(f"{name}: {min(twice)} is an arm and a base", do="give one of them another name")
    for key, row in content["comparisons"].items():
        if not row.get("against") and row.get("kind") != "slope" and row["figure"] != "gain":
            raise ConfigurationError(f"{name}: comparisons.{key} has nothing to compare with", do="against: {arm: ARM}")
    for place, known in named_arms(content):
        if known not in arms:
            raise ConfigurationError(f"{name}: {place} name no arm {known}", nearest=nearest(known, arms))
    for arm, fields in {**bases, **arms}.items():
        require_base(f"{name}: {arm}", arm, fields["base"], content)
        if fields["x"] is not None and not content.get("axis"):
            raise ConfigurationError(f"{name}: {arm} has an x, the study has no axis", do="leave x out")
        if fields["against"] and content.get("axis") and arms[fields["against"]]["x"] is None:
            raise ConfigurationError(
                f"{name}: {arm} counts its gain from {fields['against']}, which has no x of its own",
                do="give that arm its only place on the axis: x: X",
            )
    if content.get("axis"):
        for size, values in content["sizes"].items():
            if not values.get("points"):
                raise ConfigurationError(f"{name}: sizes.{size} gives the axis no points", do="points: [X, ...]")


def named_arms(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every arm that other parts of a study name, with that part."""
    for row in content["comparisons"].values():
        for side in (row.get("of"), row.get("against")):
            if side and side["arm"] != "*":
                yield "comparisons", side["arm"]
    for part in ("panels", "sizes"):
        for row in content[part].values():
            yield from ((part, arm) for arm in row.get("arms") or ())
    for fields in content["arms"].values():
        yield from (("arms", arm) for arm in (fields["against"], fields["like"]) if arm is not None)


def require_base(place: str, arm: str, base: str | None, content: Mapping[str, Any]) -> None:
    """Refuses a base that is not there, that is trained more than once a seed, or that starts, in the end, from itself.

    Raises:
        ConfigurationError: which.
    """
    known, passed = {**content["bases"], **content["arms"]}, [arm]
    while base is not None:
        if base not in known:
            raise ConfigurationError(f"{place} starts from no base {base}", nearest=nearest(base, known))
        if base in passed:
            raise ConfigurationError(f"{place} starts, in the end, from itself: {' from '.join([*passed, base])}")
        if content.get("axis") and base in content["arms"] and content["arms"][base]["x"] is None:
            raise ConfigurationError(
                f"{place} starts from {base}, which is trained at every point of the axis",
                do="give that arm its only place on the axis (x: X), or make it one of bases",
            )
        passed.append(base)
        base = known[base]["base"]
