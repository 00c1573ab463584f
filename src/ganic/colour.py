"""Whatever pixels Pillow hands out, as 8-bit RGB and an alpha channel.

What happens to each mode:

    RGB, RGBX, RGBA, RGBa     as they are (RGBa: alpha divided out)
    P, PA                     through the palette
    1, L, LA, La              the grey value three times
    I;16*, I                  16-bit grey, rounded: (v + 128) // 257, so that 0 -> 0 and 65535 -> 255; mode I
                              with values outside 0..65535 has no defined scale and is refused; 12-bit grey
                              (TIFF), which Pillow hands out in 16 bits unscaled, by its own white, 4095
    CMYK                      through its own profile to sRGB; without one, R = (255-C)(255-K)/255 as Pillow
                              does (Pillow has undone Adobe's inversion by then)
    YCbCr, HSV                Pillow's formulas (YCbCr is JPEG's, full range)
    LAB                       CIE L*a*b* D50 to sRGB
    F                         refused: floating-point samples have no defined white

What happens to the ICC profile: it stays if it is an RGB profile and so describes the RGB pixels it came
with, grey stored three times included. A grey or CMYK profile cannot describe RGB pixels: it is *applied*
here, to sRGB with perceptual intent, and then dropped, since pixels without a profile are taken as sRGB. A
profile of any other kind, or one that cannot be read, is dropped.

Large pictures: one copy of the pixels at a time, no copy as NumPy arrays but in bands.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

__all__ = ["YCBCR", "UnsupportedPixels", "raw_mode", "to_rgb", "white_of"]

YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
"""Rows Y, Cb, Cr of JFIF's colour transform, ITU-R BT.601's in full range."""

_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_BAND_PIXELS = 4_000_000


class UnsupportedPixels(ValueError):
    """The samples have no defined meaning as colours; the message says why and what to do."""


def white_of(image: Image.Image) -> int:
    """The largest sample of a picture of 16-bit grey, before it is loaded: 65535, or 4095 of 12 bits."""
    return 4095 if raw_mode(image).startswith("I;12") else 65535


def raw_mode(image: Image.Image) -> str:
    """How a picture's file has its samples, before it is loaded: Pillow's raw mode, or empty."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else None
    found = arguments[0] if isinstance(arguments, tuple) else arguments
    return found if isinstance(found, str) else ""


def to_rgb(
    image: Image.Image, icc: bytes | None, *, white: int = 65535
) -> tuple[Image.Image, Image.Image | None, bytes | None]:
    """Convert a loaded picture of any mode; ``white``: see `white_of`.

    Returns the pixels (mode RGB; the same object if it was RGB already), the alpha channel (mode L, or None
    if the picture is opaque everywhere) and the profile that describes the returned pixels.
    Raises UnsupportedPixels.
    """
    if image.mode == "F":
        raise UnsupportedPixels(
            "has floating-point samples, which have no defined white; convert it to 8 or 16 bits"
        )
    space = _colour_space(icc)
    image = _plain_alpha(image)
    alpha = _alpha(image)
    rgb: Image.Image | None = None

    if image.mode in ("1", "L", "LA") or image.mode in _SIXTEEN_BIT:
        curve = _grey_to_srgb(icc) if icc and space == "GRAY" else None
        grey = _grey(image, white)
        rgb = (grey.point(curve) if curve else grey).convert("RGB")
    elif image.mode == "CMYK" and icc and space == "CMYK":
        rgb = _to_srgb(image, icc, ImageCms.Flags.HIGHRESPRECALC)
    if rgb is None:
        rgb = image if image.mode == "RGB" else image.convert("RGB")

    keeps_profile = space == "RGB" and image.mode not in ("CMYK", "LAB")
    return rgb, alpha, icc if keeps_profile else None


# --- alpha


