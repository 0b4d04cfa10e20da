"""Pictures and masks under augmentation: they move together, masks get no new values, chance comes from the key."""

import albumentations
import cv2
import numpy as np
import pytest
from torchvision.transforms import v2

from striate.data.augmentation import (
    Albumentations,
    BrightnessContrast,
    CentreView,
    Cutout,
    HorizontalFlip,
    PadAndCrop,
    Pipeline,
    PrincipalColourShift,
    RandomAffine,
    RandomErasing,
    RandomResizedCrop,
    RescaledCrop,
    ScaleAndCrop,
    Torchvision,
)
from striate.data.augmentation.warps import resample, resample_mask
from striate.data.masks import IGNORE
from striate.data.sampling import keys
from striate.errors import ConfigurationError

LEVELS = np.array([0, 60, 120, 180], np.uint8)  # grey value of each class: the picture shows its mask
FILL = 240  # of none
GEOMETRIC = {
    "pad_and_crop": lambda: PadAndCrop(6, fill=FILL),
    "pad_and_crop_reflect": lambda: PadAndCrop(6, mode="reflect"),
    "horizontal_flip": lambda: HorizontalFlip(),
    "random_affine": lambda: RandomAffine(degrees=25, translate=0.2, scale=(0.7, 1.4), shear=10, fill=FILL),
    "random_affine_reflect": lambda: RandomAffine(degrees=25, translate=0.2, border="reflect"),
    "random_resized_crop": lambda: RandomResizedCrop(40, scale=(0.2, 1.0)),
    "random_resized_crop_small": lambda: RandomResizedCrop(21, scale=(0.2, 1.0)),
    "rescaled_crop": lambda: RescaledCrop(40, crop_fraction=(0.5, 0.9)),
    "scale_and_crop": lambda: ScaleAndCrop(None, scale=(0.5, 2.0), fill=FILL),
    "scale_and_crop_to_a_size": lambda: ScaleAndCrop([48, 56], scale=(0.4, 2.0), fill=FILL),
    "albumentations": lambda: Albumentations(
        [
            albumentations.RandomResizedCrop(size=(48, 56), scale=(0.3, 1.0)),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(rotate=(-20, 20), translate_percent=(-0.1, 0.1), fill=FILL, p=0.8),
        ]
    ),
    "albumentations_one_of": lambda: Albumentations(
        [
            albumentations.OneOf([albumentations.Rotate(limit=30, p=1.0, fill=FILL, border_mode=cv2.BORDER_CONSTANT),
                                  albumentations.PadIfNeeded(96, 112, fill=FILL, p=1.0)]),
            albumentations.RandomCrop(64, 72),
        ]
    ),
    "torchvision": lambda: Torchvision(
        [v2.RandomResizedCrop((48, 56), antialias=True), v2.RandomHorizontalFlip(), v2.RandomRotation(20, fill=FILL)]
    ),
    "torchvision_nested": lambda: Torchvision(
        [v2.RandomApply([v2.RandomAffine(20, translate=(0.2, 0.2), fill=FILL)]), v2.Pad(8, fill=FILL),
         v2.RandomCrop((64, 72))]
    ),
    "pipeline": lambda: Pipeline([ScaleAndCrop(48, fill=FILL), HorizontalFlip(), RandomAffine(degrees=10, fill=FILL)]),
}  # fmt: skip
PHOTOMETRIC = {
    "brightness_contrast": lambda: BrightnessContrast(0.5, 0.5),
    "principal_colours": lambda: PrincipalColourShift(1.0, [0.2, 0.1, 0.05], np.eye(3).tolist()),
    "albumentations": lambda: Albumentations(
        [albumentations.ColorJitter(p=1.0), albumentations.GaussianBlur(p=1.0), albumentations.HueSaturationValue(p=1)]
    ),
    "torchvision": lambda: Torchvision([v2.ColorJitter(0.5, 0.5), v2.RandomPhotometricDistort(), v2.GaussianBlur(3)]),
    "pipeline": lambda: Pipeline([BrightnessContrast(0.5, 0.5), Torchvision([v2.ColorJitter(0.5)])]),
}
ERASING = {"cutout": lambda: Cutout(20, fill=FILL), "random_erasing": lambda: RandomErasing(p=1.0, fill=FILL)}


@pytest.fixture(scope="module")
def pairs():
    """Twelve pictures of large blobs and their masks; the grey value is that of the class."""
    chance = np.random.default_rng(3)
    coarse = chance.integers(0, 4, (12, 4, 5)).astype(np.uint8)
    masks = np.stack([cv2.resize(mask, (72, 64), interpolation=cv2.INTER_NEAREST) for mask in coarse])
    masks = np.stack([cv2.medianBlur(mask, 5) for mask in masks])
    return np.repeat(LEVELS[masks][..., None], 3, axis=3), masks


