"""Whether a W&B server would take a run, asked before W&B's own client is let loose on it, which waits and retries."""

import base64
import json
import netrc
import os
import threading
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

PATIENCE = 1.5  # seconds to wait for an answer


def key() -> str | None:
    """The key with which a person has logged in, or None."""
    if found := os.environ.get("WANDB_API_KEY"):
        return found
    place, server = os.environ.get("NETRC"), urlsplit(_address())
    try:
        known = netrc.netrc(place and os.path.expanduser(place))
    except (OSError, netrc.NetrcParseError):
        return None
    # W&B keeps the key of a server under its name with the port; earlier versions did so without.
    entry = known.authenticators(server.netloc) or known.authenticators(server.hostname or "")
    return entry[2] if entry else None


def fault() -> str | None:
    """Why the server would not take a run, or None: it is asked who is logged in, and must answer at once."""
    host = urlsplit(_address()).hostname
    said: list[str | None] = []

    def ask() -> None:
        try:
            said.append(_login_fault())
        except (OSError, ValueError, HTTPException) as error:
            said.append(f"{host} does not answer ({error})")

    # Neither name look-up nor a server that sends byte after byte ends by a time-out of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return said[0] if said else f"{host} does not answer within {PATIENCE:g} s"


def _address() -> str:
    """Of the environment, else of `wandb login --host`, which W&B keeps in its settings; else W&B's own."""
    if (given := os.environ.get("WANDB_BASE_URL")) is None:
        from wandb.sdk.wandb_setup import singleton  # late: it is an import of a second

        given = singleton().settings.base_url
    return given.rstrip("/")


def _login_fault() -> str | None:
    login = base64.b64encode(f"api:{key() or ''}".encode()).decode()
    request = urllib.request.Request(
        f"{_address()}/graphql",
        data=b'{"query": "{ viewer { id } }"}',
        headers={"Content-Type": "application/json", "Authorization": f"Basic {login}", "User-Agent": "striate"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        viewer = (json.loads(answer.read(1 << 16)).get("data") or {}).get("viewer")
    return None if viewer else f"{urlsplit(_address()).hostname} does not know this login (wandb login)"
