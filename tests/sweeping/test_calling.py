"""From the words of a command to its plan: what is searched, what is refused, what is taken from elsewhere."""

import copy
import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf, open_dict

from striate import runs
from striate.configuration import REPOSITORY
from striate.configuration.composition import FOLDER, keep_hydra_from_writing, settled
from striate.configuration.schema import SCHEMAS
from striate.configuration.trials import Program, SweepOrder
from striate.errors import ConfigurationError
from striate.pipelines.meeting import hashes_of
from striate.sweeping.calling import Call, grid, study
from striate.sweeping.ledger import Ledger, Trial

RATES = "optimizer.lr=tag(log,interval(0.01,0.1))"


@pytest.fixture
def call(tmp_path: Path, monkeypatch):
    """`call(*words)` is what a sweeper gets of the command `train.py -m WORDS`."""
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.types import RunMode

    # What a command registers is its process's alone: other tests compose from other folders. Plugins register once.
    Plugins.instance()
    monkeypatch.setattr(ConfigStore.instance(), "repo", copy.deepcopy(ConfigStore.instance().repo))

    def make(*words: str, engine: str = "grid") -> Call:
        keep_hydra_from_writing()
        own = [f"paths.runs_dir={tmp_path / 'runs'}", f"hydra/sweeper={engine}", *words]
        with initialize_config_dir(str(FOLDER), version_base="1.3"):
            hydra = GlobalHydra.instance().hydra
            config = hydra.compose_config("train", own, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        settings: Any = OmegaConf.to_container(config.hydra.sweeper)
        program = Program(str(REPOSITORY / "src/train.py"), str(tmp_path), ())
        order = SweepOrder(program, functools.partial(settled, schema=SCHEMAS["train"]))
        context = SimpleNamespace(config_loader=hydra.config_loader)
        with open_dict(config):
            return Call(config, context, order, settings, list(config.hydra.overrides.task), engine)

    return make


def nothing(config: Any) -> None:
    """For grids of which no other sweep has done anything."""
    raise AssertionError("there is nothing to compare with")


def test_cells_that_differ_in_what_they_start_from_are_all_there(call) -> None:
    roots = grid(call("data=folder", "data.root=/a,/b"), nothing)
    assert [cell.varied for cell in roots.cells] == [{"data.root": "/a"}, {"data.root": "/b"}]
    weights = grid(call("init=checkpoint", "init.path=x.ckpt,y.ckpt"), nothing)
    assert [cell.varied for cell in weights.cells] == [{"init.path": "x.ckpt"}, {"init.path": "y.ckpt"}]


def test_what_is_taken_from_another_sweep_met_the_same_data_and_weights(call, places, trained, tmp_path) -> None:
    facts = runs.read(trained) or {}
    words = [*places[:2], "init=checkpoint", f"init.path={trained}", "optimizer.lr=0.01,0.1"]
    first = grid(call(*words, "hydra.sweeper.name=first"), nothing)
    done = Ledger(tmp_path / "runs" / "sweeps" / "first")
    code = runs.code_version()["hash"]
    for cell, weights in zip(first.cells, ("", "other"), strict=True):
        run_dir = tmp_path / cell.key
        run_dir.mkdir()
        met = hashes_of(call().composed(cell.words)) or {}
        assert met["data"] == facts["hashes"]["data"]
        hashes = {"data": met["data"], "weights": weights or met["weights"], "code": code}
        (run_dir / "run.json").write_text(json.dumps({"status": "finished", "hashes": hashes}))
        done.write(Trial(**cell.__dict__ | {"status": "finished", "value": 0.5, "run_dir": str(run_dir)}))
    again = grid(call(*words, "hydra.sweeper.name=again"), hashes_of)
    ledger = Ledger(tmp_path / "runs" / "sweeps" / "again")
    trial, held = again.take(ledger) or pytest.fail("the second is to be trained")
    held.release()
    assert trial.varied == {"optimizer.lr": "0.1"}, "its weights were others then"
    assert ledger.trials()[0].found_in == "first"


def test_no_data_yet_is_nothing_to_compare_with(call, tmp_path) -> None:
    assert hashes_of(call().composed([f"paths.prepared_dir={tmp_path}"])) is None


@pytest.mark.parametrize(
    ("word", "engine"),
    [("jobs=abc", "grid"), ("jobs=0", "grid"), ("jobs=2.5", "optuna"), ("trials=true", "optuna"), ("seed=x", "optuna")],
)
def test_settings_that_are_no_whole_numbers_are_named(call, word: str, engine: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"hydra\.sweeper\.{word.partition('=')[0]}=.* is not valid"):
        study(call(f"hydra.sweeper.{word}", "optimizer.lr=0.01,0.1", engine=engine))


def test_a_grid_and_a_study_do_not_take_each_others_names(call) -> None:
    pytest.importorskip("optuna")
    grid(call("optimizer.lr=0.01,0.1", "hydra.sweeper.name=mine"), nothing)
    with pytest.raises(ConfigurationError, match=r"mine is a grid, not a study of Optuna"):
        study(call(RATES, "hydra.sweeper.name=mine", engine="optuna"))
    study(call(RATES, "hydra.sweeper.name=other", engine="optuna"))
    with pytest.raises(ConfigurationError, match=r"other is a study of Optuna, not a grid"):
        grid(call("optimizer.lr=0.01,0.1", "hydra.sweeper.name=other"), nothing)


def test_a_database_that_cannot_be_used_is_refused_before_anything_is_written(call, tmp_path) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(ConfigurationError, match=r"hydra\.sweeper\.storage=/tmp/x\.db cannot be used"):
        study(call(RATES, "hydra.sweeper.storage=/tmp/x.db", engine="optuna"))
    assert not (tmp_path / "runs").exists()


def test_secrets_of_the_command_are_not_kept(call, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["src/train.py", "-m", "hydra.sweeper.storage=postgresql://me:hidden@host/x"])
    grid(call("optimizer.lr=0.01,0.1", "hydra.sweeper.name=kept"), nothing)
    kept = (tmp_path / "runs/sweeps/kept/sweep.json").read_text()
    assert "hidden" not in kept
    assert "postgresql://me:***@host/x" in kept


# ---- the search space of a study -------------------------------------------------------------------------------------


def test_a_space_on_the_command_line_is_the_whole_space(call) -> None:
    pytest.importorskip("optuna")
    of_file = study(call("experiment=segmentation_digits", engine="optuna"))
    assert set(of_file.space) == {"optimizer.lr", "optimizer.weight_decay", "data.batch_size", "model.dropout"}
    typed = study(call("experiment=segmentation_digits", RATES, engine="optuna"))
    assert set(typed.space) == {"optimizer.lr"}
    named = ["experiment=segmentation_digits", RATES, "hydra.sweeper.space=segmentation_digits"]
    assert set(study(call(*named, engine="optuna")).space) == set(of_file.space), "a file that is named is asked too"


def test_a_study_optimises_what_its_file_says(call, tmp_path) -> None:
    pytest.importorskip("optuna")
    file = tmp_path / "mine.yaml"
    file.write_text("metric: {name: val/loss, goal: minimize}\nparameters: {optimizer.lr: {min: 0.01, max: 0.1}}\n")
    plan = study(call(f"hydra.sweeper.space={file}", engine="optuna"))
    assert plan.direction == "minimize"
    assert {"monitor.metric=val/loss", "monitor.mode=min"} <= set(plan.fixed)
    typed = study(call(f"hydra.sweeper.space={file}", "monitor.metric=val/top1_micro", engine="optuna"))
    assert typed.direction == "maximize", "the command line wins"
    assert "monitor.metric=val/loss" not in typed.fixed
