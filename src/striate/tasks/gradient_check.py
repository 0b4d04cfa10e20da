"""The gradient of every parameter of a network in three ways: by hand, by autograd, by finite differences."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from striate.errors import ConfigurationError
from striate.optim.losses import Loss
from striate.tasks.backpropagation import gradients_by_hand, layers_of

# A ReLU whose kink lies within the step makes a difference quotient mean nothing: it is taken again with a smaller one.
_SHRINKING = (1.0, 0.1, 0.01)


class Row(NamedTuple):
    """What was found for one parameter; errors are the largest difference over the largest gradient."""

    name: str
    shape: tuple[int, ...]
    largest: float
    by_hand: float | None  # against autograd
    differences: float  # finite ones against what is by hand, else against autograd


@torch.no_grad()
def leave_kinks(network: nn.Module, seed: int) -> None:
    """Adds N(0, 0.1²) to biases and scales: a new network has maps that are 0 with a bias of 0 behind them, so that
    their ReLUs stand on the kink itself."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim < 2:
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


def compare_gradients(
    network: nn.Module,
    loss: Loss,
    inputs: Tensor,
    targets: Tensor,
    *,
    entries: int,
    step: float,
    enough: float,
    seed: int,
) -> list[Row]:
    """One row a parameter, in the network's order.

    Args:
        network: in float64 and in evaluation mode; it is left as it was.
        loss: the mean over the batch is what is differentiated.
        inputs: (N, C, H, W) float64.
        targets: (N,) classes.
        entries: of each parameter that are moved: half of them where the gradient is largest, half drawn by the seed.
        step: by which an entry is moved to either side.
        enough: an entry whose quotient is farther off is tried again with a tenth and a hundredth of the step.
        seed: of the entries.
    """
    names = {parameter: name for name, parameter in network.named_parameters()}
    mean = loss.reduce(loss(network(inputs), targets), targets)
    by_autograd = dict(zip(names, torch.autograd.grad(mean, list(names)), strict=True))
    try:
        layers_of(network)
        by_hand = gradients_by_hand(network, loss, inputs, targets)[1]
    except ConfigurationError:
        by_hand = {}
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for parameter, name in names.items():
        found = by_hand.get(parameter, by_autograd[parameter])
        places, largest = drawn(found, entries, generator), found.abs().max().item()
        scale = largest or 1.0
        own = (found - by_autograd[parameter]).abs().max().item() / scale if by_hand else None
        errors, doubtful = torch.full((len(places),), torch.inf, dtype=torch.float64), torch.arange(len(places))
        for part in _SHRINKING:
            quotients = difference_quotients(network, loss, inputs, targets, parameter, places[doubtful], part * step)
            off = (found.flatten()[places[doubtful]] - quotients).abs() / scale
            errors[doubtful] = errors[doubtful].minimum(off.double())
            doubtful = (errors > enough).nonzero()[:, 0]
        rows.append(Row(name, tuple(parameter.shape), largest, own, errors.max().item()))
    return rows


def drawn(gradient: Tensor, entries: int, generator: torch.Generator) -> Tensor:
    """Places of the flat gradient: half the largest, since others may be 0 by dead units, half by chance."""
    by_size = gradient.flatten().abs().argsort(descending=True)[: (entries + 1) // 2]
    by_chance = torch.randperm(gradient.numel(), generator=generator)[: entries // 2]
    return torch.cat([by_size, by_chance]).unique()


@torch.no_grad()
def difference_quotients(
    network: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, parameter: Tensor, places: Tensor, step: float
) -> Tensor:
    """(C(w + step) - C(w - step)) / (2 step) for the entries of a parameter at `places` of its flat order."""
    flat, quotients = parameter.view(-1), []
    for place in places.tolist():
        before, costs = flat[place].item(), []
        for moved in (before + step, before - step):
            flat[place] = moved
            costs.append(loss.reduce(loss(network(inputs), targets), targets).item())
        flat[place] = before
        quotients.append((costs[0] - costs[1]) / ((before + step) - (before - step)))
    return torch.tensor(quotients, dtype=parameter.dtype)
