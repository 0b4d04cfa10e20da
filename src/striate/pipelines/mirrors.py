"""The dashboards of a run: what it is to them, and how it ended."""

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from striate import runs
from striate.callbacks.history import History
from striate.callbacks.mirroring import Mirroring
from striate.configuration import build, masked, masked_command
from striate.errors import Ending, ending_of
from striate.messages import is_main_process, say
from striate.tracking.base import Session, Tracker, one_line

SWEEP = "WANDB_RUN_GROUP"  # in the environment of a trial: the name of its sweep, also for others than W&B


def training_session(run: runs.Run) -> Session:
    """What dashboards are told of a training."""
    # Not the folder's name alone: a person may give two runs in two places the same.
    identity = f"{run.facts.get('started')} {run.facts.get('fingerprint')} {run.folder.name}"
    return _session(run.folder, run.folder.name, hashlib.sha256(identity.encode()).hexdigest()[:8], "training")


def evaluation_session(folder: Path, checkpoint: Path) -> Session:
    """What dashboards are told of an evaluation; each is a run of its own."""
    return _session(folder, f"{runs.folder_of(checkpoint).name}_{folder.name}", secrets.token_hex(4), "evaluation")


def _session(folder: Path, name: str, key: str, job: str) -> Session:
    command = runs.command_line()
    harmless = masked_command(command)
    return Session(folder, name, key, job, os.environ.get(SWEEP), harmless, secret=harmless != command)


@contextmanager
def tracked(nodes: Mapping[str, Any], session: Session, config: Mapping[str, Any]) -> Iterator[list[Logger]]:
    """The loggers of a configuration, on the main process alone; they end with the true state of what they mirror.

    Args:
        nodes: the `logger` group.
        session: what is mirrored.
        config: sent to them, without its secrets.
    """
    loggers: list[Logger] = []
    ending = Ending("finished", 0)
    try:
        for name, node in nodes.items() if is_main_process() else ():
            if node:
                own: dict[str, Any] = {"session": session} if node["_target_"].startswith("striate.") else {}
                loggers.append(build(node, f"logger.{name}", **own))
        for logger in loggers:
            logger.log_hyperparams(dict(runs.flatten(masked(config))))
        yield loggers
    except BaseException as error:
        ending = ending_of(error)
        raise
    finally:
        for tracker in trackers_of(loggers):
            tracker.end(ending)
        for tracker in trackers_of(loggers):  # all at once: those that do not answer cost the time of one
            tracker.wait()


def trackers_of(loggers: Sequence[Logger]) -> list[Tracker]:
    """Those that are dashboards of ours."""
    return [logger for logger in loggers if isinstance(logger, Tracker)]


def mirroring(loggers: Sequence[Logger], history: History, monitor: Mapping[str, str]) -> list[Callback]:
    """The callback that sends dashboards the epochs, where there are any."""
    trackers = trackers_of(loggers)
    return [Mirroring(trackers, history, monitor["metric"], monitor["mode"])] if trackers else []


@contextmanager
def harmless() -> Iterator[None]:
    """What goes wrong in here is said in a line: pictures for a dashboard are not worth a run."""
    try:
        yield
    except Exception as error:
        say(f"Dashboards: {one_line(error)}")
