"""A run as others are compared with: its configuration, its figures, its answer to every sample; and who may not be."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate import runs
from striate.errors import ConfigurationError, DataError, StorageError, nearest
from striate.evaluation.pixel_metrics import drawn_figures
from striate.evaluation.tables import cell
from striate.messages import shown

FIGURES = {"classification": "top1_micro", "segmentation": "miou"}  # what a comparison is about where nobody says
_NAMED = 3  # entries that a message lists
_SINGLE = 1e-6


@dataclass(frozen=True)
class Measured:
    """A run with the answers that one split of its data got from it.

    Args:
        folder: of the run.
        config: its resolved configuration.
        weights: SHA-256 of the weights that it started from, "" for none.
        about: what was evaluated and how, as `evaluation.json` says it.
        figures: as `metrics.json` says them, without the name of the split.
        samples: (name, true class) of each sample, in order; of pictures with masks the name alone.
        hits: (N,) whether each answer is right; None of pictures with masks.
        sums: (N, 3, K) pixels of each picture: hits, true and predicted of each class; None without masks.
    """

    folder: Path
    config: Mapping[str, Any]
    weights: str
    about: Mapping[str, Any]
    figures: Mapping[str, float]
    samples: Sequence[tuple[str, ...]]
    hits: NDArray[np.bool_] | None = None
    sums: NDArray[np.int64] | None = None

    @property
    def kind(self) -> str:
        return "segmentation" if self.hits is None else "classification"

    @cached_property
    def code(self) -> str:
        """The hash of the code that trained it."""
        return str(self.about["checkpoint"]["code"].get("hash"))

    def recomputed(self) -> float:
        """The figure of `FIGURES` from the answers."""
        if self.sums is not None:
            return float(drawn_figures(self.sums, np.ones((1, len(self.sums)), np.int64))["miou"][0])
        return float(np.mean(self.hits))  # type: ignore[arg-type]

    def figure(self, name: str) -> float:
        """One of its figures.

        Raises:
            ConfigurationError: it has none of this name; the message says which it has.
        """
        if name not in self.figures:
            raise ConfigurationError(
                f"figure={name}: {shown(self.folder)} has no such figure",
                nearest=None if (found := nearest(name, self.figures)) is None else f"figure={found}",
                do=f"choose among {', '.join(self.figures)}",
            )
        return float(self.figures[name])


def answers_of(folder: Path, split: str, checkpoint: str | None) -> Path | None:
    """Where the answers of a run lie: those of its own test, or of an evaluation; None where there are none to use.

    Of both, those that the code as it is now has measured come first.

    Args:
        folder: of the run.
        split: that was asked.
        checkpoint: SHA-256 of the one that speaks for the run: answers of another one are not the run's. None: none is
            left, and the one that the run has tested counts.
    """
    own = (_read_json(folder / "evaluation.json") or {}).get("checkpoint", {}).get("sha256")
    found: dict[Path, str] = {}
    for place in (folder, folder / f"evaluation_{split}"):
        about = _read_json(place / "evaluation.json")
        complete = (place / "metrics.json").is_file() and _table(place) is not None
        if not (about and complete and about.get("measure")):
            continue
        of = about["checkpoint"]["sha256"]
        if about["data"]["split"] == split and of == (checkpoint or own or of):
            found[place] = about["measure"]
    version = runs.measure_version()
    return min(found, key=lambda place: found[place] != version, default=None)


def read_measured(folder: Path, place: Path, config: Mapping[str, Any], weights: str) -> Measured:
    """Reads a run.

    Args:
        folder: of the run.
        place: of its answers, from `answers_of`.
        config: of the run.
        weights: hash of those that it started from.

    Raises:
        StorageError: the files contradict each other.
    """
    about, metrics, table = _read_json(place / "evaluation.json"), _read_json(place / "metrics.json"), _table(place)
    assert about is not None and metrics is not None and table is not None  # noqa: PT018 (`answers_of` has seen them)
    split = about["data"]["split"]
    figures = {name.removeprefix(f"{split}/"): value for name, value in metrics.items()}
    if place == folder:
        figures = {name.removeprefix(f"{split}/"): metrics[name] for name in metrics if name.startswith(f"{split}/")}
    with open(table, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    common = (folder, config, weights, about, figures)
    try:
        if table.name == "pixel_counts.csv":
            measured = Measured(*common, *_pictures(rows, about["classes"]))
        else:
            right = np.array([row["true"] == row["predicted"] for row in rows], bool)
            measured = Measured(*common, [(row["name"], row["true"]) for row in rows], right)
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{shown(table)} is damaged: {error!r}", do=f"measure anew: {_evaluate(folder)}") from error
    found = measured.recomputed() if rows else math.nan
    # Figures pass through single precision in training; a file that was exchanged is off by more.
    if not abs(found - figures.get(FIGURES[measured.kind], math.nan)) < _SINGLE:
        raise StorageError(
            f"{shown(table)} is not what {shown(place / 'metrics.json')} was made of",
            do=f"measure anew: {_evaluate(folder)}",
        )
    return measured


def _pictures(rows: Sequence[Mapping[str, str]], classes: Sequence[str]) -> tuple[list[tuple[str]], None, Any]:
    labels = {cell(name): label for label, name in enumerate(classes)}
    names = list(dict.fromkeys(row["name"] for row in rows))
    places = {name: place for place, name in enumerate(names)}
    sums = np.zeros((len(names), 3, len(classes)), np.int64)
    for row in rows:
        if row["class"]:
            counts = [int(row[count]) for count in ("hits", "true", "predicted")]
            sums[places[row["name"]], :, labels[row["class"]]] = counts
    return [(name,) for name in names], None, sums


def _table(place: Path) -> Path | None:
    found = [place / name for name in ("predictions.csv", "pixel_counts.csv") if (place / name).is_file()]
    return found[0] if found else None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _evaluate(folder: Path) -> str:
    return f"python src/evaluate.py ckpt_path={shown(folder)}"


def require_comparable(measured: Sequence[Measured]) -> None:
    """Refuses runs whose figures do not speak of the same thing, saying which and how they differ from the first.

    Raises:
        DataError: another data hash, or other samples in the split.
        ConfigurationError: other code made the figures, or pictures were looked at otherwise.
    """
    first = measured[0]
    for others, fault, kind, do in (
        ([run for run in measured if _data(run) != _data(first)], _other_data, DataError,
         "compare runs on one prepared set, or measure all on it: python src/evaluate.py ckpt_path=RUN data=…"),
        ([run for run in measured if run.samples != first.samples], _other_samples, DataError,
         "compare runs with the same split"),
        ([run for run in measured if run.about["measure"] != first.about["measure"]], _other_code, ConfigurationError,
         "again=true measures all of them anew, with the code as it is now"),
        ([run for run in measured if _differing_views(run, first)], _other_views, ConfigurationError,
         "again=true measures all of them anew, with one view"),
    ):  # fmt: skip
        if others:
            more = f"; {len(others) - 1} more like it" if len(others) > 1 else ""
            raise kind(f"{shown(others[0].folder)} {fault(others[0], first)}{more}", do=do)


def _data(run: Measured) -> tuple[str, str]:
    return run.about["data"]["hash"], run.about["data"]["split"]


def _other_data(run: Measured, first: Measured) -> str:
    (name, hashed), (own, own_hash) = ((entry.about["data"]["name"], _data(entry)[0][:12]) for entry in (run, first))
    changed = runs.differences(first.config, run.config)
    how = [f"{key}: {old} → {new}" for key, (old, new) in changed.items() if key.startswith("data.")]
    said = f" ({'; '.join(how[:_NAMED])})" if how else ""
    return f"has another data hash: {name} {hashed}, {shown(first.folder)} has {own} {own_hash}{said}"


def _other_samples(run: Measured, first: Measured) -> str:
    places = zip(run.samples, first.samples, strict=False)
    pair = next(((ours, theirs) for ours, theirs in places if ours != theirs), None)
    how = "" if pair is None else f", the first that differs is {' of '.join(pair[0])}, there {' of '.join(pair[1])}"
    counts = f"{len(run.samples)} samples, {shown(first.folder)} {len(first.samples)}"
    return f"has another {run.about['data']['split']} split: {counts}{how}"


def _other_code(run: Measured, first: Measured) -> str:
    hashes = (entry.about["measure"][:12] for entry in (run, first))
    return "was measured by other code: {}, {} by {}".format(*(next(hashes), shown(first.folder), next(hashes)))


def _differing_views(run: Measured, first: Measured) -> list[str]:
    """The settings in which views differ, the name first; a record may be of a time when fewer were noted."""
    own, others = run.about["views"], first.about["views"]
    return [key for key in ("name", *sorted(own.keys() - {"name"})) if key in others and own[key] != others[key]]


def _other_views(run: Measured, first: Measured) -> str:
    own, others = run.about["views"], first.about["views"]
    key = _differing_views(run, first)[0]
    words = [f"views={about[key]}" if key == "name" else f"views={about['name']} views.{key}={about[key]}"
             for about in (own, others)]  # fmt: skip
    return f"was measured with {words[0]}, {shown(first.folder)} with {words[1]}"
