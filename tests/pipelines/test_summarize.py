"""`python src/summarize.py`: the layer table of a network, the family, and what papers print of both."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import HydraException

from striate.configuration import compose
from striate.errors import ConfigurationError, DataError
from striate.evaluation import network_tables as tables
from striate.evaluation.papers import ENTRIES, PAPERS
from striate.pipelines import family, summarize
from striate.pipelines.counting import counted, options, recognised

ROOT = Path(__file__).resolve().parents[2]

# What is printed and is not so, with the exact figure: known slips of the papers, and nothing else.
DIFFERING = {
    ("alexnet", "activations", "conv1"): 290_400,
    ("googlenet", "weights", "conv1"): 9_408,
    ("googlenet", "mult_adds", "conv1"): 118_013_952,
    ("googlenet", "weights", "inception3b"): 388_096,
    ("googlenet", "weights", "inception4a"): 375_552,
    ("googlenet", "weights", "inception4b"): 448_512,
    ("googlenet", "weights", "inception4c"): 509_440,
    ("googlenet", "weights", "inception4d"): 604_672,
    ("googlenet", "weights", "inception4e"): 867_328,
    ("googlenet", "weights", "inception5a"): 1_042_432,
    ("googlenet", "mult_adds", "inception5a"): 51_079_168,
    ("googlenet", "weights", "inception5b"): 1_442_816,
    ("googlenet", "parameters", ""): 6_998_552,
    ("googlenet", "mult_adds", ""): 1_582_671_872,
    ("mobilenet", "mult_adds_share", "3×3 convolutions"): 10_838_016 / 568_740_352,
    ("mobilenet width_multiplier=0.25", "mult_adds", "!fc"): 40_774_272,
}


def summarised(*words: str) -> dict[str, float]:
    return summarize.run(compose("summarize", words))


@pytest.fixture(scope="module")
def members():
    return family.members()


@pytest.fixture(scope="module")
def everything(members):
    return family.with_figures(members)


def test_every_printed_figure_agrees_but_for_the_known_slips(everything):
    differing = {
        (member.name, comparison.figure.quantity, comparison.figure.part): comparison.exact
        for member in everything
        for comparison in member.comparisons
        if not comparison.agrees
    }
    assert differing == DIFFERING
    assert sum(len(member.comparisons) for member in everything) > 110
    assert all(
        comparison.agrees or comparison.figure.note for member in everything for comparison in member.comparisons
    )


def test_every_entry_is_of_a_network_that_there_is_and_is_found_again():
    known = options()
    for entry in ENTRIES:
        node = {**known[entry.model], **entry.options}
        name, found = recognised(node, entry.input)
        assert found is entry
        assert name == " ".join([entry.model, *(f"{key}={value}".lower() for key, value in entry.options.items())])


def test_the_family_has_a_row_for_every_option_and_knows_its_paper(members):
    assert sorted(member.name for member in members) == sorted(options())
    rows = {row["model"]: row for row in tables.family_sheet(members).rows}
    assert rows["vgg16"] == {
        "model": "vgg16",
        "paper": "Simonyan & Zisserman 2014",
        "input": "3×224×224",
        "parameters": 138_357_544,
        "parameters_printed": "138 M ✓",
        "mult_adds": 15_470_264_320,
        "mult_adds_printed": "15.3 G (conv.) ✓",
        "top1": 27.0,
        "top5": 8.8,
        "tested": "ILSVRC-2012 val, dense, one scale (256)",
    }
    assert rows["googlenet"]["mult_adds_printed"] == "1550 M ✗"
    assert rows["alexnet"]["input"] == "3×227×227"
    assert rows["alexnet_one_tower"]["mult_adds"] == 714_188_480
    assert (rows["lenet5"]["parameters"], rows["lenet5"]["mult_adds"]) == (60_000, 325_680)
    assert {member.kind for member in members} <= set(PAPERS)


def test_published_errors_of_all_protocols(everything):
    rows = family.published(everything).rows
    table_8 = {row["network"]: row["top1"] for row in rows if "Howard et al. 2017, Table" in row["source"]}
    assert (table_8["vgg16, 3×224×224"], table_8["googlenet, 3×224×224"]) == (28.5, 30.2)
    assert table_8["mobilenet, 3×224×224"] == 29.4
    vgg = [(row["top1"], row["top5"]) for row in rows if row["network"].startswith("vgg16, ")]
    assert vgg == [(27.0, 8.8), (24.8, 7.5), (24.4, 7.2), (28.07, 9.33), (28.5, None)]
    assert all(0 < error < 60 for row in rows for error in (row["top1"], row["top5"]) if error is not None)
    assert all(row["data"] and row["protocol"] and row["source"] for row in rows)


def test_the_readme_has_the_table_that_is_generated(members):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if f"<!-- {family.MARKER} -->" not in text:
        pytest.skip("README.md has no table of the family")
    table = text.partition(f"<!-- {family.MARKER} -->\n")[2].partition(f"<!-- /{family.MARKER} -->")[0]
    assert table == tables.family_sheet(members).markdown(), "python src/summarize.py model=all readme=README.md"


def test_the_family_is_written_and_put_into_a_page(members, everything, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(family, "members", lambda: members)
    monkeypatch.setattr(family, "with_figures", lambda _: everything)
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- family -->\n<!-- /family -->\nend\n")
    figures = summarised("~model", f"output_dir={tmp_path / 'out'}", f"readme={page}")
    assert figures == {
        "networks": len(members),
        "printed": sum(len(member.comparisons) for member in everything),
        "differing": len(DIFFERING),
    }
    tables_of = ("family", "printed", "published")
    names = {f"{name}.{ending}" for name in tables_of for ending in ("csv", "md", "tex")}
    names |= {"family.png", "receptive_fields.png"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    with (tmp_path / "out" / "family.csv").open() as file:
        assert {row["model"]: row["parameters"] for row in csv.DictReader(file)}["mobilenet"] == "4231976"
    assert page.read_text().count("| vgg16 |") == 1
    assert page.read_text().endswith("<!-- /family -->\nend\n")
    assert "resnet152" in capsys.readouterr().out


def test_a_layer_table_as_csv_markdown_and_latex(tmp_path, capsys):
    figures = summarised("model=vgg16", "batch_size=4", f"output_dir={tmp_path}")
    assert (figures["parameters"], figures["mult_adds"]) == (138_357_544, 15_470_264_320)
    assert 4 * 4 * 15_000_000 < figures["memory"] - 3 * 4 * figures["parameters"] < 8 * 4 * 15_000_000
    with (tmp_path / "vgg16.csv").open() as file:
        rows = {row["layer"]: row for row in csv.DictReader(file)}
    assert rows["conv3_1"] == {
        "layer": "conv3_1", "type": "Conv2d", "kernel": "3×3", "stride": "1", "padding": "1", "dilation": "1",
        "groups": "1", "output": "256×56×56", "receptive_field": "24", "jump": "4", "parameters": "295168",
        "mult_adds": "924844032", "activations": "802816", "output_bytes": str(4 * 4 * 802_816),
    }  # fmt: skip
    assert (rows["pool2"]["parameters"], rows["fc6"]["receptive_field"]) == ("0", "404")
    assert rows["total"]["parameters"] == "138357544"
    for name in ("vgg16.md", "vgg16.tex"):
        text = (tmp_path / name).read_text()
        assert all(word in text for word in ("102,764,544", "One multiply-accumulate counts 1", "138,423,208"))
    printed = (tmp_path / "vgg16_printed.md").read_text()
    assert "| mult-adds | convolutions | 15.3 G | 15.347 G | ✓ rounded | He et al. 2015, sec. 4.1 |" in printed
    assert "conv3_1" in capsys.readouterr().out


def test_other_pictures_classes_and_options(capsys):
    figures = summarised("model=resnet18", "input=[1,64,64]", "num_classes=7")
    assert figures["parameters"] == 11_689_512 - 2 * 7 * 7 * 64 - 513 * 993
    assert "papers print" not in capsys.readouterr().out
    summarised("model=mobilenet", "model.width_multiplier=0.5", "input=[3,160,160]")
    out = capsys.readouterr().out
    assert "mobilenet width_multiplier=0.5: input 3×160×160" in out
    assert "Howard et al. 2017, Table 9" in out
    summarised("model=vgg16", "model.dropout=0.1", "input=[3,32,32]", "num_classes=10")
    assert "vgg16 dropout=0.1: input 3×32×32, 10 classes" in capsys.readouterr().out


def test_a_perceptron_has_the_size_of_its_pictures():
    assert summarised("model=mlp", "input=[3,8,8]", "num_classes=5")["parameters"] == 3 * 64 * 30 + 30 + 30 * 5 + 5


def test_a_prepared_set_decides(digits, places, capsys):
    figures = summarised(*places, "model=resnet20", "data=digits")
    channels, *_ = digits.input_shape
    assert figures["parameters"] == 269_722 - (3 - channels) * 9 * 16 + (digits.meta.num_classes - 10) * 65
    assert f"input {'×'.join(map(str, digits.input_shape))}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=lenet5", "input=[1,40,40]"], "lenet5 does not take pictures of 1×40×40: LeNet-5 takes"),
        (["model=alexnet", "input=[3,32,32]"], "alexnet does not take pictures of 3×32×32"),
        (["model=vgg16", "readme=README.md"], "readme=… is for the table of the family"),
        (["~model", "input=[3,224,224]"], "input=… is for one network"),
        (["~model", "num_classes=10"], "num_classes=… is for one network"),
        (["model=lenet5", "input=[32,32]"], "input"),
        (["model=lenet5", "input=[1,0,32]"], "input=[1, 0, 32] has a side below 1"),
        (["model=lenet5", "batch_size=0"], "batch_size"),
    ],
)  # fmt: skip
def test_mistakes(words, message):
    with pytest.raises(ConfigurationError) as mistake:
        summarised(*words)
    assert message in str(mistake.value)
    assert len(str(mistake.value).splitlines()) <= 3


def test_a_page_without_marks_and_a_set_that_is_not_prepared(tmp_path):
    (tmp_path / "page.md").write_text("nothing\n")
    for name, message in (("page.md", "expected one <!-- family -->"), ("none.md", "none.md")):
        with pytest.raises(ConfigurationError, match=message):
            family.rewrite(tmp_path / name, "table")
    with pytest.raises(DataError, match="not prepared yet"):
        summarised("model=resnet20", "data=digits", f"paths.prepared_dir={tmp_path}")


def test_a_network_of_ones_own_that_names_no_pictures_is_asked_for_them():
    with pytest.raises(ConfigurationError, match="does not say which pictures it is for"):
        counted({"_target_": "torchvision.models.AlexNet"}, None, None)


def test_all_is_an_option_of_this_command_alone():
    command = [sys.executable, str(ROOT / "src" / "summarize.py"), "model=all", "input=[3,8,8]"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=ROOT)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "input=… is for one network")
    with pytest.raises(HydraException):
        compose("train", ["model=all"])
