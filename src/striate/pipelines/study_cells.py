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
from striate.models.arithmetic import Counts, count
from striate.pipelines.requiring import require_stages
from striate.pipelines.study_sizes import Point, at_size, places, words_of
from striate.pipelines.study_words import filled, first_seed, of_seed
from striate.pipelines.train import build_datamodule
from striate.tasks.building import construct_network, require_picture_size
from striate.transfer.backbones import choose_inner
from striate.transfer.pairs import LIBRARIES


@dataclass(frozen=True)
class Cell:
    """One training: an arm, or a base, at a point with a seed.

    Attributes:
        words: of `train.py`.
        base: the cell from whose weights it starts, if any.
        data: hash of the prepared set, once it is known.
        parameters, mult_adds: of the network on these data, likewise.
        name: of its run directory. It ends with the digest of what the cell and its base compute, so that a changed
            study, a changed base or other data have other cells.
    """

    arm: str
    point: Point
    seed: int
    words: tuple[str, ...]
    config: Mapping[str, Any]
    base: "Cell | None" = None
    data: str = ""
    parameters: int = 0
    mult_adds: int = 0

    @cached_property
    def name(self) -> str:
        computes = [runs.with_effect(self.config), self.data, *([self.base.name] if self.base else [])]
        digest = hashlib.sha256(json.dumps(computes, sort_keys=True, default=str).encode()).hexdigest()[:10]
        label = f"{self.arm}_{self.point['x']}" if "x" in self.point else self.arm
        return f"{re.sub(r'[^a-zA-Z0-9.+_-]+', '-', label)}_seed{self.seed}_{digest}"

    @property
    def epochs(self) -> int:
        return self.config["trainer"]["max_epochs"]


def cells_of(content: Mapping[str, Any], size: str, seeds: int | None, more: Sequence[str]) -> list[Cell]:
    """Every cell at a size, composed and checked, before anything runs: seeds outermost, so that each arm comes early,
    and bases before what starts from them.

    Args:
        content: the study.
        size: one of its sizes.
        seeds: how many; None as the size says.
        more: words that win over all others.

    Raises:
        ConfigurationError: no such size, or words that `train.py` does not take.
    """
    content = at_size(content, size)
    kinds = [(arm, point, words_of(content, size, arm, point, more)) for arm, point in places(content, size)]
    fields, configs = {**content["bases"], **content["arms"]}, [first_seed(words) for *_, words in kinds]
    cells: list[Cell] = []
    for seed in range(seeds or content["sizes"][size]["seeds"]):
        latest: dict[str | None, Cell] = {}  # of this seed; what is a base has one only
        for (arm, point, template), first in zip(kinds, configs, strict=True):
            words = tuple(filled(word, {"seed": seed}) for word in template)
            config = {**of_seed(first, template, seed), "seed": seed}
            latest[arm] = Cell(arm, point, seed, (*words, f"seed={seed}"), config, latest.get(fields[arm]["base"]))
            cells.append(latest[arm])
    return cells


def prepared(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with what their data decide; sets that are not prepared yet are prepared first, each once.

    Raises:
        StriateError: raw data that are missing or broken, a network that does not take these pictures.
    """
    sets: dict[str, ImageDataModule] = {}
    counted: dict[str, Counts] = {}
    known: dict[str, Cell] = {}  # by the name before
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
        known[cell.name] = replace(
            cell,
            base=None if cell.base is None else known[cell.base.name],
            data=datamodule.whole.hash,
            parameters=counts.parameters,
            mult_adds=counts.mult_adds,
        )
    require_stages_of(cells)
    return list(known.values())


def require_stages_of(cells: Sequence[Cell]) -> None:
    """Looks for the stages that cells name in their networks, once for each; not where the set is not prepared yet, or
    the network is not chosen.

    Raises:
        ConfigurationError: stages that a network does not have.
    """
    known = set[str]()
    for config in (cell.config for cell in cells):
        model, init = config["model"], config["init"]
        key = json.dumps([model, {**init, "path": None}], sort_keys=True)
        if key in known or "model" in config["choose"]:
            continue
        data = build_datamodule(config)
        if (data.folder / "meta.json").is_file():
            known.add(key)
            fitting = choose_inner(model, init["kind"])[0] if init["kind"] in LIBRARIES else model
            with torch.device("meta"):
                require_stages(construct_network(fitting, data.whole, data.input_shape[1:]), init)
