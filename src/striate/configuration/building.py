"""From a node of the configuration to the object that it describes, and to the data that a checkpoint keeps of it."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, ListConfig

from striate.configuration.checking import RESERVED, check, plain
from striate.configuration.keys import InvalidEntry, Path, dotted, listed, path_of
from striate.configuration.masking import masked
from striate.configuration.targets import NAMESPACES, locate
from striate.errors import ConfigurationError, StriateError, nearest

# Characters of a message of others, and of a signature.
_LONGEST = 300


def build(node: Any, key: str = "", /, *, namespaces: Sequence[str] = NAMESPACES, **kwargs: Any) -> Any:
    """Constructs what a node with `_target_` describes, with Hydra's meaning of `_args_`, `_partial_`, `_recursive_`.

    The node may come out of a stranger's checkpoint, so it is checked as a whole before anything is constructed, plain
    data are taken literally, and what was checked is what is called: `hydra.utils.instantiate` would resolve anew,
    hand lists over as ListConfig and copy the networks in `kwargs` into a configuration.

    Args:
        node: a node of a composed configuration, or plain data; None gives None.
        key: the dotted key of the node, for messages; a node of a composed configuration knows its own.
        namespaces: where targets may lie; name fewer for what comes out of a file.
        **kwargs: what the configuration cannot hold: the network, the number of classes. They win over the node.

    Returns:
        The object; a `Factory` where the node says `_partial_: true`.

    Raises:
        ConfigurationError: the node is not valid, or its class refuses the values.
    """
    if node is None:
        return None
    path = path_of(node._get_full_key(None) or "" if isinstance(node, DictConfig | ListConfig) else key)
    tree = plain(node, path)
    if not isinstance(tree, Mapping) or "_target_" not in tree:
        raise InvalidEntry(path, f"{dotted(path) or 'the node'} names no class", do="give it a _target_")
    check(tree, namespaces=namespaces, path=path)
    return _construct({**tree, **kwargs}, path, namespaces)


def _construct(node: Any, path: Path, namespaces: Sequence[str]) -> Any:
    if isinstance(node, list):
        return [_construct(value, (*path, position), namespaces) for position, value in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    if node.get("_recursive_", True):
        node = {key: _construct(value, (*path, key), namespaces) for key, value in node.items()}
    if "_target_" not in node:
        return dict(node)
    target = locate(node["_target_"], path, namespaces)
    keywords = {key: value for key, value in node.items() if key not in RESERVED}
    factory = Factory(dotted(path), target, tuple(node.get("_args_", ())), keywords)
    return factory if node.get("_partial_", False) else factory()


@dataclass(frozen=True)
class Factory:
    """A call that is not complete yet, as `functools.partial`, but its refusals name the configuration's key."""

    key: str
    target: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        try:
            return self.target(*self.arguments, *arguments, **{**self.keywords, **keywords})
        except Exception as error:
            mistake = refusal(error, self.key, self.target, keywords=self.keywords)
            if mistake is None or mistake is error:
                raise
            raise mistake from error


def resolved(config: Any) -> dict[str, Any]:
    """A configuration as plain data for checkpoints and reports: resolved, and without secrets."""
    return masked(plain(config))


def refusal(
    error: Exception, key: str, target: Callable[..., Any], *, keywords: Mapping[str, Any]
) -> StriateError | None:
    """The person's mistake behind an exception of a constructor, or None when it is a fault of the program."""
    if isinstance(error, StriateError):
        return error
    kinds = {kind.__name__ for kind in type(error).__mro__}  # names: importing Lightning takes seconds
    refusals = {"ValueError", "TypeError", "MisconfigurationException"}
    if not target.__module__.startswith("striate."):
        # What others raise for a value out of range, and for one that needs a package that is not there.
        refusals |= {"RuntimeError", "AssertionError", "ModuleNotFoundError"}
    if not kinds & refusals or "OutOfMemoryError" in kinds:
        return None
    unexpected = str(error).partition("unexpected keyword argument '")[2].partition("'")[0]
    signature = inspect.signature(target)
    found = nearest(unexpected, signature.parameters) if unexpected else None
    name = f"{target.__module__}.{target.__qualname__}"
    text = " ".join(str(error).split())
    accepted = f"{target.__name__}{signature}"
    if len(accepted) > _LONGEST:  # the annotations of others can be pages
        accepted = f"{target.__name__}({listed(signature.parameters)})"
    given = [f"{key}.{name}={value}" for name, value in masked(dict(keywords)).items()
             if isinstance(value, str | int | float) and re.search(rf"\b{re.escape(name)}\b", text)]  # fmt: skip
    return ConfigurationError(
        f"{key or 'the node'} ({name}): {text if len(text) <= _LONGEST else text[:_LONGEST] + ' …'}",
        nearest=f"{key}.{found}" if found else None,
        do=f"it accepts {accepted}{f'; given was {listed(given)}' if given else ''}",
    )
