"""The command line of every script in `src/`: Hydra, strict, and with messages instead of tracebacks."""

import argparse
import functools
import hashlib
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf

from striate.configuration.composition import FOLDER, keep_hydra_from_writing, settled
from striate.configuration.explaining import explain
from striate.configuration.keys import InvalidEntry
from striate.configuration.origin import Invocation
from striate.configuration.schema import SCHEMAS
from striate.configuration.trials import SweepOrder, program_of, run_trial
from striate.configuration.words import explain_arguments, explain_sweep
from striate.errors import ConfigurationError, DivergedError, InterruptedRun, PrunedRun, StriateError
from striate.messages import is_main_process

TRACEBACKS = "HYDRA_FULL_ERROR"
COMPOSED = "STRIATE_COMPOSED"


def command(
    name: str,
    *,
    folder: Path = FOLDER,
    schema: type | None = None,
    positional: str | None = None,
    several: bool = False,
) -> Callable[[Callable], Callable[..., Any]]:
    """Makes `main(cfg)` a script: `@command("train")` composes `conf/train.yaml`, checks it and calls `main`.

    A person's mistake ends the process with at most three lines on stderr and its exit code (2 for the configuration;
    see `striate.errors`), a fault of the program with its traceback and 1, Ctrl-C with 130. `HYDRA_FULL_ERROR=1` in
    the environment asks for tracebacks of mistakes too. With `-m` every combination runs in a process of its own.

    Args:
        name: the root file in the folder.
        folder: where the configuration files lie.
        schema: the dataclass of the root; by default that of `striate.configuration.schema`.
        positional: the key that a first word without a key gives its value, such as a file.
        several: all words without a key together are that value, a list.
    """

    def decorate(main: Callable[[DictConfig], Any]) -> Callable[..., Any]:
        @functools.wraps(main)
        def script(cfg: DictConfig | None = None) -> Any:
            if cfg is not None:
                return main(cfg)
            if positional is not None:
                sys.argv[1:] = (named_list if several else named)(sys.argv[1:], positional)
            try:
                return _run(main, name, folder, schema or SCHEMAS[name])
            except StriateError as mistake:
                if os.environ.get(TRACEBACKS) == "1":
                    traceback.print_exc()
                elif is_main_process():
                    print(mistake, file=sys.stderr)
                # What all processes of a run raise together the first one reports. Were another faster to leave with a
                # code of its own, Lightning would kill the first before it has put its run in order.
                together = not is_main_process() and isinstance(mistake, InterruptedRun | DivergedError | PrunedRun)
                # To an agent of W&B, which stops what is given up, another code means that the trial has failed.
                given_up = isinstance(mistake, InterruptedRun) and "WANDB_SWEEP_ID" in os.environ
                sys.exit(0 if together or given_up else mistake.exit_code)
            except (KeyboardInterrupt, SystemExit) as stop:
                # Lightning answers Ctrl-C by leaving with 1, as if there were a fault.
                if isinstance(stop, SystemExit) and not isinstance(stop.__context__, KeyboardInterrupt):
                    raise
                if is_main_process():
                    print("interrupted", file=sys.stderr)
                sys.exit(130)

        return script

    return decorate


def named(words: list[str], key: str) -> list[str]:
    """The words of a command line with the first one named, where it is a file or has no key; quoted for Hydra."""
    if not words or words[0].startswith("-") or ("=" in words[0] and not os.path.exists(words[0])):
        return words
    return [f"{key}={_quoted(words[0])}", *words[1:]]


def named_list(words: list[str], key: str) -> list[str]:
    """The words of a command line, those that are files or have no key made one list under a key; quoted for Hydra."""
    options = [word.startswith("-") for word in words]
    bare = [
        word
        for place, word in enumerate(words)
        if not any(options[max(place - 1, 0) : place + 1]) and ("=" not in word or os.path.exists(word))
    ]
    rest = [word for word in words if word not in bare]
    return [f"{key}=[{','.join(map(_quoted, bare))}]", *rest] if bare else rest


def _quoted(word: str) -> str:
    value = re.sub(r"(\\*)'", r"\1\1\'", word)
    return f"'{value}'"


