"""What may stand in a study file (`sweeps/study/NAME.yaml`); how to write one: `study_file`."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, MinLen

Figure = Literal[
    "test_accuracy", "val_accuracy", "gain", "train_error", "train_loss", "epochs_to_25", "mult_adds", "seconds"
]  # fmt: skip


@dataclass
class Axis:
    """What varies from point to point: words of the command line with `{x}` and other entries of a point."""

    label: str
    overrides: list[str]
    log: bool = False


@dataclass
class Arm:
    """One way to train. A list of words alone is an arm without the rest.

    Attributes:
        words: of `train.py`.
        base: the name of the base, or of an arm without an axis, from whose best weights it starts: with the same seed,
            trained before it. `init=checkpoint` and `init.path` are put before its words.
        x: its only place on the axis, whose words are then not for it; None: it is trained at every point.
        against: the arm whose test accuracy, with the same seed and at its only place, `gain` is counted from.
        like: the arm in whose colour it is drawn, paler and dashed: a variant of it.
    """

    words: list[str] = field(default_factory=list)
    base: str | None = None
    x: float | None = None
    against: str | None = None
    like: str | None = None


@dataclass
class Side:
    """Cells of one arm: at one x, at its best (by the figure that is compared), at the least or the most, or the mean
    over all x in each seed."""

    arm: str
    x: float | Literal["best", "least", "most", "mean"] | None = None


@dataclass
class Comparison:
    """One statement of a claim as a number with a range in which the claim expects it.

    `difference`: `of` minus `against`; `ratio`: `of` over `against`; both paired by seed. `slope`: of the figure, in
    each seed, over the decimal logarithm of the multiply-adds of all cells of `of`. A gain is a difference already:
    without `against` it is compared with 0. Comparisons of arms that a size leaves out are left out there too.
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
    arms: list[str] | None = None  # None: all
    intervals: bool = True  # false: the seeds and their mean alone


@dataclass
class Size:
    """How much is computed.

    Attributes:
        seeds: how many.
        overrides: words of `train.py` that win over those of the study.
        points: of the axis, each an x or a mapping with x and other entries for words with `{entry}`; without an axis
            one mapping at most.
        axis: words that replace those of the axis.
        arms: those that are computed; None: all.
        entries: for words with `{entry}`, the same at every point; `{seed}`, `{size}` and `{x}` are there without it.
        takes: time and hardware, for a reader.
    """

    seeds: Annotated[int, Ge(1)]
    overrides: list[str] = field(default_factory=list)
    points: list[Any] = field(default_factory=list)
    axis: list[str] = field(default_factory=list)
    arms: list[str] | None = None
    entries: dict[str, Any] = field(default_factory=dict)
    takes: str = ""


@dataclass
class StudyFile:
    """`sweeps/study/NAME.yaml`

    Attributes:
        bases: trainings that arms start from and that are no answer themselves: one a seed, neither drawn nor listed.
        diverged_accuracy: what a diverged cell counts as; None: as missing.
    """

    title: str
    claim: str
    source: str
    overrides: list[str]
    arms: dict[str, Arm | list[str]]
    figures: Annotated[list[Figure], MinLen(1)]
    comparisons: dict[str, Comparison]
    panels: dict[str, Panel]
    sizes: dict[str, Size]
    bases: dict[str, Arm | list[str]] = field(default_factory=dict)
    axis: Axis | None = None
    diverged_accuracy: Annotated[float, Gt(0)] | None = None
