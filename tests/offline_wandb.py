"""What W&B has written to be sent later, read back from its file: LevelDB's log format around protobuf records."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HEADER, _BLOCK = 7, 32768
_WHOLE, _LAST = 1, 4  # kinds of chunks with which a record ends


@dataclass
class OfflineRun:
    """A run as the server will know it."""

    run: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)  # rows, with W&B's own `_step`
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)  # metric or pattern: the metric under it
    arguments: list[str] = field(default_factory=list)
    preempting: bool = False
    exit_code: int | None = None

    def values(self, name: str) -> dict[int, Any]:
        """A metric by step, of the rows that have it."""
        return {row["_step"]: row[name] for row in self.history if name in row}


def read(folder: Path, patience: float = 30) -> OfflineRun:
    """The run of a directory `offline-run-…`, as soon as W&B's service has written its end."""
    (file,) = folder.glob("*.wandb")
    deadline = time.monotonic() + patience
    while (found := _read(file.read_bytes())).exit_code is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _read(data: bytes) -> OfflineRun:
    found = OfflineRun()
    for record in _records(data):
        kind = record.WhichOneof("record_type")
        content = getattr(record, kind)
        if kind == "run":
            found.run = content
            _update(found.config, content.config.update)
        elif kind == "history":
            found.history.append(_update({}, content.item))
        elif kind in ("summary", "config"):
            _update(getattr(found, kind), content.update)
        elif kind == "artifact":
            found.artifacts.append(content)
        elif kind == "files":
            found.files += [entry.path for entry in content.files]
        elif kind == "metric":
            found.axes[content.name or content.glob_name] = content.step_metric
        elif kind == "environment":
            found.arguments += list(content.args)
        elif kind == "preempting":
            found.preempting = True
        elif kind == "exit":
            found.exit_code = content.exit_code
    return found


def _update(target: dict[str, Any], items: Any) -> dict[str, Any]:
    for item in items:
        place, *keys = item.nested_key or [item.key]
        node = target
        for key in keys:
            node = node.setdefault(place, {})
            place = key
        node[place] = json.loads(item.value_json)
    return target


def _records(data: bytes) -> Any:
    from wandb.proto import wandb_internal_pb2

    assert data[:4] in (b":W&B", b"")
    place, parts = _HEADER, b""
    while place + _HEADER <= len(data):
        left = _BLOCK - place % _BLOCK
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        if left < _HEADER or kind == 0:  # the rest of a block is padding
            place += left
            continue
        parts += data[place + _HEADER : place + _HEADER + length]
        place += _HEADER + length
        if kind in (_WHOLE, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
