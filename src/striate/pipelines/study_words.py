"""The words of `train.py` that a study puts together."""

from collections.abc import Mapping, Sequence
from typing import Any

from striate.configuration import compose, plain
from striate.configuration.composition import FOLDER as CONF
from striate.configuration.explaining import explain
from striate.configuration.origin import Invocation


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


def composed(words: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of a training, as plain data.

    Raises:
        ConfigurationError: as `train.py` would say it.
    """
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    state = GlobalHydra.instance()
    outer, state.hydra = state.hydra, None  # of the command that this is called from
    try:
        return plain(compose("train", words))
    except HydraException as error:
        raise explain(error, Invocation("train", CONF, list(words))) or error from error
    finally:
        state.hydra = outer
