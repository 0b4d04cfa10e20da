"""Run directories: made atomically, never shared by two runs, found again by what they compute.

A run directory holds `run.json` (what the run is and how far it came), `config.yaml` (the resolved configuration),
`checkpoints/`, `history.csv` and the pictures. Its *fingerprint* names the computation: the resolved configuration
without what cannot change a result, the data hash, the hash of the initial weights and that of the source code.
"""

import fcntl
import hashlib
import json
import os
import platform
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from striate.errors import ConfigurationError, StorageError
from striate.storage import checkpoint_fault, storage_errors, write_json

# What says where and how a run is carried out and shown, not what it computes.
WITHOUT_EFFECT = (
    *("paths", "resume", "resume_allow", "ckpt_path", "plan", "run_dir", "output_dir", "logger", "init.path"),
    *("mistakes", "choose", "chosen", "find_lr", "find_batch_size"),  # what was chosen or found stands in its place
    *("data.root", "data.prepared_dir", "data.source", "data.num_workers", "data.prepare.workers"),
    *("callbacks.progress", "callbacks.checkpointing", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("trainer.devices", "trainer.num_nodes", "trainer.accelerator", "trainer.strategy"),
    *("trainer.log_every_n_steps", "trainer.max_time"),
)

# From a network, its weights and a split to figures: what two runs must share for their figures to be compared. What
# they may differ in, such as networks and training, is elsewhere.
MEASURE = (
    *("data/loading.py", "data/masks.py", "data/multiview.py", "data/pack.py", "data/pictures.py"),
    *("data/pixel_views.py", "data/preprocessing.py", "data/views.py"),
    *("evaluation/metrics.py", "evaluation/pixel_metrics.py", "evaluation/pixel_tally.py", "evaluation/tally.py"),
    *("tasks/classification.py", "tasks/multiview.py", "tasks/pixel_looks.py", "tasks/segmentation.py"),
)


def flatten(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested plain data as (dotted key, value)."""
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, config


def with_effect(config: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a resolved configuration that can change what a run computes."""
    ignored = tuple(f"{key}." for key in WITHOUT_EFFECT)
    return {key: value for key, value in flatten(config) if not f"{key}.".startswith(ignored)}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The leaves in which two resolved configurations differ, among those that can change a result."""
    before, after = with_effect(old), with_effect(new)
    keys = sorted(before.keys() | after.keys())
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def code_version() -> dict[str, str | None]:
    """The hash of the package's sources, and the git revision they came from (None outside a repository)."""
    package = Path(__file__).parent
    return {"hash": _hash_of(package, sorted(package.rglob("*.py"))), "revision": _git_revision(package)}


def measure_version() -> str:
    """The hash of the sources of `MEASURE`: figures with another one were made by another rule."""
    package = Path(__file__).parent
    return _hash_of(package, [package / name for name in MEASURE])


def _hash_of(package: Path, sources: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.relative_to(package).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def _git_revision(folder: Path) -> str | None:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def environment() -> dict[str, Any]:
    """The machine and the versions that a result may depend on."""
    packages = (
        "torch",
        "torchvision",
        "lightning",
        "hydra-core",
        "albumentations",
        "numpy",
        "opencv-python-headless",
        "pillow",
    )
    versions: dict[str, str | None] = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "packages": versions,
    }


def fingerprint(config: Mapping[str, Any], *hashes: str) -> str:
    """The name of a computation: equal fingerprints (configuration, data, code, initial weights) give equal weights."""
    content = json.dumps([with_effect(config), *hashes], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass
class Run:
    """A directory that this process holds; other processes are kept out by a lock that dies with the process."""

    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)
    _lock: IO[str] | None = None

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def record(self, status: str, **facts: Any) -> None:
        """Writes the state of the run: running, finished, interrupted, diverged or failed."""
        self.facts |= {"status": status, "updated": _now(), **facts}
        write_json(self.folder / "run.json", self.facts)

    def acquire(self) -> bool:
        """Takes the directory for this process; False while another living process has it."""
        stream = open(self.folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            return False
        self._lock = stream
        os.register_at_fork(after_in_child=self.release)  # or workers that outlive this process would hold it
        return True

    def discard(self) -> None:
        """Removes the directory, of a run that was refused before it had begun."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()

    def is_empty(self) -> bool:
        """Whether there is no checkpoint yet, so that nothing would be lost."""
        return not any(self.checkpoints.glob("*.ckpt"))

    def release(self) -> None:
        """Gives the directory back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def command_line() -> str:
    """The command that started this process, as a person would type it."""
    script = os.path.relpath(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
    return shlex.join(["python", script, *sys.argv[1:]])


def create(runs_dir: Path, label: str, facts: Mapping[str, Any]) -> Run:
    """Makes a new run directory `runs_dir/DATE_TIME_LABEL_XXXX` that no other run can have.

    Raises:
        StorageError: the place cannot be written.
    """
    with storage_errors(runs_dir):
        runs_dir.mkdir(parents=True, exist_ok=True)
        while True:
            # The clock alone is not enough: two runs may start in one second, and clocks jump back.
            folder = runs_dir / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{label}_{secrets.token_hex(2)}"
            try:
                folder.mkdir()
                break
            except FileExistsError:
                continue
    return _take(folder, facts)


def claim(folder: Path, facts: Mapping[str, Any]) -> Run:
    """Takes the directory that a person named; it must be new, empty, or of a run that left no checkpoint.

    Raises:
        StorageError: another run is in it, or has been.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        used = any(entry.name != ".lock" for entry in folder.iterdir())
    if used and not _in_vain(folder):
        known = read(folder)
        if known and known["status"] == "running" and not _is_free(folder):
            raise _busy(folder)
        by = f" by a run of {known['started'][:16]}, which is {known['status']}" if known else ""
        begun = known is not None and known["status"] != "finished"
        do = ", or go on with that run: resume=must says what differs" if begun else ""
        raise StorageError(f"the run directory {folder} is already used{by}", do=f"name another run_dir{do}")
    return _take(folder, facts)


def _busy(folder: Path) -> StorageError:
    return StorageError(
        f"another process is using the run directory {folder}", do="wait for it, or name another run_dir"
    )


def _is_free(folder: Path) -> bool:
    run = Run(folder)
    free = run.acquire()
    run.release()
    return free


def _in_vain(folder: Path) -> bool:
    # A run that ended before its first checkpoint has nothing to lose, and its command must be repeatable.
    facts = read(folder)
    return facts is not None and facts.get("status") != "finished" and Run(folder).is_empty()


def _take(folder: Path, facts: Mapping[str, Any]) -> Run:
    run = Run(folder.resolve())
    if not run.acquire():
        raise _busy(folder)
    run.facts = {
        "started": _now(),
        "command": command_line(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        **facts,
    }
    run.record("running")
    return run


def read(folder: Path) -> dict[str, Any] | None:
    """What `run.json` says of a directory, or None if it is not a run's."""
    try:
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def all_runs(runs_dir: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Every run below a directory with its facts, the newest first."""
    found = [(entry, facts) for entry in runs_dir.glob("*/") if (facts := read(entry)) is not None]
    return sorted(found, key=lambda pair: (pair[1].get("started", ""), pair[0].name), reverse=True)


def folder_of(checkpoint: Path) -> Path:
    """The run directory of a checkpoint, or the folder in which it lies by itself."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def newest_checkpoint(folder: Path, *, report: list[str] | None = None) -> Path | None:
    """The newest whole checkpoint `step-*.ckpt` of a run; broken ones are passed over and named in `report`."""
    for path in sorted(folder.glob("step-*.ckpt"), reverse=True):
        fault = checkpoint_fault(path)
        if fault is None:
            return path
        if report is not None:
            report.append(f"{path} is passed over: {fault}")
    return None


def resolve_checkpoint(ckpt_path: str, runs_dir: Path, *, key: str = "ckpt_path", finished: bool = False) -> Path:
    """The file that a person means by `last`, `best`, a file, or a run directory (then its best).

    Args:
        ckpt_path: what was said.
        runs_dir: where `last` and `best` look for the newest run.
        key: of the configuration, for messages.
        finished: `last` and `best` pass over runs that have not finished.

    Raises:
        ConfigurationError: nothing of that name; the message says what was looked for.
    """
    if ckpt_path in ("best", "last"):
        for folder, facts in all_runs(runs_dir):
            if finished and facts.get("status") != "finished":
                continue
            if (found := _of_run(folder, ckpt_path)) is not None:
                return found
        raise ConfigurationError(
            f"{key}={ckpt_path}: no run in {runs_dir} has a {ckpt_path} checkpoint",
            do=f"train first (python src/train.py), or name a file: {key}=PATH",
        )
    path = Path(ckpt_path).expanduser()
    if path.is_dir():
        found = _of_run(path, "best") or _of_run(path, "last")
        if found is None and (path / "model.ckpt").is_file():
            found = path / "model.ckpt"
        if found is None:
            raise ConfigurationError(
                f"{key}={ckpt_path}: the directory holds no checkpoint", do="name a run directory or a .ckpt file"
            )
        return found
    if not path.is_file():
        raise ConfigurationError(
            f"{key}={ckpt_path}: there is no such file", do="name a .ckpt file, a run directory, best or last"
        )
    return path


def _of_run(folder: Path, which: str) -> Path | None:
    checkpoints = folder / "checkpoints"
    if which == "last":
        return newest_checkpoint(checkpoints)
    sound = [path for path in sorted(checkpoints.glob("best-*.ckpt"), reverse=True) if checkpoint_fault(path) is None]
    return sound[0] if sound else None
