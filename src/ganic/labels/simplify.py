"""Label maps with fewer bends and specks, so that they cost fewer bytes.

The change is bounded: with radius r, the new label of a pixel is one that the original map has at most r
columns and at most r rows away. So an outline moves by at most r pixels, nothing appears where it was not,
and what is wider than 2 r pixels in both directions cannot vanish. What is thinner can.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ganic.errors import UsageError

__all__ = ["MAX_RADIUS", "simplify"]

MAX_RADIUS: Final = 64
_MOST_ROUNDS: Final = 8
_STRIP_PIXELS: Final = 1 << 20


def simplify(labels: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """``labels`` uint8 [h, w] simplified within ``radius`` 0 .. MAX_RADIUS; radius 0 changes nothing.

    Every round gives each pixel the label that is most frequent in the square of 2 radius + 1 pixels around
    it, of those that the original map has in that square; a tie leaves it as it is, or if its own label is
    not among the tied, takes the lowest. Rounds follow until nothing changes any more, at most 8.
    Raises UsageError for another radius.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise UsageError(f"radius {radius}: is not in 0 to {MAX_RADIUS}; give such a number of pixels")
    height, width = labels.shape
    current = labels.copy()
    if radius == 0:
        return current
    strip = max(1, _STRIP_PIXELS // width)
    for _ in range(_MOST_ROUNDS):
        simpler = np.empty_like(current)
        for top in range(0, height, strip):
            bottom = min(top + strip, height)
            first, last = max(top - radius, 0), min(bottom + radius, height)
            inner = slice(top - first, bottom - first)
            simpler[top:bottom] = _majority(current[first:last], labels[first:last], radius, inner)
        if np.array_equal(simpler, current):
            break
        current = simpler
    return current


def _majority(
    current: NDArray[np.uint8], original: NDArray[np.uint8], radius: int, rows: slice
) -> NDArray[np.uint8]:
    """One round for some ``rows`` of a strip that has ``radius`` more above and below where the map has."""
    best = current[rows].copy()
    most = np.zeros(best.shape, np.int32)
    for label in np.flatnonzero(np.bincount(original.ravel(), minlength=256)):
        votes = _box_sums(current == label, radius)[rows]
        votes[_box_sums(original == label, radius)[rows] == 0] = 0
        # Twice the votes, and one more for the label that the pixel has: that decides ties.
        votes = 2 * votes + ((current[rows] == label) & (votes > 0))
        better = votes > most
        most[better] = votes[better]
        best[better] = label
    return best


def _box_sums(mask: NDArray[np.bool_], radius: int) -> NDArray[np.int32]:
    """How many of the pixels in the square around each are set: int32, of the mask's shape [h, w]."""
    size = 2 * radius + 1
    sums = np.cumsum(np.pad(mask, (radius + 1, radius)), axis=0, dtype=np.int32)
    sums = np.cumsum(sums[size:] - sums[:-size], axis=1, dtype=np.int32)
    return sums[:, size:] - sums[:, :-size]
