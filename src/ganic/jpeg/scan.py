"""Coefficients to entropy-coded bytes: baseline JPEG's scan (T.81, annex F.1), many pictures at once. NumPy
only.

Symbols, code tables and bits are computed for all pictures of a call together; a picture's bytes depend on
that picture alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganic.jpeg.huffman import CodeTables, optimal_tables

Ints = NDArray[np.int64]

DC_LOW, DC_HIGH, AC_MOST = -1024, 1023, 1023
"""What the codes of baseline JPEG with 8-bit samples can express (T.81, tables F.1 and F.2)."""

END_OF_BLOCK, ZERO_RUN = 0x00, 0xF0
"""AC symbols without additional bits: nothing but zeros follows; sixteen zeros follow."""

END = 64
"""The place of the end of block among a block's coefficients 0..63."""

# A picture's symbols are counted in three pairs of tables: of luminance, of chroma, and of both together. In
# a pair, DC symbols (sizes 0..11) come first, AC symbols after them.
PAIRS = 3
DC_ROOM = 16
PAIR = DC_ROOM + 256
LUMINANCE, CHROMA, COMMON = range(PAIRS)

_SIZE_OF = np.array([int(value).bit_length() for value in range(2048)], dtype=np.uint8)


@dataclass(frozen=True)
class Symbols:
    """Everything to be coded, in order; t symbols in n pictures of b blocks.

    ``block`` [t]: 0 .. n b - 1. ``slot`` [t]: the symbol's place in a pair of tables, 0 .. PAIR - 1.
    ``extra`` [t], its additional bits, and ``extra_bits`` [t], their number, 0..11. ``first`` [n + 1]: where
    each picture's symbols begin.
    """

    block: Ints
    slot: Ints
    extra: Ints
    extra_bits: Ints
    first: Ints


def symbols_of(blocks: NDArray[np.int16], component: Ints) -> Symbols:
    """Run lengths and sizes of quantised blocks.

    ``blocks`` int16 [n, b, 64]: in zigzag order, and in the order of the scan; ``component`` [b]: whose each
    is.
    """
    pictures, per_picture, _ = blocks.shape
    total = pictures * per_picture
    # 65 places for a block: the difference of its DC value, its AC values, and the end of block. What gets a
    # symbol: the first always, values that are not zero, and the end unless the last value is one of those.
    values = np.zeros((total, END + 1), dtype=np.int16)
    values[:, :END] = blocks.reshape(total, END)
    values[:, 0] = _dc_differences(blocks[:, :, 0], component).ravel()
    coded = values != 0
    coded[:, 0] = True
    coded[:, END] = values[:, END - 1] == 0
    at = np.flatnonzero(coded)
    first = np.searchsorted(at, np.arange(pictures + 1) * per_picture * (END + 1))
    block = at // (END + 1)
    place = at - block * (END + 1)
    run = np.diff(place, prepend=0) - 1

    value = values.ravel()[at].astype(np.int64)
    extra_bits = _SIZE_OF[np.abs(value)].astype(np.int64)
    extra = (value + (value >> 63)) & ((1 << extra_bits) - 1)  # below zero, less one (T.81, F.1.2.1.1)
    slot = (((run & 15) << 4) | extra_bits) + DC_ROOM
    is_dc, is_end = place == 0, place == END
    slot[is_dc] = extra_bits[is_dc]
    slot[is_end] = DC_ROOM + END_OF_BLOCK
    symbols = Symbols(block, slot, extra, extra_bits, first)
    long = np.flatnonzero((run > 15) & ~is_end)
    return _with_zero_runs(symbols, long, run[long] >> 4) if len(long) else symbols


def _with_zero_runs(symbols: Symbols, long: Ints, count: Ints) -> Symbols:
    """``count`` symbols for sixteen zeros before each of the symbols ``long``."""
    copies = np.ones(len(symbols.block), dtype=np.int64)
    copies[long] += count
    source = np.repeat(np.arange(len(copies)), copies)
    slot, extra, extra_bits = symbols.slot[source], symbols.extra[source], symbols.extra_bits[source]
    ends = np.cumsum(copies)
    runs = (
        np.repeat(ends[long] - 1 - count, count)
        + np.arange(count.sum())
        - np.repeat(np.cumsum(count) - count, count)
    )
    slot[runs], extra[runs], extra_bits[runs] = DC_ROOM + ZERO_RUN, 0, 0
    return Symbols(symbols.block[source], slot, extra, extra_bits, np.append(0, ends)[symbols.first])


def _dc_differences(dc: NDArray[np.int16], component: Ints) -> NDArray[np.int16]:
    """Each DC value minus the one before it of the same component, [n, b]; at most 2047 either way."""
    differences = dc.copy()
    for one in np.unique(component):
        mine = np.flatnonzero(component == one)
        differences[:, mine[1:]] -= dc[:, mine[:-1]]
    return differences


