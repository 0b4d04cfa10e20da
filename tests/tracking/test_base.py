"""A dashboard works in a thread of its own: in order, and its faults and delays are its own."""

import threading
import time

import pytest

from striate.errors import ConfigurationError, DivergedError, Ending, InterruptedRun, PrunedRun, ending_of
from striate.pipelines.mirrors import tracked
from striate.tracking.base import Postponed, Session, Tracker

DONE = Ending("finished", 0)


class Noted(Tracker):
    """Notes what it is told."""

    title = "Noted"

    def __init__(self, session):
        self.told = []
        super().__init__(session)

    def _figures(self, figures, step):
        self.told.append((step, figures))

    def _parameters(self, parameters):
        self.told.append(parameters)

    def _picture(self, key, path, step):
        raise ConnectionResetError("Connection\nlost")

    def _end(self, ending):
        self.told.append(ending)


@pytest.fixture
def noted(tmp_path):
    return Noted(Session(tmp_path, "run", "00000000"))


def test_it_is_told_in_order_what_was_said_then(noted):
    figures = {"val/loss": 1.0}
    noted.tell(figures, 1)
    figures["val/loss"] = 2.0
    noted.tell(figures, 2)
    noted.log_hyperparams({"seed": 0})
    noted.close(DONE)
    assert noted.told == [(1, {"val/loss": 1.0}), (2, {"val/loss": 2.0}), {"seed": 0}, DONE]


def test_lightnings_own_figures_of_an_epoch_are_not_sent_twice(noted):
    noted.log_metrics({"val/loss": 1.0, "train/loss": 2.0, "epoch": 0}, 5)
    noted.log_metrics({"test/loss": 3.0, "epoch": 0}, 5)
    noted.finalize("success")  # Lightning says so when fit ends
    noted.log_metrics({"lr-SGD": 0.1}, 6)
    noted.close(DONE)
    assert noted.told == [(5, {"test/loss": 3.0, "epoch": 0}), (6, {"lr-SGD": 0.1}), DONE]


def test_the_first_failure_silences_it_with_one_line(noted, capsys, tmp_path):
    noted.show("x", tmp_path / "x.png", 0)
    noted.show("x", tmp_path / "x.png", 0)
    noted.tell({"a": 1.0}, 1)
    noted.close(DONE)
    assert noted.told == []
    assert capsys.readouterr().out == "Noted: Connection lost; nothing more is sent, history.csv has all figures\n"


def test_what_others_ask_for_is_there_at_once_and_later_real(noted):
    class Own:
        def log(self, *values, step):
            noted.told.append((values, step))

    begun = threading.Event()
    noted._tell(begun.wait)
    own = []
    noted._own = lambda: own[0] if own else None
    stand_in = noted.experiment
    assert isinstance(stand_in, Postponed)
    assert not hasattr(stand_in, "_private")
    stand_in.log(1, step=2)
    own.append(Own())
    assert noted.experiment is own[0]
    begun.set()
    noted.close(DONE)
    assert noted.told == [((1,), 2), DONE], "what was called on the stand-in is done when there is one"
    noted._failed = True
    noted.experiment.log(5, step=6)
    assert ((5,), 6) not in noted.told


def test_waiting_for_one_that_goes_on_has_no_end_but_for_one_that_stands_still(noted):
    noted.patience = 0.5
    for _ in range(8):
        noted._tell(lambda: time.sleep(0.15))
    noted.close(DONE)
    assert noted.told == [DONE], "it took longer than its patience, but never stood still for it"


def test_one_that_has_failed_may_clean_up_but_holds_nobody(noted, capsys):
    release = threading.Event()
    noted._give_up = release.wait
    noted._tell(lambda: 1 / 0)
    began = time.monotonic()
    noted.close(DONE)
    assert time.monotonic() - began < 2
    release.set()
    assert capsys.readouterr().out.count("Noted: ") == 1


def test_one_that_hangs_holds_nobody(noted, capsys):
    release = threading.Event()
    noted.patience = 0.2
    noted._tell(release.wait)
    began = time.monotonic()
    for step in range(1000):
        noted.tell({"a": 1.0}, step)
    assert time.monotonic() - began < 1
    noted.close(DONE)
    assert time.monotonic() - began < 2
    release.set()
    assert "Noted: does not answer; history.csv has all figures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (InterruptedRun("stopped at step 3", exit_code=143), Ending("interrupted", 143, "stopped at step 3")),
        (KeyboardInterrupt(), Ending("interrupted", 130)),
        (DivergedError("the loss\nis nan"), Ending("diverged", 4, "the loss is nan")),
        (PrunedRun("others were better"), Ending("pruned", 6, "others were better")),
        (ConfigurationError("no such thing"), Ending("failed", 2, "no such thing")),
        (RuntimeError("fault"), Ending("failed", 1, "RuntimeError: fault")),
    ],
)
def test_how_a_run_ends_is_known_by_its_exception(error, ending):
    assert ending_of(error) == ending


@pytest.mark.parametrize("word", ["wandb", "tensorboard", "mlflow", "dvclive"])
def test_a_dashboard_that_is_not_installed_is_one_clear_line(word, tmp_path, monkeypatch):
    from striate.configuration import compose, plain

    node = plain(compose("train", [f"logger={word}"]))["logger"]
    monkeypatch.setitem(__import__("sys").modules, word, None)
    with (
        pytest.raises(ConfigurationError) as caught,
        tracked(node, Session(tmp_path, "run", "00000000"), {}),
    ):
        pass
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"logger={word} needs the package {word}")
    assert f"pip install 'striate[{word}]'" in lines[1]


def test_a_logger_of_lightnings_is_one_too(tmp_path):
    node = {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": str(tmp_path)}
    with tracked({"own": node}, Session(tmp_path, "run", "00000000"), {"seed": 0}) as (logger,):
        assert type(logger).__name__ == "CSVLogger"
