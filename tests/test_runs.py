"""Run directories: atomic, never shared, found again."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from striate import resumption, runs
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
    run = runs.claim(tmp_path / "mine", {})
    save_checkpoint({"a": 1}, run.checkpoints / "step-00000001.ckpt")
    run.release()
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


HASHES = {"data": "d", "code": "c", "weights": ""}


def decide(config, monkeypatch, hashes=HASHES, command=None):
    monkeypatch.delenv("STRIATE_RUN", raising=False)
    return resumption.decide(config, "lenet5_digits", hashes, command)


def test_an_unfinished_run_is_gone_on_with_and_a_finished_one_not(tmp_path, monkeypatch, capsys):
    config = CONFIG | {
        "paths": {"runs_dir": str(tmp_path)}, "resume": "auto", "resume_allow": [], "ckpt_path": None, "run_dir": None
    }  # fmt: skip
    first = decide(config, monkeypatch)
    assert first.checkpoint is None
    assert first.run.facts["command"] == runs.command_line()
    save_checkpoint({"a": 1}, first.run.checkpoints / "step-00000005.ckpt")
    second = decide(config, monkeypatch)
    assert second.run.folder != first.run.folder, "the process of the first lives"
    first.run.release()
    found = decide(config, monkeypatch, command="python src/train.py password=***")
    assert found.run.folder == first.run.folder
    assert runs.read(found.run.folder)["command"] == "python src/train.py password=***"
    assert found.checkpoint == first.run.checkpoints / "step-00000005.ckpt"
    found.run.release()
    for other in (config | {"seed": 1}, config | {"resume": "never"}):
        assert decide(other, monkeypatch).run.folder != first.run.folder
    assert decide(config, monkeypatch, HASHES | {"code": "other"}).run.folder != first.run.folder
    assert "other code" in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match="seed: 0 → 1"):
        decide(config | {"resume": "must", "seed": 1}, monkeypatch)
    with pytest.raises(ConfigurationError, match="other data"):
        decide(config | {"resume": "must"}, monkeypatch, HASHES | {"data": "other"})
    with pytest.raises(ConfigurationError, match="keeps the state of its optimizer"):
        decide(config | {"resume": "must", "resume_allow": ["optimizer.lr"]}, monkeypatch)
    allowed = decide(config | {"resume": "must", "seed": 1, "resume_allow": ["seed"]}, monkeypatch)
    assert allowed.run.folder == first.run.folder
    allowed.run.record("finished")
    allowed.run.release()
    assert decide(config, monkeypatch).run.folder != first.run.folder
    with pytest.raises(ConfigurationError, match="no unfinished run"):
        decide(config | {"resume": "must", "paths": {"runs_dir": str(tmp_path / "empty")}}, monkeypatch)


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
