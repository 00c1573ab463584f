"""A linear path from h0 to the picture, and its inverse: a block transform that a trained model starts from.

Not the paper's.  h0 is a picture of 8 x 8 positions, so a position's channels can hold the lowest frequencies
of its block: the two-dimensional cosine transform of three opponent colours.  With this path a generator
codes pictures before its first training step, about as well as JPEG's transform does, and its convolutions
learn what that misses; without it they learn cosines first, which takes them thousands of steps.

Kernels cover the neighbouring blocks as well, with zeros to begin with: blocks learn to overlap.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
"""Brightness, red - blue, and what is left; made orthonormal below."""

STORED = 16.0
"""Kernels are stored this much larger than they act, so that an optimiser's steps are small against them."""

CORRELATION = 0.95
"""Between neighbouring pixels, for `deviations`."""

CONTRAST, CHROMA = 0.25, 0.25
"""Standard deviation of a colour channel, and of the two chromas relative to brightness's."""


def dct(length: int) -> Tensor:
    """The orthonormal DCT-II as rows [frequency, sample], float64."""
    k = torch.arange(length, dtype=torch.float64)
    rows = torch.cos(math.pi / length * k[:, None] * (k + 0.5)) * math.sqrt(2 / length)
    rows[0] *= math.sqrt(0.5)
    return rows


def _bands(channels: int, side: int) -> list[tuple[int, int, int]]:
    """(colour, vertical, horizontal frequency) of the channels, lowest first; a third goes to the chromas."""
    order = sorted(
        ((u, v) for u in range(side) for v in range(side)),
        key=lambda uv: (uv[0] ** 2 + uv[1] ** 2 + uv[0] * uv[1], uv),
    )
    chroma = max(channels // 6, (channels - side * side + 1) // 2)
    counts = (channels - 2 * chroma, chroma, chroma)
    bands = [(colour, u, v) for colour, count in enumerate(counts) for u, v in order[:count]]
    # Where a block has fewer numbers than there are channels, the rest of the channels stays unused.
    return sorted(bands, key=lambda band: (band[1] ** 2 + band[2] ** 2 + band[1] * band[2], band))


def block_transform(channels: int, side: int) -> Tensor:
    """The channels' basis functions [channels, 3, side, side], orthonormal (float64)."""
    colours = torch.tensor(COLOURS, dtype=torch.float64)
    colours /= colours.norm(dim=1, keepdim=True)
    rows = dct(side)
    found = torch.zeros(channels, 3, side, side, dtype=torch.float64)
    for channel, (colour, u, v) in enumerate(_bands(channels, side)):
        found[channel] = colours[colour][:, None, None] * torch.outer(rows[u], rows[v])
    return found


def deviations(channels: int, side: int) -> Tensor:
    """Standard deviations [channels] of the coefficients of photographs, as a first-order autoregression has
    them."""
    distance = torch.arange(side, dtype=torch.float64)
    covariance = CORRELATION ** (distance[:, None] - distance).abs()
    rows = dct(side)
    spread = torch.einsum("un,nm,um->u", rows, covariance, rows).sqrt()
    luma = CONTRAST * math.sqrt(3)
    found = torch.full((channels,), luma, dtype=torch.float64)
    for channel, (colour, u, v) in enumerate(_bands(channels, side)):
        found[channel] = (luma if colour == 0 else luma * CHROMA) * spread[u] * spread[v]
    return found


class Synthesis(nn.Module):
    """h0 [n, width, 8, 8] -> [n, 3, size, size]; channels of h0 have a variance near one."""

    def __init__(self, width: int, image_size: int, positions: int) -> None:
        super().__init__()
        self.side = image_size // positions
        self.conv = nn.Conv2d(width, 3 * self.side**2, 3, padding=1, bias=False)
        kernel = block_transform(width, self.side) * deviations(width, self.side)[:, None, None, None]
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:, :, 1, 1] = kernel.flatten(1).mT.float() * STORED

    def forward(self, h0: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(h0 / STORED), self.side)


class Analysis(nn.Module):
    """Pictures around zero [n, 3, size, size] -> orthonormal coefficients [n, width, 8, 8]."""

    def __init__(self, width: int, image_size: int, positions: int) -> None:
        super().__init__()
        self.side = image_size // positions
        self.conv = nn.Conv2d(3 * self.side**2, width, 3, padding=1, bias=False)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:, :, 1, 1] = block_transform(width, self.side).flatten(1).float() * STORED

    def forward(self, x: Tensor) -> Tensor:
        coefficients: Tensor = self.conv(F.pixel_unshuffle(x / STORED, self.side))
        return coefficients
