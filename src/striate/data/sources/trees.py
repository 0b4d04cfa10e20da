"""Trees of files, loose or in archives: what in them is a picture, and what is passed over."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from striate.data.pictures import PICTURE_EXTENSIONS
from striate.data.sources.archives import ARCHIVE_NAME, Limits, Member, list_members
from striate.data.sources.base import Foreign, printable

NO_PICTURE = "not a picture's name"


class File(NamedTuple):
    """A file in a tree: its path there, and how to read it."""

    path: tuple[str, ...]
    handle: str | Member

    @property
    def name(self) -> str:
        return "/".join(self.path)


@dataclass
class Tree:
    """A folder or an archive: what it holds, and what of it is passed over.

    Args:
        archive: None for a folder.
        prefix: of names, where there are several archives.
        pictures: files with a picture's name.
        folders: paths of all folders.
        others: files with other names, which may be lists or tables.
        foreign: (name, reason) of what is never read.
    """

    archive: Path | None
    prefix: str
    pictures: list[File]
    folders: list[tuple[str, ...]]
    others: list[File]
    foreign: list[tuple[str, str]]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db", "desktop.ini")


def _sort_out(tree: Tree, file: File) -> None:
    """Puts a file among the pictures, or among what is passed over, by its name."""
    name = file.name
    if any(map(_is_hidden, file.path)):
        tree.foreign.append((name, "hidden or of the system"))
    elif os.path.splitext(name)[1].lower() in PICTURE_EXTENSIONS:
        tree.pictures.append(file)
    elif ARCHIVE_NAME.search(name):
        tree.foreign.append((name, "archive within an archive"))
    else:
        tree.others.append(file)


def archive_tree(path: Path, prefix: str, limits: Limits) -> Tree:
    """What an archive holds.

    Raises:
        DataError: as `list_members` says.
    """
    tree = Tree(path, prefix, [], [], [], [])
    for member in list_members(path, limits):
        parts = tuple(member.name.split("/"))
        if not member.is_folder:
            _sort_out(tree, File(parts, member))
        elif not any(map(_is_hidden, parts)):
            tree.folders.append(parts)
    return tree


def loose_tree(root: Path) -> tuple[Tree, list[Path]]:
    """The files below a folder, and the archives among them. Links are followed only to files within the root."""
    tree, archives = Tree(None, "", [], [], [], []), []
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
            file = File((*above, printable(name)), path)
            if kinds[name].is_symlink() and not os.path.realpath(path).startswith(inside + os.sep):
                tree.foreign.append((file.name, "link that leads outside of the root, not followed"))
            elif not kinds[name].is_file():
                tree.foreign.append((file.name, "not a file"))
            elif ARCHIVE_NAME.search(name) and not _is_hidden(name):
                archives.append(Path(path))
            else:
                _sort_out(tree, file)
    return tree, sorted(archives)


def by_kind(files: list[tuple[str, str]]) -> list[Foreign]:
    """What is passed over, one line a kind: the name of a single file, else its pattern."""
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, reason in files:
        kinds[os.path.splitext(name)[1].lower(), reason].append(name)
    return sorted(
        Foreign(min(names) if len(names) == 1 else f"*{extension} (such as {min(names)})", len(names), reason)
        for (extension, reason), names in kinds.items()
    )
