"""What must not leave the machine with a configuration: keys of services, passwords in addresses."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

SECRET = re.compile(r"(^|[_-])(api_?key|access_?key|key|token|password|passwd|secret|credentials?)$", re.IGNORECASE)
PASSWORD = re.compile(r"(\w+://[^/\s:@]*):[^/\s]+@")
MASK = "***"


def masked(value: Any, key: str = "") -> Any:
    """Plain data with secrets replaced by `***`: values of keys such as `api_key`, passwords in URLs."""
    if isinstance(value, Mapping):
        return {name: masked(entry, str(name)) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [masked(entry, key) for entry in value]
    if value is not None and SECRET.search(key):
        return MASK
    return PASSWORD.sub(rf"\1:{MASK}@", value) if isinstance(value, str) else value


def masked_command(line: str) -> str:
    """A command line of words KEY=VALUE without its secrets."""
    words = [word.partition("=") for word in shlex.split(line)]
    return shlex.join(f"{key}{equals}{masked(value, key.rpartition('.')[2])}" for key, equals, value in words)
