"""Which data and first weights a training would meet if it began now, without beginning it."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from striate.errors import StriateError
from striate.pipelines import starting
from striate.pipelines.train import build_datamodule
from striate.storage import sha256_of


def hashes_of(config: Mapping[str, Any]) -> dict[str, str] | None:
    """Hashes of the data and of the file of first weights, as a run keeps them; None where they are not there yet.

    Args:
        config: of a training, plain and checked; not changed.
    """
    own = deepcopy(dict(config))
    try:
        starting.settle(own)
        datamodule = build_datamodule(own)
        if not (datamodule.folder / "meta.json").is_file():
            return None
        weights = "" if own["init"]["kind"] == "none" else sha256_of(starting.locate(own)[0])
        return {"data": datamodule.meta.hash, "weights": weights}
    except (StriateError, OSError):
        return None
