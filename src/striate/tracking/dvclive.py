"""DVCLive, in the run directory: tables and pictures that `dvc plots` and DVC's extension for VS Code show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from striate.errors import Ending
from striate.tracking.base import Session, Tracker, missing

FOLDER = "dvclive"


class DvcliveTracker(Tracker):
    """DVCLive's files below the run directory.

    Args:
        session: the run.
        options: of `dvclive.Live`.
    """

    title = "DVCLive"

    def __init__(self, session: Session, options: Mapping[str, Any]):
        super().__init__(session)
        self._folder, self._options = session.folder / FOLDER, dict(options)
        self.continues = (self._folder / "metrics.json").is_file()
        self._live: Any = None
        self._tell(self._begin)

    def _own(self) -> Any:
        return self._live

    def _begin(self) -> None:
        from dvclive import Live

        self._live = Live(dir=str(self._folder), resume=self.continues, monitor_system=False, **self._options)

    def _figures(self, figures: Mapping[str, float], step: int) -> None:
        self._live.step = step
        for name, value in figures.items():
            self._live.log_metric(name, value)
        self._live.make_summary()

    def _parameters(self, parameters: Mapping[str, Any]) -> None:
        self._live.log_params({key: value if value is not None else "null" for key, value in parameters.items()})

    def _picture(self, key: str, path: Path, step: int) -> None:
        self._live.log_image(f"{key}.png", path)

    def _summary(self, figures: Mapping[str, float | str]) -> None:
        for name, value in figures.items():
            self._live.log_metric(name, value, plot=False)
        self._live.make_summary()

    def _end(self, ending: Ending) -> None:
        for name, value in self._state(ending).items():
            self._live.log_metric(name, value, plot=False)
        self._live.end()


def dvclive_logger(
    session: Session, save_dvc_exp: bool = False, report: Literal["html", "md"] | None = None
) -> Tracker:
    """DVCLive's files in the run directory.

    Args:
        session: the run.
        save_dvc_exp: make a DVC experiment of the run when it ends, which commits the workspace.
        report: also write a report of this kind.

    Raises:
        ConfigurationError: DVCLive is not installed.
    """
    try:
        import dvclive  # noqa: F401
    except ImportError as error:
        raise missing(error, "dvclive") from error
    # Without an experiment the repository's dvc.yaml is not DVCLive's to write.
    dvcyaml = "dvc.yaml" if save_dvc_exp else None
    return DvcliveTracker(session, {"save_dvc_exp": save_dvc_exp, "report": report, "dvcyaml": dvcyaml})
