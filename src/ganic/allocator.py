"""Memory that a process frees and soon needs again."""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""mallopt's names in malloc.h of glibc."""
LARGEST = 32 << 20
"""Bytes; mallopt allows no larger MMAP_THRESHOLD."""
OWN = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX")


def keep_freed_memory() -> bool:
    """Tell glibc not to give freed memory back to the system; returns whether it will.

    Networks that run again and again allocate and free the same hundreds of megabytes, and the system zeroes
    every page anew: a quarter of the time of a latent search over many pictures.  All threads share one
    arena, because the other ones' heaps go back whenever they are empty.  For processes of our own only,
    since it changes the whole process; does nothing with other allocators, and where the environment already
    says what glibc should do.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in OWN):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    settings = ((MMAP_THRESHOLD, LARGEST), (TRIM_THRESHOLD, 2**31 - 1), (ARENA_MAX, 1))
    return all(mallopt(name, value) for name, value in settings)


def expect_large_blocks() -> None:
    """Have glibc keep up to 64 MiB of freed memory, as it does by itself after a block of 32 MiB was freed.

    Decoding a picture of half a megapixel frees less at once, and a tenth of its time is then the system's
    zeroing of the same pages again and again.  Costs microseconds: nothing touches the block.
    """
    import numpy as np

    np.empty(LARGEST - (1 << 16), np.uint8)
