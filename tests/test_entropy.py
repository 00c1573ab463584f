"""The symbol coder against a second implementation, golden bytes, the ideal length, and hostile bytes."""

from __future__ import annotations

import copy
import hashlib
import math
import pickle
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from ganic.entropy import (
    MAX_EXCESS,
    MAX_SUPPORT,
    MAX_TABLES,
    TOTAL,
    SymbolDecoder,
    SymbolEncoder,
    SymbolTables,
    calibrated_tables,
    excess_counts,
    laplacian_tables,
)
from ganic.errors import CorruptError, ModelFormatError

Ints = NDArray[np.int64]

COIN = [8192, 49152, 8192]
SMALL = SymbolTables(np.array([*COIN, TOTAL, 1, 100, 65000, 434, 1, 65534, 1, 1]), np.array([1, 0, 2, 1]))
FURTHER = SymbolTables(SMALL.counts, SMALL.supports, np.array([32768, 16384, 8192, 8192]))
DEVIATIONS = np.geomspace(0.11, 64.0, 64)
SCALES = DEVIATIONS / math.sqrt(2.0)  # as numpy and scipy count them
TABLES = laplacian_tables(DEVIATIONS)


def encode(tables: SymbolTables, *puts: tuple[Any, Any]) -> bytes:
    encoder = SymbolEncoder(tables)
    for symbols, table in puts:
        encoder.put(symbols, table)
    return encoder.finish()


def decode(tables: SymbolTables, data: bytes, *gets: Any) -> list[NDArray[np.int16]]:
    decoder = SymbolDecoder(tables, data)
    found = [decoder.get(table) for table in gets]
    decoder.finish()
    return found


