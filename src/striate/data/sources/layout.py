"""Which folders are splits and which are classes: found from the paths alone, at any depth and in any letter case."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from striate.errors import DataError

SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip

OUTSIDE = "outside every class folder"

Parts = tuple[str, ...]


@dataclass
class Layout:
    """Where the pictures of one tree belong.

    Args:
        places: for each picture its (split, class), or None for one that belongs to no class.
        empty: class folders without any picture.
    """

    places: list[tuple[str | None, str] | None]
    empty: list[str] = field(default_factory=list)


class _Tree:
    def __init__(self, pictures: Sequence[Parts], folders: Iterable[Parts]):
        self.direct: Counter[Parts] = Counter(path[:-1] for path in pictures)
        self.below: Counter[Parts] = Counter()
        self.children: dict[Parts, set[str]] = {}
        for folder, count in self.direct.items():
            for depth in range(len(folder) + 1):
                self.below[folder[:depth]] += count
        for folder in {*self.direct, *folders}:
            for depth in range(len(folder)):
                self.children.setdefault(folder[:depth], set()).add(folder[depth])

    def folders(self, at: Parts) -> list[Parts]:
        return [(*at, name) for name in sorted(self.children.get(at, ()))]

    def filled(self, at: Parts) -> list[Parts]:
        return [folder for folder in self.folders(at) if self.below[folder]]

    def has_folders_of_pictures(self, at: Parts) -> bool:
        return self.below[at] > self.direct[at]


def find_layout(pictures: Sequence[Parts], folders: Iterable[Parts], where: str) -> Layout:
    """Finds splits and classes in a tree.

    Descends from the top while there is but one folder with pictures below it. Where a training folder (or only split
    folders) with class folders in it is found, these are the splits; else the folders there are the classes. What lies
    deeper within a class folder belongs to that class.

    Args:
        pictures: paths of pictures, the file name last.
        folders: paths of all folders, also of empty ones.
        where: the name of the tree, for messages.

    Raises:
        DataError: two folders stand for the same split, or splits without class folders.
    """
    tree = _Tree(pictures, folders)
    at: Parts = ()
    while True:
        splits = _split_folders(tree, at, where)
        filled = tree.filled(at)
        if splits or len(filled) != 1 or not tree.has_folders_of_pictures(filled[0]):
            break
        at = filled[0]
    words = {SPLIT_WORDS.get(folder[-1].lower()) for folder in filled} - {None}
    if not splits and len(words) > 1:
        raise DataError(
            f"{where}: the split folders {', '.join(folder[-1] for folder in filled)} have no class folders in them",
            do="lay the pictures out as ROOT/train/CLASS/PICTURE",
        )
    levels: dict[Parts, str | None] = {folder: split for split, folder in splits.items()} if splits else {at: None}
    empty = []
    for level in levels:
        empty += ["/".join(folder) for folder in tree.folders(level) if not tree.below[folder]]
    for folder in tree.folders(at) if splits else ():
        if not tree.below[folder] and folder[-1].lower() in SPLIT_WORDS:
            empty += ["/".join(child) for child in tree.folders(folder)]
    places: list[tuple[str | None, str] | None] = []
    depth = len(at) + bool(splits)
    for path in pictures:
        known = path[:depth] in levels and len(path) > depth + 1
        places.append((levels[path[:depth]], path[depth]) if known else None)
    return Layout(places, empty)


def _split_folders(tree: _Tree, at: Parts, where: str) -> dict[str, Parts]:
    """The splits at a place, or nothing where its folders are something else."""
    found: dict[str, Parts] = {}
    others = 0
    for folder in tree.filled(at):
        split = SPLIT_WORDS.get(folder[-1].lower())
        if split is None:
            others += 1
        elif tree.has_folders_of_pictures(folder):
            if split in found:
                raise DataError(
                    f"{where}: the folders {found[split][-1]!r} and {folder[-1]!r} both stand for the {split} split",
                    do="keep one of them",
                )
            found[split] = folder
    # Without a training folder, a class that happens to be called "test" is no split.
    return found if "train" in found or not others else {}


def split_in_name(name: str) -> str | None:
    """The split that a file name speaks of: cifar10-train.tar → train; None where it names none or several."""
    words = {SPLIT_WORDS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in SPLIT_WORDS}
    return words.pop() if len(words) == 1 else None
