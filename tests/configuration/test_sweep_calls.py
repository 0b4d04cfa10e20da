"""`-m` from the command line: what is refused and how, what is repeated, what goes on."""

import pytest
from omegaconf import OmegaConf

from striate.errors import ConfigurationError
from striate.sweeping import calling


def test_a_repeated_sweep_skips_what_is_done_and_an_extended_one_does_the_rest(small) -> None:
    runs = {"STRIATE_RUNS": str(small.root / "runs")}
    words = ["-m", "network=light", "mode=fast", "hydra.sweeper.name=seeds"]
    first = small.shell(*words, "seed=1,2", **runs)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("seed 1") == first.stdout.count("seed 2") == 1
    again = small.shell(*words, "seed=1,2", **runs)
    assert again.returncode == 0
    assert "2 trials, 2 of them done before and skipped" in again.stdout
    assert "seed 1" not in again.stdout
    more = small.shell(*words, "seed=1,2,3", **runs)
    assert "3 trials, 2 of them done before and skipped" in more.stdout
    assert (more.stdout.count("seed 1"), more.stdout.count("seed 3")) == (0, 1)
    unnamed = [word for word in words if not word.startswith("hydra")]
    for _ in range(2):
        assert small.shell(*unnamed, "seed=1,2", **runs).returncode == 0
    places = list((small.root / "runs" / "sweeps").iterdir())
    assert len(places) == 2, "the same words have the same name"
    assert not list(small.here.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["hydra/launcher=jobli"],
            ["hydra/launcher has no option jobli", "nearest valid choice: hydra/launcher=joblib"],
        ),
        (["rate=interval(0.1,1)"], ["is not a list of values", "hydra/sweeper=optuna searches intervals"]),
        (["hydra.sweeper.jobs=0", "hydra/launcher=joblib"], ["hydra.sweeper.jobs=0 is not valid"]),
        (["hydra.sweeper.name=a/b"], ["hydra.sweeper.name=a/b is not a name"]),
        (["hydra/sweeper=optuna"], ["there is nothing to search"]),
        (["hydra/sweeper=optuna", "hydra.sweeper.pruner=medan"], ["nearest valid choice: median"]),
        (["hydra/sweeper=optuna", "hydra.sweeper.space=lenet_digits"], ["nearest valid choice: lenet5_digits"]),
    ],
)
def test_mistakes_are_said_before_anything_runs(small, words: list[str], says: list[str]) -> None:
    import shutil

    from striate.configuration import FOLDER

    shutil.copytree(FOLDER / "hydra", small.root / "conf" / "hydra")
    swept = "seed=1" if any("optuna" in word or "interval" in word for word in words) else "seed=1,2"
    ended = small.shell("-m", "network=light", swept, *words, STRIATE_RUNS=str(small.root / "runs"))
    assert ended.returncode == 2, ended.stderr
    assert all(text in ended.stderr for text in says), ended.stderr
    assert len(ended.stderr.splitlines()) <= 3
    assert not (small.root / "runs").exists()


@pytest.mark.parametrize("name", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_a_launcher_that_is_not_installed_names_its_extra(name: str, monkeypatch) -> None:
    from striate.configuration import FOLDER

    target = OmegaConf.load(FOLDER / "hydra" / "launcher" / f"{name}.yaml")._target_
    monkeypatch.setattr(calling, "is_there", lambda module: False)
    with pytest.raises(ConfigurationError) as refused:
        calling.require_installed(target)
    extra = {"joblib": "joblib", "ray": "ray"}.get(name, "slurm")
    assert f'pip install "striate[{extra}]"' in str(refused.value)


def test_optuna_that_is_not_installed_names_its_extra(monkeypatch) -> None:
    monkeypatch.setattr(calling, "is_there", lambda module: False)
    with pytest.raises(ConfigurationError, match="needs optuna"):
        calling.require_optuna({})


def test_basic_needs_nothing(monkeypatch) -> None:
    monkeypatch.setattr(calling, "is_there", lambda module: False)
    calling.require_installed(calling.BASIC)


def test_names_depend_on_all_words_and_on_nothing_else() -> None:
    assert calling.default_name("a", [["x=1"], {"lr": "1,2"}]) == calling.default_name("a", [["x=1"], {"lr": "1,2"}])
    assert calling.default_name("a", [["x=1"], {"lr": "1,2"}]) != calling.default_name("a", [["x=2"], {"lr": "1,2"}])
