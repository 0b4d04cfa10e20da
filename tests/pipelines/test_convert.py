"""From an old weight file to evaluate and predict, without a line of Python; and files that do not fit."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.configuration import compose
from striate.errors import ConfigurationError, StorageError
from striate.models.lenet5 import LeNet5
from striate.models.resnet import CifarResNet
from striate.pipelines import convert as pipeline
from striate.pipelines import evaluate, predict
from striate.storage import load_checkpoint
from striate.tasks.loading import load_task

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "transfer"))
from foreign_networks import ScriptResNet20
from pairing import NAMES, randomise, theirs

CLASSES = [f"class{index}" for index in range(10)]
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)


@pytest.fixture
def convert(tmp_path):
    """`convert(*overrides)` writes `tmp_path/net.ckpt`; gives its path."""

    def run(*overrides):
        pipeline.run(compose("convert", [f"output={tmp_path / 'net.ckpt'}", *overrides]))
        return tmp_path / "net.ckpt"

    return run


@pytest.fixture(scope="module")
def old():
    """A ResNet-20 as an old training script leaves it, and the content of its file."""
    network = ScriptResNet20().eval()
    randomise(network)
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    return network, {"state_dict": state, "best_prec1": np.float64(91.7), "epoch": 199}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of 10 classes with 6 pictures of 32×32 each, and all pixels by name."""
    folder, draw = tmp_path_factory.mktemp("pictures") / "scenes", np.random.default_rng(0)
    pixels = {}
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for index in range(6):
            picture = draw.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(picture).save(folder / name / f"{index}.png")
            pixels[f"{name}/{index}.png"] = picture
    return folder, pixels


def probabilities(network, pixels):
    """By the foreign network and textbook normalisation, in float64."""
    images = torch.from_numpy(np.stack(list(pixels.values()))).permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        return dict(zip(pixels, network.double()((images - mean) / std).softmax(1), strict=True))


