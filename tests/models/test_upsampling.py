"""The operators of networks that label pixels, by their laws."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.deeplab import make_atrous
from striate.models.upsampling import (
    BilinearUpsampling,
    bilinear_kernel,
    mirrored,
    resize,
    resize_from_corner,
    unpool,
)
from striate.models.vgg import VGG

DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pooled(shape: tuple[int, ...], ceil_mode: bool) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(shape, dtype=DOUBLE)
    return x, *F.max_pool2d(x, 2, ceil_mode=ceil_mode, return_indices=True)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 8, 6), (1, 2, 7, 9), (1, 1, 1, 5)])
def test_unpooling_puts_back_what_pooling_took_at_its_place(shape: tuple[int, ...], ceil_mode: bool):
    if not ceil_mode and min(shape[2:]) < 2:
        return
    x, y, indices = pooled(shape, ceil_mode)
    back = unpool(y, indices, x.shape[2:])
    assert torch.equal(back, F.max_unpool2d(y, indices, 2, output_size=x.shape[2:]))
    kept = back != 0
    assert torch.equal(back[kept], x[kept])
    assert int(kept.sum()) == y.numel()
    # pooling again takes the same where no window's maximum is negative
    positive = unpool(y.exp(), indices, x.shape[2:])
    again, places = F.max_pool2d(positive, 2, ceil_mode=ceil_mode, return_indices=True)
    assert torch.equal(again, y.exp())
    assert torch.equal(places, indices)


def test_unpooling_is_the_adjoint_of_taking():
    x, y, indices = pooled((2, 3, 7, 5), True)
    taken = x.flatten(2).gather(2, indices.flatten(2)).view_as(y)
    other = torch.randn_like(y)
    left, right = (taken * other).sum(), (x * unpool(other, indices, x.shape[2:])).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(lambda value: unpool(value, indices, (7, 5)), y.requires_grad_())


def test_unpooling_works_in_half_the_bits_and_without_numbers():
    x = torch.randn(1, 2, 4, 4)
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    assert unpool(y.bfloat16(), indices, (4, 4)).dtype == torch.bfloat16
    assert unpool(y.to("meta"), indices.to("meta"), (4, 4)).shape == (1, 2, 4, 4)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (4, 2, 1, 1), (2, 2, 0, 1), (7, 1, 0, 1), (64, 32, 0, 1), (3, 2, 1, 2), (3, 1, 6, 6)],
)
def test_a_transposed_convolution_is_the_adjoint_of_the_convolution(kernel, stride, padding, dilation, groups):
    """⟨C x, y⟩ = ⟨x, Cᵀ y⟩."""
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": False}
    down, up = nn.Conv2d(4, 6, kernel, **options).to(DOUBLE), nn.ConvTranspose2d(6, 4, kernel, **options).to(DOUBLE)
    up.weight = down.weight
    x = torch.randn(2, 4, 67, 99, dtype=DOUBLE)
    y = torch.randn_like(down(x))
    left, right = (down(x) * y).sum(), (x * up(y, output_size=x.shape[2:])).sum()
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize(("kernel", "rate"), [(3, 12), (3, 2), (7, 4), (4, 4), (1, 5)])
def test_an_atrous_convolution_is_one_with_a_kernel_spread_by_zeros(kernel: int, rate: int):
    atrous = nn.Conv2d(2, 3, kernel, padding=rate, dilation=rate).to(DOUBLE)
    side = rate * (kernel - 1) + 1
    spread = torch.zeros(3, 2, side, side, dtype=DOUBLE)
    spread[:, :, ::rate, ::rate] = atrous.weight.detach()
    x = torch.randn(1, 2, 41, 37, dtype=DOUBLE)
    expected = F.conv2d(x, spread, atrous.bias, padding=rate)
    torch.testing.assert_close(atrous(x), expected, rtol=1e-12, atol=1e-12)


def test_a_stride_traded_for_dilation_leaves_the_sampled_units():
    """pool4 of VGG without its stride, conv5 spread by 2: every second unit is what it was."""
    options = {"configuration": "C", "widths": (3, 4, 5, 6, 7), "batch_norm": True, "initialisation": "he",
               "pooled_size": 1, "hidden": 1}  # fmt: skip
    usual, atrous = VGG(2, **options).double().eval(), VGG(2, **options).double().eval()
    atrous.load_state_dict(usual.state_dict())
    make_atrous(atrous)
    for block in range(1, 6):
        setattr(usual, f"pool{block}", nn.MaxPool2d(3, 2, padding=1))
    for size in ((64, 96), (75, 57)):
        picture = torch.randn(1, 3, *size, dtype=DOUBLE)
        expected, features = usual.forward_features(picture), atrous.forward_features(picture)
        for stage, step in (("pool3", 1), ("conv4", 1), ("pool4", 2), ("conv5", 2)):
            torch.testing.assert_close(features[stage][:, :, ::step, ::step], expected[stage], rtol=1e-10, atol=1e-12)
        assert features["pool5"].shape[2:] == tuple(-(-side // 8) for side in size)


def test_bilinear_kernels_have_their_values():
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(bilinear_kernel(4), torch.outer(line, line))
    line = torch.tensor([1 / 3, 2 / 3, 1, 2 / 3, 1 / 3], dtype=DOUBLE)
    torch.testing.assert_close(bilinear_kernel(5).double(), torch.outer(line, line), rtol=1e-6, atol=0)
    for size in (4, 16, 32, 64):
        assert bilinear_kernel(size).sum() == size**2 / 4
    with pytest.raises(ValueError, match="size must be a whole number of at least 1"):
        bilinear_kernel(0)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_bilinear_upsampling_keeps_constants_and_is_interpolation_inside(factor: int, grouped: bool):
    layer = BilinearUpsampling(3, factor, grouped=grouped).double()
    constants = torch.tensor([1.0, -2.0, 0.5], dtype=DOUBLE).view(1, 3, 1, 1)
    inside = slice(factor, -factor)
    flat = layer(constants.expand(1, 3, 4, 5))[:, :, inside, inside]
    torch.testing.assert_close(flat, constants.expand_as(flat), rtol=1e-12, atol=0)
    x = torch.randn(2, 3, 5, 6, dtype=DOUBLE)
    half = factor // 2
    cut = layer(x)[:, :, half : half + 5 * factor, half : half + 6 * factor]
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inside = slice(half, -half)
    torch.testing.assert_close(cut[:, :, inside, inside], expected[:, :, inside, inside], rtol=1e-10, atol=1e-12)
    assert not layer.weight.requires_grad
    assert layer.weight.shape == ((3, 1) if grouped else (3, 3)) + (2 * factor, 2 * factor)


@pytest.mark.parametrize("size", [(33, 40), (35, 33), (40, 34)])
def test_resizing_from_the_corner_keeps_a_ramp_and_repeats_its_end(size: tuple[int, int]):
    rows, columns = (torch.arange(5, dtype=DOUBLE) * 8 for _ in range(2))
    ramp = (2 * rows[:, None] + columns[None, :])[None, None]
    large = resize_from_corner(ramp, 8, size)
    expected = 2 * torch.arange(size[0]).clamp(max=32)[:, None] + torch.arange(size[1]).clamp(max=32)[None, :]
    torch.testing.assert_close(large[0, 0], expected.to(DOUBLE), rtol=1e-12, atol=1e-12)


def test_resizing_to_the_own_size_changes_nothing():
    x = torch.randn(1, 2, 5, 6)
    assert resize(x, (5, 6)) is x
    assert resize(x, (11, 7)).shape == (1, 2, 11, 7)


def test_mirrors_are_pytorchs_and_go_on_where_those_end():
    x = torch.randn(2, 3, 7, 9)
    assert torch.equal(mirrored(x, (4, 2), (6, 8)), F.pad(x, (2, 8, 4, 6), mode="reflect"))
    line = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    far = mirrored(line, (0, 5), (0, 6)).flatten().tolist()
    assert far == [2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2, 1]
    assert torch.equal(mirrored(line[..., :1], (2, 2), (1, 0)), torch.ones(1, 1, 4, 3))
    assert mirrored(x, (0, 0), (0, 0)) is x
