"""Losses over pixels against a few lines of NumPy."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from striate.configuration import build, compose
from striate.optim.losses import CrossEntropy, Focal, SquaredError
from striate.optim.pixel_losses import Combined, Dice, Pixelwise, median_frequency_weights, over_pixels

COUNTS = [50, 30, 15, 5]
WEIGHTS = [1.0, 2.0, 0.5, 0.25]
LOSSES = {
    "cross_entropy": lambda: Pixelwise(CrossEntropy(class_counts=COUNTS)),
    "weighted": lambda: Pixelwise(CrossEntropy(class_counts=COUNTS, class_weights=WEIGHTS)),
    "smoothed": lambda: Pixelwise(CrossEntropy(class_counts=COUNTS, label_smoothing=0.1)),
    "squared_error": lambda: Pixelwise(SquaredError(class_counts=COUNTS)),
    "focal": lambda: Pixelwise(Focal(class_counts=COUNTS, class_weights=WEIGHTS)),
    "dice": lambda: Dice(class_counts=COUNTS),
    "dice_bare": lambda: Dice(class_counts=COUNTS, smooth=0.0, squared=True),
    "combined": lambda: Combined(
        class_counts=COUNTS,
        parts={"a": lambda **given: CrossEntropy(class_weights=WEIGHTS, **given), "b": Dice},
        weights={"b": 0.5},
    ),
}


@pytest.fixture
def batch():
    """Logits (3, 4, 5, 6) and masks with some pixels that do not count; the last picture lacks class 3."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    masks = torch.randint(0, 4, (3, 5, 6), generator=generator, dtype=torch.uint8)
    masks[2][masks[2] == 3] = 0
    masks[torch.rand(3, 5, 6, generator=generator) < 0.2] = 255
    return logits, masks


def softmax(logits):
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_mean_of_cross_entropy_equals_pytorch_with_an_ignored_index(batch, weights):
    logits, masks = batch
    loss = Pixelwise(CrossEntropy(class_counts=COUNTS, class_weights=weights))
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    expected = functional.cross_entropy(logits, masks.long(), weight=weight, ignore_index=255)
    torch.testing.assert_close(loss.reduce(loss(logits, masks), masks), expected)


def test_focal_equals_numpy_and_without_focus_cross_entropy(batch):
    logits, masks = batch
    shares = softmax(logits.detach().numpy())
    expected = np.zeros(3)
    for n, row, column in np.argwhere(masks.numpy() != 255):
        right = shares[n, masks[n, row, column], row, column]
        expected[n] -= (1 - right) ** 2 * np.log(right)
    np.testing.assert_allclose(Pixelwise(Focal(class_counts=COUNTS))(logits, masks).detach(), expected, rtol=1e-9)
    plain, none = CrossEntropy(class_counts=COUNTS), Focal(class_counts=COUNTS, gamma=0.0)
    torch.testing.assert_close(over_pixels(none)(logits, masks), over_pixels(plain)(logits, masks))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_error_of_focal_is_its_gradient_also_where_all_is_right(gamma):
    logits = torch.tensor([[0.3, -1.0, 2.0], [60.0, 0.0, 0.0], [-60.0, 0.0, 1.0]], dtype=torch.float64)
    logits.requires_grad_()
    targets, loss = torch.tensor([1, 0, 0]), Focal(class_counts=[1, 1, 1], gamma=gamma)
    (gradient,) = torch.autograd.grad(loss(logits, targets).sum(), logits)
    assert gradient.isfinite().all()
    torch.testing.assert_close(loss.output_error(logits, targets), gradient, rtol=1e-6, atol=1e-12)
    sure = torch.tensor([[200.0, 0.0]], requires_grad=True)
    Focal(class_counts=[1, 1], gamma=gamma)(sure, torch.tensor([0])).sum().backward()
    assert sure.grad.isfinite().all()


