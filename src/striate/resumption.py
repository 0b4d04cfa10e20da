"""Which run directory a command works in, and from which checkpoint it goes on."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from striate import runs
from striate.errors import ConfigurationError, nearest
from striate.messages import is_main_process
from striate.storage import load_checkpoint, write_json, write_text

RESUME = ("auto", "must", "never")
# In the environment of a trial of a sweep: the file in which its run says where it is.
TRIAL = "STRIATE_TRIAL"
# Rank 0 decides; the processes that it starts find the decision here.
_HANDED_DOWN = "STRIATE_RUN"


@dataclass
class Start:
    """The run to work in and the checkpoint to go on from, if any."""

    run: runs.Run
    checkpoint: Path | None


def decide(config: Mapping[str, Any], label: str, hashes: Mapping[str, str], command: str | None = None) -> Start:
    """Finds the unfinished run to go on with, or makes a new directory.

    Args:
        config: the resolved configuration: `resume`, `resume_allow`, `ckpt_path`, `run_dir`, `paths.runs_dir`.
        label: what names the directory, e.g. `lenet5_digits`.
        hashes: of the data, of the initial weights and of the source code.
        command: that is noted, without its secrets; None: as it was typed.

    Raises:
        ConfigurationError: resume=must finds nothing, or the run to go on with differs in what it computes.
        StorageError: the directory cannot be used.
    """
    if not is_main_process() and _HANDED_DOWN in os.environ:
        handed = json.loads(os.environ[_HANDED_DOWN])
        return Start(runs.Run(Path(handed["folder"])), Path(handed["checkpoint"]) if handed["checkpoint"] else None)
    start = _decide(config, label, hashes, command or runs.command_line())
    if TRIAL in os.environ:
        write_text(Path(os.environ[TRIAL]), str(start.run.folder))
    os.environ[_HANDED_DOWN] = json.dumps(
        {"folder": str(start.run.folder), "checkpoint": str(start.checkpoint) if start.checkpoint else None}
    )
    return start


def unfinished(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """The runs with which a command may go on, the newest first: name, resolved configuration, and hashes.

    Args:
        config: `ckpt_path`, `run_dir`, `paths.runs_dir`.
    """
    runs_dir = Path(config["paths"]["runs_dir"])
    if config["ckpt_path"] is not None:
        record = load_checkpoint(runs.resolve_checkpoint(config["ckpt_path"], runs_dir)).get("striate")
        if record is not None:
            hashes = {"data": record["meta"]["hash"], "code": record["code"].get("hash")}
            yield config["ckpt_path"], record["config"], hashes
        return
    for folder, facts, before in _candidates(config):
        yield folder.name, before, facts.get("hashes", {})


def _candidates(config: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Unfinished runs with a whole checkpoint: folder, facts, configuration; that in `run_dir` alone if it is named."""
    found = runs.all_runs(Path(config["paths"]["runs_dir"]))
    if config["run_dir"] is not None:
        folder = Path(config["run_dir"])
        known = runs.read(folder)
        found = [] if known is None else [(folder, known)]
    for folder, facts in found:
        kept = folder / "config.yaml"
        if facts.get("status") == "finished" or not kept.is_file():
            continue
        if runs.newest_checkpoint(folder / "checkpoints") is not None:
            yield folder, facts, yaml.safe_load(kept.read_text(encoding="utf-8"))


def _decide(config: Mapping[str, Any], label: str, hashes: Mapping[str, str], command: str) -> Start:
    resume, runs_dir = config["resume"], Path(config["paths"]["runs_dir"])
    if resume not in RESUME:
        raise ConfigurationError(
            f"resume={resume} is not valid", nearest=nearest(resume, RESUME), do="one of auto, must, never"
        )
    facts = {"fingerprint": runs.fingerprint(config, *hashes.values()), "label": label, "hashes": dict(hashes)}
    facts["command"] = command
    if config["ckpt_path"] is not None:
        return _from_checkpoint(config, runs_dir, label, facts)
    if resume != "never":
        found = _unfinished(config, hashes, must=resume == "must")
        if found is not None:
            return _go_on(found, config, command)
        if resume == "must":
            raise ConfigurationError(
                f"resume=must: no unfinished run to go on with in {config['run_dir'] or runs_dir} (looked for a "
                "run.json with a whole checkpoints/step-*.ckpt)",
                do="resume=auto starts one",
            )
    if config["run_dir"] is not None:
        run = runs.claim(Path(config["run_dir"]), facts)
    else:
        run = runs.create(runs_dir, label, facts)
    _keep(run, config)
    return Start(run, None)