def _plain_alpha(image: Image.Image) -> Image.Image:
    """Alpha in a palette, or multiplied into the colours, as LA or RGBA; other pictures as they are."""
    if image.mode == "La":
        return image.convert("LA")
    if image.mode == "RGBa" or (image.mode in ("P", "PA") and image.has_transparency_data):
        return image.convert("RGBA")
    return image


def _alpha(image: Image.Image) -> Image.Image | None:
    """The alpha channel, mode L; None if there is none or all is opaque."""
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
    elif image.info.get("transparency") is not None:
        alpha = _keyed(image, image.info["transparency"])
    else:
        return None
    return None if alpha.getextrema() == (255, 255) else alpha


def _keyed(image: Image.Image, key: object) -> Image.Image:
    """Alpha from one transparent value or colour: the tRNS chunk of a PNG without palette."""
    if not isinstance(key, int | tuple):
        raise UnsupportedPixels(f"has a transparent colour of an unknown kind ({key!r}); remove it")
    transparent = np.atleast_1d(np.array(key, dtype=np.int64))
    if transparent.size != (3 if image.mode == "RGB" else 1):
        raise UnsupportedPixels(
            f"has a transparent colour {key!r} that does not fit mode {image.mode}; remove it"
        )
    if image.mode == "RGB" and transparent.max() > 255:
        transparent >>= 8  # a 16-bit PNG: Pillow gives the upper bytes of the pixels, but the key whole

    def opaque(band: NDArray[Any]) -> NDArray[np.uint8]:
        matches = (band.reshape(*band.shape[:2], -1) == transparent).all(axis=2)
        return np.where(matches, np.uint8(0), np.uint8(255))

    return _by_bands(image.convert("L") if image.mode == "1" else image, opaque)


# --- grey


def _grey(image: Image.Image, white: int) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        low, high = image.getextrema() if image.mode == "I" else (0, 65535)
        if not 0 <= _number(low) <= _number(high) <= 65535:
            raise UnsupportedPixels(
                f"has integer samples from {low} to {high}, over 16 bits; convert it to 8 or 16 bits"
            )
        return _by_bands(
            image, lambda band: ((band.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
        )
    return image.getchannel("L") if image.mode == "LA" else image.convert("L")


def _number(value: object) -> float:
    assert isinstance(value, int | float)  # getextrema's pairs of pairs belong to modes with several bands
    return value


def _by_bands(image: Image.Image, function: Callable[[NDArray[Any]], NDArray[np.uint8]]) -> Image.Image:
    """Apply a pixelwise function (samples [h,w] or [h,w,c] -> uint8 [h,w]) with little memory; mode L."""
    width, height = image.size
    result = Image.new("L", image.size)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        result.paste(Image.fromarray(function(np.asarray(band))), (0, top))
    return result


# --- profiles


def _colour_space(icc: bytes | None) -> str | None:
    """The data colour space an ICC profile declares ("RGB", "GRAY", "CMYK", ...), None if it is no profile.

    ICC.1:2022, 7.2: signature "acsp" at byte 36, data colour space at byte 16 of a header of 128 bytes.
    """
    if icc is None or len(icc) < 128 or icc[36:40] != b"acsp":
        return None
    return icc[16:20].decode("latin-1").strip()


def _to_srgb(image: Image.Image, icc: bytes, flags: ImageCms.Flags) -> Image.Image | None:
    """The picture through its profile; None if the profile is unusable (or Pillow has no LittleCMS)."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(
            image, source, target, ImageCms.Intent.PERCEPTUAL, outputMode="RGB", flags=flags
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError):
        return None


def _grey_to_srgb(icc: bytes) -> list[int] | None:
    """A grey profile as a curve of 256 sRGB values: faster than the whole picture, and grey stays neutral."""
    # Not optimised: LittleCMS would interpolate between a few points, up to ten levels off in the shadows.
    values = Image.frombytes("L", (256, 1), bytes(range(256)))
    ramp = _to_srgb(values, icc, ImageCms.Flags.NOOPTIMIZE)
    return None if ramp is None else list(ramp.getchannel("G").tobytes())
