"""What an annotation asks for, and whether plain data can be that."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, Union

from annotated_types import Ge, Gt, Le, Lt, MinLen

from striate.configuration.schema import Component

LIMITS = {Ge: "at least {.ge}", Gt: "above {.gt}", Le: "at most {.le}", Lt: "below {.lt}", MinLen: "not empty"}


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    if typing.get_origin(annotation) is typing.Annotated:
        return alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return tuple(part for member in typing.get_args(annotation) for part in alternatives(member))
    return (annotation,)


def is_object(annotation: Any) -> bool:
    """Whether an annotation asks for objects of classes that no dict can stand for."""
    kinds = [typing.get_origin(part) or part for part in alternatives(annotation)]
    anything = (Any, object)
    return all(isinstance(kind, type) and kind not in anything and not issubclass(kind, Mapping) for kind in kinds)


def content_of(choices: tuple[Any, ...]) -> Any:
    """What the values of an annotated `dict[str, X]` of components or dataclasses are; None for other annotations."""
    for choice in choices:
        arguments = typing.get_args(choice)
        if typing.get_origin(choice) is dict and any(
            part is Component or dataclasses.is_dataclass(part) for part in alternatives(arguments[1])
        ):
            return arguments[1]
    return None


def fits(value: Any, annotation: Any) -> bool:
    """Whether plain data can be what an annotation asks for; True when that cannot be told.

    Whole numbers are floats too, lists are any kind of sequence; nothing else is converted.
    """
    if annotation is Any:
        return True
    from pydantic import ValidationError

    adapter = _adapter(annotation)
    if adapter is None:
        return True
    try:
        # As JSON, since that knows lists but not tuples, just like YAML.
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        # An annotation that only names classes cannot be told from data, except that no class is a dict.
        told = [fault["type"] for fault in error.errors(include_url=False) if fault["type"] != "needs_python_object"]
        return not told and not isinstance(value, dict)
    except (TypeError, ValueError):
        return True
    return True


@lru_cache(maxsize=1024)
def _adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:  # no type at all, or one (a TypedDict) that brings a configuration of its own
        return None


def described(annotation: Any) -> str:
    """An annotation in a person's words."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *limits = typing.get_args(annotation)
        said = [LIMITS[type(limit)].format(limit) for limit in limits if type(limit) in LIMITS]
        return ", ".join([described(inner), *said])
    words: list[str] = []
    members = typing.get_args(annotation) if typing.get_origin(annotation) in (Union, types.UnionType) else ()
    if any(typing.get_origin(member) is typing.Annotated for member in members):
        return ", or ".join(described(member) for member in members)
    for part in alternatives(annotation):
        if typing.get_origin(part) is Literal:
            words += [str(choice) for choice in typing.get_args(part)]
        elif part is type(None):
            words.append("null")
        elif part is Component:
            words.append("a component (a node with _target_)")
        else:
            words.append(_spelled(part))
    shown = [word.replace("typing.", "").replace("collections.abc.", "") for word in dict.fromkeys(words)]
    return " or ".join(shown)


def _spelled(annotation: Any) -> str:
    """A type without alternatives; what is inside its brackets without the limits, which a message gives alone."""
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return _spelled(inner[0])
    if not inner:
        return "..." if annotation is Ellipsis else getattr(annotation, "__name__", str(annotation))
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType, Literal) or not hasattr(origin, "__name__"):
        return str(annotation)
    return f"{origin.__name__}[{', '.join(_spelled(part) for part in inner)}]"
