"""Augmentation as a pure function of (picture, key), and what each operation does to pixels."""

import os
import pickle
import random
import subprocess
import sys

import albumentations
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from striate.data.augmentation import (
    Albumentations,
    BrightnessContrast,
    CentreView,
    Cutout,
    HorizontalFlip,
    PadAndCrop,
    Pipeline,
    RandomAffine,
    RandomErasing,
    RandomResizedCrop,
    RescaledCrop,
    Torchvision,
)
from striate.data.augmentation.arrays import noise
from striate.data.augmentation.base import as_batch
from striate.data.sampling import BatchSampler, keys

FACTORIES = {
    "pad_and_crop": lambda: PadAndCrop(4),
    "pad_and_crop_reflect": lambda: PadAndCrop(4, mode="reflect"),
    "horizontal_flip": lambda: HorizontalFlip(),
    "random_erasing": lambda: RandomErasing(p=1.0),
    "random_erasing_grey": lambda: RandomErasing(p=1.0, fill=128),
    "cutout": lambda: Cutout(8),
    "brightness_contrast": lambda: BrightnessContrast(),
    "random_affine": lambda: RandomAffine(degrees=15, translate=0.1, scale=(0.9, 1.1), shear=5),
    "random_affine_squeezed": lambda: RandomAffine(translate=0.1, squeeze=1.3, shear=5),
    "random_resized_crop": lambda: RandomResizedCrop(24),
    "random_resized_crop_any_method": lambda: RandomResizedCrop(24, interpolation="random"),
    "rescaled_crop": lambda: RescaledCrop(24, crop_fraction=(0.5, 0.9)),
    "rescaled_crop_of_five": lambda: RescaledCrop(24, crop_fraction=(0.5, 0.9), square=True, places="five"),
    "rescaled_crop_of_own_size": lambda: RescaledCrop(None, crop_fraction=(0.5, 0.9)),
    "albumentations": lambda: Albumentations(
        [
            albumentations.RandomResizedCrop(size=(24, 24)),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.OneOf([albumentations.GaussNoise(p=1.0), albumentations.Affine(rotate=(-20, 20), p=1.0)]),
        ]
    ),
    "torchvision": lambda: Torchvision(
        [v2.RandomResizedCrop(24, antialias=True), v2.RandomHorizontalFlip(), v2.RandAugment()]
    ),
    "pipeline": lambda: Pipeline(
        [
            RandomResizedCrop(24),
            HorizontalFlip(),
            Albumentations([albumentations.ColorJitter(p=1.0)]),
            Torchvision([v2.RandomRotation(20)]),
            RandomErasing(),
        ]
    ),
}
FINE_GRAINED = set(FACTORIES) - {"horizontal_flip"}  # so many outcomes that 16 draws hardly ever agree


@pytest.fixture(params=FACTORIES)
def augmentation(request):
    return FACTORIES[request.param]()


@pytest.fixture(params=[1, 3], ids=["grey", "colour"])
def images(request) -> np.ndarray:
    """16 smooth pictures with an orientation and no symmetry."""
    rows, columns = np.mgrid[0:32, 0:30] / 32
    channels = [np.sin((3 + c) * rows + 5 * columns + c) * 60 + 90 * columns + 60 for c in range(request.param)]
    picture = np.stack(channels, -1)
    return np.stack([picture + 4 * number for number in range(16)]).clip(0, 255).astype(np.uint8)


def state_of_the_generators() -> list:
    numpy_state = np.random.get_state()  # noqa: NPY002 (the state that must not move)
    return [random.getstate(), numpy_state[1].tolist(), numpy_state[2:], torch.get_rng_state().tolist()]


def test_output_depends_on_the_picture_and_its_key_alone(augmentation, images):
    own = keys(0, 0, np.arange(16))
    whole = augmentation(images, own)
    assert whole.dtype == np.uint8
    assert whole.shape[0] == 16
    assert whole.shape[3] == images.shape[3]
    order = np.random.default_rng(0).permutation(16)
    assert (augmentation(images[order], own[order]) == whole[order]).all()
    assert (augmentation(images, own) == whole).all()
    alone = np.concatenate([augmentation(images[i : i + 1], own[i : i + 1]) for i in range(16)])
    assert (alone == whole).all()
    assert (augmentation(list(images), own) == whole).all()


