"""Picture files that a person names: one, a folder of them, or a pattern."""

import glob
from pathlib import Path

import numpy as np

from striate.data.multiview import Views
from striate.data.pictures import MAX_FILE_BYTES, PICTURE_EXTENSIONS
from striate.data.preprocessing import Preprocessing
from striate.errors import DataError


def find_pictures(pattern: str) -> dict[str, Path]:
    """The picture files of a file, a folder (with all below it) or a pattern (`**` is any depth), in sorted order.

    Returns:
        name → file; a name is relative to the folder, or as the pattern gives it.

    Raises:
        DataError: there are none.
    """
    place = Path(pattern).expanduser()
    if place.is_dir():
        files = (path for path in place.rglob("*") if path.suffix.lower() in PICTURE_EXTENSIONS and path.is_file())
        found = {path.relative_to(place).as_posix(): path for path in sorted(files)}
        what = f"input={pattern}: the folder holds no picture"
    elif place.is_file():
        return {pattern: place}
    else:
        found = {name: Path(name) for name in sorted(glob.glob(str(place), recursive=True)) if Path(name).is_file()}
        what = f"input={pattern}: there is no file of that name or pattern"
    if not found:
        raise DataError(what, do="name a picture, a folder with pictures, or a pattern such as 'photos/**/*.jpg'")
    return found


def read_for_network(path: Path, preprocessing: Preprocessing, views: Views) -> list[np.ndarray] | str:
    """What a network sees of a picture file, each (H, W, C) uint8, or the reason why the file cannot be read."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return f"the file is larger than {MAX_FILE_BYTES:,} bytes"
        return views(preprocessing.packed(path.read_bytes()), preprocessing)
    except DataError as error:
        return error.what
    except OSError as error:
        return error.strerror or type(error).__name__
