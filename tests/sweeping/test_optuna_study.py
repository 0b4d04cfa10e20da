"""Optuna studies: each trial once, pruned by its curve, resumed in storage, by any number of workers."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from processes import alongside
from striate.errors import ConfigurationError, StorageError

pytest.importorskip("optuna")

from striate.sweeping.ledger import Ledger
from striate.sweeping.space import Dimension, plain
from striate.sweeping.study import StudyPlan, open_study
from striate.sweeping.workers import new_worker

SPACE = {"rate": Dimension("float", 0.001, 10, log=True), "width": Dimension("int", 1, 5, step=1)}


@pytest.fixture
def study(toy, tmp_path, monkeypatch):
    """`study(trials=…)` makes a plan and a worker for it."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))

    def make(*fixed, space=SPACE, jobs=1, machine="sweeps", **settings):
        folder = tmp_path / machine / "study"
        folder.mkdir(parents=True, exist_ok=True)
        chosen = {
            "direction": "maximize", "trials": 4, "sampler": "random", "pruner": "none", "startup": 2,
            "min_epochs": 1, "max_epochs": 4, "seed": 0, "since": time.time(),
        } | settings  # fmt: skip
        storage = f"sqlite:///{tmp_path / 'study.db'}"
        plan = StudyPlan(name="study", storage=storage, space=plain(space), fixed=fixed, **chosen)
        worker = new_worker(folder, toy, plan, hydra_words=(), jobs=jobs, since=chosen["since"])
        return plan, worker, Ledger(folder)

    return make


def told(plan) -> list:
    return open_study(plan.__dict__).get_trials(deepcopy=False)


def test_trials_are_told_and_a_larger_number_goes_on(study) -> None:
    plan, worker, ledger = study(trials=3)
    assert worker() == 3
    for frozen, trial in zip(told(plan), ledger.trials(), strict=True):
        assert frozen.state.name == "COMPLETE"
        assert frozen.value == trial.value
        assert float(trial.varied["rate"]) == pytest.approx(frozen.params["rate"], rel=1e-3)
        assert int(trial.varied["width"]) == frozen.params["width"]
    assert study(trials=3)[1]() == 0
    assert study(trials=5)[1]() == 2
    assert len({trial.varied["rate"] for trial in ledger.trials()}) == 5, "the seed is not used twice"


def test_two_workers_share_a_study(study) -> None:
    plan, worker, ledger = study("sleep=0.2", trials=6, jobs=2)
    alongside(worker, 120)
    assert [trial.status for trial in ledger.trials()] == ["finished"] * 6
    assert [frozen.state.name for frozen in told(plan)] == ["COMPLETE"] * 6
    assert len({trial.varied["rate"] for trial in ledger.trials()}) == 6


def test_bad_trials_are_pruned_by_their_curve_and_count(study) -> None:
    plan, worker, ledger = study(trials=5, pruner="median", startup=2)
    worker()
    states = [trial.status for trial in ledger.trials()]
    assert states[:2] == ["finished", "finished"]
    assert set(states) == {"finished", "pruned"}
    assert [frozen.state.name == "PRUNED" for frozen in told(plan)] == [state == "pruned" for state in states]
    pruned = next(frozen for frozen in told(plan) if frozen.state.name == "PRUNED")
    assert 1 <= len(pruned.intermediate_values) < 4
    best = max(trial.value for trial in ledger.trials())
    assert best == max(frozen.value for frozen in told(plan) if frozen.state.name == "COMPLETE")


def test_a_diverged_trial_warns_the_sampler_and_a_failed_one_does_not_count_later(study) -> None:
    plan, worker, ledger = study("diverge=1", trials=6)
    worker()
    by_state = {trial.status: told(plan)[trial.number].state.name for trial in ledger.trials()}
    assert by_state == {"finished": "COMPLETE", "diverged": "PRUNED"}
    plan, worker, ledger = study("fail=0", trials=8)
    assert worker() == 2
    assert [frozen.state.name for frozen in told(plan)][6:] == ["FAIL", "FAIL"]
    assert study(trials=8)[1]() == 2


