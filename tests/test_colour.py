"""Every mode Pillow has, against formulas and tables computed here."""

from __future__ import annotations

import colorsys
import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from ganic.colour import UnsupportedPixels, to_rgb
from ganic.images import read


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    """All pixels in reading order."""
    array = np.asarray(image)
    return [tuple(int(v) for v in np.atleast_1d(p)) for row in array for p in row]


def convert(image: Image.Image, icc: bytes | None = None) -> Image.Image:
    """The RGB pixels of an opaque picture."""
    rgb, alpha, _ = to_rgb(image, icc)
    assert rgb.mode == "RGB" and rgb.size == image.size and alpha is None
    return rgb


# --- modes without alpha


def test_rgb_is_passed_on_without_a_copy() -> None:
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    assert convert(image) is image


def test_grey_is_repeated() -> None:
    image = Image.frombytes("L", (256, 1), bytes(range(256)))
    assert pixels(convert(image)) == [(v, v, v) for v in range(256)]


def test_bilevel_is_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert pixels(convert(image)) == [(0, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I"])
def test_sixteen_bits_are_rounded_not_cut(mode: str) -> None:
    every = np.arange(65536).reshape(256, 256)
    stored = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
    image = Image.frombytes(mode, (256, 256), every.astype(stored).tobytes())
    expected = np.rint(every / 257).astype(np.uint8)  # 257 is odd: there are no ties
    assert (np.asarray(convert(image)) == expected[:, :, None]).all()


def test_sixteen_bit_png_file() -> None:
    out = io.BytesIO()
    Image.fromarray(np.array([[0, 128, 129, 32768, 65406, 65535]], dtype=np.uint16)).save(out, "PNG")
    with Image.open(out) as image:
        assert [p[0] for p in pixels(convert(image))] == [0, 0, 1, 128, 254, 255]


def test_twelve_bits_have_their_own_white() -> None:
    """A TIFF file by hand: Pillow hands out 12-bit samples in 16 bits as they are."""
    samples = b"\xff\xf0\x00\x80\x01\x23"  # 0xFFF, 0x000, 0x800, 0x123
    entries = [(256, 3, 4), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    entries += [(278, 3, 1), (279, 4, len(samples))]
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    body = samples + struct.pack("<H", len(entries)) + tags + bytes(4)
    file = struct.pack("<2sHI", b"II", 42, 8 + len(samples)) + body
    grey = np.asarray(read(file).image)[0, :, 0]
    assert grey.tolist() == [255, 0, 128, round(0x123 * 255 / 4095)]


def test_large_sixteen_bit_picture_goes_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (37, 11), dtype=np.uint16)
    monkeypatch.setattr("ganic.colour._BAND_PIXELS", 40)  # bands of three rows
    expected = np.rint(values / 257).astype(np.uint8)
    assert (np.asarray(convert(Image.fromarray(values)))[:, :, 1] == expected).all()


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_over_sixteen_bits_are_refused(value: int) -> None:
    with pytest.raises(UnsupportedPixels, match=str(value)):
        to_rgb(Image.new("I", (2, 2), value), None)


def test_float_is_refused() -> None:
    with pytest.raises(UnsupportedPixels, match="floating-point"):
        to_rgb(Image.new("F", (2, 2), 0.5), None)


def test_cmyk_without_profile() -> None:
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (100, 50, 25, 10)]
    image = Image.new("CMYK", (len(inks), 1))
    image.putdata(inks)
    for found, (c, m, y, k) in zip(pixels(convert(image)), inks, strict=True):
        expected = [(255 - ink) * (255 - k) / 255 for ink in (c, m, y)]
        assert np.abs(np.array(found) - expected).max() <= 1


def test_adobe_cmyk_jpeg_is_not_inverted() -> None:
    out = io.BytesIO()
    Image.new("CMYK", (16, 16), (200, 20, 60, 30)).save(out, "JPEG", quality=95)  # with an Adobe marker
    assert b"Adobe" in out.getvalue()
    with Image.open(out) as image:
        found = pixels(convert(image))[0]
    assert np.abs(np.array(found) - [55 * 225 / 255, 235 * 225 / 255, 195 * 225 / 255]).max() <= 4


def test_ycbcr_is_jpegs() -> None:
    samples = [(16, 128, 128), (200, 90, 160), (76, 85, 255), (235, 128, 128), (120, 200, 40)]
    image = Image.new("YCbCr", (len(samples), 1))
    image.putdata(samples)
    for found, (y, cb, cr) in zip(pixels(convert(image)), samples, strict=True):
        # ITU-T T.871, section 7
        expected = np.array(
            [
                y + 1.402 * (cr - 128),
                y - 0.344136286 * (cb - 128) - 0.714136286 * (cr - 128),
                y + 1.772 * (cb - 128),
            ]
        )
        assert np.abs(np.array(found) - expected.clip(0, 255)).max() <= 1


def test_hsv() -> None:
    samples = [(0, 255, 255), (85, 255, 200), (170, 128, 90), (20, 0, 77), (213, 200, 255)]
    image = Image.new("HSV", (len(samples), 1))
    image.putdata(samples)
    for found, hsv in zip(pixels(convert(image)), samples, strict=True):
        expected = np.array(colorsys.hsv_to_rgb(*(v / 255 for v in hsv))) * 255
        assert np.abs(np.array(found) - expected).max() <= 2


def test_lab() -> None:
    samples = [(100, 0, 0), (0, 0, 0), (50, 0, 0), (60, 30, 20), (45, -8, -25), (70, -30, 40)]
    # As in a CIELAB TIFF: a and b are signed.
    stored = b"".join(struct.pack("Bbb", round(lightness * 2.55), a, b) for lightness, a, b in samples)
    image = Image.frombytes("LAB", (len(samples), 1), stored)
    for found, lab in zip(pixels(convert(image)), samples, strict=True):
        assert np.abs(np.array(found) - lab_to_srgb(*lab)).max() <= 2, lab


# --- palettes and alpha


def palette_image(mode: str = "P") -> Image.Image:
    image = Image.new(mode, (4, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 200, 210, 220])
    return image


COLOURS = [(10, 20, 30), (40, 50, 60), (70, 80, 90), (200, 210, 220)]


def test_palette() -> None:
    image = palette_image()
    image.putdata([3, 0, 2, 1])
    assert pixels(convert(image)) == [COLOURS[3], COLOURS[0], COLOURS[2], COLOURS[1]]


@pytest.mark.parametrize(
    ("transparency", "expected"), [(2, [255, 255, 0, 255]), (b"\x00\x80\xff", [0, 128, 255, 255])]
)
def test_palette_with_transparency(transparency: int | bytes, expected: list[int]) -> None:
    image = palette_image()
    image.putdata([0, 1, 2, 3])
    out = io.BytesIO()
    image.save(out, "PNG", transparency=transparency)
    with Image.open(out) as opened:
        assert opened.mode == "P"
        rgb, alpha, _ = to_rgb(opened, None)
    assert pixels(rgb) == COLOURS
    assert alpha is not None and list(alpha.tobytes()) == expected


def test_palette_with_alpha_band() -> None:
    image = palette_image("PA")
    image.putdata([(1, 255), (2, 0), (3, 7), (0, 255)])
    rgb, alpha, _ = to_rgb(image, None)
    assert pixels(rgb) == [COLOURS[1], COLOURS[2], COLOURS[3], COLOURS[0]]
    assert alpha is not None and list(alpha.tobytes()) == [255, 0, 7, 255]


def test_grey_and_colour_with_alpha() -> None:
    grey = Image.new("LA", (2, 1))
    grey.putdata([(9, 0), (200, 255)])
    rgb, alpha, _ = to_rgb(grey, None)
    assert pixels(rgb) == [(9, 9, 9), (200, 200, 200)]
    assert alpha is not None and list(alpha.tobytes()) == [0, 255]

    colour = Image.new("RGBA", (2, 1))
    colour.putdata([(1, 2, 3, 0), (4, 5, 6, 77)])  # colours under alpha 0 are kept
    rgb, alpha, _ = to_rgb(colour, None)
    assert pixels(rgb) == [(1, 2, 3), (4, 5, 6)]
    assert alpha is not None and list(alpha.tobytes()) == [0, 77]


def test_premultiplied_alpha_is_divided_out() -> None:
    image = Image.frombytes("RGBa", (2, 1), bytes([50, 20, 0, 100, 8, 9, 10, 255]))
    rgb, alpha, _ = to_rgb(image, None)
    assert pixels(rgb) == [(127, 51, 0), (8, 9, 10)]  # 50 * 255 / 100 = 127.5
    assert alpha is not None and list(alpha.tobytes()) == [100, 255]
    rgb, alpha, _ = to_rgb(Image.frombytes("La", (1, 1), bytes([50, 100])), None)
    assert pixels(rgb) == [(127, 127, 127)]
    assert alpha is not None and list(alpha.tobytes()) == [100]


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_alpha_that_is_opaque_everywhere_is_no_alpha(mode: str) -> None:
    image = Image.new(mode, (5, 4))
    image.putalpha(255)
    assert to_rgb(image, None)[1] is None


@pytest.mark.parametrize(
    ("mode", "values", "key", "expected"),
    [
        ("L", [7, 8, 7, 255], 7, [0, 255, 0, 255]),
        ("1", [0, 255, 255, 0], 255, [255, 0, 0, 255]),
        ("RGB", [(1, 2, 3), (1, 2, 4), (3, 2, 1), (1, 2, 3)], (1, 2, 3), [0, 255, 255, 0]),
        ("I;16", [700, 701, 65535, 700], 700, [0, 255, 255, 0]),
    ],
)
def test_transparent_colour_of_a_png(
    mode: str, values: list[int], key: int | tuple[int, ...], expected: list[int]
) -> None:
    image = Image.new(mode, (4, 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    out = io.BytesIO()
    image.save(out, "PNG", transparency=key)
    with Image.open(out) as opened:
        assert opened.mode == mode
        _, alpha, _ = to_rgb(opened, None)
    assert alpha is not None and list(alpha.tobytes()) == expected


@pytest.mark.parametrize(("mode", "key"), [("L", b"\x01"), ("RGB", 3), ("L", (1, 2, 3))])
def test_nonsense_transparent_colour_is_refused(mode: str, key: object) -> None:
    image = Image.new(mode, (2, 2))
    image.info["transparency"] = key
    with pytest.raises(UnsupportedPixels, match="transparent colour"):
        to_rgb(image, None)


# --- ICC profiles


def profile(device: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC version 2.4 profile from its tags (ICC.1:2001-04)."""
    table, data, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", offset + len(data), len(value))
        data += value + b"\0" * (-len(value) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sIIIQI3I4s",
        128 + len(table) + len(data),
        b"\0" * 4,
        0x02400000,
        device,
        space,
        pcs,
        b"\0" * 12,
        b"acsp",
        b"\0" * 4,
        0,
        0,
        0,
        0,
        0,
        *(0xF6D6, 0x10000, 0xD32D),  # D50
        b"\0" * 4,
    )
    return header.ljust(128, b"\0") + table + data


def linear_grey_profile() -> bytes:
    """Grey whose samples are proportional to light: a curve with gamma 1.0."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 256)
    white = b"XYZ \0\0\0\0" + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve, b"wtpt": white})


def cmyk_profile(corners: dict[tuple[int, int, int, int], bytes]) -> bytes:
    """A CMYK profile that gives each of the 16 combinations of full inks its colour, as 8-bit L*a*b*."""
    identity = bytes(range(256))
    grid = b"".join(corners[c, m, y, k] for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1))
    matrix = struct.pack(">9I", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + identity * 4 + grid + identity * 3
    return profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut})


