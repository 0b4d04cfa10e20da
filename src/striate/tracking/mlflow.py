"""MLflow: a database in the run directory, or a server."""

import importlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger

from striate.errors import Ending
from striate.storage import write_text
from striate.tracking.base import Session, Tracker, missing
from striate.tracking.lineage import Artifact

FOLDER = "mlflow"
_STATES = {"finished": "FINISHED", "interrupted": "KILLED", "pruned": "KILLED"}
_LOCAL = ("sqlite:", "file:", "/", ".", "~")
_PATIENCE = 2.0  # seconds that a server may take for one thing when a run ends
# A server that is down is given up after seconds, not after MLflow's quarter of an hour.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class MlflowTracker(Tracker):
    """An MLflow run, through Lightning's logger; its id is kept in the run directory, for when the run goes on.

    Args:
        session: the run.
        address: of the store, as MLflow has it; None for a database in the run directory.
        experiment: under which runs stand together.
    """

    title = "MLflow"

    def __init__(self, session: Session, address: str | None, experiment: str):
        super().__init__(session)
        self._folder, self._address, self._experiment = session.folder / FOLDER, address, experiment
        self._logger: MLFlowLogger | None = None
        self._kept = self._folder / "run_id"
        self.continues = self._kept.is_file()
        if address is not None and not address.startswith(_LOCAL):
            self.patience = _PATIENCE
        self._client: Any = None
        self._tell(self._begin)

    def _own(self) -> Any:
        return self._client

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        session = self.session
        tags = {"job": session.job, "group": session.group or "", "mlflow.note.content": session.command}
        local = self._address is None
        self._logger = MLFlowLogger(
            experiment_name=self._experiment,
            run_name=session.name,
            tracking_uri=f"sqlite:///{self._folder / 'mlflow.db'}" if local else self._address,
            artifact_location=(self._folder / "artifacts").as_uri() if local else None,
            tags={key: value for key, value in tags.items() if value},
            run_id=self._kept.read_text(encoding="utf-8") if self.continues else None,
        )
        write_text(self._kept, str(self._logger.run_id))
        client = self._logger.experiment
        if self.continues:
            client.update_run(self._logger.run_id, status="RUNNING")
        self._client = client

    @property
    def _id(self) -> str:
        assert self._logger is not None
        return str(self._logger.run_id)

    def _figures(self, figures: Mapping[str, float], step: int) -> None:
        assert self._logger is not None
        self._logger.log_metrics(dict(figures), step)

    def _parameters(self, parameters: Mapping[str, Any]) -> None:
        if not self.continues:  # MLflow refuses a parameter that has another value than before
            assert self._logger is not None
            self._logger.log_hyperparams(dict(parameters))

    def _picture(self, key: str, path: Path, step: int) -> None:
        self._client.log_artifact(self._id, str(path), key.rpartition("/")[0] or None)

    def _summary(self, figures: Mapping[str, float | str]) -> None:
        self._send(
            {name: value for name, value in figures.items() if not isinstance(value, str)},
            {name: value for name, value in figures.items() if isinstance(value, str)},
        )

    def _used(self, artifact: Artifact) -> None:
        self._tag(f"used.{artifact.kind}.{artifact.plain_name}", artifact)

    def _made(self, artifact: Artifact) -> None:
        self._tag(f"made.{artifact.kind}.{artifact.plain_name}", artifact)

    def _tag(self, prefix: str, artifact: Artifact) -> None:
        known = artifact.description().items()
        self._send(
            {}, {f"{prefix}.{name}": str(value) for name, value in known if isinstance(value, str | int | float)}
        )

    def _send(self, figures: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """In one request."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, 0) for name, value in figures.items()]
        self._client.log_batch(self._id, metrics=metrics, tags=[RunTag(name, value) for name, value in tags.items()])

    def _end(self, ending: Ending) -> None:
        self._send({}, self._state(ending))
        self._client.set_terminated(self._id, _STATES.get(ending.state, "FAILED"))


def mlflow_logger(session: Session, tracking_uri: str | None = None, experiment: str = "striate") -> Tracker:
    """An MLflow run.

    Args:
        session: the run.
        tracking_uri: of a store that is shared by runs, such as `sqlite:////home/me/mlflow.db` or `http://HOST:5000`;
            None: a database in the run directory.
        experiment: under which runs stand together.

    Raises:
        ConfigurationError: MLflow, or what its databases need, is not installed.
    """
    for chatty in ("alembic", "mlflow", "lightning.pytorch.loggers.mlflow"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    for name, value in _IMPATIENT.items():
        os.environ.setdefault(name, value)
    try:
        for package in ("mlflow", "sqlalchemy", "alembic"):  # the latter two for databases
            importlib.import_module(package)
    except ImportError as error:
        raise missing(error, "mlflow") from error
    return MlflowTracker(session, tracking_uri, experiment)
