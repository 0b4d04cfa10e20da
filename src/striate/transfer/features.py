"""What the stages of a network make of pictures: vectors, to which a simple classifier can be fitted."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from striate.errors import ConfigurationError
from striate.transfer.stages import stage_named, stages_of

PIXELS = "pixels"  # before the first stage: what the network itself sees


def probed_stages(network: nn.Module, wanted: str | Sequence[str | int]) -> list[str]:
    """The stages that a person means, in the order of the network.

    Args:
        network: any network.
        wanted: "last" for the one before the classifier, "all" for the pixels and every stage before the classifier, or
            names and numbers of stages.

    Raises:
        ConfigurationError: there is no such stage, or it is the classifier.
    """
    *stages, classifier = stages_of(network)
    if wanted in ("last", "all"):
        return [PIXELS, *stages] if wanted == "all" or not stages else stages[-1:]
    words = [wanted] if isinstance(wanted, str | int) else wanted
    named = {PIXELS if word == PIXELS else stage_named(network, word, "stages") for word in words}
    if classifier in named or not named:
        raise ConfigurationError(
            f"stages: {classifier} is the classifier, in whose place the probe comes" if named else "stages=[]: none",
            nearest=f"stages=[{stages[-1] if stages else PIXELS}]",
            do=f"choose among {', '.join((PIXELS, *stages))}",
        )
    return [name for name in (PIXELS, *stages) if name in named]


@contextmanager
def handed_on(network: nn.Module, stages: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """While it is open, each pass through a network leaves what these stages hand on to the next one, by their names.

    That is the input of the next stage's first layer with parameters: after activation, pooling and whatever else lies
    between them.
    """
    order, seen = stages_of(network), dict[str, Tensor]()
    following = dict(zip((PIXELS, *order), order.values(), strict=False))

    def keep(stage: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[stage] = inputs[0]

        return hook

    handles = []
    for stage in stages:
        modules = [network.get_submodule(name) for name in following[stage]]
        # LeNet-5's own classifier has codes that never change instead of parameters.
        first = next((module for module in modules if any(True for _ in module.parameters())), modules[0])
        handles.append(first.register_forward_pre_hook(keep(stage)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def pooled(features: Tensor, most: int) -> Tensor:
    """Vectors (N, D) of what a stage hands on.

    A map (N, C, H, W) with more than `most` numbers is averaged over the cells of the finest grid that leaves no more,
    as in Zhang et al. 2016 (arXiv:1603.08511, section 3.2); one cell, which leaves C, is the least.
    """
    if features.ndim != 4 or features[0].numel() <= most:
        return features.flatten(1)
    channels, height, width = features.shape[1:]
    side = max(1, int((most / channels) ** 0.5))
    return adaptive_avg_pool2d(features, (min(side, height), min(side, width))).flatten(1)


def weights_digest(network: nn.Module) -> str:
    """The SHA-256 of all weights and buffers but those of the classifier, with their names."""
    classifier = tuple(f"{name}." for name in list(stages_of(network).values())[-1])
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not name.startswith(classifier):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
