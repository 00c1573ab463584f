"""Square pictures for experiments: from a picture file, a folder, or a zip of pictures."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganic import images
from ganic.errors import DataError, GanicError

SUFFIXES = frozenset((".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))

CELEBA_HALF = (13, 25, 64, 64)
"""The paper's crop (26, 51, 128, 128 of 178 x 218) at half resolution: left, top, width, height."""

How = Literal["crop", "resize"]


@dataclass(frozen=True)
class Squares:
    """Pictures of one size; ``pixels`` uint8 [n, 3, size, size]."""

    names: tuple[str, ...]
    pixels: Tensor

    @property
    def values(self) -> Tensor:
        """float32 in [0, 1]."""
        return self.pixels.float() / 255

    def image(self, index: int) -> Image.Image:
        """One picture as Pillow has it, mode RGB."""
        return to_image(self.pixels[index])


def to_image(pixels: Tensor) -> Image.Image:
    """[3, h, w], uint8, or float in [0, 1] -> a Pillow image, mode RGB."""
    if pixels.is_floating_point():
        pixels = (pixels.detach().clamp(0, 1) * 255).round()
    return Image.fromarray(pixels.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy())


def load(
    source: Path,
    size: int,
    *,
    how: How = "crop",
    box: Sequence[int] | None = None,
    first: int = 0,
    count: int | None = None,
) -> Squares:
    """Pictures ``first`` .. ``first + count`` of a source, by name; too small ones are left out.

    ``box``: (left, top, width, height) cut out of each picture before anything else.  "crop" then takes the
    square of ``size`` pixels in the middle, "resize" the largest square in the middle, scaled.
    Raises DataError if there is no picture.
    """
    names: list[str] = []
    pixels: list[Tensor] = []
    for name, image in _pictures(source, first, count):
        if box is not None:
            image = image.crop((box[0], box[1], box[0] + box[2], box[1] + box[3]))
        side = size if how == "crop" else min(image.size)
        if min(image.size) < size:
            continue
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        if side != size:
            image = image.resize((size, size), Image.Resampling.LANCZOS)
        names.append(name)
        pixels.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    if not pixels:
        raise DataError(
            f"{source}: no pictures of at least {size}x{size} pixels; name a picture, a folder or a zip"
        )
    return Squares(tuple(names), torch.stack(pixels).contiguous())


def _pictures(source: Path, first: int, count: int | None) -> Iterator[tuple[str, Image.Image]]:
    last = None if count is None else first + count
    try:
        if source.suffix.lower() == ".zip":
            with zipfile.ZipFile(source) as archive:
                members = sorted(n for n in archive.namelist() if Path(n).suffix.lower() in SUFFIXES)
                for name in members[first:last]:
                    try:
                        picture = images.read(archive.read(name), name=name).image
                    except GanicError:
                        continue  # as in folders
                    yield name, picture
            return
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise DataError(f"{source}: not a readable zip ({error}); get it again") from error
    if source.is_dir():
        paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)[first:last]
    else:
        paths = [source]
    for path in paths:
        try:
            yield path.name, images.read(path).image
        except GanicError:
            if path == source:
                raise
