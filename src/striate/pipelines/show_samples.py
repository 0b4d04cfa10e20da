"""`python src/show_samples.py`: what an augmentation makes of training pictures, as one picture to look at."""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from striate.configuration import build, plain
from striate.data.augmentation_sheet import Row, draw_augmentation_sheet
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError
from striate.messages import say, shown
from striate.storage import require_writable, storage_errors


def run(cfg: DictConfig) -> dict[str, float]:
    """Draws the picture; prepares the set first where it is missing.

    Returns:
        How many `pictures` it shows, in how many `epochs`.

    Raises:
        ConfigurationError: an output that is no PNG, or an augmentation that does not fit the pictures.
        DataError: the data are missing.
        StorageError: the output cannot be written.
    """
    config = plain(cfg)
    output = Path(config["output"])
    if output.suffix.lower() != ".png":
        raise ConfigurationError(f"output={output} is not a .png", nearest=f"output={output.with_suffix('.png')}")
    require_writable(output.parent)
    augmentation = build(config["augmentation"], "augmentation")
    datamodule: ImageDataModule = build(config["data"], "data", augmentation=augmentation, seed=config["seed"])
    datamodule.prepare_data()
    epochs = range(config["first_epoch"], config["first_epoch"] + config["epochs"])
    with storage_errors(output):
        shown_rows = draw_samples(datamodule, config["seed"], epochs, config["pictures"], output)
    say(f"Worth opening: {shown(output)}")
    return {"pictures": shown_rows, "epochs": len(epochs)}


def draw_samples(data: ImageDataModule, seed: int, epochs: range, pictures: int, output: Path) -> int:
    """Draws so many training pictures as training sees them in these epochs; says how many there were.

    Args:
        data: with its augmentation.
        seed: of the training.
        epochs: columns, from 0.
        pictures: rows, spread over the classes.
        output: the PNG file.
    """
    dataset, classes = data.dataset("train"), data.meta.classes
    indices = spread(dataset.targets, pictures)
    seen = [dataset[epoch, indices].images.numpy() for epoch in epochs]
    rows = [
        Row(classes[dataset.targets[index]], int(dataset.rows[index]), picture, [views[place] for views in seen])
        for place, (index, picture) in enumerate(zip(indices, dataset.pack.read(dataset.rows[indices]), strict=True))
    ]
    draw_augmentation_sheet(output, data.name, seed, list(epochs), rows)
    return len(rows)


def spread(targets: np.ndarray, count: int) -> np.ndarray:
    """Places of so many samples, from classes spread evenly over all; fewer where there are not as many."""
    labels = np.unique(targets)[np.linspace(0, len(np.unique(targets)) - 1, count).round().astype(int)]
    chosen = []
    for label in np.unique(labels):
        places = np.flatnonzero(targets == label)
        number = min(int((labels == label).sum()), len(places))
        chosen.append(places[np.linspace(0, len(places) - 1, number).round().astype(int)])
    return np.concatenate(chosen)