@dataclass(frozen=True)
class Scans:
    """Coded pictures.

    ``data`` holds all scans end to end; picture i is ``data[offsets[i] : offsets[i + 1]]``, in which a zero
    must still be stuffed after each byte 0xFF. ``tables`` holds the contents of their DHT segments (without
    marker and length) end to end, likewise with ``table_offsets``; ``shared[i]`` says whether chroma uses the
    tables of luminance.
    """

    data: bytes
    offsets: Ints
    tables: bytes
    table_offsets: Ints
    shared: NDArray[np.bool_]


def code(symbols: Symbols, component: Ints, *, share: bool = True) -> Scans:
    """Choose each picture's tables and write its bits; ``component`` as for :func:`symbols_of`.

    Either luminance and chroma have tables of their own, or, where that makes the file smaller and with
    ``share``, they share one pair: for small pictures a table costs more than it saves.
    """
    pictures = len(symbols.first) - 1
    picture = np.repeat(np.arange(pictures), len(component))  # of each block
    own = picture * PAIRS + np.tile(np.where(component > 0, CHROMA, LUMINANCE), pictures)
    frequency = np.bincount((own * PAIR)[symbols.block] + symbols.slot, minlength=pictures * PAIRS * PAIR)
    by_pair = frequency.reshape(pictures, PAIRS, PAIR)
    np.add(by_pair[:, LUMINANCE], by_pair[:, CHROMA], out=by_pair[:, COMMON])
    entry = np.flatnonzero(frequency > 0)
    pair = entry // PAIR
    slot = entry - pair * PAIR
    is_ac = slot >= DC_ROOM
    tables = optimal_tables(2 * pair + is_ac, slot - DC_ROOM * is_ac, frequency[entry], pictures * PAIRS * 2)

    cost = tables.bits + 8 * (17 + np.diff(tables.first))
    cost = cost.reshape(pictures, PAIRS, 2).sum(axis=2)
    shared = share & (cost[:, COMMON] <= cost[:, LUMINANCE] + cost[:, CHROMA])
    used = np.where(shared[picture], picture * PAIRS + COMMON, own)
    code_and_length = np.zeros(len(frequency), dtype=np.int32)
    is_ac = (tables.row & 1).astype(np.int64)
    place = (tables.row >> 1) * PAIR + DC_ROOM * is_ac + tables.symbol
    code_and_length[place] = (tables.code << 5) | tables.length
    chosen = code_and_length[(used * PAIR)[symbols.block] + symbols.slot].astype(np.int64)
    data, offsets = _packed(symbols, chosen >> 5, chosen & 31)
    return Scans(data, offsets, *_definitions(tables, shared), shared)


def _definitions(tables: CodeTables, shared: NDArray[np.bool_]) -> tuple[bytes, Ints]:
    """The contents of every picture's DHT segment (T.81, annex B.2.4.2), and their offsets."""
    wanted = np.repeat(shared[:, None], 2 * PAIRS, axis=1)
    wanted[:, : 2 * COMMON] ^= True
    row = np.flatnonzero(wanted)
    sizes = np.diff(tables.first)[row]
    begin = np.concatenate([[0], np.cumsum(17 + sizes)])
    contents = np.empty(begin[-1], dtype=np.uint8)
    kind, number = row & 1, (row >> 1) % PAIRS == CHROMA
    contents[begin[:-1]] = (kind << 4) | number
    contents[begin[:-1, None] + np.arange(1, 17)] = tables.counts[row]
    rank = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    contents[np.repeat(begin[:-1] + 17, sizes) + rank] = tables.symbol[
        np.repeat(tables.first[row], sizes) + rank
    ]
    tables_of = np.where(shared, 2, 4)
    return contents.tobytes(), begin[np.concatenate([[0], np.cumsum(tables_of)])]


def _packed(symbols: Symbols, codes: Ints, lengths: Ints) -> tuple[bytes, Ints]:
    """All bits, each picture filled up to whole bytes with ones, and the pictures' offsets in bytes."""
    value = (codes << symbols.extra_bits) | symbols.extra  # at most 16 + 11 bits
    bits = lengths + symbols.extra_bits
    ends = np.cumsum(bits)
    bits_of = np.diff(ends[symbols.first[1:] - 1], prepend=0)
    bytes_of = (bits_of + 7) >> 3
    start = np.concatenate([[0], np.cumsum(bytes_of)])
    padding = 8 * bytes_of - bits_of
    moved = np.cumsum(padding) - padding  # by how much each picture's bits move
    position = ends - bits + np.repeat(moved, np.diff(symbols.first))

    # Words of 32 bits, first bit highest. No two values overlap, so their sum is their union.
    word = position >> 5
    wide = value << (64 - (position & 31) - bits)  # over two words; below 2^63, since 27 bits are the most
    words = np.zeros((int(start[-1]) >> 2) + 2, dtype=np.int64)
    begins = np.flatnonzero(np.diff(word, prepend=-1))
    words[word[begins]] = np.add.reduceat(wide >> 32, begins)
    spilled = wide & 0xFFFFFFFF
    crossing = np.flatnonzero(spilled)
    words[word[crossing] + 1] += spilled[crossing]  # at most one value crosses into each word

    data = words.astype(">u4").view(np.uint8)[: start[-1]]
    data[start[1:] - 1] |= ((1 << padding) - 1).astype(np.uint8)
    return data.tobytes(), start
