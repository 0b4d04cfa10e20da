"""What a run says on the screen: once, by the process that speaks for all."""

import os
from pathlib import Path


def is_main_process() -> bool:
    """Whether this process speaks for all (another process of the run has not started it)."""
    return int(os.environ.get("LOCAL_RANK", 0)) == 0 and int(os.environ.get("RANK", 0)) == 0


def say(text: str) -> None:
    """Prints on the main process."""
    if is_main_process():
        print(text, flush=True)


def shown(path: Path) -> str:
    """A path as a person would type it from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def calm_libraries() -> None:
    """Silences what Lightning and PyTorch say about themselves; their warnings about the run stay."""
    import logging
    import warnings

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for known in (
        ".*isinstance.treespec, LeafSpec.*",  # Lightning 2.6 on the newest torch
        ".*does not have many workers.*",  # the number of workers is our own choice
        ".*number of training batches.*smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*Found .* module.s. in eval mode at the start of training.*",  # frozen stages
        ".*`lr_scheduler.step.*before `optimizer.step.*",  # also said of a resumed run
        ".*sync_dist=True.*",  # the sums are the same on all processes already
    ):
        warnings.filterwarnings("ignore", message=known)
