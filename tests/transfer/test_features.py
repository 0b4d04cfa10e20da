"""What stages hand on: of every network of the family, and of others."""

import pytest
import torch
from torch import nn

from striate.configuration import FOLDER, compose
from striate.configuration.building import build
from striate.errors import ConfigurationError
from striate.transfer.features import PIXELS, handed_on, pooled, probed_stages, weights_digest
from striate.transfer.stages import stages_of

MODELS = sorted(path.stem for path in (FOLDER / "model").glob("*.yaml"))
HEAVY = ("110", "1202", "152", "101", "56", "44", "34", "32", "13", "19")


def built(model: str) -> nn.Module:
    node = compose("train", [f"model={model}", "data=cifar10"], strict=False).model
    torch.manual_seed(0)
    with torch.device("meta"):
        size = {"image_size": (28, 28)} if model == "mlp" else {}
        return build(node, "model", num_classes=10, in_channels=1 if model.startswith(("mlp", "lenet")) else 3, **size)


@pytest.mark.parametrize("model", [name for name in MODELS if not name.endswith(HEAVY)])
def test_every_stage_of_every_classifier_hands_something_on(model):
    network = built(model).eval()
    if network.labels_pixels:
        pytest.skip("labels pixels")
    stages = probed_stages(network, "all")
    assert stages == [PIXELS, *list(stages_of(network))[:-1]]
    side = getattr(network, "paper_input", (3, 224, 224))[1]
    channels = network.in_channels
    with torch.no_grad(), handed_on(network, stages) as seen:
        network(torch.empty(2, channels, side, side, device="meta"))
    assert list(stages) == [stage for stage in stages if stage in seen]
    assert seen[PIXELS].flatten(1).shape == (2, channels * side * side)
    classifier = network.get_submodule(network.classifier_name)
    assert seen[stages[-1]].flatten(1).shape[1] == getattr(classifier, "in_features", network.num_features)
    for stage in stages:
        vectors = pooled(seen[stage], 1024)
        assert vectors.ndim == 2
        assert vectors.shape[1] <= max(1024, seen[stage].shape[1])


def test_what_is_handed_on_makes_the_logits():
    network = tiny()
    pictures = torch.randn(3, 3, 16, 16)
    with torch.no_grad(), handed_on(network, probed_stages(network, "all")) as seen:
        logits = network(pictures)
    assert torch.equal(seen[PIXELS], pictures)
    assert torch.allclose(network.fc(seen["conv2"].flatten(1)), logits)
    seen.clear()
    network(pictures)
    assert not seen  # nothing is kept once it is closed


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.conv2(torch.relu(self.conv1(x)))).mean((2, 3)))


def tiny():
    torch.manual_seed(0)
    return Tiny().eval()


def test_stages_by_name_and_number():
    network = tiny()
    assert probed_stages(network, "last") == ["conv2"]
    assert probed_stages(network, [-2, "conv1", PIXELS]) == [PIXELS, "conv1", "conv2"]
    for wanted, message in ((["fc"], "is the classifier"), ([-1], "is the classifier"), ([], "none")):
        with pytest.raises(ConfigurationError, match=message):
            probed_stages(network, wanted)
    with pytest.raises(ConfigurationError, match="no stage 'conv3'") as refusal:
        probed_stages(network, ["conv3"])
    assert refusal.value.nearest in ("conv1", "conv2")


def test_maps_are_averaged_over_the_finest_grid_that_is_small_enough():
    maps = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    assert torch.equal(pooled(maps, 192), maps.flatten(1))
    assert torch.allclose(pooled(maps, 191)[0, :7], torch.nn.functional.adaptive_avg_pool2d(maps, 7)[0, 0, 0])
    assert torch.allclose(pooled(maps, 12), torch.nn.functional.avg_pool2d(maps, 4).flatten(1))
    assert torch.allclose(pooled(maps, 1), maps.mean((2, 3)))
    assert torch.equal(pooled(maps[:, :, 0, 0], 1), maps[:, :, 0, 0])


def test_the_digest_knows_every_weight_but_the_classifiers():
    one, other = tiny(), tiny()
    assert weights_digest(one) == weights_digest(other)
    nn.init.zeros_(other.fc.weight)
    assert weights_digest(one) == weights_digest(other)
    with torch.no_grad():
        other.conv1.bias[0] += 1e-6
    assert weights_digest(one) != weights_digest(other)