def reference(tables: SymbolTables, *puts: tuple[Any, Any]) -> bytes:
    """The specification in ganic.entropy's docstring, word by word, in unbounded integers."""
    low, size, length = 0, 2**64 - 1, 8
    for symbols, table in puts:
        steps, excesses = [], []
        for symbol, index in sorted(zip(symbols, table, strict=True), key=lambda pair: int(pair[1])):
            counts = tables.table(int(index)).tolist()
            support = len(counts) // 2
            if support == 0:
                continue
            steps.append((counts, min(max(int(symbol), -support), support) + support))
            if len(tables.excess) and abs(int(symbol)) >= support:
                excesses.append((tables.excess.tolist(), abs(int(symbol)) - support))
        for counts, at in steps + excesses:
            scale = size >> 24
            low += scale * 256 * sum(counts[:at])
            size = scale * 256 * counts[at]
            if size < 2**32:
                low, size, length = low << 32, size << 32, length + 4
    for zeros in range(8, -1, -1):
        ending: int = -(-low // 256**zeros) * 256**zeros
        if ending < low + size:
            return ending.to_bytes(length, "big").rstrip(b"\0")
    raise AssertionError("a multiple of 1 is always there")


@st.composite
def random_tables(draw: st.DrawFn) -> SymbolTables:
    """Tables of any shape: wide, certain, flat, and lopsided to one count."""
    counts: list[int] = []
    supports = draw(st.lists(st.sampled_from([0, 1, 2, 3, 17, 254, 255]), min_size=1, max_size=5))
    for support in supports:
        size = 2 * support + 1
        kind = draw(st.sampled_from(["flat", "peak", "random"]))
        if kind == "random":
            seed = draw(st.integers(0, 2**32 - 1))
            shares = np.random.default_rng(seed).dirichlet(np.full(size, 0.2))
            row = 1 + np.floor(shares * (TOTAL - size)).astype(int)
        else:
            row = np.full(size, TOTAL // size if kind == "flat" else 1)
        row[draw(st.integers(0, size - 1))] += TOTAL - row.sum()
        counts += row.tolist()
    excess = draw(
        st.sampled_from(
            [[], [1, TOTAL - 1], [1] * MAX_EXCESS + [TOTAL - MAX_EXCESS], excess_counts().tolist()]
        )
    )
    return SymbolTables(np.array(counts), np.array(supports), np.array(excess, int))


@st.composite
def messages(draw: st.DrawFn) -> tuple[SymbolTables, list[tuple[Ints, Ints]]]:
    """Tables and some puts, uniform over their reach or at its end, so that rare symbols are common."""
    tables = draw(random_tables())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    puts = []
    for length in draw(st.lists(st.integers(0, 60), max_size=4)):
        table = rng.integers(0, tables.n_tables, length)
        limit = tables.reach[table].astype(np.int64)
        symbols = (
            rng.integers(-limit, limit + 1) if draw(st.booleans()) else limit * rng.choice([-1, 1], length)
        )
        puts.append((symbols, table))
    return tables, puts


@settings(deadline=None, max_examples=150)
@given(messages())
def test_round_trip_and_reference(message: tuple[SymbolTables, list[tuple[Ints, Ints]]]) -> None:
    tables, puts = message
    data = encode(tables, *puts)
    assert data == reference(tables, *puts)
    found = decode(tables, data, *[table for _, table in puts])
    for (symbols, _), symbols_found in zip(puts, found, strict=True):
        assert symbols_found.dtype == np.int16
        np.testing.assert_array_equal(symbols_found, symbols)


def test_worked_example() -> None:
    """Six symbols of probabilities 1/8, 3/4, 1/8: the interval is [51359, 51368) / 2**16, so two bytes."""
    symbols, table = [0, 1, -1, 0, -1, 1], [0] * 6
    assert encode(SMALL, (symbols, table)) == (51359).to_bytes(2, "big")
    assert SMALL.bits(symbols, table) == pytest.approx(4 * 3 + 2 * math.log2(4 / 3), abs=1e-12)


def lcg(length: int) -> Ints:
    """Numbers below 2**16 that need no random generator to stay as they are."""
    state, found = 1, []
    for _ in range(length):
        state = (state * 1103515245 + 12345) % 2**31
        found.append(state >> 15)
    return np.array(found)


@pytest.mark.parametrize(
    ("tables", "length", "expected"),
    [
        (SMALL, 5, "dfff3fff3ddf"),
        (SMALL, 40, "dda6dfe5bd6f4504795988fffffb93bf604c97fffffffffd14fffffd14fe"),
        (FURTHER, 5, "dfffffffe21f"),
        (FURTHER, 40, "dd0ab0011c1ffffffe18530001e74c0eb9f144cb0918deffe50019fe86fffffff2b711aa8e73"),
    ],
)
def test_golden_bytes(tables: SymbolTables, length: int, expected: str) -> None:
    """Files must decode for ever: these bytes may not change, whatever version of constriction is here."""
    table = lcg(length) % 4
    limit = tables.reach[table].astype(np.int64)
    symbols = lcg(2 * length)[length:] % (2 * limit + 1) - limit
    assert encode(tables, (symbols, table)).hex() == expected
    np.testing.assert_array_equal(decode(tables, bytes.fromhex(expected), table)[0], symbols)


def test_golden_digest_of_a_long_stream() -> None:
    """Wide tables made of integers alone, 20,000 symbols, two puts."""
    ramp = [np.concatenate([np.arange(1, a + 1), [0], np.arange(a, 0, -1)]) for a in (3, 40, 255)]
    for row in ramp:
        row[len(row) // 2] = TOTAL - row.sum()
    tables = SymbolTables(np.concatenate(ramp), np.array([3, 40, 255]))
    table = lcg(20000) % 3
    limit = tables.supports[table].astype(np.int64)
    symbols = lcg(40000)[20000:] % (2 * limit + 1) - limit
    puts = [(symbols[:9999], table[:9999]), (symbols[9999:], table[9999:])]
    data = encode(tables, *puts)
    assert (
        hashlib.sha256(data).hexdigest() == "2dbfd20f91b4057f92d7c3bb8860e272b7e05ada644a339f2e5ffae064ac80d4"
    )
    assert data == reference(tables, *puts)
    np.testing.assert_array_equal(np.concatenate(decode(tables, data, table[:9999], table[9999:])), symbols)


def test_symbols_are_sorted_by_table_and_stay_in_order_within_one() -> None:
    together = encode(SMALL, ([1, 2, -1, 0, -2], [0, 2, 0, 1, 2]))
    assert together == encode(SMALL, ([1, -1], [0, 0]), ([0], [1]), ([2, -2], [2, 2]))
    assert together != encode(SMALL, ([-1, 1], [0, 0]), ([2, -2], [2, 2]))


def test_a_certain_table_costs_nothing() -> None:
    zeros, ones = np.zeros(1000, int), np.ones(1000, int)
    assert encode(SMALL, (zeros, ones)) == b""
    assert SMALL.bits(zeros, ones) == 0.0
    assert decode(SMALL, b"", ones)[0].tolist() == [0] * 1000
    assert encode(SMALL, ([1, 0, 0], [0, 1, 1])) == encode(SMALL, ([1], [0]))


def test_an_excess_costs_what_it_is_worth() -> None:
    """A symbol of 3 beyond a support of 1: 3 bits for "1 or more", 3 for the excess of 2; a 1: 3 and 1."""
    symbols, table = [3, 0, -1, 4, 0], [0, 0, 0, 0, 1]
    assert FURTHER.lengths(symbols, table) == pytest.approx([6, 2 - math.log2(3), 4, 6, 0], abs=1e-12)
    assert SMALL.lengths([-1], [0]) == pytest.approx([3])
    assert decode(FURTHER, encode(FURTHER, (symbols, table)), table)[0].tolist() == symbols


def test_excesses_come_after_the_symbols_of_a_put() -> None:
    """Coded as if they were symbols of one more table."""
    counts = np.array([30000, 20000, 10000, 2000, 3000, 300, 236])
    apart = SymbolTables(np.concatenate([SMALL.counts, counts]), np.array([1, 0, 2, 1, 3]))
    put = encode(SymbolTables(SMALL.counts, SMALL.supports, counts), ([4, 1, -6, 0], [2, 0, 2, 0]))
    excesses = np.array([0, 2, 4]) - 3  # of 1 in table 0, of 4 and -6 in table 2
    assert put == encode(apart, ([2, 1, -2, 0], [2, 0, 2, 0]), (excesses, [4, 4, 4]))


def test_nothing_codes_into_nothing() -> None:
    assert encode(SMALL) == encode(SMALL, ([], [])) == b""
    assert decode(SMALL, b"", [])[0].shape == (0,)
    assert decode(SMALL, b"") == []
    assert SMALL.bits([], []) == 0.0
    with pytest.raises(CorruptError):
        decode(SMALL, b"\0")


@pytest.mark.parametrize(("last", "begins"), [(-3, "7fffffffffffffff"), (3, "8000000000000000")])
def test_carries_run_through_many_words(last: int, begins: str) -> None:
    """Symbols whose interval holds the number 1/2 for 40 words, then one that leaves it to either side."""
    tables = laplacian_tables([0.7])
    middle = SymbolDecoder(tables, b"\x80").get([0] * 1000)
    symbols, table = [*middle.tolist(), last], [0] * 1001
    data = encode(tables, (symbols, table))
    assert len(data) > 160 and data.hex().startswith(begins)
    assert data == reference(tables, (symbols, table))
    assert decode(tables, data, table)[0].tolist() == symbols


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.0, 3.0, 20.0, 64.0])
def test_size_is_near_the_ideal(scale: float) -> None:
    """Within 8 bytes and 0.1 % of the sum of -log2(probability), down to tables of 0.1 bits a symbol."""
    index = int(np.argmin(np.abs(DEVIATIONS - scale)))
    rng = np.random.default_rng(7)
    table = np.full(30000, index)
    symbols = TABLES.clip(np.rint(rng.laplace(scale=SCALES[table])), table)
    ideal = TABLES.bits(symbols, table) / 8
    counts = TABLES.counts[TABLES.centres[table] + symbols]
    assert ideal == pytest.approx(-sum(math.log2(count / TOTAL) for count in counts.tolist()) / 8, rel=1e-9)
    assert ideal <= len(encode(TABLES, (symbols, table))) <= ideal * 1.001 + 8


def test_short_streams_lose_less_than_two_bytes() -> None:
    """A tile may be a dozen bytes: the ending must not cost words."""
    rng = np.random.default_rng(8)
    for length in range(0, 60, 3):
        table = rng.integers(20, 50, length)
        symbols = TABLES.clip(np.rint(rng.laplace(scale=SCALES[table])), table)
        assert len(encode(TABLES, (symbols, table))) < TABLES.bits(symbols, table) / 8 + 2


def test_fast() -> None:
    """300,000 symbols over 64 tables: 8 ms to put and 13 to get on one idle core; here the best of five."""
    rng = np.random.default_rng(9)
    table = rng.integers(0, 64, 300_000).astype(np.uint8)
    symbols = TABLES.clip(np.rint(rng.laplace(scale=SCALES[table])), table)
    puts, gets = [], []
    for _ in range(5):
        start = time.perf_counter()
        data = encode(TABLES, (symbols, table))
        middle = time.perf_counter()
        (found,) = decode(TABLES, data, table)
        puts.append(middle - start)
        gets.append(time.perf_counter() - middle)
        np.testing.assert_array_equal(found, symbols)
    assert min(puts) < 0.1 and min(gets) < 0.1


# ---- hostile bytes


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=60),
    st.lists(st.integers(0, 3), max_size=60),
    st.booleans(),
    st.sampled_from([SMALL, FURTHER]),
)
def test_any_bytes_decode_or_are_corrupt(
    data: bytes, table: list[int], ones: bool, tables: SymbolTables
) -> None:
    """And if `finish` lets them pass, they are exactly what the encoder writes for those symbols."""
    if ones:
        data = b"\xff" * 12 + data  # near the top of the interval, where codes can be impossible
    try:
        (symbols,) = decode(tables, data, table)
    except CorruptError:
        return
    assert (np.abs(symbols) <= tables.reach[np.array(table, int)]).all()
    assert encode(tables, (symbols, table)) == data


