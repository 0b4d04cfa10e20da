"""Scripts as processes: what reaches `main`, exit codes, the other processes of a run, sweeps, saved configurations."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from omegaconf import OmegaConf

from striate.configuration import REPOSITORY, command

LIGHT = "network=light"  # no torch: these tests start many processes
HEAVY = {"torch", "lightning", "albumentations", "matplotlib"}


def test_valid_words_reach_main(small) -> None:
    done = small.shell(LIGHT, "seed=3", "paths.data_dir=pictures")
    assert done.returncode == 0, done.stderr
    # Nothing of the error handling is left in the environment, and nothing lies in the directory.
    assert done.stdout.split() == ["False", "None", "seed", "3", str(small.here / "pictures")]
    assert not list(small.here.iterdir())


@pytest.mark.parametrize("words", [["network.in_feature=3"], ["--help"], ["seed=x"]])
def test_help_and_refusal_of_a_key_import_nothing_heavy(small, words: list[str]) -> None:
    ended = small.shell(*words, PYTHONPROFILEIMPORTTIME="1")
    lines = ended.stderr.splitlines()
    imported = {line.rsplit("|", 1)[-1].strip() for line in lines if line.startswith("import time")}
    assert "hydra" in imported
    assert not HEAVY & imported
    assert len([line for line in lines if not line.startswith("import time")]) <= 3
    assert ended.returncode == (0 if words == ["--help"] else 2)


def test_help_lists_groups_and_keys(small) -> None:
    done = small.shell("--help")
    assert "network: conv, light, linear" in done.stdout
    assert "in_features: 4" in done.stdout


def test_cfg_shows_the_configuration(small) -> None:
    shown = small.shell("--cfg", "job", "seed=7", "network=conv")
    assert OmegaConf.create(shown.stdout).seed == 7
    assert "kernel_size" in shown.stdout


@pytest.mark.parametrize(
    ("mode", "code", "says"),
    [("fault", 1, "Traceback"), ("interrupt", 130, "interrupted\n"), ("diverge", 4, "the loss is NaN at step 3\n")],
)
def test_exit_codes(small, mode: str, code: int, says: str) -> None:
    ended = small.shell(LIGHT, f"mode={mode}")
    assert ended.returncode == code
    assert ended.stderr.startswith(says)
    assert ("Traceback" in ended.stderr) == (mode == "fault")
    assert "HYDRA_FULL_ERROR" not in ended.stderr


def test_what_an_agent_of_wandb_has_stopped_is_no_failure(small) -> None:
    for agent, code in (({}, 143), ({"WANDB_SWEEP_ID": "s1"}, 0)):
        ended = small.shell(LIGHT, "mode=stop", **agent)
        assert (ended.returncode, ended.stderr) == (code, "stopped at step 3\n")


def test_class_that_refuses_its_values(refusal) -> None:
    lines = refusal("mode=slow", "+network.device=nowhere")
    assert lines[0].startswith("network (torch.nn.modules.linear.Linear): ")
    assert "nowhere" in lines[0]
    assert "in_features: int" in lines[-1]


def test_tracebacks_on_request(small) -> None:
    ended = small.shell("sed=1", HYDRA_FULL_ERROR="1")
    assert ended.returncode == 2
    assert "Traceback" in ended.stderr
    assert "nearest valid choice: seed" in ended.stderr


def test_other_processes_say_nothing(small) -> None:
    ended = small.shell("sed=1", LOCAL_RANK="1")
    assert (ended.returncode, ended.stderr) == (2, "")


def test_other_process_must_compose_the_same(small) -> None:
    ended = small.shell(LIGHT, LOCAL_RANK="1", STRIATE_COMPOSED="0" * 64)
    assert (ended.returncode, ended.stdout) == (2, "")


def test_lightning_starts_other_processes_with_the_same_configuration(small, typed, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # as for a script
    typed(LIGHT, "seed=5", "mode=relaunch")
    words, folder, composed = json.loads(capsys.readouterr().out.splitlines()[1])
    assert folder == str(small.here)
    # Another mode than that of the first process, which would start a third; so it is another configuration.
    words = [word.replace("mode=relaunch", "mode=fast") for word in words]
    refused = small.process(words, LOCAL_RANK="1", STRIATE_COMPOSED=composed)
    assert refused.returncode == 2
    other = small.process(words, LOCAL_RANK="1")
    assert other.returncode == 0, other.stderr
    assert "seed 5" in other.stdout
    assert not list(small.here.iterdir())


def test_saved_configuration_runs_again_from_anywhere(small) -> None:
    saved = small.here / "run" / "config.yaml"
    saved.parent.mkdir()
    saved.write_text(small.shell("--cfg", "job", "--resolve", LIGHT, "seed=8").stdout, encoding="utf-8")
    # Options between overrides, as people write them, and words at the end, as Lightning adds them.
    again = small.shell("rate=1", "-cp", "run", "-cn", "config", 'hydra.run.dir="."', "hydra.output_subdir=null")
    assert again.returncode == 0, again.stderr
    assert "seed 8" in again.stdout
    assert [entry.name for entry in small.here.iterdir()] == ["run"]
    saved.write_text(saved.read_text(encoding="utf-8").replace("root: p", "rot: p"), encoding="utf-8")
    refused = small.shell("--config-path=run", "-cn", "config")
    assert refused.returncode == 2
    assert refused.stderr.startswith("unknown key network.rot (run/config.yaml, line ")


def test_sweep_gives_each_trial_a_process_and_goes_on_after_a_failure(small) -> None:
    swept = small.shell("-m", LIGHT, "seed=1", "mode=diverge,fast", STRIATE_RUNS=str(small.root / "runs"))
    assert swept.returncode == 4
    assert swept.stdout.count("seed 1") == 2
    assert swept.stderr.count("trial 0 (mode=diverge) diverged: exit code 4") == 1
    assert not list(small.here.iterdir())


def test_a_trial_that_somebody_stops_costs_only_itself(small) -> None:
    swept = small.shell("-m", LIGHT, "seed=1,2", "mode=interrupt", STRIATE_RUNS=str(small.root / "runs"))
    assert swept.returncode == 130
    assert swept.stderr.count("failed: ended by SIGINT") == 2, "nobody has told the sweep to stop"


@pytest.mark.parametrize(
    ("words", "what"),
    [(["sed=1,2"], "unknown key sed"), (["network=linear,cnv"], "network has no option cnv")],
)
def test_sweep_with_a_mistake_does_not_begin(small, words: list[str], what: str) -> None:
    ended = small.shell("-m", *words, STRIATE_RUNS=str(small.root / "runs"))
    assert ended.returncode == 2
    assert ended.stderr.startswith(what)
    assert not (small.root / "runs").exists()


def test_sweep_over_options_with_different_keys(small) -> None:
    runs = str(small.root / "runs")
    swept = small.shell("-m", "network=light,linear", "network.root=x", "mode=fast", STRIATE_RUNS=runs)
    assert swept.returncode == 2
    assert swept.stderr.startswith("unknown key network.root")


def test_hostile_targets_on_the_command_line_and_in_a_sweep(small, refusal) -> None:
    canary = small.root / "canary"
    small.write("network/evil.yaml", f"_target_: os.system\ncommand: touch {canary}\n")
    whole = f"++network={{_target_:os.system,command:'touch {canary}'}}"
    assert "os.system is not allowed in a configuration" in refusal(whole, "mode=slow")[0]
    swept = small.shell("-m", "network=evil", "mode=slow", STRIATE_RUNS=str(small.root / "runs"))
    assert swept.returncode == 2
    assert "os.system is not allowed in a configuration" in swept.stderr
    assert not canary.exists()


def test_real_script_explains() -> None:
    ended = subprocess.run(
        [sys.executable, str(REPOSITORY / "src/train.py"), "trainer.max_epoch=2"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "unknown key trainer.max_epoch (on the command line)",
        "nearest valid choice: trainer.max_epochs",
        "what to do: write trainer.max_epochs=2",
    ]


def test_script_can_be_called_with_a_configuration() -> None:
    @command("train")
    def main(cfg: Any) -> Any:
        return cfg.seed

    assert main(OmegaConf.create({"seed": 4})) == 4


def test_importing_needs_nothing_heavy() -> None:
    program = "import sys, striate.configuration; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert "striate.configuration" in done.stdout.split()
    assert not HEAVY & set(done.stdout.split())
