"""The checks on a sound training, and on faults that were put into data, network and labels."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from striate.configuration import compose, plain
from striate.errors import CheckError, ConfigurationError
from striate.pipelines import brief_training, check_sanity, sanity_checks, sanity_trainings, starting
from striate.pipelines.brief_training import own_data, shuffled
from striate.pipelines.sanity_checks import Case
from striate.tasks.building import choose_task


@pytest.fixture
def check(places, digits, tmp_path, monkeypatch):
    """`check(*overrides)` runs the command on digits; gives its figures."""
    monkeypatch.delenv("STRIATE_RUN", raising=False)

    def run(*overrides):
        own = ["model=lenet5_modern", "trainer.accelerator=cpu", f"sanity_dir={tmp_path / 'sanity'}"]
        return check_sanity.run(compose("check_sanity", [*places, *own, *overrides]))

    return run


@pytest.fixture
def case(places, digits, tmp_path):
    """`case(*overrides)` is what the checks get."""

    def make(*overrides, steps=100):
        words = [*places, "model=lenet5_modern", "trainer.accelerator=cpu", *overrides]
        config = plain(compose("check_sanity", words))
        starting.settle(config)
        data = own_data(config)
        choose_task(config, data.meta)
        return Case(config, data, steps, 20_000, tmp_path)

    return make


def with_network(case, monkeypatch, network, module=sanity_checks):
    """The case, whose tasks have this network."""
    made = module.assemble

    def assemble(config, data):
        task, *rest = made(config, data)
        task.network = network()
        return task, *rest

    monkeypatch.setattr(module, "assemble", assemble)
    return case


def test_a_sound_training_passes_every_check(check, capsys):
    figures = check()
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("passed", "failed", "–"))]
    assert [line.split()[0] for line in said] == ["passed"] * len(check_sanity.CHECKS)
    assert set(figures) == set(check_sanity.CHECKS)
    assert figures["duplicates"] == figures["near_duplicates"] == figures["gradients"] == figures["one_batch"] == 0
    assert figures["initial_loss"] == pytest.approx(np.log(10), rel=0.1)
    assert figures["batch_mates"] < 1e-5


def test_one_check_alone_and_one_that_there_is_not(check):
    assert list(check("checks=[initial_loss]")) == ["initial_loss"]
    with pytest.raises(ConfigurationError, match="nearest valid choice: gradients"):
        check("checks=[gradient]")


def test_a_failed_check_is_an_exit_code_of_its_own(check):
    with pytest.raises(CheckError, match="1 of 2 checks failed: one batch can be learnt by heart") as failure:
        check("checks=[one_batch,initial_loss]", "optimizer.lr=1e-9", "steps=5")
    assert failure.value.exit_code == 7
    assert len(str(failure.value).splitlines()) <= 3


def folder_with_leak(raw, root, copies):
    """A folder of digits with splits, some test pictures of which are put into training under other names."""
    for split, part in (("train", slice(0, 12)), ("test", slice(12, 20))):
        for label in "01":
            place = root / split / label
            place.mkdir(parents=True)
            for file in sorted((raw / label).iterdir())[part]:
                shutil.copy(file, place / file.name)
    for file in sorted((root / "test" / "1").iterdir())[:copies]:
        shutil.copy(file, root / "train" / "1" / f"copy_of_{file.name}")
    return root


def test_a_test_picture_among_the_training_pictures_is_found(check, places, tmp_path):
    raw = Path(dict(word.split("=", 1) for word in places)["paths.data_dir"]) / "digits"
    words = ["data=folder", "data.prepare.image_size=32", "data.prepare.leaks=keep", "data.prepare.val_fraction=0",
             "checks=[duplicates,near_duplicates]", "data.batch_size=8"]  # fmt: skip
    root = folder_with_leak(raw, tmp_path / "leaky", copies=2)
    with pytest.raises(CheckError, match="train, val and test share no picture"):
        check(f"data.root={root}", *words)
    root = folder_with_leak(raw, tmp_path / "sound", copies=0)
    assert check(f"data.root={root}", *words)["duplicates"] == 0


def test_nearly_equal_pictures_are_drawn_for_a_person_to_judge(check, places, tmp_path, capsys):
    from PIL import Image

    raw = Path(dict(word.split("=", 1) for word in places)["paths.data_dir"]) / "digits"
    root = folder_with_leak(raw, tmp_path / "near", copies=0)
    file = min((root / "test" / "0").iterdir())
    pixels = np.asarray(Image.open(file)).copy()
    pixels[pixels > 0] -= 1
    Image.fromarray(pixels).save(root / "train" / "0" / "almost.png")
    check(f"data.root={root}", "data=folder", "data.prepare.image_size=32", "data.prepare.val_fraction=0",
          "checks=[duplicates,near_duplicates]", "data.batch_size=8")  # fmt: skip
    assert "1 pairs look the same" in capsys.readouterr().out
    assert (tmp_path / "sanity" / "near_duplicates.png").is_file()


def test_a_parameter_without_gradient_is_named(case, monkeypatch):
    class Broken(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(32 * 32, 20), nn.ReLU(), nn.Linear(20, 10))

        def forward(self, x):
            return self[3](self[2](self[1](self[0](x))).detach())

    found = sanity_checks.gradients_everywhere(with_network(case(), monkeypatch, Broken))
    assert found.passed is False
    assert found.found == "2 of 4 without: 1.weight, 1.bias"


def test_a_scale_that_begins_at_zero_is_no_fault(case, monkeypatch):
    class Gated(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(32 * 32, 10))
            self.scale = nn.Parameter(torch.zeros(10))

        def forward(self, x):
            return self.scale * super().forward(x)

    assert sanity_checks.gradients_everywhere(with_network(case(), monkeypatch, Gated)).passed


def test_frozen_parameters_need_no_gradient(case, trained):
    words = ["init=checkpoint", f"init.path={trained}", "init.freeze=[C1,C3]"]
    found = sanity_checks.gradients_everywhere(case(*words))
    assert found.passed
    assert found.found == "0 of 6 without"
    assert sanity_checks.begins_at_chance(case(*words)).passed is None


def test_a_network_that_looks_at_the_pictures_beside_is_found(case, monkeypatch):
    class Contrasting(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(32 * 32, 10))

        def forward(self, x):
            return super().forward(x - x.mean(dim=0, keepdim=True))

    assert sanity_checks.answers_alone(with_network(case(), monkeypatch, Contrasting)).passed is False
    monkeypatch.undo()
    assert sanity_checks.answers_alone(case()).passed


def test_a_loud_head_is_found(case, monkeypatch):
    def loud():
        network = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 10))
        with torch.no_grad():
            network[1].weight.mul_(30)
        return network

    assert sanity_checks.begins_at_chance(with_network(case(), monkeypatch, loud)).passed is False
    monkeypatch.undo()
    assert sanity_checks.begins_at_chance(case("loss=squared_error")).passed is None


def test_labels_that_were_not_shuffled_are_found(case, monkeypatch):
    monkeypatch.setattr(sanity_trainings, "shuffled", lambda targets, seed: targets)
    found = sanity_trainings.shuffled_labels_teach_nothing(case())
    assert found.passed is False
    assert found.value > 0.6


def test_pictures_that_carry_their_label_are_found_where_all_should_be_the_same(case, monkeypatch):
    class Marked(brief_training.ConstantPack):
        def read(self, indices):
            pictures = super().read(indices)
            pictures[:, :8] = (25 * self.labels[indices]).astype(np.uint8)[:, None, None, None]
            return pictures

    monkeypatch.setattr(sanity_trainings, "ConstantPack", Marked)
    found = sanity_trainings.constant_pictures_teach_nothing(case("augmentation=none", steps=40))
    assert found.passed is False


def test_too_few_pictures_are_passed_over(case):
    few = case("data.samples_per_class=2", "data.batch_size=6", "data.classes=['7','8','9']", steps=3)
    assert sanity_trainings.shuffled_labels_teach_nothing(few).passed is None


@pytest.mark.parametrize("counts", [(60, 60), (40, 50, 60), (5, 90), (117,) * 10])
def test_shuffled_labels_are_as_many_as_before_in_each_class_and_a_function_of_the_seed(counts):
    targets = np.repeat(np.arange(len(counts)), counts)
    result = shuffled(targets, 3)
    assert np.array_equal(result, shuffled(targets, 3))
    assert not np.array_equal(result, shuffled(targets, 4))
    assert np.bincount(result).tolist() == list(counts)
    cross = np.zeros((len(counts),) * 2, int)
    np.add.at(cross, (targets, result), 1)
    assert np.abs(cross - np.outer(counts, counts) / sum(counts)).max() <= 2, "each class has all labels in proportion"
    agreement = np.mean([np.mean(shuffled(targets, seed) == targets) for seed in range(40)])
    assert agreement == pytest.approx(np.sum(np.square(counts)) / sum(counts) ** 2, abs=0.01)