@settings(deadline=None, max_examples=200)
@given(messages(), st.data())
def test_a_changed_code_is_corrupt_or_other_symbols(
    message: tuple[SymbolTables, list[tuple[Ints, Ints]]], data: st.DataObject
) -> None:
    tables, puts = message
    good = encode(tables, *puts)
    at = data.draw(st.integers(0, len(good)))
    inserted = data.draw(st.binary(max_size=3))
    bad = good[:at] + inserted + good[at + data.draw(st.integers(0, 3)) :]
    try:
        found = decode(tables, bad, *[table for _, table in puts])
    except CorruptError:
        return
    same = all(np.array_equal(a, b) for a, (b, _) in zip(found, puts, strict=True))
    assert same == (bad == good)


def test_impossible_code_is_corrupt_at_once() -> None:
    decoder = SymbolDecoder(SMALL, b"\xff" * 8)
    with pytest.raises(CorruptError, match="not a code"):
        decoder.get([0])


@pytest.mark.parametrize("change", [b"\0", b"\1", b"junk", bytes(4096)])
def test_bytes_after_the_code_are_corrupt(change: bytes) -> None:
    good = encode(SMALL, ([0, 1, -1, 0, -1, 1], [0] * 6))
    with pytest.raises(CorruptError, match="other bytes"):
        decode(SMALL, good + change, [0] * 6)


