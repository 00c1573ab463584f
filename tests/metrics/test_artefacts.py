"""The lattices here are small enough to work out by hand; the comments do."""

from __future__ import annotations

import numpy as np
import pytest

from ganic.errors import UsageError
from ganic.metrics import grid, screen

SIZE = 64


def original() -> np.ndarray:
    return np.full((SIZE, SIZE, 3), 100, np.uint8)


def with_columns(period: int, value: int = 110) -> np.ndarray:
    decoded = original()
    decoded[:, ::period] = value
    return decoded


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        # A line every second column: every difference is 10, no phase is stronger.
        (2, 1.0),
        # Every fourth: differences 10, 0, 0, 10 at the four phases: 10 / 5.
        (4, 2.0),
        # Every eighth: two phases of eight have 10: 10 / 2.5.
        (8, 4.0),
        # Every sixteenth: two of sixteen.
        (16, 8.0),
    ],
)
def test_lines_at_a_period(period: int, expected: float) -> None:
    decoded = with_columns(period)
    # The last phase has one number less than the others; they are all equal, so its mean is the same.
    assert grid(original(), decoded) == pytest.approx(expected)
    assert grid(original().swapaxes(0, 1), decoded.swapaxes(0, 1)) == pytest.approx(expected)


def test_block_edges() -> None:
    # 8x8 blocks a level apart: the residual steps at one phase of eight, so that is 8 times the mean.
    decoded = original()
    decoded += (np.arange(SIZE) // 8 % 2).astype(np.uint8)[None, :, None]
    assert grid(original(), decoded) == pytest.approx(8)


def test_a_lattice_of_another_period_is_not_mistaken_for_one_of_these() -> None:
    size = 3 * 5 * 7 * 16 + 1
    flat = np.full((4, size, 3), 100, np.uint8)
    decoded = flat.copy()
    decoded[:, ::7] = 110
    assert grid(flat, decoded) == pytest.approx(1, abs=0.01)


def test_noise_has_none() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 200, (512, 512, 3), dtype=np.uint8)
    decoded = (picture + rng.integers(-8, 9, picture.shape)).astype(np.uint8)
    assert 1 <= grid(picture, decoded) < 1.03


def test_noise_on_a_lattice_of_strengths() -> None:
    # Noise three times as strong in every other 8-pixel column block has no lattice of 8, but one of 16.
    rng = np.random.default_rng(1)
    strength = np.where(np.arange(512) // 8 % 2, 30, 10)[None, :]
    noise = np.rint(rng.uniform(-1, 1, (512, 512)) * strength)
    picture = np.full((512, 512, 3), 128, np.uint8)
    decoded = (128 + noise[:, :, None].repeat(3, 2)).astype(np.uint8)
    assert 1.3 < grid(picture, decoded) < 1.7


def test_it_sees_the_sum_of_the_channels_only() -> None:
    decoded = original()
    decoded[:, ::8, 0] += 9
    decoded[:, ::8, 1] -= 9
    assert grid(original(), decoded) == 1


def test_an_exact_copy_and_a_tiny_picture_have_none() -> None:
    assert grid(original(), original()) == 1
    tiny = np.zeros((1, 1, 3), np.uint8)
    assert grid(tiny, tiny + 9) == 1
    assert grid(np.zeros((2, 3, 3), np.uint8), np.eye(3, dtype=np.uint8)[None].repeat(2, 0)) == 1


def checkerboard(size: int, height: int) -> np.ndarray:
    return np.where(np.add.outer(np.arange(size), np.arange(size)) % 2, height, -height)[:, :, None]


def test_a_checkerboard_is_a_screen_and_no_grid() -> None:
    # A Hann window of 32x32 with squares of sum 1 adds up to 256 / 12: the line has the power
    # 3^2 (256 / 12)^2, the frequencies two steps beside it what rounding leaves.
    decoded = (original() + checkerboard(SIZE, 3)).astype(np.uint8)
    assert grid(original(), decoded) == pytest.approx(1)
    assert screen(original(), decoded) == pytest.approx(9 * (256 / 12) ** 2 * 12 + 1, rel=1e-3)


@pytest.mark.parametrize("period", [2, 4])
def test_dots_in_noise_are_a_screen(period: int) -> None:
    # Noise of variance 4 / 3 in their mean has that power at every frequency; dots of 2 levels on every
    # p-th pixel both ways are lines of 2 / p^2.
    rng = np.random.default_rng(2)
    picture = np.full((512, 512, 3), 128, np.uint8)
    residual = rng.normal(0, 2, picture.shape)
    residual[1::period, ::period] += 2
    power = (2 / period**2) ** 2 * (256 / 12) ** 2
    noise = 4 / 3 + 1 / 36 + 1 / 12
    expected = 1 + power / noise
    assert screen(picture, np.rint(128 + residual).astype(np.uint8)) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("period", [3, 5, 7])
def test_dots_at_other_periods_are_none(period: int) -> None:
    picture = np.full((480, 480, 3), 128, np.uint8)
    decoded = picture.copy()
    decoded[::period, ::period] += 20
    rng = np.random.default_rng(3)
    decoded += rng.integers(0, 9, decoded.shape, dtype=np.uint8)
    assert screen(picture, decoded) < 1.3


def test_noise_edges_and_copies_are_no_screen() -> None:
    rng = np.random.default_rng(4)
    picture = rng.integers(60, 200, (300, 400, 3), dtype=np.uint8)
    assert 0.8 < screen(picture, (picture + rng.integers(-8, 9, picture.shape)).astype(np.uint8)) < 1.2
    assert screen(picture, picture) == 1
    # Long edges of all heights and places: their spectrum is a ridge along an axis.
    bars = np.repeat(np.repeat(rng.integers(0, 200, 90), rng.integers(2, 9, 90))[None, :400], 300, axis=0)
    shifted = np.roll(bars, 1, axis=1)
    edges = np.stack([bars] * 3, axis=2).astype(np.uint8)
    assert screen(edges, np.stack([shifted] * 3, axis=2).astype(np.uint8)) < 1.3


def test_a_screen_needs_a_window() -> None:
    small = np.zeros((31, 64, 3), np.uint8)
    with pytest.raises(UsageError, match="64x31 pixels: a screen shows from 32x32 on"):
        screen(small, small)
