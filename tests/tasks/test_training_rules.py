"""What a task does beside the plain step: auxiliary heads, curvatures before each epoch, the size of the picture."""

import csv

import pytest
import torch
from torch import nn

from striate import runs
from striate.data.loading import Batch
from striate.data.preprocessing import Preprocessing
from striate.errors import ConfigurationError, StorageError
from striate.optim.levenberg_marquardt import StochasticDiagonalLM
from striate.optim.losses import CrossEntropy
from striate.storage import load_checkpoint
from striate.tasks.building import build_network, construct_network
from striate.tasks.classification import ClassificationTask
from striate.tasks.loading import load_task

MLP = {"_target_": "striate.models.mlp.MLP"}


class ThreeHeads(nn.Module):
    """A trunk with a main and two auxiliary heads."""

    auxiliary_weights = (0.3, 0.2)

    def __init__(self):
        super().__init__()
        self.trunk, self.main = nn.Linear(12, 8), nn.Linear(8, 5)
        self.heads = nn.ModuleList([nn.Linear(8, 5), nn.Linear(8, 5)])

    def forward(self, x):
        return self.main(self.trunk(x.flatten(1)).tanh())

    def forward_aux(self, x):
        trunk = self.trunk(x.flatten(1)).tanh()
        return (self.main(trunk), *(head(trunk) for head in self.heads))


@pytest.mark.parametrize("class_weights", [None, [1.0, 2.0, 0.5, 1.0, 3.0]])
def test_training_minimises_the_weighted_losses_of_all_heads(class_weights):
    torch.manual_seed(0)
    loss = CrossEntropy(class_counts=[1] * 5, class_weights=class_weights)
    task = ClassificationTask(ThreeHeads(), Preprocessing(3, (0.5,) * 3, (0.2,) * 3), 5, loss)
    task._trainer = type("Trainer", (), {"world_size": 1, "accumulate_grad_batches": 1})()
    images = torch.randint(0, 256, (7, 2, 2, 3), dtype=torch.uint8)
    batch = Batch(images, torch.randint(0, 5, (7,)), torch.arange(7))
    logits = task.network.forward_aux(task.preprocessing.normalise(images))
    means = [loss.reduce(loss(each, batch.targets), batch.targets) for each in logits]
    expected = means[0] + 0.3 * means[1] + 0.2 * means[2]
    found = task.training_step(batch, 0)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert all(parameter.grad is not None for parameter in task.network.parameters())
    samples, weight, total, errors = task._epoch_sums().tolist()
    assert total / weight == pytest.approx(expected.item(), rel=1e-5)
    assert (samples, errors) == (7, (logits[0].argmax(1) != batch.targets).sum().item())
    assert task._evaluate(batch).shape == (7, 5)


def test_the_curvature_is_measured_once_an_epoch_on_samples_of_seed_and_epoch(train, monkeypatch, tmp_path):
    seen = []
    original = StochasticDiagonalLM.estimate

    def estimate(self, network, loss, batches):
        batches = list(batches)
        seen.append((torch.cat([inputs for inputs, _ in batches]), torch.cat([targets for _, targets in batches])))
        original(self, network, loss, batches)

    monkeypatch.setattr(StochasticDiagonalLM, "estimate", estimate)
    words = ["model=lenet5", "optimizer=sdlm", "optimizer.samples=130", "optimizer.lr=0.0001", "loss=map", "test=false"]
    words += ["data.samples_per_class=20", "data.batch_size=50", "trainer.max_epochs=2"]
    for run, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(*words, f"seed={seed}", f"run_dir={tmp_path / run}")
    assert [len(targets) for _, targets in seen] == [130] * 6
    first, second = seen[:2]
    assert not torch.equal(first[1], second[1])
    for (inputs, targets), (again, same) in zip(seen[:2], seen[2:4], strict=True):
        assert torch.equal(inputs, again)
        assert torch.equal(targets, same)
    assert not torch.equal(seen[4][1], first[1])
    state = load_checkpoint(runs.newest_checkpoint(tmp_path / "a" / "checkpoints"))["optimizer_states"][0]["state"]
    assert all((entry["curvature"] >= 0).all() and (entry["curvature"] > 0).any() for entry in state.values())


@pytest.mark.slow
def test_lenet5_learns_the_digits_by_the_papers_rule(train):
    figures = train(
        "model=lenet5", "optimizer=sdlm", "optimizer.lr=0.0001", "optimizer.mu=0.1", "loss=map", "data.batch_size=1",
        "scheduler=constant", "trainer.max_epochs=4",
    )  # fmt: skip
    assert figures["test/top1_micro"] > 0.9


def test_a_network_whose_curvature_has_no_rule_is_refused_in_a_line(train, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        train("model=resnet20", "optimizer=sdlm", "trainer.max_epochs=1")
    assert "no rule for the curvature of" in str(caught.value)
    assert "CifarResNet" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
    assert not any((tmp_path / "runs").glob("*")), "nothing was begun"


def test_the_size_of_the_picture_reaches_the_networks_that_ask_for_it(digits):
    meta = digits.meta
    assert construct_network(MLP, meta).fc1.in_features == 1024
    assert build_network(MLP, meta, 0, (12, 9)).fc1.in_features == 108
    assert construct_network({**MLP, "image_size": [5, 4]}, meta).fc1.in_features == 20
    assert construct_network({"_target_": "striate.models.lenet5.LeNet5"}, meta, (5, 5)).num_classes == 10
    first, second = (build_network(MLP, meta, 3).fc1.weight for _ in range(2))
    assert torch.equal(first, second)


def test_a_perceptron_sees_the_crop_of_an_encoded_pack_and_loads_again(train, tmp_path):
    words = ["data.name=digits_encoded_mlp", "data.prepare.pack=encoded", "data.prepare.image_size=null"]
    words += [
        "data.input_size=16",
        "augmentation=none",
        "model=mlp",
        "trainer.max_epochs=1",
        "data.samples_per_class=8",
    ]
    train(*words, "data.batch_size=all", f"run_dir={tmp_path / 'run'}")
    task, _ = load_task(runs.resolve_checkpoint(str(tmp_path / "run"), tmp_path))
    assert task.network.image_size == (16, 16)


def test_the_patience_of_a_plateau_counts_validations(train, tmp_path):
    train(
        "model=mlp", "data.samples_per_class=8", "augmentation=none", "optimizer=sgd", "optimizer.lr=0.1", "test=false",
        "scheduler=plateau", "scheduler.patience=1", "scheduler.threshold=9", "trainer.max_epochs=8",
        "trainer.check_val_every_n_epoch=2", f"run_dir={tmp_path / 'run'}",
    )  # fmt: skip
    with open(tmp_path / "run" / "history.csv", newline="", encoding="utf-8") as stream:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(stream)]
    # The first validation is the best, the two after it are not: the rate falls when the sixth epoch ends.
    assert rates == pytest.approx([0.1] * 5 + [0.01] * 3)


def test_a_checkpoint_of_an_unknown_task_is_refused(trained, tmp_path):
    content = load_checkpoint(runs.resolve_checkpoint(str(trained), trained))
    content["striate"]["config"]["task"]["kind"] = "clasification"
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises((ConfigurationError, StorageError), match="there is no such task"):
        load_task(tmp_path / "other.ckpt")
    del content["striate"]["config"]["task"]["kind"]  # a checkpoint from before there were several
    torch.save(content, tmp_path / "older.ckpt")
    assert type(load_task(tmp_path / "older.ckpt")[0]) is ClassificationTask
