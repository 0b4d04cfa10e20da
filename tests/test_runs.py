"""Run directories: atomic, never shared, found again."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from striate import runs
from striate.errors import ConfigurationError, StorageError
from striate.storage import save_checkpoint

CONFIG = {
    "seed": 0,
    "paths": {"runs_dir": "runs"},
    "trainer": {"max_epochs": 3, "devices": 1},
    "optimizer": {"lr": 0.1},
    "data": {"num_workers": 0, "batch_size": 4},
}


def test_fifty_starts_in_one_second_have_fifty_directories(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: runs.create(tmp_path, "lenet5_digits", {}).folder, range(50)))
    assert len(set(made)) == 50
    assert all(runs.read(folder)["status"] == "running" for folder in made)


def test_a_directory_is_held_by_one_process_at_a_time(tmp_path):
    first = runs.create(tmp_path, "x", {})
    assert not runs.Run(first.folder).acquire()
    first.release()
    assert runs.Run(first.folder).acquire()


def test_a_used_directory_is_refused(tmp_path):
    runs.claim(tmp_path / "mine", {}).release()
    with pytest.raises(StorageError, match="already used"):
        runs.claim(tmp_path / "mine", {})


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"paths": {"runs_dir": "elsewhere"}}, True),
        ({"trainer": {"max_epochs": 3, "devices": 4}}, True),
        ({"data": {"num_workers": 2, "batch_size": 4}}, True),
        ({"optimizer": {"lr": 0.2}}, False),
        ({"seed": 1}, False),
        ({"trainer": {"max_epochs": 4, "devices": 1}}, False),
        ({"data": {"num_workers": 0, "batch_size": 8}}, False),
    ],
)
def test_the_fingerprint_names_what_is_computed_not_where(change, same):
    assert (runs.fingerprint(CONFIG, "d") == runs.fingerprint(CONFIG | change, "d")) is same
    assert bool(runs.differences(CONFIG, CONFIG | change)) is not same
    assert runs.fingerprint(CONFIG, "d") != runs.fingerprint(CONFIG, "other data")


def test_an_unfinished_run_is_found_by_its_fingerprint(tmp_path):
    mark = runs.fingerprint(CONFIG, "d")
    run = runs.create(tmp_path, "x", {"fingerprint": mark})
    save_checkpoint({"a": 1}, run.checkpoints / "step-00000005.ckpt")
    assert runs.unfinished(runs.all_runs(tmp_path), mark) is None, "its process lives"
    run.release()
    assert runs.unfinished(runs.all_runs(tmp_path), "other") is None
    found = runs.unfinished(runs.all_runs(tmp_path), mark)
    assert found is not None
    assert found.folder == run.folder
    found.record("finished")
    found.release()
    assert runs.unfinished(runs.all_runs(tmp_path), mark) is None, "a finished run is not gone on with"


def test_a_broken_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    for step in (5, 10):
        save_checkpoint({"a": step}, tmp_path / f"step-{step:08d}.ckpt")
    newest = tmp_path / "step-00000010.ckpt"
    assert runs.newest_checkpoint(tmp_path) == newest
    newest.write_bytes(newest.read_bytes()[:-7])
    report = []
    assert runs.newest_checkpoint(tmp_path, report=report) == tmp_path / "step-00000005.ckpt"
    assert str(newest) in report[0]


def test_what_ckpt_path_may_mean(tmp_path):
    run = runs.create(tmp_path, "x", {})
    save_checkpoint({"a": 1}, run.checkpoints / "step-00000005.ckpt")
    save_checkpoint({"a": 1}, run.checkpoints / "best-step-00000003.ckpt")
    best = run.checkpoints / "best-step-00000003.ckpt"
    assert runs.resolve_checkpoint("best", tmp_path) == best
    assert runs.resolve_checkpoint(str(run.folder), tmp_path) == best
    assert runs.resolve_checkpoint("last", tmp_path) == run.checkpoints / "step-00000005.ckpt"
    assert runs.resolve_checkpoint(str(best), tmp_path) == best
    with pytest.raises(ConfigurationError, match="no such file"):
        runs.resolve_checkpoint("nowhere.ckpt", tmp_path)
    with pytest.raises(ConfigurationError, match="no run in"):
        runs.resolve_checkpoint("best", tmp_path / "empty")


def test_the_code_version_follows_the_sources(monkeypatch):
    before = runs.code_version()
    assert before == runs.code_version()
    assert len(before["hash"]) == 64
