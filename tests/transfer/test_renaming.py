"""The patterns of a mapping: what they fit, what they become, and what is wrong with them."""

import json

import pytest

from striate.errors import ConfigurationError
from striate.transfer.renaming import ORDER, read_mapping, rename

RESNET = {"layer{s}.{b}.conv{c}.*": "conv{s+1}_x.conv{s+1}_{b+1}.conv{c}.*", "fc*": "head*"}


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("layer1.0.conv2.weight", "conv2_x.conv2_1.conv2.weight"),
        ("layer4.22.conv1.bias", "conv5_x.conv5_23.conv1.bias"),
        ("layerx.0.conv1.weight", "layerx.0.conv1.weight"),
        ("fc.weight", "head.weight"),
        ("nofc.weight", "nofc.weight"),
    ],
)
def test_numbers_and_texts(name, new):
    assert rename([name], RESNET) == {name: new}


def test_a_whole_name_counts_first_then_the_first_pattern():
    mapping = {"a*": "x*", "ab.*": "y.*", "ab.c": "z"}
    assert rename(["ab.c", "ab.d", "b"], mapping) == {"ab.c": "z", "ab.d": "xb.d", "b": "b"}


def test_a_number_that_comes_twice_is_the_same():
    mapping = {"block{b}_conv{b}.*": "twin{b-1}.*"}
    assert rename(["block3_conv3.w", "block3_conv2.w"], mapping) == {
        "block3_conv3.w": "twin2.w", "block3_conv2.w": "block3_conv2.w",
    }  # fmt: skip


def test_special_characters_are_literal():
    assert rename(["a.b", "axb"], {"a.b": "c"}) == {"a.b": "c", "axb": "axb"}
    assert rename(["a(1)+"], {"a({n})+": "b{n}"}) == {"a(1)+": "b1"}


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"layer{s}.*": "conv{t}.*"}, r"\{t\} stands for nothing"),
        ({"layer{s}": "conv*"}, r"\* stands for nothing"),
        ({"layer{s+1}": "conv{s}"}, "only the replacement may"),
        ({"layer{s}.{*": "x"}, "between braces"),
        ({"layer{s}": "x{"}, "between braces"),
    ],
)
def test_mistakes(mapping, says):
    with pytest.raises(ConfigurationError, match=says):
        rename([], mapping)


def test_two_that_become_one_and_a_pattern_without_effect():
    with pytest.raises(ConfigurationError, match=r"a\.1 and a\.2 both become b"):
        rename(["a.1", "a.2"], {"a.{n}": "b"})
    with pytest.raises(ConfigurationError, match="no tensor of the file fits 'layr1") as caught:
        rename(["layer1.weight"], {"layr1.weight": "x"}, strict=True)
    assert caught.value.nearest == "layer1.weight"


def test_files_of_patterns(tmp_path):
    (tmp_path / "names.json").write_text(json.dumps(RESNET))
    (tmp_path / "names.yaml").write_text("".join(f"'{one}': '{other}'\n" for one, other in RESNET.items()))
    for name in ("names.json", "names.yaml"):
        assert read_mapping(str(tmp_path / name), "init.mapping") == RESNET
    assert read_mapping(RESNET, "init.mapping") == RESNET
    assert read_mapping(None, "init.mapping") is None
    assert read_mapping(ORDER, "init.mapping") == ORDER


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "a: 3", "!!python/object/apply:os.getcwd []"])
def test_files_that_are_no_patterns(tmp_path, text):
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match="mapping"):
        read_mapping(str(tmp_path / "names.yaml"), "init.mapping")
    with pytest.raises(ConfigurationError, match="no such file"):
        read_mapping(str(tmp_path / "other.yaml"), "init.mapping")
