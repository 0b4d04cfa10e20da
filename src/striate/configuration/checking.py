"""The strict check of a composed configuration: every key is one that somebody reads, every value of its type."""

import dataclasses
import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

from striate.configuration.annotations import alternatives, content_of, described, fits, is_object
from striate.configuration.keys import (
    InvalidEntry,
    Path,
    closest,
    dotted,
    dotted_keys,
    listed,
    nearest_key,
    one_slip,
    walk,
)
from striate.configuration.masking import masked
from striate.configuration.schema import Component
from striate.configuration.targets import NAMESPACES, locate, parameters
from striate.errors import nearest

# What is read beside the keywords of a target. Nothing is ever handed over as a container of OmegaConf.
RESERVED = {"_target_": str, "_partial_": bool, "_recursive_": bool, "_args_": list, "_convert_": Literal["all"]}


def check(config: Any, schema: type | None = None, *, namespaces: Sequence[str] = NAMESPACES, path: Path = ()) -> None:
    """Refuses what nobody would read and what would not be understood.

    A node with `_target_` may hold the keywords of that target's signature, with values of the annotated types, and
    the target must lie in an allowed namespace. Any other node is ruled by a dataclass.

    Args:
        config: a composed configuration, a part of one, or plain data.
        schema: the dataclass of the root; None when the root is a node with `_target_`, or a list or dict of such.
        namespaces: where targets may lie.
        path: where this part stands in the whole, for messages.

    Raises:
        InvalidEntry: the first entry that is not valid. Nothing has been constructed.
    """
    tree = plain(config, path)
    Checker(tree, namespaces).value(schema or Any, tree, path)


def plain(config: Any, path: Path = ()) -> Any:
    """A configuration as plain data with every interpolation resolved.

    Raises:
        InvalidEntry: a mandatory value is missing, or an interpolation leads nowhere.
        omegaconf.errors.InterpolationResolutionError: an interpolation cannot be resolved.
    """
    if not isinstance(config, DictConfig | ListConfig):
        return config
    for at in missing(config, path):
        raise InvalidEntry(at, f"{dotted(at)} has no value yet", do=f"give it one: {dotted(at)}=VALUE")
    return OmegaConf.to_container(config, resolve=True)


def missing(config: DictConfig | ListConfig, path: Path = ()) -> list[Path]:
    """Where mandatory values (`???`) stand that nobody has given."""
    # OmegaConf.missing_keys resolves interpolations, and fails at the first that leads to a missing value.
    return [at for at, value in walk(OmegaConf.to_container(config, resolve=False), path) if value == MISSING]


class Checker:
    """One walk through a resolved tree; `tree` is kept whole, to find what a misplaced key may have meant."""

    def __init__(self, tree: Any, namespaces: Sequence[str]):
        self.tree, self.namespaces = tree, namespaces

    def value(self, annotation: Any, value: Any, path: Path) -> None:
        """Checks one value, and everything below it, against an annotation."""
        choices = alternatives(annotation)
        if isinstance(value, Mapping) and "_target_" in value:
            self._component(value, path)
        elif value is not None and Component in choices:
            raise self._no_target(value, path)
        elif isinstance(value, Mapping) and (schema := next(filter(dataclasses.is_dataclass, choices), None)):
            self._record(value, path, schema)
        elif isinstance(value, Mapping) and (content := content_of(choices)) is not None:
            for key, entry in value.items():
                self.value(content, entry, (*path, key))
        elif any(isinstance(entry, Mapping) and "_target_" in entry for _, entry in walk(value)):
            entries = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, entry in entries:
                self._not_reserved((*path, key))
                self.value(Any, entry, (*path, key))
        else:
            self._leaf(value, path, annotation)

    def _component(self, node: Mapping, path: Path) -> None:
        target = locate(node["_target_"], path, self.namespaces)
        accepted, anything = parameters(target)
        for key, entry in node.items():
            if key in RESERVED:
                self.value(RESERVED[key], entry, (*path, key))
            elif (
                key in accepted and isinstance(entry, Mapping) and "_target_" not in entry and is_object(accepted[key])
            ):
                raise self._no_target(entry, (*path, key))
            elif key in accepted or (anything and not _looks_reserved(key) and not _slipped(key, accepted)):
                self.value(accepted.get(key, Any), entry, (*path, key))
            else:
                name = str(node["_target_"]).rpartition(".")[2]
                raise self._unknown(key, path, [*accepted, *RESERVED], f"{name} accepts {listed(accepted)}")

    def _record(self, node: Mapping, path: Path, schema: Any) -> None:
        annotations = typing.get_type_hints(schema, include_extras=True)
        for key, entry in node.items():
            if key not in annotations:
                raise self._unknown(key, path, [*annotations], f"valid keys are {listed(annotations)}")
            self.value(annotations[key], entry, (*path, key))
        for field in dataclasses.fields(schema):
            optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            if field.name not in node and not optional:
                at = (*path, field.name)
                raise InvalidEntry(
                    at, f"{dotted(at)} is missing", do=f"it must be {described(annotations[field.name])}"
                )

    def _unknown(self, key: object, path: Path, accepted: list[str], do: str) -> InvalidEntry:
        at = (*path, str(key))
        found = closest(str(key), accepted)
        if found is None and isinstance(self.tree, Mapping):
            proposal = nearest_key(dotted(at), dotted_keys(self.tree))
            proposal = proposal if proposal != dotted(at) else None
        else:
            proposal = dotted((*path, found)) if found else None
        return InvalidEntry(at, f"unknown key {dotted(at)}", nearest=proposal, do=do)

    def _no_target(self, value: Any, path: Path) -> InvalidEntry:
        if isinstance(value, Mapping):
            for key in value:
                if nearest(key, ["_target_"]):
                    at = (*path, str(key))
                    return InvalidEntry(at, f"unknown key {dotted(at)}", nearest=dotted((*path, "_target_")))
        beside = [key for key in dotted_keys(self.tree) if key != dotted(path)]
        return InvalidEntry(
            path,
            f"{dotted(path)} names no class",
            nearest=nearest_key(dotted(path), beside),
            do=f"give it a _target_, or choose an option of a group: {path[0]}=OPTION",
        )

    def _leaf(self, value: Any, path: Path, annotation: Any) -> None:
        for at, _ in walk(value, path):
            self._not_reserved(at)
        if not fits(value, annotation):
            shown = json.dumps(masked(value, str(path[-1]) if path else ""), default=str)
            choices = [choice for part in alternatives(annotation) for choice in typing.get_args(part)
                       if typing.get_origin(part) is Literal]  # fmt: skip
            what = f"{dotted(path)} must be {described(annotation)}, not {shown}"
            raise InvalidEntry(path, what, nearest=nearest(value, choices))

    def _not_reserved(self, path: Path) -> None:
        """Refuses what was meant to be `_target_` in a dict that without it would be taken for mere data."""
        if _looks_reserved(path[-1]):
            found = nearest(path[-1], RESERVED)
            proposal = dotted((*path[:-1], found)) if found else None
            raise InvalidEntry(path, f"unknown key {dotted(path)}", nearest=proposal)


def _slipped(key: str, accepted: Mapping[str, Any]) -> bool:
    """Whether a key that is accepted only because anything is looks like a slip for one that is named."""
    return any(one_slip(key, name) for name in accepted)


def _looks_reserved(key: object) -> bool:
    return isinstance(key, str) and (key.startswith("_") or key.endswith("_"))
