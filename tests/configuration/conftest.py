"""A small command with a tree of its own, to be typed at and to be broken."""

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from striate.configuration import FOLDER, REPOSITORY


@dataclass
class SmallCommand:
    """A copy of `small/` with `small.py` and `conf/`, and an empty directory `here` to start it from."""

    root: Path

    @property
    def here(self) -> Path:
        return self.root / "here"

    def write(self, name: str, text: str | bytes) -> None:
        """Replaces a configuration file."""
        (self.root / "conf" / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    def replace(self, name: str, old: str, new: str) -> None:
        """Replaces a part of a configuration file."""
        text = (self.root / "conf" / name).read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def shell(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs it as a person does."""
        return self.process([sys.executable, str(self.root / "small.py"), *words], **environment)

    def process(self, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs any command in `here`."""
        inherited = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "LOCAL_RANK")}
        return subprocess.run(
            command, cwd=self.here, capture_output=True, text=True, timeout=120,
            env=inherited | {"PYTHONPATH": str(REPOSITORY / "src")} | environment,
        )  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> SmallCommand:
    root = tmp_path / "small"
    shutil.copytree(Path(__file__).parent / "small", root)
    shutil.copytree(FOLDER / "paths", root / "conf" / "paths")
    (root / "here").mkdir()
    return SmallCommand(root)


@pytest.fixture
def typed(small: SmallCommand, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that runs the small command in this process, which is quicker, with the words of a command line."""
    spec = importlib.util.spec_from_file_location("small", small.root / "small.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "small", module)
    spec.loader.exec_module(module)
    monkeypatch.chdir(small.here)
    handlers = logging.root.handlers[:]

    def run(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", [str(small.root / "small.py"), *words])
        module.main()

    yield run
    logging.root.handlers[:] = handlers


@pytest.fixture
def refusal(
    small: SmallCommand, typed: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """The same for words that must be refused; gives the lines that were printed."""

    def run(*words: str) -> list[str]:
        with pytest.raises(SystemExit) as ended:
            typed(*words)
        printed = capsys.readouterr().err
        assert ended.value.code == 2, printed
        lines = printed.rstrip("\n").split("\n")
        assert 1 <= len(lines) <= 3, printed
        assert "Traceback" not in printed
        assert not list(small.here.iterdir()), "a refused configuration must leave nothing behind"
        return lines

    return run
