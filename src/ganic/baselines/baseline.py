"""What a baseline is, and how one is held to a number of bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganic.errors import InputError, UsageError

if TYPE_CHECKING:
    from PIL import Image

Encoder = Callable[["Image.Image", int], bytes]
"""A picture and a quality from the baseline's own scale -> the bytes of one real file, without metadata."""

Decoder = Callable[[bytes], "Image.Image"]
"""Those bytes -> the picture, mode RGB, loaded."""

LOOK_AHEAD = 3
"""File sizes are not quite monotone in quality: this many qualities above the boundary are tried as well."""


@dataclass(frozen=True)
class Baseline:
    """A codec people use today, at settings worth losing to.

    `qualities` is its own scale, ascending; `settings` says in words what was chosen and which library it is,
    for the reader of a report and as part of the key under which results are kept.
    """

    name: str
    title: str
    settings: str
    encode: Encoder
    decode: Decoder
    qualities: range


@dataclass(frozen=True)
class Encoded:
    """One file and the quality it was made at."""

    data: bytes
    quality: int


def file_of(baseline: Baseline, image: Image.Image, quality: int) -> bytes:
    """One file.  Raises InputError for a picture that the baseline has no file for: WebP's have 16383 pixels
    a side at most, HEVC's no extreme shapes.
    """
    try:
        return baseline.encode(image, quality)
    except (ValueError, RuntimeError, OSError) as error:
        size = f"{image.width}x{image.height}"
        raise InputError(
            f"{baseline.title}: cannot code {size} pixels ({error}); leave it out, or cut the picture"
        ) from error


def match_bytes(
    baseline: Baseline,
    image: Image.Image,
    max_bytes: int,
    *,
    tried: MutableMapping[int, bytes] | None = None,
) -> Encoded | None:
    """The highest-quality file of not more than `max_bytes` bytes, or None where even the lowest is larger.

    A binary search finds the boundary. As sizes are not quite monotone in quality, the `LOOK_AHEAD` qualities
    above it are tried too, again from every better one found. `tried` (quality -> file) carries files between
    searches on the same picture, so several limits cost little more than one.

    Raises UsageError for a limit that is not positive, InputError as `file_of` does.
    """
    if max_bytes < 1:
        raise UsageError(f"max_bytes: {max_bytes}; pass a positive number of bytes")
    files: MutableMapping[int, bytes] = {} if tried is None else tried
    qualities = baseline.qualities

    def fits(index: int) -> bool:
        quality = qualities[index]
        if quality not in files:
            files[quality] = file_of(baseline, image, quality)
        return len(files[quality]) <= max_bytes

    best, above = -1, len(qualities)
    while above - best > 1:
        middle = (best + above) // 2
        if fits(middle):
            best = middle
        else:
            above = middle
    index = best + 1
    while index <= min(best + LOOK_AHEAD, len(qualities) - 1):
        if fits(index):
            best = index
        index += 1
    return Encoded(files[qualities[best]], qualities[best]) if best >= 0 else None


def match_or_smallest(
    baseline: Baseline,
    image: Image.Image,
    max_bytes: int,
    *,
    tried: MutableMapping[int, bytes] | None = None,
) -> Encoded:
    """As `match_bytes`, or the smallest file that was tried where all are larger."""
    files: MutableMapping[int, bytes] = {} if tried is None else tried
    encoded = match_bytes(baseline, image, max_bytes, tried=files)
    if encoded is None:
        quality, data = min(files.items(), key=lambda item: len(item[1]))
        encoded = Encoded(data, quality)
    return encoded


def bare(image: Image.Image) -> Image.Image:
    """The picture as RGB without metadata, which some encoders would otherwise put into the file."""
    from PIL import Image

    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return Image.frombytes("RGB", rgb.size, rgb.tobytes())


def save(image: Image.Image, file_format: str, **options: object) -> bytes:
    """The bytes Pillow writes for a picture, metadata left out."""
    file = io.BytesIO()
    bare(image).save(file, file_format, **options)
    return file.getvalue()


def load(data: bytes) -> Image.Image:
    """The picture in a file Pillow reads by itself, mode RGB, loaded."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB")


def version_of(versions: Mapping[str, str | None]) -> str:
    """``libwebp 1.6.0, Pillow 13.0.0`` from names and versions."""
    return ", ".join(f"{name} {version or '?'}" for name, version in versions.items())
