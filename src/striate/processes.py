"""Processes that a command starts and answers for."""

import ctypes
import os
import signal
import socket
from contextlib import suppress

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """For `preexec_fn`: whoever is killed takes this process along, which saves itself first (Linux; else it ends)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


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
