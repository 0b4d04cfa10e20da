"""Which picture belongs to which mask: from folders of equal stems, or from lists, at any depth, in any letter case."""

import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from striate.data.pictures import PICTURE_EXTENSIONS
from striate.data.sources.layout import SPLIT_WORDS
from striate.errors import ConfigurationError, DataError

IMAGE_WORDS = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "rgb")
MASK_WORDS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "annot", "segmentationclass", "segmentations",
    "groundtruth", "gt",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Where the pairs of a split are, or some of them; all paths lie below the base.

    Args:
        images: folder of the pictures.
        masks: folder of the masks; a pair has equal paths in both, but for endings and extensions.
        lists: files that name the pairs: a stem a line, of pictures in `images`; or, without folders, the paths of
            picture and mask. Further columns are passed over. Without lists all that is in the folders is meant.
        without: lists of stems that are not meant.
    """

    images: str | None = None
    masks: str | None = None
    lists: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @classmethod
    def of(cls, split: str, fields: Mapping[str, Any]) -> "Part":
        """From a node of the configuration.

        Raises:
            ConfigurationError: unknown fields, or neither two folders nor lists.
        """
        unknown = set(fields) - {"images", "masks", "lists", "without"}
        lists, without = (tuple(map(str, fields.get(name) or ())) for name in ("lists", "without"))
        part = cls(fields.get("images"), fields.get("masks"), lists, without)
        if unknown or (part.images is None) != (part.masks is None) or not (part.images or lists):
            raise ConfigurationError(
                f"data.source.splits.{split} has {', '.join(fields) or 'nothing'}",
                do="give images and masks (two folders), or lists, or all three; and without, if need be",
            )
        return part

    @property
    def named(self) -> list[str]:
        """All that must be there."""
        return [name for name in (self.images, self.masks, *self.lists, *self.without) if name is not None]


@dataclass(frozen=True)
class Twin:
    """A picture and its mask by their paths, None for what is missing; `key` is what they have in common."""

    key: str
    picture: str | None
    mask: str | None


class Layout:
    """The paths of a tree, and the pairs in it.

    Args:
        files: paths of all files that may be pictures, masks or lists.
        where: the name of the tree, for messages.
        text: gives the content of a list.
        image_ending: what the stems of pictures end with, that those of masks do not have.
        mask_ending: likewise.
    """

    def __init__(
        self,
        files: Sequence[str],
        where: str,
        text: Callable[[str], str],
        image_ending: str = "",
        mask_ending: str = "",
    ):
        self.files, self.where, self.text = files, where, text
        self.image_ending, self.mask_ending = image_ending, mask_ending
        self._known = set(files)
        self._in: dict[str, list[str]] = {"": list(files)}
        for name in files:
            for place, letter in enumerate(name):
                if letter == "/":
                    self._in.setdefault(name[:place], []).append(name)
        self._below: dict[str, dict[str, str]] = {}
        for folder in sorted(filter(None, self._in)):
            above, _, last = folder.rpartition("/")
            self._below.setdefault(above, {})[last.lower()] = last

    def base(self, parts: Iterable[Part]) -> str:
        """The folder nearest to the root in which all that is named lies.

        Raises:
            DataError: there is none; the message names what is missing at the best of them.
        """
        named = sorted({name for part in parts for name in part.named})
        missing = {
            base: [name for name in named if (path := join(base, name)) not in self._in and path not in self._known]
            for base in sorted(self._in, key=lambda folder: (folder.count("/") + bool(folder), folder))
        }
        best = min(missing, key=lambda base: len(missing[base]))
        if missing[best]:
            raise DataError(
                f"{self.where} holds no {missing[best][0]}" + (f" in {best}" if best else ""),
                do="see data.source.splits, which says where pictures and masks are expected",
            )
        return best

    def found(self) -> tuple[str, dict[str, list[Part]]]:
        """The base and the parts of each split ("" where there are no splits), by the usual names of folders and lists.

        Raises:
            DataError: no usual name.
        """
        for base in sorted(self._in, key=lambda folder: (folder.count("/") + bool(folder), folder)):
            children = self._children(base)
            for look in (self._by_lists, self._by_twin_names, self._by_splits, self._by_folders):
                parts = look(base, children)
                if "train" in parts or "" in parts:
                    return base, {split: [part] for split, part in parts.items()}
                if parts:
                    raise DataError(
                        f"{self.where} has no training pictures, only {', '.join(sorted(parts))}",
                        do="name the folder for training train, or see data.source.splits",
                    )
        raise DataError(
            f"{self.where} holds no pictures with masks in a usual place",
            do="lay them out as images/ and masks/ with equal stems, in train/ val/ test/ or with these below, or as "
            "train/ and trainannot/, or give train.txt with the paths of picture and mask on each line; else see "
            "data.source.splits",
        )

    def _children(self, base: str) -> dict[str, str]:
        """Names of folders in lower case → as they are."""
        return self._below.get(base, {})

    def _by_lists(self, base: str, children: Mapping[str, str]) -> dict[str, Part]:
        parts = {}
        for word, split in SPLIT_WORDS.items():
            name = f"{word}.txt"
            path = join(base, name)
            if path not in self._known:
                continue
            lines = list(_lines(self.text(path)))
            if lines and len(lines[0]) > 1 and all(self._resolve(base, column) for column in lines[0][:2]):
                parts[split] = Part(lists=(name,))
        return parts

    def _by_twin_names(self, base: str, children: Mapping[str, str]) -> dict[str, Part]:
        """train/ and trainannot/."""
        parts: dict[str, Part] = {}
        for word, split in SPLIT_WORDS.items():
            for mask_word in MASK_WORDS:
                twin = next((children[word + sign + mask_word] for sign in ("", "_", "-")
                             if word + sign + mask_word in children), None)  # fmt: skip
                if word in children and twin is not None:
                    parts.setdefault(split, Part(children[word], twin))
        return parts

    def _by_splits(self, base: str, children: Mapping[str, str]) -> dict[str, Part]:
        """train/images/ and train/masks/."""
        parts = {}
        for word, split in SPLIT_WORDS.items():
            if word in children:
                below = self._children(join(base, children[word]))
                if pair := _pair_of_words(below):
                    images, masks = (f"{children[word]}/{name}" for name in pair)
                    parts[split] = Part(images, masks)
        return parts

    def _by_folders(self, base: str, children: Mapping[str, str]) -> dict[str, Part]:
        """images/ and masks/, perhaps with train/, val/, test/ in both, or with lists of stems as VOC has them."""
        pair = _pair_of_words(children)
        if pair is None:
            return {}
        images, masks = (self._children(join(base, name)) for name in pair)
        both = {split: Part(f"{pair[0]}/{images[word]}", f"{pair[1]}/{masks[word]}")
                for word, split in SPLIT_WORDS.items() if word in images and word in masks}  # fmt: skip
        listed = {
            split: Part(*pair, lists=(name,))
            for word, split in SPLIT_WORDS.items()
            for place in ("", "ImageSets/Segmentation/")
            if join(base, name := f"{place}{word}.txt") in self._known
        }
        return both or listed or {"": Part(*pair)}

    def pairs(self, base: str, part: Part) -> list[Twin]:
        """The pairs of a part, in the order of its lists, or by their paths.

        Raises:
            DataError: two files with one stem, or a list without a name in it.
        """
        if part.images is None or part.masks is None:
            return [
                self._listed(base, name, columns) for name in part.lists for columns in self._columns(base, name, 2)
            ]
        pictures = self._stems(join(base, part.images), self.image_ending, PICTURE_EXTENSIONS)
        masks = self._stems(join(base, part.masks), self.mask_ending, {*PICTURE_EXTENSIONS, ".mat"})
        keys: Iterable[str] = sorted({*pictures, *masks})
        if part.lists:
            keys = [key for name in part.lists for key, *_ in self._columns(base, name, 1)]
        left_out = {key for name in part.without for key, *_ in self._columns(base, name, 1)}
        return [Twin(key, pictures.get(key), masks.get(key)) for key in dict.fromkeys(keys) if key not in left_out]

    def _stems(self, folder: str, ending: str, extensions: Container[str]) -> dict[str, str]:
        """Path within the folder without ending and extension → path."""
        stems: dict[str, str] = {}
        for path in self._in.get(folder, ()):
            stem, extension = os.path.splitext(path[len(folder) + bool(folder) :])
            if extension.lower() not in extensions or not stem.endswith(ending):
                continue
            other = stems.setdefault(stem.removesuffix(ending), path)
            if other != path:
                raise DataError(f"{self.where}: {other} and {path} bear one name", do="keep one of them")
        return stems

    def _listed(self, base: str, name: str, columns: list[str]) -> Twin:
        picture, mask = (self._resolve(base, column) for column in columns[:2])
        return Twin(columns[0] if picture is None else picture, picture, mask)

    def _columns(self, base: str, name: str, least: int) -> list[list[str]]:
        found = list(_lines(self.text(join(base, name))))
        for columns in found:
            if len(columns) < least:
                raise DataError(f"{self.where}: {name} has the line {columns[0]!r} where picture and mask are expected",
                                do="two paths a line")  # fmt: skip
        if not found:
            raise DataError(f"{self.where}: {name} names nothing", do="a picture a line")
        return found

    def _resolve(self, base: str, path: str) -> str | None:
        """A path out of a list, which may have been written on another machine: its longest end that is there."""
        parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
        for start in range(len(parts)):
            for folder in dict.fromkeys((base, "")):
                if (candidate := join(folder, "/".join(parts[start:]))) in self._known:
                    return candidate
        return None


def join(folder: str, name: str) -> str:
    """A path below a folder of a tree; "" is the tree itself."""
    return f"{folder}/{name}" if folder else name


def _pair_of_words(children: Mapping[str, str]) -> tuple[str, str] | None:
    images = next((children[word] for word in IMAGE_WORDS if word in children), None)
    masks = next((children[word] for word in MASK_WORDS if word in children), None)
    return None if images is None or masks is None else (images, masks)


def _lines(text: str) -> Iterable[list[str]]:
    """Columns of the lines that are not empty nor comments; by commas or tabs where there are any, else by blanks."""
    for line in text.lstrip("\ufeff").splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            sign = next((sign for sign in ("\t", ",") if sign in line), None)
            yield [column.strip() for column in line.split(sign)]