def _run(main: Callable[[DictConfig], Any], name: str, folder: Path, schema: type) -> Any:
    """Lets Hydra compose and call `main`, and raises what went wrong, as a mistake where it is one."""
    import hydra

    arguments = _arguments(Invocation(name, folder, sys.argv[1:]))
    invocation = Invocation(
        arguments.config_name or name, Path(arguments.config_path or folder), tuple(arguments.overrides)
    )
    keep_hydra_from_writing(invocation.folder)
    if arguments.multirun and (mistake := explain_sweep(invocation)) is not None:
        raise mistake
    program = program_of(arguments)
    asked, composed = os.environ.get(TRACEBACKS), os.environ.get(COMPOSED)
    outcome: dict[str, Any] = {"checked": False, "code": 0}

    @functools.wraps(main)
    def job(cfg: DictConfig) -> None:
        try:
            _set(TRACEBACKS, asked)
            if _is_one_of_many():
                outcome["code"] = run_trial(program) or outcome["code"]
            else:
                _compare_with_first_process(cfg)
                settled(cfg, schema)
                outcome["checked"] = True
                outcome["result"] = main(cfg)
        except Exception as error:  # kept from Hydra, which would print it
            outcome["error"] = error
        finally:
            _set(TRACEBACKS, "1")

    job.order = SweepOrder(program, functools.partial(settled, schema=schema), asked)  # type: ignore[attr-defined]
    _set(TRACEBACKS, "1")  # Hydra raises instead of printing and leaving
    try:
        hydra.main(version_base="1.3", config_path=str(folder), config_name=name)(job)()
    except Exception as error:
        outcome["error"] = error
    finally:
        _set(TRACEBACKS, asked)
        _set(COMPOSED, composed)
    if "error" in outcome:
        _raise(outcome["error"], invocation, checked=outcome["checked"])
    if outcome["code"]:
        sys.exit(outcome["code"])
    return outcome.get("result")


def _raise(error: Exception, invocation: Invocation, *, checked: bool) -> NoReturn:
    if isinstance(error, InvalidEntry) and not checked:
        error.what += invocation.origin(error.path)
    elif not isinstance(error, StriateError) and not checked and (mistake := explain(error, invocation)) is not None:
        raise mistake from error
    raise error


def _arguments(invocation: Invocation) -> argparse.Namespace:
    """The words of the command line as Hydra will see them."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise explain_arguments(message, list(parser._option_string_actions), invocation)

    parser.error = refuse  # type: ignore[method-assign]
    arguments = parser.parse_intermixed_args()
    if arguments.experimental_rerun is not None:
        raise ConfigurationError(
            "--experimental-rerun reads a pickle, which can run any program",
            do="name a saved configuration: -cp RUN_DIRECTORY -cn config",
        )
    sys.argv = [sys.argv[0], *arguments.overrides, *_options(arguments)]
    return arguments


def _options(arguments: argparse.Namespace) -> list[str]:
    """The words that begin with a dash, and their values; a relative `-cp` is one from the current directory.

    Hydra takes it from the script's directory, and refuses options between overrides, such as those after which
    Lightning puts words of its own.
    """
    options = [word for word in sys.argv[1:] if word not in arguments.overrides]
    for position, word in enumerate(options):
        name, equals, value = word.partition("=")
        if word in ("-cp", "--config-path"):
            options[position + 1] = arguments.config_path = os.path.abspath(options[position + 1])
        elif name == "--config-path" and equals:
            arguments.config_path = os.path.abspath(value)
            options[position] = f"{name}={arguments.config_path}"
    return options


def _is_one_of_many() -> bool:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.get().mode == RunMode.MULTIRUN


def _compare_with_first_process(cfg: DictConfig) -> None:
    """Refuses to be part of a run whose first process composed something else: a file was edited in between."""
    digest = hashlib.sha256(OmegaConf.to_yaml(cfg, sort_keys=True).encode()).hexdigest()
    if is_main_process():
        os.environ[COMPOSED] = digest  # inherited by the processes that Lightning starts
    elif os.environ.get(COMPOSED, digest) != digest:
        raise ConfigurationError(
            "this process composed another configuration than the first process",
            do="start again, and do not edit conf/ while processes are starting",
        )


def _set(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value
