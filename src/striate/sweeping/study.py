"""An Optuna study as a plan: the next trial is the one that its sampler proposes; bad ones are pruned.

Hydra's Optuna plugin (1.3) cannot carry this: a job is not told which trial it is, so nothing can be reported during it
and nothing pruned; trials go in batches that wait for their slowest; a failed trial is all it knows beside a finished
one; and what a killed sweep has left behind stays "running" for ever. So this stands on Optuna itself.
"""

import json
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from striate import runs
from striate.configuration import masked
from striate.errors import ConfigurationError, StorageError
from striate.sweeping.ledger import SETTLED, Ledger, Trial
from striate.sweeping.library import quiet_optuna
from striate.sweeping.space import Space, plain, space_of, word_of

STUDY = "STRIATE_STUDY"  # in the environment of a trial: the study that it reports to
# Attribute of a trial: the ledger that runs it, since machines without a common one may share a study.
_OWNER = "ledger"
_PATIENCE = 60  # seconds that a worker waits for the others to let SQLite go
_ATTEMPTS = 5  # at a database that others make at the same moment


@dataclass(frozen=True)
class StudyPlan:
    """What the workers of a study must know; plain data, since it travels to other processes.

    Args:
        name: of the study.
        storage: its database, a URL of SQLAlchemy.
        direction: "maximize" or "minimize".
        space: plain data of the search space.
        fixed: words that all trials have.
        trials: how many the study shall have.
        sampler: "tpe", "random" or "cmaes".
        pruner: "median", "hyperband" or "none".
        startup: trials before the sampler and the pruner judge by what they have seen.
        min_epochs: epochs that every trial has.
        max_epochs: of a whole trial.
        seed: of the sampler.
        since: when the command was given: trials that failed before do not count.
    """

    name: str
    storage: str
    direction: str
    space: dict[str, Any]
    fixed: tuple[str, ...]
    trials: int
    sampler: str
    pruner: str
    startup: int
    min_epochs: int
    max_epochs: int
    seed: int
    since: float

    def take(self, ledger: Ledger) -> tuple[Trial, runs.Run] | None:
        """The next trial, held for this process: first what others have left behind; None when the study has enough."""
        while True:
            with ledger.alone():
                study = open_study(self.__dict__)
                left = self._left_behind(study, ledger)
                if left is not None:
                    return left
                known = study.get_trials(deepcopy=False)
                if sum(self._counts(trial) for trial in known) >= self.trials:
                    return None
                study.sampler = _sampler(self.sampler, self.startup, self.seed + 7919 * len(known))
                asked = study.ask()
                asked.set_user_attr(_OWNER, ledger.identity())  # before its values: until then nobody takes it
                space: Space = space_of(self.space)
                values = {name: dimension.round(dimension.suggest(asked, name)) for name, dimension in space.items()}
                held = ledger.hold(key := f"{asked.number:04d}")
                assert held is not None, "a number is given once"
            trial = Trial(key, asked.number, _words(values), list(self.fixed), started=time.time())
            twin = next((other for other in ledger.trials() if _same(other, trial)), None)
            if twin is None:
                return trial, held
            now, found = time.time(), f"trial {twin.number}"
            trial = replace(twin, key=key, number=asked.number, started=now, ended=now, found_in=found)
            ledger.write(trial)
            self.conclude(ledger, trial)
            held.release()

    def _left_behind(self, study: Any, ledger: Ledger) -> tuple[Trial, runs.Run] | None:
        """A trial of this ledger that is under way in the study, though nobody is at it: its worker was killed."""
        from optuna.trial import TrialState

        own = ledger.identity()
        for frozen in study.get_trials(deepcopy=False):
            if frozen.state != TrialState.RUNNING or frozen.params.keys() != self.space.keys():
                continue
            if frozen.user_attrs.get(_OWNER, own) != own:
                continue
            held = ledger.hold(key := f"{frozen.number:04d}")
            if held is None:
                continue
            space = space_of(self.space)
            values = _words({name: space[name].round(value) for name, value in frozen.params.items()})
            known = ledger.read(key)
            if known is not None and known.status in SETTLED and known.varied == values:
                self.conclude(ledger, known)  # done, but its worker could not say so
                held.release()
                continue
            return Trial(key, frozen.number, values, list(self.fixed), started=time.time()), held
        return None

    def elsewhere(self, ledger: Ledger) -> dict[str, Any]:
        """What this study has in other ledgers: how many trials, and the best value among them."""
        own, best = ledger.identity(), max if self.direction == "maximize" else min
        known = open_study(self.__dict__).get_trials(deepcopy=False)
        others = [trial for trial in known if trial.user_attrs.get(_OWNER, own) != own]
        values = [trial.value for trial in others if trial.state.name == "COMPLETE"]
        return {"trials": len(others), "best": best(values) if values else None}

    def _counts(self, frozen: Any) -> bool:
        from optuna.trial import TrialState

        if frozen.state != TrialState.FAIL:
            return frozen.state != TrialState.RUNNING or frozen.params.keys() == self.space.keys()
        return frozen.datetime_complete is not None and frozen.datetime_complete.timestamp() >= self.since

    def begin(self, ledger: Ledger, trial: Trial) -> dict[str, str]:
        """What the trial finds in its environment: where to report its validations, unless nothing is pruned."""
        if self.pruner == "none":
            return {}
        order = {**self.__dict__, "space": {}, "fixed": [], "number": trial.number}
        return {STUDY: json.dumps(order)}

    def conclude(self, ledger: Ledger, trial: Trial) -> None:
        """Tells the study. A diverged trial counts as pruned there: from a failed one its sampler learns nothing."""
        from optuna.trial import TrialState

        if trial.status == "interrupted":
            return
        study = open_study(self.__dict__)
        if next(one for one in study.get_trials(deepcopy=False) if one.number == trial.number).state.is_finished():
            print(f"trial {trial.number}: its study has been told of it by another", flush=True)
        elif trial.status == "finished" and trial.value is not None:
            study.tell(trial.number, trial.value)
        elif trial.status in ("pruned", "diverged"):
            study.tell(trial.number, state=TrialState.PRUNED)
        else:
            study.tell(trial.number, state=TrialState.FAIL)