def test_an_old_file_and_its_description_reach_evaluate_and_predict(convert, old, photographs, tmp_path, capsys):
    network, content = old
    torch.save(content, tmp_path / "resnet20.th", _use_new_zipfile_serialization=False)
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    levels = [f"mean={list(MEAN)}", f"std={list(STD)}", f"classes={tmp_path / 'names.txt'}"]
    checkpoint = convert("model=resnet20", f"input={tmp_path / 'resnet20.th'}", *levels)
    printed = capsys.readouterr().out
    assert "without the prefix module." in printed
    assert "shortcut=A-middle" in printed
    folder, pixels = photographs
    expected = probabilities(network, pixels)

    said = tmp_path / "said.json"
    predict.run(
        compose("predict", [f"ckpt_path={checkpoint}", f"input={folder}", f"output={said}", "top_k=10", "device=cpu"])
    )
    rows = json.loads(said.read_text())
    assert len(rows) == 60
    for row in rows:
        for answer in row["predictions"]:
            value = expected[row["name"]][CLASSES.index(answer["class"])].item()
            assert answer["probability"] == pytest.approx(value, rel=1e-4, abs=1e-7)

    words = [f"ckpt_path={checkpoint}", "data=folder", f"data.root={folder}", "trainer.enable_progress_bar=false"]
    places = [
        f"paths.prepared_dir={tmp_path / 'prepared'}",
        "data.prepare.test_fraction=0.5",
        "trainer.accelerator=cpu",
    ]
    figures = evaluate.run(compose("evaluate", [*words, *places, f"output_dir={tmp_path / 'report'}"]))
    assert figures["samples"] == 30
    with open(tmp_path / "report" / "predictions.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            best = expected[row["name"]].argmax().item()
            assert row["predicted"] == CLASSES[best]
            assert float(row["probability"]) == pytest.approx(expected[row["name"]][best].item(), rel=1e-4)


def test_the_record_is_honest(convert, old, tmp_path):
    torch.save(old[1], tmp_path / "resnet20.th")
    content = load_checkpoint(convert("model=resnet20", f"input={tmp_path / 'resnet20.th'}"))
    record = content["striate"]
    assert record["config"]["model"]["shortcut"] == "A-middle"
    assert record["config"]["converted"]["mapping"]["layer1.0.conv1.weight"] == "conv2_x.conv2_1.conv1.weight"
    assert record["config"]["converted"]["matched"] == "the names are those of pytorch_resnet_cifar10's resnet20"
    assert len(record["config"]["converted"]["sha256"]) == 64
    assert (record["meta"]["files"], record["class_counts"]) == ({}, [0] * 10)
    assert record["preprocessing"] | {"mean": None} == {
        "channels": 3, "mean": None, "std": [0.229, 0.224, 0.225], "geometry": {}, "input_size": 32,
        "crop_fraction": 1.0,
    }  # fmt: skip
    assert (tmp_path / "net.ckpt.sha256").is_file()


def test_what_a_person_asks_for_is_kept(convert, old, tmp_path):
    torch.save(old[1], tmp_path / "resnet20.th")
    checkpoint = convert("model=resnet20", "model.shortcut=A", "mapping=order", f"input={tmp_path / 'resnet20.th'}")
    assert load_checkpoint(checkpoint)["striate"]["config"]["model"]["shortcut"] == "A"


def test_other_pictures_than_it_was_converted_for_are_refused(convert, old, photographs, tmp_path):
    torch.save(old[1], tmp_path / "resnet20.th")
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    checkpoint = convert("model=resnet20", f"input={tmp_path / 'resnet20.th'}", f"classes={tmp_path / 'names.txt'}")
    words = [f"ckpt_path={checkpoint}", "data=folder", f"data.root={photographs[0]}", "data.prepare.image_size=16"]
    with pytest.raises(ConfigurationError, match="converted for pictures of 32×32 pixels, scenes has 16×16"):
        evaluate.run(compose("evaluate", [*words, f"paths.prepared_dir={tmp_path / 'prepared'}"]))
    with pytest.raises(StorageError, match="does not say which data"):
        evaluate.run(compose("evaluate", [f"ckpt_path={checkpoint}"]))


def test_grey_levels_and_blue_first(convert, tmp_path):
    pair = NAMES["torchvision-resnet18"]
    network = theirs(pair, 4)
    randomise(network)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    words = ["model=resnet18", f"input={tmp_path / 'net.pth'}", "mean=[103.939,116.779,123.68]", "std=[1,1,1]"]
    with pytest.raises(ConfigurationError) as caught:
        convert(*words)
    assert caught.value.nearest == "pixels=255"
    content = load_checkpoint(convert(*words, "pixels=255", "colours=bgr"))
    assert content["striate"]["preprocessing"]["mean"] == pytest.approx([123.68 / 255, 116.779 / 255, 103.939 / 255])
    assert content["striate"]["preprocessing"]["std"] == pytest.approx([1 / 255] * 3)
    assert torch.equal(content["state_dict"]["network.conv1.weight"], network.conv1.weight.flip(1))
    assert content["striate"]["preprocessing"]["input_size"] == 224
    assert content["striate"]["preprocessing"]["crop_fraction"] == 0.875


def test_names_that_tell_nothing_are_paired_by_order(convert, tmp_path, capsys):
    network = theirs(NAMES["torchvision-resnet18"], 4)
    randomise(network)
    layers: dict[str, str] = {}
    renamed = {}
    for name, tensor in network.state_dict().items():
        layer, _, kind = name.rpartition(".")
        if kind != "num_batches_tracked":  # which old files do not have
            renamed[f"{layers.setdefault(layer, f'w{len(layers)}')}.{kind}"] = tensor
    torch.save(renamed, tmp_path / "net.pth")
    content = load_checkpoint(convert("model=resnet18", f"input={tmp_path / 'net.pth'}"))
    assert "by order and shape" in capsys.readouterr().out
    assert torch.equal(content["state_dict"]["network.fc.weight"], network.fc.weight)
    shortcut = content["state_dict"]["network.conv4_x.conv4_1.shortcut.conv.weight"]
    assert torch.equal(shortcut, network.layer3[0].downsample[0].weight)


def test_a_guess_is_shown_and_not_taken_unless_accepted(convert, tmp_path, capsys):
    network = theirs(NAMES["torchvision-resnet18"], 4)
    state = {f"x.{name}": tensor for name, tensor in reversed(network.state_dict().items())}
    torch.save(state, tmp_path / "net.pth")
    words = ["model=resnet18", f"input={tmp_path / 'net.pth'}"]
    with pytest.raises(ConfigurationError, match="order and shape alone do not decide"):
        convert(*words)
    assert "a guess" in capsys.readouterr().out
    assert not (tmp_path / "net.ckpt").exists()
    mapping = {"x.*": "*"}
    (tmp_path / "strip.json").write_text(json.dumps(mapping))
    with pytest.raises(ConfigurationError, match="is not in the file"):
        convert(*words, f"mapping={tmp_path / 'strip.json'}")
    mapping = {
        "x.layer{s}.{b}.downsample.0.*": "conv{s+1}_x.conv{s+1}_{b+1}.shortcut.conv.*",
        "x.layer{s}.{b}.downsample.1.*": "conv{s+1}_x.conv{s+1}_{b+1}.shortcut.bn.*",
        "x.layer{s}.{b}.*": "conv{s+1}_x.conv{s+1}_{b+1}.*",
        "x.*": "*",
    }
    (tmp_path / "names.yaml").write_text(json.dumps(mapping))
    content = load_checkpoint(convert(*words, f"mapping={tmp_path / 'names.yaml'}"))
    assert torch.equal(content["state_dict"]["network.fc.weight"], network.fc.weight)
    convert(*words, "accept_order=true")


def test_a_file_that_does_not_fit_is_shown_and_refused(convert, old, tmp_path, capsys):
    torch.save(old[1], tmp_path / "resnet20.th")
    with pytest.raises(ConfigurationError) as caught:
        convert("model=resnet32", f"input={tmp_path / 'resnet20.th'}")
    assert "tensors" in caught.value.what
    assert " missing" in capsys.readouterr().out
    assert len(str(caught.value).splitlines()) <= 3
    content = dict(old[1]["state_dict"]) | {"module.extra.weight": torch.zeros(3)}
    torch.save(content, tmp_path / "more.th")
    with pytest.raises(ConfigurationError, match=r"extra.weight is only in the file"):
        convert("model=resnet20", f"input={tmp_path / 'more.th'}")
    convert("model=resnet20", f"input={tmp_path / 'more.th'}", "exclude=['extra.*']")


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["output=net.pth"], ConfigurationError, "is no .ckpt file"),
        (["classes=/nowhere.txt"], ConfigurationError, "no such file of names"),
        (["mean=[0.5,0.5,0.5]"], ConfigurationError, "go together"),
        (["mean=[0.5]", "std=[0.5]"], ConfigurationError, "3 channels"),
        (["input=/nowhere.pth"], ConfigurationError, "there is no weight file"),
        (["mapping=/nowhere.yaml"], ConfigurationError, "no such file of patterns"),
        (["model=lenet5", "input=torchvision"], ConfigurationError, "has no weights that fit LeNet5"),
    ],
)
def test_mistakes_are_one_line(convert, old, tmp_path, words, error, says):
    torch.save(old[1], tmp_path / "resnet20.th")
    with pytest.raises(error, match=says) as caught:
        convert("model=resnet20", f"input={tmp_path / 'resnet20.th'}", *words)
    assert len(str(caught.value).splitlines()) <= 3


