"""What `choose` chooses: each rule a function of the data, the weights and the machine, and nothing else."""

from dataclasses import replace

import pytest

from striate.pipelines import rules_of_networks as networks
from striate.pipelines import rules_of_training as training
from striate.pipelines.situation import Data, Machine, Weights

CPU, GPU = Machine(gpu=False, bfloat16=False, cores=2), Machine(gpu=True, bfloat16=True, cores=16)
PHOTOS = Data(pixels=False, channels=3, counts=(120, 110), samples=230, validation=150, side=160, whole=False)
DIGITS = Data(pixels=False, channels=1, counts=(117,) * 10, samples=1170, validation=270, side=32, whole=True)
STREETS = Data(pixels=True, channels=3, counts=(10**7, 10**5), samples=367, validation=101, side=360, whole=False)
PUBLIC = Weights("torchvision resnet18", 224)
OWN = Weights("model.ckpt", 64, {"_target_": "striate.models.resnet.ResNet", "depth": 18, "widths": [32, 64, 128, 256]})


def cheap(side):
    return 1


@pytest.mark.parametrize(
    ("data", "machine", "weights", "name"),
    [
        (PHOTOS, CPU, PUBLIC, "resnet18"),
        (PHOTOS, GPU, PUBLIC, "resnet50"),
        (PHOTOS, GPU, None, "resnet18"),
        (PHOTOS, CPU, None, "resnet18 widths=[32, 64, 128, 256]"),
        (DIGITS, CPU, None, "resnet20"),
        (STREETS, GPU, PUBLIC, "unet_resnet34"),
        (STREETS, CPU, PUBLIC, "unet_resnet34 backbone={'depth': 18}"),
        (replace(STREETS, side=64), CPU, None, "unet widths=[16, 32, 64, 64] padding=same batch_norm=True dropout=0.0"),
    ],
)
def test_the_network(data, machine, weights, name):
    assert str(networks.network(data, machine, weights).value) == name


def test_a_checkpoint_brings_its_network():
    for data in (PHOTOS, DIGITS, STREETS):
        assert networks.network(data, GPU, OWN).value == OWN.model


@pytest.mark.parametrize(
    ("data", "machine", "weights", "side"),
    [
        (replace(PHOTOS, side=256), GPU, PUBLIC, 224),
        (PHOTOS, GPU, PUBLIC, 160),  # no more than the pictures have
        (PHOTOS, GPU, OWN, 128),
        (replace(PHOTOS, side=100), GPU, OWN, 96),
        (PHOTOS, CPU, None, 96),
        (replace(PHOTOS, side=50), CPU, None, 32),
        (STREETS, GPU, None, 256),
        (replace(STREETS, side=64), CPU, None, 64),
    ],
)
def test_the_size_of_pictures(data, machine, weights, side):
    assert networks.input_size(data, machine, weights, 30, cheap).value == side


def test_pictures_that_are_seen_whole_have_no_size_to_choose():
    assert networks.input_size(DIGITS, CPU, None, 30, cheap) is None


def test_on_a_cpu_pictures_are_smaller_where_a_training_would_take_long():
    large = replace(PHOTOS, side=256)

    def cost(side):
        return 36_000 * side**2  # ResNet-18

    choice = networks.input_size(large, CPU, PUBLIC, 60, cost)
    assert choice.value < 224
    assert networks.minutes(large, CPU, 60, cost(choice.value)) <= networks.MINUTES
    assert networks.minutes(large, CPU, 60, cost(choice.value + networks.GRID)) > networks.MINUTES
    assert "224 would take some" in choice.reason
    assert networks.input_size(large, GPU, PUBLIC, 60, cost).value == 224
    endless = networks.input_size(replace(large, samples=10**6), CPU, PUBLIC, 60, cost)
    assert endless.value == 128, "but not below half, where the weights see nothing that they know"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (PHOTOS, None),
        (replace(PHOTOS, counts=(200, 20)), "balanced"),
        (replace(PHOTOS, counts=(400, 4)), [0.918, 9.18]),  # the mean weight of a picture is 1
        (STREETS, "median_frequency"),
        (replace(STREETS, counts=(300, 100)), None),
    ],
)
def test_classes_are_weighted_where_they_are_unbalanced(data, value):
    assert training.class_weights(data).value == value


def test_balanced_draws_need_no_weights():
    for counts in ((200, 20), (400, 4)):
        choice = training.class_weights(replace(PHOTOS, counts=counts), "balanced")
        assert choice.value is None
        assert "draws all classes equally often" in choice.reason


