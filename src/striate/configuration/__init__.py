"""The strict configuration: `command` for scripts, `compose` for tests, `build` for what a node describes.

    @command("train")
    def main(cfg: DictConfig) -> None:
        network = build(cfg.model, num_classes=10, in_channels=1)

Importing this package imports neither torch nor Lightning.
"""

from striate.configuration.building import Factory, build, resolved
from striate.configuration.checking import check, plain
from striate.configuration.command import command
from striate.configuration.composition import FOLDER, REPOSITORY, compose
from striate.configuration.keys import InvalidEntry
from striate.configuration.masking import masked, masked_command

__all__ = [
    "FOLDER",
    "REPOSITORY",
    "Factory",
    "InvalidEntry",
    "build",
    "check",
    "command",
    "compose",
    "masked",
    "masked_command",
    "plain",
    "resolved",
]
