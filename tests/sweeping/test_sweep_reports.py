"""What a sweep ends with: a table, the best trial and its command, what mattered, and the picture."""

import csv
import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from striate.evaluation.sweep_figures import Line, parallel_coordinates, scale_of
from striate.pipelines.sweep_report import conclude
from striate.sweeping.importance import importances
from striate.sweeping.ledger import Ledger, Trial
from striate.sweeping.space import Dimension, plain


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Twelve finished trials whose value is the rate's alone, one pruned, one failed, one at work."""
    found = Ledger(tmp_path / "sweeps" / "digits")
    space = {"optimizer.lr": Dimension("float", 0.001, 1, log=True), "model": Dimension("choice", choices=("mlp", "x"))}
    found.describe({"monitor": {"metric": "auto", "mode": "max"}, "script": "src/train.py", "space": plain(space)})
    for number in range(15):
        rate, model = f"{0.001 * 1.6**number:.4g}", "mlp" if number % 2 else "x"
        status = {12: "pruned", 13: "failed", 14: "running"}.get(number, "finished")
        value = None if number > 12 else 0.5 + 0.03 * number if number < 12 else 0.99
        run_dir = tmp_path / f"run{number}"
        run_dir.mkdir()
        facts = {"hashes": {"data": "d", "code": "c"}, "metrics": {"test/top1_micro": 0.5}}
        (run_dir / "run.json").write_text(json.dumps(facts))
        varied = {"optimizer.lr": rate, "model": model}
        found.write(
            Trial(
                f"{number:04d}", number, varied, ["data.root=a b"], status=status, value=value,
                metric="val/top1_micro", run_dir=str(run_dir), started=1.0, ended=0.0 if number == 14 else 11.0,
            )
        )  # fmt: skip
    return found


def test_the_best_is_a_finished_one_and_its_command_trains_it_again(ledger: Ledger, capsys) -> None:
    figures = conclude(ledger, rows=3)
    said = capsys.readouterr().out
    assert figures == {"trials": 15, "best": pytest.approx(0.83)}, "not the pruned one, whatever it had reached"
    command = next(line for line in said.splitlines() if line.startswith("Train it again: "))
    words = shlex.split(command.removeprefix("Train it again: "))
    assert words == ["python", "src/train.py", "data.root=a b", "optimizer.lr=0.1759", "model=mlp"]
    assert "Best: trial 11, val/top1_micro 0.8300" in said
    assert "test/top1_micro 0.5000" in said
    assert "12 finished, 1 pruned, 1 failed, 1 running" in said
    assert "and 12 more in trials.csv" in said
    assert "Note:" not in said


def test_the_table_has_every_trial_the_best_first(ledger: Ledger) -> None:
    conclude(ledger)
    rows = list(csv.DictReader((ledger.folder / "trials.csv").open()))
    assert [int(row["trial"]) for row in rows] == [*range(11, -1, -1), 12, 13, 14]
    assert rows[0]["val/top1_micro"] == "0.83"
    assert [row["seconds"] for row in rows[-2:]] == ["10.0", ""]


def test_pictures_are_drawn(ledger: Ledger) -> None:
    pytest.importorskip("optuna")
    conclude(ledger)
    with Image.open(ledger.folder / "parallel_coordinates.png") as drawn:
        assert drawn.width > 700
        assert len(drawn.convert("RGB").getcolors(1 << 20) or []) > 300, "lines in the colours of their values"
    with Image.open(ledger.folder / "importance.png") as drawn:
        assert drawn.width > 700


def test_what_mattered_is_what_the_values_depend_on(ledger: Ledger) -> None:
    pytest.importorskip("optuna")
    finished = [trial for trial in ledger.trials() if trial.status == "finished"]
    space = {"optimizer.lr": Dimension("float", 0.001, 1, log=True), "model": Dimension("choice", choices=("mlp", "x"))}
    shares = importances(finished, space, "max")
    assert sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == "optimizer.lr"
    assert shares["optimizer.lr"] > 0.8
    assert importances(finished[:4], space, "max") == {}


def test_a_sweep_that_was_extended_is_reported(ledger: Ledger) -> None:
    pytest.importorskip("optuna")
    finished = [trial for trial in ledger.trials() if trial.status == "finished"]
    space = {"optimizer.lr": Dimension("choice", choices=("0.1",)), "model": Dimension("choice", choices=("lenet5",))}
    ledger.describe(ledger.description() | {"space": plain(space)})
    assert importances(finished, space, "max") != {}
    ledger.write(Trial("new", 15, {"seed": "1"}, status="finished", value=0.1, metric="val/top1_micro", ended=12.0))
    assert conclude(ledger)["trials"] == 16
    narrow = {"optimizer.lr": Dimension("float", 0.01, 1, log=True), "model": Dimension("choice", choices=("x",))}
    inside = [trial for trial in finished if float(trial.varied["optimizer.lr"]) >= 0.0099]
    assert importances(finished, narrow, "max") == importances(inside, narrow, "max") != {}


def test_trials_elsewhere_are_mentioned(ledger: Ledger, capsys) -> None:
    ledger.describe(ledger.description() | {"elsewhere": {"trials": 3, "best": 0.5}})
    conclude(ledger)
    assert "3 more trials count in this study, the best of them with val/top1_micro 0.5000" in capsys.readouterr().out


def test_trials_of_other_data_are_pointed_out(ledger: Ledger, capsys) -> None:
    place = Path(ledger.trials()[0].run_dir or "") / "run.json"
    place.write_text(json.dumps({"hashes": {"data": "other", "code": "c"}}))
    conclude(ledger)
    assert "Note: these trials were made with 2 versions of the data" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "log", "expected"),
    [
        (["0.01", "0.1", "1"], True, [0.0, 0.5, 1.0]),
        (["0.01", "0.1", "1"], None, [0.0, 0.5, 1.0]),  # a hundredfold: factors
        (["1", "2", "3"], None, [0.0, 0.5, 1.0]),
        (["0", "50", "100"], None, [0.0, 0.5, 1.0]),
        (["mlp", "lenet5"], None, [0.25, 0.75]),
        (["0.1"], None, [0.5]),
    ],
)
def test_where_values_lie_on_an_axis(values: list[str], log: bool | None, expected: list[float]) -> None:
    assert [scale_of(values, log).places[value] for value in values] == pytest.approx(expected)


def test_a_picture_needs_a_finished_trial(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one finished"):
        parallel_coordinates([Line({"a": "1"}, None, False)], {"a": None}, tmp_path / "x.png", metric="m")
