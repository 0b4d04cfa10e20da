"""The page that walks the field: its commands work, its links lead somewhere, its formulas are those of the code."""

import ast
import math
import re
import shlex
from pathlib import Path

import pytest
import torch

from striate.configuration import compose, plain

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "field.md"
TEXT = PAGE.read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def blocks(language: str) -> list[str]:
    return [content for found, content in FENCE.findall(TEXT) if found == language]


COMMANDS = list(dict.fromkeys(line for block in blocks("sh") for line in block.splitlines() if line.strip()))
PROSE = FENCE.sub("", TEXT)


def of(script: str) -> list[str]:
    return [command for command in COMMANDS if command.startswith(f"python src/{script}.py ")]


def words(command: str) -> list[str]:
    return shlex.split(command)[2:]


def test_every_command_is_of_a_script_that_these_tests_run():
    scripts = ("summarize", "train", "check_gradients", "study", "evaluate", "show_samples", "convert", "describe")
    assert sorted(command for script in scripts for command in of(script)) == sorted(COMMANDS)
    assert len(COMMANDS) > 50
    assert all((ROOT / shlex.split(command)[1]).is_file() for command in COMMANDS)


@pytest.mark.parametrize("command", of("summarize"))
def test_summaries(command, tmp_path, capsys):
    from striate.pipelines import family, summarize

    own = [f"output_dir={tmp_path}" if word.startswith("output_dir=") else word for word in words(command)]
    if "model=all" in own:  # the tests of the pipeline run it; it is an option of the script alone
        assert compose("summarize", ["~model", *own[1:]])["model"] is None
        assert callable(family.run)
        return
    figures = summarize.run(compose("summarize", own))
    assert figures["parameters"] > 20_000
    out = capsys.readouterr().out
    assert "classes, batch of" in out
    assert "total" in out
    assert bool(list(tmp_path.iterdir())) == ("output_dir=" in command)


def is_of_digits(config: dict) -> bool:
    return config["data"]["name"] == "digits" or Path(str(config["data"]["root"])).name == "digits"


def with_weights(command: str, trained: Path) -> list[str]:
    """The command's words, with a run that exists where it names the newest."""
    return [f"init.path={trained}" if word == "init.path=last" else word for word in words(command)]


@pytest.mark.parametrize("command", of("train"))
def test_trainings_are_planned(command, places, digits, capsys):
    from striate.pipelines import train
    from striate.pipelines.counting import counted
    from striate.tasks.building import build

    config = plain(compose("train", [*places, *words(command)]))
    if is_of_digits(config):
        figures = train.run(compose("train", [*places, *words(command), "plan=true"]))
        assert figures["steps"] > 0
        assert "What would be trained" in capsys.readouterr().out
    else:
        side = config["data"]["input_size"]
        member, _ = counted(config["model"], (3, side, side) if side else None, None)
        assert member.counts.mult_adds > 0
        assert build(config["augmentation"], "augmentation") is not None


@pytest.mark.slow
@pytest.mark.parametrize("command", of("train"))
def test_trainings_train(command, places, train, trained):
    if not is_of_digits(plain(compose("train", [*places, *words(command)]))):
        pytest.skip("its pictures are not embedded")
    few = ["trainer.max_epochs=2", "trainer.limit_train_batches=3"]
    if "data.batch_size=all" in command:
        few.pop()
    figures = train(*with_weights(command, trained), *few)
    assert 0 <= figures["test/top1_micro"] <= 1


@pytest.mark.parametrize("command", of("check_gradients"))
def test_gradients_are_checked(command, places, digits, capsys):
    from striate.pipelines import check_gradients

    check_gradients.run(compose("check_gradients", [*places, *words(command)]))
    assert "fc1" in capsys.readouterr().out


@pytest.mark.parametrize("command", of("study"))
def test_studies_are_there(command):
    from striate.pipelines.study_file import load

    config = plain(compose("study", words(command)))
    name, content = load(config["study"])
    assert name == config["study"]
    assert config["size"] in content["sizes"]
    assert config["plan"], "a study takes minutes: the page shows its plan"


FIRST, *OTHERS = of("study")


@pytest.mark.parametrize("command", [FIRST, *(pytest.param(other, marks=pytest.mark.slow) for other in OTHERS)])
def test_studies_are_planned(command, places, tmp_path, capsys):
    from striate.pipelines import study

    runs = [place for place in places if place.startswith("paths.") and "runs_dir" not in place]
    study.run(compose("study", [*runs, f"paths.runs_dir={tmp_path}", *words(command)]))
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("command", of("evaluate"))
def test_evaluations(command, places, trained, tmp_path):
    from striate.pipelines import evaluate

    own = [f"ckpt_path={trained}" if word == "ckpt_path=best" else word for word in words(command)]
    own += [f"output_dir={tmp_path / 'out'}", "trainer.enable_progress_bar=false"]
    figures = evaluate.run(compose("evaluate", [*places, *own]))
    assert figures["samples"] > 100


def test_samples_are_shown(places, digits, tmp_path):
    from striate.pipelines import show_samples

    (command,) = of("show_samples")
    assert words(command)[-1] == "output=samples.png"
    show_samples.run(compose("show_samples", [*places, *words(command)[:-1], f"output={tmp_path / 'samples.png'}"]))
    assert (tmp_path / "samples.png").stat().st_size > 1000


