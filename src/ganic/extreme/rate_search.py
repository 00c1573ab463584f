"""From a size to the quality index that reaches it."""

from __future__ import annotations

import math
from collections.abc import Callable

from ganic.extreme.conditioning import QUALITIES

TYPICAL_SLOPE = 0.012
"""By how much the logarithm of a photograph's size grows per quality index; the search starts from it."""
TOLERANCE = 0.03
"""A file is at most this much smaller than its target."""


def largest_within(limit: int, code: Callable[[int], bytes]) -> tuple[bytes | None, bytes]:
    """The largest file within ``limit`` bytes, if there is one, and the smallest file that was tried.

    ``code`` makes the file of a quality index.  The logarithm of the size is close to linear in the index, so
    a secant within a shrinking bracket needs about four trials.
    """
    low, high = -1, QUALITIES  # the best quality known to fit, the worst known not to fit
    best: bytes | None = None
    smallest = b""
    sizes: dict[int, float] = {}
    goal = math.log(max(limit, 1) * (1 - TOLERANCE / 3))
    trial = QUALITIES // 2
    while high - low > 1:
        data = code(trial)
        sizes[trial] = math.log(len(data))
        smallest = min(smallest or data, data, key=len)
        if len(data) <= limit:
            low, best = trial, data
            if len(data) >= limit * (1 - 2 * TOLERANCE / 3):
                break
        else:
            high = trial
        trial = _secant(sizes, goal, low, high)
    return best, smallest


def _secant(sizes: dict[int, float], goal: float, low: int, high: int) -> int:
    """The next quality to try, strictly between ``low`` and ``high``.

    Args:
        sizes: logarithm of the size by quality tried so far.
        goal: logarithm of the size wanted.
    """
    known = low in sizes and high in sizes
    slope = (sizes[high] - sizes[low]) / (high - low) if known else TYPICAL_SLOPE
    anchor = low if low in sizes else high
    guess = anchor + (goal - sizes[anchor]) / max(slope, 1e-3)
    return min(max(round(guess), low + 1), high - 1)
