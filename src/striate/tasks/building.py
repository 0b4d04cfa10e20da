"""From a resolved configuration and the data's passport to a task."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from striate.configuration import build, masked
from striate.configuration.targets import NAMESPACES, locate, parameters
from striate.data.meta import Meta
from striate.data.preprocessing import Preprocessing
from striate.errors import ConfigurationError, nearest
from striate.tasks.backpropagation import BackpropagationTask
from striate.tasks.classification import ClassificationTask

FORMAT = 1
TASKS: dict[str, type[ClassificationTask]] = {
    "classification": ClassificationTask,
    "backpropagation": BackpropagationTask,
}


def construct_network(
    model: Mapping[str, Any],
    meta: Meta,
    image_size: tuple[int, int] | None = None,
    *,
    namespaces: Sequence[str] = NAMESPACES,
) -> nn.Module:
    """The network of a configuration for these data: what the data decide is handed over, never typed.

    Args:
        model: the node with `_target_`.
        meta: the passport of the data: classes and channels.
        image_size: (height, width) of what the network sees, for networks whose weights depend on it (the perceptron);
            None: of an array pack's pictures.
        namespaces: where the class may lie; fewer for what comes out of a file.

    Raises:
        ConfigurationError: the node is not valid, or its class refuses the values.
    """
    given: dict[str, Any] = {"num_classes": meta.num_classes, "in_channels": meta.channels}
    size = image_size or meta.image_size
    target = model.get("_target_")
    # Others mean other things by this name, and are told by the configuration.
    if size is not None and str(target).startswith("striate.") and "image_size" not in model:
        accepted, _ = parameters(locate(target, ("model",), namespaces))
        if "image_size" in accepted:
            given["image_size"] = size
    return build(model, "model", namespaces=namespaces, **given)


def build_network(
    model: Mapping[str, Any], meta: Meta, seed: int, image_size: tuple[int, int] | None = None
) -> nn.Module:
    """The network of a configuration for these data, with weights that only the seed decides."""
    torch.manual_seed(seed)
    return construct_network(model, meta, image_size)


@torch.no_grad()
def require_picture_size(model: Mapping[str, Any], meta: Meta, shape: tuple[int, int, int]) -> None:
    """Lets a network without memory see a picture without content, before anything is made or written.

    Raises:
        ConfigurationError: the network does not take pictures of this shape (channels, height, width).
    """
    with torch.device("meta"):
        network = construct_network(model, meta, shape[1:])
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

    Raises:
        ConfigurationError: a kind of task that there is not, or a network or Trainer that does not go with it.
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
    kind = str(config["task"].get("kind", "classification"))  # older checkpoints do not say
    if kind not in TASKS:
        raise ConfigurationError(f"task.kind={kind}: there is no such task", nearest=nearest(kind, TASKS))
    if trains and kind == "backpropagation":
        BackpropagationTask.require(config["trainer"])
    return TASKS[kind](
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
