"""Where the bits of a picture go: a quality for every latent position, and positions that are not coded at
all.

The heat map of selective compression (section 3.2 of arXiv:1804.02958 v3) is the part of it that says which
symbols exist; the qualities are what a model for all rates can do with a graded map.  Most pictures have one
quality everywhere and every position coded: no box is written for them.

The box ``AREA`` (part of the file format) carries the rest: one byte n, at most 32; n bytes, the *drops*,
strictly increasing from 0; then a map of the latent's positions as :mod:`ganic.labels.coding` writes it,
whose label i says that the position has the file's quality index less drop i, at least 0, and whose label
VOID (255) says that the position is not coded.  Every drop occurs in the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from ganic.errors import CorruptError
from ganic.extreme.tiling import CELL, Tile
from ganic.labels import VOID, coding

MAX_LEVELS = 32

_GET_AGAIN = "the file is damaged, get it again"


@dataclass(frozen=True)
class Allocation:
    """What each latent position gets."""

    quality: npt.NDArray[np.uint8]
    """Quality index [rows, columns]; where nothing is coded, that of the file."""
    coded: npt.NDArray[np.bool_]
    """Whether the position has symbols [rows, columns]."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.quality.shape[0], self.quality.shape[1]

    def tile(self, tile: Tile) -> Allocation:
        """The part of one coding tile."""
        where = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
        return Allocation(self.quality[where], self.coded[where])

    def coarse(self) -> Allocation:
        """What each hyper-latent position [ceil(rows / CELL), ceil(columns / CELL)] gets: the best of its
        sixteen."""
        rows, columns = self.shape
        padding = ((0, -rows % CELL), (0, -columns % CELL))
        blocks = (-(-rows // CELL), CELL, -(-columns // CELL), CELL)
        coded = np.asarray(np.pad(self.coded, padding).reshape(blocks).any((1, 3)))
        among = np.pad(np.where(self.coded, self.quality, 0), padding).reshape(blocks).max((1, 3))
        return Allocation(among, coded)

    def padded(self) -> npt.NDArray[np.uint8]:
        """Qualities at multiples of `CELL`, the last row and column repeated."""
        rows, columns = self.shape
        return np.pad(self.quality, ((0, -rows % CELL), (0, -columns % CELL)), mode="edge")


@dataclass(frozen=True)
class Plan:
    """An allocation without its quality index: what the box says, and what a search for a size keeps."""

    drops: tuple[int, ...]
    levels: npt.NDArray[np.uint8]
    """Index into ``drops``, or VOID, [rows, columns]."""

    @classmethod
    def uniform(cls, rows: int, columns: int) -> Self:
        """The same quality everywhere."""
        return cls((0,), np.zeros((rows, columns), dtype=np.uint8))

    @classmethod
    def of(cls, drop: npt.NDArray[np.integer], coded: npt.NDArray[np.bool_]) -> Self:
        """From a drop 0..255 for every position; at most MAX_LEVELS different ones are kept, the nearest
        lower.

        The smallest drop becomes 0: the quality of a file is that of its best positions.
        """
        drop = np.asarray(drop, dtype=np.int64)
        if coded.any():
            drop = drop - drop[coded].min()
        step = 256 // MAX_LEVELS
        if len(np.unique(drop[coded])) > MAX_LEVELS:
            drop = drop // step * step
        drops = np.unique(drop[coded])
        levels = np.where(coded, np.searchsorted(drops, drop), VOID).astype(np.uint8)
        return cls(tuple(int(d) for d in drops), levels)

    def softened(self, factor: float) -> Plan:
        """The same positions, with drops that are ``factor`` (0 to 1) of these."""
        drops = np.array([*self.drops, *[0] * (256 - len(self.drops))], dtype=np.float64)
        return Plan.of(np.rint(drops[self.levels] * factor).astype(np.int64), self.coded)

    @property
    def is_uniform(self) -> bool:
        return self.drops == (0,) and not self.levels.any()

    @property
    def coded(self) -> npt.NDArray[np.bool_]:
        """The positions [rows, columns] that have symbols."""
        return np.asarray(self.levels != VOID)

    @property
    def share(self) -> float:
        """Share of positions that are coded."""
        return float(self.coded.mean())

    def at(self, quality: int) -> Allocation:
        """The allocation of a file of this quality index."""
        table = np.full(256, quality, dtype=np.int64)
        table[: len(self.drops)] = np.maximum(quality - np.array(self.drops, dtype=np.int64), 0)
        return Allocation(table[self.levels].astype(np.uint8), self.coded)

    def pack(self) -> bytes:
        """The data of the box ``AREA``."""
        return bytes([len(self.drops), *self.drops]) + coding.encode(self.levels)

    @classmethod
    def unpack(cls, data: bytes, rows: int, columns: int) -> Self:
        """Inverse of :meth:`pack`. Raises CorruptError for what no encoder writes."""
        count = data[0] if data else 0
        drops = tuple(data[1 : 1 + count])
        if not data or count > MAX_LEVELS or len(drops) < count or list(drops) != sorted(set(drops)):
            raise CorruptError(f"box AREA: its levels are no increasing list; {_GET_AGAIN}")
        if drops and drops[0] != 0:
            raise CorruptError(f"box AREA: its first drop is {drops[0]}, not 0; {_GET_AGAIN}")
        levels = coding.decode(data[1 + count :], rows, columns)
        present = np.unique(levels)
        if present[present != VOID].tolist() != list(range(count)):
            raise CorruptError(f"box AREA: its map and its {count} levels do not agree; {_GET_AGAIN}")
        plan = cls(drops, levels)
        if plan.is_uniform:
            raise CorruptError(f"box AREA: says nothing, so no encoder writes it; {_GET_AGAIN}")
        return plan


__all__ = ["MAX_LEVELS", "Allocation", "Plan"]
