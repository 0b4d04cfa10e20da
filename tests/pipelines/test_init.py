"""First weights from libraries and files through `train`: the variant, the record, the fingerprint, the refusals."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from striate import runs
from striate.configuration import compose, plain
from striate.errors import ConfigurationError, StorageError
from striate.pipelines.starting import settle
from striate.pipelines.train import assemble, build_datamodule
from striate.storage import load_checkpoint, sha256_of
from striate.tasks.building import choose_task
from striate.transfer.initialization import same_head
from striate.transfer.libraries import Expected

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "transfer"))
from pairing import NAMES, SCRIPT, error, randomise, theirs

QUICK = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "test=false", "augmentation=none"]
COLOUR = ["data.prepare.channels=3", "data.name=colour"]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """`foreign(name, classes)`: the library's network with random weights, and the file of its tensors."""
    folder, made = tmp_path_factory.mktemp("foreign"), {}

    def make(name, classes=1000):
        if (name, classes) not in made:
            network = theirs(NAMES[name], classes).eval()
            randomise(network)
            path = folder / f"{name}-{classes}.pth"
            torch.save(network.state_dict(), path)
            made[name, classes] = network, path
        return made[name, classes]

    return make


@pytest.fixture(scope="module")
def begin(places):
    """`begin(*overrides)` gives the task at the start of a training, the hashes, the report and the configuration."""

    def run(*overrides):
        config = plain(compose("train", [*places, *overrides]))
        settle(config)
        datamodule = build_datamodule(config)
        datamodule.prepare_data()
        choose_task(config, datamodule.meta)
        task, hashes, report = assemble(config, datamodule)
        return task.eval(), hashes, report, config, datamodule

    return run


def levels(batch, mean, std):
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
    return (batch.permute(0, 3, 1, 2) / 255 - mean) / std


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_pictures_pass_through_as_in_the_library(begin, foreign):
    network, path = foreign("torchvision-resnet50", 10)
    words = ["model=resnet50", "init=torchvision", f"init.path={path}", *COLOUR]
    task, hashes, report, config, datamodule = begin(*words)
    assert config["model"]["stride_in"] == "3x3"
    assert config["init"]["weights"] == "IMAGENET1K_V1"
    assert task.record["config"]["model"]["stride_in"] == "3x3"
    assert task.record["preprocessing"]["mean"] == list(IMAGENET[0])
    assert tuple(datamodule.meta.mean) != IMAGENET[0]
    assert hashes["weights"] == sha256_of(path)
    assert report.new == []
    images = datamodule.dataset("test")[(0, [0, 1, 2])].images
    with torch.no_grad():
        features = task.network.forward_features(task.preprocessing.normalise(images))["conv5_x"]
        x = levels(images, *IMAGENET)
        for layer in list(network.children())[:-2]:
            x = layer(x)
    assert error(features, x) < 1e-5


def test_the_head(begin, foreign):
    _, path = foreign("torchvision-resnet18", 10)
    words = ["model=resnet18", f"init.path={path}", *COLOUR]
    for library, head, new in (
        ("torchvision", "auto", False), ("file", "new", True),
    ):  # fmt: skip
        report = begin(*words, f"init={library}", f"init.head={head}")[2]
        assert (report.new == ["fc.weight", "fc.bias"]) == new, (library, head)
    with pytest.raises(ConfigurationError, match="is for 1000 classes, the data have 10"):
        begin(
            "model=resnet18",
            "init=torchvision",
            f"init.path={foreign('torchvision-resnet18')[1]}",
            *COLOUR,
            "init.head=keep",
        )


def test_a_head_whose_classes_are_known_is_kept_for_these_alone():
    known = Expected((0.5,), (0.5,), classes=("tench", "goldfish", "great white shark"))
    for classes, same in (
        (["tench, Tinca tinca", "Goldfish", "great_white_shark"], True),
        (["goldfish", "tench", "great white shark"], False),
        (["cat", "dog", "cow"], False),
    ):
        assert same_head("auto", 3, classes, known)[0] == same
        assert same_head("keep", 3, classes, known)[0]
    assert not same_head("auto", 3, ["cat", "dog"], known)[0]
    assert not same_head("auto", None, ["cat", "dog"], known)[0]
    assert same_head("auto", 2, ["cat", "dog"], known)[0], (
        "other outputs than the published: nobody says what they mean"
    )


