"""One call of `-m`: from the words of the command line to a plan, its workers, and the report."""

import hashlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from striate import runs
from striate.configuration import masked_command
from striate.configuration.checking import plain
from striate.configuration.composition import REPOSITORY
from striate.configuration.trials import SweepOrder
from striate.configuration.words import one_line
from striate.errors import ConfigurationError, StorageError, StriateError, nearest
from striate.messages import shown
from striate.sweeping import grid as grids
from striate.sweeping import space as spaces
from striate.sweeping.ledger import FOLDER, SETTLED, Ledger, Trial
from striate.sweeping.study import StudyPlan, new_plan, open_study
from striate.sweeping.workers import Plan, Reporter, answering, new_worker

# What a launcher or sweeper needs beside Hydra: the module, and the extra that brings it.
NEEDED = {
    "hydra_plugins.hydra_joblib_launcher": ("joblib", "joblib"),
    "hydra_plugins.hydra_submitit_launcher": ("submitit", "slurm"),
    "hydra_plugins.hydra_ray_launcher": ("ray", "ray"),
}
SAMPLERS, PRUNERS = ("tpe", "random", "cmaes"), ("median", "hyperband", "none")
Hashing = Callable[[Mapping[str, Any]], Mapping[str, str] | None]
_ENGINES = {"grid": "a grid", "optuna": "a study of Optuna"}
BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


