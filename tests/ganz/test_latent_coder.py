"""Integer latents: tables, coders, and what a prior learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ganic.entropy import SymbolDecoder, SymbolEncoder, SymbolTables
from ganic.errors import ModelFormatError, UsageError
from ganic.ganz.latent_coder import (
    GROUPS,
    LEVELS,
    RATIO,
    UNIT,
    ActivityCoder,
    LatentCoder,
    LatentPrior,
    PlainCoder,
    channel_groups,
    expected_magnitudes,
    tile_bits,
)
from ganic.ganz.prior_fit import fit_levels, fit_prior
from ganic.ganz.tables import laplace_tables, scales, with_certain_zero, without_certain_zero

TABLES = laplace_tables()
CHANNELS = 13


def prior(seed: int = 0, local: bool = False) -> LatentPrior:
    rng = np.random.default_rng(seed)
    levels = rng.integers(-10, 60, (CHANNELS, 64)).astype(np.int16)
    return LatentPrior(TABLES, levels, rng.integers(-9, 10, (6, 6)).astype(np.int8), local)


def laplace(coder: ActivityCoder, count: int, seed: int, busy: float = 1.0) -> NDArray[np.int64]:
    """Symbols as the coder expects them, or ``busy`` times as large."""
    rng = np.random.default_rng(seed)
    deviation = np.where(coder.base < 0, 0, 0.11 * RATIO**coder.base) * busy
    values = np.zeros((count, coder.size))
    coder.arranged(values)[:] = rng.laplace(size=(count, *coder.base.shape[1:])) * deviation / math.sqrt(2)
    return np.rint(values).astype(np.int64)


def round_trip(coder: LatentCoder, tiles: NDArray[np.int16]) -> bytes:
    encoder = SymbolEncoder(coder.tables)
    for tile in tiles:
        coder.put(encoder, tile)
    data = encoder.finish()
    decoder = SymbolDecoder(coder.tables, data)
    for tile in tiles:
        assert np.array_equal(coder.get(decoder), tile)
    decoder.finish()
    return data


def test_tables_are_laplace() -> None:
    assert TABLES.n_tables == LEVELS + 1 and TABLES.supports[0] == 0
    for index, scale in list(enumerate(scales(), start=1))[20:50:7]:
        counts, support = TABLES.table(index) / 2**16, int(TABLES.supports[index])
        rate = math.sqrt(2) / scale
        assert math.isclose(counts[support], 1 - math.exp(-rate / 2), rel_tol=0.01)
        assert math.isclose(
            counts[support + 1], 0.5 * math.exp(-rate / 2) * (1 - math.exp(-rate)), rel_tol=0.02
        )
        variance = float((counts * np.arange(-support, support + 1) ** 2).sum())
        assert math.isclose(variance, scale**2 + 1 / 12, rel_tol=0.15)
    assert scales()[-1] == pytest.approx(64.0)
    again = with_certain_zero(without_certain_zero(TABLES))
    assert np.array_equal(again.counts, TABLES.counts)


def test_expected_magnitudes_by_hand() -> None:
    counts = np.array([65536, 16384, 32768, 16384, 8192, 8192, 32768, 8192, 8192], np.int32)
    tables = SymbolTables(counts, np.array([0, 1, 2], np.int16))
    # 0; 1/2 of 1; (1/8 + 1/8) of 1 and of 2
    assert expected_magnitudes(tables).tolist() == [0, UNIT // 2, UNIT * 3 // 4]


@settings(deadline=None, max_examples=25)
@given(st.booleans(), st.integers(0, 63), st.integers(0, 2**31), st.sampled_from([0.2, 1.0, 3.0]))
def test_activity_coder_round_trip(local: bool, step: int, seed: int, busy: float) -> None:
    coder = prior(seed % 3, local).at(step)
    symbols, tables = coder.fit(laplace(coder, 2, seed, busy))
    data = round_trip(coder, symbols)
    # From above only: zero bytes at the end are dropped, so a lucky message is shorter than its ideal length.
    assert len(data) < coder.tables.bits(symbols.ravel(), tables.ravel()) / 8 + 2.5
    # Fitting is idempotent, and clips to what the tables hold.
    again, same = coder.fit(symbols)
    assert np.array_equal(again, symbols) and np.array_equal(same, tables)
    assert (np.abs(symbols) <= coder.tables.supports[tables]).all()


@pytest.mark.parametrize("local", [False, True])
def test_tiles_at_their_own_steps(local: bool) -> None:
    steps = [5, 0, 20]
    symbols = np.concatenate([laplace(prior(local=local).at(s), 1, s) for s in steps])
    fitted, tables = prior(local=local).at(steps).fit(symbols)
    plain_fitted, plain_tables = PlainCoder(TABLES, 4, [9, 9, 60], [3, 12, 0]).fit(np.full((3, 4), 300))
    assert plain_tables[:, 0].tolist() == [7, 1, 61]
    assert plain_fitted[:, 0].tolist() == TABLES.supports[[7, 1, 61]].tolist()
    for tile, step in enumerate(steps):
        alone, its_tables = prior(local=local).at(step).fit(symbols[tile : tile + 1])
        assert np.array_equal(alone[0], fitted[tile]) and np.array_equal(its_tables[0], tables[tile])


def test_coefficients_below_the_step_are_zero_and_free() -> None:
    coder = prior().at(63)
    symbols, tables = coder.fit(np.full((1, coder.size), 300))
    certain = coder.base.ravel() < 0
    assert (symbols[0][certain] == 0).all() and (tables[0][certain] == 0).all()
    assert (symbols[0][~certain] != 0).all() and (tables[0][~certain] > 0).all()
    everything_zero = LatentPrior(
        TABLES, np.full((CHANNELS, 64), -1, np.int16), np.zeros((6, 6), np.int8)
    ).at(0)
    assert round_trip(everything_zero, np.zeros((3, everything_zero.size), np.int16)) == b""


def test_activity_bins_by_hand() -> None:
    coder = LatentPrior(TABLES, np.full((2, 64), 40, np.int16), np.zeros((6, 6), np.int8)).at(0)
    expected = int(expected_magnitudes(TABLES)[41])  # of each symbol, in 1/256
    symbols = np.zeros((3, 2, 64), np.int16)
    symbols[1, 0, 0] = round(expected / UNIT)  # as expected in channel 0, nothing in channel 1
    symbols[2, :, 0] = 8 * round(expected / UNIT)
    local, everywhere = coder.activity(1, symbols)

    def bin_of(seen: int, expectation: int) -> int:
        ratio = (UNIT * seen + 64) / (expectation + 64)
        return sum(ratio >= t for t in (0.25, 0.5, 1, 2, 4))

    m = round(expected / UNIT)
    assert local.tolist() == [
        [bin_of(0, expected)] * 2,
        [bin_of(m, expected), bin_of(0, expected)],
        [bin_of(8 * m, expected)] * 2,
    ]
    assert everywhere.tolist() == [
        [bin_of(0, 2 * expected)] * 2,
        [bin_of(m, 2 * expected)] * 2,
        [bin_of(16 * m, 2 * expected)] * 2,
    ]
    assert local[2, 0] == 5 and local[0, 0] == 0


def test_activity_of_places_by_hand() -> None:
    coder = LatentPrior(TABLES, np.full((9, 64), 40, np.int16), np.zeros((6, 6), np.int8), local=True).at(0)
    assert list(coder.groups) == [0, 3, 7, 9]
    each = int(expected_magnitudes(TABLES)[41])  # in 1/256
    symbols = np.zeros((1, 9, 8, 8), np.int16)
    symbols[0, 0] = 100  # a smooth channel says nothing
    symbols[0, 3:7, 2, 5] = 8 * round(each / UNIT)  # one busy position
    nearby, around = (bins.reshape(8, 8) for bins in coder.activity(2, coder.arranged(symbols)))
    busy = np.zeros((8, 8), bool)
    busy[2, 5] = True
    assert (nearby[busy] == 5).all() and (nearby[~busy] == 0).all()
    # Around each of its eight neighbours 8 times of one position's share, of 8 positions; of 5 or 3 at edges.
    ring = np.zeros((8, 8), bool)
    ring[1:4, 4:7] = True
    ring[2, 5] = False
    ratio = (UNIT * 4 * 8 * round(each / UNIT) + 64) / (8 * 4 * each + 64)
    assert (around[ring] == sum(ratio >= t for t in (0.25, 0.5, 1, 2, 4))).all() and (
        around[~ring] == 0
    ).all()


def test_groups_of_channels_grow() -> None:
    assert channel_groups(256) == [0, 3, 7, 11, 16, 24, 36, 54, 81, 121, 181, 256]
    assert channel_groups(2) == [0, 2]


@pytest.mark.parametrize("local", [False, True])
def test_a_group_depends_on_the_two_before_it_only(local: bool) -> None:
    coder = prior(local=local).at(5)
    symbols, _ = coder.fit(laplace(coder, 1, 0))
    tile = coder.arranged(symbols)
    groups = coder.groups
    assert local or groups == GROUPS
    for group in range(coder.first, len(groups) - 1):
        before = coder.group_tables(group, tile)
        other = tile.copy()
        other[:, :, groups[group] :] += 7
        other[:, :, : groups[max(coder.first - 1, group - 2)]] += 7
        assert np.array_equal(coder.group_tables(group, other), before)


@pytest.mark.parametrize("level, step, table", [(30, 10, 21), (5, 10, 1), (127, 0, 64)])
def test_plain_coder(level: int, step: int, table: int) -> None:
    coder = PlainCoder(TABLES, 50, level, step)
    assert coder.table == table
    symbols, tables = coder.fit(np.random.default_rng(0).integers(-400, 400, (2, 50)))
    assert (tables == table).all() and np.abs(symbols).max() <= TABLES.supports[table]
    round_trip(coder, symbols)


def test_fitted_prior_codes_shorter_than_an_unfitted_one() -> None:
    # Half of the tiles are calm, half busy; only activity tells them apart.
    rng = np.random.default_rng(0)
    deviation = np.exp(rng.normal(1, 1, (CHANNELS, 64))) * np.linspace(2, 0.05, 64)
    energy = np.where(np.arange(400) % 2, 0.2, 2.0)[:, None, None]
    values = (rng.laplace(size=(400, CHANNELS, 64)) * deviation * energy).astype(np.float32)
    levels = fit_levels(values.reshape(400, -1), 0.25)
    symbols = {s: np.rint(values / (0.25 * RATIO**s)).astype(np.int16).reshape(400, -1) for s in (0, 8, 16)}
    plain = LatentPrior(TABLES, levels, np.zeros((6, 6), np.int8))
    fitted = fit_prior(levels, {s: v[:300] for s, v in symbols.items()})
    assert fitted.shifts[0, 0] < 0 < fitted.shifts[5, 5]
    for s, v in symbols.items():
        ours, theirs = (tile_bits(p.at(s), v[300:]) for p in (fitted, plain))
        assert ours < 0.95 * theirs, s
    with pytest.raises(UsageError, match="coefficients"):
        fit_levels(np.zeros((0, 256), np.float32), 1.0)
    with pytest.raises(UsageError, match="finite"):
        fit_levels(np.full((3, 256), np.nan, np.float32), 1.0)


def test_a_fitted_local_prior_knows_where_it_is_busy() -> None:
    rng = np.random.default_rng(0)
    deviation = np.geomspace(8, 0.5, CHANNELS)[:, None]
    energy = np.where(np.arange(8) < 4, 0.2, 2.0).repeat(8)  # the upper half of every picture is calm ...
    energy = np.where(rng.random((400, 1)) < 0.5, energy, energy[::-1])  # ... or the lower
    values = (rng.laplace(size=(400, CHANNELS, 64)) * deviation * energy[:, None]).astype(np.float32)
    values[:, :3] /= energy[:, None]
    levels = fit_levels(values.reshape(400, -1), 0.25, local=True)
    assert (levels[3:] == levels[3:, :1]).all() and (levels[:3] != levels[:3, :1]).any()
    symbols = {s: np.rint(values / (0.25 * RATIO**s)).astype(np.int16).reshape(400, -1) for s in (0, 8)}
    plain = LatentPrior(TABLES, levels, np.zeros((6, 6), np.int8), local=True)
    fitted = fit_prior(levels, {s: v[:300] for s, v in symbols.items()}, local=True)
    for s, v in symbols.items():
        ours, theirs = (tile_bits(p.at(s), v[300:]) for p in (fitted, plain))
        assert ours < 0.93 * theirs, s


def test_levels_are_laplace_scales() -> None:
    rng = np.random.default_rng(1)
    deviation = np.geomspace(0.2, 50, 64)
    values = (rng.laplace(size=(4000, 64)) * deviation / math.sqrt(2)).astype(np.float32)
    levels = fit_levels(values, 1.0)[0]
    assert np.abs(levels - np.round(np.log(deviation / 0.11) / math.log(RATIO))).max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"levels": np.zeros((4, 63), np.int16)},
        {"levels": np.zeros((4, 64), np.int32)},
        {"levels": np.full((4, 64), 2000, np.int16)},
        {"shifts": np.zeros((6, 5), np.int8)},
        {"shifts": np.full((6, 6), 100, np.int8)},
        {"tables": without_certain_zero(TABLES)},
    ],
)
def test_damaged_priors(change: dict[str, object]) -> None:
    arrays: dict[str, object] = {
        "tables": TABLES,
        "levels": np.zeros((4, 64), np.int16),
        "shifts": np.zeros((6, 6), np.int8),
    }
    with pytest.raises(ModelFormatError, match="latent prior"):
        LatentPrior(**(arrays | change))  # type: ignore[arg-type]
