"""Grids: what is done is skipped, what failed is tried again, and workers never do the same twice."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from processes import alongside
from striate.errors import ConfigurationError
from striate.sweeping.grid import digest_of
from striate.sweeping.ledger import Trial, find
from striate.sweeping.workers import Reporter


def states(ledger) -> dict[str, str]:
    return {trial.varied["rate"]: trial.status for trial in ledger.trials()}


def test_every_cell_has_its_record(grid) -> None:
    ledger, worker = grid(["0.1", "0.01"])
    assert worker() == 2
    best, other = ledger.trials()
    assert (best.status, other.status) == ("finished", "finished")
    assert best.value == pytest.approx(0.9375 + 0.03)
    assert other.value == pytest.approx(0.75 * 0.9375 + 0.03)
    assert Path(best.run_dir or "").is_dir()
    assert best.words == ["rate=0.1"]
    assert best.started <= best.ended <= time.time()


def test_failures_stop_nothing_and_are_tried_again_but_divergence_is_not(grid) -> None:
    ledger, worker = grid(["0.1", "1", "10"], "diverge=1", "fail=10")
    assert worker() == 3
    assert states(ledger) == {"0.1": "finished", "1": "diverged", "10": "failed"}
    failed = ledger.trials()[2]
    assert (failed.code, failed.value, failed.reason) == (1, None, "exit code 1")
    again = grid(["0.1", "1", "10"], "diverge=1", "fail=10")[1]
    assert again() == 1, "the failed one alone"
    assert worker() == 0, "of this command, whose failures are younger than it"


def test_afresh_does_all_again(grid) -> None:
    ledger, worker = grid(["0.1", "1"])
    worker()
    before = ledger.trials()
    assert grid(["0.1", "1"])[1]() == 0
    ledger.write(replace(before[0], status="running", ended=0.0))  # its worker was killed
    assert grid(["0.1", "1"], afresh=True)[1]() == 2
    for trial, old in zip(ledger.trials(), before, strict=True):
        assert trial.ended > old.ended
        assert trial.run_dir != old.run_dir, "trained, not taken from the run before"


def test_another_sweep_that_did_the_same_is_asked(grid) -> None:
    grid(["0.1", "1"])[1]()
    ledger, worker = grid(["0.01", "0.1", "1"], name="more")
    assert worker() == 1
    found = {trial.varied["rate"]: trial.found_in for trial in ledger.trials()}
    assert found == {"0.01": None, "0.1": "rates", "1": "rates"}
    assert all(trial.value is not None for trial in ledger.trials())


def test_what_another_sweep_did_with_other_code_does_not_count(grid, monkeypatch) -> None:
    monkeypatch.setenv("TOY_CODE", "older")
    grid(["0.1"])[1]()
    assert grid(["0.1"], name="more")[1]() == 1


@pytest.mark.parametrize("name", ["TOY_DATA", "TOY_WEIGHTS"])
def test_what_another_sweep_did_from_other_data_or_weights_does_not_count(grid, monkeypatch, name) -> None:
    monkeypatch.setenv(name, "other")
    grid(["0.1"])[1]()
    ledger, worker = grid(["0.1"], name="more")
    assert worker() == 1
    assert ledger.trials()[0].found_in is None
    unknown = replace(worker, plan=replace(worker.plan, hashes={}), folder=ledger.folder.parent / "third")
    assert unknown() == 1, "what a cell would meet is not known, so nothing is taken for it"


def test_a_cell_is_named_by_what_it_starts_from(tmp_path, monkeypatch) -> None:
    def digest(root="a", path=None, workers=0):
        data = {"root": root, "source": {"root": root}, "prepared_dir": "p", "num_workers": workers}
        return digest_of({"data": data, "init": {"kind": "checkpoint", "path": path}, "seed": 0})

    assert len({digest(), digest("b"), digest(path="x.ckpt"), digest(path="y.ckpt")}) == 4
    assert digest(workers=2) == digest(), "how it is read has no effect"
    (tmp_path / "x.ckpt").touch()
    monkeypatch.chdir(tmp_path)
    assert digest(path="x.ckpt") == digest(path=str(tmp_path / "x.ckpt")), "one file, however it is typed"


def test_what_somebody_else_stops_costs_only_itself(grid, monkeypatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    ledger, worker = grid(["1", "0.1"], "stopped=1")
    assert worker() == 2
    assert states(ledger) == {"1": "failed", "0.1": "finished"}
    assert (ledger.trials()[0].code, ledger.trials()[0].reason) == (143, "ended by SIGTERM")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    ledger, worker = grid(["1", "0.1"], "stopped=1", name="preempted")
    assert worker() == 1
    assert states(ledger) == {"1": "interrupted"}


def test_two_workers_share_a_grid(grid) -> None:
    rates = ["0.001", "0.01", "0.1", "1", "10"]
    ledger, worker = grid(rates, "sleep=0.3", jobs=2)
    alongside(worker, 60)
    assert states(ledger) == dict.fromkeys(rates, "finished")
    logs = [(ledger.place(trial.key) / "log.txt").read_text() for trial in ledger.trials()]
    assert [log.count("toy") for log in logs] == [1] * 5, "each cell once"
    threads = max(1, len(os.sched_getaffinity(0)) // 2) if "OMP_NUM_THREADS" not in os.environ else None
    assert threads is None or all(f" {threads}\n" in log for log in logs)
    spans = sorted((trial.started, trial.ended) for trial in ledger.trials())
    assert any(a[1] > b[0] for a, b in pairwise(spans)), "two at a time"


def test_a_trial_whose_worker_was_killed_is_taken_over(grid) -> None:
    ledger, worker = grid(["0.1"])
    worker()
    trial = ledger.trials()[0]
    ledger.write(replace(trial, status="running", ended=0.0))
    assert grid(["0.1"])[1]() == 1
    harvested = ledger.trials()[0]
    assert (harvested.status, harvested.run_dir) == ("finished", trial.run_dir), (
        "its run had finished, so it did not run"
    )


def test_workers_stop_when_told_and_when_their_command_is_gone(grid) -> None:
    ledger, worker = grid(["0.1", "1"], "sleep=30")
    context = multiprocessing.get_context("fork")
    process = context.Process(target=worker)
    process.start()
    while not ledger.trials():
        time.sleep(0.05)
    time.sleep(0.5)
    worker.stop_file.touch()
    process.join(20)
    assert process.exitcode == 0
    assert [trial.status for trial in ledger.trials()] == ["interrupted"], "and the second has not begun"
    worker.stop_file.unlink()
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert replace(worker, pid=done.pid)() == 0


def test_a_killed_worker_takes_its_trial_along(grid) -> None:
    ledger, worker = grid(["0.1"], "sleep=30")
    process = multiprocessing.get_context("fork").Process(target=worker)
    process.start()
    while not ledger.trials() or ledger.run_of(ledger.trials()[0].key) is None:
        time.sleep(0.05)
    pid = int(str(ledger.run_of(ledger.trials()[0].key)).rpartition("_")[2])
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(10)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"
    held = ledger.hold(ledger.trials()[0].key)
    assert held is not None, "and leaves it free for the next"
    held.release()


def test_what_becomes_of_trials_is_said_once(grid, capsys) -> None:
    ledger, worker = grid(["0.1", "1"], "fail=1")
    reporter = Reporter(ledger, worker.since, 2)
    worker()
    reporter.look()
    reporter.look()
    said = capsys.readouterr()
    assert said.out.count("[1/2] finished, val/score 0.9675 (rate=0.1)") == 1
    assert said.err == "trial 1 (rate=1) failed: exit code 1\n"


def test_a_sweep_is_found_by_name_and_a_wrong_name_is_guessed(tmp_path, grid) -> None:
    ledger, _ = grid(["0.1"])
    ledger.describe({"engine": "grid"})
    assert find("rates", tmp_path).folder == find("last", tmp_path).folder == ledger.folder
    with pytest.raises(ConfigurationError) as refused:
        find("rate", tmp_path)
    assert refused.value.nearest == "rates"


def test_a_record_of_a_later_version_is_read(grid) -> None:
    ledger, _ = grid(["0.1"])
    ledger.write(Trial("k", 0, {"rate": "1"}))
    file = ledger.place("k") / "trial.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"of_the_future": 1}))
    assert ledger.read("k") == Trial("k", 0, {"rate": "1"})
    file.write_text("{")
    assert ledger.read("k") is None
