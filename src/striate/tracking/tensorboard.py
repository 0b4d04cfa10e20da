"""TensorBoard, in the run directory: `tensorboard --logdir runs` compares all runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from striate.errors import Ending
from striate.tracking.base import Session, Tracker, missing

FOLDER = "tensorboard"


class TensorBoardTracker(Tracker):
    """Writes event files below the run directory; a run that goes on writes another one beside them."""

    title = "TensorBoard"

    def __init__(self, session: Session):
        from torch.utils.tensorboard import SummaryWriter

        super().__init__(session)
        folder = session.folder / FOLDER
        self.continues = any(folder.glob("events.*"))
        self._writer: Any = None

        def begin() -> None:
            self._writer = SummaryWriter(str(folder))

        self._tell(begin)

    def _own(self) -> Any:
        return self._writer

    def _figures(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def _parameters(self, parameters: Mapping[str, Any]) -> None:
        rows = "\n".join(f"| {key} | {str(value).replace('|', '∣')} |" for key, value in parameters.items())
        self._writer.add_text("configuration", f"| key | value |\n| --- | --- |\n{rows}", 0)

    def _picture(self, key: str, path: Path, step: int) -> None:
        with Image.open(path) as picture:
            self._writer.add_image(key, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def _summary(self, figures: Mapping[str, float | str]) -> None:
        rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
        self._writer.add_text("summary", f"| figure | value |\n| --- | --- |\n{rows}", 0)

    def _end(self, ending: Ending) -> None:
        self._writer.add_text("status", f"{ending.state} {ending.reason}".strip(), 0)
        self._writer.close()


def tensorboard_logger(session: Session) -> Tracker:
    """TensorBoard's event files in the run directory.

    Args:
        session: the run.

    Raises:
        ConfigurationError: TensorBoard is not installed.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise missing(error, "tensorboard") from error
    return TensorBoardTracker(session)