def inner(mask):
    """Pixels whose neighbours all have their class: no resampling mixes anything there."""
    kernel = np.ones((5, 5), np.uint8)
    edge = {"borderType": cv2.BORDER_CONSTANT, "borderValue": IGNORE}  # beyond the window there may be anything
    return (cv2.erode(mask, kernel) == mask) & (cv2.dilate(mask, kernel, **edge) == mask) & (mask != IGNORE)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_the_mask_moves_with_the_picture(name, pairs):
    images, masks = pairs
    own = keys(0, 0, np.arange(12))
    moved, labels = GEOMETRIC[name]().pair(images, masks, own)
    assert moved.shape[:3] == labels.shape
    assert (moved.dtype, labels.dtype) == (np.uint8, np.uint8)
    assert set(np.unique(labels)) <= {0, 1, 2, 3, IGNORE}
    seen = np.stack([inner(mask) for mask in labels])
    assert seen.mean() > 0.2
    assert np.abs(moved[seen][:, 0].astype(int) - LEVELS[labels[seen]]).max() <= 1
    # Also on the edges the nearest class is nearly always that of the mask (between 0 and 2 lies the grey of 1).
    known = labels != IGNORE
    nearest = np.abs(moved[..., 0].astype(int)[..., None] - np.append(LEVELS, FILL)).argmin(-1)
    right = (nearest == labels)[known & (nearest < 4)].mean()
    assert right > 0.94
    if name != "horizontal_flip":
        assert len({image.tobytes() for image in moved}) == 12


@pytest.mark.parametrize("width", [31, 47, 64, 100, 111, 200])
def test_an_edge_stays_where_it_is_to_half_a_pixel(width):
    for step in range(5, 95, 7):
        mask = np.zeros((9, 100), np.uint8)
        mask[:, step:] = 1
        picture = resample(np.repeat(mask[..., None] * np.uint8(200), 3, 2), 9, width)[..., 0]
        moved = resample_mask(mask, 9, width)
        wrong = (picture > 100) != moved
        assert wrong[:, : width - 1].sum(1).max() <= (1 if width < 50 else 0) or (picture[wrong] == 100).all()


@pytest.mark.parametrize("name", [*GEOMETRIC, *ERASING])
def test_pictures_are_those_of_training_without_masks_and_inputs_stay(name, pairs):
    images, masks = pairs
    before = images.copy(), masks.copy()
    own = keys(1, 2, np.arange(12))
    augmentation = {**GEOMETRIC, **ERASING}[name]()
    alone = augmentation(images, own)
    moved, labels = augmentation.pair(images, masks, own)
    assert np.array_equal(moved, alone)
    assert np.array_equal(augmentation(images, own), alone)  # `pair` has left nothing behind
    assert np.array_equal(images, before[0])
    assert np.array_equal(masks, before[1])
    # Each is a function of its pair and key alone.
    order = np.random.default_rng(0).permutation(12)
    again, relabelled = augmentation.pair(images[order], masks[order], own[order])
    assert np.array_equal(again, moved[order])
    assert np.array_equal(relabelled, labels[order])
    one, label = augmentation.pair(images[4:5], masks[4:5], own[4:5])
    assert np.array_equal(one[0], moved[4])
    assert np.array_equal(label[0], labels[4])


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_colours_change_in_the_picture_only(name, pairs):
    images, masks = pairs
    own = keys(0, 0, np.arange(12))
    augmentation = PHOTOMETRIC[name]()
    moved, labels = augmentation.pair(images, masks, own)
    assert np.array_equal(labels, masks)
    assert np.array_equal(moved, augmentation(images, own))
    assert (moved != images).any()


@pytest.mark.parametrize("name", ERASING)
def test_what_is_erased_does_not_count(name, pairs):
    images, masks = pairs
    moved, labels = ERASING[name]().pair(images, masks, keys(0, 0, np.arange(12)))
    assert np.array_equal(labels == IGNORE, (moved == FILL).all(-1))
    assert 0.01 < (labels == IGNORE).mean() < 0.5
    kept = labels != IGNORE
    assert np.array_equal(labels[kept], masks[kept])


@pytest.mark.parametrize("name", ["pad_and_crop", "scale_and_crop", "scale_and_crop_to_a_size"])
def test_padding_does_not_count(name, pairs):
    images, masks = pairs
    moved, labels = GEOMETRIC[name]().pair(images, masks, keys(0, 0, np.arange(12)))
    assert np.array_equal(labels == IGNORE, (moved == FILL).all(-1))
    assert (labels == IGNORE).any()
    # What did not count before does not count afterwards either.
    nothing = np.full_like(masks, IGNORE)
    assert (GEOMETRIC[name]().pair(images, nothing, keys(0, 0, np.arange(12)))[1] == IGNORE).all()


