"""Tiles and the head of a stream."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganic.errors import CorruptError, LimitError, StreamError, TruncatedError
from ganic.ganz.layout import MAX_TILES, Layout
from ganic.ganz.payload import LAYERS, MAX_LEVEL, Head, StoredLayer, parse
from ganic.ganz.random_stream import MAX_SEED
from ganic.images import Picture


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 8))
def test_tiles_join_to_the_picture_they_were_cut_from(width: int, height: int, overlap: int) -> None:
    layout, image = Layout(width, height, 16, "tiles", overlap), noise(width, height)
    tiles = layout.cut(Picture(image))
    assert tiles.shape == (layout.count, 3, 16, 16) and layout.count == layout.rows * layout.columns
    joined = layout.join(tiles).to_image()
    assert joined.size == image.size and np.array_equal(np.asarray(joined), np.asarray(image))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 8))
def test_weights_add_up_to_one_for_every_pixel(width: int, height: int, overlap: int) -> None:
    layout = Layout(width, height, 16, "tiles", overlap)
    total = np.zeros((height + 32, width + 32))
    stride = 16 - overlap
    for i, weight in enumerate(layout.weights[:, 0]):
        y, x = (i // layout.columns) * stride, (i % layout.columns) * stride
        total[y : y + 16, x : x + 16] += weight
    assert np.allclose(total[:height, :width], 1, atol=1e-6)
    assert total[height:].sum() == 0 and total[:, width:].sum() == 0


def test_tiles_fade_into_each_other() -> None:
    layout = Layout(28, 16, 16, "tiles", 4)
    tiles = np.zeros((2, 3, 16, 16), np.float32)
    tiles[1] = 1
    row = np.asarray(layout.join(tiles).to_image())[0, :, 0]
    assert row.tolist() == [0] * 12 + [32, 96, 159, 223] + [255] * 12


def test_edges_are_repeated_beyond_the_picture() -> None:
    image = noise(10, 7)
    (tile,) = Layout(10, 7, 16).cut(Picture(image)) * 255
    pixels = np.asarray(image).transpose(2, 0, 1)
    assert np.allclose(tile[:, :7, :10], pixels) and np.allclose(tile[:, 6:, 12], pixels[:, 6:, 9])


def test_resized_pictures_have_one_tile_and_come_back_in_their_size() -> None:
    image = Image.new("RGB", (50, 20), (10, 200, 90))
    layout = Layout(50, 20, 16, "resized")
    tiles = layout.cut(Picture(image))
    assert layout.count == 1 and tiles.shape == (1, 3, 16, 16) and (layout.weights == 1).all()
    joined = layout.join(tiles).to_image()
    assert joined.size == (50, 20) and np.array_equal(np.asarray(joined), np.asarray(image))


def test_too_many_tiles_are_refused_before_anything_is_made() -> None:
    with pytest.raises(LimitError, match="tiles"):
        Layout(16 * MAX_TILES + 1, 16, 16)
    assert Layout(65535, 6000, 16, "resized").count == 1
    with pytest.raises(ValueError, match="overlap"):
        Layout(10, 10, 16, "tiles", 9)


heads = st.builds(
    Head,
    fit=st.sampled_from(["tiles", "resized"]),
    overlap=st.integers(0, 8),
    layer=st.sampled_from(LAYERS),
    step=st.integers(0, 63),
    level=st.integers(0, MAX_LEVEL),
    inputs=st.integers(1, 512),
    seed=st.integers(0, MAX_SEED),
)


@given(heads, st.integers(1, 100), st.integers(1, 100), st.binary(max_size=5))
def test_heads_come_back(head: Head, width: int, height: int, code: bytes) -> None:
    several = head.fit == "tiles" and max(width, height) > 16
    layout = Layout(width, height, 16, head.fit, head.overlap if several else 0)
    data = head.to_bytes(layout)
    found, same, at = parse(data + code, width, height, 16, 512)
    assert same == layout and at == len(data)
    assert (found.fit, found.layer, found.step) == (head.fit, head.layer, head.step)
    if head.layer != "basis":
        assert found.level == head.level
    if head.layer in ("structured", "dense"):
        assert (found.inputs, found.seed) == (head.inputs, head.seed)
    for end in range(len(data)):
        with pytest.raises(TruncatedError):
            parse(data[:end], width, height, 16, 512)


def test_heads_are_short() -> None:
    one = Layout(16, 16, 16)
    assert Head("tiles", 0, "basis", 9).to_bytes(one) == bytes([0, 9])
    assert Head("resized", 0, "trained", 63, level=5).to_bytes(one) == bytes([1 | 3 << 2, 63, 5])
    assert Head("tiles", 0, "dense", 1, 2, 300, 128).to_bytes(one) == bytes([2 << 2, 1, 2, 0xAC, 2, 0x80, 1])


@pytest.mark.parametrize(
    "data",
    [
        b"\x02\x00",  # a fit that does not exist
        b"\x10\x00",  # a layer that does not exist
        b"\x20\x00",  # a bit that must be zero
        b"\x00\x40",  # step 64
        b"\x0c\x00\x80",  # level 128
        b"\x04\x00\x05\x00\x00",  # a latent of no numbers
        b"\x04\x00\x05\x81\x04\x00",  # a latent of 513 numbers
        b"\x04\x00\x05\x85\x00\x00",  # a superfluous byte in a number
        b"\x04\x00\x05\x80\x80\x80\x80\x80\x01\x00",  # a number of six bytes
        b"\x04\x00\x05\x05\x80\x80\x80\x80\x10",  # a seed of 33 bits
    ],
)
def test_heads_that_no_encoder_writes(data: bytes) -> None:
    with pytest.raises(CorruptError, match="ganz stream"):
        parse(data, 16, 16, 16, 512)


def test_tiles_cannot_overlap_by_more_than_half() -> None:
    with pytest.raises(CorruptError, match="overlap"):
        parse(b"\x00\x00\x09", 17, 16, 16, 512)
    with pytest.raises(LimitError, match=r"tiles .* do not trust the file"):
        parse(b"\x00\x00\x08", 60000, 6000, 16, 512)


@given(st.binary(max_size=12), st.integers(1, 65535), st.integers(1, 6000))
def test_any_bytes_are_parsed_or_refused(data: bytes, width: int, height: int) -> None:
    try:
        head, layout, at = parse(data, width, height, 64, 8192)
    except StreamError:
        return
    assert head.to_bytes(layout) == data[:at]
    layer: StoredLayer = head.layer
    assert layer in LAYERS
