"""Anybody's pictures: class folders, loose or in archives, with or without train, val and test above them."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from striate.data.pictures import PICTURE_EXTENSIONS
from striate.data.sources.archives import ARCHIVE_NAME, Limits, Member, list_members, read_members
from striate.data.sources.base import (
    Content,
    Entry,
    Foreign,
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
from striate.errors import DataError


class _File(NamedTuple):
    """A file in a tree: its path there, and how to read it."""

    path: tuple[str, ...]
    handle: str | Member


@dataclass
class _Tree:
    """A folder or an archive: what it holds, and what of it is passed over."""

    archive: Path | None
    prefix: str
    pictures: list[_File]
    folders: list[tuple[str, ...]]
    foreign: list[tuple[str, str]]  # name, reason


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
        for tree in trees:
            layout = find_layout([file.path for file in tree.pictures], tree.folders, tree.prefix or str(self.root))
            empty += [tree.prefix + folder for folder in layout.empty]
            split_of_archive = split_in_name(ARCHIVE_NAME.sub("", tree.archive.name)) if tree.archive else None
            kept = []
            for file, place in zip(tree.pictures, layout.places, strict=True):
                name = tree.prefix + "/".join(file.path)
                if place is None:
                    foreign.append((name, OUTSIDE))
                    continue
                entries.append(Entry(name, place[1], place[0] or split_of_archive))
                kept.append(file.handle)
            handles.append((tree.archive, kept))
        _check(self.root, entries, empty)
        classes = tuple(sorted({entry.class_name for entry in entries}))
        return _FolderInventory(classes, entries, _by_kind(foreign), tuple(handles))

    def read(self, inventory: Inventory) -> Iterator[Content]:
        assert isinstance(inventory, _FolderInventory)
        for archive, handles in inventory.trees:
            yield from map(PictureFile, handles) if archive is None else read_members(archive, handles)

    def _trees(self) -> list[_Tree]:
        if self.root.is_file():
            if not ARCHIVE_NAME.search(self.root.name):
                raise DataError(
                    f"{self.root} is neither a folder nor a .tar, .tar.gz, .tgz or .zip",
                    do="data.root=FOLDER_OR_ARCHIVE",
                )
            return [_archive_tree(self.root, "", self.limits)]
        loose, archives = _loose_tree(self.root)
        if any(len(file.path) > 1 for file in loose.pictures):
            reason = "archive beside loose pictures"
            loose.foreign += [(os.path.relpath(path, self.root), reason) for path in archives]
            return [loose]
        trees = []
        for path in archives:
            prefix = printable(os.path.relpath(path, self.root)) + "/" if len(archives) > 1 else ""
            trees.append(_archive_tree(path, prefix, self.limits))
        if trees:
            trees[0].foreign += [*loose.foreign, *(("/".join(file.path), OUTSIDE) for file in loose.pictures)]
        return trees or [loose]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db", "desktop.ini")


def _sort_out(tree: _Tree, file: _File) -> None:
    """Puts a file among the pictures, or among what is passed over, by its name."""
    name = "/".join(file.path)
    if any(map(_is_hidden, file.path)):
        tree.foreign.append((name, "hidden or of the system"))
    elif os.path.splitext(name)[1].lower() in PICTURE_EXTENSIONS:
        tree.pictures.append(file)
    else:
        tree.foreign.append(
            (name, "archive within an archive" if ARCHIVE_NAME.search(name) else "not a picture's name")
        )


def _archive_tree(path: Path, prefix: str, limits: Limits) -> _Tree:
    tree = _Tree(path, prefix, [], [], [])
    for member in list_members(path, limits):
        parts = tuple(member.name.split("/"))
        if not member.is_folder:
            _sort_out(tree, _File(parts, member))
        elif not any(map(_is_hidden, parts)):
            tree.folders.append(parts)
    return tree


def _loose_tree(root: Path) -> tuple[_Tree, list[Path]]:
    """The files below a folder, and the archives among them."""
    tree, archives = _Tree(None, "", [], [], []), []
    inside = os.path.realpath(root)
    for folder, names, files in os.walk(root):
        names.sort()
        above = tuple(printable(os.path.relpath(folder, root)).split("/")) if folder != str(root) else ()
        for name in list(names):
            if _is_hidden(name) or os.path.islink(os.path.join(folder, name)):
                names.remove(name)
                reason = "hidden or of the system" if _is_hidden(name) else "link to a folder, not followed"
                tree.foreign.append(("/".join((*above, printable(name))), reason))
            else:
                tree.folders.append((*above, printable(name)))
        with os.scandir(folder) as listed:  # which knows what kind each is, without asking the system once more
            kinds = {entry.name: entry for entry in listed}
        for name in sorted(files):
            path = os.path.join(folder, name)
            file = _File((*above, printable(name)), path)
            if kinds[name].is_symlink() and not os.path.realpath(path).startswith(inside + os.sep):
                tree.foreign.append(("/".join(file.path), "link that leads outside of the root, not followed"))
            elif not kinds[name].is_file():
                tree.foreign.append(("/".join(file.path), "not a file"))
            elif ARCHIVE_NAME.search(name) and not _is_hidden(name):
                archives.append(Path(path))
            else:
                _sort_out(tree, file)
    return tree, sorted(archives)


def _by_kind(files: list[tuple[str, str]]) -> list[Foreign]:
    """What is passed over, one line a kind: the name of a single file, else its pattern."""
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, reason in files:
        kinds[os.path.splitext(name)[1].lower(), reason].append(name)
    return sorted(
        Foreign(min(names) if len(names) == 1 else f"*{extension} (such as {min(names)})", len(names), reason)
        for (extension, reason), names in kinds.items()
    )


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
    lowered: dict[str, str] = {}
    for name in sorted(training):
        other = lowered.setdefault(name.lower(), name)
        if other != name:
            raise DataError(
                f"{root}: the classes {other!r} and {name!r} differ in letter case only", do="rename one of them"
            )
