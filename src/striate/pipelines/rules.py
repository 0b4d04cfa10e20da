"""What `choose=[KEY, …]` can choose, in the order in which one choice depends on another."""

from collections.abc import Callable

from striate.configuration import plain
from striate.errors import ConfigurationError
from striate.pipelines import recalling, starting, tuning
from striate.pipelines import rules_of_networks as networks
from striate.pipelines import rules_of_training as training
from striate.pipelines.case import Case
from striate.pipelines.situation import Choice, Option, Weights
from striate.transfer.libraries import obtainable

_PUBLIC = {"kind": "torchvision", "weights": "IMAGENET1K_V1"}


def public_weights(case: Case) -> Choice:
    """`init`: torchvision's weights where they fit and can be had, else none; said which and why."""
    none, data = Option("none"), case.data
    if data.side < networks.PRETRAINED_FROM:
        return Choice(none, f"pictures of {data.side} pixels are too small for public weights: from scratch")
    model = case.config["model"]
    if "model" in case.keys:
        option = networks.network(data, case.machine, Weights("torchvision")).value
        own = case.cfg.copy()
        recalling.put(own, "model", option)
        model = plain(own.model)
    try:
        published = starting.library_weights({"model": model, "init": _PUBLIC})
    except ConfigurationError as error:
        return Choice(none, f"{error.what}: from scratch")
    fault = obtainable(published)
    if fault:
        return Choice(none, f"{published} cannot be had ({fault}): from scratch, with a small network")
    grey = {"grey": "sum"} if data.channels == 1 else {}
    return Choice(Option("torchvision", grey), f"{published} is at hand")


def network(case: Case) -> Choice:
    """`model`: of a file nobody knows it but the person.

    Raises:
        ConfigurationError: init=file.
    """
    init = case.config["init"]
    if init["kind"] == "file":
        raise ConfigurationError(
            "init=file does not say of which network the weights are", do="name it: model=…, as conf/model has them"
        )
    return networks.network(case.data, case.machine, case.weights)


def batch(case: Case) -> Choice:
    """`data.batch_size`: by the number of pictures, as far as the memory reaches; find_batch_size=true fills it."""
    config, data = case.settled()
    most = training.largest_batch(case.data, case.machine) if not case.cfg.find_batch_size else None
    return tuning.found_batch(config, data, most)


def rate(case: Case) -> Choice | None:
    """`optimizer.lr`: by the table of the optimizer's family; a range test where there is none."""
    config = case.config
    name, size = config["optimizer"]["_target_"].rpartition(".")[2], case.make(config).batch_size
    train = config["init"].get("train")
    choice = training.rate(case.data, name, size, case.weights, train, case.is_normalised())
    return choice or searched_rate(case)


def searched_rate(case: Case) -> Choice:
    """`optimizer.lr` by a range test."""
    return tuning.found_rate(*case.settled())


RULES: dict[str, Callable[[Case], Choice | None]] = {
    "init": public_weights,
    "model": network,
    "trainer.max_epochs": lambda case: training.max_epochs(case.data, case.weights),
    "data.input_size": lambda case: networks.input_size(case.data, case.machine, case.weights, case.epochs, case.cost),
    "augmentation": lambda case: networks.augmentation(case.data),
    "loss.class_weights": lambda case: training.class_weights(case.data, case.config["data"]["sampling"]),
    "monitor": lambda case: training.monitor(case.data),
    "init.train": lambda case: networks.trained(case.data, case.weights),
    "init.unfreeze_every": lambda case: networks.unfreeze_every(case.data, case.weights, case.epochs),
    "init.stage_decay": lambda case: networks.stage_decay(case.data, case.weights),
    "data.batch_size": batch,
    "callbacks.early_stopping.patience": lambda case: training.patience(case.epochs),
    "trainer.precision": lambda case: training.precision(case.machine),
    "optimizer": lambda case: training.optimizer(case.data, case.is_normalised()),
    "optimizer.lr": rate,
    "data.num_workers": lambda case: training.workers(case.data, case.machine),
}