def test_names_of_a_library_in_any_file(begin, foreign, tmp_path):
    network, path = foreign("torchvision-resnet18", 10)
    state = {f"module.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, tmp_path / "net.safetensors")
    words = ["model=resnet18", "init=file", *COLOUR, "init.mean=[0.5,0.5,0.5]", "init.std=[0.25,0.25,0.25]"]
    task, hashes, report, _, datamodule = begin(*words, f"init.path={tmp_path / 'net.safetensors'}")
    assert hashes["weights"] == sha256_of(tmp_path / "net.safetensors")
    assert "without the prefix module." in report.notes
    assert any("names are those of torchvision" in note for note in report.notes)
    images = datamodule.dataset("test")[(0, [0, 1])].images
    with torch.no_grad():
        expected = network(levels(images, (0.5,) * 3, (0.25,) * 3))
        assert error(task.classify(images), expected) < 1e-5
    own = begin(*words, f"init.path={path}", "init.preprocessing=data")[0]
    assert tuple(own.record["preprocessing"]["mean"]) == tuple(datamodule.meta.mean)


@pytest.mark.parametrize(
    ("name", "model", "changed"),
    [
        ("torchvision-resnet50", "resnet50", {"stride_in": "3x3"}),
        ("timm-mobilenetv1_100", "mobilenet", {"activation": "relu6", "batch_norm_eps": 1e-5}),
        (SCRIPT, "resnet20", {"shortcut": "A-middle"}),
    ],
)
def test_any_file_with_names_of_a_library_gets_the_variant_of_its_weights(begin, foreign, capsys, name, model, changed):
    network, path = foreign(name, 10)
    words = [f"model={model}", "init=file", f"init.path={path}", "init.head=keep", *COLOUR]
    levels_of = ["init.mean=[0.5,0.5,0.5]", "init.std=[0.25,0.25,0.25]"]
    task, _, report, config, datamodule = begin(*words, *levels_of)
    said = capsys.readouterr().out
    for key, value in changed.items():
        assert f"{key}={value} (was " in said
        assert config["model"][key] == task.record["config"]["model"][key] == value
    assert report.new == report.skipped == []
    images = datamodule.dataset("test")[(0, [0, 1])].images
    with torch.no_grad():
        assert error(task.classify(images), network(levels(images, (0.5,) * 3, (0.25,) * 3))) < 1e-5


def test_googlenet_in_any_file(begin, foreign):
    network, path = foreign("torchvision-googlenet", 10)
    words = ["model=googlenet", "init=file", f"init.path={path}", "init.head=keep", *COLOUR]
    task, _, report, config, datamodule = begin(*words, "init.mean=[0.5,0.5,0.5]", "init.std=[0.5,0.5,0.5]")
    assert (config["model"]["form"], config["model"]["batch_norm"]) == ("torchvision", True)
    assert all(name.startswith("aux") for name in report.skipped)
    assert any("its own weights expect mean=[0.5, 0.5, 0.5] std=[0.5, 0.5, 0.5]" in note for note in report.notes)
    images = datamodule.dataset("test")[(0, [0, 1])].images
    network.transform_input = True  # as with the published weights
    with torch.no_grad():
        assert error(task.classify(images), network(levels(images, *IMAGENET))) < 1e-5


def test_a_file_of_a_library_does_not_go_with_another_arithmetic(begin, foreign):
    words = ["init=file", f"init.path={foreign('torchvision-resnet50', 10)[1]}", *COLOUR]
    with pytest.raises(ConfigurationError, match=r"model\.shortcut=C does not go with the weights of") as caught:
        begin("model=resnet50", "model.shortcut=C", *words)
    assert caught.value.nearest == "model.shortcut=B"
    assert len(str(caught.value).splitlines()) == 3


def test_names_that_tell_nothing(begin, foreign, tmp_path):
    network, _ = foreign("torchvision-resnet18", 10)
    layers, state = {}, {}
    for name, tensor in network.state_dict().items():
        layer, _, kind = name.rpartition(".")
        state[f"{layers.setdefault(layer, f'w{len(layers)}')}.{kind}"] = tensor
    torch.save(state, tmp_path / "net.pth")
    words = ["model=resnet18", "init=file", f"init.path={tmp_path / 'net.pth'}", *COLOUR]
    with pytest.raises(ConfigurationError, match="does not fit the network") as caught:
        begin(*words)
    assert "python src/convert.py" in caught.value.do
    report = begin(*words, "init.mapping=order")[2]
    assert "names were paired by order and shape" in report.notes
    assert report.new == report.skipped == []
    torch.save(dict(reversed(state.items())), tmp_path / "net.pth")
    with pytest.raises(ConfigurationError, match="order and shape do not decide"):
        begin(*words, "init.mapping=order")
    mapping = {f"{new}.*": f"{ours(layer)}.*" for layer, new in layers.items()}
    (tmp_path / "names.json").write_text(json.dumps(mapping))
    report = begin(*words, f"init.mapping={tmp_path / 'names.json'}")[2]
    assert report.new == report.skipped == []


def ours(layer):
    """Our name of a layer of torchvision's ResNet-18."""
    stage, _, rest = layer.partition(".")
    if not stage.startswith("layer"):
        return layer
    number, (block, _, inner) = int(stage[5:]) + 1, rest.partition(".")
    inner = {"downsample.0": "shortcut.conv", "downsample.1": "shortcut.bn"}.get(inner, inner)
    return f"conv{number}_x.conv{number}_{int(block) + 1}.{inner}"


def test_grey_pictures(begin, foreign):
    network, path = foreign("torchvision-resnet18", 10)
    words = ["model=resnet18", "init=torchvision", f"init.path={path}", "init.head=keep"]
    with pytest.raises(ConfigurationError, match="see 3 channels, the pictures have 1") as caught:
        begin(*words)
    assert caught.value.nearest == "init.grey=sum"
    task, _, report, _, datamodule = begin(*words, "init.grey=sum")
    images = datamodule.dataset("test")[(0, [0, 1])].images
    mean, std = (sum(values) / 3 for values in IMAGENET)
    with torch.no_grad():
        expected = network(levels(images, (mean,), (std,)).expand(-1, 3, -1, -1))
        assert error(task.classify(images), expected) < 1e-5
    assert list(report.resized) == ["conv1.weight"]
    assert "(64, 3, 7, 7) → (64, 1, 7, 7)" in report.resized["conv1.weight"]


def test_googlenet_expects_what_its_library_makes_of_the_pictures(begin, foreign):
    network, path = foreign("torchvision-googlenet", 10)
    network.transform_input = True  # as with the published weights
    words = ["model=googlenet", "init=torchvision", f"init.path={path}", "init.head=keep", *COLOUR]
    task, _, report, config, datamodule = begin(*words)
    assert (config["model"]["form"], config["model"]["batch_norm"]) == ("torchvision", True)
    assert all(name.startswith("aux") for name in report.skipped)
    assert len(report.skipped) == 20
    images = datamodule.dataset("test")[(0, [0, 1])].images
    with torch.no_grad():
        assert error(task.classify(images), network(levels(images, *IMAGENET))) < 1e-5


def test_a_run_keeps_what_was_built(train, foreign, tmp_path, capsys):
    path = foreign("timm-mobilenetv1_100")[1]
    words = ["model=mobilenet", "init=timm", f"init.path={path}", *COLOUR, *QUICK, "init.freeze=[conv0,bn0,block1]"]
    train(*words, f"run_dir={tmp_path / 'run'}")
    printed = capsys.readouterr().out
    assert "activation=relu6 (was relu)" in printed
    assert "pictures are shown as these weights expect them: mean [0.5, 0.5, 0.5]" in printed
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["model"]["activation"], config["model"]["batch_norm_eps"]) == ("relu6", 1e-5)
    facts = runs.read(tmp_path / "run")
    assert facts["hashes"]["weights"] == sha256_of(path)
    assert facts["fingerprint"] == runs.fingerprint(config, *facts["hashes"].values())
    report = json.loads((tmp_path / "run" / "transfer.json").read_text())
    assert report["new"] == ["fc.weight", "fc.bias"]
    (best,) = (tmp_path / "run" / "checkpoints").glob("best-*.ckpt")
    content = load_checkpoint(best)
    assert content["striate"]["preprocessing"]["mean"] == [0.5] * 3
    frozen = load_checkpoint(best)["state_dict"]["network.conv0.weight"]
    assert torch.equal(frozen, foreign("timm-mobilenetv1_100")[0].conv_stem.weight)


