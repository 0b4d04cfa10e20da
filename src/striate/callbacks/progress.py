"""The progress bar, at a price that small networks do not feel."""

import time

from lightning.pytorch.callbacks import TQDMProgressBar

INTERVAL = 0.2  # seconds: faster than anybody reads


class ProgressBar(TQDMProgressBar):
    """Lightning's bar, drawn by the clock instead of by the step: as fresh where a step takes a minute as it is cheap
    where one takes a millisecond.

    Args:
        leave: keep the bar of each epoch on the screen.
    """

    def __init__(self, leave: bool = False):
        super().__init__(refresh_rate=1, leave=leave)
        self._drawn = 0.0

    def _should_update(self, current: int, total: int | float) -> bool:
        now = time.monotonic()
        if not self.is_enabled or (current != total and now - self._drawn < INTERVAL):
            return False
        self._drawn = now
        return True
