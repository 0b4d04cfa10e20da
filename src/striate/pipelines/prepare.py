"""`python src/prepare.py`: from raw pictures to a validated, split, packed set."""

from typing import Any

from omegaconf import DictConfig

from striate.configuration import build, plain
from striate.data.module import ImageDataModule
from striate.data.preparation import prepare
from striate.data.restoring import restore_raw
from striate.errors import ConfigurationError


def run(cfg: DictConfig) -> dict[str, Any]:
    """Prepares the set of a configuration, restoring pinned raw data first.

    Returns:
        The passport of the set as plain data.

    Raises:
        ConfigurationError, DataError, StorageError: as the preparation says.
    """
    config = plain(cfg)
    datamodule: ImageDataModule = build(config["data"], "data")
    if datamodule.source is None or datamodule.preparation is None:
        raise ConfigurationError(
            f"data={datamodule.name} has no source to prepare from", do="give data.source and data.prepare"
        )
    restore_raw(datamodule.source, datamodule.name)
    source, preparation, folder = datamodule.source, datamodule.preparation, datamodule.folder
    return prepare(datamodule.name, source, preparation, folder, force=config["force"]).to_dict()
