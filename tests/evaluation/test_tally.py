"""The tally against a few lines of NumPy over the samples themselves, and against scikit-learn where it is there."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.errors import DivergedError
from striate.evaluation.metrics import macro_recall_interval, wilson_interval
from striate.evaluation.tally import ClassificationTally

examples = settings(deadline=None, max_examples=60, derandomize=True)


@st.composite
def samples(draw, ties=True):
    """Logits and targets of a split: 2 to 12 classes of which some may be absent, equal logits among them."""
    num_classes = draw(st.integers(2, 12))
    count = draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = generator.normal(0, draw(st.sampled_from([0.1, 1.0, 8.0])), (count, num_classes))
    if ties and draw(st.booleans()):
        logits = np.round(logits)
    present = generator.choice(num_classes, draw(st.integers(1, num_classes)), replace=False)
    return torch.from_numpy(logits), torch.from_numpy(generator.choice(present, count))


def counted(logits, targets, criterion=None, batches=1):
    """A tally of these samples, given in so many batches."""
    tally = ClassificationTally(logits.shape[1])
    for rows in np.array_split(np.arange(len(targets)), batches):
        tally.update(logits[rows], targets[rows], None if criterion is None else criterion[rows])
    return tally


def by_hand(logits, targets):
    """Each figure from its definition, sample by sample and class by class."""
    logits, targets = logits.numpy(), targets.numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    order = np.argsort(-logits, axis=1, kind="stable")
    predicted = order[:, 0]
    precision, recall, f1 = [], [], []
    for label in np.unique(targets):
        hits = np.sum((targets == label) & (predicted == label))
        precision.append(hits / max(np.sum(predicted == label), 1))
        recall.append(hits / np.sum(targets == label))
        both = precision[-1] + recall[-1]
        f1.append(2 * precision[-1] * recall[-1] / both if both else 0.0)
    confidence = probabilities.max(axis=1)
    error = 0.0
    for low in range(15):
        inside = (confidence > low / 15 + 1e-10) & (confidence <= (low + 1) / 15 + 1e-10)
        if inside.any():
            error += inside.mean() * abs(np.mean(predicted[inside] == targets[inside]) - confidence[inside].mean())
    figures = {
        "nll": -np.log(probabilities[np.arange(len(targets)), targets]).mean(),
        "brier": np.square(probabilities - np.eye(logits.shape[1])[targets]).sum(axis=1).mean(),
        "top1_micro": np.mean(predicted == targets),
        "error_micro": np.mean(predicted != targets),
        "precision_macro": np.mean(precision),
        "recall_macro": np.mean(recall),
        "f1_macro": np.mean(f1),
        "ece_15bins": error,
    }
    if logits.shape[1] > 5:
        figures["top5_micro"] = np.mean([target in row[:5] for target, row in zip(targets, order, strict=True)])
    return figures


@examples
@given(samples())
def test_figures_are_those_of_their_definitions(split):
    assert counted(*split).compute() == pytest.approx(by_hand(*split), abs=1e-12)


@examples
@given(samples(ties=False))
def test_figures_are_those_of_scikit_learn(split):
    oracle = pytest.importorskip("sklearn.metrics")
    logits, targets = split
    labels, predicted = np.unique(targets), logits.argmax(dim=1)
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(
        targets, predicted, labels=labels, average="macro", zero_division=0
    )
    expected = {
        "nll": oracle.log_loss(targets, logits.softmax(dim=1), labels=np.arange(logits.shape[1])),
        "top1_micro": oracle.accuracy_score(targets, predicted),
        "precision_macro": precision,
        "recall_macro": recall,
        "f1_macro": f1,
    }
    if logits.shape[1] > 5:
        expected["top5_micro"] = oracle.top_k_accuracy_score(targets, logits, k=5, labels=np.arange(logits.shape[1]))
    tally = counted(logits, targets)
    figures = tally.compute()
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    matrix = oracle.confusion_matrix(targets, predicted, labels=np.arange(logits.shape[1]))
    np.testing.assert_array_equal(tally.state()["confusion"].numpy(), matrix)


@examples
@given(samples(), st.integers(1, 7))
def test_any_division_into_batches_gives_the_same(split, batches):
    logits, targets = split
    criterion = torch.rand(len(targets))
    whole, divided = (counted(logits, targets, criterion, count) for count in (1, batches))
    assert_same_sums(whole, divided)
    assert divided.compute() == pytest.approx(whole.compute(), rel=1e-12, abs=1e-15)


@examples
@given(samples())
def test_two_processes_give_what_one_gives(split):
    logits, targets = split
    criterion = torch.rand(len(targets))
    ranks = [counted(logits[rank::2], targets[rank::2], criterion[rank::2]) for rank in (0, 1)]  # rank 1 may be empty
    states = [tally.state() for tally in ranks]
    for tally in ranks:
        names = iter(states[0])
        tally.reduce(lambda tensor, names=names: sum(state[name] for name in [next(names)] for state in states))
    one = counted(logits, targets, criterion)
    for tally in ranks:
        assert_same_sums(one, tally)
    assert ranks[0].compute() == ranks[1].compute() == pytest.approx(one.compute(), rel=1e-12, abs=1e-15)


def assert_same_sums(expected, found):
    for name, tensor in expected.state().items():
        if tensor.dtype == torch.int64:
            assert torch.equal(tensor, found.state()[name]), name
        else:
            torch.testing.assert_close(found.state()[name], tensor, rtol=1e-12, atol=1e-12)


def test_loss_is_the_mean_of_the_criterion_and_absent_without_one():
    logits, targets = torch.randn(7, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    criterion = torch.nn.functional.cross_entropy(logits, targets, reduction="none", label_smoothing=0.1)
    assert counted(logits, targets, criterion, 3).compute()["loss"] == pytest.approx(criterion.double().mean().item())
    assert "loss" not in counted(logits, targets).compute()
    half = counted(logits, targets, criterion)
    half.update(logits, targets)
    with pytest.raises(ValueError, match="a criterion for all or none"):
        half.compute()


def test_a_network_that_says_the_same_of_every_class_is_at_chance():
    targets = torch.arange(10).repeat(3)
    figures = counted(torch.zeros(30, 10), targets).compute()
    assert (figures["top1_micro"], figures["top5_micro"]) == (0.1, 0.5)
    assert figures["nll"] == pytest.approx(math.log(10))
    assert figures["ece_15bins"] == pytest.approx(0.0, abs=1e-12)


def test_two_classes_have_no_top5_and_perfection_is_perfect():
    figures = counted(torch.tensor([[40.0, -40.0], [-40.0, 40.0]]), torch.tensor([0, 1])).compute()
    zero, one = (
        ("nll", "brier", "error_micro", "ece_15bins"),
        ("top1_micro", "precision_macro", "recall_macro", "f1_macro"),
    )
    assert figures == pytest.approx(dict.fromkeys(zero, 0) | dict.fromkeys(one, 1))


def test_what_is_divided_by_nothing():
    # Class a is found once of twice; b is never predicted; c has no sample but is predicted; d has neither.
    tally = counted(torch.eye(4)[[0, 2, 0]] * 9, torch.tensor([0, 0, 1]))
    rows = {row["class"]: row for row in tally.per_class(["a", "b", "c", "d"])}
    assert rows["a"] == {"class": "a", "samples": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert rows["b"] == {"class": "b", "samples": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert (rows["c"]["precision"], rows["c"]["f1"]) == (0.0, 0.0)
    assert math.isnan(rows["c"]["recall"])
    assert all(math.isnan(rows["d"][name]) for name in ("precision", "recall", "f1"))
    assert tally.compute()["recall_macro"] == 0.25
    with pytest.raises(ValueError, match="expected 4 class names, got 2"):
        tally.per_class(["a", "b"])


def test_intervals_are_those_of_the_shares():
    logits, targets = torch.randn(50, 8), torch.randint(8, (50,))
    tally = counted(logits, targets)
    figures, intervals = tally.compute(), tally.intervals()
    for name in ("top1_micro", "top5_micro"):
        expected = wilson_interval(round(figures[name] * 50), 50)
        assert (intervals[f"{name}_low"], intervals[f"{name}_high"]) == expected
        assert expected[0] < figures[name] < expected[1]
    assert intervals["recall_macro_low"] < figures["recall_macro"] < intervals["recall_macro_high"]


def test_the_interval_of_the_macro_recall_holds_the_truth():
    """Of unbalanced classes with known recalls, some 95 % of the intervals hold the mean; never beyond 0 and 1."""
    chance, recalls, samples = np.random.default_rng(0), np.array([0.95, 0.7, 0.5]), np.array([200, 40, 12])
    held = 0
    for _ in range(1500):
        hits = chance.binomial(samples, recalls)
        low, high = macro_recall_interval(np.diag(hits) + np.roll(np.diag(samples - hits), 1, axis=1))
        held += low <= recalls.mean() <= high
    assert 0.92 < held / 1500 < 0.98
    assert macro_recall_interval(np.diag([5, 0, 2]))[1] == 1.0  # a class without samples says nothing
    assert macro_recall_interval(np.array([[0, 3], [2, 0]]))[0] == 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_give_no_figures(value):
    logits = torch.randn(6, 7)
    logits[2, 3] = value
    with pytest.raises(DivergedError, match="the logits of 1 of 6 samples are not finite"):
        counted(logits, torch.arange(6)).compute()


def test_a_criterion_that_is_not_finite_gives_no_figures():
    with pytest.raises(DivergedError, match="the loss of some sample is not finite"):
        counted(torch.randn(2, 3), torch.tensor([0, 1]), torch.tensor([1.0, math.nan])).compute()


def test_reset_forgets():
    tally = counted(torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1]))
    tally.reset()
    assert tally.samples == 0
    with pytest.raises(ValueError, match="expected samples"):
        tally.compute()


@pytest.mark.parametrize(
    ("logits", "targets", "criterion"),
    [((4, 3), (4,), None), ((4, 2), (5,), None), ((4, 2), (4, 1), None), ((4, 2), (4,), (4, 1))],
)
def test_other_shapes_are_refused(logits, targets, criterion):
    criterion = None if criterion is None else torch.zeros(criterion)
    with pytest.raises(ValueError, match="expected"):
        ClassificationTally(2).update(torch.zeros(logits), torch.zeros(targets, dtype=torch.int64), criterion)


def test_labels_out_of_range_are_refused():
    for label in (-1, 3):
        with pytest.raises((IndexError, RuntimeError)):
            ClassificationTally(3).update(torch.zeros(1, 3), torch.tensor([label]))


def test_a_cast_of_the_task_leaves_the_sums_exact():
    holder = torch.nn.Module()
    holder.tally = counted(torch.randn(9, 4), torch.arange(9) % 4, torch.rand(9))
    before = holder.tally.compute()
    copied = copy.deepcopy(holder.bfloat16())
    assert holder.tally.compute() == before == copied.tally.compute()
    assert not holder.state_dict()
    assert not list(holder.buffers())


def test_sums_of_a_validation_loop_can_be_written_outside_of_it():
    tally = ClassificationTally(2)
    with torch.inference_mode():
        tally.reset()
        tally.update(torch.zeros(1, 2), torch.tensor([0]))
    tally.update(torch.zeros(1, 2), torch.tensor([1]))
    assert tally.samples == 2


@pytest.mark.gpu
def test_update_does_not_wait_for_the_device():
    tally = ClassificationTally(1000).cuda()
    logits, targets = torch.randn(64, 1000, device="cuda"), torch.randint(1000, (64,), device="cuda")
    tally.update(logits, targets, logits[:, 0])  # loads the kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        tally.update(logits, targets, logits[:, 0])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = counted(logits.cpu().repeat(2, 1), targets.cpu().repeat(2), logits[:, 0].cpu().repeat(2)).compute()
    assert tally.compute() == pytest.approx(expected, rel=1e-9)
