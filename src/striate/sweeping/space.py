"""Search spaces: from a W&B sweep file, from Hydra's words, or around the values that are configured."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from striate.configuration.keys import listed
from striate.errors import ConfigurationError, nearest

# The distributions of W&B that a study of Optuna knows too, with the keys that each may have.
DISTRIBUTIONS = {
    "constant": {"value"},
    "categorical": {"values"},
    "int_uniform": {"min", "max"},
    "uniform": {"min", "max"},
    "q_uniform": {"min", "max", "q"},
    "log_uniform_values": {"min", "max"},
}
_GOALS = {"maximize": "max", "minimize": "min"}
_DECADE = 10.0  # how far the space reaches around a configured value, up and down


@dataclass(frozen=True)
class Dimension:
    """One axis of a search space.

    Args:
        kind: "float" and "int" lie between `low` and `high`, both included; "choice" is one of `choices`.
        low: smallest value.
        high: largest value.
        log: whether equal factors are equal distances.
        step: distance of the values from each other; None for a continuous axis, 1 for integers.
        choices: the values as words of the command line.
    """

    kind: Literal["float", "int", "choice"]
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    choices: tuple[str, ...] = ()

    def suggest(self, trial: Any, name: str) -> Any:
        """A value of the study's next trial."""
        if self.kind == "choice":
            return trial.suggest_categorical(name, list(self.choices))
        if self.kind == "int":
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def observed(self, word: str) -> tuple[Any, Any]:
        """A value that was tried, and its distribution, as Optuna keeps them."""
        from optuna import trial as trials

        if self.kind == "choice" and not all(map(_is_number, self.choices)):
            probe = trials.FixedTrial({"x": word})
            return probe.suggest_categorical("x", list(self.choices)), probe.distributions["x"]
        numbers = list(map(float, self.choices)) if self.kind == "choice" else [self.low, self.high]
        ends = min(numbers), max(numbers)
        probe = trials.FixedTrial({"x": min(max(float(word), ends[0]), ends[1])})
        log = self.log or (self.kind == "choice" and ends[0] > 0 and ends[1] / ends[0] >= _DECADE)
        return probe.suggest_float("x", *ends, log=log), probe.distributions["x"]

    def including(self, words: Iterable[str]) -> "Dimension":
        """The same axis with the choices that were tried as well: a grid may have been extended since."""
        return replace(self, choices=tuple(dict.fromkeys([*self.choices, *words]))) if self.kind == "choice" else self

    def has(self, word: str) -> bool:
        """Whether a value lies on the axis; ends are as exact as `round` leaves them."""
        if self.kind == "choice":
            return word in self.choices
        slack = 1e-3 * max(abs(self.low), abs(self.high))
        return _is_number(word) and self.low - slack <= float(word) <= self.high + slack

    def examples(self) -> list[str]:
        """The lowest value, one of the middle and the highest, as words; of choices all."""
        if self.kind == "choice":
            return list(self.choices)
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        if self.step is not None or self.kind == "int":
            step = self.step or 1
            middle = self.low + step * round((middle - self.low) / step)
        return [word_of(self.round(value)) for value in (self.low, middle, self.high)]

    def round(self, value: Any) -> Any:
        """A value with no more digits than are worth typing."""
        return int(value) if self.kind == "int" else float(f"{value:.4g}") if self.kind == "float" else value


Space = dict[str, Dimension]


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def word_of(value: Any) -> str:
    """A value as Hydra's grammar reads it back."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, list | tuple):
        return f"[{','.join(map(word_of, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{word_of(entry)}' for key, entry in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def plain(space: Space) -> dict[str, Any]:
    """A space as plain data."""
    return {name: asdict(dimension) | {"choices": list(dimension.choices)} for name, dimension in space.items()}


def space_of(content: Mapping[str, Any]) -> Space:
    """The inverse of `plain`."""
    return {name: Dimension(**(entry | {"choices": tuple(entry["choices"])})) for name, entry in content.items()}


# ---- W&B's files -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SweepFile:
    """What a W&B sweep file says.

    Args:
        words: of the command line that every trial has, the loggers left out.
        space: what is searched.
        metric: what is optimised.
        mode: "max" or "min".
    """

    words: tuple[str, ...]
    space: Space
    metric: str | None
    mode: str | None

    @property
    def monitor(self) -> dict[str, str]:
        """The words that make a training optimise what the file does."""
        return {} if self.metric is None else {"monitor.metric": self.metric, "monitor.mode": self.mode or "max"}


def read_sweep_file(path: Path) -> SweepFile:
    """Reads a file as `wandb sweep` takes it.

    Raises:
        ConfigurationError: no such file, not such a file, or a distribution without a counterpart here.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"hydra.sweeper.space={path}: there is no such file", do="name one") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("parameters"), Mapping):
        raise ConfigurationError(f"{path} is not a sweep file", do="it needs `parameters`, see sweeps/")
    words, space = [], {}
    for word in map(str, content.get("command") or ()):
        if "=" in word and not word.startswith(("-", "logger=")):
            words.append(word)
    for name, entry in content["parameters"].items():
        dimension = dimension_of(entry, f"{path}: parameters.{name}")
        if dimension.kind == "choice" and len(dimension.choices) == 1:
            words.append(f"{name}={dimension.choices[0]}")
        else:
            space[str(name)] = dimension
    metric = content.get("metric") or {}
    if not metric:
        return SweepFile(tuple(words), space, None, None)
    if not isinstance(metric, Mapping) or metric.get("goal", "minimize") not in _GOALS or "name" not in metric:
        raise ConfigurationError(f"{path}: metric is not valid", do="it has a name, and goal: maximize | minimize")
    return SweepFile(tuple(words), space, str(metric["name"]), _GOALS[metric.get("goal", "minimize")])


