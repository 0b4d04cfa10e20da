"""The words of `train.py` that a study puts together."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from striate.configuration import compose, plain
from striate.configuration.composition import FOLDER as CONF
from striate.configuration.explaining import explain
from striate.configuration.origin import Invocation
from striate.errors import ConfigurationError

_SEED = "{seed}"


def filled(word: str, entries: Mapping[str, Any]) -> str:
    """The word with `{entry}` replaced by its value."""
    for key, value in entries.items():
        word = word.replace(f"{{{key}}}", str(value))
    return word


def quoted(value: object) -> str:
    """A value as Hydra's grammar reads it back, whatever characters it has."""
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def merged(words: Sequence[str]) -> tuple[str, ...]:
    """The words with only the last of those that set the same key: Hydra takes no key twice."""
    last = {word.partition("=")[0].lstrip("+"): word for word in words}
    return tuple(last.values())


def composed(words: Sequence[str], command: str = "train") -> dict[str, Any]:
    """The resolved configuration of a command, also within another one, as plain data.

    Raises:
        ConfigurationError: as the command would say it.
    """
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    state = GlobalHydra.instance()
    outer, state.hydra = state.hydra, None  # of the command that this is called from
    try:
        return plain(compose(command, words))
    except HydraException as error:
        raise explain(error, Invocation(command, CONF, list(words))) or error from error
    finally:
        state.hydra = outer


def first_seed(template: Sequence[str]) -> dict[str, Any]:
    """The configuration of words with `{seed}` in them, for seed 0.

    Raises:
        ConfigurationError: as `train.py` would say it, or a word in which `{seed}` is not the whole value.
    """
    for word in template:
        if _SEED in word and word.partition("=")[2] != _SEED:
            raise ConfigurationError(f"{word}: {_SEED} must be the whole value", do=f"KEY={_SEED}")
    return composed([filled(word, {"seed": 0}) for word in template])


def of_seed(first: Mapping[str, Any], template: Sequence[str], seed: int) -> dict[str, Any]:
    """That configuration with another seed, without composing it again, which takes a tenth of a second."""
    config = copy.deepcopy(dict(first))
    for key in (word.partition("=")[0].lstrip("+") for word in template if _SEED in word):
        *parents, last = key.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[last] = seed
    return config
