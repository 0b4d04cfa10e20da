"""What people mistype, on the command line and in files: at most three lines, exit code 2, nothing left behind."""

from pathlib import Path

import pytest

from striate.configuration import FOLDER

ON_THE_COMMAND_LINE = {
    "unknown key": (["sed=1"], "unknown key sed (on the command line)", "seed"),
    "unknown nested key": (["network.in_feature=3"], "unknown key network.in_feature", "network.in_features"),
    "key without its parent": (["in_features=3"], "unknown key in_features", "network.in_features"),
    "part of a key": (["features=3"], "unknown key features", "network.in_features"),
    "unknown parent": (["netwrk.bias=false"], "unknown key netwrk.bias", "network.bias"),
    "behind a plus": (["+sed=1"], "unknown key sed (on the command line)", "seed"),
    "behind two": (["++sed=1"], "unknown key sed (on the command line)", "seed"),
    "nested behind a plus": (["+network.bia=true"], "unknown key network.bia (on the command line)", "network.bias"),
    "nested behind two": (["++network.bia=true"], "unknown key network.bia", "network.bias"),
    "a plus too many": (["+seed=3"], "seed is there already", None),
    "a plus too few": (["network=conv", "network.stride=2"], "network.stride is not set", "+network.stride"),
    "of another option": (["network.kernel_size=3"], "unknown key network.kernel_size", None),
    "removed": (["~sed"], "unknown key sed", "seed"),
    "removed what is needed": (["~seed"], "seed is missing", None),
    "option": (["network=linea"], "network has no option linea (on the command line)", "network=linear"),
    "number as option": (["network=5"], "network has no option 5", None),
    "no option": (["network="], "network has no option ''", None),
    "option twice": (["+network=conv"], "an option of network is chosen twice", None),
    "no option at all": (["network=null"], "network=null chooses nothing", "~network"),
    "key of a whole node": (
        ["network={_target_:torch.nn.Linear,in_feature:3}"],
        "unknown key network.in_feature",
        None,
    ),
    "group": (["networkk=linear"], "unknown key networkk (on the command line)", "network"),
    "group behind a plus": (["+networkk=linear"], "unknown key networkk (on the command line)", "network"),
    "word for an int": (["seed=abc"], 'seed must be int, at least 0, not "abc" (on the command line)', None),
    "fraction for an int": (["seed=1.5"], "seed must be int, at least 0, not 1.5", None),
    "bool for an int": (["seed=true"], "seed must be int, at least 0, not true", None),
    "out of range": (["seed=-1"], "seed must be int, at least 0, not -1", None),
    "nothing for an int": (["seed=null"], "seed must be int, at least 0, not null", None),
    "word for a float": (["rate=fast"], 'rate must be float, not "fast"', None),
    "choice": (["mode=fas"], "mode must be fast or slow", "fast"),
    "scalar for a list": (["names=a"], "names must be list[str | int]", None),
    "list for a scalar": (["rate=[1,2]"], "rate must be float", None),
    "word for a parameter": (["network.in_features=four"], 'network.in_features must be int, not "four"', None),
    "empty directory": (["paths.data_dir="], "paths.data_dir must be str, not empty", None),
    "several values": (["seed=1,2"], "seed=1,2 has several values", None),
    "brackets": (["names=[a,b"], "'names=[a,b' cannot be read", None),
    "no value": (["seed"], "'seed' is not of the form KEY=VALUE", "seed=VALUE"),
    "space for =": (["seed 3"], "'seed 3' is not of the form KEY=VALUE", "seed=VALUE"),
    "dashes": (["--seed=3"], "'--seed=3' begins with a dash", "seed=3"),
    "dashes and space": (["--seed", "3"], "there is no option --seed", "seed=VALUE"),
    "option of the command": (["--hlep"], "there is no option --hlep", "--help"),
    "value of an option": (["--cfg", "jo"], "invalid choice: 'jo'", None),
    "missing": (["rate=???"], "rate has no value yet", None),
    "circle": (["rate=${rate}"], "refers to itself in a circle", None),
    "broken reference": (["rate=${sed}"], "refers to sed, which does not exist", "${seed}"),
    "resolver": (["rate=${nope:3}"], "Unsupported interpolation type nope", None),
    "root file": (["-cn", "smal"], "conf has no file smal.yaml", "small"),
    "folder": (["-cp", "nowhere"], "nowhere has no file small.yaml", None),
    "pickle": (["--experimental-rerun", "x"], "reads a pickle", None),
    "class": (["network._target_=torch.nn.Linaer"], "torch.nn has no Linaer", "torch.nn.Linear"),
    "module": (["network._target_=torch.nm.Linear"], "torch.nm.Linear is not allowed", "torch.nn.Linear"),
    "component": (
        ["+parts={timer:{_target_:torch.nn.Dropout,prob:1}}"],
        "unknown key parts.timer.prob",
        None,
    ),
    "part that names no class": (["+parts={timer:{p:1}}"], "parts.timer names no class", None),
}


