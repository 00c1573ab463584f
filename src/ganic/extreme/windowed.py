"""Encoder and generator over pictures of any size, window by window, so that memory stays bounded.

A window is computed with a margin of its surroundings and the margin is thrown away; small pictures are one
window.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganic import images
from ganic.extreme.allocation import Allocation
from ganic.extreme.compact import Encoder, Generator
from ganic.extreme.integer_prior import GRID
from ganic.extreme.shades import FARTHEST, Afar, add_shades
from ganic.extreme.tiling import STRIDE, Span, Tile, spans, windows

WINDOW = 64
"""Side of a network window in latent positions (1024 pixels)."""
WHOLE = 96 * 96
"""Latent positions up to which a picture goes through the networks in one piece."""
MARGIN = 8
"""Positions around a window: what lies farther away changes a pixel by at most a grey level (tested in
float32)."""

Conditions = Callable[[Span, Span], Tensor | None]
"""For rows and columns of the latent, margins included: the class shares that G receives there."""


def analyse(
    encoder: Encoder,
    picture: images.Picture,
    quality: npt.NDArray[np.uint8],
    coded: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float32]:
    """E of the whole picture: latent [rows, columns, channels], before the gain.

    ``quality``: the indices [rows, columns] that E is told.  ``coded``: the positions [rows, columns] that
    will have symbols; None: all.
    """
    rows, columns = -(-picture.height // STRIDE), -(-picture.width // STRIDE)
    parameter = next(encoder.parameters())
    uniform = is_uniform(quality)
    latent: npt.NDArray[np.float32] | None = None
    for row, column in windows(rows, columns, _side(rows, columns), MARGIN):
        pixels = pixels_of(picture, row, column)
        x = torch.from_numpy(pixels).to(parameter.device).permute(2, 0, 1)[None].to(parameter.dtype) / 255
        where = row.outer, column.outer
        heat = None
        if coded is not None:
            heat = torch.from_numpy(coded[where])[None, None].to(x.device, x.dtype)
        y = (
            encoder(x, index_of(quality[where], uniform).to(x.device), heat)[0]
            .permute(1, 2, 0)
            .float()
            .cpu()
            .numpy()
        )
        if latent is None:
            latent = np.empty((rows, columns, y.shape[2]), dtype=np.float32)
        latent[row.start : row.stop, column.start : column.stop] = y[row.inner, column.inner]
    assert latent is not None
    return latent


def look_from_afar(
    afar: Afar,
    latent: npt.NDArray[np.float32],
    shown: npt.NDArray[np.float32],
    quality: npt.NDArray[np.uint8],
    tile: Tile,
) -> npt.NDArray[np.float32]:
    """What G's picture of one tile is like from afar: means [height, width, 3] over latent positions.

    Args:
        latent: E's of the whole picture [rows, columns, channels].
        shown: what G receives of the tile [height, width, channels]. Beyond its edges ``latent`` stands for
            that, so that tiles need not wait for one another; the means there hardly change.
        quality: indices of the whole picture [rows, columns].
    """
    rows, columns = quality.shape
    top, left = max(tile.top - FARTHEST, 0), max(tile.left - FARTHEST, 0)
    where = slice(top, min(tile.bottom + FARTHEST, rows)), slice(left, min(tile.right + FARTHEST, columns))
    inside = slice(tile.top - top, tile.bottom - top), slice(tile.left - left, tile.right - left)
    seen = latent[where].copy()
    seen[inside] = shown
    y = torch.from_numpy(seen).permute(2, 0, 1)[None]
    means = afar(y, index_of(quality[where], is_uniform(quality)))[0].permute(1, 2, 0)
    inner: npt.NDArray[np.float32] = means.numpy()[inside]
    return inner


def block_means(picture: images.Picture) -> npt.NDArray[np.float32]:
    """Means of the pixels of every latent position [rows, columns, 3] in [0, 1]."""
    rows, columns = -(-picture.height // STRIDE), -(-picture.width // STRIDE)
    found = np.empty((rows, columns, 3), dtype=np.float32)
    for row in spans(rows, WINDOW, 0):
        pixels = pixels_of(picture, row, Span(0, columns, 0, columns))
        # Down first: whole rows are added at once.
        lines = pixels.reshape(-1, STRIDE, columns * STRIDE * 3).sum(1, dtype=np.uint16)
        sums = lines.reshape(-1, columns, STRIDE, 3).sum(2, dtype=np.uint32)
        found[row.start : row.stop] = sums / np.float32(255 * STRIDE**2)
    return found


def synthesise(
    generator: Generator,
    latent: npt.NDArray[np.int16],
    gains: npt.NDArray[np.float32],
    area: Allocation,
    canvas: images.Canvas,
    conditions: Conditions | None = None,
    shades: Tensor | None = None,
) -> None:
    """G of the whole latent [rows, columns, channels] in 1/16, onto the canvas.

    ``gains``: what latents were multiplied by, [qualities, channels].  ``shades``: what is added to the
    picture [3, ceil(rows / 4), ceil(columns / 4)], see :mod:`ganic.extreme.shades`.
    """
    rows, columns, _ = latent.shape
    parameter = next(generator.parameters())
    scales = 1 / (GRID * gains)
    uniform = is_uniform(area.quality)
    if shades is not None:
        shades = shades.to(parameter.device)
    for row, column in windows(rows, columns, _side(rows, columns), MARGIN):
        where = row.outer, column.outer
        quality = area.quality[where]
        index = index_of(quality, uniform).to(parameter.device)
        y = torch.from_numpy(latent[where] * scales[quality]).to(parameter.device, parameter.dtype)
        labels = None if conditions is None else conditions(row, column)
        if labels is not None:
            labels = labels.to(parameter.device, parameter.dtype)
        x = generator(y.permute(2, 0, 1)[None], index, labels=labels)[0]
        top, left = (row.start - row.outer_start) * STRIDE, (column.start - column.outer_start) * STRIDE
        inside = (
            slice(top, top + (row.stop - row.start) * STRIDE),
            slice(left, left + (column.stop - column.start) * STRIDE),
        )
        x = x.permute(1, 2, 0)[inside].contiguous()
        if shades is not None:
            add_shades(x, shades, row.start * STRIDE, column.start * STRIDE)
        pixels = x.mul_(255).round_().clamp_(0, 255).to(torch.uint8)
        canvas.paste(column.start * STRIDE, row.start * STRIDE, pixels.cpu().numpy())


def pixels_of(picture: images.Picture, row: Span, column: Span) -> npt.NDArray[np.uint8]:
    """The pixels of latent positions, margins included; beyond its edges a picture goes on as it ends."""
    x0, y0 = column.outer_start * STRIDE, row.outer_start * STRIDE
    x1, y1 = column.outer_stop * STRIDE, row.outer_stop * STRIDE
    pixels = picture.window(x0, y0, min(x1, picture.width), min(y1, picture.height))
    missing = ((0, y1 - y0 - pixels.shape[0]), (0, x1 - x0 - pixels.shape[1]), (0, 0))
    if any(end for _, end in missing):
        pixels = np.pad(pixels, missing, mode="edge")
    return pixels


def is_uniform(quality: npt.NDArray[np.uint8]) -> bool:
    return bool((quality == quality[0, 0]).all())


def index_of(quality: npt.NDArray[np.uint8], uniform: bool) -> Tensor:
    """Of one picture's quality [h, w] what networks are told: [1] where the whole picture has one, a map [1,
    h, w] otherwise."""
    return torch.from_numpy(quality[:1, 0] if uniform else quality[None])


def _side(rows: int, columns: int) -> int:
    return max(rows, columns) if rows * columns <= WHOLE else WINDOW
