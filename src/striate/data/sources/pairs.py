"""Pictures with masks: two folders with equal stems, or lists of pairs, loose or in archives."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from striate.data.download import remove_if_empty, writable_folder
from striate.data.masks import IGNORE, MOST_CLASSES, Labelling, palette
from striate.data.pictures import PICTURE_EXTENSIONS
from striate.data.sources.archives import ARCHIVE_NAME, Limits, Member, open_members
from striate.data.sources.base import (
    Entry,
    Inventory,
    OneContent,
    Pair,
    PictureFile,
    RawFile,
    Source,
    Unreadable,
    raw_file,
    raw_files,
)
from striate.data.sources.pair_layout import Layout, Part, Twin, join
from striate.data.sources.trees import NO_PICTURE, archive_tree, by_kind, loose_tree
from striate.errors import ConfigurationError, DataError
from striate.messages import say

_Handle = tuple[Path | None, str | Member]
"""Where a file is: in which archive, and its path or place there."""

_Places = tuple[_Handle | Unreadable, _Handle | Unreadable]
Colour = Sequence[int]


@dataclass
class _PairInventory(Inventory):
    pairs: tuple[_Places, ...] = ()


class PairSource(Source):
    """Pictures with a mask each.

    Found by themselves, at any depth and in any letter case: `images/` and `masks/` (with train, val and test in both,
    or both in each of these), `train/` and `trainannot/`, or `train.txt` with the paths of picture and mask on each
    line. Anything else is said by `splits`. A folder of archives (.tar, .zip) is read as if they were unpacked there.

    Args:
        root: a folder or an archive.
        classes: names, the place being the number; or a file with one a line, perhaps with its colour (`NAME R G B`,
            `R G B NAME` or a CSV with a header), relative to `root` where it is a folder.
        values: class → value or values in the masks; null: its number, counted from `first_value`.
        colours: class → [red, green, blue], in which it is drawn, and which masks have if `read_as` is "colour".
        read_as: "value" (grey values, or indices of a palette) or "colour".
        ignore: values (or colours) that do not count; null: 255 (or none).
        unknown: what other values are: "fail" refuses the mask, "ignore" does not count them.
        splits: split → its parts, see `pair_layout.Part`; null: found.
        image_ending: what pictures' names end with before the extension, and masks' do not.
        mask_ending: likewise; other files beside the masks are passed over.
        downloads: data set classes of torchvision, `_partial_`, which fetch the data into `root` when it is missing.
        first_value: in the masks, of the first class, where `values` is null.
        hint: how to get the data, for the message when they are missing.
        max_members: members that an archive may have.
        max_bytes: that an archive may unpack to.
        max_ratio: of that to the archive's size.

    Raises:
        ConfigurationError: classes, values, colours or splits that do not fit together.
    """

    def __init__(
        self,
        root: str,
        classes: Sequence[str] | str,
        values: Mapping[str, int | Sequence[int]] | None = None,
        colours: Mapping[str, Colour] | None = None,
        read_as: Literal["value", "colour"] = "value",
        ignore: Sequence[int | Colour] | None = None,
        unknown: Literal["fail", "ignore"] = "fail",
        splits: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        image_ending: str = "",
        mask_ending: str = "",
        downloads: Sequence[Callable[..., Any]] = (),
        first_value: Annotated[int, Ge(0)] = 0,
        hint: str | None = None,
        max_members: int = Limits.members,
        max_bytes: int = Limits.total_bytes,
        max_ratio: float = Limits.ratio,
    ):
        super().__init__(root, hint)
        self.classes = classes if isinstance(classes, str) else tuple(str(name) for name in classes)
        self.values, self.colours = values, None if colours is None else {str(k): tuple(v) for k, v in colours.items()}
        self.read_as, self.unknown = read_as, unknown
        self.ignore = ((IGNORE,) if read_as == "value" else ()) if ignore is None else tuple(ignore)
        self.parts = None if splits is None else _parts(splits)
        self.image_ending, self.mask_ending = image_ending, mask_ending
        self.downloads, self.first_value = tuple(downloads), first_value
        self.limits = Limits(max_members, max_bytes, max_ratio)
        if not isinstance(self.classes, str):
            self._labelling(self.classes, self.colours)  # so that mistakes are told before anything is read

    def describe(self) -> dict[str, Any]:
        parts: Any = self.parts and {split: [vars(part) for part in several] for split, several in self.parts.items()}
        # Classes come by a file perhaps, whose content is what matters.
        classes = self.classes if not isinstance(self.classes, str) or not self.available() else self._table()[0]
        return {
            **super().describe(), "classes": classes, "values": self.values, "first_value": self.first_value,
            "colours": self.colours, "read_as": self.read_as, "ignore": self.ignore, "unknown": self.unknown,
            "splits": parts, "endings": [self.image_ending, self.mask_ending],
        }  # fmt: skip

    def missing(self) -> str | None:
        if self.root.is_file():
            return None
        walked = [(Path(folder), bool(files)) for folder, _, files in os.walk(self.root)]
        # Of a download that broke off there may be a part.
        whole = not self.downloads or not self.parts or any(self._all_in(folder) for folder, _ in walked)
        return None if whole and any(files for _, files in walked) else str(self.root)

    def _all_in(self, base: Path) -> bool:
        return all((base / name).exists() for part in chain(*(self.parts or {}).values()) for name in part.named)

    def fetch(self) -> None:
        if self.available() or not self.downloads:
            super().fetch()
            return
        folder = writable_folder(self.root)
        for dataset in self.downloads:
            name = getattr(dataset, "target", getattr(dataset, "func", dataset)).__name__
            say(f"downloading torchvision's {name} into {folder}")
            try:
                dataset(root=str(folder), download=True)
            except (RuntimeError, OSError, ModuleNotFoundError) as error:  # URLError is an OSError
                remove_if_empty(folder)
                raise DataError(
                    f"cannot get torchvision's {name}: {' '.join(str(error).split())[:200]}",
                    do=self.hint or f"put its files into {self.root}, or try again with a network",
                ) from error

    def listing(self) -> list[RawFile]:
        if self.root.is_file():
            return [raw_file(self.root, self.root.parent)]
        return raw_files(self.root)

    def scan(self) -> Inventory:
        classes, colours = self._table()
        labelling = self._labelling(classes, colours)
        handles, foreign = self._files()
        layout = Layout(
            list(handles), str(self.root), lambda path: _text(handles[path]), self.image_ending, self.mask_ending
        )
        base, parts = (layout.base(chain(*self.parts.values())), self.parts) if self.parts else layout.found()
        entries: list[Entry] = []
        masks, pairs = [], []
        for split, several in parts.items():
            taken: set[str] = set()
            for part in several:
                twins = [twin for twin in layout.pairs(base, part) if twin.key not in taken]
                taken |= {twin.key for twin in twins}
                for twin in twins:
                    entries.append(Entry(twin.picture or twin.mask or twin.key, "", split or None))
                    masks.append(twin.mask or "")
                    pairs.append(_places(twin, handles))
        if not entries:
            raise DataError(f"{self.root} holds no pictures with masks", do="see data.source.splits")
        used = {entry.name for entry in entries} | set(masks)
        used |= {join(base, name) for part in chain(*parts.values()) for name in (*part.lists, *part.without)}
        foreign += [(path, _why_unused(path)) for path in handles if path not in used]
        return _PairInventory(tuple(classes), entries, by_kind(foreign), labelling, masks, tuple(pairs))

    def read(self, inventory: Inventory) -> Iterator[Pair]:
        assert isinstance(inventory, _PairInventory)
        with ExitStack() as stack:
            readers: dict[Path, Callable[[Member], OneContent]] = {}

            def content(place: _Handle | Unreadable) -> OneContent:
                if isinstance(place, Unreadable):
                    return place
                archive, handle = place
                if archive is None:
                    return PictureFile(handle)
                if archive not in readers:
                    readers[archive] = stack.enter_context(open_members(archive))
                return readers[archive](handle)  # type: ignore[arg-type]

            for picture, mask in inventory.pairs:
                yield Pair(content(picture), content(mask))

    def _files(self) -> tuple[dict[str, _Handle], list[tuple[str, str]]]:
        """All files by their paths, and what is passed over."""
        if self.root.is_file():
            trees = [archive_tree(_random_access(self.root), "", self.limits)]
        else:
            loose, archives = loose_tree(self.root)
            trees = [loose]
            if loose.pictures:
                loose.foreign += [(os.path.relpath(path, self.root), "archive beside pictures") for path in archives]
            else:
                trees += [archive_tree(_random_access(path), "", self.limits) for path in archives]
        handles: dict[str, _Handle] = {}
        foreign = [pair for tree in trees for pair in tree.foreign]
        for tree in trees:
            for file in (*tree.pictures, *tree.others):
                if handles.setdefault(file.name, (tree.archive, file.handle))[0] != tree.archive:
                    foreign.append((f"{tree.archive}: {file.name}", "the same path as in another archive"))
        return handles, foreign

    def _table(self) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]] | None]:
        """Class names and their colours."""
        if not isinstance(self.classes, str):
            return self.classes, self.colours
        path = self.root / self.classes if self.root.is_dir() else Path(self.classes)
        try:
            rows = read_classes(path.expanduser().read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"the list of classes {path} cannot be read", do="data.source.classes=[…] or FILE"
            ) from error
        colours = {name: colour for name, colour in rows if colour is not None}
        return tuple(name for name, _ in rows), self.colours or (colours if len(colours) == len(rows) else None)

    def _labelling(self, classes: Sequence[str], colours: Mapping[str, tuple[int, ...]] | None) -> Labelling:
        key = "data.source"
        if not 2 <= len(classes) <= MOST_CLASSES or len(set(classes)) < len(classes):
            raise ConfigurationError(f"{key}.classes has {len(classes)} names", do=f"2 to {MOST_CLASSES}, each once")
        for what, table in (("values", self.values), ("colours", colours)):
            if table is not None and set(map(str, table)) != set(classes):
                other = sorted(set(map(str, table)) ^ set(classes))
                raise ConfigurationError(f"{key}.{what} and {key}.classes do not name the same: {', '.join(other[:5])}")
        if self.read_as == "colour" and colours is None:
            raise ConfigurationError(f"{key}.colours is missing", do="{class: [red, green, blue]} for every class")
        drawn = [tuple(colours[name]) for name in classes] if colours else list(map(tuple, palette(len(classes))))
        if self.read_as == "colour":
            codes: list[tuple[Any, int]] = [(colour, label) for label, colour in enumerate(drawn)]
        else:
            named = self.values or {name: label for label, name in enumerate(classes, self.first_value)}
            codes = [(value, label) for label, name in enumerate(classes) for value in _several(named[name])]
        codes += [(tuple(code) if isinstance(code, Sequence) else code, IGNORE) for code in self.ignore]
        numbers = [(_code(code, self.read_as), label) for code, label in codes]
        if len({number for number, _ in numbers}) < len(numbers):
            raise ConfigurationError(f"{key}: a {self.read_as} stands for two classes, or for one and to be ignored")
        return Labelling(tuple(classes), tuple(numbers), tuple(map(_rgb, drawn)), self.read_as, self.unknown)


def read_classes(text: str) -> list[tuple[str, tuple[int, ...] | None]]:
    """Names and colours out of a list of classes: a name a line, or NAME R G B, or R G B NAME, by blanks or commas."""
    rows: list[tuple[str, tuple[int, ...] | None]] = []
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#") or re.search(r"\br\W+g\W+b$", line.lower()):
            continue
        first = re.fullmatch(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(.+)", line)
        last = re.fullmatch(r"(.+?)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\d+)", line)
        if first:
            rows.append((first[4], tuple(map(int, first.groups()[:3]))))
        elif last:
            rows.append((last[1], tuple(map(int, last.groups()[1:]))))
        else:
            rows.append((line, None))
    return rows


def _parts(splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Part]]:
    if set(splits) - {"train", "val", "test"} or "train" not in splits:
        raise ConfigurationError(f"data.source.splits has {', '.join(splits)}; it needs train, and may have val, test")
    return {split: [Part.of(split, fields) for fields in several] for split, several in splits.items()}


def _several(value: int | Sequence[int]) -> Sequence[int]:
    return value if isinstance(value, Sequence) else [value]


def _code(code: Any, read_as: str) -> int:
    if read_as == "colour":
        red, green, blue = _rgb(code)
        return red << 16 | green << 8 | blue
    if type(code) is not int or not 0 <= code < 1 << 16:
        raise ConfigurationError(f"data.source: {code} is no value of a mask", do="whole numbers from 0 to 65535")
    return code


def _rgb(colour: Any) -> tuple[int, int, int]:
    values = tuple(colour) if isinstance(colour, Sequence) else ()
    if len(values) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in values):
        raise ConfigurationError(f"data.source: {colour} is no colour", do="[red, green, blue], each from 0 to 255")
    return values


def _random_access(path: Path) -> Path:
    if not ARCHIVE_NAME.search(path.name):
        raise DataError(f"{path} is neither a folder nor a .tar or .zip", do="data.root=FOLDER_OR_ARCHIVE")
    if path.suffix.lower() not in (".tar", ".zip"):
        raise DataError(
            f"{path} is compressed as a whole: a picture and its mask lie far from each other in it",
            do="unpack it, or decompress it to a .tar",
        )
    return path


def _text(handle: _Handle) -> str:
    archive, place = handle
    if archive is None:
        return Path(str(place)).read_text(encoding="utf-8", errors="replace")
    with open_members(archive) as read:
        content = read(place)  # type: ignore[arg-type]
    return content.decode("utf-8", "replace") if isinstance(content, bytes) else ""


def _places(twin: Twin, handles: Mapping[str, _Handle]) -> _Places:
    if twin.picture is not None and twin.mask is not None:
        return handles[twin.picture], handles[twin.mask]
    if twin.picture is None and twin.mask is None:
        reason = Unreadable("listed, but neither picture nor mask is there")
    else:
        reason = Unreadable("it has no mask" if twin.mask is None else "a mask without a picture")
    return reason, reason


def _why_unused(path: str) -> str:
    extension = os.path.splitext(path)[1].lower()
    return "in no pair" if extension in PICTURE_EXTENSIONS or extension == ".mat" else NO_PICTURE
