"""A step of a training on nothing, to see what memory it takes."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.fabric import Fabric

from striate.data.loading import Batch
from striate.tasks.base import SupervisedTask
from striate.tasks.segmentation import SegmentationTask


def step_fits(task: SupervisedTask, config: Mapping[str, Any], shape: tuple[int, ...], part: int) -> bool:
    """Whether `trial_step` finds the memory that it needs on a GPU."""
    try:
        trial_step(task, config, shape, part)
        torch.cuda.synchronize()
    except torch.OutOfMemoryError:
        return False
    finally:
        task.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    return True


def trial_step(task: SupervisedTask, config: Mapping[str, Any], shape: tuple[int, ...], part: int) -> None:
    """A step of the training on so many pictures without content, where the network is: all heads, loss, precision.

    Args:
        task: in its first state; it has learnt nonsense afterwards.
        config: of the training.
        shape: (channels, height, width) of what the network sees.
        part: pictures that a device computes at a time.
    """
    (channels, height, width), device = shape, next(task.parameters()).device
    precision = Fabric(accelerator=device.type, devices=1, precision=config["trainer"]["precision"]).strategy.precision
    precision.convert_module(task.train())
    if config["channels_last"]:
        task.network.to(memory_format=torch.channels_last)
    images = torch.zeros(part, height, width, channels, dtype=torch.uint8, device=device)
    targets = images[..., 0] if isinstance(task, SegmentationTask) else images[:, 0, 0, 0].long()
    assert task.optimizer_factory is not None
    optimizer = task.optimizer_factory(task.parameter_groups())
    with precision.forward_context():
        _, each = task.losses(Batch(images, targets, torch.arange(part)))
        loss = task.loss.reduce(each, targets)
    loss.backward()
    optimizer.step()
