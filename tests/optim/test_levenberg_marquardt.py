"""The diagonal of the Hessian against exact ones and against the paper's formulas, and the rule that uses it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.models.lenet5 import C3_TABLE, EuclideanRBF, LeNet5, PartialConv2d, ScaledTanh, Subsampling
from striate.models.mlp import MLP
from striate.models.network import BatchNorm2d
from striate.optim.curvature import hessian_diagonal
from striate.optim.levenberg_marquardt import StochasticDiagonalLM
from striate.optim.losses import CrossEntropy, DiscriminativeDistance, MeanDistance, SquaredError

CLASSES = {"class_counts": [1] * 10}


def exact(network, loss, inputs, targets, name):
    """The diagonal of the true Hessian of the mean loss by one parameter."""
    start = dict(network.named_parameters())[name].detach()

    def mean(flat):
        outputs = torch.func.functional_call(network, {name: flat.view_as(start)}, (inputs,))
        return loss.reduce(loss(outputs, targets), targets)

    return torch.func.hessian(mean)(start.flatten()).diagonal().view_as(start)


def batch(*shape, classes=10):
    torch.manual_seed(1)
    return torch.randn(*shape, dtype=torch.float64), torch.randint(0, classes, (shape[0],))


@pytest.mark.parametrize("loss", [SquaredError(**CLASSES), CrossEntropy(**CLASSES), DiscriminativeDistance(**CLASSES)])
def test_one_dense_layer_is_exact(loss):
    inputs, targets = batch(7, 6)
    network = nn.Sequential(nn.Linear(6, 10)).double()
    found = hessian_diagonal(network, loss, [(inputs, targets)])
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            found[parameter], exact(network, loss, inputs, targets, name), rtol=1e-10, atol=1e-14
        )


def test_a_dense_layer_before_distances_is_exact():
    # The first criterion is a sum of squares: what Gauss and Newton keep is all there is.
    inputs, targets = batch(7, 6)
    network = nn.Sequential(nn.Linear(6, 84), EuclideanRBF(10)).double()
    loss = MeanDistance(**CLASSES)
    found = hessian_diagonal(network, loss, [(inputs, targets)])
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[parameter], exact(network, loss, inputs, targets, name), rtol=1e-9, atol=1e-12)
    bias = network[0].bias
    torch.testing.assert_close(found[bias], torch.full_like(bias, 2.0))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 10, 3, stride=2, padding=1),
        nn.Conv2d(2, 10, 3, groups=2, dilation=2),
        nn.ConvTranspose2d(2, 10, 2, stride=2),
    ],
    ids=["strided", "grouped", "transposed"],
)
def test_curvatures_of_shared_weights_are_added_up(layer):
    # Every output is a target of its own, so no product of two outputs enters the true Hessian.
    inputs, _ = batch(3, 2, 7, 7)
    network = nn.Sequential(layer, nn.Flatten()).double()
    targets = torch.tensor([0, 5, 2])
    loss = SquaredError(class_counts=[1] * network(inputs).shape[1])
    found = hessian_diagonal(network, loss, [(inputs, targets)])
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[parameter], exact(network, loss, inputs, targets, name), rtol=1e-9, atol=1e-12)


def test_lenet5s_own_layers_add_up_their_curvatures():
    inputs, targets = batch(3, 6, 8, 8)
    for layer in (PartialConv2d(6, C3_TABLE, 5), Subsampling(6)):
        torch.manual_seed(0)
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.3)
        network = nn.Sequential(layer, nn.Flatten()).double()
        loss = SquaredError(class_counts=[1] * network(inputs).shape[1])
        found = hessian_diagonal(network, loss, [(inputs, targets)])
        for name, parameter in network.named_parameters():
            jacobian = torch.func.jacrev(
                lambda value, name=name: torch.func.functional_call(network, {name: value}, (inputs,))  # noqa: B023
            )(parameter.detach())
            expected = jacobian.square().sum(1).mean(0)
            torch.testing.assert_close(found[parameter], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_two_layers_follow_the_papers_formulas(activation):
    inputs, targets = batch(5, 1, 4, 3)
    torch.manual_seed(0)
    network = MLP(10, 1, (4, 3), hidden=(6,), activation=activation).double()
    found = hessian_diagonal(network, SquaredError(**CLASSES, activation="sigmoid"), [(inputs, targets)])
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    x = inputs.flatten(1).numpy()
    function, slope = {
        "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
        "tanh": (np.tanh, lambda a: 1 - a**2),
        "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0) * 1.0),
    }[activation]
    a1 = function(x @ weights["fc1.weight"].T + weights["fc1.bias"])
    a2 = 1 / (1 + np.exp(-(a1 @ weights["fc2.weight"].T + weights["fc2.bias"])))
    h2 = (a2 * (1 - a2)) ** 2  # f'(a_i)² times the second derivative of the squared error, 1
    h1 = slope(a1) ** 2 * (h2 @ weights["fc2.weight"] ** 2)
    expected = {
        "fc2.weight": h2.T @ a1**2 / 5,
        "fc2.bias": h2.mean(0),
        "fc1.weight": h1.T @ x**2 / 5,
        "fc1.bias": h1.mean(0),
    }
    for name, parameter in network.named_parameters():
        np.testing.assert_allclose(found[parameter].numpy(), expected[name], rtol=1e-11, atol=1e-15)


class Everything(nn.Module):
    """Operations that have a rule and stand in no network above."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 3, 3, bias=False), nn.Linear(3, 10, bias=False)
        self.scale = nn.Parameter(torch.full((3, 1, 1), 1.5))

    def forward(self, x):
        x = F.max_pool2d(F.relu6(self.conv(F.pad(x, (1, 1, 1, 1)))), 2)
        x = torch.cat([F.silu(x[:, :1]) - 0.5, -x[:, 1:].sigmoid() / 2], dim=1) * self.scale
        return self.fc(F.avg_pool2d(x, 2).mean((2, 3)))


