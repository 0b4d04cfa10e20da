"""Checkpoints from which a run goes on to the bit, and the stop that leaves one behind."""

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import lightning.pytorch as pl
import torch
from annotated_types import Ge, Gt
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from striate.callbacks.history import validated
from striate.errors import ConfigurationError, DivergedError, InterruptedRun, StorageError
from striate.storage import CHECKSUM_SUFFIX, checkpoint_fault, load_checkpoint, save_checkpoint

# What a checkpoint needs to be evaluated, exported and transferred from; the rest is for going on.
_WEIGHTS_ONLY = ("state_dict", "striate", "epoch", "global_step", "pytorch-lightning_version")


class DurableCheckpointIO(CheckpointIO):
    """Writes checkpoints aside, synced, renamed and with a checksum; reads them without running code.

    Attributes:
        weights_to: where the next save also puts a file with the weights alone; used up once.
        error: why the last save failed, or None. It is kept and not raised: Lightning calls this on one process, while
            the others wait for it in a barrier.
    """

    def __init__(self) -> None:
        self.weights_to: Path | None = None
        self.error: StorageError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes the file with the weights, if one is asked for, and then the resumable one.

        In this order the resumable file never speaks of a best checkpoint that does not exist.
        """
        weights_to, self.weights_to, self.error = self.weights_to, None, None
        try:
            if weights_to is not None:
                save_checkpoint({key: checkpoint[key] for key in _WEIGHTS_ONLY if key in checkpoint}, weights_to)
            save_checkpoint(checkpoint, Path(path))
        except StorageError as error:
            self.error = error

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
        mode: Literal["max", "min"] = "max",
        every_n_steps: Annotated[int, Ge(1)] | None = None,
        every_minutes: Annotated[float, Gt(0)] | None = 10,
        keep: Annotated[int, Ge(1)] = 2,
        max_failures: Annotated[int, Ge(1)] = 3,
    ):
        self.monitor, self.mode = monitor, mode
        self.every_n_steps, self.every_minutes, self.keep = every_n_steps, every_minutes, keep
        self.max_failures = max_failures
        self.io = DurableCheckpointIO()  # the Trainer's plugin
        self.folder = Path("checkpoints")  # the pipeline sets it
        self.best_value: float | None = None
        self.best_name: str | None = None
        self.best_epoch: int | None = None
        self._stop_signal: int | None = None
        self._stop_time = 0.0
        self._previous_handlers: dict[int, Any] = {}
        self._saved_step = -1
        self._failures = 0
        self._last_time = time.monotonic()
        self._stopped_early = False

    @property
    def best_path(self) -> Path | None:
        """The best checkpoint so far, if it is there and whole."""
        path = self.folder / (self.best_name or "none")
        return path if checkpoint_fault(path) is None else None

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
        # Schedulers and `timeout` send the same request to the process and to its group at once.
        if self._stop_signal is not None and time.monotonic() - self._stop_time < 1:
            return
        self._stop_time = time.monotonic()
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

    @staticmethod
    def _agreed(trainer: pl.Trainer, *said: bool) -> list[bool]:
        """What any process says, for each question: all must do the same at the same step, or some wait for ever."""
        if trainer.world_size == 1:
            return list(said)
        votes = torch.tensor(said, dtype=torch.float32, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MAX)
        return votes.bool().tolist()

    def _stop(self, trainer: pl.Trainer) -> None:
        if self._saved_step != trainer.global_step:
            self._save(trainer)
        if self._saved_step != trainer.global_step:
            raise StorageError(
                f"stopped at step {trainer.global_step}, but its checkpoint could not be written: {self.io.error}",
                do="free space and repeat the same command: it goes on from the checkpoint before",
            )
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
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        late = self.every_minutes is not None and time.monotonic() - self._last_time >= 60 * self.every_minutes
        stop, due = self._agreed(trainer, self._stop_signal is not None, due or late)
        if stop:
            self._stop(trainer)
        if due and self._saved_step != trainer.global_step:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After validation: the best weights, if they are, and a checkpoint to go on from."""
        value = trainer.callback_metrics.get(self.monitor)
        if value is None and validated(trainer):
            available = ", ".join(sorted(trainer.callback_metrics))
            raise ConfigurationError(f"monitor.metric={self.monitor} is not measured", do=f"choose among {available}")
        # Not when time is up: who gives a run more time wants it to go on.
        stoppers = [callback for callback in trainer.callbacks if isinstance(callback, EarlyStopping)]  # type: ignore[attr-defined]
        self._stopped_early = bool(trainer.should_stop) and any(rule.wait_count >= rule.patience for rule in stoppers)
        improved = value is not None and validated(trainer) and self._improves(float(value))
        self._save(trainer, best=improved)
        if self._agreed(trainer, self._stop_signal is not None)[0]:
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
        self._require_finite(trainer)
        if best:
            self.best_value = float(trainer.callback_metrics[self.monitor])
            self.best_name = f"best-step-{trainer.global_step:08d}.ckpt"
            self.best_epoch = trainer.current_epoch
            self.io.weights_to = self.folder / self.best_name
        path = self.folder / f"step-{trainer.global_step:08d}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        error = self.io.error if trainer.world_size == 1 else trainer.strategy.broadcast(self.io.error)
        if error is not None:
            self.load_state_dict(before)
            self._failures += 1
            if self._failures >= self.max_failures:
                raise error
            if trainer.is_global_zero:
                print(
                    f"\n{error.what}; training goes on ({self._failures} of {self.max_failures} failures)", flush=True
                )
            return
        self._failures = 0
        self._saved_step = trainer.global_step
        self._last_time = time.monotonic()
        if trainer.is_global_zero:
            self._sweep()

    @staticmethod
    def _require_finite(trainer: pl.Trainer) -> None:
        # A finite loss can have an infinite gradient; the weights after that step must not replace sound ones.
        for name, parameter in trainer.lightning_module.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise DivergedError(
                    f"{name} is not finite after step {trainer.global_step}",
                    do="lower optimizer.lr or clip (trainer.gradient_clip_val=1); the checkpoint before is sound",
                )

    def _sweep(self) -> None:
        for remains in self.folder.glob(".*.tmp"):  # of a process that was killed while it wrote
            remains.unlink(missing_ok=True)
        for old in sorted(self.folder.glob("step-*.ckpt"))[: -self.keep]:
            self.io.remove_checkpoint(old)
        for other in self.folder.glob("best-*.ckpt"):
            if other.name != self.best_name:
                self.io.remove_checkpoint(other)
