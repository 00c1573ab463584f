"""How a picture is cut: coding tiles (part of the file format) and network windows (an encoder's or
decoder's choice).

*Tiles* divide the latent into rectangles that are entropy-coded on their own, one stream each.  A decoder
must know them, so their rule is fixed: along each axis ``ceil(n / 128)`` parts, cut at the multiples of 4
nearest to equal parts, the larger of two that are as near.

*Windows* bound the memory of the convolutional networks.  A window is computed with a margin of its
surroundings and the margin is thrown away, so that pictures come out as if they had been computed whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

STRIDE = 16
"""Picture pixels per latent position, in each direction."""

CELL = 4
"""Latent positions per position of the hyper-latent, and per shade, in each direction."""

CELL_PIXELS = CELL * STRIDE
"""The same in pixels; networks of the whole codec take pictures whose sides are multiples of it."""

TILE = 128
"""Side of a large tile in latent positions (2048 pixels); 129 occurs where the last cut is rounded down."""


def in_pixels(positions: npt.NDArray[np.bool_], height: int, width: int) -> npt.NDArray[np.bool_]:
    """The pixels [height, width] that lie in some of the latent's positions [rows, columns]."""
    return positions.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)[:height, :width]


@dataclass(frozen=True)
class Span:
    """``start <= i < stop`` along one axis, and the larger range to compute it from."""

    start: int
    stop: int
    outer_start: int
    outer_stop: int

    @property
    def outer(self) -> slice:
        """The larger range."""
        return slice(self.outer_start, self.outer_stop)

    @property
    def inner(self) -> slice:
        """The range itself, counted from where the larger one begins."""
        return slice(self.start - self.outer_start, self.stop - self.outer_start)


@dataclass(frozen=True)
class Tile:
    """A rectangle of latent positions."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


def _cuts(length: int) -> list[int]:
    parts = -(-length // TILE)
    # Integer arithmetic: round(i * length / parts / CELL) * CELL without floating point.
    inner = [(2 * i * length + CELL * parts) // (2 * CELL * parts) * CELL for i in range(1, parts)]
    return [0, *inner, length]


def tiles(height: int, width: int) -> list[Tile]:
    """The coding tiles of a latent of ``height`` x ``width`` positions, row by row."""
    rows, columns = list(pairwise(_cuts(height))), list(pairwise(_cuts(width)))
    return [Tile(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def spans(length: int, size: int, margin: int) -> list[Span]:
    """Cover ``length`` with equal parts of at most ``size``, each with up to ``margin`` more on both
    sides."""
    parts = -(-length // size)
    edges = [i * length // parts for i in range(parts + 1)]
    return [Span(a, b, max(0, a - margin), min(length, b + margin)) for a, b in pairwise(edges)]


def windows(height: int, width: int, size: int, margin: int) -> Iterator[tuple[Span, Span]]:
    """Windows of at most ``size`` x ``size`` with margins, row by row."""
    columns = spans(width, size, margin)
    for row in spans(height, size, margin):
        for column in columns:
            yield row, column
