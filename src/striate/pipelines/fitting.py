"""The part of a training in which the Trainer works: fit, take the best weights, test once, conclude."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.profilers import PassThroughProfiler

from striate import runs
from striate.allocation import keep_freed_memory
from striate.callbacks.checkpointing import Checkpointing
from striate.callbacks.drawing import DrawnClasses
from striate.callbacks.history import History
from striate.callbacks.pruning import of_this_trial
from striate.configuration import build
from striate.data.module import ImageDataModule
from striate.evaluation.conclusion import conclude
from striate.messages import is_main_process, say
from striate.pipelines.keeping import collector_for, keep_answers
from striate.pipelines.mirrors import mirroring, tracked, training_session
from striate.pipelines.showing import show_masks
from striate.pipelines.telling import tell_end, tell_start
from striate.pipelines.unfreezing import strategy, unfreezing
from striate.resumption import Start
from striate.storage import load_checkpoint
from striate.tasks.base import SupervisedTask
from striate.tasks.classification import ClassificationTask


class Unprofiled(PassThroughProfiler):
    """Measures nothing, at no price: the original makes a generator for each of the forty hooks of a step."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        """A context that does nothing."""
        return self._nothing


def carry_out(
    config: Mapping[str, Any], datamodule: ImageDataModule, task: SupervisedTask, start: Start
) -> dict[str, float]:
    """Fits, takes the best weights, tests once."""
    quiet = {} if config["trainer"]["enable_progress_bar"] else {"progress": None}
    callbacks = [build(node, f"callbacks.{name}") for name, node in {**config["callbacks"], **quiet}.items() if node]
    callbacks += [collector_for(task, config["mistakes"]), *unfreezing(config, task.network)]
    callbacks += of_this_trial(config["monitor"]["metric"], is_main_process())
    checkpointing = next(callback for callback in callbacks if isinstance(callback, Checkpointing))
    if datamodule.sampling == "balanced":
        callbacks.append(DrawnClasses(start.run.folder / "drawn.csv", datamodule.meta.classes))
    history = next(callback for callback in callbacks if isinstance(callback, History))
    checkpointing.folder, history.path = start.run.checkpoints, start.run.folder / "history.csv"
    keep_freed_memory()
    # PyTorch would write NaN into each new tensor before its contents, lest somebody reads what nobody wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    profiler: dict[str, Any] = {} if config["trainer"]["profiler"] else {"profiler": Unprofiled()}
    with tracked(config["logger"], training_session(start.run), config) as loggers:
        at = callbacks.index(checkpointing)  # what a checkpoint knows has been sent before
        callbacks[at:at] = mirroring(loggers, history, config["monitor"])
        tell_start(loggers, config, datamodule, start)
        trainer: pl.Trainer = build(
            {**config["trainer"], "sync_batchnorm": synchronised(config), "strategy": strategy(config)},
            "trainer",
            callbacks=callbacks,
            **profiler,
            logger=loggers or False,
            plugins=[checkpointing.io],
            deterministic=config["deterministic"],
            default_root_dir=str(start.run.folder),
        )
        trainer.fit(task, datamodule=datamodule, ckpt_path=start.checkpoint, weights_only=True)
        return select_and_test(config, datamodule, task, trainer, checkpointing, history, start.run)


def synchronised(config: Mapping[str, Any]) -> bool:
    """Whether batch norm shares its statistics, which PyTorch does between GPUs only."""
    wanted = config["trainer"]["sync_batchnorm"]
    possible = torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu"
    if wanted and not possible:
        say("trainer.sync_batchnorm has no effect on CPU processes: each has the statistics of its own part")
    return wanted and possible


def select_and_test(
    config: Mapping[str, Any],
    datamodule: ImageDataModule,
    task: SupervisedTask,
    trainer: pl.Trainer,
    checkpointing: Checkpointing,
    history: History,
    run: runs.Run,
) -> dict[str, float]:
    """Takes the best weights, tests once, and concludes the run."""
    best, rows = checkpointing.best_path, history.rows
    epoch = len(rows) - 1 if checkpointing.best_epoch is None else checkpointing.best_epoch
    figures = {name: value for name, value in rows[epoch].items() if "/" in name} if rows else {}
    if best is not None:
        content = load_checkpoint(best)
        task.load_state_dict(content["state_dict"])
        task.record = content["striate"]
        say(f"Best epoch {epoch + 1} of {len(rows)}: {checkpointing.monitor} {checkpointing.best_value:.4f}")
    if isinstance(task, ClassificationTask):
        task.temperature = task.record.get("temperature")
    if config["test"]:
        trainer.test(task, datamodule=datamodule, verbose=False)
        figures |= {f"test/{name}": value for name, value in task.tally.compute().items()}
    if trainer.is_global_zero:
        metrics = {**figures, "best_epoch": epoch + 1, "epochs": len(rows)}
        if (temperature := task.record.get("temperature")) is not None:
            metrics["temperature"] = temperature
        model = best or runs.newest_checkpoint(run.checkpoints)
        if config["test"] and model is not None:
            keep_answers(run.folder, task, trainer, datamodule, model, config["mistakes"])
        rows_of_masks = show_masks(task, datamodule, trainer, run.folder)
        tell_end(trainer, task, datamodule, metrics, model, rows_of_masks)
        samples = task.tally.samples if config["test"] else 0
        conclude(run, rows, metrics, model, samples, config["output_dir"], config["monitor"])
    return figures