def _unfinished(config: Mapping[str, Any], hashes: Mapping[str, str], *, must: bool) -> runs.Run | None:
    """Takes over the newest unfinished run that computes the same; says so of the newest that nearly does."""
    told = False
    for folder, facts, before in _candidates(config):
        run = runs.Run(folder.resolve(), facts=dict(facts))
        try:
            require_same(before, config)
            require_same_hashes(facts.get("hashes", {}), hashes, config, str(folder))
        except ConfigurationError as difference:
            if must:
                raise
            near = facts.get("label") and len(runs.differences(before, config)) < 3
            if near and not told and TRIAL not in os.environ:  # in a sweep the others differ of course
                print(f"Not going on with the unfinished {folder.name}: {difference.what}", flush=True)
                told = True
            continue
        if run.acquire():
            return run
    return None


def _go_on(run: runs.Run, config: Mapping[str, Any], command: str) -> Start:
    report: list[str] = []
    checkpoint = runs.newest_checkpoint(run.checkpoints, report=report)
    for line in report:
        print(line, flush=True)
    run.record("running", pid=os.getpid(), command=command, passed_over=report)
    _keep(run, config)
    print(f"Going on with {run.folder} from {checkpoint and checkpoint.name} (resume=never starts anew).", flush=True)
    return Start(run, checkpoint)


def _keep(run: runs.Run, config: Mapping[str, Any]) -> None:
    write_text(run.folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    write_json(run.folder / "environment.json", runs.environment())


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
    own = {"data": record["meta"]["hash"], "code": record["code"].get("hash")}
    require_same_hashes(own, {key: facts["hashes"][key] for key in own}, config, str(path))
    run = runs.create(runs_dir, label, facts | {"continues": str(path)})
    _keep(run, config)
    for best in path.parent.glob("best-*.ckpt*"):  # still the best, unless a later epoch is better
        run.checkpoints.mkdir(exist_ok=True)
        shutil.copy2(best, run.checkpoints / best.name)
    return Start(run, path)


def require_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuses to go on under a configuration that computes something else, unless `resume_allow` names the keys.

    Raises:
        ConfigurationError: with the first differences, old and new; or a permission that could have no effect.
    """
    allowed = tuple(f"{key}." for key in new["resume_allow"])
    for key in new["resume_allow"]:
        if f"{key}.".startswith(("optimizer.", "scheduler.")):
            raise ConfigurationError(
                f"resume_allow={key}: a run that goes on keeps the state of its optimizer and schedule, rates included",
                do="start from its weights instead: init=checkpoint init.path=PATH",
            )
    changed = {key: pair for key, pair in runs.differences(old, new).items() if not f"{key}.".startswith(allowed)}
    if changed:
        shown = "; ".join(f"{key}: {before} → {after}" for key, (before, after) in list(changed.items())[:4])
        raise ConfigurationError(
            f"the run to go on with was configured otherwise: {shown}{' …' if len(changed) > 4 else ''}",
            do=f"take the changes back, allow them (resume_allow=[{','.join(list(changed)[:4])}]), or resume=never",
        )


def require_same_hashes(
    old: Mapping[str, str | None], new: Mapping[str, str], config: Mapping[str, Any], place: str
) -> None:
    """Refuses to go on with other data, code or first weights, unless `resume_allow` names them.

    Raises:
        ConfigurationError: what is not the same any more.
    """
    other = [name for name, value in new.items() if old.get(name) != value and name not in config["resume_allow"]]
    if other:
        raise ConfigurationError(
            f"{place} was made with other {' and '.join(other)}",
            do=f"bring them back, allow it (resume_allow=[{','.join(other)}]), or start anew: resume=never",
        )
