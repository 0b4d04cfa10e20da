"""The runs that a person means, and the answers of each: read where they are kept, else computed from checkpoints."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from striate import runs
from striate.errors import ConfigurationError, StorageError, nearest
from striate.evaluation.measured import Measured, answers_of, read_measured
from striate.messages import say, shown
from striate.pipelines.study_words import composed, quoted
from striate.storage import load_checkpoint, sha256_of
from striate.tasks.loading import read_record

_MARKS = ("run.json", "model.ckpt")  # of a run directory, and of what a stage of the chain publishes


def find_runs(words: Sequence[str], runs_dir: Path) -> list[Path]:
    """The run directories that words mean, each once, in their order.

    Args:
        words: each a run directory, a pattern of them, or a folder with runs somewhere below it.
        runs_dir: where a name without a folder is looked for too.

    Raises:
        ConfigurationError: a word that means no run, or one that has not finished.
    """
    found: dict[Path, Path] = {}
    for word in words:
        for place in _places(word, runs_dir):
            inside = [place] if _is_run(place) else _below(place)
            if not inside:
                raise ConfigurationError(
                    f"{word}: {shown(place)} is no run directory, and holds none", do="name directories of runs/"
                )
            for folder in inside:
                facts = runs.read(folder)
                if facts is None or facts.get("status") == "finished":
                    found.setdefault(folder.resolve(), folder)
                elif folder == place and not glob.has_magic(word):
                    raise ConfigurationError(
                        f"{shown(folder)} has not finished: it is {facts.get('status')}",
                        do=f"finish it: {facts.get('command')}",
                    )
                else:
                    say(f"{shown(folder)} is {facts.get('status')} and is left out")
    if not found:
        raise ConfigurationError(f"{' '.join(words)}: no finished run", do="train first: python src/train.py")
    return list(found.values())


def _places(word: str, runs_dir: Path) -> list[Path]:
    path = Path(word).expanduser()
    for candidate in (path, runs_dir / word):
        if candidate.is_dir():
            return [candidate]
        if candidate.is_file():  # a checkpoint of it
            return [runs.folder_of(candidate)]
    matched = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))] if glob.has_magic(word) else []
    matched = [place for place in matched if place.is_dir()]
    if matched:
        return matched
    near = nearest(path.name, [entry.name for entry in path.parent.glob("*/")]) if path.parent.is_dir() else None
    raise ConfigurationError(
        f"{word}: there is no such {'run' if not glob.has_magic(word) else 'pattern of runs'}",
        nearest=None if near is None else str(path.parent / near),
        do=f"name run directories, such as those in {shown(runs_dir)}",
    )


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _MARKS)


def _below(folder: Path) -> list[Path]:
    inside = {path.parent for name in _MARKS for path in folder.rglob(name)}
    return sorted(inside)


def measure(folder: Path, config: Mapping[str, Any]) -> Measured:
    """A run with the answers of a split.

    Args:
        folder: of the run.
        config: of `compare`: split, again and paths.

    Raises:
        StriateError: as `evaluate.py` raises it, where answers must be computed; files that are damaged.
    """
    split, facts = config["split"], runs.read(folder) or {}
    place = None if config["again"] else answers_of(folder, split, _speaker(folder))
    if place is None:
        reason = "is measured anew" if config["again"] else f"keeps no answers of its checkpoint to the {split} split"
        say(f"{shown(folder)} {reason}: computing them")
        place = _evaluated(folder, config)
    return read_measured(folder, place, *_origin(folder, facts))


def _speaker(folder: Path) -> str | None:
    """SHA-256 of the checkpoint that `evaluate.py` takes of a run; None where none is left."""
    try:
        return sha256_of(runs.resolve_checkpoint(str(folder), folder, key="runs"))
    except ConfigurationError:
        return None


def _evaluated(folder: Path, config: Mapping[str, Any]) -> Path:
    from striate.pipelines import evaluate

    place = folder / f"evaluation_{config['split']}"
    words = [f"ckpt_path={quoted(folder)}", f"split={config['split']}", f"output_dir={quoted(place)}",
             "trainer.enable_progress_bar=false"]  # fmt: skip
    words += [f"paths.{key}={quoted(value)}" for key, value in config["paths"].items() if key != "root_dir"]
    evaluate.run(OmegaConf.create(composed(words, "evaluate")))
    return place


def _origin(folder: Path, facts: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The configuration of a run and the hash of its first weights; without `run.json`, from the checkpoint."""
    kept = folder / "config.yaml"
    if kept.is_file():
        config = yaml.safe_load(kept.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or "model" not in config:
            raise StorageError(f"{shown(kept)} is no configuration of a run", do="restore it, or name another run")
        return config, str(facts.get("hashes", {}).get("weights", ""))
    path = runs.resolve_checkpoint(str(folder), folder, key="runs")
    return read_record(load_checkpoint(path), path)["config"], ""
