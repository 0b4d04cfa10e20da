"""The stages of any network, from the picture to the logits: what transfer counts, freezes and gives rates to."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd


def stages_of(network: nn.Module) -> dict[str, tuple[str, ...]]:
    """The stages of a network in order, by name, each with the names of the modules that belong to it.

    First those of `feature_info`; then the layers that lead from the last map to the logits, one stage a layer, or as
    a network with a decoder groups them (`decoder_stages`); the last is the classifier, with all layers whose shape
    depends on the classes and all auxiliary heads. All parameters belong to exactly one stage, and all stages but the
    classifier have some: modules without any belong to the stage before, dropout to the one whose input it thins out.

    A module that is none of the family has a stage for each child with parameters.

    Raises:
        ValueError: a module without parameters.
    """
    classifier = _classifier(network)
    mapped: dict[str, list[str]] = {
        name: list(info.modules) for name, info in getattr(network, "feature_info", {}).items()
    }
    decoder: dict[str, list[str]] = {name: list(own) for name, own in getattr(network, "decoder_stages", {}).items()}
    known = {module for own in (*mapped.values(), *decoder.values(), classifier) for module in own}
    between: dict[str, list[str]] = {}
    for module in _others(network, known):
        if between and isinstance(network.get_submodule(module), _NormBase):
            between[list(between)[-1]].append(module)
        else:
            short = module.removeprefix("backbone.")
            between[module if short in mapped or short in decoder else short] = [module]
    stages: dict[str, list[str]] = {}
    waiting: list[str] = []
    for name, own in (mapped | between | decoder).items():
        modules = [network.get_submodule(module) for module in own]
        if any(True for module in modules for _ in module.parameters()):
            stages[name], waiting = [*waiting, *own], []
        elif stages and not all(isinstance(module, _DropoutNd) for module in modules):
            stages[list(stages)[-1]] += own
        else:
            waiting += own
    last = list(stages)[-1] if stages else ""
    if not set(classifier) <= set(stages.get(last, ())):
        stages[classifier[0]] = [*waiting, *classifier]
    return {name: tuple(own) for name, own in stages.items()}


def _classifier(network: nn.Module) -> list[str]:
    """What depends on the classes, the main classifier first; auxiliary heads as a whole."""
    name = getattr(network, "classifier_name", "")
    if not name:
        children = [name for name, child in network.named_children() if any(True for _ in child.parameters())]
        if not children:
            raise ValueError(f"{type(network).__name__} has no parameters, hence no stages")
        return children[-1:]
    heads = [head.partition(".")[0] for head in getattr(network, "auxiliary_classifiers", ())]
    layers = [name, *(layer for layer in getattr(network, "class_layers", ()) if layer != name)]
    return [layer for layer in layers if layer.partition(".")[0] not in heads] + heads


def _others(network: nn.Module, known: set[str], prefix: str = "") -> Iterator[str]:
    """The largest modules that neither are known nor have a known one inside or around them, in their order."""
    for child, module in network.named_children():
        name = f"{prefix}{child}"
        if name in known:
            continue
        if any(other.startswith(f"{name}.") for other in known):
            yield from _others(module, known, f"{name}.")
        else:
            yield name
