"""Search spaces: W&B's files, Hydra's words, and what is searched when nothing is said."""

import pytest

from striate.errors import ConfigurationError
from striate.sweeping.space import Dimension, around, dimension_of, plain, read_sweep_file, space_of, word_of


def override(word: str) -> Dimension:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from striate.sweeping.space import dimension_of_override

    return dimension_of_override(OverridesParser.create().parse_override(word))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"values": [16, "a", True, None]}, Dimension("choice", choices=("16", "a", "true", "null"))),
        ({"values": [[], ["C1", "C3"]]}, Dimension("choice", choices=("[]", "[C1,C3]"))),
        ({"value": 0.5}, Dimension("choice", choices=("0.5",))),
        ({"min": 1, "max": 8}, Dimension("int", 1, 8, step=1)),
        ({"min": 0.0, "max": 0.5}, Dimension("float", 0.0, 0.5)),
        ({"distribution": "log_uniform_values", "min": 1e-3, "max": 1}, Dimension("float", 1e-3, 1, True)),
        ({"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1}, Dimension("float", 0.1, 0.5, False, 0.1)),
    ],
)
def test_distributions_of_wandb(entry, expected) -> None:
    assert dimension_of(entry, "here") == expected


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"distribution": "log_uniform", "min": -3, "max": 0}, "distribution log_uniform is not known here"),
        ({"distribution": "uniform", "min": 0}, "uniform has min"),
        ({"min": 2.0, "max": 1.0}, "no values lie between 2.0 and 1.0"),
        ({"distribution": "log_uniform_values", "min": 0.0, "max": 1.0}, "no values lie between"),
        (3, "is not a mapping"),
    ],
)
def test_what_is_no_distribution_is_refused(entry, says) -> None:
    with pytest.raises(ConfigurationError) as refused:
        dimension_of(entry, "here")
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("optimizer.lr=tag(log,interval(0.001,1.0))", Dimension("float", 0.001, 1.0, True)),
        ("model.depth=int(interval(2,6))", Dimension("int", 2, 6, step=1)),
        ("model=mlp,lenet5", Dimension("choice", choices=("mlp", "lenet5"))),
        ("x=choice('a b',2)", Dimension("choice", choices=("a\\ b", "2"))),
        ("x=range(1,7,2)", Dimension("choice", choices=("1", "3", "5"))),
    ],
)
def test_words_of_hydra(word, expected) -> None:
    assert override(word) == expected


def test_examples_are_the_ends_and_the_middle() -> None:
    assert Dimension("float", 0.001, 0.1, log=True).examples() == ["0.001", "0.01", "0.1"]
    assert Dimension("float", 0.1, 0.5, step=0.1).examples() == ["0.1", "0.3", "0.5"]
    assert Dimension("int", 1, 8, step=1).examples() == ["1", "5", "8"]


def test_a_space_survives_as_plain_data() -> None:
    space = {"a": Dimension("choice", choices=("x", "y")), "b": Dimension("float", 0.1, 1, True)}
    assert space_of(plain(space)) == space


def test_values_are_words_that_hydra_reads_back() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for value in (None, True, 3, 0.0001, 12345.678, [], ["C1", 2], {"a": 1}):
        assert OverridesParser.create().parse_override(f"x={word_of(value)}").value() == value


def test_a_decade_around_what_is_configured() -> None:
    space = around({"optimizer": {"lr": 0.02, "weight_decay": 0, "momentum": 0.9}})
    assert space == {"optimizer.lr": Dimension("float", 0.002, 0.2, log=True)}
    assert around({"seed": 0}) == {}


def test_a_file_gives_words_and_space(tmp_path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "method: bayes\nmetric: {name: val/loss, goal: minimize}\n"
        "parameters: {a.b: {value: 3}, c: {min: 0.1, max: 0.2}}\n"
        "command: ['${env}', python, '${program}', model=mlp, logger=wandb, '${args_no_hyphens}']\n"
    )
    read = read_sweep_file(file)
    assert read.words == ("model=mlp", "a.b=3")
    assert read.space == {"c": Dimension("float", 0.1, 0.2)}
    assert (read.metric, read.mode) == ("val/loss", "min")


@pytest.mark.parametrize("text", [None, "a: [", "parameters: 3", "- 1"])
def test_what_is_no_sweep_file_is_refused(tmp_path, text) -> None:
    file = tmp_path / "sweep.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError):
        read_sweep_file(file)
