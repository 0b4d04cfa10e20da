"""Weights & Biases: online when logged in and reachable, else offline, to be sent later by `wandb sync`.

Every row is logged under the step of the training as W&B's own `_step`. It only ever increases, so that a row which a
resumed run logs again is one that W&B has already, and a row which it lacks is never refused: numbered by the calls, as
W&B does by itself, the rows of a resumed run would begin at 0 again, and those behind the old ones would be dropped.
"""

import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt

from striate.errors import Ending
from striate.messages import shown
from striate.tracking import server
from striate.tracking.base import GRACE, PredictionTable, Session, Tracker, missing, one_line
from striate.tracking.lineage import Artifact

STEP = "trainer/global_step"  # Lightning's name, which dashboards know
BY_EPOCH = (
    "train/*", "val/*", "best/*", "gradient/*", "gradient_norm", "learning_rate", "seconds", "samples_per_second",
    "waiting",
)  # fmt: skip
BY_STEP = ("batch/*", "rate/*")
_LARGEST_TABLE = 100  # classes up to which a confusion matrix goes as a table; its picture always goes
_IGNORED = 255  # in masks
_TRUST = 2.0  # seconds for which what the server has said of itself is believed


class WandbTracker(Tracker):
    """A W&B run.

    Args:
        session: the run.
        mode: "auto", "online" or "offline"; WANDB_MODE wins over "auto".
        artifacts: "none"; "reference": names and hashes of data and weights; "upload": the weights too.
        start: seconds that a server which has answered may take to begin a run.
        finish: seconds that it may take to receive what is left when a run ends.
        options: of `wandb.init`.
    """

    title = "W&B"

    def __init__(
        self, session: Session, mode: str, artifacts: str, start: float, finish: float, options: Mapping[str, Any]
    ):
        super().__init__(session)
        self.continues = any((session.folder / "wandb").glob(f"*run-*-{session.key}"))
        self.patience = start + 5
        self.mode, self.artifacts, self.start, self.finish = mode, artifacts, start, finish
        self.options = dict(options)
        self.offline = False
        self._fault: str | None = None
        self._asked = -math.inf  # when its server was asked last
        self._run: Any = None
        self._data_dir = os.environ.get("WANDB_DATA_DIR")
        self._tell(self._begin)

    def _own(self) -> Any:
        return self._run

    def _begin(self) -> None:
        import wandb

        # What is waiting for `wandb sync` stays with the run, instead of in the home directory.
        if self._data_dir is None:
            os.environ["WANDB_DATA_DIR"] = str(self.session.folder / "wandb")
        if wandb.run is not None:  # of an earlier job of this process that could not end it; W&B would go on with it
            wandb.finish(exit_code=1)
        if self.mode == "disabled":
            self._run = wandb.init(mode="disabled")
            return
        fault = server.fault() if self.mode == "online" else None
        if self.mode == "online" and fault is None:
            try:
                self._run = self._init("online")
            except Exception as error:  # W&B has many kinds, and none of them may cost a training its record
                fault = one_line(error)
                wandb.teardown()  # its service would go on to say that a run of this name is in use
        if fault is not None:
            self._say(f"{fault}; the run is logged offline")
        if self._run is None:
            self.offline = True
            self._run = self._init("offline")
        self._run.define_metric("epoch", hidden=True)
        self._run.define_metric(STEP, hidden=True)
        for names, axis in ((BY_EPOCH, "epoch"), (BY_STEP, STEP)):
            for name in names:
                self._run.define_metric(name, step_metric=axis)

    def _init(self, mode: Literal["online", "offline"]) -> Any:
        import wandb

        session = self.session
        settings = wandb.Settings(
            init_timeout=self.start, finish_timeout=self.finish, login_timeout=server.PATIENCE,
            console="off", x_disable_meta=session.secret,  # else W&B sends the words of the command line as they are
        )  # fmt: skip
        return wandb.init(
            mode=mode, dir=str(session.folder), id=session.key, name=session.name, job_type=session.job,
            resume="allow", notes=session.command or None, settings=settings, **self.options,
        )  # fmt: skip

    def _answers(self) -> bool:
        """Whether the server is still there: tables and artifacts wait for it, as figures and pictures do not."""
        if self.offline or self.mode != "online":
            return True
        if time.monotonic() > self._asked + _TRUST:
            self._fault, self._asked = server.fault(), time.monotonic()
            self.patience = GRACE if self._fault is not None else self.start + 5
        return self._fault is None

    # ---- what it is told ---------------------------------------------------------------------------------------------

    def _figures(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log({**figures, STEP: step}, step=step)

    def _parameters(self, parameters: Mapping[str, Any]) -> None:
        self._run.config.update(dict(parameters), allow_val_change=True)

    def _picture(self, key: str, path: Path, step: int) -> None:
        import wandb

        self._run.log({key: wandb.Image(str(path))}, step=step)

    def _masks(self, key: str, pictures: Sequence[Any], class_names: Sequence[str], step: int) -> None:
        import wandb

        labels = {**dict(enumerate(class_names)), _IGNORED: "(ignored)"}
        overlays = [
            wandb.Image(
                picture.image,
                caption=picture.name,
                masks={
                    name: {"mask_data": mask, "class_labels": labels}
                    for name, mask in (("truth", picture.truth), ("prediction", picture.predicted))
                    if mask is not None
                },
            )
            for picture in pictures
        ]
        self._run.log({key: overlays}, step=step)

    def _predictions(self, key: str, said: PredictionTable, step: int) -> None:
        import wandb

        if not self._answers():
            return
        columns: list[str | int] = ["picture", "file", "truth", "prediction", "confidence", "right"]
        rows = [
            [wandb.Image(picture), name, truth, predicted, confidence, truth == predicted]
            for picture, name, truth, predicted, confidence in zip(
                said.pictures, said.names, said.truth, said.predicted, said.confidence, strict=True
            )
        ]
        self._run.log({key: wandb.Table(columns=columns, data=rows)}, step=step)

    def _confusion(self, key: str, confusion: np.ndarray, class_names: Sequence[str], step: int) -> None:
        import wandb

        if len(class_names) > _LARGEST_TABLE or not self._answers():
            return
        columns: list[str | int] = ["Actual", "Predicted", "nPredictions"]
        rows = [
            [true, predicted, int(confusion[row, column])]
            for row, true in enumerate(class_names)
            for column, predicted in enumerate(class_names)
        ]
        chart = wandb.plot_table(
            data_table=wandb.Table(columns=columns, data=rows), vega_spec_name="wandb/confusion_matrix/v1",
            fields={str(name): str(name) for name in columns}, string_fields={"title": key},
        )  # fmt: skip
        self._run.log({key: chart}, step=step)

    def _summary(self, figures: Mapping[str, float | str]) -> None:
        self._run.summary.update(dict(figures))

    def _used(self, artifact: Artifact) -> None:
        if self.artifacts != "none" and self._answers():
            # `use_artifact` asks the server, and so does not work offline, and waits; this is what it does besides.
            self._run._log_artifact(self._draft(artifact), aliases=[], is_user_created=True, use_after_commit=True)

    def _made(self, artifact: Artifact) -> None:
        if self.artifacts != "none" and self._answers():
            self._run.log_artifact(self._draft(artifact), aliases=["best"])

    def _draft(self, artifact: Artifact) -> Any:
        """An artifact of the same contents for the same digest: W&B makes one version of them, whoever names it."""
        import wandb

        draft = wandb.Artifact(artifact.plain_name, type=artifact.kind, metadata=artifact.description())
        path = artifact.path
        if self.artifacts == "upload" and artifact.kind == "model" and path is not None and path.is_file():
            draft.add_file(str(path), name=f"model{path.suffix}", policy="immutable")
        else:
            draft.add_reference(f"sha256:{artifact.digest}", name=artifact.kind, checksum=False)
        return draft

    # ---- the end -----------------------------------------------------------------------------------------------------

    def end(self, ending: Ending) -> None:
        """How the run has ended; whether the server is still there is asked meanwhile, lest the thread waits for it."""
        super().end(ending)
        if self._run is not None:
            self._asked = -math.inf
            threading.Thread(target=self._answers, daemon=True).start()

    def _end(self, ending: Ending) -> None:
        if not self._answers():
            self._fail(f"{self._fault}; {self._left_behind()}")
            self._give_up()
            return
        code = self._conclude(ending)
        self.patience = self.finish + 5
        self._run.finish(exit_code=code)
        self._restore()
        if self.offline:
            self._say(self._left_behind())

    def _conclude(self, ending: Ending) -> int:
        """Says how the run has ended; gives the exit code that W&B shall know."""
        self._run.summary.update(self._state(ending))
        # W&B would queue a preempted run again, also one that its own agent has stopped because it was given up.
        of_agent = "WANDB_SWEEP_ID" in os.environ
        if ending.state == "interrupted" and not of_agent:
            self._run.mark_preempting()
        # It knows no pruned runs: what was given up did not fail.
        given_up = ending.state == "pruned" or (ending.state == "interrupted" and of_agent)
        return 0 if given_up else ending.exit_code

    def _give_up(self) -> None:
        """Lets W&B's service go, which writes the run's end to its file; nobody waits for what it still tries."""
        import wandb

        self._restore()
        code = 1  # of a record that is not whole
        with suppress(Exception):
            code = code if self._ending is None else self._conclude(self._ending)
            self._run._run_status_checker.stop()  # a thread that would complain of the service that has gone
        wandb.run = None  # a later job of this process must not take it up
        wandb.teardown(exit_code=code)  # else it would be waited for, and complained of, when the process ends

    def _restore(self) -> None:
        if self._data_dir is None:
            os.environ.pop("WANDB_DATA_DIR", None)

    def _left_behind(self) -> str:
        kind = "offline-run" if self.offline else "run"
        key = self.session.key if self._run is None else self._run.id  # an agent of a sweep gives it another
        return f"later: wandb sync {shown(self.session.folder / 'wandb')}/{kind}-*-{key}"


def wandb_logger(
    session: Session,
    project: str = "striate",
    entity: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    mode: Literal["auto", "online", "offline"] = "auto",
    artifacts: Literal["none", "reference", "upload"] = "reference",
    start: Annotated[float, Gt(0)] = 5.0,
    finish: Annotated[float, Gt(0)] = 15.0,
) -> Tracker:
    """A Weights & Biases run that never asks and that no training waits for: offline unless logged in and reachable.

    Args:
        session: the run.
        project: W&B project.
        entity: W&B team or user; None for the default one.
        group: of runs that belong together; None: that of the sweep.
        tags: labels.
        mode: "auto", "online" or "offline"; WANDB_MODE wins over "auto".
        artifacts: "none"; "reference": names and hashes of data and weights, for the lineage; "upload": the best
            weights too.
        start: seconds that a server which has answered may take to begin the run, before it goes on offline.
        finish: seconds that it may take to receive what is left when a run ends; the rest is for `wandb sync`.

    Raises:
        ConfigurationError: W&B is not installed.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its reports about itself wait for a server that hangs
    try:
        import wandb  # noqa: F401 (here, and not in the thread, so that it is missed before the run)
    except ImportError as error:
        raise missing(error, "wandb") from error
    wanted = os.environ.get("WANDB_MODE", mode) if mode == "auto" else mode
    if wanted == "auto":
        wanted = "online" if server.key() is not None else "offline"
    options = {"project": project, "entity": entity, "group": group or session.group, "tags": list(tags)}
    return WandbTracker(session, "offline" if wanted == "dryrun" else wanted, artifacts, start, finish, options)