@pytest.mark.parametrize(("smooth", "squared"), [(1.0, False), (0.0, False), (0.0, True), (3.0, True)])
def test_dice_equals_numpy(batch, smooth, squared):
    logits, masks = batch
    shares, truth = softmax(logits.detach().numpy()), masks.numpy()
    expected = []
    for n in range(3):
        lost, counted = [], truth[n] != 255
        for label in range(4):
            p, t = shares[n, label][counted], (truth[n] == label)[counted]
            if t.any():
                below = (p**2 if squared else p).sum() + t.sum() + smooth
                lost.append(1 - (2 * (p * t).sum() + smooth) / below)
        expected.append(np.mean(lost) * counted.sum())
    assert len(lost) == 3, "the last picture lacks a class"
    found = Dice(class_counts=COUNTS, smooth=smooth, squared=squared)(logits, masks)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-6)


def test_a_combination_is_the_weighted_sum(batch):
    logits, masks = batch
    parts = (Pixelwise(CrossEntropy(class_counts=COUNTS, class_weights=WEIGHTS)), Dice(class_counts=COUNTS))
    combined = LOSSES["combined"]()
    torch.testing.assert_close(combined(logits, masks), parts[0](logits, masks) + 0.5 * parts[1](logits, masks))
    assert combined.sample_weights(masks).tolist() == (masks != 255).sum((1, 2)).tolist()


@pytest.mark.parametrize("name", LOSSES)
def test_means_follow_from_sums_and_pixels_that_do_not_count_have_no_part(batch, name):
    logits, masks = batch
    loss = LOSSES[name]()
    whole = loss.reduce(loss(logits, masks), masks)
    parts = [(loss(logits[n : n + 1], masks[n : n + 1]), loss.sample_weights(masks[n : n + 1])) for n in range(3)]
    torch.testing.assert_close(sum(a for a, _ in parts) / sum(b for _, b in parts), whole[None], check_dtype=False)
    (gradient,) = torch.autograd.grad(whole, logits)
    ignored = (masks == 255)[:, None].expand_as(gradient)
    assert not gradient[ignored].any()
    assert gradient[~ignored].any()
    assert not loss.state_dict()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_a_labelled_pixel_gives_zero_with_a_gradient_of_zero(batch, name):
    logits, masks = batch[0], torch.full_like(batch[1], 255)
    loss = LOSSES[name]()
    mean = loss.reduce(loss(logits, masks), masks)
    (gradient,) = torch.autograd.grad(mean, logits)
    assert mean.item() == 0.0
    assert gradient.eq(0).all()


def test_median_frequency_equals_its_definition():
    pixels, with_class = [600, 300, 90, 0, 10], [1000, 1000, 500, 0, 200]
    weights = median_frequency_weights(pixels, with_class)
    frequency = np.array([0.6, 0.3, 0.18, 0.05])
    np.testing.assert_allclose(np.delete(weights, 3), np.median(frequency) / frequency, rtol=1e-12)
    assert weights[3] == 0.0


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: Focal(class_counts=[3, 3], gamma=-1), "expected gamma >= 0"),
        (lambda: Dice(class_counts=[3, 3], smooth=-1), "expected smooth >= 0"),
        (lambda: Combined(class_counts=[3, 3], parts={}), "expected parts"),
        (lambda: Combined(class_counts=[3, 3], parts={"a": Dice}, weights={"b": 1.0}), "some of"),
        (lambda: CrossEntropy(class_counts=[3, 3], class_weights="median_frequency"), "is for pixels"),
    ],
)
def test_values_without_meaning_are_refused(factory, message):
    with pytest.raises(ValueError, match=message):
        factory()


def test_the_configured_combination_is_built_from_its_parts(batch):
    node = compose("train", ["loss=cross_entropy_dice", "loss.weights.dice=2"]).loss
    loss = build(node, class_counts=COUNTS)
    expected = over_pixels(CrossEntropy(class_counts=COUNTS))(*batch) + 2 * Dice(class_counts=COUNTS)(*batch)
    torch.testing.assert_close(loss(*batch), expected)