def new_plan(name: str, folder: Path, storage: str | None, space: Space, **settings: Any) -> StudyPlan:
    """The plan of a study, in a SQLite file of the sweep's directory unless a database is named."""
    url = storage or f"sqlite:///{folder / 'study.db'}"
    return StudyPlan(name=name, storage=url, space=plain(space), **settings)


def open_study(order: Mapping[str, Any]) -> Any:
    """The study in its storage, made if it is not there; of the plan its settings are needed.

    Raises:
        ConfigurationError: no address of a database, or no driver for it.
        StorageError: a database that cannot be reached or written.
    """
    optuna = quiet_optuna()
    from sqlalchemy import exc

    place = masked(order["storage"])
    for attempt in range(_ATTEMPTS):
        try:
            return _opened(order)
        except (exc.ArgumentError, ImportError) as error:
            raise ConfigurationError(
                f"hydra.sweeper.storage={place} cannot be used: {_first_line(error)}",
                do="sqlite:////PATH/study.db, or postgresql+psycopg2://HOST/NAME with that driver installed",
            ) from error
        except (exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            if attempt + 1 == _ATTEMPTS:
                raise StorageError(
                    f"the study's database {place} cannot be opened: {_first_line(error.__cause__ or error)}",
                    do="see that it can be reached and written; the same command goes on",
                ) from error
            time.sleep(0.3 * (attempt + 1))  # of two who begin an empty one, one finds the other's half-made tables
    raise AssertionError


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _opened(order: Mapping[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna = quiet_optuna()
        engine: dict[str, Any] = {}
        if order["storage"].startswith("sqlite"):
            # Each statement its own transaction: no lock outlives it, and Optuna 2 works with SQLAlchemy 2, which would
            # otherwise wait for a commit that Optuna 2 never gives. What must be done at once has the ledger's lock.
            engine = {"isolation_level": "AUTOCOMMIT", "connect_args": {"timeout": _PATIENCE}}
        return optuna.create_study(
            study_name=order["name"],
            storage=optuna.storages.RDBStorage(order["storage"], engine_kwargs=engine),
            direction=order["direction"],
            sampler=optuna.samplers.RandomSampler(),
            pruner=_pruner(order),
            load_if_exists=True,
        )


def _sampler(kind: str, startup: int, seed: int) -> Any:
    # Made anew for each trial, from its number: workers that share a seed would all propose the same.
    optuna = quiet_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental arguments
        if kind == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if kind == "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=startup, multivariate=True, group=True, constant_liar=True
        )


def _pruner(order: Mapping[str, Any]) -> Any:
    optuna = quiet_optuna()
    if order["pruner"] == "median":
        return optuna.pruners.MedianPruner(order["startup"], n_warmup_steps=order["min_epochs"])
    if order["pruner"] == "hyperband":
        return optuna.pruners.HyperbandPruner(order["min_epochs"], order["max_epochs"], reduction_factor=3)
    return optuna.pruners.NopPruner()


def reported_trial() -> Any:
    """The trial of a study that this process is, to report to and to ask; None when it is none."""
    if STUDY not in os.environ:
        return None
    order = json.loads(os.environ[STUDY])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna = quiet_optuna()
        study = open_study(order)
        frozen = next(trial for trial in study.get_trials(deepcopy=False) if trial.number == order["number"])
        return optuna.trial.Trial(study, frozen._trial_id)


def _words(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: word_of(value) for name, value in values.items()}


def _same(other: Trial, trial: Trial) -> bool:
    return other.status == "finished" and other.varied == trial.varied and other.fixed == trial.fixed
