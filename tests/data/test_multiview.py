"""Views of pictures at test time: which windows they are, against torchvision and the counts of the papers."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from striate.configuration import FOLDER, build, compose
from striate.data.loading import BatchDataset, ResumableLoader
from striate.data.multiview import Crops, SingleView, WholePictures, grouped, pictures_at_once
from striate.data.preprocessing import Preprocessing
from striate.data.sampling import BatchSampler
from striate.data.views import rescale

MEAN, STD = (0.3, 0.5, 0.6), (0.2, 0.3, 0.25)
# The others look at pictures whose every pixel is labelled.
NAMES = sorted(path.stem for path in (FOLDER / "views").glob("*.yaml") if "multiview" in path.read_text("utf-8"))
SEES_224 = Preprocessing(3, MEAN, STD, input_size=224, crop_fraction=0.875)


def configured(name: str):
    return build(compose("evaluate", [f"views={name}"], strict=False).views)


def tensor(view: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(view)).permute(2, 0, 1)


@pytest.fixture(params=[(256, 341), (300, 260), (250, 250), (97, 500)], ids=str)
def photograph(request, picture) -> np.ndarray:
    return picture(1, *request.param)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("single", 1),
        ("flip", 2),
        ("ten_crop", 10),
        ("googlenet", 144),
        ("multi_crop", 150),
        ("dense", 2),
        ("multi_scale", 6),
    ],
)
def test_there_are_as_many_views_as_in_the_paper(name, count, photograph):
    views = configured(name)
    assert (views.name, views.count) == (name, count)
    seen = views(photograph, SEES_224)
    assert len(seen) * (1 + views.mirrored) == count
    assert all(view.dtype == np.uint8 and view.shape[2] == 3 for view in seen)
    assert views.dense or {view.shape for view in seen} == {(224, 224, 3)}
    assert set(NAMES) == {"single", "flip", "ten_crop", "googlenet", "multi_crop", "dense", "multi_scale"}


@pytest.mark.parametrize("size", [(256, 340), (300, 260), (250, 250)])
def test_ten_crops_of_the_whole_picture_are_those_of_torchvision(size, picture):
    image = picture(2, *size)
    expected = v2.TenCrop(224)(v2.Resize(256, antialias=True)(tensor(image)))
    seen = [tensor(view) for view in Crops("ten", squares=0)(image, SEES_224)]
    seen += [view.flip(2) for view in seen]
    # It cuts the mirrored picture anew: left and right change places.
    assert sorted(view.numpy().tobytes() for view in seen) == sorted(view.numpy().tobytes() for view in expected)


def test_alexnets_ten_crops_are_those_of_the_square_in_the_middle(photograph):
    square = v2.CenterCrop(256)(v2.Resize(256, antialias=True)(tensor(photograph)))
    for view, other in zip(configured("ten_crop")(photograph, SEES_224), v2.FiveCrop(224)(square), strict=True):
        assert torch.equal(tensor(view), other)


def test_googlenets_squares_are_at_both_ends_and_in_the_middle():
    rows, columns = np.mgrid[0:256, 0:512]
    picture = np.stack([rows, columns // 2, 0 * rows], -1).astype(np.uint8)
    seen = Crops("g", crop_fractions=[0.875], squares=3, resized=True)(picture, SEES_224)
    corners = [tuple(view[0, 0, :2].tolist()) for number, view in enumerate(seen) if number % 6 != 5]
    five = [(0, 0), (0, 16), (32, 0), (32, 16), (16, 8)]
    assert corners == [(top, start + left) for start in (0, 64, 128) for top, left in five]
    for number, start in enumerate((0, 128, 256)):
        square = v2.Resize([224, 224], antialias=True)(tensor(picture[:, start : start + 256]))
        assert torch.equal(tensor(seen[6 * number + 5]), square)


def test_a_grid_reaches_from_end_to_end_in_equal_steps():
    rows, columns = np.mgrid[0:256, 0:256]
    picture = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)
    seen = Crops("grid", squares=0, windows=5)(picture, SEES_224)
    corners = [tuple(view[0, 0, :2].tolist()) for view in seen]
    assert corners == [(top, left) for top in range(0, 33, 8) for left in range(0, 33, 8)]
    (one,) = Crops("grid", squares=0, windows=1)(picture, SEES_224)
    assert (one == SEES_224.view(picture)).all()


@pytest.mark.parametrize(
    "views",
    [SingleView(), Crops("c", windows="centre"), Crops("c", windows="centre", squares=0), Crops("c", windows=1)],
    ids=["single", "centre of the square", "centre", "grid of one"],
)
def test_the_view_in_the_middle_is_the_single_view(views, photograph):
    (view,) = views(photograph, SEES_224)
    assert (view == SEES_224.view(photograph)).all()


def test_whole_pictures_keep_their_aspect_at_each_scale(photograph):
    for view, side in zip(configured("multi_scale")(photograph, SEES_224), (256, 384, 512), strict=True):
        height, width = photograph.shape[:2]
        longest = min(4.0, max(height, width) / min(height, width))
        assert min(view.shape[:2]) == side
        assert max(view.shape[:2]) / side == pytest.approx(longest, rel=0.01)
    (own,) = configured("dense")(photograph, SEES_224)
    assert min(own.shape[:2]) == 256
    if max(photograph.shape[:2]) <= 4 * min(photograph.shape[:2]):
        assert (own == rescale(photograph, 256)).all()


def test_a_strip_is_cut_to_its_middle():
    strip = np.zeros((10, 2000, 3), np.uint8)
    strip[:, 980:1020] = 200
    (view,) = configured("dense")(strip, SEES_224)
    assert view.shape == (256, 1024, 3)
    assert (view == 200).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_an_array_pack_are_seen_at_their_own_size(name, channels, picture):
    whole = Preprocessing(channels, MEAN[:channels], STD[:channels], {"image_size": [24, 32]})
    image, views = picture(0, channels=channels), configured(name)
    seen = views(image, whole)
    if name in ("single", "flip", "dense"):
        assert [view.tolist() for view in seen] == [image.tolist()]
    assert views.dense or {view.shape for view in seen} == {image.shape}
    assert len(seen) == views.looks


@pytest.mark.parametrize("name", NAMES)
def test_every_view_of_a_picture_of_one_colour_is_the_same(name):
    image = np.full((120, 90, 3), (10, 120, 250), np.uint8)
    assert all((view == image[0, 0]).all() for view in configured(name)(image, SEES_224))


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2)])
def test_every_picture_has_its_views(size):
    for name in NAMES:
        views = configured(name)
        assert len(views(np.zeros((*size, 3), np.uint8), Preprocessing(3, MEAN, STD, input_size=32))) == views.looks


@pytest.mark.parametrize(
    "factory",
    [
        lambda: Crops("x", crop_fractions=[]),
        lambda: Crops("x", crop_fractions=[0.5, 1.5]),
        lambda: Crops("x", windows="four"),
        lambda: Crops("x", squares=0, resized=True),
        lambda: WholePictures("x", crop_fractions=[0.0]),
    ],
)
def test_views_without_meaning_are_refused(factory):
    with pytest.raises(ValueError, match="expected "):
        factory()


# In batches


def test_views_are_grouped_by_size_and_know_their_picture(picture):
    small, large = picture(0, 8, 8), picture(1, 8, 12)
    images, owners = grouped([[small, large], [large], [small]])
    assert [tuple(group.shape) for group in images] == [(2, 8, 8, 3), (2, 8, 12, 3)]
    assert [group.tolist() for group in owners] == [[0, 2], [0, 1]]
    assert (images[1].numpy() == large).all()


def test_a_batch_of_many_views_has_fewer_pictures():
    assert pictures_at_once(configured("single"), 64) == 64
    assert pictures_at_once(configured("ten_crop"), 64) == 12
    assert pictures_at_once(configured("googlenet"), 64) == 1
    # Of 256 × 384 pixels on average, where a single view has 224 × 224.
    assert pictures_at_once(configured("dense"), 64) == 32
    assert pictures_at_once(configured("multi_scale"), 1) == 1


class Pictures:
    """In place of a pack: pictures of two sizes."""

    def __init__(self, pictures):
        self.pictures = pictures
        self.names = [str(number) for number in range(len(pictures))]

    def read(self, indices):
        return [self.pictures[index] for index in indices]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("name", ["ten_crop", "dense"])
def test_loaders_give_every_picture_once_with_all_its_views(name, workers, picture):
    pictures = [picture(number, 30, 30 + 5 * (number % 2)) for number in range(7)]
    preprocessing, views = Preprocessing(3, MEAN, STD, input_size=20), configured(name)
    dataset = BatchDataset(Pictures(pictures), np.arange(7), np.arange(7) % 3, preprocessing, None, 0)
    loader = ResumableLoader(dataset.seen_in(views), BatchSampler(7, 3), num_workers=workers)
    batches = list(loader)
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(7))
    assert torch.cat([batch.targets for batch in batches]).tolist() == [0, 1, 2, 0, 1, 2, 0]
    for batch in batches:
        for place, index in enumerate(batch.indices.tolist()):
            own = [
                view.numpy()
                for group, owners in zip(batch.images, batch.owners, strict=True)
                for view in group[owners == place]
            ]
            expected = views(pictures[index], preprocessing)
            assert all((view == other).all() for view, other in zip(own, expected, strict=True))
    assert dataset.views is None
    assert dataset.seen_in(None) is dataset
    assert isinstance(next(iter(DataLoader(dataset, batch_size=None, sampler=[(0, np.arange(2))])))[0], torch.Tensor)