@pytest.mark.parametrize(("words", "what", "proposal"), ON_THE_COMMAND_LINE.values(), ids=ON_THE_COMMAND_LINE)
def test_mistake_on_the_command_line(refusal, words: list[str], what: str, proposal: str | None) -> None:
    lines = refusal(*words)
    assert what in lines[0]
    offered = [line.removeprefix("nearest valid choice: ") for line in lines if line.startswith("nearest")]
    if proposal is not None:
        assert offered == [proposal]


def test_key_of_another_option_names_that_option(refusal) -> None:
    assert refusal("network.kernel_size=3")[1] == "what to do: choose an option that has it: network=conv"


def test_options_are_listed(refusal) -> None:
    assert refusal("network=linea")[2] == "what to do: choose among conv, light, linear"


SMALL = (Path(__file__).parent / "small/conf/small.yaml").read_text(encoding="utf-8")
PATHS = (FOLDER / "paths/default.yaml").read_text(encoding="utf-8")
IN_FILES = {
    "key in an experiment": ({}, ["experiment=typo"], "network.in_feature (conf/experiment/typo.yaml, line 3)"),
    "key of a class": (
        {"network/linear.yaml": "_target_: torch.nn.Linear\nin_features: 4\n\nbiass: true\n"}, [],
        "unknown key network.biass (conf/network/linear.yaml, line 4)",
    ),
    "key of the root": (
        {"small.yaml": SMALL.replace("rate:", "rat:")}, [], "unknown key rat (conf/small.yaml, line 8)",
    ),
    "key of a plain node": (
        {"paths/default.yaml": PATHS + "data_dr: x\n"}, [],
        "unknown key paths.data_dr (conf/paths/default.yaml, line 6)",
    ),
    "_target_": (
        {"network/linear.yaml": "_targett_: torch.nn.Linear\n"}, [],
        "unknown key network._targett_ (conf/network/linear.yaml, line 1)",
    ),
    "no _target_": ({"network/linear.yaml": "in_features: 4\n"}, [], "network names no class"),
    "type": (
        {"network/linear.yaml": "_target_: torch.nn.Linear\nin_features: four\n"}, [],
        'network.in_features must be int, not "four" (conf/network/linear.yaml, line 2)',
    ),
    "mandatory value": (
        {"network/linear.yaml": "_target_: torch.nn.Linear\nin_features: ???\n"}, [],
        "network.in_features has no value yet (conf/network/linear.yaml, line 2)",
    ),
    "circle": (
        {"network/linear.yaml": "_target_: torch.nn.Linear\nin_features: ${.bias}\nbias: ${.in_features}\n"}, [],
        "network.in_features (conf/network/linear.yaml, line 2) refers to itself in a circle",
    ),
    "broken reference": (
        {"network/linear.yaml": "_target_: torch.nn.Linear\nin_features: ${network.featurs}\n"}, [],
        "(conf/network/linear.yaml, line 2) refers to network.featurs, which does not exist",
    ),
    "open bracket": (
        {"network/linear.yaml": "_target_: torch.nn.Linear\nin_features: ${seed\n"}, [],
        "conf/network/linear.yaml, line 2: ",
    ),
    "empty": ({"network/linear.yaml": ""}, [], "network names no class (conf/network/linear.yaml is empty)"),
    "empty root": ({"small.yaml": ""}, [], "seed is missing (conf/small.yaml is empty)"),
    "tab": ({"network/linear.yaml": "a: 1\n\tb: 2\n"}, [], "conf/network/linear.yaml, line 2: a tab"),
    "duplicate": (
        {"network/linear.yaml": "_target_: torch.nn.Linear\nbias: true\nbias: false\n"}, [],
        "conf/network/linear.yaml, line 3: found duplicate key bias",
    ),
    "brackets": ({"network/linear.yaml": "a: [1\n"}, [], "conf/network/linear.yaml, line 2: not valid YAML"),
    "list": ({"network/linear.yaml": "[1, 2]\n"}, [], "network names no class (conf/network/linear.yaml)"),
    "not UTF-8": ({"network/linear.yaml": b"# caf\xe9\na: 1\n"}, [], "conf/network/linear.yaml, line 1: not UTF-8"),
    "option in defaults": (
        {"small.yaml": SMALL.replace("network: linear", "network: liner")}, [],
        "network has no option liner (conf/small.yaml, line 4)",
    ),
    "group in defaults": (
        {"small.yaml": SMALL.replace("network: linear", "netwrk: linear")}, [],
        "there is no group netwrk (conf/small.yaml, line 4)",
    ),
    "package": (
        {"experiment/x.yaml": "# @packag _global_\nseed: 1\n"}, ["experiment=x"],
        "unknown key experiment (conf/experiment/x.yaml)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "words", "what"), IN_FILES.values(), ids=IN_FILES)
def test_mistake_in_a_file(small, refusal, files: dict, words: list[str], what: str) -> None:
    for name, text in files.items():
        small.write(name, text)
    assert what in refusal(*words)[0]
