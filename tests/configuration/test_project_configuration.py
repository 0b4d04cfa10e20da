"""The real `conf/`: every option is valid, every misspelt key is refused and nearly always guessed."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from striate.configuration import FOLDER, REPOSITORY, InvalidEntry, check, compose, plain
from striate.configuration.checking import missing
from striate.configuration.keys import dotted, dotted_keys, nearest_key, walk
from striate.configuration.schema import SCHEMAS
from striate.errors import ConfigurationError

Variant = tuple[str, tuple[str, ...]]
ROOTS = [name for name in SCHEMAS if (FOLDER / f"{name}.yaml").is_file()]
# Chosen by other means; parts of other options are called `base`.
NOT_CHOSEN = {"hydra", "recipe"}
# Groups that `train` does not have, and a root that has them.
ELSEWHERE = {"views": "evaluate"}


def variants() -> Iterator[Variant]:
    """Every root file, and every option of every group in `train`: in each variant the next option of all groups."""
    for name in ROOTS:
        yield name, ()
    words: dict[str, list[str]] = {}
    for group in sorted(
        folder.name for folder in FOLDER.iterdir() if folder.is_dir() and folder.name not in NOT_CHOSEN
    ):
        options = sorted(file.stem for file in (FOLDER / group).glob("*.yaml") if file.stem != "base")
        several = group == "callbacks"
        words[group] = [
            f"{group}=[default,{name}]" if several and name != "default" else f"{group}={name}" for name in options
        ]
    for group, root in ELSEWHERE.items():
        yield from ((root, (word,)) for word in words.pop(group, []))
    # An experiment chooses options itself, and overfitting another augmentation: they come alone.
    for word in (*words.pop("experiment", []), *words.pop("debug", [])):
        yield "train", (word,)
    for number in range(max(map(len, words.values()))):
        yield "train", tuple(options[number] for options in words.values() if number < len(options))


SEVERAL = ("runs",)  # of what a person gives at least one


def filled(name: str, words: tuple[str, ...]) -> dict[str, Any]:
    """The composed tree as plain data, with something in place of what a person must give."""
    config = compose(name, words, strict=False)
    for path in missing(config):
        OmegaConf.update(config, dotted(path), ["given"] if path[-1] in SEVERAL else "given")
    if "data" in config and config.data.get("input_size", 0) is None:
        config.data.input_size = 32  # the sheets for pictures of all sizes need one, and the default set has none
    return plain(config)


@pytest.fixture(scope="module")
def trees() -> dict[Variant, dict[str, Any]]:
    return {variant: filled(*variant) for variant in variants()}


def test_every_option_of_every_group_is_valid(trees) -> None:
    for (name, words), tree in trees.items():
        try:
            check(tree, SCHEMAS[name])
        except InvalidEntry as error:
            pytest.fail(f"{name} {' '.join(words)}: {error}")


def misspelt(word: str) -> list[str]:
    """The word with a letter left out, doubled, replaced, and swapped with its neighbour; places depend on the word."""
    place = sum(map(ord, word)) % len(word)
    other = "x" if word[place] != "x" else "y"
    swap = max(0, min(place, len(word) - 2))
    found = [
        word[:place] + word[place + 1 :],
        word[:place] + word[place] + word[place:],
        word[:place] + other + word[place + 1 :],
        word[:swap] + word[swap : swap + 2][::-1] + word[swap + 2 :],
    ]
    return [spelling for spelling in dict.fromkeys(found) if spelling and spelling != word]


def renamed(tree: dict[str, Any], path: tuple, name: str) -> dict[str, Any]:
    """A copy of the tree in which one key has another name, in the same place."""
    tree = copy.deepcopy(tree)
    node: Any = tree
    for part in path[:-1]:
        node = node[part]
    entries = list(node.items())
    node.clear()
    node.update((name if key == path[-1] else key, value) for key, value in entries)
    return tree


def is_mere_data(tree: dict[str, Any], path: tuple) -> bool:
    """Whether a key stands in a dict that is an argument as a whole: splits, checksums by file name."""
    node: Any = tree
    within_class = False
    for part in path[:-1]:
        node = node[part]
        within_class = within_class or (isinstance(node, Mapping) and "_target_" in node)
    return within_class and isinstance(node, Mapping) and "_target_" not in node


def keys_of(trees: dict[Variant, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], tuple]]:
    """Each key of each class once, with a tree that has it.

    Not the names of callbacks and loggers, which are free, nor what a class takes as mere data and checks itself.
    """
    seen = set()
    for (name, _), tree in trees.items():
        for path, _ in walk(tree):
            node = tree[path[0]]
            mark = (path, node.get("_target_") if isinstance(node, Mapping) else None)
            named_freely = len(path) == 2 and path[0] in ("callbacks", "logger")
            if isinstance(path[-1], str) and not named_freely and not is_mere_data(tree, path) and mark not in seen:
                seen.add(mark)
                yield name, tree, path


def test_every_key_misspelt_in_a_file_is_refused_and_nearly_always_guessed(trees) -> None:
    tried, missed, passed = 0, [], []
    for name, tree, path in keys_of(trees):
        valid = {dotted(other) for other, _ in walk(tree)}
        for spelling in misspelt(path[-1]):
            wrong = dotted((*path[:-1], spelling))
            if wrong in valid:
                continue
            tried += 1
            try:
                check(renamed(tree, path, spelling), SCHEMAS[name])
                passed.append(wrong)
            except ConfigurationError as refusal:
                if refusal.nearest != dotted(path):
                    missed.append(f"{wrong} → {refusal.nearest}")
    assert not passed, passed
    assert tried > 500
    assert len(missed) <= 0.05 * tried, f"{len(missed)} of {tried}: {missed}"


@pytest.mark.parametrize("name", ROOTS)
def test_every_key_misspelt_on_the_command_line_is_refused_and_nearly_always_guessed(name: str) -> None:
    config = compose(name, strict=False)
    keys = dotted_keys(OmegaConf.to_container(config))
    tried, missed = 0, []
    for key in keys:
        parent, dot, leaf = key.rpartition(".")
        for spelling in misspelt(leaf):
            typed = f"{parent}{dot}{spelling}"
            if typed in keys:
                continue
            tried += 1
            with pytest.raises((ConfigAttributeError, ConfigKeyError)):
                OmegaConf.update(config, typed, 1)
            if nearest_key(typed, keys) != key:
                missed.append(f"{typed} → {nearest_key(typed, keys)}")
    assert tried > 20
    assert len(missed) <= 0.05 * tried, f"{len(missed)} of {tried}: {missed}"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("max_epochs", "trainer.max_epochs"),
        ("epochs", "trainer.max_epochs"),
        ("lr", "optimizer.lr"),
        ("batch_size", "data.batch_size"),
        ("num_worker", "data.num_workers"),
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("optimzer.lr", "optimizer.lr"),
        ("momentm", "optimizer.momentum"),
        ("entirely_different", None),
    ],
)
def test_nearest_key(typed: str, meant: str | None) -> None:
    assert nearest_key(typed, dotted_keys(OmegaConf.to_container(compose("train", strict=False)))) == meant


def test_directories_are_absolute_and_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STRIATE_DATA", raising=False)
    monkeypatch.delenv("STRIATE_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    paths = compose("prepare").paths
    assert paths.root_dir == str(REPOSITORY)
    assert (paths.data_dir, paths.runs_dir) == (str(REPOSITORY / "data"), str(REPOSITORY / "runs"))
    monkeypatch.setenv("STRIATE_DATA", "raw")
    monkeypatch.setenv("STRIATE_RUNS", str(tmp_path / "elsewhere"))
    config = compose("prepare", ["paths.prepared_dir='~/packs'"])
    assert config.paths.data_dir == str(tmp_path / "raw")
    assert config.paths.runs_dir == str(tmp_path / "elsewhere")
    assert config.paths.prepared_dir == str(Path.home() / "packs")
    assert config.data.prepared_dir == config.paths.prepared_dir


def test_what_is_left_out_is_filled() -> None:
    config = compose("train", ["~scheduler", "~logger", "~init"])
    assert config.scheduler is None
    assert config.logger == {}
    assert config.init.kind == "none"
    with pytest.raises(InvalidEntry, match="loss is missing"):
        compose("train", ["~loss"])
