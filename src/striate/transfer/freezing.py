"""What of a network learns, and from which epoch on. What does not has no gradient, and statistics that stay."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from striate.configuration.schema import Init
from striate.errors import ConfigurationError
from striate.transfer.stages import modules_of, stage_named, stages_of

ALL, HEAD = "all", "head"


@dataclass(frozen=True)
class Learning:
    """The modules of a network by when they learn; all that are not named here do so from the first epoch on.

    Args:
        frozen: names of modules that never learn.
        waiting: the names of the modules of each stage that begins to learn later, in the order in which they do.
        every: epochs after which one stage more learns.
    """

    frozen: tuple[str, ...] = ()
    waiting: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    every: int = 1


def learning_of(network: nn.Module, init: Init, new: Collection[str] = ()) -> Learning:
    """What learns under the `init` group; nothing is changed.

    Args:
        network: any network.
        init: the group.
        new: names of tensors that no weights were loaded for: the stages of such parameters learn from the start, as
            the head does.

    Raises:
        ConfigurationError: a stage that the network does not have, or one that is to learn and to be frozen.
    """
    stages = stages_of(network)
    learns = _learning_stages(network, init, list(stages))
    asked = modules_of(network, init.freeze, "init.freeze")
    if isinstance(init.train, list):
        for stage in learns:
            if set(stages[stage]) <= set(asked):
                raise ConfigurationError(
                    f"init.train and init.freeze both name {stage}", do="leave it out of one of them"
                )
    frozen = [*asked, *(module for stage, own in stages.items() if stage not in learns for module in own)]
    waiting = {}
    if init.unfreeze_every is not None:
        order = [stage for stage in reversed(stages) if stage in learns and not set(stages[stage]) <= set(asked)]
        fresh = set(new) & {name for name, _ in network.named_parameters()}  # a counter does not make a stage new
        waiting = {
            stage: stages[stage] for stage in order[1:] if not any(lies_in(name, stages[stage]) for name in fresh)
        }
        if not waiting:
            raise ConfigurationError(
                f"init.unfreeze_every={init.unfreeze_every}: {', '.join(reversed(order))} learns from the start, so "
                "that there is nothing to unfreeze",
                nearest="init.unfreeze_every=null",
                do="let more stages learn, or load more of them",
            )
    return Learning(tuple(dict.fromkeys(frozen)), waiting, init.unfreeze_every or 1)


def _learning_stages(network: nn.Module, init: Init, stages: list[str]) -> list[str]:
    """The names of the stages that `init.train` lets learn, in order."""
    wanted = init.train
    if wanted == ALL:
        return stages
    if wanted == HEAD:
        return stages[-1:]
    if isinstance(wanted, int):
        if wanted >= len(stages):
            raise ConfigurationError(
                f"init.train={wanted}: {type(network).__name__} has {len(stages) - 1} stages before its classifier",
                nearest="init.train=all",
                do=f"the classifier and the last n of {', '.join(stages[:-1])}: at most {len(stages) - 1}",
            )
        return stages[len(stages) - 1 - wanted :]
    named = {stage_named(network, word, "init.train") for word in wanted}
    return [stage for stage in stages if stage in named]


def freeze(network: nn.Module, frozen: tuple[str, ...]) -> list[str]:
    """Freezes modules for good: no gradient, and evaluation mode through every `.train()` of the task.

    Returns:
        The names of the frozen parameters.

    Raises:
        ConfigurationError: nothing is left that learns.
    """
    before = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    for parameter in parameters_of(network, frozen):
        parameter.requires_grad_(False)
    learns = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    if before and not learns:
        raise ConfigurationError(
            f"init: nothing of {type(network).__name__} is left to learn", nearest="init.train=all",
            do="freeze less, or train more; a classifier without parameters cannot learn alone",
        )  # fmt: skip
    network.frozen_modules = frozen  # type: ignore[assignment]
    for name in frozen:
        network.get_submodule(name).eval()
    return sorted(before - learns, key=list(dict(network.named_parameters())).index)


def lies_in(name: str, modules: Sequence[str]) -> bool:
    """Whether a tensor is one of some modules, by their names."""
    return any(name.startswith(f"{module}.") for module in modules)


def parameters_of(network: nn.Module, modules: tuple[str, ...]) -> Iterator[nn.Parameter]:
    """The parameters of modules, named as the network names them."""
    for name in modules:
        yield from network.get_submodule(name).parameters()