def test_published_weights_bring_their_classes_and_view(convert, tmp_path, monkeypatch, capsys):
    network = theirs(NAMES["torchvision-resnet50"]).eval()
    randomise(network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "hub" / "checkpoints" / "resnet50-11ad3fa6.pth")
    checkpoint = convert("model=resnet50", "input=torchvision")
    assert "stride_in=3x3 (was 1x1)" in capsys.readouterr().out
    task, record = load_task(checkpoint)
    assert record["config"]["converted"]["source"].startswith("torchvision resnet50 IMAGENET1K_V2")
    assert record["meta"]["classes"][:2] == ["tench", "goldfish"]
    assert task.preprocessing.input_size == 224
    assert task.preprocessing.crop_fraction == pytest.approx(224 / 232)
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = network((pixels.permute(0, 3, 1, 2) / 255 - mean) / std)
        assert (task.classify(pixels) - expected).abs().max() < 1e-5 * expected.abs().max()


def keras_arrays(network, kinds):
    """The arrays of a network of layers with biases, with Keras's axes and such names."""
    turned = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    return {
        f"{name.rpartition('.')[0].lower()}{kinds[name.rpartition('.')[2]]}": np.ascontiguousarray(
            array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        )
        for name, array in turned.items()
    }


def test_old_arrays_need_the_word_for_their_axes_which_is_named(convert, tmp_path, capsys):
    torch.manual_seed(0)
    network = LeNet5(10, 1, form="modern")
    np.savez(tmp_path / "old.npz", **keras_arrays(network, {"weight": "_W", "bias": "_b"}))
    layers = {name.rpartition(".")[0] for name in network.state_dict()}
    lines = {f"{layer.lower()}_{kind}": f"{layer}.{ours}" for layer in layers for kind, ours in
             (("W", "weight"), ("b", "bias"))}  # fmt: skip
    (tmp_path / "names.json").write_text(json.dumps(lines))
    words = ["model=lenet5_modern", f"input={tmp_path / 'old.npz'}", f"mapping={tmp_path / 'names.json'}"]
    with pytest.raises(ConfigurationError, match=r"is \(5, 5, 1, 6\) in the file, \(6, 3, 5, 5\) here") as caught:
        convert(*words)
    assert caught.value.nearest == "layout=keras"
    assert "init." not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3
    assert "other shape" in capsys.readouterr().out
    state = load_checkpoint(convert(*words, "layout=keras", "flatten=chw"))["state_dict"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(state[f"network.{name}"], tensor), name


def test_values_that_are_no_numbers_make_no_checkpoint(convert, old, tmp_path):
    state = dict(old[1]["state_dict"]) | {"module.bn1.weight": torch.full((16,), torch.nan)}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ConfigurationError, match=r"no numbers in bn1\.weight") as caught:
        convert("model=resnet20", f"input={tmp_path / 'net.pth'}")
    assert "init." not in str(caught.value)
    assert not (tmp_path / "net.ckpt").exists()


