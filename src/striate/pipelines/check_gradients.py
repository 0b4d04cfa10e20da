"""`python src/check_gradients.py`: each gradient of a network computed in three ways, as a table."""

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor

from striate.configuration import build, plain
from striate.data.loading import Batch
from striate.errors import ConfigurationError, StriateError
from striate.messages import calm_libraries, say
from striate.tasks.building import build_network, require_picture_size
from striate.tasks.gradient_check import Row, compare_gradients, leave_kinks


def run(cfg: DictConfig) -> dict[str, float]:
    """Compares and prints.

    Returns:
        The largest error of each comparison.

    Raises:
        StriateError: an error is above its tolerance; exit code 1.
        ConfigurationError: the network does not take these pictures.
    """
    calm_libraries()
    config = plain(cfg)
    datamodule = build(config["data"], "data", augmentation=None, seed=config["seed"])
    datamodule.prepare_data()
    meta, shape = datamodule.meta, datamodule.input_shape
    require_picture_size(config["model"], meta, shape)
    network = build_network(config["model"], meta, config["seed"], shape[1:]).double().eval()
    leave_kinks(network, config["seed"])
    loss = build(config["loss"], "loss", class_counts=datamodule.class_counts())
    inputs, targets = pictures(datamodule, config["samples"], config["seed"])
    limits = {"by_hand": config["tolerance"], "differences": config["tolerance_differences"]}
    rows = compare_gradients(
        network, loss, inputs, targets,
        entries=config["entries"], step=config["step"], enough=limits["differences"], seed=config["seed"],
    )  # fmt: skip
    title = f"{type(network).__name__}, {type(loss).__name__}, {len(targets)} pictures of {meta.name}, float64"
    show(rows, title, limits)
    worst = {
        name: max((found for row in rows if (found := getattr(row, name)) is not None), default=None) for name in limits
    }
    figures = {name: value for name, value in worst.items() if value is not None}
    for name, value in figures.items():
        if not value <= limits[name]:
            row = max(rows, key=lambda row: getattr(row, name) or 0.0)
            raise StriateError(
                f"{row.name}: the gradients differ by {value:.3g} of the largest, more than {limits[name]:g}",
                do="try another seed, since a ReLU may have its kink there; if it stays, one of the two is wrong",
            )
    say("Every gradient agrees.")
    return figures


def pictures(datamodule: Any, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Training pictures as a network sees them, (N, C, H, W) float64, and their classes."""
    dataset = datamodule.dataset("train")
    if count > len(dataset):
        raise ConfigurationError(
            f"samples={count}: {datamodule.name} has {len(dataset)} training pictures",
            nearest=f"samples={len(dataset)}",
        )
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:count]
    batch: Batch = dataset[0, chosen.numpy()]
    return datamodule.preprocessing.normalise(batch.images, torch.float64), batch.targets


def show(rows: list[Row], title: str, limits: Mapping[str, float]) -> None:
    """The table."""
    by_hand = any(row.by_hand is not None for row in rows)
    table = Table(title=title, title_justify="left")
    headings = ["parameter", "shape", "largest gradient"]
    headings += ["by hand / autograd", "by hand / differences"] if by_hand else ["autograd / differences"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("parameter", "shape") else "right")
    for row in rows:
        found = [(row.by_hand, limits["by_hand"])] if row.by_hand is not None else []
        found.append((row.differences, limits["differences"]))
        cells = [f"{value:.1e}" if value <= limit else f"[red]{value:.1e} >[/red]" for value, limit in found]
        table.add_row(row.name, "×".join(map(str, row.shape)), f"{row.largest:.3e}", *cells)
    Console().print(table)
