"""A stage of `dvc.yaml` that is several: one for each combination of the values in its `matrix`."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any


def variants(stage: Mapping[str, Any]) -> Iterator[Any]:
    """A stage for each combination of its `matrix`, with the values in place of `${item.NAME}`; else the stage."""
    axes = stage.get("matrix")
    if axes is None:
        yield stage
        return
    for values in product(*axes.values()):
        yield _filled(stage, {f"${{item.{name}}}": str(value) for name, value in zip(axes, values, strict=True)})


def _filled(node: Any, values: Mapping[str, str]) -> Any:
    if isinstance(node, Mapping):
        return {_filled(key, values): _filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, values) for value in node]
    if isinstance(node, str):
        for mark, value in values.items():
            node = node.replace(mark, value)
    return node
