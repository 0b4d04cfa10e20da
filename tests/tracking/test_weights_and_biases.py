"""What a W&B dashboard will show, read back from the files that wait for `wandb sync`; and servers that fail."""

import csv
import hashlib
import http.server
import json
import os
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from offline_wandb import read
from striate import runs
from striate.callbacks.history import TIMED, History
from striate.configuration import compose
from striate.errors import DivergedError, Ending, InterruptedRun, PrunedRun
from striate.pipelines import evaluate
from striate.tracking import server as asked
from striate.tracking.base import PredictionTable, Session
from striate.tracking.weights_and_biases import wandb_logger

TINY = ["model=lenet5_modern", "data.samples_per_class=20", "data.batch_size=50", "trainer.log_every_n_steps=2"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")


def offline_runs(folder):
    """The W&B runs of a run directory, in the order of their starts."""
    return [read(entry) for entry in sorted((folder / "wandb").glob("offline-run-*"))]


def rows(folder):
    with open(folder / "history.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def identity(artifact):
    """What W&B recognises a version of an artifact by."""
    return artifact.type, artifact.name, artifact.digest


# ---- a training, a training from its weights, an evaluation of those -------------------------------------------------


@pytest.fixture(scope="module")
def chain(places, digits, tmp_path_factory):
    """The directories of a pretraining, a fine-tuning and its evaluation, each with a dashboard."""
    from striate.pipelines import train as pipeline

    root = tmp_path_factory.mktemp("chain")

    def run(name, *words):
        os.environ.pop("STRIATE_RUN", None)
        own = ["trainer.enable_progress_bar=false", f"run_dir={root / name}", "logger=wandb"]
        pipeline.run(compose("train", [*places, *TINY, *own, *words]))
        return root / name

    before = os.environ.get("WANDB_MODE")
    os.environ["WANDB_MODE"] = "offline"
    first = run("first", "trainer.max_epochs=1", "test=false")
    second = run(
        "second", "trainer.max_epochs=3", "init=checkpoint", f"init.path={first}", "logger.wandb.tags=[a,b]",
        "optimizer.lr=0.02",
    )  # fmt: skip
    evaluate.run(
        compose("evaluate", [*places, f"ckpt_path={second}", "trainer.enable_progress_bar=false", "logger=wandb"])
    )
    if before is not None:
        os.environ["WANDB_MODE"] = before
    return first, second, second / "evaluation_test"


def test_the_curves_are_those_of_the_history(chain):
    folder = chain[1]
    (mirror,) = offline_runs(folder)
    local = rows(folder)
    assert len(local) == 3
    for name in local[0].keys() - {"epoch", "step"}:
        expected = {int(row["step"]): float(row[name]) for row in local}
        assert mirror.values(name) == pytest.approx(expected), name
    best = mirror.values("best/val/top1_micro")
    assert list(best.values()) == list(np.maximum.accumulate([float(row["val/top1_micro"]) for row in local]))
    assert {"gradient/decay", "gradient/no_decay", "rate/decay", "rate/no_decay"} <= mirror.history[-1].keys()
    assert set(mirror.values("batch/loss")) == {2, 4, 6, 8, 10, 12}
    steps = [row["_step"] for row in mirror.history]
    assert steps == sorted(set(steps)), "one row a step, in their order"
    assert mirror.axes["val/*"] == mirror.axes["waiting"] == "epoch"
    assert mirror.axes["batch/*"] == "trainer/global_step"


def test_the_figures_of_the_test_arrive_although_fit_has_ended(chain):
    folder = chain[1]
    (mirror,) = offline_runs(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert mirror.history[-1]["test/top1_micro"] == pytest.approx(metrics["test/top1_micro"])
    assert mirror.summary["test/top1_micro"] == pytest.approx(metrics["test/top1_micro"])
    assert mirror.summary["best/val/top1_micro"] == max(float(row["val/top1_micro"]) for row in rows(folder))
    assert mirror.summary["val/top1_micro"] == float(rows(folder)[-1]["val/top1_micro"])
    assert mirror.summary["best_epoch"] == metrics["best_epoch"]
    assert (mirror.summary["status"], mirror.exit_code) == ("finished", 0)


def test_the_configuration_is_that_of_the_run(chain):
    folder = chain[1]
    (mirror,) = offline_runs(folder)
    own = dict(runs.flatten(yaml.safe_load((folder / "config.yaml").read_text())))
    assert {key: mirror.config[key] for key in own} == own
    assert mirror.config["run.data"] == json.loads((folder / "run.json").read_text())["hashes"]["data"]
    assert list(mirror.run.tags) == ["a", "b"]
    assert (mirror.run.job_type, mirror.run.display_name, mirror.run.project) == ("training", "second", "striate")


def test_pictures_predictions_and_confusion(chain, digits):
    folder = chain[1]
    (mirror,) = offline_runs(folder)
    (place,) = (folder / "wandb").glob("offline-run-*")
    for key in ("train/samples", "test/confusion_matrix", "test/mistakes"):
        (value,) = mirror.values(key).values()
        assert value["path"] in mirror.files
        assert (place / "files" / value["path"]).read_bytes()[1:4] == b"PNG"
    (table,) = [a for a in mirror.artifacts if a.type == "run_table" and "predictions" in a.name]
    kept = {entry.path: Path(entry.local_path) for entry in table.manifest.contents}
    assert all(path.is_relative_to(folder) for path in kept.values()), "until they are sent they lie beside the run"
    content = json.loads(kept["test/predictions.table.json"].read_text())
    assert content["columns"] == ["picture", "file", "truth", "prediction", "confidence", "right"]
    verdicts = [row[5] for row in content["data"]]
    mistakes = verdicts.count(False)
    assert verdicts == [False] * mistakes + [True] * (len(verdicts) - mistakes), "mistakes first"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert mistakes == min(150, round((1 - metrics["test/top1_micro"]) * len(digits.dataset("test")))) > 0
    confidences = [row[4] for row in content["data"][:mistakes]]
    assert confidences == sorted(confidences, reverse=True)
    for row in content["data"]:
        assert kept[row[0]["path"]].read_bytes()[1:4] == b"PNG"
    (matrix,) = mirror.values("test/confusion_table").values()
    cells = json.loads((place / "files" / matrix["path"]).read_text())["data"]
    assert sum(cell[2] for cell in cells) == len(digits.dataset("test"))
    right = sum(cell[2] for cell in cells if cell[0] == cell[1])
    assert right / sum(cell[2] for cell in cells) == pytest.approx(metrics["test/top1_micro"])


def test_the_lineage_leads_from_the_pack_to_the_evaluation(chain, digits):
    first, second, evaluation = ([a for a in offline_runs(f)[0].artifacts if a.type != "run_table"] for f in chain)
    pack, pretrained = first
    assert pack.use_after_commit
    assert not pretrained.use_after_commit
    assert json.loads(pack.metadata)["sha256"] == digits.meta.hash
    best = [runs.resolve_checkpoint(str(folder), folder) for folder in chain[:2]]
    assert json.loads(pretrained.metadata)["sha256"] == sha256(best[0])
    assert "best" in pretrained.aliases
    assert [identity(a) for a in second[:2]] == [identity(pack), identity(pretrained)], "the same versions"
    assert all(a.use_after_commit for a in second[:2])
    tuned = second[2]
    assert json.loads(tuned.metadata)["sha256"] == sha256(best[1])
    assert tuned.name == pretrained.name == "lenet5_digits"
    assert tuned.digest != pretrained.digest
    assert [identity(a) for a in evaluation] == [identity(pack), identity(tuned)]
    assert all(a.use_after_commit for a in evaluation)
    for artifact in (*first, *second, *evaluation):
        assert all(not entry.local_path for entry in artifact.manifest.contents), "nothing is to be uploaded"


def test_an_evaluation_is_a_run_of_its_own(chain):
    first, second, evaluation = (offline_runs(folder)[0] for folder in chain)
    assert len({mirror.run.run_id for mirror in (first, second, evaluation)}) == 3
    assert evaluation.run.job_type == "evaluation"
    assert evaluation.summary["test/top1_micro"] == pytest.approx(second.summary["test/top1_micro"])
    assert {"test/predictions", "test/confusion", "test/reliability"} & evaluation.history[-1].keys()


# ---- how runs end, and go on ----------------------------------------------------------------------------------------


def test_a_resumed_run_goes_on_as_one_and_loses_no_row(train, tmp_path, monkeypatch):
    words = [*TINY, "trainer.max_epochs=3", "test=false", f"run_dir={tmp_path / 'run'}"]
    original = History.on_train_epoch_start

    def until(epoch, *more):
        def start(self, trainer, module):
            original(self, trainer, module)
            if trainer.current_epoch == epoch:
                raise InterruptedRun("stopped", exit_code=143)

        monkeypatch.setattr(History, "on_train_epoch_start", start)
        with pytest.raises(InterruptedRun):
            train(*words, *more)
        monkeypatch.setattr(History, "on_train_epoch_start", original)

    until(1)  # without a dashboard
    until(2, "logger=wandb")
    train(*words, "logger=wandb")
    before, after = offline_runs(tmp_path / "run")
    assert before.run.run_id == after.run.run_id
    assert (before.summary["status"], before.exit_code, before.preempting) == ("interrupted", 143, True)
    assert (after.summary["status"], after.exit_code, after.preempting) == ("finished", 0, False)
    local = {int(row["step"]): float(row["val/loss"]) for row in rows(tmp_path / "run")}
    assert {**before.values("val/loss"), **after.values("val/loss")} == local, "the row before the dashboard too"
    assert len(before.values("val/loss")) == 2
    # W&B drops what is numbered no higher than what it has: so must nothing be that it has not.
    assert max(before.values("val/loss")) < min(after.values("val/loss"))


def test_a_run_that_diverges_is_pruned_or_fails_says_so(train, tmp_path, monkeypatch):
    words = [*TINY, "trainer.max_epochs=1", "logger=wandb"]
    with pytest.raises(DivergedError):
        train(*words, "optimizer.lr=1e18", "scheduler=constant", f"run_dir={tmp_path / 'diverged'}")
    (mirror,) = offline_runs(tmp_path / "diverged")
    assert (mirror.summary["status"], mirror.exit_code) == ("diverged", 4)
    assert "learning rate 1e+18" in mirror.summary["reason"]

    def give_up(*arguments):
        raise PrunedRun("others were better")

    with monkeypatch.context() as patch:
        patch.setattr(History, "on_train_epoch_start", give_up)
        with pytest.raises(PrunedRun):
            train(*words, f"run_dir={tmp_path / 'pruned'}")
    (mirror,) = offline_runs(tmp_path / "pruned")
    assert (mirror.summary["status"], mirror.summary["reason"], mirror.exit_code) == ("pruned", "others were better", 0)

    def fail(*arguments):
        raise ZeroDivisionError("of the program")

    monkeypatch.setattr(History, "on_train_epoch_end", fail)
    with pytest.raises(ZeroDivisionError):
        train(*words, f"run_dir={tmp_path / 'failed'}")
    (mirror,) = offline_runs(tmp_path / "failed")
    assert (mirror.summary["status"], mirror.exit_code) == ("failed", 1)
    assert mirror.summary["reason"] == "ZeroDivisionError: of the program"


# ---- single dashboards, without a training --------------------------------------------------------------------------


def session(folder, **facts):
    return Session(folder, "name", "abcd1234", **facts)


def test_a_sweep_is_a_group_and_its_name_can_be_another(tmp_path):
    for group, expected in ((None, "sweep7"), ("mine", "mine")):
        folder = tmp_path / str(group)
        wandb_logger(session(folder, group="sweep7"), group=group).close(Ending("finished", 0))
        assert offline_runs(folder)[0].run.run_group == expected


def test_an_agent_of_a_sweep_names_the_run(tmp_path, monkeypatch, capsys):
    import wandb

    wandb.teardown()  # W&B reads these when it begins
    for name, value in {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "r1", "WANDB_PROJECT": "theirs"}.items():
        monkeypatch.setenv(name, value)
    wandb_logger(session(tmp_path)).close(Ending("finished", 0))
    wandb.teardown()
    (mirror,) = offline_runs(tmp_path)
    assert (mirror.run.run_id, mirror.run.sweep_id, mirror.run.project) == ("r1", "s1", "theirs")
    assert "offline-run-*-r1" in capsys.readouterr().out


def test_what_an_agent_stops_is_not_queued_again(tmp_path, monkeypatch):
    import wandb

    for folder, agent in ((tmp_path / "agent", True), (tmp_path / "alone", False)):
        with monkeypatch.context() as patch:
            if agent:
                patch.setenv("WANDB_SWEEP_ID", "s1")
            wandb.teardown()  # W&B reads it when it begins
            wandb_logger(session(folder)).close(Ending("interrupted", 143, "stopped"))
        wandb.teardown()
        (mirror,) = offline_runs(folder)
        assert (mirror.summary["status"], mirror.summary["reason"]) == ("interrupted", "stopped")
        assert (mirror.exit_code, mirror.preempting) == ((0, False) if agent else (143, True))


def test_secrets_of_the_command_line_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "data.source.url=https://me:hidden@host/x"])
    wandb_logger(session(tmp_path, secret=True)).close(Ending("finished", 0))
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert b"hidden" not in file.read_bytes()


def test_masks_are_overlays(tmp_path):
    class Labelled:
        name, image = "a.png", np.zeros((8, 8, 1), np.uint8)
        truth = predicted = np.eye(8, dtype=np.uint8)

    tracker = wandb_logger(session(tmp_path))
    tracker.show_masks("val/masks", [Labelled], ["sky", "road"], 5)
    tracker.close(Ending("finished", 0))
    (mirror,) = offline_runs(tmp_path)
    (value,) = mirror.values("val/masks").values()
    assert set(value["all_masks"][0]) == {"truth", "prediction"}
    assert sum("mask" in name for name in mirror.files) >= 2


def test_weights_are_uploaded_when_asked(tmp_path):
    from striate.tracking.lineage import Artifact

    (tmp_path / "best.ckpt").write_bytes(b"weights")
    made = Artifact("lenet5_digits", "model", "00", tmp_path / "best.ckpt")
    for artifacts, files in (("upload", 1), ("reference", 0), ("none", None)):
        folder = tmp_path / artifacts
        tracker = wandb_logger(session(folder), artifacts=artifacts)
        tracker.make(made)
        tracker.close(Ending("finished", 0))
        found = offline_runs(folder)[0].artifacts
        assert len(found) == (files is not None)
        for artifact in found:
            assert sum(bool(entry.local_path) for entry in artifact.manifest.contents) == files


# ---- servers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def wandb_server(monkeypatch):
    """`wandb_server(mode)`: "silent" never answers, "hangs" and "refuses" do so after they have known the login.

    "works" takes a run; the server is given back, and when its mode becomes "dies" it answers nothing any more.
    """
    running = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            known, mode = b"viewer { id }" in body, self.server.mode
            if mode == "dies" or (not known and mode == "hangs"):
                time.sleep(20)
                return
            answer = b'{"data": {"viewer": {"id": "me"}}}' if known else b""
            if not known and mode == "works":
                answer = self.taken(json.loads(body) if self.path == "/graphql" else {})
            self.send_response(200 if answer else 403)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST

        def taken(self, request):
            """What W&B answers where its client needs an answer."""
            query, given = request.get("query", ""), request.get("variables", {})
            if "mutation UpsertBucket" in query:
                project = {"id": "p", "name": "striate", "entity": {"id": "e", "name": "me"}}
                bucket = {"id": "b", "name": given["name"], "displayName": given["name"], "config": "{}"}
                return json.dumps({"data": {"upsertBucket": {"bucket": bucket | {"project": project}}}}).encode()
            if "mutation CreateRunFiles" in query:
                address = f"http://127.0.0.1:{self.server.server_port}/file"
                files = [{"name": name, "uploadUrl": address} for name in given["files"]]
                created = {"runID": "b", "uploadHeaders": [], "files": files}
                return json.dumps({"data": {"createRunFiles": created}}).encode()
            return b'{"data": {}}'

        def log_message(self, *arguments):
            pass

    def start(mode):
        if mode == "dead":
            address = "http://127.0.0.1:9"
        elif mode == "silent":
            silent = socket.create_server(("127.0.0.1", 0))
            running.append(silent.close)
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        else:
            found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            found.daemon_threads, found.mode, found.seen = True, mode, threading.Event()
            threading.Thread(target=found.serve_forever, daemon=True).start()
            running.extend((found.shutdown, found.server_close))
            address = f"http://127.0.0.1:{found.server_port}"
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        monkeypatch.delenv("WANDB_MODE", raising=False)
        return None if mode in ("dead", "silent") else found

    yield start
    for stop in running:
        stop()


@pytest.mark.parametrize("mode", ["dead", "silent", "hangs", "refuses"])
def test_a_server_that_fails_delays_no_training_and_loses_nothing(wandb_server, tmp_path, capsys, mode):
    import wandb

    wandb_server(mode)
    began = time.monotonic()
    tracker = wandb_logger(session(tmp_path), start=1.0)
    for step in range(100):
        tracker.tell({"epoch": step, "val/loss": 1 / (step + 1)}, step)
    assert time.monotonic() - began < 2, "what a training would have waited"
    tracker.close(Ending("finished", 0))
    wandb.teardown()  # so that the next server is asked by another process of W&B's
    (mirror,) = offline_runs(tmp_path)
    assert mirror.values("val/loss") == {step: 1 / (step + 1) for step in range(100)}
    assert mirror.exit_code == 0
    said = capsys.readouterr().out
    assert "the run is logged offline" in said
    assert "wandb sync" in said


def test_lightning_does_not_wait_for_a_server_that_hangs(wandb_server, tmp_path):
    import lightning.pytorch as pl
    from lightning.pytorch.demos.boring_classes import BoringModel

    def seconds(logger):
        trainer = pl.Trainer(
            max_steps=1, logger=logger, accelerator="cpu", enable_progress_bar=False, enable_checkpointing=False,
            enable_model_summary=False, limit_val_batches=0, default_root_dir=tmp_path,
        )  # fmt: skip
        began = time.monotonic()
        trainer.fit(BoringModel())
        return time.monotonic() - began

    seconds(False)
    usual = seconds(False)
    wandb_server("hangs")
    tracker = wandb_logger(session(tmp_path), start=4.0)
    assert seconds([tracker]) < usual + 2
    tracker.close(Ending("finished", 0))
    assert offline_runs(tmp_path)[0].exit_code == 0


def test_a_server_that_dies_before_the_end_costs_two_seconds_and_loses_nothing(wandb_server, tmp_path, capsys):
    import wandb

    wandb.teardown()
    server = wandb_server("works")
    tracker = wandb_logger(session(tmp_path), start=30.0, finish=4.0)
    for step in range(10):
        tracker.tell({"epoch": step, "val/loss": 1 / (step + 1)}, step)
    tracker._tell(server.seen.set)
    assert server.seen.wait(30), "all is told"
    server.mode = "dies"
    began = time.monotonic()
    tracker.show_confusion("test/confusion", np.eye(2), ["a", "b"], 9)  # a table, for which W&B asks its server
    tracker.close(Ending("diverged", 4, "the loss is nan"))
    assert time.monotonic() - began < 2.5, "neither the table nor the end is waited for"
    (place,) = (tmp_path / "wandb").glob("run-*-abcd1234")
    mirror = read(place)
    assert mirror.values("val/loss") == {step: 1 / (step + 1) for step in range(10)}
    assert (mirror.exit_code, mirror.summary["status"]) == (4, "diverged")
    said = capsys.readouterr().out
    assert "does not answer" in said
    assert "wandb sync" in said


def test_a_training_with_a_silent_server_is_the_same(train, wandb_server, tmp_path):
    words = [*TINY, "trainer.max_epochs=1", "test=false"]
    train(*words, f"run_dir={tmp_path / 'without'}")
    wandb_server("silent")
    train(*words, f"run_dir={tmp_path / 'with'}", "logger=wandb")
    untimed = [
        [{key: value for key, value in row.items() if key not in TIMED} for row in rows(tmp_path / name)]
        for name in ("without", "with")
    ]
    assert untimed[0] == untimed[1]
    weights = [
        torch.load(runs.resolve_checkpoint(str(tmp_path / name), tmp_path), weights_only=True)["state_dict"]
        for name in ("without", "with")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_no_login_means_offline_without_asking(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(asked, "_login_fault", lambda: pytest.fail("the server was asked"))
    wandb_logger(session(tmp_path)).close(Ending("finished", 0))
    assert offline_runs(tmp_path)[0].exit_code == 0
    assert "wandb sync" in capsys.readouterr().out


def test_a_table_of_no_predictions_is_no_fault(tmp_path, capsys):
    tracker = wandb_logger(session(tmp_path))
    tracker.show_predictions("test/predictions", PredictionTable([], [], [], [], []), 0)
    tracker.close(Ending("finished", 0))
    assert "nothing more is sent" not in capsys.readouterr().out
