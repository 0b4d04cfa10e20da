"""The part of `predict` that is for networks which label pixels: masks of the size and name of each picture."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from striate.data.masks import coloured, overlaid
from striate.data.meta import Meta
from striate.data.pictures import MAX_FILE_BYTES, decode
from striate.errors import ConfigurationError, DataError
from striate.evaluation.tables import write_csv
from striate.messages import say, shown
from striate.pipelines.predicting import readable
from striate.pipelines.viewing import look_at_pixels
from striate.storage import atomic_file, storage_errors
from striate.tasks.segmentation import SegmentationTask

KINDS = ("masks", "coloured", "overlays")
_PIXELS = 1 << 20  # of the windows that the network takes at once, where it was trained on pictures of any size


def run(
    config: Mapping[str, Any], task: SegmentationTask, record: Mapping[str, Any], pictures: Mapping[str, Path]
) -> dict[str, float]:
    """Writes masks/NAME.png (class numbers), coloured/NAME.png, overlays/NAME.png and labels.csv.

    Args:
        config: plain, of `predict`.
        task: of the checkpoint, on its device.
        record: what the checkpoint says of itself.
        pictures: name → file.

    Returns:
        How many pictures were labelled (`pictures`) and how many could not be read (`unreadable`).

    Raises:
        ConfigurationError: an output that is no folder.
        DataError: none of the pictures could be read (the table is written all the same).
        StorageError: an output that cannot be written.
    """
    output, meta = Path(config["output"] or "predictions"), Meta.from_dict(record["meta"])
    if output.suffix.lower() in (".csv", ".json"):
        raise ConfigurationError(
            f"output={output}: a network that labels pixels writes masks into a folder",
            nearest=f"output={output.with_suffix('')}",
        )
    with storage_errors(output):  # found now, not after the work
        output.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=output).close()
    height, width = task.preprocessing.shape or (0, 0)
    look_at_pixels(task, config["views"], config["batch_size"] * height * width or _PIXELS)
    if record["config"]["channels_last"]:
        task.network.to(memory_format=torch.channels_last)
    colours, names = (meta.labelling or {})["colours"], names_of_files(pictures)
    rows = list(label(task, meta, pictures, names, output, colours))
    columns = ("name", "mask", *(f"share_{name}" for name in meta.classes), "error")
    write_csv(output / "labels.csv", columns, rows)
    done = readable(rows, output / "labels.csv", config["input"])
    say(f"{done} pictures labelled, {len(rows) - done} not read: {', '.join(KINDS)} and labels.csv in {shown(output)}")
    return {"pictures": done, "unreadable": len(rows) - done}


def names_of_files(pictures: Mapping[str, Path]) -> dict[str, PurePosixPath]:
    """Name of a picture → that of its masks below the output folder: the same with the ending .png.

    Where two pictures would have the same, their own ending stays before it. What leads out of the folder is cut off.
    """
    plain = {
        name: PurePosixPath(*(part for part in Path(name).parts if part not in ("..", os.sep))) for name in pictures
    }
    chosen = {name: path.with_suffix(".png") for name, path in plain.items()}
    longer = {name: path.with_name(f"{path.name}.png") for name, path in plain.items()}
    while True:  # until all differ: what one has with its ending may be what another has without
        counts = Counter(chosen.values())
        shared = [name for name, path in chosen.items() if counts[path] > 1 and path != longer[name]]
        if not shared:
            return chosen
        chosen |= {name: longer[name] for name in shared}


@torch.inference_mode()
def label(
    task: SegmentationTask,
    meta: Meta,
    pictures: Mapping[str, Path],
    names: Mapping[str, PurePosixPath],
    output: Path,
    colours: Any,
) -> Iterator[dict[str, Any]]:
    """Writes what is said of each picture; rows of name, mask, share of the pixels of each class, error or None."""
    device, order = next(task.network.parameters()).device, list(pictures)
    with ThreadPoolExecutor(1) as pool, tqdm(total=len(order), unit="picture", disable=None) as bar:
        # The next picture is decoded while the network works on this one.
        waiting = pool.submit(read, pictures[order[0]], meta.channels)
        for name, following in zip(order, [*order[1:], None], strict=True):
            image = waiting.result()
            if following is not None:
                waiting = pool.submit(read, pictures[following], meta.channels)
            bar.update()
            if isinstance(image, str):
                yield {"name": name, "error": image}
                continue
            try:
                scores = task.label(torch.tensor(image)[None].to(device))
            except ValueError as error:  # what networks say of pictures that are too small for them
                yield {"name": name, "error": " ".join(str(error).split())}
                continue
            mask = scores.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
            drawn = (mask, coloured(mask, colours), overlaid(image, mask, colours))
            for kind, pixels in zip(KINDS, drawn, strict=True):
                write_png(output / kind / names[name], pixels)
            shares = np.bincount(mask.ravel(), minlength=meta.num_classes) / mask.size
            named = {f"share_{label}": float(share) for label, share in zip(meta.classes, shares, strict=True)}
            yield {"name": name, "mask": f"masks/{names[name]}", **named, "error": None}


def read(path: Path, channels: int) -> np.ndarray | str:
    """A picture file as (H, W, C) uint8 at its own size, or the reason why it cannot be read."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return f"the file is larger than {MAX_FILE_BYTES:,} bytes"
        return decode(path.read_bytes(), channels)
    except DataError as error:
        return error.what
    except OSError as error:
        return error.strerror or type(error).__name__


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes (H, W) or (H, W, 3) uint8 as a whole or not at all."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        Image.fromarray(pixels).save(stream, format="PNG")
