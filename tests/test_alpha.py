"""The lossless alpha box, honest and hostile."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from ganic import alpha
from ganic.errors import CorruptError


def disc(size: int = 200) -> Image.Image:
    image = Image.new("L", (size, size))
    ImageDraw.Draw(image).ellipse((10, 20, size - 30, size - 15), fill=255)
    return image


def noise(width: int, height: int, levels: int = 256) -> Image.Image:
    return Image.fromarray(np.random.default_rng(levels).integers(0, levels, (height, width), dtype=np.uint8))


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_constant_takes_two_bytes(value: int) -> None:
    data = alpha.encode(Image.new("L", (300, 200), value))
    assert data == bytes([0, value])
    decoded = alpha.decode(data, 300, 200)
    assert (decoded.mode, decoded.size, decoded.getextrema()) == ("L", (300, 200), (value, value))


def test_what_the_picture_has_besides_is_not_written_once_more() -> None:
    plain = [alpha.encode(image) for image in (disc(), noise(64, 31))]
    for image, expected in zip((disc(), noise(64, 31)), plain, strict=True):
        image.info |= {"icc_profile": bytes(500), "exif": b"Exif\0\0" + bytes(50)}
        assert alpha.encode(image) == expected and len(image.info) == 2


@pytest.mark.parametrize(
    "image",
    [
        disc(),
        disc().filter(ImageFilter.GaussianBlur(3)),
        noise(64, 31),
        noise(5, 300, 2),
        noise(1, 2),
        noise(2, 1),
    ],
)
def test_round_trip(image: Image.Image) -> None:
    decoded = alpha.decode(alpha.encode(image), *image.size)
    assert decoded.mode == "L" and decoded.size == image.size and decoded.tobytes() == image.tobytes()


@given(st.integers(1, 20), st.integers(1, 20), st.data())
@settings(max_examples=100, deadline=None)
def test_every_picture_comes_back(width: int, height: int, data: st.DataObject) -> None:
    levels = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=4))
    pixels = data.draw(st.lists(st.sampled_from(levels), min_size=width * height, max_size=width * height))
    image = Image.frombytes("L", (width, height), bytes(pixels))
    assert alpha.decode(alpha.encode(image), width, height).tobytes() == bytes(pixels)


def test_masks_are_small_and_never_larger_than_either_method() -> None:
    assert len(alpha.encode(disc())) < 500  # 40,000 pixels
    for image in (disc(), disc().filter(ImageFilter.GaussianBlur(3)), noise(64, 31)):
        as_webp, as_png = io.BytesIO(), io.BytesIO()
        image.convert("RGB").save(as_webp, "WEBP", lossless=True, quality=80, method=4)
        image.save(as_png, "PNG", compress_level=9)
        assert len(alpha.encode(image)) <= 1 + min(len(as_webp.getvalue()), len(as_png.getvalue()))


@pytest.mark.parametrize("size", [(16384, 2), (2, 16384)])
def test_sides_too_long_for_webp(size: tuple[int, int]) -> None:
    for image in (noise(*size, levels=3), noise(*size, levels=2).point([0, 255] * 128)):
        data = alpha.encode(image)
        assert data[0] == alpha.PNG
        assert alpha.decode(data, *size).tobytes() == image.tobytes()


def test_large_pictures_do_without_webp(monkeypatch: pytest.MonkeyPatch) -> None:
    assert alpha.encode(disc())[0] == alpha.WEBP
    monkeypatch.setattr(alpha, "MAX_WEBP_PIXELS", 39_999)
    assert alpha.encode(disc())[0] == alpha.PNG


def test_pillows_pixel_limit_does_not_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [alpha.encode(disc()), alpha.encode(noise(16384, 2, 3))]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    assert alpha.decode(data[1], 16384, 2).tobytes() == noise(16384, 2, 3).tobytes()
    assert alpha.decode(data[0], 200, 200).tobytes() == disc().tobytes()


@pytest.mark.parametrize("mode", ["1", "RGB", "LA", "I;16"])
def test_other_modes_are_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=mode):
        alpha.encode(Image.new(mode, (2, 2)))


# --- hostile data


def file(kind: str, image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(width: int, height: int, kind: bytes = b"\x08\0\0\0\0", rows: bytes = b"") -> bytes:
    parts = [b"IHDR" + struct.pack(">II", width, height) + kind, b"IDAT" + zlib.compress(rows), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )


WEBP_FILE = alpha.encode(disc())[1:]
PNG_FILE = file("PNG", disc())

HOSTILE = {
    "nothing": b"",
    "method only": b"\0",
    "constant with too much": b"\0\x07\x07",
    "unknown method": b"\3" + PNG_FILE,
    "method 255": b"\xff\xff",
    "no webp": b"\1no webp at all, but long enough to hold a header",
    "no png": b"\2no png at all, but long enough to hold a header",
    "png as webp": b"\1" + PNG_FILE,
    "webp as png": b"\2" + WEBP_FILE,
    "truncated webp": b"\1" + WEBP_FILE[: len(WEBP_FILE) // 2],
    "truncated webp with a fitting length": b"\1RIFF" + struct.pack("<I", 92) + WEBP_FILE[8:100],
    "webp and more": b"\1" + WEBP_FILE + b"more",
    "truncated png": b"\2" + PNG_FILE[: len(PNG_FILE) // 2],
    "truncated png header": b"\2" + PNG_FILE[:20],
    "webp of another size": b"\1" + file("WEBP", Image.new("RGB", (199, 200)), lossless=True),
    "lossy webp": b"\1" + file("WEBP", disc().convert("RGB")),
    "webp with alpha and profile": b"\1"
    + file("WEBP", disc().convert("LA"), lossless=True, icc_profile=b"x" * 9),
    "animated webp": b"\1"
    + file(
        "WEBP",
        disc().convert("RGB"),
        lossless=True,
        save_all=True,
        append_images=[Image.new("RGB", (200, 200))],
    ),
    "png of another size": b"\2" + file("PNG", Image.new("L", (200, 201))),
    "coloured png": b"\2" + file("PNG", disc().convert("RGB")),
    "png with palette": b"\2" + file("PNG", disc().convert("P")),
    "16-bit png": b"\2" + file("PNG", disc().convert("I;16")),
    "interlaced png": b"\2" + png(200, 200, b"\x08\0\0\0\1", b"\0" * 201 * 200),
    "png with a filter that is none": b"\2" + png(200, 200, rows=b"\x09" * 201 * 200),
    "png without data": b"\2" + png(200, 200),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_data(name: str) -> None:
    with pytest.raises(CorruptError, match="box ALPH"):
        alpha.decode(HOSTILE[name], 200, 200)


def test_a_second_header_decides_nothing() -> None:
    """The first says 200x200; Pillow would go by the last."""
    first, second = png(200, 200), png(4000, 3000, rows=bytes(4001 * 3000))
    with pytest.raises(CorruptError, match="box ALPH"):
        alpha.decode(b"\2" + first[: 8 + 25] + second[8:], 200, 200)


def test_webp_is_for_small_pictures_only() -> None:
    """A constant one of 268 megapixels has 40 bytes, and takes gigabytes to decode."""
    sides = (4000 - 1) | (4001 - 1) << 14
    large = WEBP_FILE[:21] + struct.pack("<I", sides) + WEBP_FILE[25:]
    with pytest.raises(CorruptError, match="is not an alpha channel of 4000x4001"):
        alpha.decode(b"\1" + large, 4000, 4001)


@pytest.mark.parametrize("method", [1, 2])
def test_sizes_are_compared_before_pixels_are_allocated(method: int) -> None:
    huge = (
        WEBP_FILE[:21] + struct.pack("<I", (1 << 28) - 1) + WEBP_FILE[25:]
        if method == 1
        else png(65535, 6000)
    )
    with pytest.raises(CorruptError, match="200x200"):
        alpha.decode(bytes([method]) + huge, 200, 200)


@given(st.sampled_from([WEBP_FILE, PNG_FILE]), st.data())
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_mutated_data_raise_only_our_error(original: bytes, data: st.DataObject) -> None:
    changed = bytearray([1 if original is WEBP_FILE else 2]) + bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = alpha.decode(bytes(changed[: data.draw(st.integers(0, len(changed)))]), 200, 200)
    except CorruptError:
        return
    assert decoded.mode == "L" and decoded.size == (200, 200)
    decoded.load()


@given(st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_random_data_raise_only_our_error(data: bytes) -> None:
    try:
        decoded = alpha.decode(data, 3, 2)
    except CorruptError:
        return
    assert len(data) == 2 and data[0] == 0 and decoded.size == (3, 2)
