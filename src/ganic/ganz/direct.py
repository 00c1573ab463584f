"""A linear path from h0 to the picture, and its inverse: a block transform that a trained model starts from.

Not the paper's.  h0 is a picture of 8 x 8 positions, so a position's channels can hold the lowest frequencies
of its block: the two-dimensional cosine transform of three opponent colours.  With this path a generator
codes pictures before its first training step, about as well as JPEG's transform does, and its convolutions
learn what that misses; without it they learn cosines first, which takes them thousands of steps.

Kernels cover the neighbouring blocks as well, with zeros to begin with: blocks learn to overlap.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganic import separable
from ganic.separable import STORED, Band, dct

CONTRAST = 0.25
"""Standard deviation of a colour channel of the pictures that `deviations` expects."""


def _bands(channels: int, side: int) -> list[Band]:
    """Of the channels, lowest first; a third goes to the chromas, more where brightness has no more.

    Where a block has fewer numbers than there are channels, the rest of the channels stays unused.
    """
    chroma = max(channels // 6, (channels - side * side + 1) // 2)
    bands = separable.lowest(side, (channels - 2 * chroma, chroma, chroma))
    return sorted(bands, key=lambda band: (separable.radius(*band[1:]), band))


def block_transform(channels: int, side: int) -> Tensor:
    """The channels' basis functions [channels, 3, side, side], orthonormal (float64)."""
    bands = _bands(channels, side)
    found = torch.zeros(channels, 3, side, side, dtype=torch.float64)
    found[: len(bands)] = separable.functions(dct(side), bands)
    return found


def deviations(channels: int, side: int) -> Tensor:
    """Standard deviations [channels] of the coefficients of photographs; brightness's where there is none."""
    bands = _bands(channels, side)
    found = torch.full((channels,), CONTRAST * len(separable.COLOURS) ** 0.5, dtype=torch.float64)
    found[: len(bands)] = separable.deviations(dct(side), bands, CONTRAST)
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
