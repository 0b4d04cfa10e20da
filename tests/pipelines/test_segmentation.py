"""A label for every pixel through the pipelines: train, resume, several processes, evaluate, predict, refusals."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from processes import train as train_apart
from striate import runs
from striate.callbacks.history import TIMED
from striate.configuration import compose, plain
from striate.data.meta import Meta
from striate.data.preparation import Preparation
from striate.errors import ConfigurationError, DataError
from striate.evaluation.pixel_report import FILES
from striate.pipelines import compare, evaluate, predict
from striate.pipelines import train as pipeline
from striate.pipelines.evaluate_pixels import brought_to_size
from striate.storage import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
NETWORK = ["model=unet", "model.widths=[8,16,32]", "model.padding=same", "model.batch_norm=true", "model.dropout=0"]
CANVASES = [
    "data=segmentation_digits",
    "data.name=canvases",
    "data.source.canvases={train: 96, val: 24, test: 24}",
    "data.source.size=32",
    "data.source.digits=[1,2]",
    "data.batch_size=16",
]
QUIET = ["trainer.enable_progress_bar=false", "trainer.accelerator=cpu"]
SMALL = [*CANVASES, *NETWORK, *QUIET, "optimizer=adam", "optimizer.lr=0.01"]


@pytest.fixture(scope="module")
def labelled(places, tmp_path_factory):
    """The run directory of a small U-Net on canvases of digits."""
    folder = tmp_path_factory.mktemp("labelled")
    os.environ.pop("STRIATE_RUN", None)
    words = ["trainer.max_epochs=16", "data.batch_size=8", "augmentation=none", "loss.class_weights=balanced"]
    pipeline.run(compose("train", [*places, *SMALL, *words, f"run_dir={folder}"]))
    return folder


def rows(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_data_choose_the_task_and_the_figure_that_selects(labelled):
    config = load_checkpoint(runs.newest_checkpoint(labelled / "checkpoints"))["striate"]["config"]
    assert config["task"]["kind"] == "segmentation"
    assert config["monitor"]["metric"] == config["callbacks"]["checkpointing"]["monitor"] == "val/miou"
    figures, history = json.loads((labelled / "metrics.json").read_text()), rows(labelled / "history.csv")
    assert figures["val/miou"] == max(float(row["val/miou"]) for row in history)


def test_a_network_learns_to_label_digits(labelled):
    history, figures = rows(labelled / "history.csv"), json.loads((labelled / "metrics.json").read_text())
    assert float(history[-1]["train/loss"]) < 0.8 * float(history[0]["train/loss"])
    assert figures["test/mean_class_accuracy"] > 0.2, "chance is 1/11"
    assert figures["test/boundary_f1"] > 0.4
    assert set(figures) >= {f"test/{name}" for name in ("miou", "fwiou", "mean_class_accuracy", "boundary_f1", "loss")}


@pytest.mark.parametrize(
    ("epochs", "least"),
    # 0.58 after three epochs in 75 s of one core, 0.73 after all in 190 s; who says background everywhere has 0.08.
    [(3, 0.5), pytest.param(7, 0.68, marks=pytest.mark.slow)],
)
def test_the_digits_experiment_reaches_a_good_iou(places, tmp_path, epochs, least):
    words = [*places, *QUIET, "experiment=segmentation_digits", f"run_dir={tmp_path / 'run'}"]
    figures = pipeline.run(compose("train", [*words, f"trainer.max_epochs={epochs}"]))
    assert figures["test/miou"] > least


def test_a_run_that_was_killed_ends_with_the_bits_of_one_that_was_not(places, labelled, tmp_path):
    options = [*places, *SMALL, "trainer.max_epochs=2", "test=false", "callbacks.checkpointing.every_n_steps=2"]
    options += ["augmentation=segmentation_digits", "model.dropout=0.5", "loss=cross_entropy_dice"]
    options += ["trainer.accumulate_grad_batches=2"]
    folders = [tmp_path / "whole", tmp_path / "killed"]
    assert train_apart([*options, f"run_dir={folders[0]}"]).code == 0
    assert train_apart([*options, f"run_dir={folders[1]}"], kill=("step", 9)).code == -9
    assert train_apart([*options, f"run_dir={folders[1]}"]).code == 0
    whole, killed = (load_checkpoint(runs.newest_checkpoint(folder / "checkpoints")) for folder in folders)
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, killed["state_dict"][name]), name
    timeless = [[{k: v for k, v in row.items() if k not in TIMED} for row in rows(folder / "history.csv")]
                for folder in folders]  # fmt: skip
    assert timeless[0] == timeless[1]


def test_two_processes_compute_what_one_does(places, labelled, tmp_path):
    """Without batch norm, whose statistics are each process's own; masks with unequal counts of labelled pixels; the
    two compute their parts of a batch in two parts again."""
    options = [*places, *SMALL, "model.batch_norm=false", "trainer.max_epochs=1", "optimizer=sgd", "optimizer.lr=0.05"]
    options += ["loss.class_weights=median_frequency", "model.widths=[4,8]", "test=true", "channels_last=false"]
    options += ["augmentation=segmentation_digits", "augmentation.translate=0.3"]
    environment = {key: value for key, value in os.environ.items() if key != "STRIATE_RUN"} | {"OMP_NUM_THREADS": "1"}
    found = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        words = [*options, f"trainer.devices={devices}", f"run_dir={folder}"]
        words.append(f"trainer.accumulate_grad_batches={devices}")
        if devices == 1:
            assert train_apart(words).code == 0
        else:
            command = [sys.executable, "src/train.py", *words]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stdout + done.stderr
        weights = load_checkpoint(runs.newest_checkpoint(folder / "checkpoints"))["state_dict"]
        found.append((weights, json.loads((folder / "metrics.json").read_text())))
    for name, tensor in found[0][0].items():
        torch.testing.assert_close(tensor, found[1][0][name], rtol=1e-4, atol=1e-6)
    for name, value in found[0][1].items():
        assert value == pytest.approx(found[1][1][name], rel=1e-3), name


PARTS = [
    *(
        "model.batch_norm=false",
        "model.widths=[4,8]",
        "trainer.precision=64-true",
        "trainer.max_epochs=1",
        "test=false",
    ),
    *("optimizer=sgd", "optimizer.lr=0.05", "augmentation=segmentation_digits", "augmentation.translate=0.9"),
    *("trainer.limit_val_batches=1", "channels_last=false", "scheduler=constant", "trainer.gradient_clip_val=0.5"),
]


def weights_after(places, folder, *words):
    pipeline.run(compose("train", [*places, *SMALL, *PARTS, *words, f"run_dir={folder}"]))
    return load_checkpoint(runs.newest_checkpoint(folder / "checkpoints"))["state_dict"]


@pytest.mark.parametrize(
    ("loss", "whole", "divided"),
    [
        ("loss.class_weights=median_frequency", "16/1", ["16/2", "16/4"]),
        ("loss=cross_entropy_dice", "16/1", ["16/4"]),
        # An epoch that ends within a batch: its last step is that of the parts that there were.
        ("loss.class_weights=median_frequency", "8/1", ["16/4"]),
    ],
)
def test_a_batch_in_parts_makes_the_step_of_the_whole(places, tmp_path, monkeypatch, loss, whole, divided):
    """Without batch norm, whose statistics are each part's own; canvases are moved far out of the picture, so that some
    have hardly a labelled pixel."""
    monkeypatch.delenv("STRIATE_RUN", raising=False)
    found = {}
    for case in (whole, *divided):
        batch, parts = map(int, case.split("/"))
        words = [loss, f"data.batch_size={batch}", f"trainer.accumulate_grad_batches={parts}"]
        words += [f"trainer.limit_train_batches={8 * parts // batch}"] if whole == "8/1" else []
        found[case] = weights_after(places, tmp_path / f"{batch}_{parts}", *words)
    for case in divided:
        for name, tensor in found[whole].items():
            torch.testing.assert_close(found[case][name], tensor, rtol=1e-9, atol=1e-12)


def test_an_all_ignored_batch_leaves_the_weights_and_numbers_whole(labelled):
    from striate.data.loading import Batch
    from striate.tasks.loading import load_task

    task, _ = load_task(runs.newest_checkpoint(labelled / "checkpoints"))
    masks = torch.full((2, 32, 32), 255, dtype=torch.uint8)
    batch = Batch(torch.zeros(2, 32, 32, 1, dtype=torch.uint8), masks, torch.arange(2))
    task.train()
    loss = task.loss.reduce(task.loss(task.classify(batch.images), masks), masks)
    loss.backward()
    assert loss.item() == 0.0
    assert all(not parameter.grad.any() for parameter in task.network.parameters())


def test_the_backbone_has_its_own_rate_and_biases_theirs(places):
    from striate.tasks.building import build_network, build_task, choose_task

    overrides = [*places, *CANVASES, "model=fcn8s_resnet18", "task.backbone_rate=0.1", "task.bias_rate=2"]
    config = plain(compose("train", [*overrides, "optimizer.lr=0.04", "model.backbone.widths=[8,8,8,8]"]))
    datamodule = pipeline.build_datamodule(config)
    datamodule.prepare_data()
    choose_task(config, datamodule.meta)
    network = build_network(config["model"], datamodule.meta, 0)
    task = build_task(config, network, datamodule.meta, datamodule.preprocessing)
    task.scheduler_factory = None
    optimizer = task.configure_optimizers()["optimizer"]
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            bias = name.endswith(".bias") and not isinstance(network.get_submodule(name[:-5]), torch.nn.BatchNorm2d)
            expected = 0.04 * (0.1 if name.startswith("backbone.") else 1) * (2 if bias else 1)
            assert rates[id(parameter)][0] == pytest.approx(expected), name
            assert bool(rates[id(parameter)][1]) == (parameter.ndim > 1), name


@pytest.mark.parametrize(
    ("overrides", "message", "nearest"),
    [
        ([*CANVASES, *NETWORK, "task=classification"], "task=classification is not for canvases", "task=segmentation"),
        ([*CANVASES, "model=lenet5"], "LeNet5 gives one label a picture, canvases has a label", "model=segnet"),
        (["model=segnet_basic"], "SegNetBasic gives a label for every pixel, digits has one label", "model=resnet18"),
        (["task=segmentation"], "task=segmentation is not for digits", "task=classification"),
        (["loss.class_weights=median_frequency"], "is for pixels", None),
        ([*CANVASES, *NETWORK, "task.backbone_rate=0.1"], "UNet has no backbone", "task.backbone_rate=1"),
        ([*CANVASES, *NETWORK, "monitor.metric=val/top1_micro"], "is not measured", None),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(train, labelled, overrides, message, nearest):
    with pytest.raises(ConfigurationError, match=message) as caught:
        train(*overrides, *QUIET)
    assert caught.value.nearest == nearest or nearest is None
    assert np.all([len(line) < 400 for line in str(caught.value).splitlines()])


@pytest.fixture(scope="module")
def evaluated(places, labelled):
    """The folder of an evaluation on the test split, from the checkpoint and nothing else."""
    evaluate.run(compose("evaluate", [*places, *QUIET, f"ckpt_path={labelled}"]))
    return labelled / "evaluation_test"


def test_evaluate_gives_the_figures_of_the_training(evaluated, labelled):
    fitted = json.loads((labelled / "metrics.json").read_text())
    figures = json.loads((evaluated / "metrics.json").read_text())
    for name in ("miou", "pixel_accuracy", "mean_class_accuracy", "fwiou", "boundary_f1", "loss"):
        assert figures[name] == pytest.approx(fitted[f"test/{name}"], rel=1e-12), name
    assert figures["miou_low"] < figures["miou"] < figures["miou_high"]
    assert {path.name for path in evaluated.iterdir()} == set(FILES)
    assert (labelled / "mosaic_val.png").is_file()


def test_tables_of_an_evaluation_agree(evaluated):
    figures = json.loads((evaluated / "metrics.json").read_text())
    classes, pictures = rows(evaluated / "per_class.csv"), rows(evaluated / "per_picture.csv")
    ious = [float(row["iou"]) for row in classes if int(row["pixels"])]
    assert np.mean(ious) == pytest.approx(figures["miou"])
    assert len(pictures) == figures["samples"] == 24
    pixels = sum(int(row["pixels"]) for row in pictures)
    assert pixels == figures["pixels"] == 24 * 32 * 32 == sum(int(row["pixels"]) for row in classes)
    assert sum(int(row["pixels"]) for row in rows(evaluated / "confusion.csv")) == pixels


def test_a_run_keeps_the_counts_of_its_test_and_can_be_compared(places, labelled, evaluated, tmp_path):
    assert rows(labelled / "pixel_counts.csv") == rows(evaluated / "pixel_counts.csv")
    for name, rate in (("one", 0.01), ("other", 0.02)):
        shutil.copytree(labelled, tmp_path / name, ignore=shutil.ignore_patterns("evaluation_*"))
        config = yaml.safe_load((labelled / "config.yaml").read_text())
        config["optimizer"]["lr"] = rate
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
    words = [f"runs=['{tmp_path / 'one'}','{tmp_path / 'other'}']", f"output_dir={tmp_path / 'out'}"]
    figures = compare.run(compose("compare", [*places, *words]))
    one, _, difference = figures.values()
    assert one["mean"] == json.loads((labelled / "metrics.json").read_text())["test/miou"]
    assert difference == {"mean": 0, "low_over_samples": 0, "high_over_samples": 0}


def test_a_short_trial_run_counts_the_pictures_that_it_saw(places, labelled, tmp_path):
    run = tmp_path / "run"
    words = ["debug=fast", "mistakes=true", "data.batch_size=4", f"run_dir={run}"]
    pipeline.run(compose("train", [*places, *SMALL, *words]))
    assert len({row["name"] for row in rows(run / "pixel_counts.csv")}) == 2 * 4  # of 24
    assert (run / "mosaic_worst.png").is_file()


def test_views_do_no_harm_and_have_their_own_folder(places, labelled, evaluated):
    single = json.loads((evaluated / "metrics.json").read_text())
    options = [*places, *QUIET, f"ckpt_path={labelled}"]
    whole = evaluate.run(compose("evaluate", [*options, "views=windows", "views.window=64"]))
    assert whole["pixel_accuracy"] == pytest.approx(single["pixel_accuracy"], abs=2e-4)
    swept = evaluate.run(compose("evaluate", [*options, "views=windows", "views.window=24"]))
    assert swept["pixel_accuracy"] > single["pixel_accuracy"] - 0.1
    assert (labelled / "evaluation_test_windows" / "metrics.json").is_file()
    with pytest.raises(ConfigurationError, match="here every pixel has a label") as caught:
        evaluate.run(compose("evaluate", [*options, "views=ten_crop"]))
    assert caught.value.nearest == "views=windows"


def test_masks_of_another_size_are_not_resized(places, labelled):
    """Canvases of 48 × 48: the network sees them at 32 × 32, as it has learnt, and is measured on all their pixels."""
    other = [*(word for word in CANVASES if "size" not in word and "name" not in word), "data.source.size=48"]
    options = [*places, *QUIET, f"ckpt_path={labelled}", *other, "data.name=canvases_48", "data.batch_size=16"]
    figures = evaluate.run(compose("evaluate", [*options, f"output_dir={labelled / 'other'}"]))
    assert figures["pixels"] == 24 * 48 * 48


def test_masks_that_are_not_of_their_native_size_are_said_to_be():
    sizes = np.array([[512, 700], [900, 512], [300, 400]])
    assert brought_to_size(None, sizes) is None
    assert brought_to_size(Preparation(), sizes) is None
    assert brought_to_size(Preparation(max_short_side=1024), sizes) is None
    line = brought_to_size(Preparation(max_short_side=512), sizes)
    assert "data.prepare.max_short_side=512 brought 2 of 3;" in line
    line = brought_to_size(Preparation(image_size=[180, 240]), np.array([[180, 240]] * 5))
    assert "data.prepare.image_size=[180, 240] brought 5 of 5;" in line


def test_evaluate_says_at_which_size_it_measures(places, labelled, capsys):
    other = [word for word in CANVASES if "size" not in word and "name" not in word]
    other += ["data.source.size=48", "data.prepare.max_short_side=40", "data.name=canvases_40", "data.batch_size=16"]
    folder = labelled / "other_40"
    figures = evaluate.run(
        compose("evaluate", [*places, *QUIET, f"ckpt_path={labelled}", *other, f"output_dir={folder}"])
    )
    assert figures["pixels"] == 24 * 40 * 40
    assert "data.prepare.max_short_side=40 brought 24 of 24;" in " ".join(capsys.readouterr().out.split())


def test_predictions_keep_size_and_name(places, labelled, tmp_path):
    from striate.data.masks import palette
    from striate.tasks.loading import load_task

    chance, folder = np.random.default_rng(0), tmp_path / "pictures"
    sizes = {"a.png": (32, 32), "a.bmp": (40, 64), "deep/b.png": (31, 33)}
    for name, size in sizes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, size, dtype=np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes(b"none")
    output = tmp_path / "out"
    words = [*places, f"ckpt_path={labelled}", f"input={folder}", f"output={output}", "device=cpu"]
    assert predict.run(compose("predict", words)) == {"pictures": 3, "unreadable": 1}
    task, record = load_task(runs.resolve_checkpoint(str(labelled), labelled))
    for name, size in sizes.items():
        written = "deep/b.png" if name == "deep/b.png" else f"{name}.png"
        mask, drawn, overlay = (
            np.asarray(Image.open(output / kind / written)) for kind in ("masks", "coloured", "overlays")
        )
        assert mask.shape == size
        assert drawn.shape == overlay.shape == (*size, 3)
        np.testing.assert_array_equal(drawn, np.array(record["meta"]["labelling"]["colours"])[mask])
    assert len(record["meta"]["labelling"]["colours"]) == len(palette(11))
    picture = torch.from_numpy(np.array(Image.open(folder / "a.png")))[None, :, :, None]
    task.network.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = task.label(picture).argmax(1)[0].numpy()
    np.testing.assert_array_equal(np.asarray(Image.open(output / "masks" / "a.png.png")), expected)
    table = {row["name"]: row for row in rows(output / "labels.csv")}
    assert table["broken.png"]["error"]
    assert sum(float(table["a.png"][f"share_{name}"]) for name in record["meta"]["classes"]) == pytest.approx(1)
    with pytest.raises(ConfigurationError, match="writes masks into a folder"):
        predict.run(compose("predict", [*words, "output=labels.csv"]))


@pytest.fixture
def own_masks(places, tmp_path):
    """`own_masks(values)`: a set of pictures with masks, as overrides; 1 in a split's lower halves beside 0,
    or another value everywhere."""

    def make(**values):
        chance = np.random.default_rng(0)
        for split, value in values.items():
            for kind in ("images", "masks"):
                (tmp_path / "set" / split / kind).mkdir(parents=True)
            for number in range(4):
                picture = chance.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                mask = np.full((32, 32), value, np.uint8)
                mask[:16] = 0 if value == 1 else value
                Image.fromarray(picture).save(tmp_path / "set" / split / "images" / f"{number}.png")
                Image.fromarray(mask).save(tmp_path / "set" / split / "masks" / f"{number}.png")
        words = ["data=folder_masks", f"data.root={tmp_path / 'set'}", "data.source.classes=[sky,road]"]
        words += [
            "data.input_size=32",
            "data.batch_size=4",
            "data.source.unknown=ignore",
            f"run_dir={tmp_path / 'run'}",
        ]
        words += [*NETWORK, *QUIET, "trainer.max_epochs=1", f"paths.prepared_dir={tmp_path / 'packs'}"]
        return [*places, *words]

    return make


@pytest.mark.parametrize("empty", ["train", "val", "test"])
def test_masks_that_say_nothing_are_refused_before_training(own_masks, tmp_path, empty):
    words = own_masks(**{"train": 1, "val": 1, "test": 1, empty: 7})
    with pytest.raises(DataError, match=f"the {empty} split of set has no pixel of any of the 2 classes") as caught:
        pipeline.run(compose("train", words))
    assert len(str(caught.value).splitlines()) == 2
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=f"the {empty} split"):
        pipeline.run(compose("train", [*words, "plan=true"]))


def test_a_test_split_without_labels_does_no_harm_where_nobody_tests(own_masks, places, tmp_path):
    words = own_masks(train=1, val=1, test=7)
    assert "val/miou" in pipeline.run(compose("train", [*words, "test=false"]))
    options = [*places, *QUIET, f"paths.prepared_dir={tmp_path / 'packs'}", f"ckpt_path={tmp_path / 'run'}"]
    with pytest.raises(DataError, match="the test split of set has no pixel"):
        evaluate.run(compose("evaluate", options))
    assert evaluate.run(compose("evaluate", [*options, "split=val"]))["pixels"] == 4 * 32 * 32


def test_a_picture_that_is_too_small_for_the_network_does_not_end_the_others(labelled, tmp_path):
    from striate.pipelines.predict_pixels import label, names_of_files
    from striate.tasks.loading import load_task

    task, record = load_task(runs.newest_checkpoint(labelled / "checkpoints"))
    task.network.smallest_side = 31
    pictures = {"small.png": tmp_path / "small.png", "large.png": tmp_path / "large.png"}
    for path, side in zip(pictures.values(), (30, 31), strict=True):
        Image.new("L", (40, side)).save(path)
    meta, names = Meta.from_dict(record["meta"]), names_of_files(pictures)
    small, large = label(task, meta, pictures, names, tmp_path / "out", meta.labelling["colours"])
    assert small == {"name": "small.png", "error": "expected pictures of at least 31×31; got 30×40"}
    assert (large["mask"], large["error"]) == ("masks/large.png", None)


def test_no_two_pictures_have_masks_of_one_name():
    from striate.pipelines.predict_pixels import names_of_files

    pictures = ["a.jpg", "a.png", "a.jpg.png", "a.jpg.png.bmp", "b.jpg", "deep/b.png", "../c.png"]
    named = names_of_files({name: Path(name) for name in pictures})
    assert len(set(named.values())) == len(pictures)
    assert {str(named[name]) for name in pictures[4:]} == {"b.png", "deep/b.png", "c.png"}


def test_plan_and_summary_know_networks_that_label_pixels(places, labelled):
    from striate.pipelines import describe

    figures = pipeline.run(compose("train", [*places, *SMALL, "plan=true"]))
    assert figures["samples_train"] == 96
    checkpoint = runs.newest_checkpoint(labelled / "checkpoints")
    describe.run(compose("describe", [*places, f"input={checkpoint}"]))