def test_what_a_killed_worker_left_behind_is_taken_over(study) -> None:
    plan, worker, ledger = study(trials=2)
    trial, held = plan.take(ledger)
    held.release()  # as the lock of a process that has died
    assert told(plan)[0].state.name == "RUNNING"
    assert worker() == 2
    assert ledger.trials()[0].varied == trial.varied
    assert [frozen.state.name for frozen in told(plan)] == ["COMPLETE", "COMPLETE"]


def test_a_trial_that_its_worker_could_not_tell_of_is_told_and_not_run_again(study) -> None:
    plan, worker, ledger = study(trials=1)
    trial, held = plan.take(ledger)
    ledger.write(replace(trial, status="finished", value=0.5))
    held.release()
    assert worker() == 0
    assert [(frozen.state.name, frozen.value) for frozen in told(plan)] == [("COMPLETE", 0.5)]


def test_machines_that_share_the_database_alone_leave_each_others_trials_alone(study, capsys) -> None:
    plan, here, ledger = study(trials=3)
    _, held = plan.take(ledger)
    elsewhere, there, other = study(trials=3, machine="elsewhere")
    assert there() == 2, "of the three one is under way here"
    assert [trial.number for trial in other.trials()] == [1, 2]
    assert [frozen.state.name for frozen in told(plan)] == ["RUNNING", "COMPLETE", "COMPLETE"]
    held.release()
    assert there() == 0, "nor is it taken for left behind"
    assert here() == 1
    assert [trial.number for trial in ledger.trials()] == [0]
    best = max(frozen.value for frozen in told(plan)[1:])
    assert plan.elsewhere(ledger) == {"trials": 2, "best": best}
    assert elsewhere.elsewhere(other)["trials"] == 1
    plan.conclude(ledger, replace(other.trials()[0], value=9.0))
    assert "told of it by another" in capsys.readouterr().out
    assert best == max(frozen.value for frozen in told(plan)[1:])


def test_many_may_begin_one_database_at_once(study) -> None:
    plan, _, _ = study()
    opened = Path(plan.storage.removeprefix("sqlite:///")).parent / "opened"
    opened.mkdir()

    def begin() -> None:
        open_study(plan.__dict__)
        (opened / str(time.monotonic_ns())).touch()

    alongside(begin, 60, count=4)
    assert len(list(opened.iterdir())) == 4


@pytest.mark.parametrize(
    ("storage", "kind", "says"),
    [
        ("/tmp/x.db", ConfigurationError, "hydra.sweeper.storage=/tmp/x.db cannot be used: Could not parse"),
        ("nothing://me:secret@host/x", ConfigurationError, "nothing://me:***@host/x cannot be used"),
        ("sqlite:////nowhere/at/all/x.db", StorageError, "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_clear_line(study, monkeypatch, storage, kind, says) -> None:
    monkeypatch.setattr("striate.sweeping.study._ATTEMPTS", 1)
    plan = replace(study()[0], storage=storage)
    with pytest.raises(kind) as refused:
        open_study(plan.__dict__)
    assert says in str(refused.value)
    assert "secret" not in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 3


def test_a_trial_with_the_values_of_another_is_not_run(study) -> None:
    space = {"rate": Dimension("choice", choices=("0.1",))}
    plan, worker, ledger = study(trials=3, space=space)
    assert worker() == 1
    assert [trial.found_in for trial in ledger.trials()] == [None, "trial 0", "trial 0"]
    assert [frozen.value for frozen in told(plan)] == [ledger.trials()[0].value] * 3


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_samplers_and_pruners_that_can_be_named(study, sampler: str, pruner: str) -> None:
    plan, _, ledger = study(trials=4, sampler=sampler, pruner=pruner)
    for value in (1.0, 2.0, 3.0):
        trial, held = plan.take(ledger)
        trial.status, trial.value = "finished", value
        ledger.write(trial)
        plan.conclude(ledger, trial)
        held.release()
    assert [frozen.value for frozen in told(plan)] == [1.0, 2.0, 3.0]