def test_left_over_symbols_are_corrupt() -> None:
    table = np.zeros(200, int)
    data = encode(SMALL, (np.tile([1, -1], 100), table))
    with pytest.raises(CorruptError):
        decode(SMALL, data, table[:-60])


# ---- arguments


@pytest.mark.parametrize(
    ("symbols", "table"),
    [
        ([2], [0]),
        ([-2], [0]),
        ([1], [1]),
        ([300], [2]),
        ([2**40], [2]),
        ([0], [4]),
        ([0], [-1]),
        ([0, 0], [0]),
        ([[0]], [[0]]),
        ([0.0], [0]),
        ([0], [0.0]),
    ],
)
def test_wrong_symbols_or_tables(symbols: Any, table: Any) -> None:
    with pytest.raises(ValueError, match=r"symbol|table"):
        SymbolEncoder(SMALL).put(symbols, table)
    with pytest.raises(ValueError, match=r"symbol|table"):
        SMALL.bits(symbols, table)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint64])
def test_any_integer_type_will_do(dtype: Any) -> None:
    symbols, table = np.array([0, 1, 1], dtype), np.array([0, 2, 3], dtype)
    data = encode(SMALL, (symbols, table))
    assert decode(SMALL, data, table)[0].tolist() == [0, 1, 1]


