"""The passport of a prepared set: `meta.json`, whose hash goes into every checkpoint."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from striate.data.masks import IGNORE
from striate.errors import ConfigurationError, DataError, StorageError, nearest
from striate.storage import write_json

FILE_NAME = "meta.json"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Meta:
    """What a prepared set is. Deterministic: the same raw data and options give the same bytes of `meta.json`.

    Args:
        name: of the set.
        kind: "classification", or "segmentation" where every pixel has a label.
        pack: "array" (pictures of one size) or "encoded" (pictures that keep their sizes).
        classes: class names; the index is the label, and what stands in masks.
        channels: 1 (grey) or 3 (RGB).
        image_size: (height, width) of an array pack's pictures, None for an encoded pack.
        mean: per channel, of the training pixels on a scale of 0 to 1.
        std: likewise; the deviation of the population.
        counts: split → samples of each class; with masks, pictures in which the class occurs. Splits are among "train",
            "val" and "test".
        geometry: how a raw picture was brought to the pack's form, for `pictures.apply_geometry`.
        files: file name → {"bytes", "sha256"} of the files that hold pictures, labels and names.
        hash: SHA-256 of the canonical JSON of everything above: the data hash.
        labelling: with masks only: "ignore_index" (255), "colours" (one [r, g, b] a class), "samples" (split →
            pictures), "pixels" (split → pixels of each class) and "pixels_of_pictures_with" (split → for each class all
            pixels, also unlabelled ones, of the pictures in which it occurs); part of the hash where it is there.
    """

    name: str
    kind: str
    pack: str
    classes: tuple[str, ...]
    channels: int
    image_size: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]
    geometry: dict[str, Any]
    files: dict[str, dict[str, Any]]
    hash: str
    labelling: dict[str, Any] | None = None

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the set has, in the order train, val, test."""
        return tuple(split for split in SPLITS if split in self.counts)

    @property
    def samples(self) -> dict[str, int]:
        """Split → pictures."""
        if self.labelling is not None:
            return dict(self.labelling["samples"])
        return {split: sum(numbers) for split, numbers in self.counts.items()}

    @classmethod
    def create(cls, **fields: Any) -> "Meta":
        """A passport from its fields without `hash`, which follows from them."""
        return _hashed(cls(**fields, hash=""))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        record = json.loads(json.dumps(asdict(self)))
        if self.labelling is None:
            del record["labelling"]
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Meta":
        """From the plain data of `to_dict`, possibly out of a stranger's file.

        Raises:
            DataError: a field is missing, unknown, of a wrong type or out of its range, or the hash does not fit.
        """
        try:
            image_size = record["image_size"]
            meta = cls(
                **{
                    **record,
                    "classes": tuple(record["classes"]),
                    "image_size": None if image_size is None else (int(image_size[0]), int(image_size[1])),
                    "mean": tuple(float(value) for value in record["mean"]),
                    "std": tuple(float(value) for value in record["std"]),
                    "counts": {split: tuple(map(int, counts)) for split, counts in record["counts"].items()},
                    "geometry": dict(record["geometry"]),
                    "files": {file: dict(facts) for file, facts in record["files"].items()},
                }
            )
            fault = meta._fault()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"this is no passport of a prepared set: {type(error).__name__} {error}") from error
        if fault:
            raise DataError(f"this is no valid passport of a prepared set: {fault}")
        return meta

    @classmethod
    def load(cls, folder: Path | str) -> "Meta":
        """Reads `folder/meta.json`.

        Raises:
            DataError: there is none, that is, the set was not prepared.
            StorageError: it is damaged or was edited by hand.
        """
        path = Path(folder) / FILE_NAME
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(
                f"there is no prepared set in {path.parent}",
                do=f"python src/prepare.py data={path.parent.name} (a folder of your own: data=folder data.root=PATH)",
            ) from error
        except (DataError, ValueError, OSError) as error:
            raise StorageError(
                f"{path} is damaged: {str(error).splitlines()[0]}", do=f"remove {path.parent} and prepare the set anew"
            ) from error

    def save(self, folder: Path) -> None:
        """Writes `folder/meta.json`, as a whole or not at all."""
        write_json(folder / FILE_NAME, self.to_dict())

    def subset(self, classes: Sequence[str]) -> "Meta":
        """The passport of some of the classes, in the given order: label i is `classes[i]`. Mean and deviation stay.

        Raises:
            ConfigurationError: an unknown class, one named twice, or fewer than two.
        """
        chosen = tuple(str(name) for name in classes)
        for name in chosen:
            if name not in self.classes:
                raise ConfigurationError(f"{self.name} has no class {name!r}", nearest=nearest(name, self.classes))
        if len(chosen) < 2 or len(set(chosen)) < len(chosen):
            raise ConfigurationError(f"expected at least two different classes, got {', '.join(chosen) or 'none'}")
        places = [self.classes.index(name) for name in chosen]
        counts = {split: tuple(numbers[place] for place in places) for split, numbers in self.counts.items()}
        labelling = self.labelling and {
            **self.labelling,
            "colours": [self.labelling["colours"][place] for place in places],
            **{
                key: {split: [numbers[place] for place in places] for split, numbers in self.labelling[key].items()}
                for key in ("pixels", "pixels_of_pictures_with")
            },
        }
        return _hashed(replace(self, classes=chosen, counts=counts, labelling=labelling))

    def recut(self, counts: Mapping[str, Sequence[int]]) -> "Meta":
        """The passport of the same pictures in other splits, of which these are the counts."""
        return _hashed(replace(self, counts={**self.counts, **{split: tuple(own) for split, own in counts.items()}}))

    def _fault(self) -> str | None:
        size_fits = (self.image_size is not None and min(self.image_size) >= 1) == (self.pack == "array")
        conditions = {
            "kind": self.kind == ("classification" if self.labelling is None else "segmentation"),
            "labelling": self.labelling is None or _labelling_fits(self.labelling, len(self.classes), set(self.counts)),
            "pack": self.pack in ("array", "encoded"),
            "name": isinstance(self.name, str) and bool(self.name),
            "classes": len(set(self.classes)) == len(self.classes) >= 2
            and all(isinstance(name, str) for name in self.classes),
            "channels": self.channels in (1, 3),
            "image_size": size_fits,
            "mean": len(self.mean) == self.channels and all(0 <= value <= 1 for value in self.mean),
            "std": len(self.std) == self.channels and all(0 <= value <= 1 for value in self.std),
            "counts": "train" in self.counts
            and set(self.counts) <= set(SPLITS)
            and all(len(numbers) == len(self.classes) and min(numbers) >= 0 for numbers in self.counts.values()),
        }
        for field, holds in conditions.items():
            if not holds:
                return f"{field} is {getattr(self, field)!r}"
        return None if self.hash == _digest(self) else "its hash does not fit its content"


def _labelling_fits(labelling: Mapping[str, Any], classes: int, splits: set[str]) -> bool:
    """Whether it has its fields, and these a value for each class and split."""
    fields = {"ignore_index", "colours", "samples", "pixels", "pixels_of_pictures_with"}
    tables = [labelling[name] for name in ("pixels", "pixels_of_pictures_with")]
    return (
        set(labelling) == fields
        and labelling["ignore_index"] == IGNORE
        and [len(colour) for colour in labelling["colours"]] == [3] * classes
        and all(0 <= int(value) <= 255 for colour in labelling["colours"] for value in colour)
        and set(labelling["samples"]) == splits
        and min(map(int, labelling["samples"].values())) >= 0
        and all(set(table) == splits for table in tables)
        and all(len(row) == classes and min(map(int, row)) >= 0 for table in tables for row in table.values())
    )


def _digest(meta: Meta) -> str:
    content = {field: value for field, value in meta.to_dict().items() if field != "hash"}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _hashed(meta: Meta) -> Meta:
    return replace(meta, hash=_digest(meta))
