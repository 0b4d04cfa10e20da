"""What all dashboards share: a thread that tells them, so that training neither waits for one nor fails with it."""

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar

import numpy as np
from lightning.pytorch.loggers import Logger

from striate.errors import ConfigurationError, Ending
from striate.tracking.lineage import Artifact

GRACE = 0.4  # seconds that one which has failed may take to clean up
OF_EPOCHS = ("train/", "val/")  # figures that come with the epoch's row; Lightning's own call would send them twice


@dataclass(frozen=True)
class Session:
    """What a dashboard is told of a run.

    Args:
        folder: of the run; a dashboard keeps its files below it.
        name: of the run.
        key: eight hexadecimal digits, the same each time that this run goes on, and of no other run.
        job: "training" or "evaluation".
        group: of the sweep that the run is a trial of, or None.
        command: that started it, without secrets.
        secret: whether the command had secrets.
    """

    folder: Path
    name: str
    key: str
    job: str = "training"
    group: str | None = None
    command: str = ""
    secret: bool = False


@dataclass(frozen=True)
class PredictionTable:
    """What a network said of some pictures, the mistakes first.

    Args:
        pictures: (H, W, C) uint8, what it saw.
        names: of their files.
        truth: class names.
        predicted: class names.
        confidence: probability of the predicted class.
    """

    pictures: Sequence[np.ndarray]
    names: Sequence[str]
    truth: Sequence[str]
    predicted: Sequence[str]
    confidence: Sequence[float]


class Postponed:
    """Stands for a dashboard's own object until there is one: what is called on it is done in the dashboard's thread.

    Args:
        tell: takes the calls.
        find: gives the object, in the thread.
    """

    def __init__(self, tell: Callable[[Callable[[], Any]], None], find: Callable[[], Any]):
        self._tell, self._find = tell, find

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any, **keywords: Any) -> None:
            self._tell(lambda: getattr(self._find(), name)(*arguments, **keywords))

        return call