def lab8(lightness: float, a: float, b: float) -> bytes:
    return bytes([round(lightness * 2.55), round(a + 128), round(b + 128)])


def lab_to_srgb(lightness: float, a: float, b: float) -> np.ndarray:
    """CIE 1976 L*a*b* (D50) -> sRGB 0..255; the matrix is XYZ D50 to linear sRGB with Bradford adaptation."""
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.96422, 1.0, 0.82521]
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    return srgb_from_light(np.array(matrix) @ xyz)


def srgb_from_light(light: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1: linear 0..1 -> sRGB 0..255."""
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "YCbCr", "1", "I;16"])
def test_rgb_profile_stays_with_the_pixels_it_describes(mode: str) -> None:
    assert to_rgb(Image.new(mode, (2, 2)), SRGB)[2] == SRGB


@pytest.mark.parametrize("mode", ["CMYK", "LAB"])
def test_rgb_profile_on_other_pixels_is_dropped(mode: str) -> None:
    assert to_rgb(Image.new(mode, (2, 2)), SRGB)[2] is None


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_profile_is_applied_and_dropped(mode: str) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    grey = Image.fromarray(values.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(values)
    rgb, _, icc = to_rgb(grey.convert(mode) if mode == "LA" else grey, linear_grey_profile())
    assert icc is None
    found = np.asarray(rgb).astype(float)
    assert (found == found[:, :, :1]).all()  # neutral
    assert np.abs(found[:, :, 0] - srgb_from_light(values / 255)).max() <= 1
    assert np.abs(found[:, :, 0] - values).max() > 60  # the test would see a profile that is not applied


def test_grey_profile_on_colour_is_dropped() -> None:
    image = Image.new("RGB", (2, 2), (50, 100, 150))
    rgb, _, icc = to_rgb(image, linear_grey_profile())
    assert rgb is image and icc is None


def test_cmyk_profile_is_applied_and_dropped() -> None:
    lab = {
        (c, m, y, k): (0.0, 0.0, 0.0)
        if k
        else (100 - 14 * c - 20 * m - 6 * y, 20 * m - 18 * c, 24 * y - 12 * c)
        for c in (0, 1)
        for m in (0, 1)
        for y in (0, 1)
        for k in (0, 1)
    }
    icc = cmyk_profile({inks: lab8(*colour) for inks, colour in lab.items()})
    image = Image.new("CMYK", (16, 1))
    image.putdata([tuple(255 * ink for ink in inks) for inks in lab])
    rgb, _, left = to_rgb(image, icc)
    assert left is None
    for found, inks in zip(pixels(rgb), lab, strict=True):
        coded = lab8(*lab[inks])
        expected = lab_to_srgb(coded[0] / 2.55, coded[1] - 128, coded[2] - 128)
        assert np.abs(np.array(found) - expected).max() <= 3, inks


@pytest.mark.parametrize(
    "icc",
    [
        b"",
        b"not a profile",
        SRGB[:60],
        SRGB[:36] + b"xxxx" + SRGB[40:],
        linear_grey_profile()[:140],
        cmyk_profile(dict.fromkeys(np.ndindex(2, 2, 2, 2), b"\0\0\0"))[:200],
    ],
    # Named, because lcms dates its profiles: names made from the bytes differ between test processes.
    ids=["empty", "text", "rgb-cut", "rgb-without-signature", "grey-cut", "cmyk-cut"],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_broken_profiles_are_dropped_and_change_nothing(icc: bytes, mode: str) -> None:
    image = Image.new(mode, (2, 1), 100 if mode == "L" else (10, 20, 30, 40)[: len(mode)])
    rgb, _, left = to_rgb(image, icc)
    assert left is None
    assert pixels(rgb) == pixels(to_rgb(image, None)[0])