def test_weights_are_converted_and_described(places, tmp_path, capsys):
    from striate.models.lenet5 import LeNet5
    from striate.pipelines import convert, describe

    (converting,), (describing,) = of("convert"), of("describe")
    torch.save(LeNet5(form="modern").state_dict(), tmp_path / "weights.pth")
    own = [word.replace("weights.", f"{tmp_path}/weights.") for word in words(converting)]
    convert.run(compose("convert", [*places, *own]))
    assert (tmp_path / "weights.ckpt").is_file()
    (file,) = words(describing)
    describe.run(compose("describe", [*places, f"input={tmp_path / file}"]))
    assert "LeNet5" in capsys.readouterr().out


@pytest.mark.parametrize("source", blocks("python"), ids=lambda source: source.split("import ")[-1].split("\n")[0])
def test_examples_in_python(source):
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(False)  # trainings of other tests have switched it on
    exec(compile(source, str(PAGE), "exec"), {})


def defined(path: Path) -> set[str]:
    """Names that a module defines, those of its classes' methods and attributes as Class.name."""
    names = set()

    def targets(node: ast.stmt) -> list[str]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            return [node.name]
        found = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        return [target.id for target in found if isinstance(target, ast.Name)]

    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names.update(targets(node))
        if isinstance(node, ast.ClassDef):
            names.update(f"{node.name}.{name}" for child in node.body for name in targets(child))
    return names


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_link_leads_somewhere():
    anchors = {slug(line.lstrip("#").strip()) for line in PROSE.splitlines() if line.startswith("#")}
    symbols = 0
    for text, target in LINK.findall(PROSE):
        path, _, anchor = target.partition("#")
        if not path:
            assert anchor in anchors, target
            continue
        file = (PAGE.parent / path).resolve()
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        if file.suffix == ".py" and (symbol := re.fullmatch(r"`([\w.]+)`", text)):
            assert symbol[1] in defined(file), f"{path} has no {symbol[1]}"
            symbols += 1
    assert symbols > 60


def test_every_concept_has_its_section():
    headings = [line.lstrip("#").strip().lower() for line in PROSE.splitlines() if line.startswith("## ")]
    for concept in (
        *("neuron", "backpropagation", "descent", "losses", "error", "convolution arithmetic", "receptive field"),
        *("activations", "pooling", "softmax", "perceptron", "lenet-5", "alexnet", "zfnet", "vgg", "googlenet"),
        *("resnet", "mobilenet", "normalisation", "shortcuts", "atrous", "unpooling", "transposed", "transfer"),
        "augmentation",
    ):  # fmt: skip
        assert any(concept in heading for heading in headings), concept


def test_mathematics_is_closed():
    assert PROSE.count("$") % 2 == 0
    for paragraph in PROSE.split("\n\n"):
        assert paragraph.count("$") % 2 == 0, paragraph[:80]
        assert paragraph.count("{") == paragraph.count("}"), paragraph[:80]


def test_figures_in_the_text_are_those_of_the_code():
    """What a sentence says in numbers, computed again."""
    from striate.evaluation.metrics import wilson_interval
    from striate.models.alexnet import AlexNet
    from striate.models.arithmetic import count
    from striate.models.googlenet import GoogLeNet
    from striate.models.mobilenet import MobileNet
    from striate.models.resnet import ResNet
    from striate.models.vgg import VGG

    assert round(-math.log(0.7), 3) == 0.357
    assert [round(100 * bound) for bound in wilson_interval(175, 180)] == [94, 99]
    a, z = 1.7159 * math.tanh(0.4), 0.6  # 2/3 · 0.6 = 0.4
    slope = (1.7159 * math.tanh(2 / 3 * (z + 1e-6)) - 1.7159 * math.tanh(2 / 3 * (z - 1e-6))) / 2e-6
    assert slope == pytest.approx(2 / 3 * (1.7159 - a * a / 1.7159), rel=1e-6)
    with torch.device("meta"):
        alexnet, vgg, googlenet = AlexNet(), VGG(), GoogLeNet()
        strided, atrous = ResNet(depth=50), ResNet(depth=50, output_stride=8)
    counts = count(alexnet, (3, 227, 227))
    dense = [layer for layer in counts.layers if layer.name.startswith("fc")]
    assert round(sum(layer.parameters for layer in dense) / 1e6, 1) == 58.6
    assert round(100 * sum(layer.mult_adds for layer in dense) / counts.mult_adds) == 8
    layers = {layer.name: layer for layer in count(vgg, (3, 224, 224)).layers}
    assert round(layers["fc6"].parameters / 1e6) == 103
    assert round(counts.parameters / count(googlenet, (3, 224, 224)).parameters) == 9
    last = [[*filter(lambda layer: layer.jump, count(net, (3, 224, 224)).layers)][-1] for net in (strided, atrous)]
    assert [layer.output_shape[1:] for layer in last] == [(7, 7), (28, 28)]
    assert last[0].receptive_field == last[1].receptive_field
    with torch.device("meta"):
        thin, wide = (count(MobileNet(width_multiplier=width), (3, 224, 224)).mult_adds for width in (0.5, 1.0))
    assert f"leaves {100 * thin / wide:.1f} %" in PROSE
