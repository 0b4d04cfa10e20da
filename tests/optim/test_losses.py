"""Losses against PyTorch's functions and a few lines of NumPy."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from striate.optim.losses import CrossEntropy, DiscriminativeDistance, MeanDistance, SquaredError

COUNTS = [50, 30, 15, 5]
LOSSES = [
    lambda **options: CrossEntropy(class_counts=COUNTS, **options),
    lambda **options: CrossEntropy(class_counts=COUNTS, label_smoothing=0.1, **options),
    lambda **options: SquaredError(class_counts=COUNTS, **options),
    lambda **options: SquaredError(class_counts=COUNTS, activation="softmax", **options),
    lambda **options: CrossEntropy(class_counts=COUNTS, activation="sigmoid", label_smoothing=0.1, **options),
    lambda **options: SquaredError(class_counts=COUNTS, activation="sigmoid", **options),
    lambda **options: SquaredError(class_counts=COUNTS, activation="tanh", **options),
    lambda **options: SquaredError(class_counts=COUNTS, activation="relu", **options),
    lambda **options: MeanDistance(class_counts=COUNTS, **options),
    lambda **options: DiscriminativeDistance(class_counts=COUNTS, j=1.5, **options),
]
WEIGHTS = [1.0, 2.0, 0.5, 0.0]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(32, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, 4, (32,), generator=generator)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", [None, "balanced", [1.0, 2.0, 0.5, 0.0]])
def test_cross_entropy_and_its_mean_equal_pytorch(batch, class_weights, label_smoothing):
    logits, targets = batch
    loss = CrossEntropy(class_counts=COUNTS, class_weights=class_weights, label_smoothing=label_smoothing)
    weight = None if loss.weight is None else loss.weight.double()
    each = loss(logits, targets)
    options = {"weight": weight, "label_smoothing": label_smoothing}
    torch.testing.assert_close(each, functional.cross_entropy(logits, targets, reduction="none", **options))
    torch.testing.assert_close(loss.reduce(each, targets), functional.cross_entropy(logits, targets, **options))


def test_cross_entropy_equals_numpy(batch):
    logits, targets = batch
    values, smoothing = logits.detach().numpy(), 0.2
    log_probabilities = values - np.log(np.exp(values).sum(1, keepdims=True))
    wanted = np.full((32, 4), smoothing / 4)
    wanted[np.arange(32), targets.numpy()] += 1 - smoothing
    expected = -(wanted * log_probabilities).sum(1)
    loss = CrossEntropy(class_counts=COUNTS, label_smoothing=smoothing)
    np.testing.assert_allclose(loss(logits, targets).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("activation", "function"),
    [("identity", lambda x: x), ("sigmoid", torch.sigmoid), ("softmax", lambda x: x.softmax(1))],
)
def test_squared_error_is_half_the_squared_distance_to_the_one_hot_target(batch, activation, function):
    logits, targets = batch
    outputs = function(logits)
    each = SquaredError(class_counts=COUNTS, activation=activation)(logits, targets)
    one_hot = np.eye(4)[targets.numpy()]
    np.testing.assert_allclose(
        each.detach().numpy(), ((outputs.detach().numpy() - one_hot) ** 2).sum(1) / 2, rtol=1e-12
    )
    mean = functional.mse_loss(outputs, torch.from_numpy(one_hot)) * 4 / 2
    torch.testing.assert_close(SquaredError(class_counts=COUNTS).reduce(each, targets), mean)


@pytest.mark.parametrize("factory", LOSSES)
@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
def test_the_error_of_the_outputs_is_the_gradient(batch, factory, class_weights):
    logits, targets = batch
    loss = factory(class_weights=class_weights)
    (expected,) = torch.autograd.grad(loss(logits, targets).sum(), logits)
    torch.testing.assert_close(loss.output_error(logits, targets), expected, rtol=1e-12, atol=1e-15)


# Exact but for an activation before a square, whose own second derivative Gauss and Newton drop: there the squares of
# the outputs' derivatives are what must come out.
@pytest.mark.parametrize("factory", LOSSES)
@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
def test_the_curvature_of_the_outputs_is_that_of_gauss_and_newton(batch, factory, class_weights):
    logits, targets = batch
    loss = factory(class_weights=class_weights)
    found = loss.output_curvature(logits, targets)
    weights = loss.sample_weights(targets).double()
    for sample in range(8):
        own, target = logits[sample].detach(), targets[sample : sample + 1]
        if isinstance(loss, SquaredError):
            jacobian = torch.func.jacrev(lambda z: loss._outputs(z[None])[0])(own)
            expected = jacobian.square().sum(0) * weights[sample]
        else:
            expected = torch.func.hessian(lambda z, target=target: loss(z[None], target)[0])(own).diagonal()
        torch.testing.assert_close(found[sample], expected, rtol=1e-10, atol=1e-14)
    assert (found >= 0).all()


def test_the_sign_of_the_output_error_is_that_of_output_minus_target():
    # Sigmoid outputs and half the squared distance: (a - t) a (1 - a); the other sign belongs to -dC/dz.
    logits, targets = torch.tensor([[0.4, -1.0]], dtype=torch.float64), torch.tensor([1])
    outputs = 1 / (1 + np.exp(-logits.numpy()))
    error = SquaredError(class_counts=[1, 1], activation="sigmoid").output_error(logits, targets)
    np.testing.assert_allclose(error.numpy(), (outputs - [[0, 1]]) * outputs * (1 - outputs), rtol=1e-14)


def test_cross_entropy_is_minus_the_sum_of_targets_times_log_outputs():
    logits = torch.tensor([[0.2, 0.7, 0.1]], dtype=torch.float64).log()
    assert CrossEntropy(class_counts=[1] * 3)(logits, torch.tensor([1])).item() == pytest.approx(0.356675, abs=5e-7)


def test_sigmoid_cross_entropy_equals_numpy(batch):
    logits, targets = batch
    outputs, wanted = 1 / (1 + np.exp(-logits.detach().numpy())), np.eye(4)[targets.numpy()]
    expected = -(wanted * np.log(outputs) + (1 - wanted) * np.log(1 - outputs)).sum(1)
    each = CrossEntropy(class_counts=COUNTS, activation="sigmoid")(logits, targets)
    np.testing.assert_allclose(each.detach().numpy(), expected, rtol=1e-12)


def test_the_criteria_of_distances_equal_their_formulas(batch):
    distances, targets = batch[0].detach().square() * 5, batch[1]
    y = distances.numpy()
    own = y[np.arange(32), targets.numpy()]
    each = MeanDistance(class_counts=COUNTS)(-distances, targets)
    np.testing.assert_allclose(each.numpy(), own, rtol=1e-14)
    for j in (0.1, 3.0):
        expected = own + np.log(np.exp(-j) + np.exp(-y).sum(1))
        each = DiscriminativeDistance(class_counts=COUNTS, j=j)(-distances, targets)
        np.testing.assert_allclose(each.numpy(), expected, rtol=1e-10)
    # The farther the rubbish, the nearer to softmax cross entropy of the negative distances.
    far = DiscriminativeDistance(class_counts=COUNTS, j=1e3)(-distances, targets)
    torch.testing.assert_close(far, CrossEntropy(class_counts=COUNTS)(-distances, targets))


def test_the_gradient_of_the_squared_error_is_output_minus_target(batch):
    logits, targets = batch
    (gradient,) = torch.autograd.grad(SquaredError(class_counts=COUNTS)(logits, targets).sum(), logits)
    torch.testing.assert_close(gradient, logits.detach() - functional.one_hot(targets, 4))


def test_weighted_squared_errors_are_weighted_by_class(batch):
    logits, targets = batch
    weights = [1.0, 2.0, 0.5, 0.0]
    plain, weighted = (SquaredError(class_counts=COUNTS, class_weights=given) for given in (None, weights))
    of_samples = torch.tensor(weights, dtype=torch.float64)[targets]
    each = weighted(logits, targets)
    torch.testing.assert_close(each, plain(logits, targets) * of_samples)
    torch.testing.assert_close(weighted.reduce(each, targets), each.sum() / of_samples.sum())


def test_balanced_weights_equal_scikit_learn():
    labels = np.repeat(np.arange(4), COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    loss = CrossEntropy(class_counts=COUNTS, class_weights="balanced")
    np.testing.assert_allclose(loss.weight.numpy(), expected, rtol=1e-6)
    assert loss.sample_weights(torch.from_numpy(labels)).mean().item() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("factory", LOSSES)
@pytest.mark.parametrize("class_weights", [None, "balanced"])
def test_means_over_unequal_parts_follow_from_sums(batch, factory, class_weights):
    logits, targets = batch
    loss = factory(class_weights=class_weights)
    whole = loss.reduce(loss(logits, targets), targets)
    sums = [
        (loss(logits[part], targets[part]).sum(), loss.sample_weights(targets[part]).sum())
        for part in (slice(0, 20), slice(20, 31), slice(31, 32))
    ]
    torch.testing.assert_close(sum(s for s, _ in sums) / sum(w for _, w in sums), whole, check_dtype=False)


@pytest.mark.parametrize("factory", LOSSES)
@pytest.mark.parametrize("class_weights", [None, "balanced"])
def test_an_empty_batch_gives_zero_with_a_gradient_of_zero(factory, class_weights):
    loss = factory(class_weights=class_weights)
    layer = torch.nn.Linear(3, 4)
    targets = torch.zeros(0, dtype=torch.int64)
    mean = loss.reduce(loss(layer(torch.zeros(0, 3)), targets), targets)
    mean.backward()
    assert mean.item() == 0.0
    assert (layer.weight.grad == 0).all()


def test_a_batch_of_weightless_classes_gives_zero():
    loss = CrossEntropy(class_counts=[1, 1], class_weights=[1.0, 0.0])
    targets = torch.ones(3, dtype=torch.int64)
    assert loss.reduce(loss(torch.randn(3, 2), targets), targets).item() == 0.0


@pytest.mark.parametrize("factory", LOSSES)
def test_half_precision_logits_are_computed_in_single(batch, factory):
    logits, targets = batch
    half = logits.detach().bfloat16()
    each = factory(class_weights="balanced")(half, targets)
    assert each.dtype == torch.float32
    torch.testing.assert_close(each, factory(class_weights="balanced")(half.float(), targets))


@pytest.mark.parametrize("factory", LOSSES)
def test_a_loss_adds_nothing_to_a_checkpoint(factory):
    assert not factory(class_weights="balanced").state_dict()


def test_pixels_are_samples_too(batch):
    logits = batch[0].reshape(2, 4, 4, 4)
    targets = batch[1].reshape(2, 4, 4)
    loss = CrossEntropy(class_counts=COUNTS, class_weights="balanced")
    each = loss(logits, targets)
    assert each.shape == (2, 4, 4)
    expected = functional.cross_entropy(logits, targets, weight=loss.weight.double())
    torch.testing.assert_close(loss.reduce(each, targets), expected)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: CrossEntropy(class_counts=[3, 3], class_weights=[1.0]), "expected 2 class weights"),
        (lambda: CrossEntropy(class_counts=[3, 3], class_weights=[1.0, -1.0]), "none negative"),
        (lambda: CrossEntropy(class_counts=[3, 3], class_weights=[0.0, 0.0]), "not all 0"),
        (lambda: CrossEntropy(class_counts=[3, 3], class_weights="balance"), 'expected class_weights to be "balanced"'),
        (lambda: CrossEntropy(class_counts=[3, 0], class_weights="balanced"), "samples of every class"),
        (lambda: CrossEntropy(class_counts=[3, 3], label_smoothing=2.0), "expected label_smoothing in 0 … 1"),
        (lambda: SquaredError(class_counts=[3, 3], activation="elu"), "identity, sigmoid, softmax, tanh or relu"),
        (lambda: CrossEntropy(class_counts=[3, 3], activation="tanh"), "the activation softmax or sigmoid, got tanh"),
        (lambda: DiscriminativeDistance(class_counts=[3, 3], j=0), "expected j > 0, got 0"),
    ],
)
def test_values_without_meaning_are_refused(factory, message):
    with pytest.raises(ValueError, match=message):
        factory()
