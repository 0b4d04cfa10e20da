"""`python src/stages.py`: what each stage of `dvc.yaml` depends on, computed instead of typed.

DVC does not compose Hydra's configuration. So a stage lists, as DVC parameters, exactly the files of `conf/` that its
command composes, and as dependencies exactly the sources that it reaches: a change reruns the stages that it touches
and no others, and `dvc params diff` and `dvc exp run -S FILE:KEY=VALUE` know the values.
"""

import ast
import io
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from striate.configuration import FOLDER, REPOSITORY, compose, plain
from striate.configuration.command import named_list
from striate.configuration.origin import Invocation
from striate.pipelines.stage_variants import variants

# Packages that are one thing: a stage that needs a part depends on the whole. Networks and pipelines are apart.
_APART = ("models", "pipelines")
_LISTS = {"compare": "runs"}  # commands whose words without a key are a list under this one
_PACKAGE = REPOSITORY / "src" / "striate"


def run(check: bool = False, file: Path = REPOSITORY / "dvc.yaml") -> int:
    """Rewrites `deps` and `params` of every stage that calls a script of `src/`; comments stay.

    Args:
        check: only say whether that would change anything.
        file: the pipeline.

    Returns:
        The exit code: 1 when `check` finds a difference.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 200
    yaml.indent(mapping=2, sequence=4, offset=2)
    before = file.read_text(encoding="utf-8")
    pipeline = yaml.load(before)
    for stage in pipeline["stages"].values():
        deps, params = dependencies(next(iter(variants(stage)))["cmd"])
        own = [path for path in stage.get("deps", []) if not path.startswith("src/")]
        stage["deps"] = own + deps
        stage["params"] = [{path: None} for path in params]
    stream = io.StringIO()
    yaml.dump(pipeline, stream)
    if stream.getvalue() == before:
        print(f"{file.name} is up to date")
        return 0
    if check:
        print(f"{file.name} is not up to date: run python src/stages.py")
        return 1
    file.write_text(stream.getvalue(), encoding="utf-8")
    print(f"{file.name} was brought up to date")
    return 0


def dependencies(command: str) -> tuple[list[str], list[str]]:
    """The sources and the configuration files of a command `python src/NAME.py WORDS`, relative to the repository."""
    _, script, *words = shlex.split(command)
    name = Path(script).stem
    if name in _LISTS:
        words = named_list(words, _LISTS[name])
    config = plain(compose(name, words))
    modules = set(closure({f"striate.pipelines.{name}", "striate.configuration", *targets(config)}))
    sources = {script, *(place(module) for module in modules)}
    if "model" not in config and "striate.tasks.loading" in modules:
        sources.add("src/striate/models")  # the network is whichever the checkpoint names
    files = sorted(path.relative_to(REPOSITORY).as_posix() for path in Invocation(name, FOLDER, words).files())
    return sorted(sources), files


def targets(node: Any) -> Iterator[str]:
    """The modules of Striate's own classes that a configuration names."""
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if isinstance(target, str) and target.startswith("striate."):
            yield target.rpartition(".")[0]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def closure(modules: set[str]) -> set[str]:
    """Those modules of the package and all that they import, wherever in the file."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found or source(module) is None:
            continue
        found.add(module)
        waiting += imports(module)
    return found


def source(module: str) -> Path | None:
    """The file of a module of the package; None for what is none."""
    path = REPOSITORY / "src" / Path(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def imports(module: str) -> Iterator[str]:
    """The modules of the package that a module imports; a package stands for all of its files."""
    path = source(module)
    assert path is not None
    files = (
        sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" and path.parent.name not in _APART else [path]
    )
    if path.parent == _PACKAGE and path.name == "__init__.py":
        files = [path]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name.startswith("striate"))
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("striate"):
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place(module: str) -> str:
    """The file or folder that a stage names for a module."""
    path = source(module)
    assert path is not None
    inside = path.relative_to(_PACKAGE)
    if len(inside.parts) > 1 and inside.parts[0] not in _APART:
        path = _PACKAGE / inside.parts[0]
    return path.relative_to(REPOSITORY).as_posix()
