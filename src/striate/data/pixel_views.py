"""How a picture is looked at by a network that labels its pixels: scales, windows, mirror images."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt


class PixelViews:
    """The picture at several scales, each swept by overlapping windows or seen whole, each also mirrored.

    Args:
        name: for reports and folders.
        scales: of the size at which the network was trained to see pictures.
        window: side of the windows in pixels of the scaled picture; None: it is seen whole.
        overlap: share of a window that the next one sees again, at least.
        mirrored: each view also as its mirror image.
        average: of the softmax ("probability"), or of what comes before it ("logit").

    Raises:
        ValueError: no scale, or one that is not above 0.
    """

    def __init__(
        self,
        name: str = "single",
        scales: Sequence[Annotated[float, Gt(0)]] = (1.0,),
        window: Annotated[int, Ge(1)] | None = None,
        overlap: Annotated[float, Ge(0), Lt(1)] = 0.5,
        mirrored: bool = False,
        average: Literal["probability", "logit"] = "probability",
    ):
        if not len(scales) or not all(scale > 0 for scale in scales):
            raise ValueError(f"expected scales above 0, got {list(scales)}")
        self.name, self.scales, self.window, self.overlap = name, tuple(scales), window, overlap
        self.mirrored, self.average = mirrored, average

    @property
    def count(self) -> int:
        """Views of a picture, mirror images included; the windows of a sweep are one view."""
        return len(self.scales) * (2 if self.mirrored else 1)

    @property
    def is_single(self) -> bool:
        """Whether the network just sees the picture."""
        return self.count == 1 and self.scales == (1.0,) and self.window is None


def places(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along a side, evenly, the first at its begin and the last at its end."""
    room, step = length - window, max(1, int(window * (1 - overlap)))
    count = -(-room // step) + 1
    return [round(place * room / max(count - 1, 1)) for place in range(count)]


def seen_size(height: int, width: int, geometry: Mapping[str, Any]) -> tuple[int, int]:
    """The size at which a whole picture is shown to a network that was trained on pictures of a `geometry`.

    As `pictures.apply_geometry` would scale the picture, but nothing is cut away or added.
    """
    limit, size = geometry.get("max_short_side"), geometry.get("image_size")
    scale = 1.0 if limit is None else min(1.0, limit / min(height, width))
    if size is not None:
        if geometry.get("fit") == "stretch":
            return int(size[0]), int(size[1])
        ratios = size[0] / height, size[1] / width
        scale = min(ratios) if geometry.get("fit") == "pad" else max(ratios)
    return max(1, round(height * scale)), max(1, round(width * scale))
