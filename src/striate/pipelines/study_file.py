"""`sweeps/study/NAME.yaml`: what a study consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, MinLen

from striate.configuration import REPOSITORY, check
from striate.errors import ConfigurationError, nearest

FOLDER = REPOSITORY / "sweeps" / "study"
Figure = Literal["test_accuracy", "val_accuracy", "train_error", "train_loss", "epochs_to_25", "mult_adds", "seconds"]


@dataclass
class Axis:
    """What varies from point to point: words of the command line with `{x}` and other entries of a point."""

    label: str
    overrides: list[str]
    log: bool = False


@dataclass
class Side:
    """Cells of one arm: at one x, at its best (by the figure that is compared), at the least or the most."""

    arm: str
    x: float | Literal["best", "least", "most"] | None = None


@dataclass
class Comparison:
    """One statement of a claim as a number with a range in which the claim expects it.

    `difference`: `of` minus `against`; `ratio`: `of` over `against`; both paired by seed. `slope`: of the figure, in
    each seed, over the decimal logarithm of the multiply-adds of all cells of `of`.
    """

    says: str
    figure: Figure
    of: Side
    against: Side | None = None
    kind: Literal["difference", "ratio", "slope"] = "difference"
    low: float | None = None
    high: float | None = None
    paper: str | None = None


@dataclass
class Panel:
    """One panel of the picture: a column of history.csv over the epochs, or a figure over the axis or over the arms."""

    kind: Literal["curves", "points"]
    y: str
    x: Literal["axis", "mult_adds"] = "axis"
    at: float | Literal["best", "least", "most"] | None = None  # curves; the best by the first figure of the study
    log_y: bool = False


@dataclass
class Size:
    """How much is computed.

    Attributes:
        seeds: how many.
        overrides: words of `train.py` that win over those of the study.
        points: of the axis, each an x or a mapping with x and other entries for words with `{entry}`; without an axis
            one mapping at most.
        axis: words that replace those of the axis.
        takes: time and hardware, for a reader.
    """

    seeds: Annotated[int, Ge(1)]
    overrides: list[str] = field(default_factory=list)
    points: list[Any] = field(default_factory=list)
    axis: list[str] = field(default_factory=list)
    takes: str = ""


@dataclass
class StudyFile:
    """`sweeps/study/NAME.yaml`"""

    title: str
    claim: str
    source: str
    overrides: list[str]
    arms: dict[str, list[str]]
    figures: Annotated[list[Figure], MinLen(1)]
    comparisons: dict[str, Comparison]
    panels: dict[str, Panel]
    sizes: dict[str, Size]
    axis: Axis | None = None
    diverged_accuracy: Annotated[float, Gt(0)] | None = None  # what a diverged cell counts as; None: as missing


def load(study: str) -> tuple[str, dict[str, Any]]:
    """A study by its name or by the path of its file, as (name, checked plain data with all fields).

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
    require_consistent(path.name, content)
    return path.stem, content


def require_consistent(name: str, content: Mapping[str, Any]) -> None:
    """Refuses a study that speaks of arms or points that it has not.

    Raises:
        ConfigurationError: what does not fit together.
    """
    sides = [row.get(side) for row in content["comparisons"].values() for side in ("of", "against")]
    for arm in [side["arm"] for side in sides if side]:
        if arm not in (*content["arms"], "*"):
            raise ConfigurationError(f"{name}: comparisons name no arm {arm}", nearest=nearest(arm, content["arms"]))
    if content.get("axis"):
        for size, values in content["sizes"].items():
            if not values.get("points"):
                raise ConfigurationError(f"{name}: sizes.{size} gives the axis no points", do="points: [X, ...]")
