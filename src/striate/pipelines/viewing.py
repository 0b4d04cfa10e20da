"""`views=…` of evaluate and predict: a task that looks at each picture more than once."""

from collections.abc import Iterable
from typing import Any

import torch

from striate.configuration import build
from striate.data.multiview import SingleView, Views, WholePictures
from striate.data.pixel_views import PixelViews, seen_size
from striate.errors import ConfigurationError
from striate.models.convolutional import fully_convolutional
from striate.tasks.classification import ClassificationTask
from striate.tasks.multiview import Multiview
from striate.tasks.pixel_looks import PixelLooks
from striate.tasks.segmentation import SegmentationTask


def look_as_configured(task: ClassificationTask, node: Any, batch_size: int) -> Views:
    """Lets a task see pictures in the views of a configuration.

    Args:
        task: its network becomes a convolutional one where views are whole pictures.
        node: of the configuration, or None for the single view. A single view leaves the task as it is.
        batch_size: single views that the network takes at once; no more pixels than theirs are given to it.

    Returns:
        The views.

    Raises:
        ConfigurationError: views of pictures that the network does not take.
    """
    views: Views = build(node, "views") or SingleView()
    if isinstance(views, PixelViews):
        raise ConfigurationError(
            f"views={views.name} is for networks that label pixels; {type(task.network).__name__} labels pictures",
            nearest="views=multi_crop",
        )
    if isinstance(views, SingleView) and views.count == 1:
        return views
    shape = task.preprocessing.shape
    assert shape is not None, "a prepared set has a size that the network sees"
    if views.dense:
        _make_convolutional(task, views, shape)
    task.multiview = Multiview(views, batch_size * shape[0] * shape[1])
    return views


def look_at_pixels(
    task: SegmentationTask, node: Any, pixels: int, sizes: Iterable[tuple[int, int]] | None = None
) -> PixelViews:
    """Lets a task that labels pixels see pictures in the views of a configuration.

    Args:
        task: where it just sees the pictures as they are, it stays as it is.
        node: of the configuration, or None for the single view.
        pixels: that the network takes at once, windows together.
        sizes: (height, width) of the pictures; None for any.

    Raises:
        ConfigurationError: views in which pixels have no place.
    """
    views: Any = build(node, "views") or PixelViews()
    if isinstance(views, SingleView | WholePictures):
        shares = getattr(views, "crop_fractions", None) or (1.0,)
        scales = [1 / share for share in shares]
        views = PixelViews(views.name, scales, mirrored=views.mirrored, average=views.average)
    if not isinstance(views, PixelViews):
        raise ConfigurationError(
            f"views={views.name} averages over places of the picture; here every pixel has a label",
            nearest="views=windows",
            do="one of single, flip, multi_scale, scales, windows",
        )
    geometry = dict(task.preprocessing.geometry)
    as_they_are = sizes is not None and all(seen_size(*size, geometry) == size for size in sizes)
    if not (views.is_single and as_they_are):
        task.looks = PixelLooks(views, geometry, pixels)
    return views


@torch.no_grad()
def _make_convolutional(task: ClassificationTask, views: Views, shape: tuple[int, int]) -> None:
    """Replaces the network by its convolutional form, if that says the same of a picture of the usual size."""
    name = type(task.network).__name__
    do = "views that are crops serve every network: views=ten_crop"
    dtype = next(task.network.parameters()).dtype
    picture = torch.linspace(-1, 1, task.preprocessing.channels * shape[0] * shape[1], dtype=dtype)
    picture = picture.view(1, task.preprocessing.channels, *shape)
    expected = task.network(picture)
    try:
        network = fully_convolutional(task.network).eval()  # type: ignore[arg-type]
        found = network(picture)
    except (TypeError, ValueError, RuntimeError) as error:
        message = f"views={views.name}: {name} cannot be a convolution: {' '.join(str(error).split())[:200]}"
        raise ConfigurationError(message, do=do) from error
    if not torch.allclose(found.mean(dim=(2, 3)), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        raise ConfigurationError(
            f"views={views.name}: as a convolution {name} says something else of pictures of {shape[0]}×{shape[1]} "
            f"pixels, which it was trained on",
            do=do,
        )
    task.network = network
