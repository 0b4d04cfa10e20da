"""The account of a transfer: with the rate of each parameter group, on the screen and in the run's directory."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from striate.messages import is_main_process, say
from striate.storage import write_json
from striate.tasks.base import SupervisedTask
from striate.transfer.report import TransferReport


def tell(report: TransferReport | None, config: Mapping[str, Any], task: SupervisedTask, folder: Path) -> None:
    """Completes the report, if there is one, by what the optimizer will do; says it and writes `transfer.json`."""
    if report is None:
        return
    optimizer, epochs = config["optimizer"], config["trainer"]["max_epochs"]
    report.tell_rates(task.network, task.parameter_groups(), optimizer["lr"], optimizer.get("weight_decay", 0.0))
    late = [row["stage"] for row in report.stages if (row["learns_from"] or 0) > (epochs or -1) > 0]
    if late:
        report.notes.append(f"trainer.max_epochs={epochs} ends before {', '.join(late)} would begin to learn")
    say(str(report))
    if is_main_process():
        write_json(folder / "transfer.json", asdict(report))
