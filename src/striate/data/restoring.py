"""Raw data that are pinned by DVC and not there yet: brought back by `dvc pull`."""

import shutil
import subprocess
import sys
from pathlib import Path

from striate.data.sources.base import Source
from striate.errors import DataError

PIN = Path(__file__).resolve().parents[3] / "data.dvc"


def restore_raw(source: Source, name: str) -> None:
    """Brings back raw data that `data.dvc` pins; does nothing for others, or when they are there.

    Raises:
        DataError: they are missing and cannot be brought back; the message says how to get them.
    """
    missing = source.missing()
    if missing is None:
        return
    if _is_pinned(Path(missing)):
        print(f"{missing} is not there yet: restoring what data.dvc pins (dvc pull)", flush=True)
        command = [sys.executable, "-m", "dvc", "pull", "--quiet", PIN.name]
        pulled = subprocess.run(command, cwd=PIN.parent, capture_output=True, text=True)
        if pulled.returncode == 0 and source.missing() is None:
            return
        reason = (pulled.stderr.strip() or pulled.stdout.strip() or "dvc pull failed").splitlines()[-1]
        raise DataError(
            f"{missing} could not be restored: {reason}",
            do="run `dvc pull data.dvc` in the repository and read its message",
        )


def _is_pinned(path: Path) -> bool:
    if not PIN.is_file() or (shutil.which("dvc") is None and not _has_dvc()):
        return False
    import yaml

    outputs = (yaml.safe_load(PIN.read_text(encoding="utf-8")) or {}).get("outs", [])
    return any((PIN.parent / out["path"]).resolve() == path.resolve() for out in outputs)


def _has_dvc() -> bool:
    from importlib.util import find_spec

    return find_spec("dvc") is not None
