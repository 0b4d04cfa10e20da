"""What an unfinished run of the same command has chosen, and how choices are put into a configuration."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from omegaconf import DictConfig, OmegaConf, open_dict

from striate import resumption, runs
from striate.configuration import compose, masked, plain
from striate.data.meta import Meta
from striate.errors import StriateError
from striate.messages import say
from striate.pipelines import starting
from striate.pipelines.situation import Option
from striate.tasks.building import choose_task

# Key → value (as in the configuration, not resolved) and reason.
Chosen: TypeAlias = dict[str, list[Any]]
SEARCHES = ("find_lr", "find_batch_size")


def recall(cfg: DictConfig, keys: Sequence[str], meta: Meta) -> Chosen | None:
    """The choices of the newest unfinished run that computes what `cfg` with them would compute; None if there is none.

    Args:
        cfg: as composed, with the searches that it asks for.
        keys: what it leaves to be chosen.
        meta: of the data; another set would be chosen for otherwise.
    """
    if cfg.resume == "never":
        return None
    here = {"data": meta.hash, "code": str(runs.code_version()["hash"])}
    for name, before, hashes in resumption.unfinished(plain(cfg)):
        reasons = before.get("chosen") or {}
        if set(reasons) != set(keys):
            continue
        chosen = {key: [_select(before, key), reason] for key, reason in reasons.items()}
        own = cfg.copy()
        write(own, chosen)
        config = plain(own)
        try:
            starting.settle(config)
            choose_task(config, meta)
            resumption.require_same(before, masked(config))
            resumption.require_same_hashes(hashes, here, config, name)
        except StriateError:
            continue
        said = ", ".join(f"{key} = {value}" for key, (value, _) in chosen.items() if not isinstance(value, Mapping))
        say(f"As the unfinished {name} has chosen: {said}")
        return chosen
    return None


def write(cfg: DictConfig, chosen: Chosen) -> None:
    """Puts all choices into a configuration, which then leaves nothing to be chosen."""
    for key, (value, _) in chosen.items():
        if has(cfg, key):
            put(cfg, key, value)
    with open_dict(cfg):
        cfg.chosen = {key: reason for key, (_, reason) in chosen.items()}
        cfg.choose = []
        for flag in SEARCHES:
            cfg[flag] = False


def has(cfg: DictConfig, key: str) -> bool:
    """Whether a configuration has a key: that of a callback, say, is there with the callback alone."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return isinstance(node, DictConfig) and name in node


def put(cfg: DictConfig, key: str, value: Any) -> None:
    """Gives a key a value; an option of a group is what its file says, what was typed below the group stays."""
    if isinstance(value, Option):
        node = compose("train", [f"{key}={value.name}", "recipe=none"], strict=False)[key]
        typed = [word for word in starting.typed_keys() if word.startswith(f"{key}.")]
        with open_dict(node):
            value = OmegaConf.merge(node, dict(value.changes))
            for word in typed:
                OmegaConf.update(value, word.removeprefix(f"{key}."), OmegaConf.select(cfg, word), force_add=True)
    with open_dict(cfg):
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)


def value_of(cfg: DictConfig, key: str) -> Any:
    """A value as plain data, references to other keys left as they are."""
    node = OmegaConf.select(cfg, key) if has(cfg, key) else None
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node


def _select(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
