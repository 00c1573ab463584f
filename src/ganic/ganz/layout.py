"""How a picture of any size lies on tiles of the generator's size: cut up, or made to fit as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganic.errors import LimitError
from ganic.images import Canvas, Picture

MAX_TILES = 1024
"""A small file must not ask for hours: 16.7 megapixels at 128 x 128."""

Fit = Literal["tiles", "resized"]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """A picture of ``width`` x ``height`` on tiles of ``size`` x ``size``.

    "tiles": tiles at a distance of ``size - overlap``; where they overlap, one fades into the next; those at
    the right and lower edges may reach over it.  "resized": one tile for the whole picture, scaled in both
    directions to fit.
    Raises LimitError for more than MAX_TILES tiles.
    """

    width: int
    height: int
    size: int
    fit: Fit = "tiles"
    overlap: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= self.size // 2:
            raise ValueError(f"an overlap of {self.overlap} is not within 0 to half of {self.size}")
        if self.count > MAX_TILES:
            raise LimitError(
                f"picture: {self.width}x{self.height} pixels need {self.count} tiles of side {self.size}, "
                f"over the limit of {MAX_TILES}"
            )

    @property
    def columns(self) -> int:
        return self._tiles_along(self.width)

    @property
    def rows(self) -> int:
        return self._tiles_along(self.height)

    @property
    def count(self) -> int:
        return self.columns * self.rows

    def cut(self, picture: Picture) -> Floats:
        """The tiles of a picture of this size [count, 3, size, size] in [0, 1], row by row.

        Beyond the picture its edge pixels are repeated.
        """
        image = picture.image
        if self.fit == "resized":
            image = image.resize((self.size, self.size), Image.Resampling.LANCZOS)
        pixels = np.asarray(image, dtype=np.uint8)
        tiles = np.empty((self.count, 3, self.size, self.size), np.float32)
        reach = np.arange(self.size)
        for tile, (x, y) in zip(tiles, self._origins(), strict=True):
            rows = np.minimum(y + reach, pixels.shape[0] - 1)
            columns = np.minimum(x + reach, pixels.shape[1] - 1)
            tile[:] = pixels[rows[:, None], columns].transpose(2, 0, 1)
        return tiles / np.float32(255)

    @cached_property
    def weights(self) -> Floats:
        """How much each pixel of a tile counts [count, 1, size, size]; over all tiles, 1 for every pixel."""
        across, down = self._ramps(self.width, self.columns), self._ramps(self.height, self.rows)
        grid = down[:, None, :, None] * across[None, :, None, :]
        return grid.reshape(self.count, 1, self.size, self.size)

    def join(self, tiles: Floats) -> Canvas:
        """The picture of tiles [count, 3, size, size], clipped to [0, 1] and rounded."""
        canvas = Canvas(self.width, self.height)
        if self.fit == "resized":
            image = Image.fromarray(_to_bytes(tiles[0].transpose(1, 2, 0)))
            canvas.fill(image.resize((self.width, self.height), Image.Resampling.LANCZOS))
            return canvas
        stride = self.size - self.overlap
        strip = np.zeros((self.size, (self.columns - 1) * stride + self.size, 3), np.float32)
        for row in range(self.rows):
            for column in range(self.columns):
                tile = row * self.columns + column
                x = column * stride
                faded = tiles[tile].transpose(1, 2, 0) * self.weights[tile, 0, :, :, None]
                strip[:, x : x + self.size] += faded
            finished = self.size if row == self.rows - 1 else stride
            height = min(finished, self.height - row * stride)
            canvas.paste(0, row * stride, _to_bytes(strip[:height, : self.width]))
            strip[: self.overlap] = strip[stride:]  # what the next row of tiles fades into
            strip[self.overlap :] = 0
        return canvas

    def _tiles_along(self, length: int) -> int:
        if self.fit == "resized":
            return 1
        return max(1, -(-(length - self.overlap) // (self.size - self.overlap)))

    def _origins(self) -> list[tuple[int, int]]:
        stride = self.size - self.overlap
        return [(x * stride, y * stride) for y in range(self.rows) for x in range(self.columns)]

    def _ramps(self, length: int, tiles: int) -> Floats:
        """Weights along one side [tiles, size]: up over an overlap, down over the next, 0 beyond the end."""
        ramps = np.ones((tiles, self.size), np.float32)
        up = (np.arange(self.overlap, dtype=np.float32) + 0.5) / max(1, self.overlap)
        if self.overlap:
            ramps[1:, : self.overlap] = up
            ramps[:-1, -self.overlap :] = 1 - up
        if self.fit == "tiles":
            places = np.arange(tiles)[:, None] * (self.size - self.overlap) + np.arange(self.size)
            ramps[places >= length] = 0
        return ramps


def _to_bytes(values: Floats) -> NDArray[np.uint8]:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
