"""From raw pictures to a prepared set: validated, split, packed, with its passport.

One pass over the raw data: every picture is decoded to its last row and spooled; when all have been seen, equal
pictures are found, splits are cut and the pack is written. The same raw data and options give the same bytes of pack
and passport, whatever the number of processes.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from striate.data import fingerprint
from striate.data.decoding import begin_imports, sensible_workers
from striate.data.making import make_set
from striate.data.masks import Labelling
from striate.data.meta import Meta
from striate.data.pictures import FITS, INTERPOLATIONS, MAX_PIXELS
from striate.data.reporting import show_notes, summary
from striate.data.sources.base import Source
from striate.data.spooling import ARRAY_BYTES, Wanted
from striate.data.workspace import built_aside, sole_maker
from striate.errors import ConfigurationError, nearest
from striate.messages import say


@dataclass(frozen=True)
class Preparation:
    """How raw pictures become a pack.

    Args:
        image_size: side in pixels of the square that all pictures are brought to, or [height, width]; None keeps their
            sizes.
        channels: 1 (grey), 3 (RGB) or "auto": 1 if all pictures are grey.
        fit: how a picture comes to `image_size`: "crop" (its largest middle square), "pad" (the whole on black) or
            "stretch".
        interpolation: "nearest", "box", "bilinear", "bicubic" or "lanczos".
        max_short_side: pixels; larger pictures are shrunk to it, the aspect kept. Without `image_size` only.
        max_pixels: a raw picture that declares more is refused before it is decoded.
        val_fraction: share of the training pictures that becomes the validation split where the raw data have none.
        test_fraction: likewise for the test split. Both are shares of what was for training before; 0 cuts none.
        split_seed: of these cuts.
        bad: what to do when a picture cannot be read: "fail", or "drop" it and say so.
        leaks: what to do when the same picture is in two given splits: "fail", "drop" the one nearer to training, or
            "keep" both and say so.
        pack: "array", "encoded", or "auto": array for pictures of one size that make up at most 2 GB.
        workers: decoding processes; "auto" is one a core.

    Raises:
        ConfigurationError: a value that is not valid.
    """

    image_size: int | Sequence[int] | None = None
    channels: int | str = "auto"
    fit: str = "crop"
    interpolation: str = "bicubic"
    max_short_side: int | None = None
    max_pixels: int = MAX_PIXELS
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    split_seed: int = 0
    bad: str = "fail"
    leaks: str = "fail"
    pack: str = "auto"
    workers: int | str = "auto"

    def __post_init__(self) -> None:
        self._one_of("channels", ("auto", 1, 3))
        self._one_of("fit", FITS)
        self._one_of("interpolation", INTERPOLATIONS)
        self._one_of("bad", ("fail", "drop"))
        self._one_of("leaks", ("fail", "drop", "keep"))
        self._one_of("pack", ("auto", "array", "encoded"))
        self._check_size()
        self._whole("max_short_side", 1, 65536, optional=True)
        self._whole("max_pixels", 1, 1 << 40)
        self._whole("split_seed", 0, 1 << 63)
        if self.workers != "auto":
            self._whole("workers", 1, 1024)
        for key in ("val_fraction", "test_fraction"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise ConfigurationError(f"data.prepare.{key}={value} is not valid: expected 0 or more and below 1")
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigurationError(
                f"data.prepare.val_fraction and test_fraction sum to {self.val_fraction + self.test_fraction:g}",
                do="choose fractions that leave something for training",
            )

    def _one_of(self, key: str, valid: Any) -> None:
        value = getattr(self, key)
        if isinstance(value, bool) or value not in list(valid):
            raise ConfigurationError(
                f"data.prepare.{key}={value} is not valid",
                nearest=nearest(value, valid),
                do=f"one of {', '.join(map(str, valid))}",
            )

    def _whole(self, key: str, least: int, most: int, optional: bool = False) -> None:
        value = getattr(self, key)
        if optional and value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ConfigurationError(
                f"data.prepare.{key}={value} is not valid: expected a whole number from {least} to {most}"
                + (", or null" if optional else "")
            )

    def _check_size(self) -> None:
        size = self.image_size
        if isinstance(size, Sequence):
            sound = len(size) == 2 and all(type(side) is int and 1 <= side <= 8192 for side in size)
            if not sound:
                raise ConfigurationError(f"data.prepare.image_size={list(size)} is not valid: expected [height, width]")
        else:
            self._whole("image_size", 1, 8192, optional=True)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) that all pictures are brought to."""
        if self.image_size is None:
            return None
        height, width = self.image_size if isinstance(self.image_size, Sequence) else (self.image_size,) * 2
        return height, width

    @property
    def geometry(self) -> dict[str, Any]:
        """For `pictures.apply_geometry`."""
        return {
            "image_size": None if self.size is None else list(self.size),
            "fit": self.fit,
            "max_short_side": self.max_short_side if self.size is None else None,
            "interpolation": self.interpolation,
        }

    def options(self) -> dict[str, Any]:
        """What of it shapes the pack."""
        return {key: value for key, value in asdict(self).items() if key != "workers"}

    def wanted(self, count: int, labelling: Labelling | None = None) -> Wanted:
        """How `count` pictures, and masks of this labelling, are to be kept."""
        pack, channels = self.pack, None if self.channels == "auto" else int(self.channels)
        if pack == "auto" and self.size is not None:
            picture_bytes = math.prod(self.size) * ((channels or 3) + (labelling is not None))
            pack = "array" if count * picture_bytes <= ARRAY_BYTES else "encoded"
        expected = count if self.bad == "fail" else None
        return Wanted(pack, channels, self.geometry, self.max_pixels, expected, labelling)


def prepare(
    name: str,
    source: Source,
    preparation: Preparation,
    destination: Path | str,
    *,
    progress: bool = True,
    force: bool = False,
    quiet: bool = False,
) -> Meta:
    """Makes a prepared set, or finds that it is there already.

    The set appears under its name only when it is whole; one that was there before stays until then. Beside it lie
    `.NAME.source.json` (what it was made from) and, after a failure, `NAME.report.csv`.

    Args:
        name: of the set.
        source: the raw pictures; they are fetched if they are missing and the source knows how.
        preparation: how.
        destination: the folder of the set.
        progress: show a progress bar and a table of what was left out.
        force: prepare anew although the same input was prepared before.
        quiet: say nothing when there is nothing to do.

    Returns:
        The passport of the set.

    Raises:
        DataError: raw data missing, broken pictures, leaks between splits, or too few pictures, as the options have it.
        StorageError: no space or no permission.
    """
    destination = Path(destination)
    options = fingerprint.options_hash(name, preparation.options(), source)
    with sole_maker(destination, say):
        meta = None if force else fingerprint.unchanged(destination, source, options)
        if meta is not None:
            if not quiet:
                say(f"{destination} is up to date: same pictures, same options")
            return meta
        if not source.available():
            source.fetch()
        listing = source.listing()
        files, times = fingerprint.files_hashes(listing)
        workers = preparation.workers
        if workers == "auto":
            workers = sensible_workers(sum(file.size for file in listing))
        if int(workers) > 1:
            begin_imports()
        failure_report = destination.with_name(f"{destination.name}.report.csv")
        with built_aside(destination) as folder:
            made = make_set(name, source, preparation, int(workers), folder, failure_report, progress)
        record = fingerprint.Fingerprint(options, files, times, made.contents, made.meta.hash)
        fingerprint.save(destination, record)
        failure_report.unlink(missing_ok=True)
    if progress:
        show_notes(made.notes, destination / "report.csv")
    say(summary(made.meta))
    return made.meta
