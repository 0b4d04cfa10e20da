"""The structure that the design promises, held by a machine."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "striate"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Who may import whom inside striate. What is not listed stands at the bottom.
FOUNDATION = {"allocation", "errors", "storage", "messages", "processes"}
ALLOWED = {
    "models": set(),
    "optim": set(),
    "configuration": FOUNDATION,
    "data": FOUNDATION,
    "runs": FOUNDATION,
    "resumption": FOUNDATION | {"runs"},
    "evaluation": FOUNDATION | {"runs", "data", "models"},  # tables of what networks cost
    "tasks": FOUNDATION | {"configuration", "data", "evaluation", "models", "optim"},
    "transfer": FOUNDATION | {"configuration", "tasks", "models"},
    "callbacks": FOUNDATION | {"sweeping", "tracking"},  # a trial reports to its study, an epoch to dashboards
    "sweeping": FOUNDATION | {"configuration", "resumption", "runs"},
    "pipelines": None,  # everything
}
LIMITS = {"models": 250, "pipelines": 150}


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "striate":
                names |= {f"striate.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_run_one_way(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    used = {name.split(".")[1] for name in imported(path) if name.startswith("striate.")} - {part}
    allowed = ALLOWED.get(part, FOUNDATION)
    assert allowed is None or used <= allowed, f"{part} may not import {sorted(used - allowed)}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*.py")), ids=lambda path: path.name)
def test_networks_need_torch_alone(path):
    outside = {name.split(".")[0] for name in imported(path)} - {"striate"}
    assert outside <= {"torch"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_budgets(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    part = path.relative_to(PACKAGE).parts[0]
    assert len(lines) <= LIMITS.get(part, 10**6), "two things live in one room"
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} has more than 60 lines"
    assert path.name not in ("utils.py", "helpers.py", "misc.py"), "a drawer"


@pytest.mark.parametrize("path", sorted((ROOT / "src").glob("*.py")), ids=lambda path: path.name)
def test_scripts_are_short_and_shadow_no_module(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    assert path.stem not in sys.stdlib_module_names, "the script's folder comes first on the import path"


def test_the_default_configuration_names_no_class_of_a_network_in_code():
    for path in SOURCES:
        if path.relative_to(PACKAGE).parts[0] in ("pipelines", "tasks", "transfer", "callbacks", "data"):
            used = {name for name in imported(path) if name.startswith("striate.models.")}
            assert used <= {"striate.models.arithmetic", "striate.models.convolutional", "striate.models.stages"}, (
                f"{path.name} knows {sorted(used)}"
            )
