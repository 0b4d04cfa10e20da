"""How maps become larger again: bilinear kernels, unpooling by switches, resizing at the right place."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.network import check_count


def bilinear_kernel(size: int) -> Tensor:
    """The (size, size) kernel with which a transposed convolution of stride (size + 1) // 2 interpolates bilinearly.

    Along one axis the weight at position t is 1 - |t - c| / f with f = (size + 1) // 2 and c = f - 1 for odd sizes,
    f - 0.5 for even ones. With size = 2 · stride a constant map stays constant, but for its border.
    """
    check_count("size", size)
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    line = 1 - (torch.arange(size, dtype=torch.float64) - centre).abs() / factor
    return torch.outer(line, line).to(torch.get_default_dtype())


class BilinearUpsampling(nn.ConvTranspose2d):
    """Transposed convolution that starts as bilinear interpolation of every channel (FCN paper, sec. 3.3).

    (N, C, h, w) → (N, C, (h + 1) · factor, (w + 1) · factor): unit i lies around factor · i + factor - 0.5.

    Args:
        channels: C.
        factor: the stride; the kernel is twice as large.
        learned: whether the kernels train.
        grouped: a kernel a channel; without it C × C of them are stored, as in the authors' release, those between
            different channels starting at 0.
    """

    def __init__(self, channels: int, factor: int, *, learned: bool = False, grouped: bool = False):
        groups = channels if grouped else 1
        super().__init__(channels, channels, 2 * factor, factor, groups=groups, bias=False)
        self.weight.requires_grad_(learned)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Back to bilinear interpolation."""
        kernel = bilinear_kernel(self.kernel_size[0]).to(self.weight)
        if self.groups > 1 or self.in_channels == 1:
            self.weight.copy_(kernel.expand_as(self.weight))
        else:
            own = torch.eye(self.in_channels, device=self.weight.device, dtype=self.weight.dtype)
            self.weight.copy_(own[:, :, None, None] * kernel)


def unpool(x: Tensor, indices: Tensor, size: Sequence[int]) -> Tensor:
    """Puts what a max pooling took back at its place, zeros elsewhere.

    Args:
        x: (N, C, h, w).
        indices: of the same shape: where each maximum stood in the flattened map before the pooling. Windows must not
            overlap.
        size: (H, W) of that map.

    Returns:
        (N, C, H, W): `F.max_unpool2d`, but in every number format and deterministic on every device.
    """
    flat = x.new_zeros(*x.shape[:2], size[0] * size[1])
    return flat.scatter(2, indices.flatten(2), x.flatten(2)).unflatten(2, tuple(size))


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear to (H, W), units being the centres of equal blocks of the picture."""
    if x.shape[2:] == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def resize_from_corner(x: Tensor, stride: int, size: Sequence[int]) -> Tensor:
    """Bilinear to (H, W) of a map whose unit i stands on pixel stride · i, as behind odd kernels that pad.

    What lies beyond the last unit, less than a stride, repeats it.
    """
    between = [stride * (units - 1) + 1 for units in x.shape[2:]]
    x = F.interpolate(x, between, mode="bilinear", align_corners=True)
    below, right = size[0] - between[0], size[1] - between[1]
    assert 0 <= below < stride
    assert 0 <= right < stride
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def mirrored(x: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """(N, C, H, W) with rows and columns mirrored at the borders, as often as it takes (U-Net paper, Fig. 2).

    Args:
        x: pictures.
        before: rows above and columns on the left.
        after: rows below and columns on the right.
    """
    for axis, low, high in zip((2, 3), before, after, strict=True):
        if low or high:
            side = x.shape[axis]
            place = torch.arange(-low, side + high, device=x.device)
            period = max(2 * (side - 1), 1)
            place = place.remainder(period) if side > 1 else place * 0
            x = x.index_select(axis, torch.minimum(place, period - place) if side > 1 else place)
    return x
