"""Integer latents and their probabilities: which table codes which symbol.  Integers only.

Two coders share the tables of a model (table 0 is certain of zero, tables 1 to 64 have standard deviations
that grow by the factor `RATIO`):

`PlainCoder`
    Every latent of a random layer is like every other: one table for all, chosen by a level in the file.

`ActivityCoder`
    Coefficients of the learned basis have each their own level.  A step that is coarser by one index makes
    every level smaller by one, and a coefficient whose level is below the step is zero for certain and free.
    Coefficients are coded in groups; how large the symbols of the two groups before came out, against what
    their tables expect, nearby and in a wider neighbourhood, moves the level of each next one by a learned
    integer.  So busy and calm parts both get fitting tables, and the decoder finds the same ones, because
    comparisons of integers are all there is to it.  Groups go from slow to fast frequencies:

    `FrequencyCoder`  of positions; nearby is the same channel, the neighbourhood are all channels
    `PlaceCoder`      of blocks (a local basis); nearby is the same position, the neighbourhood are the eight
                      around it

Each group of a tile is put at once (`ganic.entropy`: sorted by table), as is each tile of `PlainCoder`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganic.entropy import MAX_SUPPORT, SymbolDecoder, SymbolEncoder, SymbolTables
from ganic.errors import ModelFormatError
from ganic.ganz.basis import POSITIONS, SMOOTH
from ganic.ganz.generator import SIDE

LEVELS = 64
"""Tables beside table 0."""

STEPS = 64
"""Step indices, one byte in the file."""

SMALLEST_SCALE, LARGEST_SCALE = 0.11, 64.0
RATIO = (LARGEST_SCALE / SMALLEST_SCALE) ** (1 / (LEVELS - 1))
"""From one table's standard deviation to the next one's, and from one quantiser step to the next: 1.1063."""

GROUPS = (0, 1, 3, 6, 10, 15, 21, 28, 36, 46, 64)
"""Of positions' frequencies: group k holds those with GROUPS[k] <= j < GROUPS[k + 1]."""

FEWEST = 4
"""Channels of a group of a local basis, at least."""

BINS = 6
"""Kinds of activity, by its ratio to what is expected: below 1/4, 1/2, 1, 2, 4, and above."""

UNIT = 256
"""Expected magnitudes are in units of 1/256."""

MAX_SHIFT = 32

Symbols = NDArray[np.int16]
Integers = NDArray[np.int64]


class LatentCoder(Protocol):
    """The probabilities of tiles' latents, at one quantiser step or at each tile's own."""

    size: int
    """Latents per tile."""
    tables: SymbolTables

    def fit(self, symbols: NDArray[Any]) -> tuple[Symbols, Integers]:
        """The nearest symbols that can be coded, and their tables; both [n, size], of integers [n, size]."""
        ...

    def put(self, encoder: SymbolEncoder, symbols: Symbols) -> None:
        """Code one tile [size], at the only step."""
        ...

    def get(self, decoder: SymbolDecoder) -> Symbols:
        """Decode one tile [size], at the only step; raises CorruptError."""
        ...


class PlainCoder:
    """All ``size`` latents with one table: 1 + ``level`` - ``step``, within 1 to 64.

    ``level`` and ``step`` are one of each, or [n], of n tiles.
    """

    def __init__(self, tables: SymbolTables, size: int, level: ArrayLike, step: ArrayLike) -> None:
        self.tables, self.size = tables, size
        levels = np.asarray(level, np.int64) - np.asarray(step, np.int64)
        self.table = 1 + np.clip(levels, 0, LEVELS - 1).reshape(-1, 1)

    def fit(self, symbols: NDArray[Any]) -> tuple[Symbols, Integers]:
        table = np.broadcast_to(self.table, symbols.shape).copy()
        return self.tables.clip(symbols, table), table

    def put(self, encoder: SymbolEncoder, symbols: Symbols) -> None:
        encoder.put(symbols, np.full(self.size, self.table))

    def get(self, decoder: SymbolDecoder) -> Symbols:
        return decoder.get(np.full(self.size, self.table))