def test_nothing_outside_is_touched(augmentation, images):
    before, state = images.copy(), state_of_the_generators()
    output = augmentation(images, keys(0, 0, np.arange(16)))
    output[:] = 0
    assert (images == before).all()
    assert state_of_the_generators() == state


def test_nothing_outside_has_a_part(augmentation, images):
    own = keys(0, 0, np.arange(16))
    expected = augmentation(images, own)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 (a library's global state)
    torch.manual_seed(1)
    assert (augmentation(images, own) == expected).all()


def test_a_copy_in_another_process_would_do_the_same(augmentation, images):
    own = keys(0, 0, np.arange(16))
    augmentation(images[:3], own[5:8])
    copied = pickle.loads(pickle.dumps(augmentation))
    assert (copied(images, own) == augmentation(images, own)).all()


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_sixteen_samples_get_sixteen_augmentations_and_epochs_differ(name, images):
    same = np.repeat(images[:1], 16, axis=0)
    augmentation = FACTORIES[name]()
    epochs = [augmentation(same, keys(0, epoch, np.arange(16))) for epoch in range(2)]
    assert (epochs[0] != epochs[1]).any()
    different = {picture.tobytes() for picture in epochs[0]}
    # 16 draws out of 81 shifts, the coarsest of them, give 11 different ones at least in all but 1 of 10,000 cases.
    assert len(different) >= (11 if name in FINE_GRAINED else 2)


def test_sixteen_of_sixteen_by_the_continuous_ones(images):
    same = np.repeat(images[:1], 16, axis=0)
    for name in ("random_affine", "random_resized_crop", "albumentations", "torchvision", "pipeline"):
        output = FACTORIES[name]()(same, keys(0, 0, np.arange(16)))
        assert len({picture.tobytes() for picture in output}) == 16, name


class Augmented(Dataset):
    def __init__(self, images, augmentation):
        self.images, self.augmentation = images, augmentation

    def __getitem__(self, request):
        epoch, indices = request
        return self.augmentation(self.images[indices], keys(0, epoch, indices))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has cores
@pytest.mark.parametrize("name", ["pad_and_crop", "pipeline"])
def test_same_pixels_for_any_number_of_workers(name, images):
    def read(workers: int) -> list[np.ndarray]:
        sampler = BatchSampler(16, 5, shuffle=True)
        loader = DataLoader(
            Augmented(images, FACTORIES[name]()),
            batch_size=None,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        pixels = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            pixels += [batch.numpy() if isinstance(batch, torch.Tensor) else batch for batch in loader]
        return pixels

    expected = read(0)
    for workers in (1, 3):
        for got, wanted in zip(read(workers), expected, strict=True):
            assert (got == wanted).all()


def test_importing_is_cheap_and_silent():
    code = (
        "import os, sys; import striate.data.augmentation as a; a.Pipeline([a.PadAndCrop(4)]);"
        "assert not {'albumentations', 'torchvision', 'lightning', 'matplotlib'} & set(sys.modules);"
        "assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1'"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)


# Combinations


def outcomes_of_two_flips(augmentation) -> np.ndarray:
    """How often nothing, only left-right, only top-bottom, both happened in 800 pictures."""
    corner = np.zeros((800, 6, 6, 1), np.uint8)
    corner[:, 0, 0] = 255
    output = augmentation(corner, keys(0, 0, np.arange(800)))[..., 0]
    return np.array([(output[:, y, x] == 255).sum() for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))])


@pytest.mark.parametrize(
    "augmentation",
    [
        Albumentations([albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)]),
        Albumentations(
            [
                albumentations.Sequential([albumentations.HorizontalFlip(p=0.5)], p=1.0),
                albumentations.Sequential([albumentations.VerticalFlip(p=0.5)], p=1.0),
            ]
        ),
        Torchvision([v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5)]),
        Pipeline(
            [
                Albumentations([albumentations.HorizontalFlip(p=0.5)]),
                Albumentations([albumentations.VerticalFlip(p=0.5)]),
            ]
        ),
        Pipeline([HorizontalFlip(), Torchvision([v2.RandomVerticalFlip(0.5)])]),
    ],
)
def test_two_transforms_of_one_list_are_independent(augmentation):
    # Seeded as albumentations does it by itself, two transforms with p=0.5 are either both applied or neither is.
    counts = outcomes_of_two_flips(augmentation)
    assert counts.sum() == 800
    assert np.abs(counts - 200).max() < 4 * np.sqrt(800 * 3 / 16)


