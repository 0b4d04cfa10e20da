"""What must hold of a network before its training is believed: the loss it begins with, gradients everywhere, and
answers that are each picture's own."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from striate.data.loading import Batch
from striate.optim.losses import CrossEntropy
from striate.optim.pixel_losses import PixelLoss
from striate.tasks.base import SupervisedTask

_RATE = 0.01  # of the steps that are made only to leave what is 0 at the start


@torch.no_grad()
def initial_loss(task: SupervisedTask, batch: Batch) -> float:
    """Mean negative log likelihood, in nats, of a new network that sees a batch as in training.

    Near ln K for K classes if it prefers none; more where its first logits are large.

    Args:
        task: with a new network; batch-norm statistics move.
        batch: of training pictures.
    """
    task.train()
    logits = task.classify(batch.images).double()
    labels = batch.targets.long()
    return float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=255 if labels.dim() > 1 else -100))


def has_cross_entropy(task: SupervisedTask) -> bool:
    """Whether training minimises the negative log likelihood, so that its first value means something."""
    loss = task.loss.loss if isinstance(task.loss, PixelLoss) and hasattr(task.loss, "loss") else task.loss
    return isinstance(loss, CrossEntropy)


def unreached(task: SupervisedTask, batches: Iterable[Batch]) -> list[str]:
    """The trainable parameters that no step gives a gradient other than 0, by name.

    Several steps are made, since a scale that begins at 0 stops all gradients behind it in the first one.

    Args:
        task: its weights move, by a step of plain descent a batch.
        batches: of training pictures.

    Raises:
        ValueError: nothing is trainable.
    """
    wanted = {name: parameter for name, parameter in task.network.named_parameters() if parameter.requires_grad}
    if not wanted:
        raise ValueError("expected a network with trainable parameters")
    optimizer, reached = torch.optim.SGD(wanted.values(), lr=_RATE), set[str]()
    task.train()
    for batch in batches:
        optimizer.zero_grad(set_to_none=True)
        _loss(task, batch).backward()
        reached |= {
            name for name, parameter in wanted.items()
            if parameter.grad is not None and bool(parameter.grad.isfinite().all()) and bool(parameter.grad.any())
        }  # fmt: skip
        if len(reached) == len(wanted):
            break
        optimizer.step()
    return [name for name in wanted if name not in reached]


def _loss(task: SupervisedTask, batch: Batch) -> Tensor:
    """What training minimises, auxiliary heads included."""
    _, each = task.losses(batch)
    return task.loss.reduce(each, batch.targets)


@torch.inference_mode()
def dependence_on_batch(task: SupervisedTask, images: Tensor) -> float:
    """How far the answers to pictures together are from those to each alone, over the largest logit; about 1e-6 by
    rounding alone.

    Args:
        task: is put into evaluation mode.
        images: (N, H, W, C) uint8, at least two.
    """
    task.eval()
    together = task.classify(images).double()
    alone = torch.cat([task.classify(image[None]) for image in images]).double()
    largest = float(together.abs().max())
    difference = float((together - alone).abs().max())
    if not math.isfinite(difference):
        return math.inf
    return difference / largest if largest else difference