@pytest.mark.parametrize("name", ["random_affine", "albumentations", "albumentations_one_of", "torchvision_nested"])
def test_what_comes_in_from_outside_does_not_count(name, pairs):
    images, masks = pairs
    moved, labels = GEOMETRIC[name]().pair(images, masks, keys(0, 0, np.arange(12)))
    outside = np.stack([cv2.erode(np.uint8(picture), np.ones((3, 3))) for picture in (moved == FILL).all(-1)]) > 0
    assert outside.any()
    assert (labels[outside] == IGNORE).all()


def test_pictures_of_different_sizes_come_to_one(pairs):
    images, masks = pairs
    images = [image[: 40 + 2 * number] for number, image in enumerate(images)]
    masks = [mask[: 40 + 2 * number] for number, mask in enumerate(masks)]
    own = keys(0, 0, np.arange(12))
    moved, labels = Pipeline([ScaleAndCrop(32), HorizontalFlip()]).pair(images, masks, own)
    assert (moved.shape, labels.shape) == ((12, 32, 32, 3), (12, 32, 32))
    with pytest.raises(ValueError, match="a crop or a resize must come first"):
        HorizontalFlip().pair(images, masks, own)


@pytest.mark.parametrize(("scale", "size"), [((1.0, 1.0), 32), ((2.0, 2.0), 64), ((0.5, 0.5), 32)])
def test_scale_and_crop_does_what_it_says(scale, size, pairs):
    images, masks = pairs
    own = keys(0, 0, np.arange(12))
    moved, labels = ScaleAndCrop(size, scale=scale, fill=FILL).pair(images, masks, own)
    share = (labels != IGNORE).mean((1, 2))
    if scale[0] < 1:  # 64 × 72 becomes 32 × 36
        assert (share == 1).all()
        assert len({bytes(mask) for mask in labels}) == 12
    elif scale[0] == 1:  # windows out of the picture, nothing resampled
        for image, mask, view, label in zip(images, masks, moved, labels, strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(mask, (32, 32))
            places = np.argwhere((windows == label).all((2, 3)))
            assert any((image[top : top + 32, left : left + 32] == view).all() for top, left in places)
    else:
        doubled = [np.repeat(np.repeat(mask, 2, 0), 2, 1) for mask in masks]
        for mask, label in zip(doubled, labels, strict=True):
            assert set(np.unique(label)) <= set(np.unique(mask))
    places = [
        window[2]
        for window in ScaleAndCrop(32, scale=(1.0, 1.0)).windows(keys(0, 0, np.arange(500)), images[:1].repeat(500, 0))
    ]
    tops = np.array([place[0].start for place in places])
    assert (tops.min(), tops.max()) == (0, 32)
    assert 14 < tops.mean() < 18


@pytest.mark.parametrize(
    ("augmentation", "name"),
    [
        (lambda: CentreView(32), "CentreView"),
        (lambda: Pipeline([CentreView(32), HorizontalFlip()]), "CentreView"),
        (lambda: Albumentations([albumentations.Morphological(p=1.0)]), "Morphological"),
        (lambda: Albumentations([albumentations.OneOf([albumentations.ToTensorV2()])]), "ToTensorV2"),
        (lambda: Torchvision([v2.RandAugment()]), "RandAugment"),
        (lambda: Torchvision([v2.RandomApply([v2.RandomErasing(1.0)])]), "RandomErasing"),
        (lambda: Torchvision([lambda picture: picture.flip(2)]), "function"),
    ],
)
def test_what_cannot_move_a_mask_refuses_in_one_line(augmentation, name, pairs):
    with pytest.raises(ConfigurationError, match=f"{name} cannot move a mask with its picture") as refusal:
        augmentation().pair(*map(list, pairs), keys(0, 0, np.arange(12)))
    assert refusal.value.do


@pytest.mark.parametrize("input_size", [None, 32])
def test_a_centre_view_of_pictures_of_one_size_is_the_pair_itself(pairs, input_size):
    moved, labels = CentreView(input_size).pair(*pairs, keys(0, 0, np.arange(12)))
    assert np.array_equal(moved, pairs[0])
    assert np.array_equal(labels, pairs[1])


def test_other_masks_are_refused(pairs):
    images, masks = pairs
    with pytest.raises(ValueError, match="expected uint8 masks"):
        HorizontalFlip().pair(images, masks.astype(np.int64), keys(0, 0, np.arange(12)))
    with pytest.raises(ValueError, match=r"size >= 1 pixel or \[height, width\]"):
        ScaleAndCrop([3, 4, 5])