def test_two_flips_in_a_pipeline_are_independent():
    picture = np.zeros((4000, 1, 2, 1), np.uint8)
    picture[:, 0, 0] = 1
    once = HorizontalFlip()(picture, keys(0, 0, np.arange(4000)))[:, 0, 0, 0].mean()
    twice = Pipeline([HorizontalFlip(), HorizontalFlip()])(picture, keys(0, 0, np.arange(4000)))[:, 0, 0, 0].mean()
    assert abs(once - 0.5) < 4 * 0.5 / np.sqrt(4000)
    assert abs(twice - 0.5) < 4 * 0.5 / np.sqrt(4000)  # 1 if both flips took the same draw


def test_an_empty_pipeline_changes_nothing(images):
    assert (Pipeline([])(images, keys(0, 0, np.arange(16))) == images).all()


def test_centre_view_keeps_pictures_of_an_array_pack_and_cuts_others(images):
    own = keys(0, 0, np.arange(16))
    assert (CentreView(None)(images, own) == images).all()
    assert CentreView(20)([images[0], images[1][:28]], own[:2]).shape == (2, 20, 20, images.shape[3])


def test_pictures_of_different_sizes_need_a_crop_first():
    pictures = [np.zeros((5, 6, 3), np.uint8), np.zeros((6, 5, 3), np.uint8)]
    with pytest.raises(ValueError, match="a crop or a resize must come first"):
        HorizontalFlip()(pictures, keys(0, 0, np.arange(2)))
    assert RandomResizedCrop(4)(pictures, keys(0, 0, np.arange(2))).shape == (2, 4, 4, 3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), "expected uint8 pictures, got float32"),
        ([np.zeros((4, 4), np.uint8)], r"expected pictures of shape \(H, W, C\)"),
        (np.zeros((4, 4, 3), np.uint8), r"expected pictures of shape \(H, W, C\)"),
    ],
)
def test_what_is_no_batch_of_pictures_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        as_batch(images)


def test_a_backend_that_leaves_uint8_is_refused():
    for backend in (
        Albumentations([albumentations.ToFloat(max_value=255)]),
        Torchvision([v2.ToDtype(torch.float32, scale=True)]),
    ):
        with pytest.raises(ValueError, match="expected uint8 pictures, got float32"):
            backend(np.zeros((1, 4, 4, 3), np.uint8), keys(0, 0, [0]))


def test_read_only_pictures_are_accepted(augmentation, images):
    expected = augmentation(images, keys(0, 0, np.arange(16)))
    images.flags.writeable = False  # as those of a memory map are
    assert (augmentation(images, keys(0, 0, np.arange(16))) == expected).all()


# Crop, flip


@pytest.mark.parametrize(
    ("augmentation", "mode", "options"),
    [
        (PadAndCrop(4), "constant", {}),
        (PadAndCrop(3, fill=7), "constant", {"constant_values": 7}),
        (PadAndCrop(4, mode="reflect"), "reflect", {}),
    ],
)
def test_a_crop_is_a_window_of_the_padded_picture(augmentation, mode, options, images):
    output = augmentation(images, keys(0, 0, np.arange(16)))
    sides = (augmentation.padding, augmentation.padding)
    padded = np.pad(images, ((0, 0), sides, sides, (0, 0)), mode=mode, **options)
    height, width = images.shape[1:3]
    offsets = range(2 * augmentation.padding + 1)
    for number in range(16):
        windows = (padded[number, y : y + height, x : x + width] for y in offsets for x in offsets)
        assert any((output[number] == window).all() for window in windows)


def test_all_offsets_of_a_crop_are_equally_likely():
    picture = np.zeros((8100, 9, 9, 1), np.uint8)
    picture[:, 4, 4] = 1
    output = PadAndCrop(4)(picture, keys(0, 0, np.arange(8100)))[..., 0]
    counts = output.reshape(8100, 81).argmax(1)
    assert (output.sum(axis=(1, 2)) == 1).all()
    counts = np.bincount(counts, minlength=81)
    statistic = ((counts - 100) ** 2 / 100).sum()
    assert abs(statistic - 80) < 4 * np.sqrt(160)