@pytest.mark.parametrize(
    ("data", "metric"),
    [
        (PHOTOS, "val/top1_micro"),
        (replace(PHOTOS, validation=20), "val/loss"),
        (replace(PHOTOS, counts=(200, 20)), "val/recall_macro"),
    ],
)
def test_the_figure_that_selects(data, metric):
    choice = training.monitor(data)
    assert choice.value == {"metric": metric, "mode": "min" if metric == "val/loss" else "max"}
    assert training.monitor(STREETS) is None


@pytest.mark.parametrize(
    ("per_class", "weights", "train", "gradual"),
    [(3, PUBLIC, "head", False), (20, PUBLIC, "all", True), (300, PUBLIC, "all", False), (3, None, "all", False)],
)
def test_what_learns_goes_by_the_pictures_of_a_class(per_class, weights, train, gradual):
    data = replace(PHOTOS, counts=(per_class,) * 4, samples=4 * per_class)
    assert networks.trained(data, weights).value == train
    assert (networks.unfreeze_every(data, weights, 30).value is not None) == gradual
    assert (networks.stage_decay(data, weights).value < 1) == (weights is not None and per_class < 50)


@pytest.mark.parametrize("samples", [1, 3, 8, 230, 3000, 50_000])
def test_a_batch_is_no_larger_than_the_set(samples):
    for data in (replace(PHOTOS, samples=samples), replace(STREETS, samples=samples)):
        for machine in (CPU, GPU):
            batch = training.largest_batch(data, machine)
            assert 1 <= batch <= samples
            assert batch <= 8 or samples // batch >= training.STEPS_AN_EPOCH
    assert training.largest_batch(replace(PHOTOS, samples=50_000), CPU) == 64


def test_fewer_epochs_for_more_pictures_and_for_weights_that_have_learnt():
    limits = [training.max_epochs(replace(PHOTOS, samples=count), None).value for count in (10, 300, 3000, 10**7)]
    assert limits == sorted(limits, reverse=True)
    assert (limits[0], limits[-1]) == (150, 5)
    assert training.max_epochs(PHOTOS, PUBLIC).value < training.max_epochs(PHOTOS, None).value
    assert all(training.patience(limit).value >= 5 for limit in limits)


def test_precision_is_the_devices():
    assert training.precision(GPU).value == "bf16-mixed"
    assert training.precision(replace(GPU, bfloat16=False)).value == "16-mixed"
    assert training.precision(CPU).value == "32-true"
    assert training.precision(replace(CPU, bfloat16=True)).value == "bf16-mixed"


def test_the_rate_goes_by_optimizer_batch_and_weights():
    def rate(*arguments):
        return training.rate(PHOTOS, *arguments).value

    assert rate("AdamW", 64, None, "all", True) == training.RATES["adam"][False]
    assert rate("AdamW", 16, None, "all", True) == pytest.approx(training.RATES["adam"][False] / 2)
    assert rate("SGD", 16, None, "all", True) == pytest.approx(training.RATES["sgd"][False] / 4)
    assert rate("AdamW", 64, PUBLIC, "all", True) < rate("AdamW", 64, PUBLIC, "head", True)
    assert training.rate(STREETS, "AdamW", 8, None, "all", True).value == training.RATES["adam"][True]
    assert rate("AdamW", 64, None, "all", False) < rate("AdamW", 64, None, "all", True)
    assert training.rate(PHOTOS, "StochasticDiagonalLM", 64, None, "all", True) is None, "a range test must say it"


def test_the_optimizer_goes_by_the_network():
    assert training.optimizer(PHOTOS, True).value.name == "nesterov"
    assert training.optimizer(PHOTOS, False).value.name == "adamw"
    assert training.optimizer(STREETS, True).value.name == "adamw"


def test_signs_are_not_mirrored():
    assert networks.augmentation(DIGITS).value.name == "digits"
    assert networks.augmentation(replace(DIGITS, channels=3)).value.name == "crop_flip"
    assert networks.augmentation(PHOTOS) is None
    assert networks.augmentation(STREETS) is None


def test_every_choice_has_a_reason():
    choices = [
        networks.network(PHOTOS, CPU, None), networks.input_size(PHOTOS, CPU, None, 30, cheap),
        networks.augmentation(DIGITS), networks.trained(PHOTOS, PUBLIC), networks.stage_decay(PHOTOS, None),
        networks.unfreeze_every(PHOTOS, PUBLIC, 30), training.class_weights(PHOTOS), training.monitor(PHOTOS),
        training.max_epochs(PHOTOS, None), training.patience(30), training.precision(CPU),
        training.rate(PHOTOS, "AdamW", 64, None, "all", True), training.workers(PHOTOS, CPU),
        training.workers(DIGITS, CPU),
    ]  # fmt: skip
    assert all(len(choice.reason) > 3 and "\n" not in choice.reason for choice in choices)