@dataclass(frozen=True, eq=False)
class LatentPrior:
    """What a model ships to code coefficients of its basis.

    ``tables``: LEVELS + 1, table 0 of support 0.  ``levels`` int16 [channels, 64]: at step s the base table
    of a coefficient is 1 + level - s.  ``shifts`` int8 [BINS, BINS]: what the activity nearby and in the
    neighbourhood add to it.  ``local``: of a local basis. Raises ModelFormatError if the arrays are not of
    this kind.
    """

    tables: SymbolTables
    levels: NDArray[np.int16]
    shifts: NDArray[np.int8]
    local: bool = False

    def __post_init__(self) -> None:
        check_tables(self.tables)
        if self.levels.ndim != 2 or self.levels.shape[1] != POSITIONS or self.levels.dtype != np.int16:
            raise _bad(f"levels are {self.levels.dtype} of shape {self.levels.shape}")
        if self.shifts.shape != (BINS, BINS) or self.shifts.dtype != np.int8:
            raise _bad(f"shifts are {self.shifts.dtype} of shape {self.shifts.shape}")
        if np.abs(self.shifts.astype(int)).max() > MAX_SHIFT or np.abs(self.levels.astype(int)).max() > 1024:
            raise _bad("levels or shifts are out of range")

    @cached_property
    def expected(self) -> Integers:
        """The mean absolute symbol of each table, in 1/256."""
        return expected_magnitudes(self.tables)

    def at(self, step: ArrayLike) -> ActivityCoder:
        """The coder at a step index, or at the index [n] of each of n tiles."""
        return PlaceCoder(self, step) if self.local else FrequencyCoder(self, step)


class ActivityCoder(ABC):
    """See the module docstring; made by `LatentPrior.at`.

    Coefficients are arranged as [rows, columns], and columns belong to groups.
    """

    groups: Sequence[int]
    """Group k holds the columns groups[k] <= j < groups[k + 1]."""
    first: int
    """The first group that looks at others."""

    def __init__(self, prior: LatentPrior, step: ArrayLike) -> None:
        self.tables = prior.tables
        self.size = prior.levels.size
        levels = self.arranged(prior.levels.astype(np.int64)[None])
        self.base = levels - np.asarray(step, np.int64).reshape(-1, 1, 1)
        """Level of each coefficient at each step [1 or n, rows, columns]; below 0: certainly zero."""
        self._shifts = prior.shifts.astype(np.int64)
        self._expected = np.where(self.base < 0, 0, prior.expected[1 + np.clip(self.base, 0, LEVELS - 1)])
        self._thresholds: dict[int, tuple[Integers, Integers]] = {}

    @abstractmethod
    def arranged(self, tiles: NDArray[Any]) -> NDArray[Any]:
        """[n, size] or [n, channels, 64] -> a view [n, rows, columns]."""

    @abstractmethod
    def _neighbourhood(self, sizes: Integers) -> Integers:
        """Sums [n, rows] over each row's neighbourhood."""

    def fit(self, symbols: NDArray[Any]) -> tuple[Symbols, Integers]:
        given = self.arranged(np.clip(symbols, -MAX_SUPPORT, MAX_SUPPORT))
        fitted = np.zeros(symbols.shape, np.int16)
        tables = np.zeros(symbols.shape, np.int64)
        for group in range(len(self.groups) - 1):
            part = np.s_[:, :, self.groups[group] : self.groups[group + 1]]
            found = self.group_tables(group, self.arranged(fitted))
            self.arranged(tables)[part] = found
            self.arranged(fitted)[part] = self.tables.clip(given[part], found)
        return fitted, tables

    def put(self, encoder: SymbolEncoder, symbols: Symbols) -> None:
        tile = self.arranged(symbols[None])
        for group in range(len(self.groups) - 1):
            part = tile[0, :, self.groups[group] : self.groups[group + 1]]
            encoder.put(part.ravel(), self.group_tables(group, tile)[0].ravel())

    def get(self, decoder: SymbolDecoder) -> Symbols:
        symbols = np.zeros(self.size, np.int16)
        tile = self.arranged(symbols[None])
        for group in range(len(self.groups) - 1):
            tables = self.group_tables(group, tile)[0]
            part = decoder.get(tables.ravel()).reshape(tables.shape)
            tile[0, :, self.groups[group] : self.groups[group + 1]] = part
        return symbols

    def group_tables(self, group: int, symbols: Symbols) -> Integers:
        """Tables [n, rows, members] of a group, from symbols [n, rows, columns] of the groups before it.

        Symbols of the group itself and of later ones are not looked at.
        """
        base = self.base[:, :, self.groups[group] : self.groups[group + 1]]
        shift = np.zeros(symbols.shape[:2], np.int64)
        if group >= self.first:
            shift = self._shifts[self.activity(group, symbols)]
        return np.where(base < 0, 0, 1 + np.clip(base + shift[:, :, None], 0, LEVELS - 1))

    def activity(self, group: int, symbols: Symbols) -> tuple[Integers, Integers]:
        """Bins [n, rows] of the activity nearby and in the neighbourhood, before a group that looks at it."""
        window = slice(self.groups[max(self.first - 1, group - 2)], self.groups[group])
        seen = np.abs(symbols[:, :, window].astype(np.int64)).sum(axis=2)
        if group not in self._thresholds:
            expected = self._expected[:, :, window].sum(axis=2)
            self._thresholds[group] = expected, self._neighbourhood(expected)
        nearby, around = self._thresholds[group]
        return _bin(seen, nearby), _bin(self._neighbourhood(seen), around)