def dimension_of(entry: Any, where: str) -> Dimension:
    """One entry of `parameters` of a W&B sweep file.

    Raises:
        ConfigurationError: it is not one, or Optuna has no such distribution.
    """
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} is not a mapping", do="give value, values, or min and max")
    kind = entry.get("distribution") or _kind_of(entry)
    if kind not in DISTRIBUTIONS:
        raise ConfigurationError(
            f"{where}: distribution {kind} is not known here",
            nearest=nearest(kind, DISTRIBUTIONS),
            do=f"one of {', '.join(DISTRIBUTIONS)}",
        )
    wanted, given = DISTRIBUTIONS[kind], set(entry) - {"distribution"}
    if given != wanted and not (kind == "q_uniform" and given == wanted - {"q"}):
        raise ConfigurationError(f"{where}: {kind} has {listed(sorted(given))}", do=f"give {listed(sorted(wanted))}")
    if kind == "constant":
        return Dimension("choice", choices=(word_of(entry["value"]),))
    if kind == "categorical":
        return Dimension("choice", choices=tuple(map(word_of, entry["values"])))
    low, high, log = entry["min"], entry["max"], kind == "log_uniform_values"
    if not low <= high or (log and low <= 0):
        raise ConfigurationError(
            f"{where}: no values lie between {low} and {high}", do="min below max, above 0 for log"
        )
    step = float(entry.get("q", 1)) if kind == "q_uniform" else 1 if kind == "int_uniform" else None
    return Dimension("int" if kind == "int_uniform" else "float", low, high, log, step)


def _kind_of(entry: Mapping[str, Any]) -> str:
    if "value" in entry:
        return "constant"
    if "values" in entry:
        return "categorical"
    return "int_uniform" if {type(entry.get(end)) for end in ("min", "max")} == {int} else "uniform"


# ---- Hydra's words ---------------------------------------------------------------------------------------------------


def dimension_of_override(override: Any) -> Dimension:
    """An override that stands for several values: `a,b`, `choice(a,b)`, `range(1,9,2)`, `tag(log,interval(.01,1))`."""
    value = override.value()
    if override.is_interval_sweep():
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        return Dimension("int" if whole else "float", value.start, value.end, "log" in value.tags, 1 if whole else None)
    return Dimension("choice", choices=tuple(override.sweep_string_iterator()))


# ---- Without any word ------------------------------------------------------------------------------------------------


def around(config: Mapping[str, Any]) -> Space:
    """A decade around the configured rate and weight decay: what to search when nothing else is said."""
    optimizer, space = config.get("optimizer") or {}, {}
    for name in ("lr", "weight_decay"):
        value = optimizer.get(name)
        if isinstance(value, int | float) and value > 0:
            ends = (float(f"{value / _DECADE:.4g}"), float(f"{value * _DECADE:.4g}"))
            space[f"optimizer.{name}"] = Dimension("float", *ends, log=True)
    return space


def file_for(choices: Mapping[str, Any], folder: Path) -> Path | None:
    """The sweep file of an experiment, or of a network on a data set, if there is one.

    Args:
        choices: the option of each group.
        folder: where sweep files lie.
    """
    names = [choices.get("experiment"), f"{choices.get('model')}_{choices.get('data')}"]
    found = (folder / f"{name}.yaml" for name in names if name)
    return next((path for path in found if path.is_file()), None)
