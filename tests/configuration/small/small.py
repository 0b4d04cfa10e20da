"""A small command, whose files the tests break."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from striate.configuration import build, command
from striate.configuration.schema import Component, Components, Paths
from striate.errors import DivergedError, InterruptedRun


@dataclass
class Small:
    seed: Annotated[int, Ge(0)]
    rate: float
    mode: Literal["fast", "slow", "fault", "interrupt", "stop", "diverge", "relaunch"]
    names: list[str | int]
    network: Component
    paths: Paths
    parts: Components | None = None


@command("small", folder=Path(__file__).parent / "conf", schema=Small)
def main(cfg):
    print("torch" in sys.modules, os.environ.get("HYDRA_FULL_ERROR"), "seed", cfg.seed, cfg.paths.data_dir, flush=True)
    if cfg.mode == "slow":
        print(build(cfg.network, out_features=3))
    if cfg.mode == "fault":
        raise KeyError("a fault of the program")
    if cfg.mode == "interrupt":
        raise KeyboardInterrupt
    if cfg.mode == "stop":
        raise InterruptedRun("stopped at step 3", exit_code=143)
    if cfg.mode == "diverge":
        raise DivergedError("the loss is NaN at step 3", do="lower optimizer.lr")
    if cfg.mode == "relaunch":
        from lightning.fabric.strategies.launchers.subprocess_script import _hydra_subprocess_cmd

        words, folder = _hydra_subprocess_cmd(local_rank=1)
        print(json.dumps([words, folder, os.environ["STRIATE_COMPOSED"]]))


if __name__ == "__main__":
    main()
