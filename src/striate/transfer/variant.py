"""The variant of our network whose arithmetic the weights of a library have, chosen from the configuration alone."""

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from striate.configuration.keys import path_of
from striate.configuration.targets import locate
from striate.errors import ConfigurationError, nearest
from striate.transfer.pairs import PAIRS, Pair, find_pair


def choose(
    model: Mapping[str, Any], library: str, asked: Collection[str] = (), *, key: str = "model"
) -> tuple[dict[str, Any], Pair, str]:
    """The node of the network that the weights fit.

    Args:
        model: the node with `_target_`.
        library: "torchvision" or "timm".
        asked: dotted keys that a person gave a value; what differs from the default of its class was asked for, too.
        key: the dotted key of the node.

    Returns:
        The node, the pair of networks, and a line that says what was changed (empty if nothing was).

    Raises:
        ConfigurationError: the library has no weights of this network, or they have another arithmetic than asked for.
    """
    target, options = str(model["_target_"]), options_of(model, key)
    pair = find_pair(library, target, options)
    if pair is None:
        raise _no_pair(library, target, options)
    node, line = adapted(model, pair, asked, key=key)
    return node, pair, line


def options_of(model: Mapping[str, Any], key: str = "model") -> dict[str, Any]:
    """The options of a node with `_target_`, the defaults of its class among them."""
    return {**_defaults(model, key), **{name: value for name, value in model.items() if not name.startswith("_")}}


def _defaults(model: Mapping[str, Any], key: str) -> dict[str, Any]:
    parameters = inspect.signature(locate(str(model["_target_"]), path_of(key))).parameters
    return {
        name: parameter.default for name, parameter in parameters.items() if parameter.default is not parameter.empty
    }


def adapted(
    model: Mapping[str, Any], pair: Pair, asked: Collection[str] = (), *, key: str = "model"
) -> tuple[dict[str, Any], str]:
    """The node with the arithmetic of a network of others, and a line that says what was changed.

    Args:
        model: the node, of the class and the architecture that the pair names.
        pair: the networks.
        asked: as in `choose`.
        key: the dotted key of the node.

    Raises:
        ConfigurationError: the arithmetic is another than asked for.
    """
    defaults, options = _defaults(model, key), options_of(model, key)
    for name, values in pair.fixed.items():
        if options.get(name) not in values:
            raise _incompatible(pair, f"{key}.{name}", options[name], values[-1])
    changed = {}
    for name, value in pair.requires.items():
        if options.get(name) == value:
            continue
        if options.get(name) != defaults.get(name) or f"{key}.{name}" in asked:
            raise _incompatible(pair, f"{key}.{name}", options.get(name), value)
        changed[name] = value
    said = ", ".join(f"{name}={value} (was {options.get(name)})" for name, value in changed.items())
    line = f"The weights of {pair.library}'s {pair.name} are those of another variant, which is built: {said}"
    return {**model, **changed}, line if changed else ""


def _incompatible(pair: Pair, key: str, value: Any, needed: Any) -> ConfigurationError:
    return ConfigurationError(
        f"{key}={value} does not go with the weights of {pair.library}'s {pair.name}",
        nearest=f"{key}={needed}",
        do="leave it to init, which chooses the variant, or begin without these weights: init=none",
    )


def _no_pair(library: str, target: str, options: Mapping[str, Any]) -> ConfigurationError:
    own = [pair for pair in PAIRS if pair.target == target and pair.published]
    here = [pair for pair in own if pair.library == library]
    name = target.rpartition(".")[2]
    if not here:
        others = sorted({pair.library for pair in own})
        there = sorted({pair.target.rpartition(".")[2] for pair in PAIRS if pair.library == library})
        return ConfigurationError(
            f"init={library}: {library} has no weights that fit {name}",
            nearest=f"init={others[0]}" if others else None,
            do=f"it has some of {', '.join(there)}",
        )
    keys = sorted({key for pair in here for key in pair.when})
    given = ", ".join(f"{key}={options.get(key)}" for key in keys)
    choices = [", ".join(f"{key}={value}" for key, value in pair.when.items()) for pair in here]
    return ConfigurationError(
        f"init={library}: {library} has no weights of {name} with {given}",
        nearest=nearest(given, choices),
        do=f"it has {'; '.join(choices)}",
    )