# ---- the libraries' own caches, without a network --------------------------------------------------------------------


def no_network(*_, **__):
    raise OSError("no network in a test")


def test_torchvisions_cache(begin, foreign, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    words = ["model=resnet18", "init=torchvision", *COLOUR]
    with pytest.raises(StorageError) as caught:
        begin(*words)
    assert "torchvision resnet18 IMAGENET1K_V1 are not in the cache" in caught.value.what
    assert "resnet18-f37072fd.pth by other means, then init.path=FILE" in caught.value.do
    assert len(str(caught.value).splitlines()) == 2
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(foreign("torchvision-resnet18")[1].read_bytes())
    _, hashes, report, config, _ = begin(*words, "init.weights=DEFAULT")
    assert report.source == "torchvision resnet18 IMAGENET1K_V1"
    assert config["init"]["weights"] == "IMAGENET1K_V1", "the name that DEFAULT stood for"
    assert hashes["weights"] == sha256_of(cached)


def test_timms_cache(begin, foreign, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    words = ["model=resnet18", "init=timm", "init.weights=tv_in1k", *COLOUR]
    with pytest.raises(StorageError) as caught:
        begin(*words)
    assert "timm resnet18 tv_in1k are not in the cache" in caught.value.what
    assert "model.safetensors of timm/resnet18.tv_in1k by other means" in caught.value.do
    assert len(str(caught.value).splitlines()) == 2
    place, revision = tmp_path / "models--timm--resnet18.tv_in1k", "0" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(revision)
    (place / "snapshots" / revision).mkdir(parents=True)
    cached = place / "snapshots" / revision / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in foreign("timm-resnet18")[0].state_dict().items()}, cached)
    _, hashes, report, _, _ = begin(*words)
    assert report.source == "timm resnet18 tv_in1k"
    assert hashes["weights"] == sha256_of(cached)


