"""Freed memory is kept: large arrays, made again and again, take no new pages from the system."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
FAULTS = """
import resource, sys
import numpy as np
if sys.argv[1] == "keep":
    from striate.allocation import keep_freed_memory
    keep_freed_memory()
def use():
    np.ones(64 << 20, np.uint8)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such choice")
def test_a_large_array_takes_the_pages_of_the_last_one():
    def faults(word):
        return int(
            subprocess.run([sys.executable, "-c", FAULTS, word], cwd="src", capture_output=True, check=True).stdout
        )

    assert faults("keep") < 100
    assert faults("leave") > 100  # else the test would say nothing