def test_symbols_beyond_the_largest_excess_are_refused() -> None:
    with pytest.raises(ValueError, match="symbol 5 is outside -4 to 4"):
        SymbolEncoder(FURTHER).put([5], [0])


def test_unsigned_symbols_do_not_wrap() -> None:
    with pytest.raises(ValueError, match="symbol 255"):
        SymbolEncoder(SMALL).put(np.array([255], np.uint8), [0])


def test_clip() -> None:
    assert SMALL.clip([-9, 5, 2, 1], [0, 1, 2, 3]).tolist() == [-1, 0, 2, 1]
    np.testing.assert_array_equal(SMALL.clip(np.full((2, 3), 7), np.full((2, 3), 2)), np.full((2, 3), 2))
    # With excesses; what is certain stays so.
    assert FURTHER.clip([-9, 5, 4, 9], [0, 1, 2, 3]).tolist() == [-4, 0, 4, 4]


# ---- tables


def test_arrays_there_and_back() -> None:
    counts, supports = TABLES.counts, TABLES.supports
    assert counts.dtype == np.int32 and supports.dtype == np.int16
    again = SymbolTables(counts.astype(np.int64), supports.astype(np.uint8))
    np.testing.assert_array_equal(again.counts, counts)
    np.testing.assert_array_equal(again.supports, supports)
    with pytest.raises(ValueError, match="read-only"):
        again.counts[0] = 5


def test_tables_do_not_change_with_the_arrays_they_came_from() -> None:
    counts = np.array(COIN, np.int32)
    tables = SymbolTables(counts, np.array([1], np.int16))
    counts[:] = 1
    assert tables.counts.tolist() == COIN


@pytest.mark.parametrize("again", [copy.deepcopy, lambda tables: pickle.loads(pickle.dumps(tables))])
def test_tables_travel_to_other_processes(again: Any) -> None:
    encode(SMALL, ([1], [0]))  # so that a model is cached
    assert again(SMALL).counts.tolist() == SMALL.counts.tolist()
    assert again(FURTHER).excess.tolist() == FURTHER.excess.tolist()


