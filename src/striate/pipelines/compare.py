"""`python src/compare.py RUN RUN …`: whether runs differ by more than seeds and the choice of test pictures explain."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from striate import runs
from striate.configuration import plain
from striate.errors import ConfigurationError
from striate.evaluation.comparison import Difference, Group, differences, figure_of, grouped
from striate.evaluation.comparison_report import (
    FILES,
    difference_rows,
    group_rows,
    pair_rows,
    title_of,
    write_comparison,
)
from striate.evaluation.measured import require_comparable
from striate.messages import calm_libraries, say, shown
from striate.pipelines.compared_runs import find_runs, measure
from striate.storage import require_writable

_PAIRS_SHOWN = 12  # the table of all pairs is in pairs.csv


def run(cfg: DictConfig) -> dict[str, Any]:
    """Compares and writes the results.

    Returns:
        The content of `metrics.json`: of each group runs, mean, deviation and interval, of each difference likewise.

    Raises:
        ConfigurationError: no such run, a figure that a run lacks, runs measured by different code.
        DataError: runs on other data, or another test split.
        StorageError: files of a run that are damaged, or an output folder that cannot be written.
    """
    calm_libraries()
    config = plain(cfg)
    places = find_runs(config["runs"], Path(config["paths"]["runs_dir"]))
    folder = Path(config["output_dir"] or default_folder(config, places))
    require_writable(folder)
    measured = [measure(place, config) for place in places]
    require_comparable(measured)
    figure = figure_of(measured, config["figure"])
    groups, notes = grouped(measured, figure, config["repeats"], named(config, measured))
    for note in notes:
        say(note)
    if len({run.code for run in measured}) > 1:
        say("Not all of these networks were trained by the same code.")
    found = differences(groups, figure, against=config["against"])
    facts = {
        "command": f"`{typed(config)}`",
        "data": f"{measured[0].about['data']['name']} {measured[0].about['data']['hash'][:12]}",
        "evaluation code": measured[0].about["measure"][:12],
        **{f"{group.name} is": f"`{command_of(group)}`" for group in groups},
    }
    content = write_comparison(folder, groups, found, figure, facts)
    show(groups, found, figure)
    say("Worth opening: " + ", ".join(shown(folder / name) for name in FILES if name.endswith((".png", ".md"))))
    return content


def typed(config: Mapping[str, Any]) -> str:
    """The command as a person types it."""
    from hydra.core.hydra_config import HydraConfig

    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
    options = [word for word in words if not word.startswith("runs=")]
    return shlex.join(["python", "src/compare.py", *config["runs"], *options])


def default_folder(config: Mapping[str, Any], places: Sequence[Path]) -> Path:
    """Where a comparison goes when nobody says: the same question to the same runs has the same place."""
    asked = [config[key] for key in ("figure", "split", "repeats", "against")]
    content = json.dumps([asked, sorted(str(place.resolve()) for place in places)], default=str)
    name = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return Path(config["paths"]["runs_dir"]) / "comparisons" / name


def named(config: Mapping[str, Any], measured: Sequence[Any]) -> list[str]:
    """Names of the groups: those that were given, or the folders on the command line where each is one group's.

    Raises:
        ConfigurationError: two groups of one name.
    """
    if config["names"]:
        if len(set(config["names"])) < len(config["names"]):
            raise ConfigurationError(f"names={config['names']} has a name twice", do="give each group its own")
        return config["names"]
    words = [Path(word) for word in config["runs"]]
    if len(words) < 2 or not all(word.is_dir() and runs.read(word) is None for word in words):
        return []
    holding = [[run for run in measured if word.resolve() in run.folder.resolve().parents] for word in words]
    sizes = [len(grouped(inside, figure_of(inside, config["figure"]), config["repeats"], [])[0]) if inside else 0
             for inside in holding]  # fmt: skip
    together = len(grouped(measured, figure_of(measured, config["figure"]), config["repeats"], [])[0])
    names = [word.resolve().name for word in words]
    return names if sizes == [1] * together and len(set(names)) == together else []


def command_of(group: Group) -> str:
    """The command that made the first run of a group, as far as it is known."""
    first = next(iter(group.runs.values()))
    return (runs.read(first.folder) or {}).get("command") or shown(first.folder)


def show(groups: Sequence[Group], found: Sequence[Difference], figure: str) -> None:
    """The tables, and what may be said of each difference."""
    first = next(iter(groups[0].runs.values()))
    tables = {title_of(figure, first): group_rows(groups, figure)}
    pairs = pair_rows(found, figure)
    if found:
        rows = difference_rows(found, figure)
        tables["Differences"] = [{key: value for key, value in row.items() if key != "outcome"} for row in rows]
    if 0 < len(pairs) <= _PAIRS_SHOWN:
        tables["Run against run, on the same samples"] = pairs
    for title, rows in tables.items():
        table = Table(*rows[0], title=title, title_justify="left", box=SIMPLE_HEAD)
        for row in rows:
            table.add_row(*row.values())
        Console().print(table, markup=False)
    for entry in found:
        say(f"{entry.second.name} against {entry.first.name}: {entry.outcome}")
