"""What the classes of others accept more narrowly than their annotations say.

A value out of range is then refused like a wrong type: with the file and line or the command line it came from, before
data are read. Lightning and PyTorch would refuse it late, divide by it, or take it for something else.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

_NUMBER = Annotated[float, Ge(0)]
_COUNT = Annotated[int, Ge(1)]
_RANGES: dict[str, dict[str, Any]] = {
    "lightning.pytorch.trainer.trainer.Trainer": {
        "accelerator": Literal["auto", "cpu", "gpu", "cuda", "mps"],
        "devices": _COUNT | Literal["auto"] | list[int],
        "num_nodes": _COUNT,
        "max_epochs": _COUNT,  # -1 would be for ever, which no schedule can plan for
        "accumulate_grad_batches": _COUNT,
        "gradient_clip_val": Annotated[float, Gt(0)] | None,  # 0 and below would mean none
        "gradient_clip_algorithm": Literal["norm", "value"] | None,
        "check_val_every_n_epoch": _COUNT,
        "log_every_n_steps": _COUNT,
        "profiler": Literal["simple", "advanced", "pytorch"] | None,
    },
    "torch.optim.optimizer.Optimizer": {
        "lr": _NUMBER,
        "momentum": _NUMBER,
        "weight_decay": _NUMBER,
        "eps": _NUMBER,
    },
}


def ranges(target: Callable[..., Any]) -> dict[str, Any]:
    """Annotations by parameter for a class that the table knows, itself or by a base class."""
    found: dict[str, Any] = {}
    for owner in getattr(target, "__mro__", ()):
        found |= _RANGES.get(f"{owner.__module__}.{owner.__qualname__}", {})
    return found
