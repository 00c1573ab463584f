"""The ALPH box: an 8-bit alpha channel, lossless.

The data are one byte that names the method, then what the method needs; its size is the picture's:

    0   one byte: the alpha of every pixel
    1   a lossless WebP file (a single VP8L chunk) whose green channel is the alpha
    2   a PNG file: greyscale, 1 or 8 bits, not interlaced, opaque (1 bit: 0 and 1 mean 0 and 255)

``encode`` writes the shortest of those that apply. WebP is only for up to 16,000,000 pixels: its encoder and
decoder need some 20 bytes per pixel, PNG's one. A decoder refuses a larger one, and a PNG with two headers. A
picture that is opaque everywhere has no ALPH box at all.
"""

from __future__ import annotations

import io

from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ganic.errors import CorruptError

__all__ = ["decode", "encode"]

CONSTANT, WEBP, PNG = 0, 1, 2
MAX_WEBP_SIDE = 16383
MAX_WEBP_PIXELS = 16_000_000

_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"


def encode(alpha: Image.Image) -> bytes:
    """The data of an ALPH box for ``alpha``, mode L. Raises ValueError for any other mode."""
    if alpha.mode != "L":
        raise ValueError(f"alpha is of mode L, not {alpha.mode}")
    alpha = alpha._new(alpha.im)  # the same pixels
    alpha.info = {}  # a channel has its picture's profile, which would be written once more
    levels = {value for value, count in enumerate(alpha.histogram()) if count}
    if len(levels) == 1:
        return bytes([CONSTANT, *levels])
    candidates = [_encode_png(alpha, two_levels=levels == {0, 255})]
    if max(alpha.size) <= MAX_WEBP_SIDE and alpha.width * alpha.height <= MAX_WEBP_PIXELS:
        candidates.append(_encode_webp(alpha))
    return min(candidates, key=len)


def decode(data: bytes, width: int, height: int) -> Image.Image:
    """The alpha channel (mode L) from the data of an ALPH box, for a picture of the given size.

    Raises CorruptError if they are not of one of the three methods, are of another size, or do not decode.
    Sizes are compared before pixels are allocated.
    """
    if len(data) < 2:
        raise CorruptError(f"box ALPH: {len(data)} bytes are too few; get the file again")
    method, body = data[0], data[1:]
    if method == CONSTANT and len(body) == 1:
        return Image.new("L", (width, height), body[0])
    if (method, _size(method, body)) not in {(WEBP, (width, height)), (PNG, (width, height))}:
        raise CorruptError(
            f"box ALPH: is not an alpha channel of {width}x{height} pixels; get the file again"
        )
    try:
        # The plugins' own classes: Image.open would apply a limit to the pixel count, which is known by now.
        if method == WEBP:
            return WebPImageFile(io.BytesIO(body)).getchannel("G")
        picture: Image.Image = PngImageFile(io.BytesIO(body))
        # A second header would have another size, and pixels are allocated for what the last one says.
        if picture.size != (width, height) or picture.mode not in ("1", "L"):
            raise ValueError("two headers")
        picture.load()
        return picture.convert("L")
    except Exception as error:
        # On damaged data Pillow raises nearly everything, from OSError and SyntaxError to struct.error.
        raise CorruptError(f"box ALPH: cannot be decoded: {error}; get the file again") from error


def _encode_png(alpha: Image.Image, *, two_levels: bool) -> bytes:
    out = io.BytesIO(bytes([PNG]))
    out.seek(1)
    picture = alpha.convert("1", dither=Image.Dither.NONE) if two_levels else alpha
    picture.save(out, "PNG", compress_level=9)
    return out.getvalue()


def _encode_webp(alpha: Image.Image) -> bytes:
    out = io.BytesIO(bytes([WEBP]))
    out.seek(1)
    alpha.convert("RGB").save(out, "WEBP", lossless=True, quality=80, method=4)
    return out.getvalue()


def _size(method: int, body: bytes) -> tuple[int, int] | None:
    """Width and height as the first bytes give them; None if ``encode`` does not write such a file."""
    if method == WEBP:
        # RIFF container (its length counts what follows it), one VP8L chunk, its signature, 14 bits each way.
        whole = body[:4] == b"RIFF" and int.from_bytes(body[4:8], "little") + 8 == len(body)
        if not whole or body[8:16] != b"WEBPVP8L" or body[20:21] != b"\x2f":
            return None
        bits = int.from_bytes(body[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        return (width, height) if width * height <= MAX_WEBP_PIXELS else None
    if method == PNG:
        # IHDR: width, height, then bit depth, colour type 0, compression 0, filter 0, interlace 0.
        if body[:16] != _PNG_START or body[24:29] not in (b"\1\0\0\0\0", b"\x08\0\0\0\0"):
            return None
        return int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")
    return None
