"""Which classes a configuration may name as `_target_`, and which keywords they accept.

A configuration can come out of a stranger's checkpoint. So a target is found only by importing modules of allowed
namespaces, and what is found there must have been defined in one: `torch.nn.modules.module.functools.partial` is not.
"""

import importlib
import inspect
import pkgutil
import re
import sys
import typing
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from striate.configuration.keys import InvalidEntry, Path, dotted
from striate.configuration.ranges import ranges
from striate.errors import nearest

NAMESPACES = (
    "striate.models", "striate.data", "striate.tasks", "striate.optim", "striate.transfer", "striate.callbacks",
    "striate.tracking", "striate.evaluation", "striate.explain", "torch.optim", "torch.nn", "torchvision",
    "lightning.pytorch", "albumentations",
)  # fmt: skip
# Within these, what reads files, talks to the network or runs other targets when it is merely constructed.
DENIED = (
    "lightning.pytorch.cli", "lightning.pytorch.core.saving", "lightning.pytorch.demos", "lightning.pytorch.serve",
    "lightning.pytorch.utilities", "torch.nn.parallel", "torchvision.datasets.utils", "torchvision.io",
    "torchvision.extension", "albumentations.core.serialization",
)  # fmt: skip
# A class only makes an object; a function may do anything, so fewer places may give one.
FUNCTIONS = (
    "striate.models", "striate.tasks", "striate.optim", "striate.transfer", "striate.callbacks", "striate.tracking",
    "torchvision.models",
)  # fmt: skip


def within(name: str, namespaces: Sequence[str]) -> bool:
    """Whether a dotted name lies in one of the namespaces."""
    return any(name == space or name.startswith(f"{space}.") for space in namespaces)


def locate(target: object, path: Path, namespaces: Sequence[str] = NAMESPACES) -> Callable[..., Any]:
    """The class or function that a `_target_` names.

    Args:
        target: the dotted name.
        path: where the node stands.
        namespaces: where it may lie.

    Raises:
        InvalidEntry: it lies elsewhere, or does not exist.
    """
    path = (*path, "_target_")
    if not isinstance(target, str) or not re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", target):
        raise InvalidEntry(path, f"{dotted(path)} is {target!r}, not the dotted name of a class")
    if not within(target, namespaces) or within(target, DENIED):
        raise _not_allowed(target, path, namespaces)
    parts = target.split(".")
    found: Any = importlib.import_module(parts[0])
    for position, part in enumerate(parts[1:], start=1):
        module = ".".join(parts[: position + 1])
        if isinstance(found, ModuleType) and _is_module(module):
            found = importlib.import_module(module)
            continue
        if not hasattr(found, part):
            proposal = nearest(part, _public_names(found, classes=position == len(parts) - 1))
            raise InvalidEntry(
                path,
                f"{dotted(path)}: {'.'.join(parts[:position])} has no {part}",
                nearest=".".join([*parts[:position], proposal, *parts[position + 1 :]]) if proposal else None,
                do="name a class that exists",
            )
        found = getattr(found, part)
        if isinstance(found, ModuleType) and not within(found.__name__, namespaces):
            raise _not_allowed(target, path, namespaces)
    origin = str(getattr(found, "__module__", ""))
    allowed = within(origin, namespaces) and not within(origin, DENIED)
    if not allowed or not (inspect.isclass(found) or (inspect.isroutine(found) and within(origin, FUNCTIONS))):
        raise _not_allowed(target, path, namespaces)
    return found


def _not_allowed(target: str, path: Path, namespaces: Sequence[str]) -> InvalidEntry:
    proposal = None
    for space in namespaces:
        depth = space.count(".") + 1
        head, tail = ".".join(target.split(".")[:depth]), target.split(".")[depth:]
        if head != space and tail and nearest(head, [space]) == space:
            try:
                locate(candidate := ".".join([space, *tail]), path, namespaces)
            except InvalidEntry:
                continue
            proposal = candidate
            break
    allowed = dict.fromkeys("striate" if space.startswith("striate.") else space for space in namespaces)
    return InvalidEntry(
        path,
        f"{dotted(path)}: {target} is not allowed in a configuration",
        nearest=proposal,
        do=f"name a class of {', '.join(allowed)}",
    )


def _is_module(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is no package
        return False


def _public_names(found: object, *, classes: bool) -> list[str]:
    """What a module or class has to offer; with `classes`, not the modules in it."""
    names = {name for name in dir(found) if not name.startswith("_")}
    if classes:
        return sorted(name for name in names if not isinstance(getattr(found, name, None), ModuleType))
    if isinstance(found, ModuleType) and hasattr(found, "__path__"):
        names |= {module.name for module in pkgutil.iter_modules(found.__path__)}
    return sorted(names)


@lru_cache(maxsize=256)
def parameters(target: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """The keywords that a class or function accepts, each with its annotation (`Any` where it tells nothing).

    Returns:
        The annotations by name, and whether any other keyword is accepted as well.
    """
    accepted: dict[str, Any] = {}
    forwards = True
    for function, scope in _initialisers(target):
        signature = inspect.signature(function)
        forwards = False
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                forwards = True
            elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY) and name != "self":
                annotation = _evaluated(parameter.annotation, scope)
                accepted.setdefault(
                    name, annotation | None if _is_implicit_optional(parameter, annotation) else annotation
                )
        if not forwards:
            break
    narrower = ranges(target)
    return {name: narrower.get(name, annotation) for name, annotation in accepted.items()}, forwards


def _initialisers(target: Callable[..., Any]) -> list[tuple[Callable[..., Any], dict[str, Any]]]:
    """What receives the keywords: a function, or each `__init__` of a class up to the root, for those who forward."""
    if not inspect.isclass(target):
        function = inspect.unwrap(target)
        return [(function, getattr(function, "__globals__", {}))]
    owners = [owner for owner in target.__mro__[:-1] if "__init__" in owner.__dict__]
    return [(owner.__dict__["__init__"], vars(sys.modules[owner.__module__])) for owner in owners]


def _is_implicit_optional(parameter: inspect.Parameter, annotation: Any) -> bool:
    return parameter.default is None and annotation is not Any and hasattr(annotation, "__or__")


def _evaluated(annotation: Any, scope: dict[str, Any]) -> Any:
    """An annotation as an object, also when it was written as a string that only a type checker can read."""
    if annotation is inspect.Parameter.empty:
        return Any
    holder = type("Holder", (), {"__annotations__": {"value": annotation}})
    try:
        return typing.get_type_hints(holder, scope, scope, include_extras=True)["value"]
    except Exception:  # a name imported under TYPE_CHECKING, a subscript that fails at run time
        return Any