@pytest.mark.parametrize(
    ("words", "says", "near"),
    [
        (["model=resnet18", "init=torchvision", "init.weights=IMAGENET1K_V3"], "has no such weights", "IMAGENET1K_V1"),
        (["model=resnet50", "init=timm", "init.weights=a1_in1"], "has no such weights", "a1_in1k"),
        (["model=resnet50", "model.shortcut=C", "init=torchvision"], "does not go with", "model.shortcut=B"),
        (["init=torchvision"], "has no weights that fit LeNet5", None),
        (["init=file", "init.path=/nowhere.pth"], "no such file", None),
        (["init=file", "init.path=/nowhere.pth", "init.mapping=/nowhere.yaml"], "no such file of patterns", None),
    ],
)
def test_mistakes_are_one_line(begin, words, says, near):
    with pytest.raises(ConfigurationError, match=says) as caught:
        begin(*words)
    assert caught.value.nearest == near
    assert len(str(caught.value).splitlines()) <= 3


def test_a_file_that_does_not_fit_lists_what_is_not_covered(begin, foreign, tmp_path):
    network, _ = foreign("torchvision-resnet18", 10)
    state = network.state_dict()
    del state["layer1.0.conv1.weight"]
    state["neck.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "net.pth")
    words = ["model=resnet18", "init=torchvision", f"init.path={tmp_path / 'net.pth'}", *COLOUR]
    with pytest.raises(ConfigurationError) as caught:
        begin(*words)
    assert (
        "2 tensors: conv2_x.conv2_1.conv1.weight is not in the file; neck.weight is only in the file"
        in caught.value.what
    )
    report = begin(*words, "init.exclude=['neck.*',conv2_x.conv2_1.conv1.weight]")[2]
    assert "conv2_x.conv2_1.conv1.weight" in report.new
    assert report.skipped == ["neck.weight"]


def test_values_that_are_no_numbers_are_refused(begin, foreign, tmp_path):
    state = dict(foreign("torchvision-resnet18", 10)[0].state_dict())
    state["bn1.weight"] = torch.full((64,), torch.nan)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ConfigurationError, match=r"no numbers in bn1\.weight"):
        begin("model=resnet18", "init=torchvision", f"init.path={tmp_path / 'net.pth'}", *COLOUR)
