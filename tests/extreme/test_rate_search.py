"""Where the search for a size begins, and that it ends with the largest file that fits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganic import bitstream, images
from ganic.extreme.codec import NEAR, Codec
from ganic.extreme.conditioning import QUALITIES
from ganic.extreme.rate_search import PATCH, expected_index, largest_within

PHOTO = Path(__file__).parent.parent / "data" / "photo.webp"


def noise(width: int, height: int, deviation: float = 20) -> images.Picture:
    random = np.random.default_rng(0)
    pixels = 128 + deviation * random.standard_normal((height, width, 3))
    return images.Picture(Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)))


def test_more_bits_or_less_to_draw_is_a_higher_index() -> None:
    picture, calmer = noise(96, 64), noise(96, 64, deviation=10)
    indices = [expected_index(picture, bpp) for bpp in (0.01, 0.3, 1, 3, 30)]
    assert indices == sorted(indices) and indices[0] >= 0 and indices[-1] == QUALITIES - 1
    # A quarter of the power in every coefficient is a quarter of the water level.
    expected = expected_index(picture, 0.3) + 29 * math.log2(4)
    assert expected_index(calmer, 0.3) == pytest.approx(expected, abs=6)


def test_a_large_picture_is_looked_at_in_patches() -> None:
    half = noise(2048, 1024).image
    half.paste((90, 90, 90), (0, 0, 2048, 512))
    small = noise(512, 512).image
    small.paste((90, 90, 90), (0, 0, 512, 256))
    large = expected_index(images.Picture(half), 0.5)
    assert large == pytest.approx(expected_index(images.Picture(small), 0.5), abs=3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (15, 400), (17, 16), (100_000, PATCH - 1)])
def test_every_shape_has_an_index(width: int, height: int) -> None:
    picture = images.Picture(Image.new("RGB", (width, height), (10, 200, 30)))
    assert 0 <= expected_index(picture, 0.1) < QUALITIES
    assert 0 <= expected_index(picture, 0) < QUALITIES  # a limit that leaves nothing for the picture


@pytest.mark.parametrize("bpp", [0.06, 0.1, 0.2])
def test_the_first_trial_is_near_the_last(bpp: float) -> None:
    picture = images.read(PHOTO)
    data = Codec.load("photo").encode(picture, target_bpp=bpp)
    index = bitstream.unpack(data).streams[0][0]
    assert abs(expected_index(picture, bpp) - index) <= NEAR


@given(
    slope=st.floats(0.002, 0.03),
    curve=st.floats(-3e-6, 2e-5),  # sizes always grow
    limit=st.integers(200, 20_000),
    first=st.integers(0, QUALITIES - 1),
)
def test_the_search_converges_on_smooth_sizes(slope: float, curve: float, limit: int, first: int) -> None:
    """On a synthetic curve of sizes it finds a file that fits, at most 3 % below the limit or the last that
    fits, in few trials."""
    sizes = [round(100 * float(np.exp(slope * q + curve * q * q))) for q in range(QUALITIES)]
    tried: list[int] = []

    def code(quality: int) -> bytes:
        tried.append(quality)
        return bytes(sizes[quality])

    best, smallest = largest_within(limit, code, first)
    assert tried[0] == first
    assert len(tried) == len(set(tried)) <= 24
    assert len(smallest) == min(sizes[q] for q in tried)
    if min(sizes[0], sizes[255]) > limit:
        assert best is None
    elif best is not None:
        last = max(size for size in sizes if size <= limit)
        assert len(best) <= limit and len(best) >= min(0.97 * limit, last)
