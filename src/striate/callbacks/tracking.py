"""Loggers beside `history.csv`: mirrors that may fail at any time without stopping or delaying a run."""

import base64
import hashlib
import json
import netrc
import os
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from striate.errors import ConfigurationError, nearest

MODES = ("auto", "online", "offline")
_PATIENCE = 1.5  # seconds to wait for an answer of the server before the run stays offline
_START = 15  # seconds that a server which has answered may take to begin a run


class WandbMirror(WandbLogger):
    """W&B's logger, but from its first failure on it is silent: a run is worth more than its mirror."""

    _failed = False

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Sends figures."""
        self._attempt(lambda: super(WandbMirror, self).log_metrics(metrics, step))

    def log_hyperparams(self, params: Any) -> None:
        """Sends the configuration."""
        self._attempt(lambda: super(WandbMirror, self).log_hyperparams(params))

    def log_masks(self, key: str, pictures: Sequence[Any], class_names: Sequence[str]) -> None:
        """Sends pictures with `name`, `image` (H, W, C), `truth` and `predicted` (H, W) uint8, as mask overlays."""

        def send() -> None:
            import wandb

            labels = dict(enumerate(class_names))
            self.experiment.log(
                {
                    key: [
                        wandb.Image(
                            picture.image,
                            caption=picture.name,
                            masks={
                                name: {"mask_data": mask, "class_labels": labels}
                                for name, mask in (("truth", picture.truth), ("prediction", picture.predicted))
                            },
                        )
                        for picture in pictures
                    ]
                }
            )

        self._attempt(send)

    def finalize(self, status: str) -> None:
        """Ends the run with its true state."""
        self._attempt(lambda: super(WandbMirror, self).finalize(status))
        self._attempt(lambda: self.experiment.finish(exit_code=0 if status == "success" else 1))

    def _attempt(self, action: Callable[[], Any]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # W&B has many kinds
            self._failed = True
            print(f"W&B: {one_line(error)}; nothing more is sent, history.csv has all", flush=True)


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
        run_id: W&B's name of the run; by default from the run directory, so that a resumed run goes on as one.

    Raises:
        ConfigurationError: no such mode.
    """
    if mode not in MODES:
        raise ConfigurationError(
            f"logger.wandb.mode={mode} is not valid", nearest=nearest(mode, MODES), do=f"one of {', '.join(MODES)}"
        )
    wanted = os.environ.get("WANDB_MODE", mode) if mode == "auto" else mode
    offline = wanted in ("offline", "disabled") or (wanted != "online" and _key() is None)
    if not offline and (fault := _fault()) is not None:
        print(f"W&B: {fault}; the run is logged offline", flush=True)
        offline = True
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    if wandb.run is not None:  # of an earlier job of this process that could not end it; W&B would go on with it
        wandb.finish(exit_code=1)
    common: dict[str, Any] = {
        "name": name, "save_dir": run_dir, "project": project, "entity": entity, "group": group, "tags": list(tags),
        "id": run_id or _id_of(run_dir), "resume": "allow", "log_model": False, "settings": {"init_timeout": _START},
    }  # fmt: skip
    if not offline:
        logger = WandbMirror(offline=False, **common)
        try:
            logger.experiment  # noqa: B018 (starts the run: now, when there is still a way back)
            return logger
        except Exception as error:  # W&B has many kinds, and none of them may cost a training
            print(f"W&B: {one_line(error)}; the run is logged offline", flush=True)
    print(f"W&B: logging offline; later: wandb sync {Path(run_dir) / 'wandb'}/offline-run-*", flush=True)
    return WandbMirror(offline=True, **common)


def tensorboard_logger(run_dir: str, name: str) -> Logger:
    """A TensorBoard logger in the run directory: `tensorboard --logdir RUN`."""
    return TensorBoardLogger(save_dir=run_dir, name="tensorboard", version="")


def close(loggers: Sequence[Logger], succeeded: bool) -> None:
    """Ends the runs of the loggers with their true state, so that the next job of a process begins a new one."""
    for logger in loggers:
        logger.finalize("success" if succeeded else "failed")


def _id_of(run_dir: str) -> str:
    return hashlib.sha256(Path(run_dir).name.encode()).hexdigest()[:8]


def one_line(error: Exception) -> str:
    """What an exception of others says, short."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").rstrip("/")


def _key() -> str | None:
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    try:
        found = netrc.netrc().authenticators(urlsplit(_server()).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return found[2] if found else None


def _fault() -> str | None:
    """Why the server would not take a run, or None: it is asked who is logged in, and must answer at once."""
    import threading

    host = urlsplit(_server()).hostname
    said: list[str | None] = []

    def ask() -> None:
        try:
            said.append(_login_fault())
        except (OSError, ValueError, HTTPException) as error:
            said.append(f"{host} does not answer ({error})")

    # Neither name look-up nor a server that sends byte after byte ends by a time-out of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return said[0] if said else f"{host} does not answer within {_PATIENCE:g} s"


def _login_fault() -> str | None:
    login = base64.b64encode(f"api:{_key() or ''}".encode()).decode()
    request = urllib.request.Request(
        f"{_server()}/graphql",
        data=b'{"query": "{ viewer { id } }"}',
        headers={"Content-Type": "application/json", "Authorization": f"Basic {login}", "User-Agent": "striate"},
    )
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        viewer = (json.loads(answer.read(1 << 16)).get("data") or {}).get("viewer")
    return None if viewer else f"{urlsplit(_server()).hostname} does not know this login (wandb login)"
