"""A process that has imported what a training needs, and forks for each: the other side of `study_nursery`.

It reads one request a line and answers each with one line. It has computed nothing and holds no thread and no GPU when
it forks, so that a fork is what a fresh process of `train.py` would be. When whoever started it is gone, it leaves too,
and its forks are asked to stop. Elsewhere than on Linux, where frameworks do not bear forks, it starts fresh processes,
which then finish.
"""

import ctypes
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from striate.configuration import REPOSITORY

_SCRIPT = REPOSITORY / "src" / "train.py"
_FORKS = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_WANTED = ("striate.pipelines.train", "striate.tasks.classification", "hydra.main", "pydantic")

_spawned: list[subprocess.Popen[bytes]] = []  # kept, or Python would ask for their exit codes itself


def serve() -> None:
    """Answers {"words", "log", "environment"} with a pid and {"poll"} with a state until there is nobody to ask."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what imports print is no answer
    for module in _WANTED if _FORKS else ():
        importlib.import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer: Any = _state(request["poll"])
        else:
            answer = _fork(**request) if _FORKS else _spawn(**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _state(pid: int) -> int | str:
    try:
        ended, state = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # of a nursery before this one
        return -signal.SIGKILL
    return os.waitstatus_to_exitcode(state) if ended else "running"


def _spawn(words: Sequence[str], log: str, environment: Mapping[str, str]) -> int:
    with open(log, "w", encoding="utf-8") as stream:
        command = [sys.executable, str(_SCRIPT), *words]
        _spawned.append(
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment, start_new_session=True
            )
        )
    return _spawned[-1].pid


def _fork(words: Sequence[str], log: str, environment: Mapping[str, str]) -> int:
    return os.fork() or _train(words, log, environment)


def _train(words: Sequence[str], log: str, environment: Mapping[str, str]) -> NoReturn:
    """What a fork does: it becomes `python src/train.py WORDS`."""
    code = 1
    try:
        os.setsid()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        with open(log, "w", encoding="utf-8") as stream, open(os.devnull, encoding="utf-8") as nothing:
            for source, target in ((nothing, 0), (stream, 1), (stream, 2)):
                os.dup2(source.fileno(), target)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [str(_SCRIPT), *words]
        sys.path.insert(0, str(_SCRIPT.parent))
        runpy.run_path(str(_SCRIPT), run_name="__main__")
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
