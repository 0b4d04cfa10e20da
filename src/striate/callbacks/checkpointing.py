"""Checkpoints from which a run goes on to the bit, and the stop that leaves one behind."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from striate.callbacks.history import validated
from striate.errors import ConfigurationError, InterruptedRun, StorageError
from striate.storage import CHECKSUM_SUFFIX, load_checkpoint, save_checkpoint

# What a checkpoint needs to be evaluated, exported and transferred from; the rest is for going on.
_WEIGHTS_ONLY = ("state_dict", "striate", "epoch", "global_step", "pytorch-lightning_version")


class DurableCheckpointIO(CheckpointIO):
    """Writes checkpoints aside, synced, renamed and with a checksum; reads them without running code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes the resumable file; before it, where `storage_options` names one, a file with the weights alone.

        In this order the resumable file never speaks of a best checkpoint that does not exist.
        """
        if storage_options is not None:
            weights = {key: checkpoint[key] for key in _WEIGHTS_ONLY if key in checkpoint}
            save_checkpoint(weights, Path(storage_options["weights_to"]))
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads and verifies; `weights_only` is always on."""
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Removes a file and its checksum."""
        Path(path).unlink(missing_ok=True)
        Path(f"{path}{CHECKSUM_SUFFIX}").unlink(missing_ok=True)


class Checkpointing(Checkpoint):
    """Keeps `step-N.ckpt` (to go on from) and `best-step-N.ckpt` (weights and record alone) in `RUN/checkpoints`.

    A checkpoint is taken at the end of each epoch and, when asked for, between two optimizer steps: never inside an
    accumulation window, whose gradients no checkpoint holds. SIGTERM and Ctrl-C are answered at the next such place.

    Args:
        monitor: the metric that selects the best epoch.
        mode: "max" or "min".
        every_n_steps: optimizer steps between checkpoints inside an epoch; None for none.
        every_minutes: minutes between them; None for none.
        keep: resumable checkpoints kept.
        max_failures: failed writes in a row after which the run stops.
    """

    def __init__(
        self,
        monitor: str,
        mode: str = "max",
        every_n_steps: int | None = None,
        every_minutes: float | None = 10,
        keep: int = 2,
        max_failures: int = 3,
    ):
        if mode not in ("max", "min"):
            raise ConfigurationError(f"monitor.mode={mode} is not valid", nearest="max or min")
        if keep < 1:
            raise ConfigurationError(f"callbacks.checkpointing.keep={keep} is not valid", nearest="1 or more")
        self.monitor, self.mode = monitor, mode
        self.every_n_steps, self.every_minutes, self.keep = every_n_steps, every_minutes, keep
        self.max_failures = max_failures
        self.folder = Path("checkpoints")  # the pipeline sets it
        self.best_value: float | None = None
        self.best_name: str | None = None
        self.best_epoch: int | None = None
        self._stop_signal: int | None = None
        self._previous_handlers: dict[int, Any] = {}
        self._saved_step = -1
        self._failures = 0
        self._last_time = time.monotonic()
        self._stopped_early = False

    @property
    def best_path(self) -> Path | None:
        """The best checkpoint so far."""
        return self.folder / self.best_name if self.best_name else None

    # ---- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Plain data: what is best so far and whether the run had already decided to stop."""
        return {
            "best_value": self.best_value,
            "best_name": self.best_name,
            "best_epoch": self.best_epoch,
            "stopped_early": self._stopped_early,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the state up again."""
        self.best_value, self.best_name = state_dict["best_value"], state_dict["best_name"]
        self.best_epoch, self._stopped_early = state_dict["best_epoch"], state_dict["stopped_early"]

    # ---- signals -----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listens to SIGTERM and Ctrl-C, in place of Lightning's handlers, which save nothing and exit with 0."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._previous_handlers[signum] = signal.signal(signum, self._on_signal)
        if self._stopped_early:
            trainer.should_stop = True

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._stop_signal is not None:  # asked twice: leave at once; the last checkpoint is whole
            os._exit(128 + signum)
        self._stop_signal = signum
        if int(os.environ.get("LOCAL_RANK", 0)) == 0:
            print("\nStopping after this step; once more to leave at once.", flush=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Gives the signals back."""
        self._restore_handlers()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for signum, handler in self._previous_handlers.items():
            signal.signal(signum, handler)
        self._previous_handlers = {}

    def _asked_to_stop(self, trainer: pl.Trainer) -> bool:
        asked = self._stop_signal is not None
        # The processes must stop at the same step, or the others would wait for ever.
        return trainer.strategy.reduce_boolean_decision(asked, all=False) if trainer.world_size > 1 else asked

    def _stop(self, trainer: pl.Trainer) -> None:
        if self._saved_step != trainer.global_step:
            self._save(trainer)
        signum = self._stop_signal or signal.SIGTERM
        raise InterruptedRun(
            f"stopped at step {trainer.global_step} in epoch {trainer.current_epoch + 1}; all of it is saved",
            exit_code=128 + signum,
            do="repeat the same command to go on from there",
        )

    # ---- when to save ------------------------------------------------------------------------------------------------

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Between two optimizer steps inside an epoch; its end has a hook of its own, after validation."""
        progress = trainer.fit_loop.epoch_loop
        if progress._should_accumulate() or progress._num_ready_batches_reached():
            return
        if self._asked_to_stop(trainer):
            self._stop(trainer)
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        if self.every_minutes is not None and trainer.world_size == 1:
            due = due or time.monotonic() - self._last_time >= 60 * self.every_minutes
        if due and self._saved_step != trainer.global_step:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After validation: the best weights, if they are, and a checkpoint to go on from."""
        value = trainer.callback_metrics.get(self.monitor)
        if value is None and validated(trainer):
            available = ", ".join(sorted(trainer.callback_metrics))
            raise ConfigurationError(f"monitor.metric={self.monitor} is not measured", do=f"choose among {available}")
        self._stopped_early = bool(trainer.should_stop)
        improved = value is not None and validated(trainer) and self._improves(float(value))
        self._save(trainer, best=improved)
        if self._asked_to_stop(trainer):
            self._stop(trainer)

    def _improves(self, value: float) -> bool:
        if value != value:  # NaN is never better
            return False
        if self.best_value is None:
            return True
        return value > self.best_value if self.mode == "max" else value < self.best_value

    # ---- saving ------------------------------------------------------------------------------------------------------

    def _save(self, trainer: pl.Trainer, best: bool = False) -> None:
        before = self.state_dict()
        options: Mapping[str, Any] | None = None
        if best:
            self.best_value = float(trainer.callback_metrics[self.monitor])
            self.best_name = f"best-step-{trainer.global_step:08d}.ckpt"
            self.best_epoch = trainer.current_epoch
            options = {"weights_to": str(self.folder / self.best_name)}
        path = self.folder / f"step-{trainer.global_step:08d}.ckpt"
        try:
            trainer.save_checkpoint(path, weights_only=False, storage_options=options)
        except StorageError as error:
            self.load_state_dict(before)
            self._failures += 1
            if self._failures >= self.max_failures:
                raise
            print(f"\n{error.what}; training goes on ({self._failures} of {self.max_failures} failures)", flush=True)
            return
        self._failures = 0
        self._saved_step = trainer.global_step
        self._last_time = time.monotonic()
        if trainer.is_global_zero:
            self._sweep()

    def _sweep(self) -> None:
        io = DurableCheckpointIO()
        for old in sorted(self.folder.glob("step-*.ckpt"))[: -self.keep]:
            io.remove_checkpoint(old)
        for other in self.folder.glob("best-*.ckpt"):
            if other.name != self.best_name:
                io.remove_checkpoint(other)
