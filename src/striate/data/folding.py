"""k-fold cross-validation: the pictures for training and validation, dealt out anew, one fold of which validates.

Mean, deviation and colours remain those of the set's own training split, and the test split remains apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.data.duplicates import equal_in_pack
from striate.data.meta import Meta
from striate.data.pack import Pack, open_pack
from striate.data.splitting import deal_folds
from striate.errors import ConfigurationError

POOL = ("train", "val")  # the splits that are dealt out


class JoinedPack(Pack):
    """Several splits of a set as one, one after the other.

    Args:
        packs: the splits.
    """

    def __init__(self, packs: Sequence[Pack]):
        self._packs = tuple(packs)
        super().__init__(packs[0].folder, "+".join(pack.split for pack in packs), packs[0].channels)

    def __getstate__(self) -> Any:
        return self._packs

    def __setstate__(self, state: Any) -> None:
        self.__init__(state)  # type: ignore[misc]

    def _open(self) -> None:
        self.labels = np.concatenate([pack.labels for pack in self._packs])
        self._starts = np.cumsum([0, *(len(pack) for pack in self._packs[:-1])])

    @property
    def names(self) -> Sequence[str]:
        return [name for pack in self._packs for name in pack.names]

    def read(self, indices: np.ndarray) -> Any:
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        places = [np.flatnonzero(owners == number) for number in range(len(self._packs))]
        parts = [
            pack.read(indices[own] - start) for pack, own, start in zip(self._packs, places, self._starts, strict=True)
        ]
        if isinstance(parts[0], np.ndarray):
            joined = np.empty((len(indices), *parts[0].shape[1:]), np.uint8)
            for own, part in zip(places, parts, strict=True):
                joined[own] = part
            return joined
        found: dict[int, np.ndarray] = {}
        for own, part in zip(places, parts, strict=True):
            found.update(zip(own.tolist(), part, strict=True))
        return [found[place] for place in range(len(indices))]

    @property
    def has_masks(self) -> bool:
        return any(pack.has_masks for pack in self._packs)

    def masks(self, indices: np.ndarray) -> Any:
        raise NotImplementedError("pictures with masks are not dealt out")

    def sizes(self) -> np.ndarray:
        return np.concatenate([pack.sizes() for pack in self._packs])


@dataclass(frozen=True)
class Folds:
    """What `data.folds` and `data.fold` make of a set.

    Args:
        pack: the pictures for training and validation.
        fold_of: (N,) the fold of each of them, -1 where its class is not chosen.
        fold: the one that validates.
    """

    pack: JoinedPack
    fold_of: np.ndarray
    fold: int

    def rows(self, split: str) -> np.ndarray:
        """Rows of the pack that a split has, "train" or "val"."""
        chosen = self.fold_of == self.fold if split == "val" else (self.fold_of != self.fold) & (self.fold_of >= 0)
        return np.flatnonzero(chosen)

    def recut(self, meta: Meta, whole: Meta) -> Meta:
        """The passport of the chosen classes, whatever their order, with the counts of these splits."""
        own = [whole.classes.index(name) for name in meta.classes]
        counted = {
            split: np.bincount(self.pack.labels[self.rows(split)], minlength=whole.num_classes) for split in POOL
        }
        return meta.recut({split: counts[own].tolist() for split, counts in counted.items()})


def pool_of(folder: Path, meta: Meta) -> JoinedPack:
    """The pictures of a prepared set that folds are made of."""
    return JoinedPack([open_pack(folder, split) for split in POOL if split in meta.counts])


def require_fold(folds: int | None, fold: int | None) -> None:
    """Refuses half a statement, and a fold that there is not.

    Raises:
        ConfigurationError: what to say instead.
    """
    if folds is None and fold is not None:
        raise ConfigurationError(f"data.fold={fold} says which, not of how many", do="say both: data.folds=5")
    if folds is not None and fold is None:
        every = ",".join(map(str, range(folds)))
        raise ConfigurationError(
            f"data.folds={folds} does not say which fold validates",
            do=f"one: data.fold=0; one after the other: -m data.folds={folds} data.fold={every}; all with their mean: "
            f"python src/cross_validate.py data.folds={folds}",
        )
    if folds is not None and fold is not None and fold >= folds:
        raise ConfigurationError(
            f"data.fold={fold}: of {folds} folds the last is {folds - 1}", nearest=f"data.fold={folds - 1}"
        )


def dealt(folder: Path, whole: Meta, classes: Sequence[str], folds: int, fold: int, seed: int) -> Folds:
    """The folds of a prepared set: a function of seed, the set of classes chosen, names, and which pictures are equal.

    Args:
        folder: of the prepared set.
        whole: its passport.
        classes: those that take part, by name.
        folds: how many, 2 or more.
        fold: the one that validates, from 0.
        seed: of the run.

    Raises:
        ConfigurationError: pictures with masks, which have no class to deal them out by.
        DataError: a class has fewer different pictures than there are folds.
    """
    if whole.labelling is not None:
        raise ConfigurationError(
            f"data.folds={folds} is not for pictures with masks: a picture shows several classes",
            do="data.folds=null data.fold=null",
        )
    pack = pool_of(folder, whole)
    names, chosen = pack.names, [name for name in whole.classes if name in set(classes)]
    label_of = np.full(whole.num_classes, -1, np.int64)
    label_of[[whole.classes.index(name) for name in chosen]] = np.arange(len(chosen))
    labels = label_of[pack.labels]
    rows, groups = np.flatnonzero(labels >= 0), equal_in_pack(folder, whole, pack, names)
    fold_of = np.full(len(pack), -1, np.int64)
    fold_of[rows] = deal_folds(labels[rows], groups[rows], [names[row] for row in rows.tolist()], chosen, folds, seed)
    return Folds(pack, fold_of, fold)