@pytest.mark.parametrize(
    ("counts", "supports"),
    [
        ([], []),
        (COIN, []),
        (COIN, [0]),
        (COIN, [2]),
        (COIN, [1, 0]),
        (COIN, [-1]),
        ([8192, 49152, 8191], [1]),
        ([8192, 49152, 8193], [1]),
        ([0, TOTAL, 0], [1]),
        ([-1, TOTAL + 2, -1], [1]),
        ([*COIN, TOTAL - 1], [1, 0]),
        ([TOTAL + 1], [0]),
        ([float(c) for c in COIN], [1]),
        (COIN, [1.0]),
        ([COIN], [1]),
        (COIN, [[1]]),
        ([1] * (2 * MAX_SUPPORT + 2) + [TOTAL - 2 * MAX_SUPPORT - 2], [MAX_SUPPORT + 1]),
        ([TOTAL] * (MAX_TABLES + 1), [0] * (MAX_TABLES + 1)),
        ([2**62, 2**62, 2**62, 2**62 + TOTAL], [0, 1]),
    ],
)
def test_arrays_that_are_no_tables(counts: Any, supports: Any) -> None:
    with pytest.raises(ModelFormatError, match="symbol tables: "):
        SymbolTables(np.array(counts), np.array(supports))


@pytest.mark.parametrize(
    "excess",
    [[TOTAL], [1, TOTAL], [0, TOTAL], [TOTAL, 1], [-1, TOTAL + 1], [float(TOTAL)], [[TOTAL]], [128] * 513],
)
def test_arrays_that_are_no_excess(excess: Any) -> None:
    with pytest.raises(ModelFormatError, match="symbol tables: "):
        SymbolTables(np.array(COIN), np.array([1]), np.array(excess))


def test_an_excess_may_be_of_any_size() -> None:
    counts, size = excess_counts(), np.arange(1, MAX_EXCESS + 1)
    assert len(counts) == MAX_EXCESS + 1 and counts.min() >= 1 and counts.sum() == TOTAL
    assert np.abs(counts[1:] - TOTAL / (size + 1) / (size + 2)).max() < 1
    assert counts[0] / TOTAL == pytest.approx(1 / 2, rel=0.01)


def test_histogram_counts_every_symbol() -> None:
    found = SMALL.histogram([1, 1, -1, 0, 2, 0], [0, 0, 0, 1, 2, 3])
    assert found.tolist() == [1, 0, 2, 1, 0, 0, 0, 0, 1, 0, 1, 0]


def test_laplacian_tables_are_the_laplace_distribution() -> None:
    """Each count within one of the exact share; what lies outside the support is on its two ends."""
    assert TABLES.n_tables == len(SCALES)
    for index, scale in enumerate(SCALES):
        counts, support = TABLES.table(index), int(TABLES.supports[index])
        exact = clipped(scale, support) * TOTAL
        np.testing.assert_array_equal(counts, counts[::-1])
        assert counts.sum() == TOTAL and counts.min() >= 1
        sure = exact >= 1.0
        floored = (1.0 - exact[~sure]).sum()  # counts of one are paid for by the others, in proportion
        np.testing.assert_allclose(counts[sure], exact[sure], atol=1.01 + floored * exact.max() / TOTAL)
        assert (counts[~sure] <= 2).all()


def clipped(scale: float, support: int) -> NDArray[np.float64]:
    """The exact shares of -support .. support, where the outermost two have the tails."""
    edges = np.arange(-support, support) + 0.5
    return np.diff([0.0, *stats.laplace(scale=scale).cdf(edges), 1.0])


def test_supports_leave_little_outside() -> None:
    for tail, least in ((2.0**-14, 1), (1e-3, 0)):
        tables = laplacian_tables(DEVIATIONS, tail=tail, min_support=least)
        for scale, support in zip(SCALES, tables.supports.tolist(), strict=True):
            distribution = stats.laplace(scale=scale)
            if support < MAX_SUPPORT:
                assert 2 * distribution.sf(support + 0.5) < tail
            if support > least:
                assert 2 * distribution.sf(support - 0.5) >= tail
    assert laplacian_tables([1000.0]).supports.tolist() == [MAX_SUPPORT]


@pytest.mark.parametrize("deviation", [0.0, -1.0, math.nan, math.inf])
def test_deviations_are_checked(deviation: float) -> None:
    with pytest.raises(ValueError, match=f"deviation {deviation} is not a positive number"):
        laplacian_tables([1.0, deviation])


