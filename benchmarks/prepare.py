"""`prepare` against what the decoder allows, and its peak memory with the size of the set.

    python benchmarks/prepare.py

The floor decodes the same files with `cv2.imdecode` in as many processes as `prepare` uses, and does nothing else.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import psutil

from measuring import ROOT, Case, Row, environment, interleaved, memory_of, options, report

# PyTorch is imported where it is needed: the decoding processes import this file too.

SETS = {"JPEG 500×375": (500, 375), "JPEG 32×32": (32, 32)}
PACKS = {500: "encoded", 32: "array"}  # what sets of such pictures mostly become


def prepare_once(raw: Path, destination: Path, workers: int, short_side: int | None, pack: str) -> dict[str, float]:
    """Wall seconds of `prepare`, imports excluded."""
    from striate.data.preparation import Preparation, prepare
    from striate.data.sources.folder import FolderSource

    preparation = Preparation(workers=workers, max_short_side=short_side, pack=pack, leaks="keep")
    start = time.perf_counter()
    prepare("measured", FolderSource(str(raw)), preparation, destination, progress=False)
    figures = {"wall": time.perf_counter() - start}
    shutil.rmtree(destination)
    return figures


def decode_once(raw: Path, workers: int, keep: bool) -> dict[str, float]:
    """Wall seconds of reading and decoding alone; the start of the processes is excluded.

    With `keep` freed memory stays in the processes, as in `prepare`: twice as fast for large pictures.
    """
    files = sorted(str(path) for path in raw.rglob("*.jp*g"))
    parts = [files[start : start + 64] for start in range(0, len(files), 64)]
    with multiprocessing.get_context("spawn").Pool(workers, _begin, (keep,)) as pool:
        pool.map(_decode_files, parts[: 4 * workers], chunksize=1)  # until all have their imports done
        start = time.perf_counter()
        pool.map(_decode_files, parts, chunksize=1)
        return {"wall": time.perf_counter() - start}


def _begin(keep: bool) -> None:
    import cv2

    from striate.allocation import keep_freed_memory

    cv2.setNumThreads(0)
    if keep:
        keep_freed_memory()


def _decode_files(paths: Sequence[str]) -> None:
    import cv2
    import numpy as np

    for path in paths:
        assert cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB) is not None


def measured(action: str, **order: object) -> dict[str, float]:
    """The figures of `prepare_once` or `decode_once` in a process of its own, and its peak memory.

    The memory is anonymous, in MiB, of all its processes together.
    """
    words = [sys.executable, "benchmarks/prepare.py", "--do", json.dumps({"action": action, **order}, default=str)]
    peak = 0.0
    with subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, memory_of(watched)["anonymous"])
            time.sleep(0.02)
        output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors.decode(errors="replace"))
    return {**json.loads(output.splitlines()[-1]), "peak": peak}


def speed_rows(name: str, raw: Path, folder: Path, workers: int, repetitions: int, short_side: int | None) -> list[Row]:
    """Wall seconds against the decoder."""

    def take(action: str, **order: object) -> float:
        return measured(action, raw=raw, workers=workers, **order)["wall"]

    pack = PACKS[SETS[name][0]]
    made = {"destination": folder / f"made_{raw.name}", "short_side": short_side, "pack": pack}
    floors = {"decoder alone": False, "decoder alone, memory kept": True}
    cases = [
        Case("Striate", lambda: take("prepare", **made)),
        *(Case(name, partial(take, "decode", keep=keep)) for name, keep in floors.items()),
    ]
    wall = interleaved(cases, repetitions, warm_up=False)
    what = f"prepare, {name}{f', short side {short_side}' if short_side else ''}, {pack} pack, {workers} processes"
    # With a short side the pictures are also resized and encoded anew, which the floor does not do.
    least = 0.8 if short_side is None else None
    return [
        Row(what, "s", wall["Striate"], floor, wall[floor], None if keep else least) for floor, keep in floors.items()
    ]


def memory_row(small: Path, large: Path, times: int, folder: Path, workers: int) -> Row:
    """Peak memory of a set and of one some times as large."""
    peaks = []
    for raw in (large, small):
        order = {
            "raw": raw,
            "destination": folder / "made_memory",
            "workers": workers,
            "short_side": None,
            "pack": "encoded",
        }
        peaks.append((measured("prepare", **order)["peak"],))
    what = f"prepare, peak memory of all processes, a set {times} times as large"
    return Row(what, "MiB", peaks[0], "the set", peaks[1], least=0.8)


def measure(folder: Path, repetitions: int, quick: bool) -> list[Row]:
    """All rows."""
    import pictures

    workers = len(os.sched_getaffinity(0))
    rows, raws = [], {}
    counts = {"JPEG 500×375": 96, "JPEG 32×32": 300} if quick else {"JPEG 500×375": 6000, "JPEG 32×32": 50000}
    for name, size in SETS.items():
        raws[name] = pictures.jpegs(folder / f"jpegs{size[0]}", counts[name], size)
        rows += speed_rows(name, raws[name], folder, workers, repetitions, None)
    if quick:
        return rows
    large = raws["JPEG 500×375"]
    rows += speed_rows("JPEG 500×375", large, folder, workers, repetitions, 256)
    small = pictures.jpegs(folder / "jpegs500_few", counts["JPEG 500×375"] // 4)
    return [*rows, memory_row(small, large, 4, folder, workers)]


def do(order: dict) -> dict[str, float]:
    """The child's part."""
    raw, workers = Path(order["raw"]), int(order["workers"])
    if order["action"] == "decode":
        return decode_once(raw, workers, order["keep"])
    return prepare_once(raw, Path(order["destination"]), workers, order["short_side"], order["pack"])


def main() -> None:
    parser = options(__doc__, repetitions=3)
    parser.add_argument("--do", type=json.loads, help="only this, in this process")
    chosen = parser.parse_args()
    if chosen.do is not None:
        print(json.dumps(do(chosen.do)))
        return
    from pictures import workplace

    with workplace(chosen.folder) as folder:
        report("Prepare", measure(folder, 1 if chosen.quick else chosen.repetitions, chosen.quick), chosen.json)


if __name__ == "__main__":
    main()
