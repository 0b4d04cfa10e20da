"""Processes that a command starts and answers for, and the GPUs that each of them gets."""

import ctypes
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from itertools import takewhile

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """For `preexec_fn`: whoever is killed takes this process along, which saves itself first (Linux; else it ends)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def gpus_of_worker(
    environment: Mapping[str, str], there: int, slot: int, workers: int, each: int | None = None
) -> str | None:
    """What CUDA_VISIBLE_DEVICES shall be for one of several workers, lest all of them take the first GPU.

    Args:
        environment: of the worker; where it has the variable already, as under SLURM, only the GPUs named there count.
        there: GPUs of the machine, for an environment without it.
        slot: which worker, from 0.
        workers: how many work at a time.
        each: GPUs that a worker uses; None: its even share of all.

    Returns:
        None where there is nothing to divide.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    words = map(str, range(there)) if named is None else (word.strip() for word in named.split(","))
    gpus = list(takewhile(lambda word: word and not word.startswith("-"), words))  # CUDA's list ends likewise
    if workers < 2 or len(gpus) < 2:
        return None
    if each is None:
        return ",".join(gpus[slot % len(gpus) :: workers])
    return ",".join(gpus[(slot * each + number) % len(gpus)] for number in range(min(each, len(gpus))))


def is_gone(host: str, pid: int) -> bool:
    """Whether a process has ended; of one on another machine nothing can be said, so it has not."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
