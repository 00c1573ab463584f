"""Latents fitted to one picture: what is minimised gets smaller, files stay what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganic import bitstream
from ganic.errors import UsageError
from ganic.extreme.allocation import Allocation
from ganic.extreme.codec import Codec
from ganic.extreme.fitting import MARGIN, WINDOW, _windows
from ganic.extreme.integer_prior import GROUPS, blocks
from ganic.extreme.tiling import Tile
from ganic.labels import LabelMap
from ganic.metrics import box_psnr, ms_ssim, psnr
from ganic.metrics.perceptual import SqueezeNetDistance
from ganic.regions import Regions

PHOTO = Path(__file__).parents[1] / "data" / "photo.webp"


def photo(left: int, top: int, width: int, height: int) -> Image.Image:
    return Image.open(PHOTO).convert("RGB").crop((left, top, left + width, top + height))


def batch(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def distance(picture: Image.Image, decoded: Image.Image) -> float:
    with torch.no_grad():
        return float(SqueezeNetDistance()(batch(picture), batch(decoded)))


def squares(picture: Image.Image, decoded: Image.Image) -> tuple[float, float]:
    """MSE of pixels in [0, 1], and of 8x8 means."""
    return 10 ** (-psnr(picture, decoded) / 10), 10 ** (-box_psnr(picture, decoded) / 10)


def cost(codec: Codec, picture: Image.Image, data: bytes, plain: bytes) -> float:
    """What fitting minimises, of files and pictures as anybody has them."""
    decoded = codec.decode(data)
    errors = sum(squares(picture, decoded)) / squares(picture, codec.decode(plain))[0]
    looks = 5 * distance(picture, decoded)
    if min(picture.size) > 160:
        looks += 25 * (1 - float(ms_ssim(batch(picture), batch(decoded))))
    return len(data) / len(plain) + 0.6 * errors + looks


@pytest.mark.parametrize(("quality", "share"), [(0.2, 0.999), (0.7, 0.985)])
def test_a_file_of_one_quality_is_worth_more(codec: Codec, quality: float, share: float) -> None:
    picture = photo(100, 120, 208, 176)
    plain, fitted = (codec.encode(picture, quality=quality, steps=steps) for steps in (None, 6))
    before, after = (cost(codec, picture, data, plain) for data in (plain, fitted))
    assert after < share * before
    codec.verify(fitted)
    assert codec.encode(picture, quality=quality, steps=6) == fitted  # by no chance


def test_the_same_bytes_show_more(codec: Codec) -> None:
    picture = photo(100, 120, 208, 160)
    limit = len(codec.encode(picture, quality=0.5))
    plain, fitted = (codec.encode(picture, target_bytes=limit, steps=steps) for steps in (0, 8))
    assert 0.97 * limit <= len(fitted) <= limit
    near, nearer = (distance(picture, codec.decode(data)) for data in (plain, fitted))
    assert nearer < 0.97 * near


def test_a_rate_may_be_missed_and_a_limit_not(codec: Codec) -> None:
    picture = photo(0, 0, 128, 96)
    assert len(codec.encode(picture, rate="low", steps=2)) > 0
    smallest = len(codec.encode(picture, quality=0.0))
    assert len(codec.encode(picture, target_bytes=smallest, steps=2)) <= smallest


def test_pictures_of_several_tiles_and_windows(codec: Codec) -> None:
    picture = Image.new("RGB", (2112, 80))
    for left in range(0, picture.width, 192):
        picture.paste(photo(left % 300, 150, 192, 80), (left, 0))
    plain, fitted = (codec.encode(picture, quality=0.5, steps=steps) for steps in (0, 3))
    assert len(bitstream.unpack(fitted).streams) == 2
    for half in (0, 1056):  # each of the tiles
        part = (half, 0, half + 1056, 80)
        near, nearer = (
            distance(picture.crop(part), codec.decode(data).crop(part)) for data in (plain, fitted)
        )
        assert nearer < near
    assert cost(codec, picture, fitted, plain) < cost(codec, picture, plain, plain)


def test_small_pictures_stay_as_they_are(codec: Codec) -> None:
    picture = photo(50, 60, 100, 63)
    assert codec.encode(picture, quality=0.5, steps=4) == codec.encode(picture, quality=0.5)


def test_bits_lean_as_their_tables_do(codec: Codec) -> None:
    """Half the difference in length between a symbol's neighbours, where the symbol belongs."""
    picture = photo(30, 40, 96, 64)
    (chosen,) = codec.symbols(codec.encode(picture, quality=0.6))
    rows, columns, channels = chosen.latent.shape
    area = Allocation(np.full((rows, columns), 153, np.uint8), np.ones((rows, columns), bool))
    symbols, tables = codec.prior.on_grid(chosen, area)
    slopes = codec._fitter._slopes(chosen, area)
    seen = 0
    for number in range(GROUPS):
        coded = iter(zip(chosen.symbols[1 + number], chosen.indices[1 + number], strict=True))
        for down, across, group in blocks(number, channels):
            for row in range(rows)[down]:
                for column in range(columns)[across]:
                    for channel in range(channels)[group]:
                        symbol, table = next(coded)
                        where = row, column, channel
                        assert (symbols[where], tables[where]) == (symbol, table)
                        if seen % 97 == 0:
                            reach = int(codec.prior.tables.reach[table])
                            more, fewer = (
                                codec.prior.tables.bits([max(-reach, min(reach, int(symbol) + s))], [table])
                                for s in (1, -1)
                            )
                            assert float(slopes[where]) == pytest.approx((more - fewer) / 2, abs=1e-5)
                        seen += 1
    assert seen == chosen.latent.size


@given(st.data())
def test_windows_cover_a_tile_once_and_see_beyond_it(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 300), st.integers(1, 300)))
    top, left = (data.draw(st.integers(0, side - 1)) for side in shape)
    bottom, right = (
        data.draw(st.integers(a + 1, min(b, a + 129))) for a, b in zip((top, left), shape, strict=True)
    )
    covered = np.zeros(shape, dtype=int)
    for rows, columns in _windows(Tile(top, left, bottom, right), shape):
        covered[rows.start : rows.stop, columns.start : columns.stop] += 1
        for span, side in zip((rows, columns), shape, strict=True):
            assert span.stop - span.start <= WINDOW
            assert (span.outer_start, span.outer_stop) == (
                max(0, span.start - MARGIN),
                min(side, span.stop + MARGIN),
            )
    assert (covered[top:bottom, left:right] == 1).all() and covered.sum() == (bottom - top) * (right - left)


def test_what_cannot_be_fitted_says_so(codec: Codec, selective: Codec) -> None:
    picture = photo(0, 0, 96, 80)
    with pytest.raises(UsageError, match="steps: -1"):
        codec.encode(picture, steps=-1)
    importance = np.zeros((80, 96), dtype=np.float32)
    importance[:40] = 1
    sky = LabelMap(np.zeros((80, 96), dtype=np.uint8), ("sky", "road", "car"))
    regions = Regions(importance, sky)
    with pytest.raises(UsageError, match="synthesised are not fitted"):
        selective.encode(picture, regions=regions, steps=1)