def test_fill_may_name_a_value_for_each_channel():
    output = PadAndCrop(2, fill=[10, 20, 30])(np.zeros((64, 2, 2, 3), np.uint8), keys(0, 0, np.arange(64)))
    found = {tuple(pixel) for pixel in output.reshape(-1, 3)}
    assert found == {(0, 0, 0), (10, 20, 30)}


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_flips_come_with_their_probability_and_mirror(p):
    count = 20_000
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 4, 3), np.uint8)
    output = HorizontalFlip(p)(np.repeat(picture, count, axis=0), keys(0, 0, np.arange(count)))
    mirrored = (output == picture[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (output == picture).all(axis=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert abs(mirrored.sum() - p * count) <= 4 * np.sqrt(count * p * (1 - p))


# Erasing


def erased_boxes(augmentation, count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Top, bottom, left, right (exclusive) of what was overwritten; and which pictures were."""
    output = augmentation(np.full((count, side, side, 1), 255, np.uint8), keys(0, 0, np.arange(count)))[..., 0]
    rows, columns = (output == 0).any(axis=2), (output == 0).any(axis=1)
    changed = rows.any(axis=1)
    top, left = rows.argmax(1), columns.argmax(1)
    bottom, right = side - rows[:, ::-1].argmax(1), side - columns[:, ::-1].argmax(1)
    for number in np.flatnonzero(changed):
        box = output[number, top[number] : bottom[number], left[number] : right[number]]
        assert (box == 0).all()
        assert (output[number] == 0).sum() == box.size
    return np.stack([top, bottom, left, right], 1)[changed], changed


def test_erasing_overwrites_one_rectangle_of_the_stated_area_and_ratio():
    boxes, changed = erased_boxes(RandomErasing(p=0.5, area=(0.05, 0.2), ratio=(0.5, 2.0), fill=0), 2000, 100)
    assert abs(changed.sum() - 1000) < 4 * np.sqrt(500)
    rows, columns = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    area, ratio = rows * columns / 100**2, rows / columns
    assert area.min() > 0.045
    assert area.max() < 0.21
    assert abs(area.mean() - 0.125) < 4 * 0.15 / np.sqrt(12 * len(boxes)) + 0.002
    assert ratio.min() > 0.48
    assert ratio.max() < 2.1
    assert abs(np.log(ratio).mean()) < 4 * 2 * np.log(2) / np.sqrt(12 * len(boxes))
    assert (boxes[:, 0].min(), boxes[:, 2].min()) == (0, 0)  # up to all edges
    assert (boxes[:, 1].max(), boxes[:, 3].max()) == (100, 100)


def test_erasing_fills_with_noise_of_its_own_for_each_sample(images):
    output = RandomErasing(p=1.0, area=(0.3, 0.3), ratio=(1.0, 1.0))(images * 0, keys(0, 0, np.arange(16)))
    values = output[output > 0]
    assert abs(values.mean() - 128) < 4 * 74 / np.sqrt(len(values))
    assert len({picture.tobytes() for picture in output}) == 16


def test_noise_is_uniform_bytes():
    drawn = noise(keys(0, 0, np.arange(100)), (100, 33, 31, 1))
    assert drawn.shape == (100, 33, 31, 1)
    counts = np.bincount(drawn.ravel(), minlength=256)
    expected = drawn.size / 256
    assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 4 * np.sqrt(2 * 255)
    assert (noise(keys(0, 0, [7]), (1, 33, 31, 1))[0] == drawn[7]).all()


def test_cutout_overwrites_a_square_that_may_stick_out():
    boxes, changed = erased_boxes(Cutout(8), 3000, 32)
    assert changed.all()
    rows, columns = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    assert rows.max() == columns.max() == 8
    assert rows.min() == columns.min() == 4  # the centre is the first or the last pixel but one
    # The centre is uniform: the square lies wholly inside for 25 of the 32 rows and as many columns.
    inside = ((rows == 8) & (columns == 8)).mean()
    assert abs(inside - (25 / 32) ** 2) < 4 * 0.5 / np.sqrt(3000)


# Values, geometry


def test_brightness_and_contrast_scale_values_as_stated():
    values = np.arange(64, 128, dtype=np.uint8).reshape(1, 8, 8, 1)
    pictures = np.repeat(values, 500, axis=0)
    own = keys(0, 0, np.arange(500))
    factors = BrightnessContrast(brightness=0.2, contrast=0.0)(pictures, own)[:, 0, 0, 0] / 64
    assert factors.min() > 0.79
    assert factors.max() < 1.21
    assert abs(factors.mean() - 1) < 4 * 0.4 / np.sqrt(12 * 500)
    changed = BrightnessContrast(brightness=0.0, contrast=0.5)(pictures, own).astype(float)
    assert np.abs(changed.mean(axis=(1, 2, 3)) - values.mean()).max() < 0.51  # about the picture's mean
    spread = changed.std(axis=(1, 2, 3)) / values.std()
    assert spread.min() == pytest.approx(0.5, abs=0.03)
    assert spread.max() == pytest.approx(1.5, abs=0.03)


def test_brightness_agrees_with_torchvision(images):
    output = BrightnessContrast(brightness=0.3, contrast=0.0)(images, keys(0, 0, np.arange(16)))
    for before, after in zip(images, output, strict=True):
        factor = after.sum() / before.sum() if after.max() < 255 else None
        if factor is not None:
            reference = v2.functional.adjust_brightness(torch.from_numpy(before).permute(2, 0, 1), factor)
            assert np.abs(reference.permute(1, 2, 0).numpy().astype(int) - after.astype(int)).max() <= 1


def test_affine_without_amounts_is_the_identity(images):
    assert (RandomAffine()(images, keys(0, 0, np.arange(16))) == images).all()


def test_affine_turns_about_the_centre_as_opencv_does():
    augmentation = RandomAffine(degrees=30, scale=(0.5, 2.0))
    for matrix in augmentation.matrices(keys(0, 0, np.arange(20)), 20, 30):
        angle = np.rad2deg(np.arctan2(matrix[0, 1], matrix[0, 0]))
        scale = np.hypot(matrix[0, 0], matrix[0, 1])
        assert abs(angle) <= 30
        assert 0.5 <= scale <= 2.0
        assert matrix == pytest.approx(cv2.getRotationMatrix2D((14.5, 9.5), angle, scale), abs=1e-9)


def test_affine_combines_its_parts_without_changing_the_area_beyond_the_scale():
    centre = np.array([14.5, 9.5, 1.0])
    for matrix in RandomAffine(degrees=180, shear=30).matrices(keys(0, 0, np.arange(50)), 20, 30):
        assert np.linalg.det(matrix[:, :2]) == pytest.approx(1.0)
        assert matrix @ centre == pytest.approx(centre[:2])
        assert np.hypot(*matrix[:, 0]) == pytest.approx(1.0)  # a shear keeps horizontal lengths, so does a turn


def test_affine_shifts_and_shears_within_their_ranges():
    shifts = RandomAffine(translate=0.1).matrices(keys(0, 0, np.arange(1000)), 20, 40)
    assert shifts[:, :, :2] == pytest.approx(np.repeat(np.eye(2)[None], 1000, axis=0))
    assert np.abs(shifts[:, 0, 2]).max() == pytest.approx(4, abs=0.05)
    assert np.abs(shifts[:, 1, 2]).max() == pytest.approx(2, abs=0.05)
    shears = RandomAffine(shear=10).matrices(keys(0, 0, np.arange(1000)), 20, 40)
    assert np.rad2deg(np.arctan(np.abs(shears[:, 0, 1]).max())) == pytest.approx(10, abs=0.1)
    assert shears @ np.array([19.5, 9.5, 1]) == pytest.approx(np.tile([19.5, 9.5], (1000, 1)))  # the centre stays
    assert np.linalg.det(shears[:, :, :2]) == pytest.approx(np.ones(1000))


def test_squeezing_keeps_the_area_and_turns_width_into_height():
    matrices = RandomAffine(squeeze=1.25).matrices(keys(0, 0, np.arange(2000)), 20, 30)
    wider, higher = matrices[:, 0, 0], matrices[:, 1, 1]
    assert wider * higher == pytest.approx(np.ones(2000))
    assert (matrices[:, [0, 1], [1, 0]] == 0).all()
    assert matrices @ np.array([14.5, 9.5, 1]) == pytest.approx(np.tile([14.5, 9.5], (2000, 1)))
    assert np.log([wider.min(), wider.max()]) == pytest.approx([-np.log(1.25), np.log(1.25)], abs=1e-3)
    assert abs(np.log(wider).mean()) < 4 * 2 * np.log(1.25) / np.sqrt(12 * 2000)  # either way as likely


def test_without_squeezing_a_distortion_is_what_it_was():
    options = {"degrees": 20, "translate": 0.1, "scale": (0.8, 1.2), "shear": 10}
    own = keys(3, 1, np.arange(50))
    for matrix in RandomAffine(**options, squeeze=1.0).matrices(own, 20, 30):
        scale = np.sqrt(np.linalg.det(matrix[:, :2]))
        angle = np.arctan2(-matrix[1, 0], matrix[0, 0])
        shear = (matrix[0, 1] - scale * np.sin(angle)) / (scale * np.cos(angle))
        assert matrix[1, 1] == pytest.approx(scale * (np.cos(angle) - np.sin(angle) * shear))


def test_a_resized_crop_lies_in_the_picture_and_has_the_stated_area_and_aspect():
    augmentation = RandomResizedCrop(24, scale=(0.2, 0.6))
    height, width = np.full(3000, 300), np.full(3000, 400)
    top, left, rows, columns = augmentation.windows(keys(0, 0, np.arange(3000)), height, width).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + rows <= 300).all()
    assert (left + columns <= 400).all()
    area, aspect = rows * columns / 120_000, columns / rows
    assert area.min() > 0.195
    assert area.max() < 0.605
    assert aspect.min() > 0.745
    assert aspect.max() < 1.34
    assert (top.min(), left.min()) == (0, 0)


def test_the_windows_are_distributed_as_torchvision_draws_them():
    count = 3000
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    picture = torch.zeros(3, 90, 150)
    theirs = np.array(
        [v2.RandomResizedCrop.get_params(picture, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(count)], float
    )
    torch.set_rng_state(generator_state)
    ours = RandomResizedCrop(24).windows(keys(0, 0, np.arange(count)), np.full(count, 90), np.full(count, 150))
    difference = np.abs(ours.mean(0) - theirs.mean(0))
    assert (difference < 4 * np.sqrt(2) * theirs.std(0) / np.sqrt(count)).all()


def test_a_picture_that_no_window_fits_gives_the_largest_one_in_the_middle():
    window = RandomResizedCrop(8, scale=(0.9, 1.0)).windows(keys(0, 0, [0]), np.array([10]), np.array([500]))
    assert window.tolist() == [[0, 243, 10, 13]]
    window = RandomResizedCrop(8, scale=(0.9, 1.0)).windows(keys(0, 0, [0]), np.array([500]), np.array([1]))
    assert window.tolist() == [[249, 0, 1, 1]]


def test_the_whole_picture_at_its_own_size_comes_back(images):
    squares = np.ascontiguousarray(images[:, :30])
    output = RandomResizedCrop(None, scale=(1.0, 1.0), ratio=(1.0, 1.0))(squares, keys(0, 0, np.arange(16)))
    assert (output == squares).all()


def test_each_method_of_resizing_is_as_likely():
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    whole = {
        cv2.resize(picture, (40, 40), interpolation=method).tobytes()
        for method in (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)
    }
    augmentation = RandomResizedCrop(40, scale=(1.0, 1.0), ratio=(4 / 3, 4 / 3), interpolation="random")
    output = [view.tobytes() for view in augmentation([picture] * 400, keys(0, 0, np.arange(400)))]
    assert set(output) == whole
    assert max(abs(output.count(one) - 100) for one in whole) < 4 * np.sqrt(400 * 3 / 16)


# Windows of rescaled pictures


def places_of(augmentation, picture: np.ndarray, count: int) -> np.ndarray:
    """(count, 2): row and column of each view's first pixel, of a picture whose pixels say where they are."""
    return augmentation([picture] * count, keys(0, 0, np.arange(count)))[:, 0, 0, :2].astype(int)


def addressed(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)


def test_alexnets_windows_lie_at_all_places_of_the_square_in_the_middle():
    # 224 of 256 in small: 28 of 32, out of the middle of 32 × 46; offsets 0 to 4 in each axis.
    places = places_of(RescaledCrop(28, square=True), addressed(32, 46), 2000)
    assert set(map(tuple, places)) == {(row, 7 + column) for row in range(5) for column in range(5)}
    counts = np.unique(places, axis=0, return_counts=True)[1]
    assert abs(((counts - 80) ** 2 / 80).sum() - 24) < 4 * np.sqrt(48)


def test_a_window_of_the_whole_picture_goes_to_its_ends():
    places = places_of(RescaledCrop(28), addressed(46, 32), 2000)
    assert (places.min(0).tolist(), places.max(0).tolist()) == ([0, 0], [18, 4])


def test_five_places_are_the_corners_and_the_centre():
    places = places_of(RescaledCrop(28, places="five"), addressed(32, 46), 1000)
    found, counts = np.unique(places, axis=0, return_counts=True)
    assert found.tolist() == [[0, 0], [0, 18], [2, 9], [4, 0], [4, 18]]
    assert np.abs(counts - 200).max() < 4 * np.sqrt(1000 * 4 / 25)


def test_the_short_side_is_uniform_in_its_range_and_keeps_the_aspect():
    # VGG's jitter in small: 14 of 16 to 14 of 32. The step of a ramp tells by how much it was stretched.
    ramp = np.tile((np.arange(60) * 4).astype(np.uint8)[:, None, None], (1, 40, 3))
    output = RescaledCrop(14, crop_fraction=(0.4375, 0.875))([ramp] * 3000, keys(0, 0, np.arange(3000)))
    step = (output[:, -1, 0, 0].astype(float) - output[:, 0, 0, 0]) / 13 / 4  # old pixels a new pixel
    sides = np.rint(40 / step)
    assert (sides.min(), sides.max()) == pytest.approx((16, 32), abs=1)
    assert abs(sides.mean() - 24) < 4 * np.sqrt((17**2 - 1) / 12 / 3000) + 0.2
    assert (output[:, :, :1] == output).all(), "columns of one row are equal: no turn, no shear"


def test_a_picture_of_the_wanted_short_side_is_cut_not_resampled():
    picture = np.random.default_rng(0).integers(0, 256, (256, 300, 3), np.uint8)
    window = RescaledCrop(224)([picture], keys(0, 0, [5]))[0]
    windows = np.lib.stride_tricks.sliding_window_view(picture[..., 0], (224, 224))
    assert (windows == window[..., 0]).all(axis=(2, 3)).any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (300, 2), (5, 400), (224, 224), (1000, 37)])
def test_a_window_fits_every_picture(height, width):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for options in ({"crop_fraction": (0.4, 1.0)}, {"square": True}, {"places": "five"}, {"crop_fraction": (1.0, 1.0)}):
        assert RescaledCrop(24, **options)([picture] * 8, keys(0, 0, np.arange(8))).shape == (8, 24, 24, 3)
        own = RescaledCrop(None, **options)([picture] * 2, keys(0, 0, np.arange(2)))
        assert own.shape == (2, height, width, 3)


@pytest.mark.parametrize(
    "factory",
    [
        lambda: PadAndCrop(0),
        lambda: PadAndCrop(4, mode="wrap"),
        lambda: HorizontalFlip(1.5),
        lambda: RandomErasing(area=(0.5, 0.1)),
        lambda: RandomErasing(fill="noise"),
        lambda: Cutout(0),
        lambda: BrightnessContrast(brightness=2.0),
        lambda: RandomAffine(border="wrap"),
        lambda: RandomResizedCrop(0),
        lambda: RandomResizedCrop(8, scale=(0.5, 1.5)),
        lambda: RandomResizedCrop(8, interpolation="lanczos"),
        lambda: RandomAffine(squeeze=0.9),
        lambda: RescaledCrop(0),
        lambda: RescaledCrop(8, crop_fraction=(0.0, 0.5)),
        lambda: RescaledCrop(8, places="nine"),
    ],
)
def test_values_without_meaning_are_refused(factory):
    with pytest.raises(ValueError, match="expected "):
        factory()
