"""Stages by name or number, as a person writes them."""

from collections.abc import Sequence

from torch import nn

from striate.errors import ConfigurationError, nearest
from striate.models.stages import stages_of

__all__ = ["first_stages", "modules_of", "stage_named", "stages_of"]


def stage_named(network: nn.Module, word: str | int, key: str) -> str:
    """The name of the stage that a word means.

    Args:
        network: any network.
        word: a stage's name, or its number: from 1 at the picture, from -1 at the logits.
        key: of the configuration, for the message.

    Raises:
        ConfigurationError: there is no such stage; the message has the nearest name, or the range.
    """
    stages = list(stages_of(network))
    number = _number(word)
    if number is None and word in stages:
        return str(word)
    if number is None:
        raise _unknown(network, word, key, stages, stages)
    if number == 0 or abs(number) > len(stages):
        raise ConfigurationError(
            f"{key}: {type(network).__name__} has {len(stages)} stages, hence none of number {number}",
            nearest=str(max(1, min(abs(number), len(stages))) * (-1 if number < 0 else 1)),
            do=f"count from 1 at the picture or from -1 at the logits: {', '.join(stages)}",
        )
    return stages[number - 1 if number > 0 else number]


def modules_of(network: nn.Module, words: Sequence[str | int], key: str) -> tuple[str, ...]:
    """The names of the modules that words mean: stages by name or number, or modules, dotted if nested.

    A stage comes before a module of its name.

    Raises:
        ConfigurationError: there is neither; the message has the nearest name.
    """
    stages, modules = stages_of(network), [name for name, _ in network.named_modules() if name]
    found: list[str] = []
    for word in words:
        if _number(word) is not None or word in stages:
            found += stages[stage_named(network, word, key)]
        elif word in modules:
            found.append(str(word))
        else:
            raise _unknown(network, word, key, [*stages, *modules], list(stages))
    return tuple(dict.fromkeys(found))


def first_stages(network: nn.Module, count: int, key: str) -> tuple[str, ...]:
    """The names of the modules of the first so many stages.

    Raises:
        ConfigurationError: the network has fewer.
    """
    stages = stages_of(network)
    if not 1 <= count <= len(stages):
        raise ConfigurationError(
            f"{key}={count}: {type(network).__name__} has {len(stages)} stages",
            nearest=f"{key}={min(max(count, 1), len(stages))}",
            do=f"they are, from the picture on: {', '.join(stages)}",
        )
    return tuple(module for own in list(stages.values())[:count] for module in own)


def _number(word: str | int) -> int | None:
    try:
        return int(word)
    except ValueError:
        return None


def _unknown(
    network: nn.Module, word: str | int, key: str, choices: Sequence[str], stages: Sequence[str]
) -> ConfigurationError:
    return ConfigurationError(
        f"{key}: {type(network).__name__} has no stage {word!r}",
        nearest=nearest(word, stages) or nearest(word, choices),
        do=f"choose among {', '.join(stages)}, or their numbers from 1 to {len(stages)}",
    )