def test_biases_before_batch_norm_are_shown_and_taken_off_its_means(convert, tmp_path, capsys):
    torch.manual_seed(0)
    network = CifarResNet(10, depth=8, widths=(4, 6, 8)).eval()
    randomise(network)
    biases = {f"{name}.bias": torch.randn(module.out_channels) for name, module in network.named_modules()
              if isinstance(module, torch.nn.Conv2d)}  # fmt: skip
    torch.save(network.state_dict() | biases, tmp_path / "net.pth")
    words = ["model=resnet20", "model.depth=8", "model.widths=[4,6,8]", f"input={tmp_path / 'net.pth'}"]
    task, record = load_task(convert(*words))
    assert "comes off it" in capsys.readouterr().out
    assert any("7 biases before batch norm" in note for note in record["config"]["converted"]["notes"])
    x = torch.randn(2, 3, 32, 32)
    for name, bias in biases.items():
        network.get_submodule(name.removesuffix(".bias")).bias = torch.nn.Parameter(bias)
    with torch.no_grad():
        torch.testing.assert_close(task.network.eval()(x), network(x), rtol=1e-4, atol=1e-4)


def test_a_network_must_be_named(convert):
    with pytest.raises(ConfigurationError, match="model is missing") as caught:
        convert("input=weights.pth")
    assert "python src/describe.py weights.pth" in caught.value.do


def test_wrong_names_of_classes(convert, old, tmp_path):
    torch.save(old[1], tmp_path / "resnet20.th")
    for text, says in (
        ("a\nb", "names 2 classes, the file's classifier has 10"),
        ("a\na", "names 'a' twice"),
        ("a", "has 1"),
    ):
        (tmp_path / "names.txt").write_text(text)
        with pytest.raises(ConfigurationError, match=says):
            convert("model=resnet20", f"input={tmp_path / 'resnet20.th'}", f"classes={tmp_path / 'names.txt'}")
