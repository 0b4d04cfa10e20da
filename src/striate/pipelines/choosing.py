"""`choose=[KEY, …]`: values that data, weights and machine decide, chosen once, said with their reasons, remembered."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from striate.configuration import FOLDER, plain
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError, nearest
from striate.messages import is_main_process, say
from striate.pipelines import recalling, starting, tuning
from striate.pipelines.case import Case
from striate.pipelines.devices import require_devices
from striate.pipelines.recalling import Chosen
from striate.pipelines.rules import RULES, searched_rate

# The first process chooses; those that it starts find its choices here.
_HANDED_DOWN = "STRIATE_CHOSEN"
_SEARCHED = {"find_batch_size": "data.batch_size", "find_lr": "optimizer.lr"}
_NOT_ASKED = "there is nothing to choose"


def settled(cfg: Any, make: Callable[[Mapping[str, Any]], ImageDataModule]) -> tuple[dict[str, Any], ImageDataModule]:
    """The configuration with all that it left to be chosen, as plain data, and the data module that is made of it.

    What was chosen stands in `chosen`, each key with its reason, and nothing is left in `choose`: whoever repeats or
    resumes this configuration does not choose anew. Unfinished runs of the same command are asked first.

    Args:
        cfg: as composed.
        make: from a plain configuration to its data module.

    Raises:
        ConfigurationError: a key that nobody can choose, or several processes of which each would choose for itself.
    """
    config = plain(cfg)
    require_devices(config["trainer"])
    datamodule = make(config)
    keys = keys_to_choose(config, typed_keys())
    if not keys or (config["plan"] and not (datamodule.folder / "meta.json").is_file()):
        return config, datamodule
    cfg = cfg.copy() if isinstance(cfg, DictConfig) else OmegaConf.create(config)
    if is_main_process():
        tuning.require_possible(config)
        datamodule.prepare_data(only_missing=config["plan"])  # which writes nothing
        chosen = recalling.recall(cfg, keys, datamodule.meta)
        if chosen is None:
            chosen = choose(cfg, keys, Case(cfg, make, keys))
        os.environ[_HANDED_DOWN] = json.dumps(chosen)
    else:
        chosen = handed_down()
    recalling.write(cfg, chosen)
    config = plain(cfg)
    return config, make(config)


def keys_to_choose(config: Mapping[str, Any], typed: Sequence[str]) -> list[str]:
    """What is to be chosen, in the order of the rules: what was typed is not.

    Raises:
        ConfigurationError: a key for which there is no rule.
    """
    for key in config["choose"]:
        if key not in RULES:
            raise ConfigurationError(
                f"choose: {key!r} is nothing that can be chosen", nearest=nearest(key, RULES), do=", ".join(RULES)
            )
    asked = {key for key in config["choose"] if not is_pinned(key, typed)}
    asked |= {key for flag, key in _SEARCHED.items() if config[flag]}
    return [key for key in RULES if key in asked]


def is_pinned(key: str, typed: Sequence[str]) -> bool:
    """Whether a key, or something below it, was typed. How weights are trained does not say which."""
    how = ("init.train", "init.freeze", "init.unfreeze_every", "init.stage_decay") if key == "init" else ()
    return any(f"{word}.".startswith(f"{key}.") and word not in how for word in typed)


def typed_keys() -> list[str]:
    """What the command line gives a value, itself or by `debug=…`."""
    words, typed = starting.typed_words(), list(starting.typed_keys())
    for option in (word.partition("=")[2] for word in words if word.startswith("debug=")):
        content = yaml.safe_load((FOLDER / "debug" / f"{option}.yaml").read_text(encoding="utf-8"))
        typed += [key.removeprefix("override /") for entry in content.pop("defaults", []) for key in entry]
        typed += [f"{key}.{inner}" for key, node in content.items() if isinstance(node, dict) for inner in node]
    return typed


def choose(cfg: DictConfig, keys: Sequence[str], case: Case) -> Chosen:
    """Chooses one after another, each knowing what was chosen before, writes it into `cfg` and says it in a line."""
    chosen: Chosen = {}
    for key in keys:
        searched = key == "optimizer.lr" and cfg.find_lr
        rule = searched_rate if searched else RULES[key]
        choice = rule(case) if recalling.has(cfg, key) else None
        if choice is None:
            chosen[key] = [recalling.value_of(cfg, key), _NOT_ASKED]
            continue
        recalling.put(cfg, key, choice.value)
        chosen[key] = [recalling.value_of(cfg, key), choice.reason]
        flag = next((f"{flag}: " for flag, name in _SEARCHED.items() if name == key and cfg[flag]), f"{key} = ")
        say(f"{flag}{described(choice.value)}: {choice.reason}")
    return chosen


def described(value: Any) -> str:
    """A value in a line: of a network the name of its class, of other nodes what stands in them."""
    if isinstance(value, Mapping):
        return str(value["_target_"]).rpartition(".")[2] if "_target_" in value else " ".join(map(str, value.values()))
    return "null" if value is None else str(value)


def handed_down() -> Chosen:
    """What the first process chose.

    Raises:
        ConfigurationError: it did not start this one, as under torchrun.
    """
    if _HANDED_DOWN not in os.environ:
        raise ConfigurationError(
            "several processes would choose each for itself, perhaps otherwise",
            do="choose with one process first, then repeat its configuration: -cp RUN_DIRECTORY -cn config",
        )
    return json.loads(os.environ[_HANDED_DOWN])
