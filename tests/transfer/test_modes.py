"""Every mode of transfer on real digits: what must not move stays to the bit, what must move has moved."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.callbacks.unfreezing import Unfreezing
from striate.configuration.schema import Init
from striate.data.preprocessing import Preprocessing
from striate.models.deeplab_v3 import DeepLabV3
from striate.models.googlenet import GoogLeNet
from striate.models.lenet5 import LeNet5
from striate.models.mobilenet import MobileNet
from striate.models.resnet import CifarResNet, ResNet
from striate.models.stages import stages_of
from striate.models.unet import UNet
from striate.models.vgg import VGG
from striate.optim.losses import CrossEntropy
from striate.tasks.building import stage_rates
from striate.tasks.classification import ClassificationTask
from striate.transfer.freezing import freeze, learning_of

CLASSIFIERS = {
    "lenet5": partial(LeNet5, form="modern"),
    "resnet8": partial(CifarResNet, depth=8, widths=(4, 8, 16)),
    "mobilenet": partial(MobileNet, width_multiplier=0.25, shallow=True),
    "vgg": partial(
        VGG, configuration="A", batch_norm=True, widths=(4, 4, 8, 8, 8), hidden=16, pooled_size=1, initialisation="he"
    ),
    "googlenet": partial(GoogLeNet, batch_norm=True, auxiliary=True),
}
LABELLERS = {
    "unet": partial(UNet, widths=(4, 8, 16), padding="same", batch_norm=True),
    "deeplab_v3": partial(
        DeepLabV3, backbone=partial(ResNet, depth=18, widths=(4, 4, 8, 8), output_stride=16), width=8, multi_grid=None,
        auxiliary=True,
    ),
}  # fmt: skip
NETWORKS = CLASSIFIERS | LABELLERS
MODES = {
    "first stage, by number": {"freeze": [1]},
    "middle stage, by number": {"freeze": [2]},
    "head only": {"train": "head"},
    "head and the last": {"train": 1},
    "one from the end": {"train": [-2]},
    "all": {},
}


@pytest.fixture(scope="module")
def batch(digits):
    """Sixteen pictures of digits, (N, H, W, C) bytes, and their classes."""
    chosen = digits.dataset("train")[(0, torch.arange(16).numpy())]
    return chosen.images, chosen.targets


def task_of(network: nn.Module, decay: float = 1.0) -> ClassificationTask:
    return ClassificationTask(
        network, Preprocessing(1, (0.2,), (0.3,), {}), 10, CrossEntropy(class_counts=[100] * 10),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01),
        rates=stage_rates(network, decay),
    )  # fmt: skip


def train(task: ClassificationTask, batch: tuple[Tensor, Tensor], optimizer=None, steps: int = 3) -> None:
    """Steps as the Trainer makes them, heads beside the main one included."""
    images, targets = batch
    optimizer = optimizer or task.configure_optimizers()["optimizer"]
    task.train()
    for _ in range(steps):
        inputs = task._inputs(images)
        labels = (inputs[:, 0] > 0).long() if getattr(task.network, "labels_pixels", False) else targets
        task.optimizer_zero_grad(0, 0, optimizer)
        sum(F.cross_entropy(logits, labels) for logits in task.network.forward_aux(inputs)).backward()
        optimizer.step()


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def of_stages(network: nn.Module, stages) -> set[str]:
    own = stages_of(network)
    modules = [module for stage in stages for module in own[stage]]
    return {name for name in network.state_dict() if any(name.startswith(f"{module}.") for module in modules)}


def require_moved(network: nn.Module, before: dict[str, Tensor], learning: set[str]) -> None:
    """All of the learning stages has moved, weights and statistics; nothing else has, to the bit."""
    after = network.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert not moved - of_stages(network, learning)
    fixed = {"pairs", "codes"}
    expected = {name for name in of_stages(network, learning) if name.rpartition(".")[2] not in fixed}
    assert expected <= moved, sorted(expected - moved)


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_what_moves(batch, name, mode):
    torch.manual_seed(1)
    network = NETWORKS[name](10, 1)
    stages = list(stages_of(network))
    learning = {
        "first stage, by number": stages[1:],
        "middle stage, by number": [stages[0], *stages[2:]],
        "head only": stages[-1:],
        "head and the last": stages[-2:],
        "one from the end": stages[-2:-1],
        "all": stages,
    }[mode]
    freeze(network, learning_of(network, Init("none", **MODES[mode])).frozen)
    before = state(network)
    train(task_of(network), batch)
    require_moved(network, before, set(learning))


@pytest.mark.parametrize("name", NETWORKS)
def test_frozen_stages_at_the_picture_build_no_graph(batch, name):
    network = NETWORKS[name](10, 1)
    stages = stages_of(network)
    freeze(network, learning_of(network, Init("none", train="head")).frozen)
    met: list[tuple[bool, bool]] = []
    for module in (module for own in list(stages.values())[:-1] for module in own):
        network.get_submodule(module).register_forward_hook(
            lambda module, _, output: met.append((output.requires_grad, module.training))
        )
    train(task_of(network), batch, steps=1)
    assert met
    assert not any(grad or training for grad, training in met)


@pytest.mark.parametrize("name", ["resnet8", "vgg", "unet"])
def test_gradual_unfreezing(batch, name):
    torch.manual_seed(2)
    network = NETWORKS[name](10, 1)
    stages = list(stages_of(network))
    task = task_of(network)
    learning = learning_of(network, Init("none", unfreeze_every=2, freeze=[1]))
    freeze(network, learning.frozen)
    optimizer = task.configure_optimizers()["optimizer"]
    groups = [len(group["params"]) for group in optimizer.param_groups]
    callback = Unfreezing(learning.waiting, learning.frozen, learning.every)
    for epoch in range(2 * len(stages)):
        trainer = SimpleNamespace(current_epoch=epoch)
        if epoch == 0:
            callback.on_train_start(trainer, task)
        callback.on_train_epoch_start(trainer, task)
        before = state(network)
        train(task, batch, optimizer, steps=2)
        awake = min(1 + epoch // 2, len(stages) - 1)
        require_moved(network, before, set(stages[-awake:]))
        assert [len(group["params"]) for group in optimizer.param_groups] == groups
    again = Unfreezing(learning.waiting, learning.frozen, learning.every)
    again.on_train_start(SimpleNamespace(current_epoch=2), task)  # a function of the epoch: also backwards
    before = state(network)
    train(task, batch, optimizer, steps=2)
    require_moved(network, before, set(stages[-2:]))


def test_a_kernel_that_never_learns_stays_when_its_stage_wakes(batch):
    network = CLASSIFIERS["resnet8"](10, 1)
    network.conv3_x.conv3_1.conv1.weight.requires_grad_(False)
    learning = learning_of(network, Init("none", unfreeze_every=1, freeze=["conv4_x.conv4_1.bn1"]))
    freeze(network, learning.frozen)
    task, callback = task_of(network), Unfreezing(learning.waiting, learning.frozen, 1)
    optimizer, before = task.configure_optimizers()["optimizer"], state(network)
    for epoch in range(6):
        callback.on_train_epoch_start(SimpleNamespace(current_epoch=epoch), task)
        train(task, batch, optimizer, steps=1)
    after = network.state_dict()
    still = {name for name in after if torch.equal(before[name], after[name])}
    norm = {name for name in after if name.startswith("conv4_x.conv4_1.bn1.")}
    assert still == {"conv3_x.conv3_1.conv1.weight", *norm}


@pytest.mark.parametrize("name", ["lenet5", "deeplab_v3"])
def test_rates_fall_from_stage_to_stage(name):
    network = NETWORKS[name](10, 1)
    task = task_of(network, decay=0.5)
    rates = {
        parameter: group["lr"]
        for group in task.configure_optimizers()["optimizer"].param_groups
        for parameter in group["params"]
    }
    for index, own in enumerate(reversed(stages_of(network).values())):
        for parameter in (p for module in own for p in network.get_submodule(module).parameters()):
            assert rates[parameter] == pytest.approx(0.05 * 0.5**index, rel=1e-9)


def test_rates_of_stages_backbone_and_biases_multiply():
    network = LABELLERS["deeplab_v3"](10, 1)
    task = ClassificationTask(
        network, Preprocessing(1, (0.2,), (0.3,), {}), 10, CrossEntropy(class_counts=[100] * 10),
        optimizer=partial(torch.optim.SGD, lr=1.0, weight_decay=0.01), backbone_rate=0.1, bias_rate=2.0,
        rates=stage_rates(network, 0.5),
    )  # fmt: skip
    groups = task.configure_optimizers()["optimizer"].param_groups
    rates = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    assert rates[network.classifier.bias] == 2.0
    assert rates[network.classifier.weight] == 1.0
    assert rates[network.backbone.conv5_x[0].conv1.weight] == pytest.approx(0.1 * 0.25)
    assert rates[network.backbone.conv1.weight] == pytest.approx(0.1 * 0.5**6)
    assert len({group["name"] for group in groups}) == len(groups)
