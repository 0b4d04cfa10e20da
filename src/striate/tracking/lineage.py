"""From what a run was made and what it makes: packs and weights, named by their contents, and by DVC where it has them.

Two runs that name the same contents name the same artifact, so that a dashboard can draw pack → pretrained →
fine-tuned → evaluation, although no run knows of another.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LOCK = "dvc.lock"


@dataclass(frozen=True)
class Artifact:
    """A prepared set or a file of weights.

    Args:
        name: under which its versions stand together, such as `lenet5_digits`.
        kind: "dataset" or "model".
        digest: SHA-256 of the contents, in hexadecimal.
        path: where it lies; None where that is not known.
        facts: what else there is to say, as plain data.
    """

    name: str
    kind: str
    digest: str
    path: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain_name(self) -> str:
        """The name in letters, digits, dots, dashes and underscores alone."""
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", self.name)[:120].strip("-.") or self.kind

    def description(self) -> dict[str, Any]:
        """All that is known: digest, facts, path and DVC's hash."""
        known = {"sha256": self.digest, **self.facts}
        if self.path is not None:
            known["path"] = str(self.path)
            if (found := dvc_hash(self.path)) is not None:
                known["dvc_md5"] = found
        return known


def dvc_hash(path: Path) -> str | None:
    """DVC's hash of a file or folder, where a `dvc.lock` above it names it as an output and its size is still that.

    Args:
        path: of the file or folder.
    """
    path = path.resolve()
    for folder in path.parents:
        if (folder / LOCK).is_file():
            return _locked(folder, path)
    return None


def _locked(folder: Path, path: Path) -> str | None:
    try:
        stages = yaml.safe_load((folder / LOCK).read_text(encoding="utf-8"))["stages"].values()
        outputs = [output for stage in stages for output in stage.get("outs", [])]
        for output in outputs:
            # The lock is of the last `dvc repro`; what was written since then has no hash yet.
            if (folder / output["path"]).resolve() == path and output.get("size") == _size(path):
                return output.get("md5")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):  # nobody's lock
        pass
    return None


def _size(path: Path) -> int | None:
    try:
        files = [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]
        return sum(file.stat().st_size for file in files)
    except OSError:
        return None
