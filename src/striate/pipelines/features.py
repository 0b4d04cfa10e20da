"""Features of the pictures of a split: computed once, then read."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from rich.progress import track

from striate import runs
from striate.errors import ConfigurationError
from striate.pipelines.subject import Subject
from striate.storage import atomic_file
from striate.transfer.features import handed_on, pooled


def features_of(subject: Subject, split: str, stages: Sequence[str], most: int, cache: Path) -> dict[str, np.ndarray]:
    """What stages hand on for every picture of a split, without augmentation: out of the cache, else by one pass.

    Args:
        subject: network and pictures.
        split: "train", "val" or "test".
        stages: names.
        most: numbers of a vector, see `transfer.features.pooled`.
        cache: folder of the files; each bears the digest of all that decides its content.

    Returns:
        stage → (N, D) float32.

    Raises:
        StorageError: the cache cannot be written.
    """
    paths = {stage: cache / f"{stage}_{split}_{_key(subject, split, stage, most)}.npz" for stage in stages}
    found = {stage: vectors for stage, path in paths.items() if (vectors := _read(path)) is not None}
    if missing := [stage for stage in stages if stage not in found]:
        computed = _computed(subject, split, missing, most)
        for stage, vectors in computed.items():
            with atomic_file(paths[stage]) as stream:
                np.savez(stream, vectors=vectors)
        found |= computed
    return found


def _key(subject: Subject, split: str, stage: str, most: int) -> str:
    dataset = subject.data.dataset(split)
    pictures = [subject.data.whole.hash, dataset.pack.split, hashlib.sha256(dataset.rows.tobytes()).hexdigest()]
    seen = [subject.data.preprocessing.to_dict(), subject.preprocessing.to_dict()]
    network = [subject.weights, subject.model, stage, most, runs.code_version()["hash"]]
    content = json.dumps([pictures, seen, network], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _read(path: Path) -> np.ndarray | None:
    """A whole file of the cache; None where there is none, or a damaged one (the archive has a checksum)."""
    try:
        with np.load(path) as content:
            return content["vectors"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


@torch.inference_mode()
def _computed(subject: Subject, split: str, stages: Sequence[str], most: int) -> dict[str, np.ndarray]:
    subject.data.test_split = split  # in order, each sample once, as evaluation sees it
    loader, device = subject.data.test_dataloader(), next(subject.network.parameters()).device
    parts: dict[str, list[np.ndarray]] = {stage: [] for stage in stages}
    with handed_on(subject.network, stages) as seen:
        for batch in track(loader, f"features of {split}", total=len(loader), transient=True):
            try:
                subject.network(subject.preprocessing.normalise(batch.images.to(device)))
            except (ValueError, RuntimeError) as error:
                raise ConfigurationError(
                    f"{type(subject.network).__name__} does not take the {batch.images.shape[1]}×"
                    f"{batch.images.shape[2]} pictures of {subject.data.name}: {' '.join(str(error).split())[:300]}",
                    do="bring them to another size: data.input_size=SIDE, or data.prepare.image_size=SIDE",
                ) from error
            for stage in stages:
                parts[stage].append(pooled(seen[stage], most).float().cpu().numpy())
    return {stage: np.concatenate(own) for stage, own in parts.items()}
