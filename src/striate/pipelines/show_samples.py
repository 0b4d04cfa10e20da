"""`python src/show_samples.py`: what an augmentation makes of training pictures, as one picture to look at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from striate.configuration import build, plain
from striate.data.augmentation_sheet import Row, draw_augmentation_sheet
from striate.data.loading import Batch
from striate.data.masks import overlaid
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError
from striate.evaluation.pixel_report import spread as evenly
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
        pictures: rows, spread over the classes, or over the split where every pixel has a label.
        output: the PNG file.
    """
    dataset, classes = data.dataset("train"), data.meta.classes
    indices = np.array(evenly(len(dataset), pictures)) if data.labels_pixels else spread(dataset.targets, pictures)
    seen = [_views(data, dataset[epoch, indices]) for epoch in epochs]
    titles = [
        Path(dataset.names[index]).stem if data.labels_pixels else classes[dataset.targets[index]] for index in indices
    ]
    rows = [
        Row(title, int(dataset.rows[index]), picture, [views[place] for views in seen])
        for place, (title, index, picture) in enumerate(
            zip(titles, indices, dataset.pack.read(dataset.rows[indices]), strict=True)
        )
    ]
    draw_augmentation_sheet(output, data.name, seed, list(epochs), rows)
    return len(rows)


def _views(data: ImageDataModule, batch: Batch) -> Sequence[np.ndarray]:
    """What training sees of pictures, (H, W, C) uint8 each; under their masks where every pixel has a label."""
    images = batch.images.numpy()
    if not data.labels_pixels:
        return list(images)
    colours = (data.meta.labelling or {})["colours"]
    return [overlaid(image, mask, colours) for image, mask in zip(images, batch.targets.numpy(), strict=True)]


def spread(targets: np.ndarray, count: int) -> np.ndarray:
    """Places of so many samples, from classes spread evenly over all; fewer where there are not as many."""
    labels = np.unique(targets)[np.linspace(0, len(np.unique(targets)) - 1, count).round().astype(int)]
    chosen = []
    for label in np.unique(labels):
        places = np.flatnonzero(targets == label)
        number = min(int((labels == label).sum()), len(places))
        chosen.append(places[np.linspace(0, len(places) - 1, number).round().astype(int)])
    return np.concatenate(chosen)
