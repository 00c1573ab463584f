"""Integers to bytes and back; no floating point decides a probability.

A latent picture is an array of integers; beside each stands the index of the probability table it is coded
with. Tables are arrays of integer counts that ship inside the model file, so an encoder and a decoder on
different machines cannot disagree about them. The bytes come from a range coder (Martin 1979), and this
docstring specifies them to the bit; ``constriction`` (bamler-lab) does the work at speed.

Tables
    Table ``t`` covers the symbols ``-A .. A``, where ``A = supports[t]``, with counts that are each at least
    1 and sum to 2**16: symbol ``s`` has the probability ``counts[s + A] / 2**16``. A table with ``A = 0``
    is certain of the symbol 0: it writes no bits, and its symbols take no part in what follows.

Excess
    Tables may come with counts of an *excess*, 0 to at most 511, which sum to 2**16 too. Then no prediction
    is so wrong that a symbol cannot be told: ``-A`` and ``A`` of a table that is not certain mean "that far
    or further", and how much further is coded beside. (Without them the outermost symbols are only
    themselves.)

Order
    The symbols of one `SymbolEncoder.put` are coded sorted by table, and in their given order within a
    table. After them come the excesses of those that stand at ``-A`` or ``A``, in the order in which these
    were coded. Several puts follow each other in the same code, so a put is a unit that both sides must agree
    on.

Coder
    An interval ``[L, L + R)`` of integers, at first ``L = 0``, ``R = 2**64 - 1``. To code a symbol of count
    ``c`` whose table has the sum ``b`` of counts before it::

        scale = R >> 24
        L = L + scale * 256 * b
        R = scale * 256 * c
        if R < 2**32:
            L = L << 32
            R = R << 32

    L is one unbounded integer here (an implementation propagates carries instead) and R never has more than
    64 bits. After the last symbol, with ``k`` shifts behind it, L has ``8 + 4 k`` bytes.

Ending
    Of all multiples of 256**i in [L, L + R), take the smallest for the largest i <= 8 that has one; write it
    most significant byte first in ``8 + 4 k`` bytes; drop the zero bytes at its end. Decoding appends as many
    zero bytes as are asked for. No shorter string decodes to these symbols, and a decoder accepts no other:
    `SymbolDecoder.finish` codes what it decoded again and compares.

Why this is deterministic: constriction takes probabilities as floats, in any scale, and hands each symbol
``1 + floor(p * (2**24 - n) / sum(p))`` of its 2**24 units (computed cumulatively; n symbols; option
``perfect=False``). For ``p = 256 * count - 1`` the sum is exactly ``2**24 - n``, the quotient is exactly 1,
and every number on the way is an integer below 2**24, exact in single and double precision alike. What comes
out is ``256 * count``, with nothing rounded anywhere. Golden bytes and a second implementation in big
integers, both in the tests, hold constriction to that.

Cost: the truncation of R wastes about 1.3e-4 bits per symbol, the ending less than two bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import constriction
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganic.errors import CorruptError, ModelFormatError

__all__ = [
    "MAX_EXCESS",
    "MAX_SUPPORT",
    "MAX_TABLES",
    "TOTAL",
    "SymbolDecoder",
    "SymbolEncoder",
    "SymbolTables",
    "calibrated_tables",
    "excess_counts",
    "laplacian_tables",
]

TOTAL = 1 << 16
"""What the counts of every table sum to."""

MAX_SUPPORT = 255
"""The largest symbol any table may have."""

MAX_EXCESS = 511
"""How far beyond its table a symbol may be, at most."""

MAX_TABLES = 4096

_EXCESS = -1
"""In place of the index of a table."""

_Categorical = constriction.stream.model.Categorical
_RangeEncoder = constriction.stream.queue.RangeEncoder
_RangeDecoder = constriction.stream.queue.RangeDecoder


@dataclass(frozen=True, eq=False)
class SymbolTables:
    """Probability tables in integers, as a model file stores them.

    ``counts`` [sum(2 * supports + 1)] int32, table after table, each from the smallest symbol to the largest;
    ``supports`` [n_tables] int16, the largest symbol of each; ``excess`` [2 to 512] int32, the counts of how
    far beyond it a symbol is, or empty: no table goes further than its support. All become read-only copies.

    Raises ModelFormatError where the arrays do not describe tables.
    """

    counts: NDArray[np.int32]
    supports: NDArray[np.int16]
    excess: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    reach: NDArray[np.int16] = field(init=False, repr=False)
    """[n_tables] the largest symbol that each table can code, with the largest excess."""
    centres: NDArray[np.int64] = field(init=False, repr=False)
    """[n_tables] where in ``counts`` each table has its symbol 0."""
    _models: dict[int, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        supports = _integers("supports", self.supports, 0, MAX_SUPPORT)
        counts = _integers("counts", self.counts, 1, TOTAL)
        if not 1 <= len(supports) <= MAX_TABLES:
            raise _bad(f"there are {len(supports)} tables, not 1 to {MAX_TABLES}")
        sizes = 2 * supports + 1
        if len(counts) != sizes.sum():
            raise _bad(f"there are {len(counts)} counts where the supports need {sizes.sum()}")
        starts = np.cumsum(sizes) - sizes
        sums = np.add.reduceat(counts, starts)
        if (sums != TOTAL).any():
            wrong = int(np.argmax(sums != TOTAL))
            raise _bad(f"the counts of table {wrong} sum to {sums[wrong]}, not {TOTAL}")
        excess = _integers("counts of the excess", self.excess, 1, TOTAL)
        if len(excess) and not (2 <= len(excess) <= MAX_EXCESS + 1 and excess.sum() == TOTAL):
            raise _bad(
                f"the {len(excess)} counts of the excess sum to {excess.sum()}; they are 2 to "
                f"{MAX_EXCESS + 1} and sum to {TOTAL}"
            )
        further = max(len(excess) - 1, 0)
        for name, array in (
            ("counts", counts.astype(np.int32)),
            ("supports", supports.astype(np.int16)),
            ("excess", excess.astype(np.int32)),
            ("reach", np.where(supports > 0, supports + further, 0).astype(np.int16)),
            ("centres", starts + supports),
        ):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the cached models, which do not pickle.
        return type(self), (self.counts, self.supports, self.excess)

    @property
    def n_tables(self) -> int:
        return len(self.supports)

    def table(self, index: int) -> NDArray[np.int32]:
        """The counts [2 A + 1] of one table, from symbol -A to symbol A."""
        centre, support = int(self.centres[index]), int(self.supports[index])
        return self.counts[centre - support : centre + support + 1]

    def clip(self, symbols: ArrayLike, table: ArrayLike) -> NDArray[np.int16]:
        """The nearest symbols [...] that the tables [...] can code."""
        limit = self.reach[np.asarray(table)]
        return np.clip(symbols, -limit, limit).astype(np.int16)

    def bits(self, symbols: ArrayLike, table: ArrayLike) -> float:
        """The ideal code length: the sum of -log2(probability). Raises ValueError as `SymbolEncoder.put`."""
        return float(self.lengths(symbols, table).sum())

    def lengths(self, symbols: ArrayLike, table: ArrayLike) -> NDArray[np.float64]:
        """The ideal code length of each symbol [n]. Raises ValueError as `SymbolEncoder.put`."""
        s, t = _checked(self, symbols, table)
        bits = 16.0 - np.log2(self.counts[self._positions(s, t)], dtype=np.float64)
        if len(self.excess):
            support = self.supports[t]
            beyond = np.abs(s) - support
            told = (beyond >= 0) & (support > 0)
            bits[told] += 16.0 - np.log2(self.excess[beyond[told]], dtype=np.float64)
        return bits

    def histogram(self, symbols: ArrayLike, table: ArrayLike) -> NDArray[np.int64]:
        """How often each entry of ``counts`` was used: what `calibrated_tables` wants, and it adds up."""
        positions = self._positions(*_checked(self, symbols, table))
        return np.bincount(positions, minlength=len(self.counts)).astype(np.int64)

    def _positions(self, symbols: NDArray[np.int32], table: NDArray[np.uint16]) -> NDArray[np.int64]:
        """Where in ``counts`` each symbol stands, or the outermost one for it."""
        limit = self.supports[table]
        return self.centres[table] + np.clip(symbols, -limit, limit)

    def _model(self, index: int) -> Any:
        """constriction's form of one table, of the excess's for -1, exact as the module docstring says."""
        model = self._models.get(index)
        if model is None:
            counts = self.excess if index == _EXCESS else self.table(index)
            model = self._models[index] = _Categorical(256.0 * counts - 1.0, perfect=False)
        return model


class SymbolEncoder:
    """Codes symbols into one stream: any number of `put`, then `finish`."""

    def __init__(self, tables: SymbolTables) -> None:
        self._tables = tables
        self._coder = _RangeEncoder()

    def put(self, symbols: ArrayLike, table: ArrayLike) -> None:
        """Code ``symbols`` [n] of any integer type, each with the table of index ``table`` [n].

        Raises ValueError if a symbol is outside its table (see `SymbolTables.clip`), if there is no such
        table, or if the shapes differ.
        """
        s, t = _checked(self._tables, symbols, table)
        order = _order(self._tables, t)
        self._put_sorted(s[order.where], order)

    def _put_sorted(self, symbols: NDArray[np.int32], order: _Order) -> None:
        """``symbols`` in this order already."""
        support = order.support
        excess = np.zeros(0, np.int32)
        if len(self._tables.excess):
            beyond = np.abs(symbols) - support
            excess = beyond[beyond >= 0]
            symbols = np.clip(symbols, -support, support)
        numbers = symbols + support
        for index, run in order.runs:
            self._coder.encode(numbers[run], self._tables._model(index))
        if len(excess):
            self._coder.encode(excess, self._tables._model(_EXCESS))

    def finish(self) -> bytes:
        """The shortest bytes that decode to everything put so far."""
        words = self._coder.get_compressed()
        position: int
        lower: int
        size: int
        position, (lower, size) = self._coder.pos()
        if not len(words):
            return b""
        # The words name the first multiple of 2**32 that is not below L, with every carry settled.
        point = int.from_bytes(words[: position + 1].astype(">u4").tobytes(), "big") << 32
        low = point - ((point - lower) & 0xFFFF_FFFF_FFFF_FFFF)
        drop = 8
        while (ending := -(-low >> 8 * drop) << 8 * drop) >= low + size:
            drop -= 1
        return ending.to_bytes(4 * position + 8, "big").rstrip(b"\0")


class SymbolDecoder:
    """Reads one stream back: the same `get` as there were puts, then `finish`.

    Bytes that no encoder wrote either raise CorruptError or decode to some symbols, and in that case
    `finish` raises it.
    """

    def __init__(self, tables: SymbolTables, data: bytes) -> None:
        padded = bytes(data) + bytes(-len(data) % 4)
        self._tables = tables
        self._data = bytes(data)
        self._coder = _RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))
        self._again = SymbolEncoder(tables)

    def get(self, table: ArrayLike) -> NDArray[np.int16]:
        """The next symbols [n], coded with the tables of index ``table`` [n].

        Raises CorruptError if the bytes cannot be decoded, ValueError if there is no such table.
        """
        t = _checked_indices(self._tables, table)
        order = _order(self._tables, t)
        found = np.zeros(len(order.where), np.int32)
        for index, run in order.runs:
            found[run] = self._next(index, run.stop - run.start)
        found -= order.support
        if len(self._tables.excess):
            told = np.flatnonzero(np.abs(found) == order.support)
            if len(told):
                found[told] += np.sign(found[told]) * self._next(_EXCESS, len(told))
        self._again._put_sorted(found, order)
        symbols = np.zeros(len(t), np.int16)
        symbols[order.where] = found
        return symbols

    def _next(self, index: int, count: int) -> NDArray[np.int32]:
        """``count`` symbols of one table, counted from its first."""
        try:
            found: NDArray[np.int32] = self._coder.decode(self._tables._model(index), count)
        except (AssertionError, ValueError, RuntimeError) as error:  # constriction: "invalid data"
            raise CorruptError("symbols: the bytes are not a code; get the file again") from error
        return found

    def finish(self) -> None:
        """Check that the bytes are exactly those an encoder writes for these symbols; raises CorruptError."""
        expected = self._again.finish()
        if self._data != expected:
            raise CorruptError(
                f"symbols: {len(self._data)} bytes decode to symbols that code into {len(expected)} "
                "other bytes; the file was damaged, get it again"
            )


def laplacian_tables(
    deviations: Sequence[float] | NDArray[np.float64], *, tail: float = 2.0**-14, min_support: int = 1
) -> SymbolTables:
    """One table per standard deviation: a zero-mean Laplacian variable rounded to the nearest integer.

    What predictions leave of a photograph's coefficients has such tails.  A table's support is the smallest
    that leaves less than ``tail`` of the probability outside, but at least ``min_support`` and at most
    `MAX_SUPPORT`; what is outside belongs to the two outermost symbols, which is where `SymbolTables.clip`
    puts it, or which an excess goes with.

    For use when a model is exported, never when one is loaded: `math.exp` may differ in its last bit from
    one machine to the next, and the counts made here become the integers that everyone reads.
    """
    tables: list[NDArray[np.int32]] = []
    for deviation in map(float, deviations):
        if not (0.0 < deviation < math.inf):
            raise ValueError(f"deviation {deviation} is not a positive number")
        support = min_support
        while support < MAX_SUPPORT and _beyond(support + 0.5, deviation) >= tail:
            support += 1
        sides = -np.diff([*(_beyond(k - 0.5, deviation) / 2.0 for k in range(1, support + 1)), 0.0])
        tables.append(_quantised(np.concatenate([[1.0 - 2.0 * sides.sum()], sides])))
    return _joined(tables)


def _beyond(distance: float, deviation: float) -> float:
    """The probability that a Laplacian variable of this standard deviation is further than this from zero."""
    return math.exp(-math.sqrt(2.0) * distance / deviation)


def excess_counts() -> NDArray[np.int32]:
    """Counts [512] of an excess of whatever size: k with a probability of 1 / ((k + 1) (k + 2)).

    So it is k or more with one of 1 / (k + 1): predictions that are wrong are wrong by one or by fifty.
    """
    size = np.arange(MAX_EXCESS + 1)
    counts: NDArray[np.int32] = np.maximum(TOTAL // ((size + 1) * (size + 2)), 1).astype(np.int32)
    counts[0] += TOTAL - counts.sum()
    return counts


def calibrated_tables(base: SymbolTables, histograms: ArrayLike, strength: float) -> SymbolTables:
    """Tables for the symbols that were seen, with the supports of ``base`` and symmetric.

    ``histograms`` [as ``base.counts``] says how often each symbol of each table occurred (see
    `SymbolTables.histogram`); s and -s are counted together. ``strength`` > 0 is the number of imaginary
    symbols, distributed as ``base`` has it, that are added to each table: the more, the nearer to ``base``.
    For use when a model is exported, as `laplacian_tables`.
    """
    seen = np.asarray(histograms, dtype=np.float64)
    if seen.shape != base.counts.shape:
        raise ValueError(f"histograms have the shape {seen.shape}, not {base.counts.shape}")
    if not (np.isfinite(seen).all() and (seen >= 0).all() and 0.0 < strength < math.inf):
        raise ValueError("histograms and strength must be finite, not negative, and strength not zero")
    weights = seen + base.counts * (strength / TOTAL)
    tables: list[NDArray[np.int32]] = []
    for centre, support in zip(base.centres, base.supports, strict=True):
        whole = weights[centre - support : centre + support + 1]
        tables.append(_quantised((whole + whole[::-1])[support:] / 2.0))
    return _joined(tables)


def _quantised(weights: NDArray[np.float64]) -> NDArray[np.int32]:
    """Symmetric counts [2 A + 1], each >= 1, summing to TOTAL, near-proportional to ``weights`` [A + 1].

    ``weights`` are those of the symbols 0 .. A, not negative and not all zero. Weights that are worth less
    than one count get one, the others share the rest in proportion and by largest remainder.
    """
    times = np.full(len(weights), 2)
    times[0] = 1  # every symbol but 0 stands twice
    single = np.zeros(len(weights), dtype=bool)
    while True:
        scale = (TOTAL - times[single].sum()) / (times * weights)[~single].sum()
        small = ~single & (weights * scale < 1.0)
        if not small.any():
            break
        single |= small
    ideal = np.where(single, 1.0, weights * scale)
    half = np.floor(ideal).astype(np.int32)
    missing = TOTAL - int((times * half).sum())
    nearest = 1 + np.argsort((half - ideal)[1:], kind="stable")  # largest remainder first
    half[nearest[: missing // 2]] += 1
    half[0] += TOTAL - int((times * half).sum())
    return np.concatenate([half[:0:-1], half])


def _joined(tables: Sequence[NDArray[np.int32]]) -> SymbolTables:
    supports = np.array([len(counts) // 2 for counts in tables], dtype=np.int16)
    return SymbolTables(np.concatenate(tables), supports)


class _Order(NamedTuple):
    """In which order symbols are coded: those of tables that are not certain, sorted by table."""

    where: NDArray[np.intp]
    """The place of each among all that are given."""
    support: NDArray[np.int32]
    """Of the table of each."""
    runs: Sequence[tuple[int, slice]]
    """Each table that occurs, with its part of them."""


def _order(tables: SymbolTables, table: NDArray[np.uint16]) -> _Order:
    support = tables.supports[table]
    coded = np.flatnonzero(support)  # few of many
    where = coded[np.argsort(table[coded], kind="stable")]
    sizes = np.bincount(table[coded], minlength=tables.n_tables)
    which = np.flatnonzero(sizes)
    ends = np.cumsum(sizes)[which]
    places = map(slice, (ends - sizes[which]).tolist(), ends.tolist())
    runs = list(zip(which.tolist(), places, strict=True))
    return _Order(where, support[where].astype(np.int32), runs)


def _checked_indices(tables: SymbolTables, table: ArrayLike) -> NDArray[np.uint16]:
    """``table`` as uint16 (numpy sorts that in linear time); raises ValueError where it is no index."""
    t = np.asarray(table)
    if t.ndim != 1 or (t.size and t.dtype.kind not in "iu"):
        raise ValueError(f"table indices must be a row of integers, not {t.dtype} of shape {t.shape}")
    if t.size and not (t.min() >= 0 and t.max() < tables.n_tables):
        raise ValueError(f"table indices {t.min()} to {t.max()} are not all in 0 to {tables.n_tables - 1}")
    return t.astype(np.uint16)


def _checked(
    tables: SymbolTables, symbols: ArrayLike, table: ArrayLike
) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Symbols and table indices, checked against each other; raises ValueError."""
    s = np.asarray(symbols)
    t = _checked_indices(tables, table)
    if s.shape != t.shape or (s.size and s.dtype.kind not in "iu"):
        raise ValueError(f"symbols must be {len(t)} integers, not {s.dtype} of shape {s.shape}")
    limit = tables.reach[t]
    outside = (s > limit) | (s < -limit)
    if outside.any():
        first = int(np.argmax(outside))
        raise ValueError(f"symbol {s[first]} is outside -{limit[first]} to {limit[first]}, its table's range")
    return s.astype(np.int32), t


def _integers(name: str, array: NDArray[Any], low: int, high: int) -> NDArray[np.int64]:
    """``array`` [n] as int64, every element in low .. high; raises ModelFormatError."""
    a = np.asarray(array)
    if a.ndim != 1 or a.dtype.kind not in "iu":
        raise _bad(f"{name} are {a.dtype} of shape {a.shape}, not a row of integers")
    if a.size and not (a.min() >= low and a.max() <= high):
        raise _bad(f"{name} go from {a.min()} to {a.max()}, not within {low} to {high}")
    return a.astype(np.int64)


def _bad(fact: str) -> ModelFormatError:
    return ModelFormatError(f"symbol tables: {fact}; get the model file again")
