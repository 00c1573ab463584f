"""From a size to the quality index that reaches it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ganic import images
from ganic.extreme.conditioning import QUALITIES
from ganic.water_filling import BLOCKS, SIDE, RateCurve

TYPICAL_SLOPE = 0.011
"""By how much the logarithm of a photograph's size grows per quality index; the search starts from it."""
TYPICAL_INDEX = 464.6, -29.0, 14.9
"""A photograph's quality index: this, and so much for each doubling of the water level and of bits per pixel.
For ``photo``, over 17 training pictures at three rates, with a standard deviation of 13; the search takes
longer with other models."""
PATCH = 8 * SIDE
"""Side of the patches of a large picture that are looked at, in pixels."""
PATCHES = 8
"""So many in a row and in a column."""
TOLERANCE = 0.03
"""A file is at most this much smaller than its target."""


def expected_index(picture: images.Picture, bpp: float) -> int:
    """The quality index that is likely to give a picture ``bpp`` bits per pixel, before any network has seen
    it."""
    if min(picture.width, picture.height) < SIDE or bpp <= 0:
        return QUALITIES // 2
    constant, per_level, per_rate = TYPICAL_INDEX
    level = RateCurve(_glimpse(picture)).level(bpp)
    index = constant + per_level * math.log2(level) + per_rate * math.log2(bpp)
    return min(max(round(index), 0), QUALITIES - 1)


def _glimpse(picture: images.Picture) -> Tensor:
    """A picture [3, h, w] of grey levels, or patches from all over a large one side by side."""
    corners = [(0, 0)]
    width, height = picture.width, picture.height
    if (width // SIDE) * (height // SIDE) > 4 * BLOCKS and min(width, height) >= PATCH:
        tops, lefts = (np.linspace(0, side - PATCH, PATCHES).astype(int).tolist() for side in (height, width))
        corners = [(left, top) for top in tops for left in lefts]
        width = height = PATCH
    patches = [picture.window(x, y, x + width, y + height) for x, y in corners]
    return torch.from_numpy(np.concatenate(patches, axis=1)).permute(2, 0, 1)


def largest_within(
    limit: int, code: Callable[[int], bytes], first: int = QUALITIES // 2
) -> tuple[bytes | None, bytes]:
    """The largest file within ``limit`` bytes, if there is one, and the smallest file that was tried.

    ``code`` makes the file of a quality index, of ``first`` at first.  The logarithm of the size is close to
    linear in the index, so a secant within a shrinking bracket needs about three trials.
    """
    low, high = -1, QUALITIES  # the best quality known to fit, the worst known not to fit
    best: bytes | None = None
    smallest = b""
    sizes: dict[int, float] = {}
    goal = math.log(max(limit, 1) * (1 - TOLERANCE / 3))
    trial = first
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
