"""`sweeps/*.yaml`: W&B takes them, and every command that an agent can make of them composes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from striate.configuration import REPOSITORY, compose
from striate.sweeping.space import DISTRIBUTIONS, file_for, read_sweep_file

FILES = sorted((REPOSITORY / "sweeps").glob("*.yaml"))

# What W&B documents of a sweep's configuration; its own schema is on its server.
_NUMBER, _WHOLE = {"type": "number"}, {"type": "integer"}
_RANGES = {
    "int_uniform": {"min": _WHOLE, "max": _WHOLE},
    "uniform": {"min": _NUMBER, "max": _NUMBER},
    "q_uniform": {"min": _NUMBER, "max": _NUMBER, "q": {"type": "number", "exclusiveMinimum": 0}},
    "log_uniform_values": {"min": {"type": "number", "exclusiveMinimum": 0}, "max": _NUMBER},
}


def _range(name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"distribution": {"const": name}, **_RANGES[name]},
        "required": ["min", "max", *([] if name in ("uniform", "int_uniform") else ["distribution"])],
        "additionalProperties": False,
    }


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["method", "parameters", "program", "command"],
    "additionalProperties": False,
    "properties": {
        "program": {"type": "string"},
        "name": {"type": "string"},
        "description": {"type": "string"},
        "project": {"type": "string"},
        "method": {"enum": ["bayes", "grid", "random"]},
        "metric": {
            "type": "object",
            "required": ["name", "goal"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "goal": {"enum": ["maximize", "minimize"]}},
        },
        "early_terminate": {
            "type": "object",
            "required": ["type"],
            "additionalProperties": False,
            "properties": {
                "type": {"const": "hyperband"},
                "min_iter": {"type": "integer", "minimum": 1},
                "max_iter": {"type": "integer", "minimum": 1},
                "s": {"type": "integer", "minimum": 1},
                "eta": {"type": "integer", "minimum": 2},
                "strict": {"type": "boolean"},
            },
        },
        "run_cap": {"type": "integer", "minimum": 1},
        "command": {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
        "parameters": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_.-]*$"},
            "additionalProperties": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {"value": {}, "distribution": {"const": "constant"}},
                        "required": ["value"],
                        "additionalProperties": False,
                    },
                    {
                        "type": "object",
                        "properties": {
                            "values": {"type": "array", "minItems": 1},
                            "distribution": {"const": "categorical"},
                        },
                        "required": ["values"],
                        "additionalProperties": False,
                    },
                    *map(_range, _RANGES),
                ]
            },
        },
    },
}


def content_of(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_is_as_wandb_documents(file: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    content = content_of(file)
    jsonschema.validate(content, SCHEMA)
    assert content["command"][-1] == "${args_no_hyphens}", "Hydra wants KEY=VALUE"
    assert (REPOSITORY / content["program"]).is_file()
    if content["method"] == "grid":
        assert all("values" in entry or "value" in entry for entry in content["parameters"].values())
        assert "early_terminate" not in content
    else:
        assert "metric" in content, "bayes and hyperband need one"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# wandb sweep sweeps/{file.name}")


def test_the_schema_refuses_what_wandb_refuses() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    content = content_of(FILES[0])
    for key, wrong in (
        ("method", "bayesian"),
        ("parameters", {"a": {"min": 1}}),
        ("parameters", {"a": {"distribution": "log_uniform_values", "min": 0, "max": 1}}),
        ("early_terminate", {"type": "median"}),
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content | {key: wrong}, SCHEMA)


def agent_command(content: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The words that W&B's agent makes of a file and the values that its server has chosen."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    macros = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    macros |= {"env": ["/usr/bin/env"], "program": [content["program"]], "interpreter": ["python"]}
    words: list[str] = []
    for word in create_sweep_command(list(content["command"])):
        name = str(word)[2:-1] if str(word).startswith("${") else None
        words += macros[name] if name in macros else [str(word)]
    return words


def values_of(entry: dict[str, Any]) -> list[Any]:
    """Lowest, middle and highest value of a parameter; of a list all."""
    if "value" in entry:
        return [entry["value"]]
    if "values" in entry:
        return entry["values"]
    low, high = entry["min"], entry["max"]
    middle = (low * high) ** 0.5 if "log" in entry.get("distribution", "") else (low + high) / 2
    return [low, int(middle) if isinstance(low, int) and isinstance(high, int) else middle, high]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_command_of_an_agent_composes(file: Path) -> None:
    content = content_of(file)
    choices = {name: values_of(entry) for name, entry in content["parameters"].items()}
    for number in range(max(map(len, choices.values()))):
        values = {name: options[number % len(options)] for name, options in choices.items()}
        program, script, *words = agent_command(content, values)[1:]
        assert (program, script) == ("python", "src/train.py")
        config = compose("train", words)
        for name, value in values.items():
            node: Any = config
            if "." in name:
                for part in name.split("."):
                    node = node[part]
                assert node == value, f"{name} arrives"
        assert config.logger.wandb is not None
        metric, goal = content["metric"]["name"], content["metric"]["goal"]
        assert config.monitor.metric in ("auto", metric)
        assert config.monitor.mode == {"maximize": "max", "minimize": "min"}[goal]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_optuna_searches_the_same_space(file: Path) -> None:
    content, read = content_of(file), read_sweep_file(file)
    searched = {name for name, entry in content["parameters"].items() if len(values_of(entry)) > 1}
    assert read.space.keys() == searched
    assert not any(word.startswith("logger") for word in read.words)
    for end in (0, -1):
        words = [f"{name}={dimension.examples()[end]}" for name, dimension in read.space.items()]
        compose("train", [*read.words, *words])


def test_every_distribution_of_the_files_is_known_here() -> None:
    used = {entry.get("distribution") for file in FILES for entry in content_of(file)["parameters"].values()} - {None}
    assert used <= DISTRIBUTIONS.keys()


def test_the_file_of_an_experiment_is_found() -> None:
    folder = REPOSITORY / "sweeps"
    found = file_for({"experiment": "segmentation_digits", "model": "unet", "data": "x"}, folder)
    assert found == folder / "segmentation_digits.yaml"
    found = file_for({"experiment": "resnet20_cifar10_modern", "model": "resnet20", "data": "cifar10"}, folder)
    assert found == folder / "resnet20_cifar10.yaml"
    assert file_for({"experiment": "none", "model": "mlp", "data": "digits"}, folder) is None
