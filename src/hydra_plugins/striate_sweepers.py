"""The sweepers behind `-m`: `hydra/sweeper=grid` (the default) and `hydra/sweeper=optuna`.

They lie here because Hydra takes plugins from `hydra_plugins` alone; what they do is in `striate.sweeping`. Hydra
imports this file at each start, so it imports nothing heavy.
"""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, open_dict


class StriateSweeper(Sweeper):
    """What both have in common."""

    engine: str

    def __init__(self, **settings: Any):
        self.settings = settings

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Keeps what Hydra gives."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def prepare(self, call: Any) -> Any:
        """The plan of the sweep that was asked for."""
        raise NotImplementedError

    def sweep(self, arguments: list[str]) -> int:
        """Runs all trials that are not done yet, and reports.

        Raises:
            SystemExit: with the exit code of a trial that failed.
        """
        from striate.sweeping.calling import Call

        def report(ledger: Any) -> None:  # late: it draws
            from striate.pipelines.sweep_report import conclude

            conclude(ledger)

        assert self.config is not None
        with open_dict(self.config):
            call = Call(self.config, self.context, self.task.order, self.settings, arguments, self.engine)
        return call.carry_out(self.prepare(call), report)


class GridSweeper(StriateSweeper):
    """Every combination of the values on the command line."""

    engine = "grid"

    def prepare(self, call: Any) -> Any:
        """The cells."""
        from striate.sweeping.calling import grid

        def hashes_of(config: Any) -> Any:  # late: it reads weights, with PyTorch
            from striate.pipelines.meeting import hashes_of

            return hashes_of(config)

        return grid(call, hashes_of)


class OptunaSweeper(StriateSweeper):
    """Trials that Optuna proposes."""

    engine = "optuna"

    def prepare(self, call: Any) -> Any:
        """The study."""
        from striate.sweeping.calling import study

        return study(call)
