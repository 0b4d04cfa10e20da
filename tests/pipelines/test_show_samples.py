"""The picture of an augmentation: what it shows is what training sees."""

import numpy as np
import pytest
from PIL import Image

from striate.configuration import compose
from striate.data import augmentation_sheet as sheet
from striate.data.masks import overlaid
from striate.errors import ConfigurationError, StorageError
from striate.pipelines import show_samples as pipeline
from striate.pipelines.train import build_datamodule


@pytest.fixture
def show(places, digits, tmp_path):
    """`show(*overrides)` gives the figures and the drawn pixels."""

    def run(*overrides):
        output = tmp_path / "samples.png"
        figures = pipeline.run(compose("show_samples", [*places, f"output={output}", *overrides]))
        return figures, np.asarray(Image.open(output))

    return run


def tile(pixels: np.ndarray, row: int, column: int) -> np.ndarray:
    """The pixels of a picture of the sheet; column −1 is the stored one."""
    top = sheet.MARGIN + sheet.HEAD + sheet.COLUMN_HEAD + row * (sheet.TILE + sheet.GAP)
    left = sheet.MARGIN + sheet.LABEL_WIDTH
    left += 0 if column < 0 else sheet.TILE + 3 * sheet.GAP + column * (sheet.TILE + sheet.GAP)
    return pixels[top : top + sheet.TILE, left : left + sheet.TILE, 0]


def enlarged(view: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(view[..., 0]).resize((sheet.TILE, sheet.TILE), Image.Resampling.NEAREST))


def test_it_shows_what_training_sees_of_the_samples_it_names(show, places):
    figures, pixels = show("augmentation=lenet", "seed=3", "first_epoch=5", "epochs=3", "pictures=4")
    assert figures == {"pictures": 4, "epochs": 3}
    dataset = build_datamodule(compose("train", [*places, "augmentation=lenet", "seed=3"])).dataset("train")
    indices = pipeline.spread(dataset.targets, 4)
    assert len(set(dataset.targets[indices])) == 4
    for row, index in enumerate(indices):
        assert (tile(pixels, row, -1) == enlarged(dataset.pack.read(np.array([index]))[0])).all()
        for column, epoch in enumerate((5, 6, 7)):
            seen = dataset[epoch, np.array([index])].images[0].numpy()
            assert (tile(pixels, row, column) == enlarged(seen)).all()


def test_another_seed_is_another_picture_and_the_same_the_same(show):
    words = ["augmentation=lenet", "epochs=2", "pictures=2"]
    _, first = show(*words)
    _, again = show(*words)
    _, other = show(*words, "seed=1")
    assert (first == again).all()
    assert (tile(first, 0, 0) != tile(other, 0, 0)).any()


def test_samples_are_spread_over_the_classes_and_within_them():
    targets = np.repeat([0, 1, 2], [10, 1, 5])
    assert pipeline.spread(targets, 3).tolist() == [0, 10, 11]
    assert pipeline.spread(targets, 6).tolist() == [0, 9, 10, 11, 15], "no sample twice"
    assert pipeline.spread(targets, 1).tolist() == [0]


def test_what_is_no_png_and_what_cannot_be_written_is_refused(show, tmp_path):
    with pytest.raises(ConfigurationError, match=r"is not a \.png") as refusal:
        show(f"output={tmp_path / 'samples.jpg'}")
    assert "samples.png" in str(refusal.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        show(f"output={tmp_path / 'file' / 'samples.png'}")


def test_an_augmentation_that_does_not_fit_the_pictures_is_refused_before_training(show):
    three = "[[1.0,0.0,0.0],[0.0,1.0,0.0],[0.0,0.0,1.0]]"
    words = ["augmentation=alexnet", "augmentation.transforms.2.values=[0.2,0.1,0.1]"]
    with pytest.raises(ConfigurationError, match="augmentation: expected pictures of 3 channels"):
        show(*words, f"augmentation.transforms.2.vectors={three}")


def test_masks_are_laid_over_what_training_sees_and_move_with_it(show, places):
    words = ["data=segmentation_digits", "data.name=canvases_shown", "data.source.canvases={train: 9, val: 3, test: 3}"]
    words += ["data.source.size=32", "data.source.digits=[1,2]", "augmentation.translate=0.3"]
    _, pixels = show(*words, "epochs=2", "pictures=3")
    data = build_datamodule(compose("train", [*places, *words]))
    dataset = data.dataset("train")
    for row, index in enumerate((0, 4, 8)):
        for epoch in (0, 1):
            batch = dataset[epoch, np.array([index])]
            seen = overlaid(batch.images[0].numpy(), batch.targets[0].numpy(), data.meta.labelling["colours"])
            assert (tile(pixels, row, epoch) == enlarged(seen)).all()
            assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 2
