"""Anybody's pictures: class folders, loose or in archives, with or without train, val and test above them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.data.sources.archives import ARCHIVE_NAME, Limits, read_members
from striate.data.sources.base import (
    Content,
    Entry,
    Inventory,
    PictureFile,
    RawFile,
    Source,
    legible,
    printable,
    raw_file,
    raw_files,
)
from striate.data.sources.layout import OUTSIDE, find_layout, split_in_name
from striate.data.sources.pair_layout import IMAGE_WORDS, MASK_WORDS
from striate.data.sources.trees import NO_PICTURE, Tree, archive_tree, by_kind, loose_tree
from striate.errors import ConfigurationError, DataError


@dataclass
class _FolderInventory(Inventory):
    trees: tuple[tuple[Path | None, list[Any]], ...] = ()  # archive or None, handles in the order of entries


class FolderSource(Source):
    """Class folders of picture files.

    `ROOT/CLASS/…` or `ROOT/{train,val,test}/CLASS/…` (also training, valid, validation, testing, in any letter case),
    under any number of folders, loose or in one or several .tar, .tar.gz, .tgz or .zip. An archive may be one split:
    then its name says which (cifar10-train.tar). Where there are loose pictures, archives beside them are passed over.
    Links are followed only to files within the root.

    Args:
        root: a folder or an archive.
        hint: how to get the data, for the message when they are missing.
        max_members: members that an archive may have.
        max_bytes: that an archive may unpack to.
        max_ratio: of that to the archive's size.
    """

    def __init__(
        self,
        root: str,
        hint: str | None = None,
        max_members: int = Limits.members,
        max_bytes: int = Limits.total_bytes,
        max_ratio: float = Limits.ratio,
    ):
        super().__init__(root, hint)
        self.limits = Limits(max_members, max_bytes, max_ratio)

    def listing(self) -> list[RawFile]:
        if self.root.is_file():
            return [raw_file(self.root, self.root.parent)]
        return raw_files(self.root)

    def scan(self) -> Inventory:
        trees = self._trees()
        entries: list[Entry] = []
        handles, empty = [], []
        foreign = [pair for tree in trees for pair in tree.foreign]
        foreign += [(file.name, NO_PICTURE) for tree in trees for file in tree.others]
        for tree in trees:
            layout = find_layout([file.path for file in tree.pictures], tree.folders, tree.prefix or str(self.root))
            empty += [tree.prefix + folder for folder in layout.empty]
            split_of_archive = split_in_name(ARCHIVE_NAME.sub("", tree.archive.name)) if tree.archive else None
            kept = []
            for file, place in zip(tree.pictures, layout.places, strict=True):
                name = tree.prefix + file.name
                if place is None:
                    foreign.append((name, OUTSIDE))
                    continue
                entries.append(Entry(name, place[1], place[0] or split_of_archive))
                kept.append(file.handle)
            handles.append((tree.archive, kept))
        _check(self.root, entries, empty)
        classes = tuple(sorted({entry.class_name for entry in entries}))
        return _FolderInventory(classes, entries, by_kind(foreign), trees=tuple(handles))

    def read(self, inventory: Inventory) -> Iterator[Content]:
        assert isinstance(inventory, _FolderInventory)
        for archive, handles in inventory.trees:
            yield from map(PictureFile, handles) if archive is None else read_members(archive, handles)

    def _trees(self) -> list[Tree]:
        if self.root.is_file():
            if not ARCHIVE_NAME.search(self.root.name):
                raise DataError(
                    f"{self.root} is neither a folder nor a .tar, .tar.gz, .tgz or .zip",
                    do="data.root=FOLDER_OR_ARCHIVE",
                )
            return [archive_tree(self.root, "", self.limits)]
        loose, archives = loose_tree(self.root)
        if any(len(file.path) > 1 for file in loose.pictures):
            reason = "archive beside loose pictures"
            loose.foreign += [(os.path.relpath(path, self.root), reason) for path in archives]
            return [loose]
        trees = []
        for path in archives:
            prefix = printable(os.path.relpath(path, self.root)) + "/" if len(archives) > 1 else ""
            trees.append(archive_tree(path, prefix, self.limits))
        if trees:
            trees[0].foreign += [*loose.foreign, *((file.name, OUTSIDE) for file in loose.pictures)]
            trees[0].foreign += [(file.name, NO_PICTURE) for file in loose.others]
        return trees or [loose]


def _check(root: Path, entries: list[Entry], empty: list[str]) -> None:
    """The rules that every set of class folders keeps."""
    if not entries:
        raise DataError(
            f"{root} holds no pictures in class folders",
            do="lay them out as ROOT/CLASS/PICTURE or ROOT/train/CLASS/PICTURE",
        )
    if empty:
        names = ", ".join(map(legible, sorted(empty)[:5])) + (" …" if len(empty) > 5 else "")
        raise DataError(f"{root}: {len(empty)} class folder(s) without pictures: {names}", do="fill or remove them")
    with_split = {entry.split for entry in entries}
    if None in with_split and len(with_split) > 1:
        example = next(entry.name for entry in entries if entry.split is None)
        raise DataError(
            f"{root}: some pictures are in splits, others are not ({legible(example)})", do="use splits for all or none"
        )
    training = {entry.class_name for entry in entries if entry.split in ("train", None)}
    if not training:
        raise DataError(f"{root} has no training pictures, only {', '.join(sorted(map(str, with_split)))}")
    for entry in entries:
        if entry.class_name not in training:
            raise DataError(
                f"{root}: the class {entry.class_name!r} is in the {entry.split} split but not in the training split",
                do="give it training pictures or remove its folder",
            )
    if len(training) < 2:
        raise DataError(
            f"{root} has one class only: {training.pop()!r}", do="a classifier needs at least two class folders"
        )
    _require_no_masks(root, training)
    lowered: dict[str, str] = {}
    for name in sorted(training):
        other = lowered.setdefault(name.lower(), name)
        if other != name:
            raise DataError(
                f"{root}: the classes {other!r} and {name!r} differ in letter case only", do="rename one of them"
            )


def _require_no_masks(root: Path, classes: set[str]) -> None:
    """Refuses a folder of pictures beside one of their masks, which would make two classes."""
    pictures, masks = ([name for name in classes if name.lower() in words] for words in (IMAGE_WORDS, MASK_WORDS))
    if len(classes) == 2 and pictures and masks:
        raise ConfigurationError(
            f"{root} has {pictures[0]!r} and {masks[0]!r}: pictures and their masks, it seems, and not two classes",
            nearest="data=folder_masks",
            do="name what masks show: data.source.classes=[NAME,NAME]; folders that are classes need other names",
        )
