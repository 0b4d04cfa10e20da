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
from striate.models.stages import stages_of
from striate.tasks.backpropagation import BackpropagationTask
from striate.tasks.base import SupervisedTask
from striate.tasks.classification import ClassificationTask
from striate.tasks.segmentation import SegmentationTask, mask_weights, require_labelled

FORMAT = 1
AUTO = "auto"
TASKS: dict[str, type[SupervisedTask]] = {
    "classification": ClassificationTask,
    "backpropagation": BackpropagationTask,
    "segmentation": SegmentationTask,
}
PIXELS = "segmentation"  # the kind of data, and of task, where every pixel has a label
_EXAMPLES = {True: "model=segnet", False: "model=resnet18"}


def choose_task(config: dict[str, Any], meta: Meta) -> None:
    """Puts into a configuration the task that the data ask for, and the figure that selects, where they are `auto`.

    Raises:
        ConfigurationError: a task that is not for these data.
    """
    task = config["task"]
    if task["kind"] == AUTO:
        task["kind"] = meta.kind
    if (task["kind"] == PIXELS) != (meta.kind == PIXELS):
        labels = "a label for every pixel" if meta.kind == PIXELS else "one label a picture"
        raise ConfigurationError(
            f"task={task['kind']} is not for {meta.name}, which has {labels}", nearest=f"task={meta.kind}"
        )
    watchers = [config["monitor"], config["scheduler"], *config["callbacks"].values()]
    for node in watchers:
        for key in {"metric", "monitor"} & set(node or ()):
            if node[key] == AUTO:
                node[key] = TASKS[task["kind"]].monitor


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
        require_labels(network, meta)
        try:
            network.eval()(torch.empty(1, *shape))
        except (ValueError, RuntimeError) as error:
            key = "data.prepare.image_size" if meta.pack == "array" else "data.input_size"
            raise ConfigurationError(
                f"{type(network).__name__} does not take the {shape[1]}×{shape[2]} pictures of {meta.name}: "
                f"{' '.join(str(error).split())[:300]}",
                do=f"bring them to another size: {key}=SIDE",
            ) from error


def require_labels(network: nn.Module, meta: Meta) -> None:
    """Refuses a network that says one label a picture where every pixel has one, and the other way round.

    Raises:
        ConfigurationError: the network is not for these data.
    """
    wanted, said = meta.kind == PIXELS, getattr(network, "labels_pixels", None)
    if said is not None and said != wanted:
        what = ("one label a picture", "a label for every pixel")
        raise ConfigurationError(
            f"{type(network).__name__} gives {what[said]}, {meta.name} has {what[wanted]}",
            nearest=_EXAMPLES[wanted],
            do="choose such a network" + (": fcn8s, segnet, unet, deeplab_v3 … in conf/model" if wanted else ""),
        )


def task_kind(node: Mapping[str, Any], meta: Meta) -> str:
    """The task that a configuration or, where it leaves that open, the data choose.

    Raises:
        ConfigurationError: there is no such task.
    """
    kind = str(node.get("kind", "classification"))  # older checkpoints do not say
    kind = meta.kind if kind == AUTO else kind
    if kind not in TASKS:
        raise ConfigurationError(f"task.kind={kind}: there is no such task", nearest=nearest(kind, TASKS))
    return kind


def stage_rates(network: nn.Module, decay: float) -> dict[str, float]:
    """The factor of the rate of each module, by name: of the classifier 1, of each stage `decay` of the next one's
    (discriminative fine-tuning: Howard, Ruder 2018, arXiv:1801.06146, sec. 3.2)."""
    if decay == 1.0:
        return {}
    stages = list(stages_of(network).values())
    return {name: decay ** (len(stages) - 1 - index) for index, own in enumerate(stages) for name in own}


def splits_used(config: Mapping[str, Any]) -> set[str]:
    """The splits that a training looks at."""
    looks = {"train": True, "val": config["trainer"]["limit_val_batches"] != 0, "test": config["test"]}
    return {split for split, wanted in looks.items() if wanted}


def build_task(
    config: Mapping[str, Any],
    network: nn.Module,
    meta: Meta,
    preprocessing: Preprocessing,
    *,
    class_counts: list[int] | None = None,
    code: Mapping[str, Any] | None = None,
    trains: bool = True,
) -> SupervisedTask:
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
        DataError: masks without a label in a split that training uses.
    """
    require_labelled(meta, splits_used(config) if trains else ())
    counts = class_counts or list(meta.counts["train"])
    record = {
        "format": FORMAT,
        "config": masked(config),
        "meta": meta.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        "class_counts": counts,
        "code": dict(code or {}),
    }
    kind = task_kind(config["task"], meta)
    if trains and kind == "backpropagation":
        BackpropagationTask.require(config["trainer"])
    rate = config["task"].get("backbone_rate", 1.0)
    if trains and rate != 1.0 and not isinstance(getattr(network, "backbone", None), nn.Module):
        raise ConfigurationError(
            f"task.backbone_rate={rate}: {type(network).__name__} has no backbone", nearest="task.backbone_rate=1"
        )
    loss = config["loss"]
    if meta.labelling is not None:
        loss, counts = mask_weights(loss, meta.labelling), meta.labelling["pixels"]["train"]
    return TASKS[kind](
        network,
        preprocessing,
        meta.num_classes,
        build(loss, "loss", class_counts=counts),
        optimizer=build(config["optimizer"], "optimizer") if trains else None,
        scheduler=build(config["scheduler"], "scheduler") if trains else None,
        seed=config["seed"],
        decay_depthwise=config["task"]["decay_depthwise"],
        backbone_rate=rate,
        bias_rate=config["task"].get("bias_rate", 1.0),
        rates=stage_rates(network, config["init"].get("stage_decay", 1.0)) if trains else None,
        record=record,
    )
