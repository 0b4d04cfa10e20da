"""The rules by which `choose=[KEY, …]` chooses how is trained: functions of data, weights and machine alone."""

import math
from typing import Any

from striate.pipelines.situation import Choice, Data, Machine, Option, Weights

UNBALANCED = 2.0  # the most frequent class over the rarest, from which on classes are weighted
RARE = 20.0  # the same, from which on a rare class is not given all the weight that balances it
UNBALANCED_PIXELS = 10.0  # likewise of pixels, of which one class always has most
FINE_ENOUGH = 100  # validation pictures: below, accuracy moves in leaps, and the loss selects
LARGEST_BATCH = {True: 128, False: 64}  # on a GPU, on a CPU; with masks a quarter
STEPS_AN_EPOCH = 10  # at least, for the sake of which a batch is smaller
EPOCHS = {True: 1000, False: 2000}  # over the root of the number of pictures: with weights, from scratch
LEAST_EPOCHS, MOST_EPOCHS = 5, {True: 60, False: 150}
# From scratch, for the usual batch: of pictures with one label, and of pictures with masks.
RATES = {"adam": {False: 0.001, True: 0.003}, "sgd": {False: 0.1, True: 0.05}}
USUAL_BATCH = {False: 64, True: 8}
LEARNT = {"adam": 3, "sgd": 5}  # by which the rate is divided for weights that have learnt
UNNORMALISED = {"adam": 3, "sgd": 10}  # likewise for networks without batch norm: 0.01 in AlexNet and VGG


def class_weights(data: Data, sampling: str = "uniform") -> Choice:
    """`loss.class_weights`: balanced where one class has far more than another, and draws do not make up for it."""
    if sampling == "balanced":
        return Choice(None, "data.sampling=balanced draws all classes equally often already")
    most, least = max(data.counts), max(min(data.counts), 1)
    ratio, what = most / least, "pixels" if data.pixels else "pictures"
    said = f"the most frequent class has {ratio:.3g} times the {what} of the rarest ({most:,} and {least:,})"
    if ratio < (UNBALANCED_PIXELS if data.pixels else UNBALANCED):
        return Choice(None, said)
    if data.pixels or ratio <= RARE:
        return Choice("median_frequency" if data.pixels else "balanced", said)
    roots = [math.sqrt(max(count, 1)) for count in data.counts]
    weights = [float(f"{sum(data.counts) / sum(roots) / root:.3g}") for root in roots]
    return Choice(weights, f"{said}: by the root of the counts, lest single pictures rule")


def monitor(data: Data) -> Choice | None:
    """`monitor`: accuracy, or what stands for it where validation is small or classes are unbalanced."""
    if data.pixels:
        return None
    if data.validation < FINE_ENOUGH:
        reason = f"{data.validation} validation pictures: accuracy moves in leaps"
        return Choice({"metric": "val/loss", "mode": "min"}, reason)
    if class_weights(data).value is not None:
        return Choice({"metric": "val/recall_macro", "mode": "max"}, "unbalanced classes: the mean of their recalls")
    return Choice({"metric": "val/top1_micro", "mode": "max"}, f"{data.validation} validation pictures")


def largest_batch(data: Data, machine: Machine) -> int:
    """The batch that a search in the memory need not go beyond."""
    most = LARGEST_BATCH[machine.gpu] // (4 if data.pixels else 1)
    return min(most, max(8, data.samples // STEPS_AN_EPOCH), data.samples)


def max_epochs(data: Data, weights: Weights | None) -> Choice:
    """`trainer.max_epochs`: a limit; early stopping may end before it."""
    epochs = round(EPOCHS[weights is not None] / math.sqrt(max(data.samples, 1)))
    start = "from scratch" if weights is None else "with first weights"
    reason = f"a limit for {data.samples:,} pictures {start}; early stopping may end before"
    return Choice(min(max(epochs, LEAST_EPOCHS), MOST_EPOCHS[weights is not None]), reason)


def patience(epochs: int) -> Choice:
    """`callbacks.early_stopping.patience`: a third of the limit."""
    return Choice(max(5, epochs // 3), f"a third of {epochs} epochs")


def precision(machine: Machine) -> Choice:
    """`trainer.precision`: what the device multiplies fast."""
    name = "this GPU" if machine.gpu else "this CPU"
    if machine.bfloat16:
        return Choice("bf16-mixed", f"{name} multiplies bfloat16")
    return Choice("16-mixed" if machine.gpu else "32-true", f"{name} does not multiply bfloat16")


def optimizer(data: Data, normalised: bool) -> Choice:
    """`optimizer`: momentum for classifiers with batch norm, which bear its rates; else a rate for each weight."""
    if data.pixels:
        return Choice(Option("adamw"), "pictures with masks")
    if normalised:
        return Choice(Option("nesterov"), "a classifier with batch norm, which bears the rates of momentum")
    return Choice(Option("adamw"), "a network without batch norm")


def rate(
    data: Data, optimizer: str, batch: int, weights: Weights | None, train: Any, normalised: bool
) -> Choice | None:
    """`optimizer.lr`: of the optimizer's family, for the batch; None for an optimizer of another family.

    Args:
        data: whether a picture has one label or many.
        optimizer: the name of its class.
        batch: samples of a step.
        weights: first weights, which a high rate would destroy.
        train: what learns: `head` bears more.
        normalised: whether the network has batch norm, without which it bears less.
    """
    family = "adam" if "adam" in optimizer.lower() or "rms" in optimizer.lower() else "sgd"
    if "sgd" not in optimizer.lower() and family == "sgd":
        return None
    usual = USUAL_BATCH[data.pixels]
    ratio = batch / usual
    value = RATES[family][data.pixels] * (math.sqrt(ratio) if family == "adam" else ratio)
    said = f"{RATES[family][data.pixels]} for a batch of {usual}"
    if batch != usual:
        said += f", times {'the root of ' if family == 'adam' else ''}{batch}/{usual}"
    if weights is not None and train != "head":
        value, said = value / LEARNT[family], f"{said}, over {LEARNT[family]} for weights that have learnt"
    if not normalised:
        value, said = value / UNNORMALISED[family], f"{said}, over {UNNORMALISED[family]} without batch norm"
    return Choice(float(f"{value:.2g}"), said)


def workers(data: Data, machine: Machine) -> Choice:
    """`data.num_workers`: as the data module decides it, said here."""
    if data.whole:
        return Choice("auto", "none: arrays are read in whole batches")
    return Choice("auto", f"{min(8, machine.cores)}, one a core: pictures are decoded")
