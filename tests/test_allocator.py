"""Freed memory stays with the process: measured from outside, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import torch
from ganic.allocator import keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

if "keep" in sys.argv:
    print(keep_freed_memory())
before = resident()
# 28 MB each, and once: at first glibc maps such blocks one by one; later it depends on what was freed.
tensors = [torch.ones(7 << 20) for _ in range(16)]
most = resident() - before
del tensors
print((resident() - before) / most)
"""


def share_kept(*arguments: str, **environment: str) -> list[str]:
    made = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return made.stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_freed_memory_stays() -> None:
    kept, share = share_kept("keep")
    if kept != "True":
        pytest.skip("the allocator is not glibc's, or the environment speaks for it")
    assert float(share) > 0.9
    assert float(share_kept()[0]) < 0.5


def test_the_environment_goes_first() -> None:
    assert share_kept("keep", MALLOC_TRIM_THRESHOLD_="1000000")[0] == "False"


FAULTS = """
import resource, sys
import numpy as np
from ganic.allocator import expect_large_blocks

if "expect" in sys.argv:
    expect_large_blocks()

def use():
    blocks = [np.ones(3 << 18) for _ in range(6)]

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_pages_of_freed_blocks_are_used_again() -> None:
    def faults(*arguments: str) -> int:
        command = [sys.executable, "-c", FAULTS, *arguments]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    usual = faults()
    if usual < 10_000:
        pytest.skip("this allocator keeps them by itself")
    assert faults("expect") < 0.01 * usual
