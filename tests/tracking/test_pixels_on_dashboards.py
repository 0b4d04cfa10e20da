"""What a dashboard shows of a training in which every pixel has a label."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from offline_wandb import read
from striate.configuration import compose
from striate.pipelines import train as pipeline

WORDS = [
    "data=segmentation_digits", "data.name=few_canvases", "data.source.canvases={train: 16, val: 8, test: 8}",
    "data.source.size=32", "data.source.digits=[1,2]", "data.batch_size=8", "model=unet", "model.widths=[4,8]",
    "model.padding=same", "trainer.max_epochs=1", "trainer.enable_progress_bar=false", "trainer.accelerator=cpu",
    "mistakes=true", "logger=[wandb,tensorboard]",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(places, tmp_path_factory):
    """The run directory of a small U-Net with two dashboards."""
    run = tmp_path_factory.mktemp("pixels") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.delenv("STRIATE_RUN", raising=False)
        pipeline.run(compose("train", [*places, *WORDS, f"run_dir={run}"]))
        os.environ.pop("STRIATE_RUN", None)
    return run


def test_the_confusion_of_the_tested_pixels_arrives(folder):
    (place,) = (folder / "wandb").glob("offline-run-*")
    mirror = read(place)
    (matrix,) = mirror.values("test/confusion_table").values()
    cells = json.loads((place / "files" / matrix["path"]).read_text())["data"]
    right = {cell[0]: cell[2] for cell in cells if cell[0] == cell[1]}
    with open(folder / "pixel_counts.csv", newline="") as stream:
        counted = list(csv.DictReader(stream))
    assert sum(cell[2] for cell in cells) == sum(int(row["true"] or 0) for row in counted) > 0
    for name, hits in right.items():
        assert hits == sum(int(row["hits"]) for row in counted if row["class"] == name), name
    for key in ("test/confusion_matrix", "test/mosaic_worst"):
        assert mirror.values(key), key


def test_what_training_sees_arrives_with_its_masks(folder):
    (place,) = (folder / "wandb").glob("offline-run-*")
    (value,) = read(place).values("train/masks").values()
    assert value["count"] == 8
    assert all(set(masks) == {"truth"} for masks in value["all_masks"])
    with Image.open(folder / "samples.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert (np.ptp(pixels, axis=2) > 60).mean() > 0.02, "grey canvases under coloured masks"


def test_other_dashboards_have_the_pictures(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    for name in ("train/samples", "test/confusion_matrix", "test/mosaic_worst", "val/mosaic"):
        assert events.Images(name), name
