"""What a study shows: means over seeds with 95 % intervals, comparisons paired by seed, and a verdict on each claim.

Intervals are Student's: few seeds, deviations unknown. A comparison agrees with its claim when the whole interval lies
in the range that the claim gives, disagrees when it lies wholly outside, and is not decided otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# 97.5 % points of Student's distribution for 1 to 30 degrees of freedom.
_T_95 = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)
_Z_95 = 1.959963984540054
HIGHER_IS_BETTER = {"test_accuracy", "val_accuracy", "gain"}
AGREES, DISAGREES, UNDECIDED = "agrees", "does not agree", "not decided"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Estimate:
    """A mean of n values and its 95 % interval, NaN where one value, or values that are all the same, give none."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Verdict:
    """A comparison that was computed: what was seen, and what it says of the claim.

    Attributes:
        bound: "at least" or "at most" where a cell ended before it was down at the target, else "".
    """

    estimate: Estimate
    outcome: str
    bound: str = ""


def student_95(degrees: int) -> float:
    """The 97.5 % point of Student's distribution."""
    if degrees <= len(_T_95):
        return _T_95[degrees - 1]
    # Cornish and Fisher's expansion about the normal one; right to 0.00001 from 30 degrees on.
    z, n = _Z_95, degrees
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + sum(term / n**power for power, term in enumerate(terms, start=1))


def mean_interval(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval of independent values; all NaN of none.

    Values that are all the same give no interval: accuracies of few samples and whole epochs often agree by chance,
    and say nothing then of how far another value would lie.
    """
    finite = np.array([value for value in values if value is not None and math.isfinite(value)], np.float64)
    if not len(finite):
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = float(finite.mean())
    if not varies(finite):
        return Estimate(mean, math.nan, math.nan, len(finite))
    half = student_95(len(finite) - 1) * float(finite.std(ddof=1)) / math.sqrt(len(finite))
    return Estimate(mean, mean - half, mean + half, len(finite))


def varies(values: Sequence[float] | NDArray[np.float64]) -> bool:
    """Whether values differ by more than arithmetic leaves of equal ones."""
    return not np.allclose(values, values[0], rtol=1e-9, atol=1e-12)


def values_by_seed(rows: Sequence[Row], figure: str, arm: str, x: Any = None) -> dict[int, float]:
    """A figure of the cells of one arm (at one x, if given), by seed; cells without it are left out.

    With "mean" for x it is the mean over all x, of the seeds that have it at each.
    """
    if x == "mean":
        xs = sorted({row["x"] for row in rows if row["arm"] == arm})
        found = [values_by_seed(rows, figure, arm, place) for place in xs]
        seeds = set.intersection(*(set(values) for values in found)) if found else set()
        return {seed: float(np.mean([values[seed] for values in found])) for seed in sorted(seeds)}
    chosen = [row for row in rows if row["arm"] == arm and (x is None or row["x"] == x)]
    return {row["seed"]: float(row[figure]) for row in chosen if row.get(figure) is not None}


def best_x(rows: Sequence[Row], figure: str, arm: str) -> Any:
    """The x at which an arm has the best mean of a figure, among those at which most seeds have one."""
    found: dict[Any, dict[int, float]] = {}
    for row in rows:
        if row["arm"] == arm and row.get(figure) is not None:
            found.setdefault(row["x"], {})[row["seed"]] = float(row[figure])
    if not found:
        return None
    most = max(map(len, found.values()))
    sign = -1.0 if figure in HIGHER_IS_BETTER else 1.0
    return min(
        (x for x, values in found.items() if len(values) == most),
        key=lambda x: sign * float(np.mean(list(found[x].values()))),
    )


def resolved_x(rows: Sequence[Row], figure: str, side: Mapping[str, Any]) -> Any:
    """The x that a side of a comparison means."""
    x, known = side.get("x"), [row["x"] for row in rows if row["x"] is not None and side["arm"] in ("*", row["arm"])]
    if x in ("least", "most"):
        return min(known) if x == "least" else max(known)
    return best_x(rows, figure, side["arm"]) if x == "best" else x


def judge(rows: Sequence[Row], comparison: Mapping[str, Any]) -> Verdict:
    """Computes one comparison of a study (see `pipelines.study_file.Comparison`)."""
    figure, kind, of, against = (comparison.get(key) for key in ("figure", "kind", "of", "against"))
    assert figure is not None
    assert of is not None
    low, high = (
        float(bound if (bound := comparison.get(side)) is not None else end)
        for side, end in (("low", -math.inf), ("high", math.inf))
    )
    if kind == "slope":
        return Verdict(estimate := mean_interval(slopes(rows, figure, of["arm"])), outcome_of(estimate, low, high))
    if against is None:  # a gain is a difference already
        values = values_by_seed(rows, figure, of["arm"], resolved_x(rows, figure, of))
        return Verdict(estimate := mean_interval(list(values.values())), outcome_of(estimate, low, high))
    xs = resolved_x(rows, figure, of), resolved_x(rows, figure, against)
    first, second = values_by_seed(rows, figure, of["arm"], xs[0]), values_by_seed(rows, figure, against["arm"], xs[1])
    seeds = sorted(first.keys() & second.keys())
    if kind == "ratio":
        logs = mean_interval([math.log(first[seed] / second[seed]) for seed in seeds if first[seed] > 0 < second[seed]])
        estimate = Estimate(math.exp(logs.mean), math.exp(logs.low), math.exp(logs.high), logs.n)
    else:
        estimate = mean_interval([first[seed] - second[seed] for seed in seeds])
    ended = [
        figure == "epochs_to_25" and is_censored(rows, side["arm"], x)
        for side, x in zip((of, against), xs, strict=True)
    ]
    outcome = outcome_of(estimate, low, high)
    if any(ended):  # the true value lies beyond: above when `of` was not down in time, below when `against` was not
        open_end = "at least" if not ended[1] else "at most" if not ended[0] else "unknown:"
        holds = {"at least": math.isinf(high), "at most": math.isinf(low)}.get(open_end, False)
        return Verdict(estimate, outcome if holds and outcome == AGREES else UNDECIDED, open_end)
    return Verdict(estimate, outcome)


def outcome_of(estimate: Estimate, low: float, high: float) -> str:
    """The verdict of an interval on the range that a claim expects."""
    if not math.isfinite(estimate.low):
        return UNDECIDED
    if low <= estimate.low and estimate.high <= high:
        return AGREES
    return DISAGREES if estimate.high < low or estimate.low > high else UNDECIDED


def is_censored(rows: Sequence[Row], arm: str, x: Any) -> bool:
    """Whether a cell of an arm ended before its training error was down at the target."""
    return any(row.get("reached") is False for row in rows if row["arm"] == arm and (x is None or row["x"] == x))


def slopes(rows: Sequence[Row], figure: str, arm: str) -> list[float]:
    """In each seed the slope of a figure over the decimal logarithm of the multiply-adds; `arm` may be "*" for all."""
    found = []
    for seed in sorted({row["seed"] for row in rows}):
        points = [
            (math.log10(row["mult_adds"]), float(row[figure]))
            for row in rows
            if row["seed"] == seed and arm in ("*", row["arm"]) and row.get(figure) is not None
        ]
        if len({x for x, _ in points}) > 1:
            xs, ys = np.array(points).T
            found.append(float(np.polyfit(xs, ys, 1)[0]))
    return found
