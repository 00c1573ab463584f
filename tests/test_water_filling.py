"""Rates by reverse water-filling, against sums over scipy's transform and known cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from torch import Tensor

from ganic.water_filling import BLOCKS, LEVELS, MEAN, PAID, SIDE, RateCurve, rate_at

COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


def noise(deviation: float, rows: int = 10, columns: int = 12, seed: int = 0) -> Tensor:
    random = np.random.default_rng(seed)
    pixels = 128 + deviation * random.standard_normal((3, rows * SIDE, columns * SIDE))
    return torch.from_numpy(pixels.round().clip(0, 255).astype(np.uint8))


def expected(image: Tensor, level: float) -> float:
    """Bits per pixel, block by block and coefficient by coefficient."""
    pixels = np.einsum("ci,ihw->chw", COLOURS, image.numpy().astype(np.float64))
    bits = 0.0
    for top in range(0, pixels.shape[1] - SIDE + 1, SIDE):
        for left in range(0, pixels.shape[2] - SIDE + 1, SIDE):
            for colour in pixels[:, top : top + SIDE, left : left + SIDE]:
                found = dctn(colour, norm="ortho")
                found[0, 0] *= MEAN
                bits += np.maximum(0, np.log2(np.maximum(found**2, 1e-6) / level) / 2).sum()
    return PAID * bits / (image.shape[1] // SIDE * (image.shape[2] // SIDE) * SIDE**2)


def test_a_level_takes_the_rate_it_was_asked_for() -> None:
    image = noise(20)
    image[:, :, 60:] = torch.arange(132).byte()  # half noise, half a ramp
    curve = RateCurve(image)
    for rate in (0.01, 0.1, 1.0, 3.0):
        assert expected(image, curve.level(rate)) == pytest.approx(rate, rel=0.01)
        assert rate_at(image, curve.level(rate)) == pytest.approx(rate, rel=0.01)


def test_rows_and_columns_beyond_whole_blocks_do_not_count() -> None:
    image = noise(20)
    larger = torch.nn.functional.pad(image, (0, 5, 0, 15), value=255)
    assert np.array_equal(RateCurve(larger).whole, RateCurve(image).whole)


def test_contrast_twice_as_high_is_a_level_four_times_as_high() -> None:
    image = (noise(10).int() - 128) * 2
    low, high = ((image * factor + 128).byte() for factor in (1, 2))
    for rate in (0.2, 2.0):
        assert RateCurve(high).level(rate) / RateCurve(low).level(rate) == pytest.approx(4, rel=0.03)


def test_large_pictures_are_looked_at_in_places_all_over() -> None:
    rows = columns = math.isqrt(4 * BLOCKS)
    image = noise(20, rows, columns)
    image[:, : rows * SIDE // 2] = 90
    assert RateCurve(image).level(0.5) == pytest.approx(RateCurve(noise(20, 8, 8)).level(1.0), rel=0.05)


def test_downscaled_pictures_take_more_per_pixel_and_scales_between_lie_between() -> None:
    picture = noise(60)  # noise that downscaling averages away, on waves that it brings nearer to each other
    waves = 100 * torch.sin(torch.arange(192) / 6)
    picture = (picture // 8 + 112 + waves).clamp(0, 255).byte()
    curve = RateCurve(picture, 0.5)
    levels = [curve.level(0.05, scale) for scale in (1.0, 0.8, 0.6, 0.5)]
    assert levels == sorted(levels) and levels[3] > 1.2 * levels[0]
    small = torch.nn.functional.interpolate(picture[None], (80, 96), mode="bilinear", antialias=True)[0]
    assert levels[3] == pytest.approx(RateCurve(small).level(0.05), rel=1e-6)
    assert curve.level(0.05, 0.3) == levels[3]


def test_what_no_level_takes_is_the_nearest_that_there_is() -> None:
    black = RateCurve(torch.zeros(3, SIDE, SIDE, dtype=torch.uint8))
    assert black.level(0.1) == 2.0 ** LEVELS[0]
    assert RateCurve(noise(5)).level(20.0) == 2.0 ** LEVELS[0]
