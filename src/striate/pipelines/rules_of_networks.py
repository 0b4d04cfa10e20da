"""The rules by which `choose=[KEY, …]` chooses what is trained: functions of data, weights and machine alone."""

from collections.abc import Callable

from striate.pipelines.situation import Choice, Data, Machine, Option, Weights

SMALL = 48  # pixels: up to here the network for CIFAR; above, one whose stem divides by 4
PRETRAINED_FROM = 64  # pixels: for smaller pictures the public weights, of 224, are no use
FEW_A_CLASS = 10  # pictures: below, only the head can be learnt
SOME_A_CLASS = 50  # pictures: below, stages join one after another
GRID = 32  # pixels: sizes are multiples, as the strides of most networks
CPU_SIDE, GPU_SIDE = 96, 224  # pixels, from scratch
LARGE = 128  # pixels: what was learnt from smaller pictures may be shown larger ones
WINDOW = 256  # pixels, of pictures with masks
MINUTES = 20.0  # that a training on a CPU may be thought to take, for the sake of which pictures are smaller
SPEED = {True: 6e10, False: 2e10}  # multiply-adds a second and core of a CPU with bfloat16, and without
NARROW = [32, 64, 128, 256]  # half of ResNet-18's widths


def network(data: Data, machine: Machine, weights: Weights | None) -> Choice:
    """`model`: that of the checkpoint; else by the size of the pictures, the weights there are, and the device."""
    if weights is not None and weights.model is not None:
        return Choice(dict(weights.model), f"the network of {weights.source}")
    device = "a GPU" if machine.gpu else "a CPU"
    if data.pixels:
        return _labelling_network(data, machine, weights, device)
    if weights is not None:
        name = "resnet50" if machine.gpu else "resnet18"
        return Choice(Option(name), f"{weights.source} has weights of it, and this is {device}")
    if data.side <= SMALL:
        return Choice(Option("resnet20"), f"from scratch, pictures of {data.side} pixels: the network for CIFAR")
    narrow = {} if machine.gpu else {"widths": NARROW}
    return Choice(Option("resnet18", narrow), f"from scratch on {device}{': of half the width' if narrow else ''}")


def _labelling_network(data: Data, machine: Machine, weights: Weights | None, device: str) -> Choice:
    if weights is not None:
        changes = {} if machine.gpu else {"backbone": {"depth": 18}}
        return Choice(Option("unet_resnet34", changes), f"{weights.source} fits its backbone, and this is {device}")
    if data.side <= LARGE:
        small = {"widths": [16, 32, 64, 64], "padding": "same", "batch_norm": True, "dropout": 0.0}
        return Choice(Option("unet", small), f"from scratch, pictures of {data.side} pixels: a small one")
    narrow = {} if machine.gpu else {"backbone": {"depth": 18, "widths": NARROW}, "widths": [96, 64, 48, 32, 16]}
    return Choice(
        Option("unet_resnet34", narrow), f"from scratch on {device}{'' if machine.gpu else ': of half the width'}"
    )


def input_size(
    data: Data, machine: Machine, weights: Weights | None, epochs: int, cost: Callable[[int], int]
) -> Choice | None:
    """`data.input_size`: what the weights expect, no more than the pictures have, on a CPU no more than it bears.

    Args:
        data: whose pictures differ in size, or have masks: for an array pack of classes there is nothing to choose.
        machine: where it runs.
        weights: what they expect.
        epochs: the limit of the training.
        cost: multiply-adds of the network for a picture of so many pixels each way.
    """
    if data.whole and not data.pixels:
        return None
    if data.pixels:
        wanted, reason = WINDOW, "a window, the pictures being evaluated whole"
    elif weights is not None and weights.side is not None:
        # Weights learnt from small pictures find more in larger ones, as long as they know what they see.
        wanted = weights.side if weights.side > LARGE else min(2 * weights.side, LARGE)
        reason = f"{weights.source} was learnt from {weights.side} pixels"
    else:
        wanted, reason = (GPU_SIDE, "usual") if machine.gpu else (CPU_SIDE, "from scratch on a CPU")
    size = min(wanted, max(GRID, data.side // GRID * GRID))
    if size < wanted:
        reason += f"; pictures have a short side of {data.side}"
    if machine.gpu:
        return Choice(size, reason)
    sizes = [side for side in range(size, GRID - 1, -GRID) if side == size or 2 * side >= wanted]
    times = [minutes(data, machine, epochs, cost(side)) for side in sizes]
    bearable = next((place for place, time in enumerate(times) if time <= MINUTES), len(sizes) - 1)
    if bearable:
        reason += f"; {size} would take some {times[0]:.0f} minutes on this CPU"
    return Choice(sizes[bearable], f"{reason}; all epochs take some {max(times[bearable], 1):.0f} minutes")


def minutes(data: Data, machine: Machine, epochs: int, mult_adds: int) -> float:
    """What a training on a CPU takes, roughly: the backward pass counts twice."""
    return 3 * mult_adds * data.samples * epochs / (SPEED[machine.bfloat16] * machine.cores) / 60


def augmentation(data: Data) -> Choice | None:
    """`augmentation`: small pictures have their own; those of photographs are the data set's."""
    if data.pixels or not data.whole:
        return None
    if data.channels == 1:
        return Choice(Option("digits"), "grey pictures of one size: perhaps signs, which a mirror image would change")
    return Choice(Option("crop_flip"), "pictures of one size: shifts and mirror images, as for CIFAR")


def trained(data: Data, weights: Weights | None) -> Choice:
    """`init.train`: what learns."""
    if weights is not None and data.per_class < FEW_A_CLASS:
        return Choice("head", f"{data.per_class:.3g} pictures a class are too few for more than a new head")
    return Choice("all", "from scratch" if weights is None else f"{data.per_class:.3g} pictures a class")


def unfreeze_every(data: Data, weights: Weights | None, epochs: int) -> Choice:
    """`init.unfreeze_every`: with some pictures the head learns first, and a stage more after so many epochs each."""
    if weights is None or not FEW_A_CLASS <= data.per_class < SOME_A_CLASS:
        return Choice(None, "all that learns does so from the first epoch")
    return Choice(max(1, epochs // 10), f"{data.per_class:.3g} pictures a class: the head first, then stage by stage")


def stage_decay(data: Data, weights: Weights | None) -> Choice:
    """`init.stage_decay`: with few pictures early stages, whose features are general, move less."""
    if weights is None:
        return Choice(1.0, "from scratch: one rate")
    if data.per_class >= SOME_A_CLASS:
        return Choice(1.0, f"{data.per_class:.3g} pictures a class: one rate")
    return Choice(0.7, f"{data.per_class:.3g} pictures a class: early stages, which are general, learn less")
