"""Fixtures of all tests."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest


def _free_port() -> str:
    """Not one of those that systems hand out by themselves: whoever connects before the other one listens
    could be given that very port, and would then wait for itself."""
    for port in random.SystemRandom().sample(range(20000, 32000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return str(port)
    raise AssertionError("no free port")


@pytest.fixture
def run_as_two() -> Callable[..., None]:
    """Runs Python with the arguments given in two processes that know of each other, as torchrun does."""

    def run(*arguments: str) -> None:
        port = _free_port()
        team = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, *arguments]
        processes = [subprocess.Popen(command, env=team | {"RANK": str(rank)}) for rank in range(2)]
        try:
            deadline = time.monotonic() + 300
            while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
                if any(process.poll() for process in processes):
                    break  # the other one would wait for it
                time.sleep(0.05)
            assert [process.poll() for process in processes] == [0, 0]
        finally:
            for process in processes:
                process.kill()
                process.wait()

    return run
