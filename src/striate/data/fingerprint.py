"""Whether raw data and options are still those of an existing pack: so that a second call has nothing to do.

The record lies beside the pack, not in it: times and places differ from machine to machine, the pack's bytes do not.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from striate.data.decoding import content_digest
from striate.data.meta import Meta
from striate.data.pack import open_pack
from striate.data.sources.base import Inventory, RawFile, Source
from striate.data.workspace import beside
from striate.errors import StriateError
from striate.storage import write_json

VERSION = 1  # raised when preparation gives other packs for the same input


@dataclass
class Fingerprint:
    """Hashes of what a pack was made from.

    Args:
        options: of preparation and source.
        files: paths and sizes of the raw files.
        times: the same with times of change; equal times mean equal contents.
        contents: of names, classes, splits and contents of all pictures.
        meta: of the pack that came out.
    """

    options: str
    files: str
    times: str
    contents: str
    meta: str


def options_hash(name: str, options: dict[str, Any], source: Source) -> str:
    """Hash of everything but the raw data that decides what the pack will be."""
    return _hash([json.dumps([VERSION, name, options, source.describe()], sort_keys=True, default=list)])


def files_hashes(listing: Iterable[RawFile]) -> tuple[str, str]:
    """Hashes of the raw files, without and with their times."""
    listing = list(listing)
    return _hash(f"{file.path}\0{file.size}" for file in listing), _hash(map(repr, listing))


def contents_hash(inventory: Inventory, digests: Iterable[bytes]) -> str:
    """Hash of all pictures, whatever their order.

    Args:
        inventory: what they are.
        digests: of their contents, in the inventory's order.
    """
    labels = inventory.masks or (entry.class_name for entry in inventory.entries)
    pictures = zip(inventory.entries, labels, digests, strict=True)
    return _hash(sorted(f"{entry.name}\0{label}\0{entry.split}\0{digest.hex()}" for entry, label, digest in pictures))


def save(destination: Path, fingerprint: Fingerprint) -> None:
    """Records what a pack was made from."""
    write_json(beside(destination, "source.json"), asdict(fingerprint))


def unchanged(destination: Path, source: Source, options: str) -> Meta | None:
    """The passport of an existing pack if preparing again would give the same one, else None.

    Where only the times of raw files have changed, as after a checkout, their contents are compared.
    """
    try:
        record = Fingerprint(**json.loads(beside(destination, "source.json").read_text(encoding="utf-8")))
        meta = Meta.load(destination)
        for split in meta.splits:
            open_pack(destination, split)
    except (OSError, ValueError, TypeError, StriateError):
        return None
    if record.options != options or record.meta != meta.hash:
        return None
    if not source.available():
        return meta
    files, times = files_hashes(source.listing())
    if files != record.files:
        return None
    if times != record.times:
        inventory = source.scan()
        if contents_hash(inventory, map(content_digest, source.read(inventory))) != record.contents:
            return None
        record.times = times
        save(destination, record)
    return meta


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
