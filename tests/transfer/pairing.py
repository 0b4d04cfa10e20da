"""The networks of other libraries with random weights, and ours with the same, for tests."""

import warnings

import torch
from foreign_networks import ScriptResNet20
from torch import Tensor, nn

from striate.configuration import build
from striate.transfer.foreign import translate
from striate.transfer.pairs import CIFAR_RESNET, PAIRS, Pair
from striate.transfer.reading import WeightFile
from striate.transfer.report import TransferReport
from striate.transfer.weights import load_weights

SCRIPT = f"{CIFAR_RESNET}-resnet20"
NAMES = {
    name: pair
    for pair in PAIRS
    if (name := f"{pair.library}-{pair.name}") == SCRIPT or pair.published  # other depths: the same mapping
}


def theirs(pair: Pair, num_classes: int = 1000) -> nn.Module:
    """The library's own network, with auxiliary heads where it has any."""
    if pair.library == CIFAR_RESNET:
        return ScriptResNet20(num_classes)
    if pair.library == "torchvision":
        import torchvision

        heads = {"aux_logits": True, "init_weights": False} if pair.name == "googlenet" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torchvision.models.get_model(pair.name, weights=None, num_classes=num_classes, **heads)
    import timm

    return timm.create_model(pair.name, pretrained=False, num_classes=num_classes)


def ours(pair: Pair, num_classes: int = 1000, **options) -> nn.Module:
    """Our network in the variant that the pair names."""
    node = {"_target_": pair.target, **pair.when, **pair.requires, **options}
    return build(node, "model", num_classes=num_classes, in_channels=3)


@torch.no_grad()
def randomise(network: nn.Module, seed: int = 0) -> None:
    """Weights, scales, shifts and running statistics that leave no layer without effect, of any depth."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


def carry_over(pair: Pair, source: nn.Module, target: nn.Module) -> TransferReport:
    """The tensors of the library's network into ours, by the pair's mapping, nothing left out."""
    weights, _ = translate(target, WeightFile(None, "state dict", source.state_dict()), pair.mapping)  # type: ignore[arg-type]
    return load_weights(target, weights, [], source=pair.name, new_head=False, optional=pair.unused)


def silence_dropout(network: nn.Module) -> nn.Module:
    """Training mode without chance."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def error(got: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value expected."""
    return ((got - expected).abs().max() / expected.abs().max()).item()
