"""Loggers beside `history.csv`: mirrors that may fail at any time without stopping or delaying a run."""

import netrc
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from striate.errors import ConfigurationError, nearest

MODES = ("auto", "online", "offline")
_PATIENCE = 1.5  # seconds to wait for an answer of the server before the run stays offline


def wandb_logger(
    run_dir: str,
    name: str,
    project: str = "striate",
    entity: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    mode: str = "auto",
    run_id: str | None = None,
) -> Logger:
    """A Weights & Biases logger that never asks and never waits: offline unless logged in and the server answers.

    Args:
        run_dir: where the run's files are kept; W&B writes below it.
        name: the run's name.
        project: W&B project.
        entity: W&B team or user; None for the default one.
        group: groups the runs of a sweep or of several seeds.
        tags: labels.
        mode: "auto", "online" or "offline"; WANDB_MODE wins over "auto".
        run_id: the id of the run that goes on; None for a new one.

    Raises:
        ConfigurationError: no such mode.
    """
    if mode not in MODES:
        raise ConfigurationError(
            f"logger.wandb.mode={mode} is not valid", nearest=nearest(mode, MODES), do=f"one of {', '.join(MODES)}"
        )
    wanted = os.environ.get("WANDB_MODE", mode) if mode == "auto" else mode
    offline = wanted != "online" if wanted in ("online", "offline", "disabled") else not _logged_in()
    if not offline and not _answers():
        print(f"W&B: {_host()[0]} does not answer; the run is logged offline", flush=True)
        offline = True
    if offline:
        print(f"W&B: logging offline; later: wandb sync {Path(run_dir) / 'wandb'}/offline-run-*", flush=True)
    os.environ.setdefault("WANDB_SILENT", "true")
    return WandbLogger(
        name=name, save_dir=run_dir, project=project, entity=entity, group=group, tags=list(tags), offline=offline,
        id=run_id, resume="allow", log_model=False,
    )  # fmt: skip


def tensorboard_logger(run_dir: str, name: str) -> Logger:
    """A TensorBoard logger in the run directory: `tensorboard --logdir RUN`."""
    return TensorBoardLogger(save_dir=run_dir, name="tensorboard", version="")


def close(loggers: Sequence[Logger], succeeded: bool) -> None:
    """Ends the runs of the loggers with their true state, so that the next job of a process begins a new one."""
    for logger in loggers:
        logger.finalize("success" if succeeded else "failed")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=0 if succeeded else 1)


def _host() -> tuple[str, int]:
    parts = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    return parts.hostname or "api.wandb.ai", parts.port or (80 if parts.scheme == "http" else 443)


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(_host()[0]) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _answers() -> bool:
    # Name look-up has no time-out of its own, so it happens in a thread that may be left behind.
    import threading

    outcome: list[bool] = []

    def attempt() -> None:
        try:
            socket.create_connection(_host(), timeout=_PATIENCE).close()
            outcome.append(True)
        except OSError:
            outcome.append(False)

    thread: Any = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return bool(outcome and outcome[0])
