"""From a resolved configuration and the data's passport to a task."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from striate.configuration import build, masked
from striate.data.meta import Meta
from striate.data.preprocessing import Preprocessing
from striate.errors import ConfigurationError
from striate.tasks.classification import ClassificationTask

FORMAT = 1


def build_network(model: Mapping[str, Any], meta: Meta, seed: int) -> nn.Module:
    """The network of a configuration for these data, with weights that only the seed decides."""
    torch.manual_seed(seed)
    return build(model, "model", num_classes=meta.num_classes, in_channels=meta.channels)


@torch.no_grad()
def require_picture_size(model: Mapping[str, Any], meta: Meta, shape: tuple[int, int, int]) -> None:
    """Lets a network without memory see a picture without content, before anything is made or written.

    Raises:
        ConfigurationError: the network does not take pictures of this shape (channels, height, width).
    """
    with torch.device("meta"):
        network = build(model, "model", num_classes=meta.num_classes, in_channels=meta.channels)
        try:
            network.eval()(torch.empty(1, *shape))
        except (ValueError, RuntimeError) as error:
            key = "data.prepare.image_size" if meta.pack == "array" else "data.input_size"
            raise ConfigurationError(
                f"{type(network).__name__} does not take the {shape[1]}×{shape[2]} pictures of {meta.name}: "
                f"{' '.join(str(error).split())[:300]}",
                do=f"bring them to another size: {key}=SIDE",
            ) from error


def build_task(
    config: Mapping[str, Any],
    network: nn.Module,
    meta: Meta,
    preprocessing: Preprocessing,
    *,
    class_counts: list[int] | None = None,
    code: Mapping[str, Any] | None = None,
    trains: bool = True,
) -> ClassificationTask:
    """The task of a configuration.

    Args:
        config: the resolved configuration as plain data; it goes into every checkpoint.
        network: what is trained or evaluated.
        meta: the passport of the data it is for.
        preprocessing: from a picture to the network's input.
        class_counts: training samples a class as they are used, for balanced weights; from `meta` when None.
        code: revision and hash of the source code, for the record.
        trains: False leaves optimizer and scheduler out.
    """
    counts = class_counts or list(meta.counts["train"])
    record = {
        "format": FORMAT,
        "config": masked(config),
        "meta": meta.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        "class_counts": counts,
        "code": dict(code or {}),
    }
    return ClassificationTask(
        network,
        preprocessing,
        meta.num_classes,
        build(config["loss"], "loss", class_counts=counts),
        optimizer=build(config["optimizer"], "optimizer") if trains else None,
        scheduler=build(config["scheduler"], "scheduler") if trains else None,
        seed=config["seed"],
        decay_depthwise=config["task"]["decay_depthwise"],
        record=record,
    )