class Call:
    """What was asked for.

    Args:
        config: Hydra's master configuration.
        context: Hydra's.
        order: the command.
        settings: those of the sweeper, as in conf/hydra/sweeper.
        arguments: the words of the command line that are not Hydra's.
        engine: "grid" or "optuna".
    """

    def __init__(
        self,
        config: DictConfig,
        context: Any,
        order: SweepOrder,
        settings: Mapping[str, Any],
        arguments: Sequence[str],
        engine: str,
    ):
        self.config, self.context, self.order, self.settings, self.engine = config, context, order, settings, engine
        self.since = time.time()
        given = {name.partition("=")[0] for name in arguments}
        params = [f"{name}={value}" for name, value in (settings.get("params") or {}).items() if name not in given]
        self.overrides = self._parsed([*params, *arguments])
        require_installed(self.launcher)
        require_whole(settings, "jobs", 1)
        self.jobs = 1 if self.launcher == BASIC else settings["jobs"]
        self.ledger = Ledger(Path())
        self.total = 0

    @property
    def launcher(self) -> str:
        """The class that starts workers."""
        return str(self.config.hydra.launcher._target_)

    def _parsed(self, words: Sequence[str]) -> list[Any]:
        from hydra.core.override_parser.overrides_parser import OverridesParser

        return OverridesParser.create(config_loader=self.context.config_loader).parse_overrides(list(words))

    def composed(self, words: Sequence[str], *, strict: bool = True) -> dict[str, Any]:
        """The configuration of a trial as plain data.

        Raises:
            ConfigurationError: it is not valid.
        """
        config = self.context.config_loader.load_sweep_config(self.config, list(words))
        choices = config.hydra.runtime.choices
        with_paths = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        content = plain(self.order.settle(with_paths) if strict else with_paths)
        return content | {"hydra_choices": dict(choices)}

    def place(self, config: Mapping[str, Any], default: str) -> Path:
        """The directory of the sweep."""
        name = self.settings.get("name") or default
        if Path(str(name)).name != str(name):
            raise ConfigurationError(f"hydra.sweeper.name={name} is not a name", do="leave slashes out")
        folder = Path(config["paths"]["runs_dir"]) / FOLDER / str(name)
        self.ledger = Ledger(folder)
        engine = self.ledger.description().get("engine", self.engine)
        if engine != self.engine:
            raise ConfigurationError(
                f"{shown(folder)} is {_ENGINES[engine]}, not {_ENGINES[self.engine]}",
                do=f"give another hydra.sweeper.name, or hydra/sweeper={engine}",
            )
        return folder

    def carry_out(self, plan: Plan, report: Callable[[Ledger], Any]) -> int:
        """Runs the workers of a plan, reports, and gives the number of trials.

        Raises:
            SystemExit: with the exit code of a trial that failed, or of the signal that stopped the sweep.
        """
        worker = new_worker(
            self.ledger.folder, self.order.program, plan,
            hydra_words=tuple(self.config.hydra.overrides.hydra), jobs=self.jobs, since=self.since,
            tracebacks=self.order.tracebacks,
        )  # fmt: skip
        reporter = Reporter(self.ledger, self.since, self.total)
        reporter.start()
        try:
            with answering(worker):
                self._launch(worker)
        finally:
            reporter.close()
        ended = [trial for trial in self.ledger.trials() if trial.ended >= self.since]
        if isinstance(plan, StudyPlan) and self.settings["storage"] is not None:
            with suppress(StorageError):  # of those elsewhere the report can do without
                self.ledger.describe(self.ledger.description() | {"elsewhere": plan.elsewhere(self.ledger)})
        report(self.ledger)
        if stopped := [trial.code for trial in ended if trial.status == "interrupted"]:
            sys.exit(stopped[0])
        failed = [trial for trial in ended if trial.status in ("failed", "diverged")]
        if isinstance(plan, StudyPlan):  # where a rate is too high is what a search finds out
            failed = [trial for trial in failed if trial.status == "failed"]
        if failed:
            sys.exit(max(trial.code or 1 for trial in failed))
        return len(ended)

    def _launch(self, worker: Any) -> None:
        if self.launcher == BASIC:
            worker()
            return
        from hydra.core.plugins import Plugins

        # Workers elsewhere find the package by this, and Hydra's own directory is that of the sweep.
        source = str(REPOSITORY / "src")
        os.environ["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
        folder = spaces.word_of(str(self.ledger.folder))
        own = [f"hydra.sweep.dir='{folder}'"]
        self.config.hydra.overrides.hydra = [*self.config.hydra.overrides.hydra, *own]
        self.config.hydra.sweep.dir = str(self.ledger.folder)
        launcher = Plugins.instance().instantiate_launcher(
            config=self.config, hydra_context=self.context, task_function=worker
        )
        print(f"{self.jobs} workers; what their trials print: {shown(self.ledger.folder)}/trials/*/log.txt", flush=True)
        try:
            results = launcher.launch([[] for _ in range(self.jobs)], initial_job_idx=0)
        except Exception as error:  # of SLURM, Ray …: it is not the sweep's fault, and nothing is lost
            raise StriateError(
                f"the workers could not be started, or were lost: {one_line(str(error))}",
                do="repeat the same command: it goes on with what is done; hydra/launcher=basic needs nothing",
            ) from error
        for result in results:
            _ = result.return_value  # raises what the worker raised


def require_installed(launcher: str) -> None:
    """Refuses a launcher whose package is not there.

    Raises:
        ConfigurationError: with the extra that brings it.
    """
    for plugin, (package, extra) in NEEDED.items():
        if launcher.startswith(plugin) and not (is_there(plugin) and is_there(package)):
            raise ConfigurationError(
                f"this launcher needs {package} and {plugin.rpartition('.')[2].replace('_', '-')}",
                do=f'pip install "striate[{extra}]", or leave hydra/launcher out',
            )


def is_there(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def split(overrides: Sequence[Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """The words that all trials have, by key, and the overrides that stand for several values."""
    swept = {entry.get_key_element(): entry for entry in overrides if entry.is_sweep_override()}
    alone = [entry for entry in overrides if not entry.is_sweep_override()]
    return {entry.get_key_element(): entry.get_value_element_as_str() for entry in alone}, swept


def words_of(fixed: Mapping[str, str]) -> list[str]:
    """KEY=VALUE for each entry; a `~KEY` that deletes stays alone."""
    return [f"{name}={value}" if value or not name.startswith("~") else name for name, value in fixed.items()]


def default_name(label: str, content: Any) -> str:
    """A name that the same words give again."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:6]
    return f"{label[:60]}_{digest}"


def grid(call: Call, hashes_of: Hashing) -> grids.GridPlan:
    """The plan of a grid: each cell composed and checked before the first begins.

    Args:
        call: what was asked for.
        hashes_of: of the data and first weights that a trial of a configuration would meet, or None.

    Raises:
        ConfigurationError: a cell that is not valid; a study of that name.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    fixed, swept = split(call.overrides)
    for name, override in swept.items():
        if not override.is_discrete_sweep():
            raise ConfigurationError(
                f"{name}={override.get_value_string()} is not a list of values",
                do="hydra/sweeper=optuna searches intervals; for a grid write a,b,c or range(1,9,2)",
            )
    combinations = BasicSweeper.split_arguments(list(swept.values()), None)[0]
    own = words_of(fixed)
    words = [(dict(word.split("=", 1) for word in combination), own) for combination in combinations]
    configs = [call.composed([*own, *combination]) for combination in combinations]
    digests = [grids.digest_of(_without_choices(config)) for config in configs]
    cells, of_digest = grids.cells_of(words, digests), dict(zip(digests, configs, strict=True))
    label = "_".join([Path(call.order.program.script).stem, *(name.rpartition(".")[2] for name in swept)])
    values = {name: override.get_value_string() for name, override in swept.items()}
    folder = call.place(configs[0], default_name(label, [own, values]))
    afresh = configs[0].get("resume") == "never"
    code, hashes = str(runs.code_version()["hash"]), {}
    for cell in () if afresh else cells:
        if any(grids.elsewhere(folder, cell, code)) and (found := hashes_of(of_digest[cell.digest])) is not None:
            hashes[cell.key] = found
    plan = grids.GridPlan(cells, call.since, afresh, code, hashes)
    call.total = len(cells)
    call.ledger.describe(_description(call, configs[0], plain_space(swept), len(cells)))
    done = sum(plan.is_done(call.ledger.read(cell.key)) for cell in cells)
    skipped = f", {done} of them done before and skipped (resume=never trains all anew)" if done else ""
    print(f"Sweep {folder.name}: {len(cells)} trials{skipped}; {shown(folder)}", flush=True)
    return plan


def plain_space(swept: Mapping[str, Any]) -> dict[str, Any]:
    """The axes of a grid as plain data."""
    return spaces.plain({name: spaces.dimension_of_override(override) for name, override in swept.items()})


def study(call: Call) -> StudyPlan:
    """The plan of a study: its lowest and highest values composed and checked before the first trial.

    Raises:
        ConfigurationError: a setting, a value or a file that is not valid; a study of that name with another space.
    """
    require_optuna(call.settings)
    fixed, space = _searched(call)
    own = words_of(fixed)
    configs = [
        call.composed([*own, *(f"{name}={entry.examples()[end]}" for name, entry in space.items())]) for end in (0, -1)
    ]
    config, content = configs[0], spaces.plain(space)
    label = f"optuna_{_label(config['hydra_choices'])}"
    folder = call.place(config, default_name(label, [own, content]))
    known = call.ledger.description()
    if known and (known["fixed"], known["space"]) != (own, content):
        raise ConfigurationError(
            f"{shown(folder)} is a sweep of other words or another search space", do="give another hydra.sweeper.name"
        )
    monitor, settings = config.get("monitor"), call.settings
    if not monitor:
        raise ConfigurationError("only train.py has a figure to optimise", do="leave hydra/sweeper=optuna out")
    call.total = settings["trials"]
    plan = new_plan(
        folder.name, folder, settings["storage"], space,
        direction="maximize" if monitor["mode"] == "max" else "minimize",
        fixed=tuple(own), trials=call.total, sampler=settings["sampler"], pruner=settings["pruner"],
        startup=settings["startup"], min_epochs=settings["min_epochs"],
        max_epochs=max(int(config["trainer"]["max_epochs"]), settings["min_epochs"] + 1),
        seed=settings["seed"], since=call.since,
    )  # fmt: skip
    if settings["storage"] is not None:
        open_study(plan.__dict__)  # a database that cannot be used is refused before anything is written
    call.ledger.describe(_description(call, config, content, call.total) | {"fixed": own})
    done = sum(trial.status in SETTLED for trial in call.ledger.trials())
    before = f", {done} of them done before" if done else ""
    more = f" (hydra.sweeper.trials={2 * call.total} goes on)" if done >= call.total else ""
    print(f"Study {folder.name}: {call.total} trials{before}{more}; {shown(folder)}", flush=True)
    return plan


def _searched(call: Call) -> tuple[dict[str, str], spaces.Space]:
    """The words that all trials have, and the space: the command line's, a file's, or around what is configured."""
    fixed, swept = split(call.overrides)
    space = {name: spaces.dimension_of_override(override) for name, override in swept.items()}
    if space and call.settings["space"] == "auto":
        return fixed, space
    base = call.composed(words_of(fixed), strict=False)
    found = _sweep_file(call.settings["space"], base["hydra_choices"])
    if found is not None:
        file = spaces.read_sweep_file(found)
        own = {name: value for name, _, value in (word.partition("=") for word in file.words)}
        monitor = file.monitor if "monitor" in base and "monitor.metric" not in fixed else {}
        fixed = monitor | own | fixed
        print(f"Search space of {shown(found)}", flush=True)
        return fixed, {name: entry for name, entry in file.space.items() if name not in fixed} | space
    if not space and not (space := spaces.around(base)):
        raise ConfigurationError(
            "there is nothing to search",
            do='name values: "optimizer.lr=tag(log,interval(0.001,1))" model=lenet5,mlp',
        )
    if not swept:
        said = ", ".join(f"{name} {entry.low:g} to {entry.high:g}" for name, entry in space.items())
        print(f"No search space was named; it is {said}", flush=True)
    return fixed, space


def require_optuna(settings: Mapping[str, Any]) -> None:
    """Refuses settings that there are not.

    Raises:
        ConfigurationError: which.
    """
    if not is_there("optuna"):
        raise ConfigurationError("hydra/sweeper=optuna needs optuna", do='pip install "striate[optuna]"')
    for key, choices in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        if settings[key] not in choices:
            raise ConfigurationError(
                f"hydra.sweeper.{key}={settings[key]} is not valid",
                nearest=nearest(settings[key], choices),
                do=f"one of {', '.join(choices)}",
            )
    for key in ("trials", "startup", "min_epochs"):
        require_whole(settings, key, 1)
    require_whole(settings, "seed", 0)


def require_whole(settings: Mapping[str, Any], key: str, least: int) -> None:
    """Refuses a setting that is not a whole number, or below the least.

    Raises:
        ConfigurationError: which.
    """
    value = settings[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(
            f"hydra.sweeper.{key}={value} is not valid", do=f"give a whole number, {least} or more"
        )


def _sweep_file(named: str | None, choices: Mapping[str, Any]) -> Path | None:
    folder = REPOSITORY / "sweeps"
    if named in (None, "none"):
        return None
    if named == "auto":
        return spaces.file_for(choices, folder)
    path = Path(str(named)).expanduser()
    if path.is_file():
        return path
    names = [file.stem for file in folder.glob("*.yaml")]
    if str(named) not in names:
        raise ConfigurationError(
            f"hydra.sweeper.space={named}: there is no such sweep file",
            nearest=nearest(named, names),
            do=f"a path, none, or one of {', '.join(sorted(names))}",
        )
    return folder / f"{named}.yaml"


def _label(choices: Mapping[str, Any]) -> str:
    experiment = choices.get("experiment")
    return str(experiment) if experiment not in (None, "none") else f"{choices.get('model')}_{choices.get('data')}"


def _without_choices(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "hydra_choices"}


def _description(call: Call, config: Mapping[str, Any], space: Any, total: int) -> dict[str, Any]:
    script = os.path.relpath(call.order.program.script)
    return {
        "command": masked_command(runs.command_line()),
        "script": script,
        "sources": list(call.order.program.sources),
        "engine": call.engine,
        "monitor": dict(config.get("monitor") or {}),
        "space": space,
        "trials": total,
    }


__all__ = ["Call", "Trial", "grid", "study"]
