"""Any data set class of torchvision: what it knows of splits, labels and downloads is used as it is."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from striate.data.download import remove_if_empty, writable_folder
from striate.data.sources.base import Content, Entry, Inventory, PictureFile, RawFile, Source, printable, raw_files
from striate.errors import ConfigurationError, DataError


class TorchvisionSource(Source):
    """The splits of a data set class of torchvision.

    Where the class can tell the file of a sample (it has a `loader` argument, or attributes that `files` and `labels`
    name), the file itself is taken, so that photographs stay the JPEGs that they are; else the pixels that it gives.

    Args:
        root: the `root` of the class; downloads go there.
        dataset: the class, `_target_` with `_partial_: true` and arguments that all splits share.
        splits: split → arguments that select it, such as {"train": {"train": true}, "test": {"train": false}}.
        classes: names of the classes in the order of the labels; null for those that the class knows.
        download: let the class download what is missing.
        files: attribute of the class that holds the path of each sample, or (path, label), where the class has no
            `loader` argument.
        labels: attribute that holds the labels, beside `files`.
        hint: how to get the data, for the message when they are missing.
    """

    def __init__(
        self,
        root: str,
        dataset: Callable[..., Any],
        splits: Mapping[str, Mapping[str, Any]],
        classes: Sequence[str] | None = None,
        download: bool = True,
        files: str | None = None,
        labels: str | None = None,
        hint: str | None = None,
    ):
        super().__init__(root, hint)
        self.download = download
        self.splits = {split: dict(arguments or {}) for split, arguments in splits.items()}
        if set(self.splits) - {"train", "val", "test"} or "train" not in self.splits:
            raise ConfigurationError(
                f"data.source.splits has {', '.join(self.splits)}; it needs train, and may have val, test"
            )
        self.class_names = None if classes is None else tuple(str(name) for name in classes)
        self.files, self.labels = files, labels
        # What is under a functools.partial, or under the factory that the configuration makes of a node.
        self._class = getattr(dataset, "func", getattr(dataset, "target", dataset))
        self._fixed = {key: value for key, value in getattr(dataset, "keywords", {}).items() if key != "root"}
        self._parameters = inspect.signature(self._class).parameters
        self._name = f"{self._class.__module__}.{self._class.__qualname__}"
        self._opened: dict[str, Any] = {}

    def describe(self) -> dict[str, Any]:
        fixed = {key: str(value) for key, value in self._fixed.items()}
        return {
            **super().describe(),
            "dataset": self._name,
            "arguments": fixed,
            "splits": self.splits,
            "classes": self.class_names,
        }

    def missing(self) -> str | None:
        try:
            self._open_all(download=False)
        except (RuntimeError, FileNotFoundError, ModuleNotFoundError):
            return str(self.root)
        return None

    def fetch(self) -> None:
        download = self.download and "download" in self._parameters
        if download:
            writable_folder(self.root)
        try:
            self._open_all(download=download)
        except ModuleNotFoundError as error:
            raise DataError(f"{self._name} needs the package {error.name}", do=f"pip install {error.name}") from error
        except (RuntimeError, OSError) as error:  # URLError is an OSError
            if download:
                remove_if_empty(self.root)
            raise DataError(
                f"cannot get {self._name}: {' '.join(str(error).split())[:200]}",
                do=self.hint
                or f"put its files into {self.root}" + (", or try again with a network" if download else ""),
            ) from error

    def listing(self) -> list[RawFile]:
        return raw_files(self.root)

    def scan(self) -> Inventory:
        self.fetch()
        classes = self.class_names or _class_names(next(iter(self._opened.values())))
        entries = []
        for split, dataset in self._opened.items():
            labels = self._labels(dataset)
            if labels and not 0 <= min(labels) <= max(labels) < len(classes):
                raise DataError(f"{self._name}: labels from {min(labels)} to {max(labels)} for {len(classes)} classes")
            paths = self._paths(dataset)
            for index, label in enumerate(labels):
                name = f"{split}/{index:06d}" if paths is None else self._relative(paths[index])
                entries.append(Entry(name, classes[label], split))
        return Inventory(classes, entries)

    def read(self, inventory: Inventory) -> Iterator[Content]:
        for dataset in self._opened.values():
            paths = self._paths(dataset)
            for index in range(len(dataset)):
                yield _pixels(dataset[index][0]) if paths is None else PictureFile(paths[index])

    def _open_all(self, download: bool) -> None:
        if self._opened:
            return
        extra: dict[str, Any] = {"download": download} if "download" in self._parameters else {}
        if "loader" in self._parameters:
            extra["loader"] = str  # a sample's picture is then its path
        try:
            self._opened = {
                split: self._class(**{**self._fixed, "root": str(self.root), **arguments, **extra})
                for split, arguments in self.splits.items()
            }
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"data.source: {self._name} refuses its arguments: {' '.join(str(error).split())[:200]}",
                do=f"it accepts {', '.join(self._parameters)}",
            ) from error

    def _paths(self, dataset: Any) -> Sequence[str] | None:
        if self.files is not None:
            # ImageFolder and its kin list (path, label) pairs.
            return [str(item[0] if isinstance(item, tuple) else item) for item in getattr(dataset, self.files)]
        return _LoadedPaths(dataset) if "loader" in self._parameters else None

    def _labels(self, dataset: Any) -> list[int]:
        if self.labels is not None:
            return [int(label) for label in getattr(dataset, self.labels)]
        for attribute in ("targets", "labels", "_labels"):
            values = getattr(dataset, attribute, None)
            if values is not None and len(values) == len(dataset):
                return [int(label) for label in values]
        return [int(dataset[index][1]) for index in range(len(dataset))]

    def _relative(self, path: str) -> str:
        return printable(os.path.relpath(path, self.root))


class _LoadedPaths(Sequence[str]):
    """The paths that a data set hands to its loader."""

    def __init__(self, dataset: Any):
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        return str(self._dataset[index][0])


def _class_names(dataset: Any) -> tuple[str, ...]:
    names = getattr(dataset, "classes", None)
    if names is None:
        raise DataError(f"{type(dataset).__name__} does not name its classes", do="name them: data.source.classes=[…]")
    # ImageNet's classes are tuples of synonyms, of which the first is the usual one; some of these come twice.
    first = [name if isinstance(name, str) else str(name[0]) for name in names]
    whole = [name if isinstance(name, str) else ", ".join(name) for name in names]
    chosen = [one if first.count(one) == 1 else all_names for one, all_names in zip(first, whole, strict=True)]
    # Two of them, a bird and a machine, are called crane and nothing else.
    numbers = [chosen[:place].count(name) + 1 for place, name in enumerate(chosen)]
    return tuple(f"{name} ({number})" if number > 1 else name for name, number in zip(chosen, numbers, strict=True))


def _pixels(image: Any) -> Content:
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return np.asarray(image)
