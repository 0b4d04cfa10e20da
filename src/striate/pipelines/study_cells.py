"""The cells of a study: every training that it consists of, composed and checked before the first one runs."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from striate import runs
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError, nearest
from striate.models.arithmetic import Counts, count
from striate.pipelines.study_words import composed, filled, merged
from striate.pipelines.train import build_datamodule
from striate.tasks.building import construct_network, require_picture_size

Point = dict[str, Any]  # x, and whatever else the words of a point need


@dataclass(frozen=True)
class Cell:
    """One training: an arm at a point with a seed.

    Attributes:
        words: of `train.py`.
        data: hash of the prepared set, once it is known.
        parameters, mult_adds: of the network on these data, likewise.
        name: of its run directory. It ends with the digest of what the cell computes, so that a changed study or
            other data have other cells.
    """

    arm: str
    point: Point
    seed: int
    words: tuple[str, ...]
    config: Mapping[str, Any]
    data: str = ""
    parameters: int = 0
    mult_adds: int = 0

    @cached_property
    def name(self) -> str:
        content = json.dumps([runs.with_effect(self.config), self.data], sort_keys=True, default=str)
        digest = hashlib.sha256(content.encode()).hexdigest()[:10]
        label = f"{self.arm}_{self.point['x']}" if "x" in self.point else self.arm
        return f"{re.sub(r'[^a-zA-Z0-9._-]+', '-', label)}_seed{self.seed}_{digest}"

    @property
    def epochs(self) -> int:
        return self.config["trainer"]["max_epochs"]


def cells_of(content: Mapping[str, Any], size: str, seeds: int | None, more: Sequence[str]) -> list[Cell]:
    """Every cell at a size, composed and checked, before anything runs: seeds outermost, so that each arm comes early.

    Args:
        content: the study.
        size: one of its sizes.
        seeds: how many; None as the size says.
        more: words that win over all others.

    Raises:
        ConfigurationError: no such size, or words that `train.py` does not take.
    """
    if size not in content["sizes"]:
        raise ConfigurationError(
            f"the study has no size {size}",
            nearest=f"size={found}" if (found := nearest(size, content["sizes"])) else None,
            do=f"choose among {', '.join(content['sizes'])}",
        )
    chosen, axis = content["sizes"][size], content.get("axis")
    points = [point if isinstance(point, dict) else {"x": point} for point in chosen.get("points") or []] or [{}]
    kinds = []
    for point in points:
        for arm, words in content["arms"].items():
            varying = [*(chosen.get("axis") or (axis or {}).get("overrides", [])), *words]
            own = [filled(word, {**point, "size": size}) for word in varying]
            together = merged([*content["overrides"], *chosen.get("overrides", []), *own, *more])
            kinds.append((arm, point, together, composed(together)))
    return [
        Cell(arm, point, seed, (*words, f"seed={seed}"), {**config, "seed": seed})
        for seed in range(seeds or chosen["seeds"])
        for arm, point, words, config in kinds
    ]


def prepared(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with what their data decide; sets that are not prepared yet are prepared first, each once.

    Raises:
        StriateError: raw data that are missing or broken, a network that does not take these pictures.
    """
    sets: dict[str, ImageDataModule] = {}
    counted: dict[str, Counts] = {}
    known = []
    for cell in cells:
        data = json.dumps(cell.config["data"], sort_keys=True, default=str)
        if data not in sets:
            sets[data] = build_datamodule(cell.config)
            sets[data].prepare_data()
        datamodule = sets[data]
        network = data + json.dumps(cell.config["model"], sort_keys=True)
        if network not in counted:
            require_picture_size(cell.config["model"], datamodule.meta, datamodule.input_shape)
            with torch.device("meta"):
                built = construct_network(cell.config["model"], datamodule.meta, datamodule.input_shape[1:])
            counted[network] = count(built, datamodule.input_shape)
        counts = counted[network]
        known.append(
            replace(cell, data=datamodule.whole.hash, parameters=counts.parameters, mult_adds=counts.mult_adds)
        )
    return known
