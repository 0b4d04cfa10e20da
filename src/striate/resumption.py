"""Which run directory a command works in, and from which checkpoint it goes on."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from striate import runs
from striate.errors import ConfigurationError, nearest
from striate.messages import is_main_process
from striate.storage import load_checkpoint, write_text

RESUME = ("auto", "must", "never")
# Rank 0 decides; the processes that it starts find the decision here.
_HANDED_DOWN = "STRIATE_RUN"


@dataclass
class Start:
    """The run to work in and the checkpoint to go on from, if any."""

    run: runs.Run
    checkpoint: Path | None


def decide(config: Mapping[str, Any], label: str, hashes: Mapping[str, str]) -> Start:
    """Finds the unfinished run to go on with, or makes a new directory.

    Args:
        config: the resolved configuration: `resume`, `resume_allow`, `ckpt_path`, `run_dir`, `paths.runs_dir`.
        label: what names the directory, e.g. `lenet5_digits`.
        hashes: of the data, of the initial weights and of the source code.

    Raises:
        ConfigurationError: resume=must finds nothing, or the run to go on with differs in what it computes.
        StorageError: the directory cannot be used.
    """
    if not is_main_process() and _HANDED_DOWN in os.environ:
        handed = json.loads(os.environ[_HANDED_DOWN])
        return Start(runs.Run(Path(handed["folder"])), Path(handed["checkpoint"]) if handed["checkpoint"] else None)
    start = _decide(config, label, hashes)
    os.environ[_HANDED_DOWN] = json.dumps(
        {"folder": str(start.run.folder), "checkpoint": str(start.checkpoint) if start.checkpoint else None}
    )
    return start


def _decide(config: Mapping[str, Any], label: str, hashes: Mapping[str, str]) -> Start:
    resume, runs_dir = config["resume"], Path(config["paths"]["runs_dir"])
    if resume not in RESUME:
        raise ConfigurationError(
            f"resume={resume} is not valid", nearest=nearest(resume, RESUME), do="one of auto, must, never"
        )
    mark = runs.fingerprint(config, *hashes.values())
    facts = {"fingerprint": mark, "label": label, "hashes": dict(hashes)}
    if config["ckpt_path"] is not None:
        return _from_checkpoint(config, runs_dir, label, facts)
    candidates = runs.all_runs(runs_dir)
    if config["run_dir"] is not None:
        folder = Path(config["run_dir"])
        known = runs.read(folder)
        candidates = [] if known is None else [(folder, known)]
    if resume != "never":
        found = runs.unfinished(candidates, mark)
        if found is not None:
            return _go_on(found, config)
        if resume == "must":
            _refuse(candidates, config, hashes, runs_dir)
    if config["run_dir"] is not None:
        run = runs.claim(Path(config["run_dir"]), facts)
    else:
        run = runs.create(runs_dir, label, facts)
    _keep(run, config)
    return Start(run, None)


def _go_on(run: runs.Run, config: Mapping[str, Any]) -> Start:
    report: list[str] = []
    checkpoint = runs.newest_checkpoint(run.checkpoints, report=report)
    for line in report:
        print(line, flush=True)
    run.record("running", pid=os.getpid(), command=runs.command_line(), passed_over=report)
    print(f"Going on with {run.folder} from {checkpoint and checkpoint.name} (resume=never starts anew).", flush=True)
    return Start(run, checkpoint)


def _keep(run: runs.Run, config: Mapping[str, Any]) -> None:
    write_text(run.folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))


def _from_checkpoint(config: Mapping[str, Any], runs_dir: Path, label: str, facts: dict[str, Any]) -> Start:
    path = runs.resolve_checkpoint(config["ckpt_path"], runs_dir)
    if path.name.startswith("best-"):
        raise ConfigurationError(
            f"ckpt_path={path} holds weights alone; a run cannot go on from it",
            do="ckpt_path=last, or start from these weights: init=checkpoint init.path=PATH",
        )
    content = load_checkpoint(path)
    record = content.get("striate")
    if record is None or "optimizer_states" not in content:
        raise ConfigurationError(
            f"ckpt_path={path} is not a checkpoint to go on from",
            do="start from its weights: init=checkpoint init.path=PATH",
        )
    require_same(record["config"], config)
    run = runs.create(runs_dir, label, facts | {"continues": str(path)})
    _keep(run, config)
    return Start(run, path)


def require_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuses to go on under a configuration that computes something else, unless `resume_allow` names the keys.

    Raises:
        ConfigurationError: with the first differences, old and new.
    """
    allowed = tuple(f"{key}." for key in new["resume_allow"])
    changed = {key: pair for key, pair in runs.differences(old, new).items() if not f"{key}.".startswith(allowed)}
    if changed:
        shown = "; ".join(f"{key}: {before} → {after}" for key, (before, after) in list(changed.items())[:4])
        raise ConfigurationError(
            f"the run to go on with was configured otherwise: {shown}{' …' if len(changed) > 4 else ''}",
            do=f"take the changes back, allow them (resume_allow=[{','.join(list(changed)[:4])}]), or resume=never",
        )


def _refuse(candidates: list, config: Mapping[str, Any], hashes: Mapping[str, str], runs_dir: Path) -> None:
    for folder, facts in candidates:
        if facts.get("status") == "finished" or not (folder / "config.yaml").is_file():
            continue
        require_same(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")), config)
        other = [name for name, value in hashes.items() if facts.get("hashes", {}).get(name) != value]
        if other:
            raise ConfigurationError(
                f"the unfinished run {folder} was made with other {' and '.join(other)}",
                do="bring them back, or start anew: resume=never",
            )
        break
    raise ConfigurationError(
        f"resume=must: no unfinished run to go on with in {config['run_dir'] or runs_dir} (looked for a "
        "run.json with a whole checkpoints/step-*.ckpt)",
        do="resume=auto starts one",
    )