def test_quantising_costs_next_to_nothing() -> None:
    """Coding exactly Laplacian symbols with integer tables: under 1e-3 bits a symbol over their entropy."""
    for index, scale in enumerate(SCALES):
        exact, counts = clipped(scale, int(TABLES.supports[index])), TABLES.table(index)
        loss = (exact * np.log2(exact / (counts / TOTAL))).sum()
        assert -1e-12 < loss < 1e-3


def test_calibrated_tables_follow_what_was_seen() -> None:
    base = laplacian_tables([0.5, 2.0], tail=2.0**-6)  # so that no count of one is paid for by the others
    rng = np.random.default_rng(10)
    table = np.repeat([0, 1], 20000)
    symbols = base.clip(np.rint(rng.laplace(size=len(table)) * np.where(table, 1.0, 0.4)), table)
    seen = base.histogram(symbols, table)
    tuned = calibrated_tables(base, seen, strength=50.0)
    np.testing.assert_array_equal(tuned.supports, base.supports)
    assert tuned.bits(symbols, table) < base.bits(symbols, table)
    for index in range(2):
        counts = tuned.table(index)
        np.testing.assert_array_equal(counts, counts[::-1])
        place = slice(
            int(base.centres[index] - base.supports[index]),
            int(base.centres[index] + base.supports[index] + 1),
        )
        blend = (seen[place] + seen[place][::-1]) / 2 + base.table(index) * (50.0 / TOTAL)
        np.testing.assert_allclose(counts, np.maximum(1, blend / 20050.0 * TOTAL), atol=1.5)


def test_calibration_between_its_ends() -> None:
    """Nothing seen gives the base back; a huge strength too; one strange symbol hardly matters."""
    base = laplacian_tables([0.11, 0.5, 30.0])
    nothing = np.zeros(len(base.counts), int)
    np.testing.assert_array_equal(calibrated_tables(base, nothing, 1.0).counts, base.counts)
    strange = nothing.copy()
    strange[-1] = 1
    np.testing.assert_allclose(calibrated_tables(base, strange, 1e9).counts, base.counts, atol=1)
    only = calibrated_tables(base, strange * 10**12, 1e-9)
    assert only.table(2)[0] == only.table(2)[-1] > TOTAL // 2 - MAX_SUPPORT
    assert only.table(2)[1:-1].max() == 2 and only.table(2).min() == 1  # the middle takes the odd count


def test_calibration_with_certain_tables() -> None:
    tuned = calibrated_tables(SMALL, SMALL.histogram([0, 0], [1, 0]), 4.0)
    assert tuned.table(1).tolist() == [TOTAL]
    assert tuned.table(0).tolist() == [6554, 52428, 6554]  # (0 + 1/2, 1 + 3, 0 + 1/2) of 5, rounded


@pytest.mark.parametrize(
    ("histograms", "strength"),
    [
        ([1.0, 2.0], 1.0),
        ([-1.0, 0, 0], 1.0),
        ([math.nan, 0, 0], 1.0),
        ([1, 1, 1], 0.0),
        ([1, 1, 1], math.inf),
    ],
)
def test_calibration_arguments(histograms: Any, strength: float) -> None:
    base = SymbolTables(np.array(COIN), np.array([1]))
    with pytest.raises(ValueError, match="histograms"):
        calibrated_tables(base, histograms, strength)


@settings(deadline=None, max_examples=60)
@given(random_tables(), st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6))
def test_calibrated_tables_are_always_valid(tables: SymbolTables, seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    seen = np.floor(rng.pareto(0.5, len(tables.counts)).clip(0, 1e9))
    tuned = calibrated_tables(tables, seen, strength)  # the constructor checks sums and minima
    for index in range(tuned.n_tables):
        np.testing.assert_array_equal(tuned.table(index), tuned.table(index)[::-1])