@pytest.mark.parametrize("loss", [CrossEntropy, SquaredError, MeanDistance, DiscriminativeDistance])
@pytest.mark.parametrize(
    "network",
    [
        lambda: LeNet5(10, 1),
        lambda: LeNet5(10, 1, form="modern"),
        lambda: LeNet5(10, 1, form="modern", pooling="average", activation="tanh"),
        lambda: MLP(10, 1, (32, 32), hidden=(20, 8), activation="relu"),
        Everything,
    ],
    ids=["lenet5", "modern", "modern-average", "mlp", "everything"],
)
def test_it_is_never_negative_and_the_same_in_parts(network, loss):
    torch.manual_seed(0)
    network = network().train()
    inputs, targets = batch(12, 1, 32, 32)
    inputs, criterion = inputs.float(), loss(**CLASSES)
    whole = hessian_diagonal(network, criterion, [(inputs, targets)])
    parts = hessian_diagonal(network, criterion, [(inputs[:5], targets[:5]), (inputs[5:], targets[5:])])
    assert all(module.training for module in network.modules())
    assert set(whole) == set(network.parameters())
    for name, parameter in network.named_parameters():
        assert whole[parameter].shape == parameter.shape
        assert (whole[parameter] >= 0).all()
        torch.testing.assert_close(whole[parameter], parts[parameter], rtol=1e-4, atol=1e-7, msg=name)
        assert parameter.grad is None
    is_curved = isinstance(network, LeNet5) and network.form == "original"
    assert (loss is MeanDistance and not is_curved) or all(value.max() > 0 for value in whole.values())


def test_elementwise_operations_take_the_square_of_their_derivative():
    operations = [
        (torch.tanh, lambda x: 1 - x.tanh() ** 2), (torch.sigmoid, lambda x: x.sigmoid() * (1 - x.sigmoid())),
        (torch.exp, torch.exp), (lambda x: 3 - x / 4, lambda x: torch.full_like(x, -0.25)),
        (F.leaky_relu, lambda x: torch.where(x > 0, torch.ones_like(x), 0.01)), (ScaledTanh(), None),
    ]  # fmt: skip
    inputs, targets = batch(4, 10)
    for operation, derivative in operations:
        network = nn.Sequential(nn.Linear(10, 10)).double()
        network.forward = lambda x, operation=operation, layer=network[0]: operation(layer(x))
        found = hessian_diagonal(network, SquaredError(**CLASSES), [(inputs, targets)])
        z = network[0](inputs)
        slope = 1.7159 * 2 / 3 * (1 - (2 * z / 3).tanh() ** 2) if derivative is None else derivative(z)
        torch.testing.assert_close(found[network[0].bias], slope.detach().square().mean(0), rtol=1e-10, atol=1e-12)


def test_an_operation_without_a_rule_is_named():
    network = nn.Sequential(nn.Conv2d(1, 10, 3), BatchNorm2d(10), nn.Flatten(), nn.Linear(90, 10))
    inputs, targets = batch(4, 1, 5, 5)
    with pytest.raises(ValueError, match=r"no rule for the curvature of .*BatchNorm"):
        hessian_diagonal(network, CrossEntropy(**CLASSES), [(inputs.float(), targets)])
    with pytest.raises(ValueError, match="at least one sample"):
        hessian_diagonal(nn.Linear(2, 10), CrossEntropy(**CLASSES), [])


def test_each_weight_has_its_rate():
    weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    optimizer = StochasticDiagonalLM([weight], lr=0.001, mu=0.02)
    optimizer.state[weight]["curvature"] = torch.tensor([0.0, 0.08, 7.0])
    weight.grad = torch.tensor([1.0, -2.0, 10.0])
    optimizer.step()
    expected = [1 - 0.001 / 0.02, 2 + 0.001 / 0.1 * 2, 3 - 0.001 / 7.02 * 10]
    assert weight.tolist() == pytest.approx(expected, rel=1e-6)


def test_an_estimate_is_state_and_frozen_weights_have_none():
    network = MLP(10, 1, (4, 4))
    network.fc1.requires_grad_(False)
    inputs, targets = batch(6, 1, 4, 4)
    optimizer = StochasticDiagonalLM(network.fc2.parameters(), weight_decay=0.1)
    optimizer.estimate(network, CrossEntropy(**CLASSES), [(inputs.float(), targets)])
    state = optimizer.state_dict()["state"]
    assert [set(entry) for entry in state.values()] == [{"curvature"}] * 2
    assert all((entry["curvature"] > 0).any() for entry in state.values())


def test_weights_that_begin_to_learn_later_get_their_curvature_then():
    network = MLP(10, 1, (4, 4))
    inputs, targets = batch(6, 1, 4, 4)
    optimizer = StochasticDiagonalLM(network.parameters())
    network.fc1.requires_grad_(False)
    for learning in (2, 4):
        optimizer.estimate(network, CrossEntropy(**CLASSES), [(inputs.float(), targets)])
        assert sum("curvature" in optimizer.state[parameter] for parameter in network.parameters()) == learning
        network.fc1.requires_grad_(True)


@pytest.mark.parametrize("options", [{"lr": -1}, {"mu": 0}, {"samples": 0}, {"weight_decay": -1}])
def test_values_without_meaning_are_refused(options):
    with pytest.raises(ValueError, match="expected lr and weight_decay"):
        StochasticDiagonalLM([nn.Parameter(torch.ones(1))], **options)