class Tracker(Logger):
    """A dashboard that is told things in a thread of its own, in their order; silent from its first failure on.

    A run is worth more than its mirror: `history.csv` has all figures, and whatever a dashboard raises becomes one line
    on the screen.

    Args:
        session: the run.

    Attributes:
        title: of the dashboard, for messages.
        continues: whether an earlier start of this run has told it something already.
        patience: seconds that `wait` waits for each thing that is still to be told.
    """

    title: ClassVar[str]
    patience: float = 60.0

    def __init__(self, session: Session):
        super().__init__()
        self.session, self.continues = session, False
        self._failed, self._progress = False, 0.0
        self._ending: Ending | None = None
        self._tasks: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name=self.title)
        self._thread.start()

    # ---- what a dashboard brings; all of it runs in the thread -------------------------------------------------------

    @abstractmethod
    def _figures(self, figures: Mapping[str, float], step: int) -> None:
        """Takes figures of a step."""

    @abstractmethod
    def _parameters(self, parameters: Mapping[str, Any]) -> None:
        """Takes the configuration, by dotted keys."""

    @abstractmethod
    def _picture(self, key: str, path: Path, step: int) -> None:
        """Takes a PNG file."""

    @abstractmethod
    def _end(self, ending: Ending) -> None:
        """Ends the run with its true state."""

    def _own(self) -> Any:
        """The dashboard's own object; None until there is one."""
        return None

    def _give_up(self) -> None:
        """Cleans up after a failure, or when it does not answer any more."""

    def _summary(self, figures: Mapping[str, float | str]) -> None:
        """Takes what the whole run is to be judged by."""

    def _masks(self, key: str, pictures: Sequence[Any], class_names: Sequence[str], step: int) -> None:
        """Takes pictures with masks."""

    def _predictions(self, key: str, said: PredictionTable, step: int) -> None:
        """Takes a table of predictions."""

    def _confusion(self, key: str, confusion: np.ndarray, class_names: Sequence[str], step: int) -> None:
        """Takes a confusion matrix."""

    def _used(self, artifact: Artifact) -> None:
        """Takes what the run started from."""

    def _made(self, artifact: Artifact) -> None:
        """Takes what the run has made."""

    # ---- what a run tells --------------------------------------------------------------------------------------------

    def tell(self, figures: Mapping[str, float], step: int) -> None:
        """Figures of an epoch or a step."""
        copy = dict(figures)
        self._tell(lambda: self._figures(copy, step))

    def show(self, key: str, picture: Path, step: int) -> None:
        """A PNG file that stays where it is."""
        self._tell(lambda: self._picture(key, picture, step))

    def show_masks(self, key: str, pictures: Sequence[Any], class_names: Sequence[str], step: int) -> None:
        """Pictures with `name`, `image` (H, W, C), `truth` and `predicted` (H, W) uint8 or None, as overlays."""
        self._tell(lambda: self._masks(key, pictures, class_names, step))

    def show_predictions(self, key: str, said: PredictionTable, step: int) -> None:
        """A table with pictures."""
        self._tell(lambda: self._predictions(key, said, step))

    def show_confusion(self, key: str, confusion: np.ndarray, class_names: Sequence[str], step: int) -> None:
        """(K, K) counts, true classes in rows, as a table to filter and normalise."""
        self._tell(lambda: self._confusion(key, confusion, class_names, step))

    def summarise(self, figures: Mapping[str, float | str]) -> None:
        """What the whole run is to be judged by."""
        copy = dict(figures)
        self._tell(lambda: self._summary(copy))

    def use(self, artifact: Artifact) -> None:
        """What the run starts from."""
        self._tell(lambda: self._used(artifact))

    def make(self, artifact: Artifact) -> None:
        """What the run has made."""
        self._tell(lambda: self._made(artifact))

    def end(self, ending: Ending) -> None:
        """How the run has ended, the last thing that is told."""
        self._ending = ending
        self._tell(lambda: self._end(ending))
        self._tasks.put(None)
        self._progress = time.monotonic()

    def wait(self) -> None:
        """Until all is told; when nothing more is within `patience`, the rest is given up, with a line that says so."""
        while self._thread.is_alive():
            if time.monotonic() > self._progress + (GRACE if self._failed else self.patience):
                break
            self._thread.join(0.02)
        if self._thread.is_alive() and not self._failed:
            self._fail(f"does not answer; {self._left_behind()}")
            other = threading.Thread(target=self._quietly_give_up, daemon=True)
            other.start()
            other.join(GRACE)

    def close(self, ending: Ending) -> None:
        """Ends the run and waits for that."""
        self.end(ending)
        self.wait()

    def _state(self, ending: Ending) -> dict[str, str]:
        """Status and reason; an empty one where an earlier start of the run may have left another."""
        return {"status": ending.state, **({"reason": ending.reason} if ending.reason or self.continues else {})}

    def _left_behind(self) -> str:
        return "history.csv has all figures"

    # ---- Lightning's protocol ----------------------------------------------------------------------------------------

    @property
    def experiment(self) -> Any:
        """The dashboard's own object, for callbacks of others; `Postponed` until there is one, and after a failure.

        Lightning asks for it before it trains, so nothing is waited for.
        """
        found = None if self._failed else self._own()
        return Postponed(self._tell, self._own) if found is None else found

    @property
    def name(self) -> str:
        """Of the run."""
        return self.session.name

    @property
    def version(self) -> str:
        """The run's key."""
        return self.session.key

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.session.folder)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Figures that Lightning or one of its callbacks sends."""
        rest = {name: float(value) for name, value in metrics.items() if not name.startswith(OF_EPOCHS)}
        if rest.keys() - {"epoch"}:
            self.tell(rest, step or 0)

    def log_hyperparams(self, params: Any, *arguments: Any, **keywords: Any) -> None:
        """The configuration."""
        copy = dict(params)
        self._tell(lambda: self._parameters(copy))

    def finalize(self, status: str) -> None:
        """Nothing: Lightning says it when fit ends, and the figures of the test come after that; see `close`."""

    def __getstate__(self) -> dict[str, Any]:
        """In another process it is silent."""
        return {"session": self.session, "continues": self.continues, "_failed": True}

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _tell(self, task: Callable[[], Any]) -> None:
        if not self._failed:
            self._tasks.put(task)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._failed:
                continue
            try:
                task()
            except Exception as error:  # each dashboard has many kinds
                if not self._failed:
                    self._fail(f"{one_line(error)}; nothing more is sent, {self._left_behind()}")
                self._quietly_give_up()
            self._progress = time.monotonic()

    def _quietly_give_up(self) -> None:
        with suppress(Exception):
            self._give_up()

    def _fail(self, text: str) -> None:
        self._failed, self._progress = True, time.monotonic()
        self._say(text)

    def _say(self, text: str) -> None:
        print(f"{self.title}: {text}", flush=True)


def one_line(error: BaseException) -> str:
    """What an exception of others says, short."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def missing(error: ImportError, word: str) -> ConfigurationError:
    """The person's mistake that a dashboard's package is not installed."""
    return ConfigurationError(
        f"logger={word} needs the package {error.name or word}", do=f"pip install 'striate[{word}]', or another logger"
    )
