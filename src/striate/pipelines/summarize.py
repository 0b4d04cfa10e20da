"""`python src/summarize.py`: what a network, or the whole family, costs, and what its paper says that it costs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from striate.configuration import build, plain
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError, DataError
from striate.evaluation import network_tables as tables
from striate.evaluation.papers import Shape
from striate.evaluation.typesetting import wide_console
from striate.messages import say, shown
from striate.models.arithmetic import training_memory
from striate.pipelines import family
from striate.pipelines.counting import counted
from striate.storage import require_writable


def run(cfg: DictConfig) -> dict[str, float]:
    """Counts, prints, and writes where an `output_dir` is given.

    Returns:
        parameters, multiply-adds, activations and memory of the network; of the family, how many rows its tables have.

    Raises:
        ConfigurationError: the network does not take such pictures.
        DataError: the named set is not prepared.
        StorageError: a place that cannot be written.
    """
    config = plain(cfg)
    if config["output_dir"] is not None:
        require_writable(Path(config["output_dir"]))
    if config["model"] is None:
        return family.run(config)
    if config["readme"] is not None:
        raise ConfigurationError("readme=… is for the table of the family", do="say model=all")
    member, network = counted(config["model"], *asked(config))
    size = config["batch_size"]
    memory = training_memory(network, member.input, size)
    layers, printed = tables.layer_sheet(member, size), tables.printed_sheet([member])
    entry = member.entry
    notes = [tables.RULE, tables.FIELD_RULE, tables.memory_note(memory, size), *(entry.notes if entry else ())]
    console = wide_console()
    for sheet in (layers, printed) if printed.rows else (layers,):
        console.print(sheet.rich(console.width))
    for note in notes:
        console.print(note, markup=False, highlight=False)
    if config["output_dir"] is not None:
        folder, name = Path(config["output_dir"]), re.sub(r"[^\w.=-]+", "_", member.name)
        files = layers.write(folder, name, notes=notes)
        if printed.rows:
            files += printed.write(folder, f"{name}_printed", notes=[tables.VERDICTS])
        say("Written: " + ", ".join(shown(file) for file in files))
    return {
        "parameters": float(member.counts.parameters),
        "mult_adds": float(member.counts.mult_adds),
        "activations": float(member.counts.activations),
        "memory": float(memory.total),
    }


def asked(config: Mapping[str, Any]) -> tuple[Shape | None, int | None]:
    """Input and classes as given, or those of the prepared set; None for what is left to the paper.

    Raises:
        ConfigurationError: a size below 1.
        DataError: the set is not prepared.
    """
    size, classes = config["input"], config["num_classes"]
    if size and min(size) < 1:
        raise ConfigurationError(f"input={size} has a side below 1", do="write input=[CHANNELS,HEIGHT,WIDTH]")
    if config["data"] is not None:
        datamodule: ImageDataModule = build(config["data"], "data", augmentation=None, seed=0)
        if not (datamodule.folder / "meta.json").is_file():
            raise DataError(f"{shown(datamodule.folder)} is not prepared yet", do="python src/prepare.py data=… first")
        size, classes = size or datamodule.input_shape, classes or datamodule.meta.num_classes
    return (size[0], size[1], size[2]) if size else None, classes
