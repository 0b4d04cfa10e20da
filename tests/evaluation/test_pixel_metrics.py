"""Figures over pixels against loops of NumPy and SciPy; equal for any division of a set."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import confusion_matrix, jaccard_score, recall_score

from striate.data.masks import MOST_CLASSES
from striate.errors import DataError, DivergedError
from striate.evaluation import pixel_metrics
from striate.evaluation.pixel_tally import PixelTally, boundary_counts, boundary_scores

CLASSES = 5  # the last is never true


@pytest.fixture(scope="module")
def batch():
    """Scores and masks of 6 pictures in patches, so that there are outlines; class 3 is never predicted."""
    chance = np.random.default_rng(0)
    masks = np.kron(chance.integers(0, 4, (6, 4, 5)), np.ones((5, 5), int)).astype(np.uint8)
    predicted = np.roll(masks, 1, axis=2)
    predicted[chance.random(masks.shape) < 0.1] = 4
    predicted[predicted == 3] = 0
    masks[:, :2, 3:9] = 255
    scores = torch.nn.functional.one_hot(torch.from_numpy(predicted).long(), CLASSES).movedim(-1, 1) * 3.0
    return scores, torch.from_numpy(masks), predicted


def tallied(scores, masks, parts):
    tally = PixelTally(CLASSES)
    for part in parts:
        count = (masks[part] != 255).sum((1, 2))
        tally.update(scores[part], masks[part], 0.5 * count, count)
    return tally


def test_figures_equal_scikit_learn(batch):
    scores, masks, predicted = batch
    figures = tallied(scores, masks, [slice(None)]).compute()
    kept = masks.numpy() != 255
    true, said = masks.numpy()[kept], predicted[kept]
    labels = range(4)  # of the truth: the class that is absent from it does not count
    assert figures["pixel_accuracy"] == np.mean(true == said)
    assert figures["mean_class_accuracy"] == pytest.approx(recall_score(true, said, labels=labels, average="macro"))
    ious = jaccard_score(true, said, labels=labels, average=None)
    assert figures["miou"] == pytest.approx(ious.mean(), rel=1e-12)
    assert figures["fwiou"] == pytest.approx((ious * np.bincount(true, minlength=4)).sum() / len(true), rel=1e-12)
    assert figures["loss"] == pytest.approx(0.5)
    state = tallied(scores, masks, [slice(None)]).numpy()
    np.testing.assert_array_equal(state["confusion"], confusion_matrix(true, said, labels=range(CLASSES)))


def outline(mask):
    """Boundary pixels of a mask, by a loop."""
    edge = np.zeros(mask.shape, bool)
    for row, column in np.ndindex(mask.shape):
        for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            other = (row + down, column + right)
            if 0 <= other[0] < mask.shape[0] and 0 <= other[1] < mask.shape[1]:
                values = {int(mask[row, column]), int(mask[other])}
                edge[row, column] |= len(values) == 2 and 255 not in values
    return edge


@pytest.mark.parametrize("tolerance", [1, 2, 3])
def test_boundaries_equal_distance_transforms(batch, tolerance):
    _, masks, predicted = batch
    expected = {name: np.zeros((6, CLASSES), int) for name in ("true", "found", "predicted", "right")}
    for place, (mask, said) in enumerate(zip(masks.numpy(), predicted, strict=True)):
        said = np.where(mask == 255, 255, said)
        edges = {"true": (outline(mask), mask), "predicted": (outline(said), said)}
        for one, other, met in (("true", "predicted", "found"), ("predicted", "true", "right")):
            for label in range(CLASSES):
                own, twin = (edges[name][0] & (edges[name][1] == label) for name in (one, other))
                near = ndimage.distance_transform_edt(~twin) <= tolerance if twin.any() else np.zeros_like(twin)
                expected[one][place, label] = own.sum()
                expected[met][place, label] = (own & near).sum()
    counts = boundary_counts(torch.from_numpy(predicted), masks, CLASSES, tolerance)
    for name, values in expected.items():
        np.testing.assert_array_equal(counts[name], values, err_msg=name)
    scores = []
    for place in range(6):
        of_classes = []
        for label in np.flatnonzero(expected["true"][place]):
            true, found, said, right = (
                expected[name][place, label] for name in ("true", "found", "predicted", "right")
            )
            precision, recall = right / max(said, 1), found / true
            of_classes.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
        scores.append(np.mean(of_classes))
    np.testing.assert_allclose(boundary_scores(counts)[0], scores, rtol=1e-12)


def test_boundary_f1_of_the_truth_is_one_and_of_a_class_never_met_zero(batch):
    _, masks, _ = batch
    truth = torch.nn.functional.one_hot(masks.long().clamp_max(4), CLASSES).movedim(-1, 1).float()
    assert tallied(truth, masks, [slice(None)]).compute()["boundary_f1"] == 1.0
    counts = {"true": [4, 4, 0], "found": [2, 0, 0], "predicted": [4, 0, 3], "right": [1, 0, 0]}
    scores = pixel_metrics.class_boundary_f1({f"boundary_{name}": np.array(row) for name, row in counts.items()})
    np.testing.assert_allclose(scores, [2 * 0.25 * 0.5 / 0.75, 0.0, np.nan])


def test_sums_are_equal_for_any_division(batch):
    scores, masks, _ = batch
    whole = tallied(scores, masks, [slice(None)])
    parts = [tallied(scores, masks, part) for part in ([slice(0, 1), slice(1, 4)], [slice(4, 4), slice(4, 6)])]
    for name, value in whole.numpy().items():
        both = parts[0].numpy()[name] + parts[1].numpy()[name]
        if value.dtype == np.int64:
            np.testing.assert_array_equal(both, value, err_msg=name)
        np.testing.assert_allclose(both, value, rtol=1e-12, err_msg=name)
    assert whole.samples == 6


def test_a_set_without_labels_has_no_figures_and_numbers_that_are_none_are_refused(batch):
    scores, masks, _ = batch
    nothing = tallied(scores, torch.full_like(masks, 255), [slice(None)])
    with pytest.raises(DataError, match="none of 6 pictures has a labelled pixel"):
        nothing.compute()
    with pytest.raises(ValueError, match="expected labelled pixels, got none"):
        pixel_metrics.segmentation_figures(nothing.numpy())
    broken = scores.clone()
    broken[2, 0, 0, 0] = float("nan")
    with pytest.raises(DivergedError, match="the logits of 1 of 6 pictures are not finite"):
        tallied(broken, masks, [slice(None)]).compute()
    with pytest.raises(ValueError, match="expected logits"):
        PixelTally(CLASSES).update(scores[:, :3], masks, torch.zeros(6), torch.ones(6))


def test_as_many_classes_as_masks_can_hold_are_counted():
    masks = torch.arange(MOST_CLASSES, dtype=torch.uint8).view(1, 2, 127)
    scores = torch.eye(MOST_CLASSES)[masks.long()].movedim(-1, 1)
    tally = PixelTally(MOST_CLASSES)
    tally.update(scores, masks, torch.zeros(1), torch.ones(1))
    figures = tally.compute()
    assert (figures["miou"], figures["boundary_f1"]) == (1.0, 1.0)


def test_a_picture_of_one_class_has_no_boundary_figure():
    masks = torch.zeros(1, 3, 3, dtype=torch.uint8)
    tally = PixelTally(2)
    tally.update(torch.zeros(1, 2, 3, 3), masks, torch.zeros(1), torch.ones(1))
    assert "boundary_f1" not in tally.compute()


def test_intervals_hold_the_figure_and_close_in_with_more_pictures(batch):
    chance = np.random.default_rng(1)
    share = chance.uniform(0.5, 0.9, 400)
    pixels = np.stack([np.round(1000 * share), 1000 * np.ones(400), 1000 * np.ones(400)], 1).astype(np.int64)
    pictures = np.stack([pixels, pixels], 2)  # (N, 3, 2)
    widths = []
    for count in (25, 400):
        bounds = pixel_metrics.segmentation_intervals(pictures[:count])
        accuracy = pixels[:count, 0].sum() / pixels[:count, 1].sum()
        assert bounds["pixel_accuracy_low"] < accuracy < bounds["pixel_accuracy_high"]
        widths.append(bounds["pixel_accuracy_high"] - bounds["pixel_accuracy_low"])
        normal = 2 * 1.96 * share[:count].std() / count**0.5
        assert widths[-1] == pytest.approx(normal, rel=0.2)
    assert widths[1] < widths[0]
    assert pixel_metrics.segmentation_intervals(pictures) == pixel_metrics.segmentation_intervals(pictures)


def test_the_tolerance_is_a_share_of_the_diagonal():
    assert [pixel_metrics.boundary_tolerance(*size) for size in ((64, 64), (360, 480), (8, 8))] == [1, 4, 1]