class FrequencyCoder(ActivityCoder):
    """Rows are channels, columns frequencies of positions."""

    groups = GROUPS
    first = 1

    def arranged(self, tiles: NDArray[Any]) -> NDArray[Any]:
        return tiles.reshape(len(tiles), -1, POSITIONS)

    def _neighbourhood(self, sizes: Integers) -> Integers:
        everywhere: Integers = np.broadcast_to(sizes.sum(axis=1, keepdims=True), sizes.shape)
        return everywhere


class PlaceCoder(ActivityCoder):
    """Rows are positions, columns channels; the first group, of smooth channels, is a thing of its own."""

    first = 2

    def __init__(self, prior: LatentPrior, step: ArrayLike) -> None:
        self.groups = channel_groups(len(prior.levels))
        super().__init__(prior, step)

    def arranged(self, tiles: NDArray[Any]) -> NDArray[Any]:
        return tiles.reshape(len(tiles), -1, POSITIONS).swapaxes(1, 2)

    def _neighbourhood(self, sizes: Integers) -> Integers:
        picture = np.pad(sizes.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
        across = picture[:, :, :-2] + picture[:, :, 1:-1] + picture[:, :, 2:]
        around: Integers = across[:, :-2] + across[:, 1:-1] + across[:, 2:]
        return around.reshape(sizes.shape) - sizes


def channel_groups(channels: int) -> list[int]:
    """Where the groups of a local basis begin, and the last one ends: the smooth channels, then half as many
    as there were so far."""
    groups = [0, min(SMOOTH, channels)]
    while groups[-1] < channels:
        groups.append(min(groups[-1] + max(FEWEST, groups[-1] // 2), channels))
    return groups


def _bin(seen: Integers, expected: Integers) -> Integers:
    """Which of the BINS seen to expected magnitudes fall in; a quarter symbol is added to both."""
    a, b = UNIT * seen + UNIT // 4, expected + UNIT // 4
    bins: Integers = (4 * a >= b).astype(np.int64)
    for above in (2 * a >= b, a >= b, a >= 2 * b, a >= 4 * b):
        bins += above
    return bins


def expected_magnitudes(tables: SymbolTables) -> Integers:
    """The mean absolute symbol of each table, in 1/256 rounded down [n_tables]; integer arithmetic."""
    found = []
    for index in range(tables.n_tables):
        counts, support = tables.table(index).astype(np.int64), int(tables.supports[index])
        found.append(int((counts * np.abs(np.arange(-support, support + 1))).sum()) * UNIT >> 16)
    return np.array(found, np.int64)


def check_tables(tables: SymbolTables) -> None:
    """Raises ModelFormatError unless there are LEVELS + 1 tables and table 0 alone is certain of zero."""
    if tables.n_tables != LEVELS + 1 or tables.supports[0] != 0 or (tables.supports[1:] < 1).any():
        raise _bad(f"there are {tables.n_tables} tables with supports {tables.supports.tolist()[:4]}...")


def tile_bits(coder: LatentCoder, symbols: NDArray[Any]) -> float:
    """The ideal code length of tiles [n, size] of integers, as far as they can be coded."""
    fitted, tables = coder.fit(symbols)
    return coder.tables.bits(fitted.ravel(), tables.ravel())


def _bad(fact: str) -> ModelFormatError:
    return ModelFormatError(f"latent prior: {fact}; get the model file again")
