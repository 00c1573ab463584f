"""A linear path from h0 to the picture, and its inverse: a block transform that a trained model starts from.

Not the paper's.  h0 is a picture of 8 x 8 positions, so a position's channels can hold the lowest frequencies
of its block: the two-dimensional cosine transform of three opponent colours.  With this path a generator
codes pictures before its first training step, about as well as JPEG's transform does, and its convolutions
learn what that misses; without it they learn cosines first, which takes them thousands of steps.

Kernels cover the neighbouring blocks as well, with zeros to begin with: blocks learn to overlap.  A lapped
path overlaps from the start: pictures are mixed across the borders between blocks before their blocks are
transformed, and back afterwards (Tran, Liang and Tu, "Lapped transform via time-domain pre- and
post-filtering", IEEE Trans. Signal Processing 51(6), 2003), which codes 0.3 dB better in each direction than
blocks alone and leaves a coarse quantiser no border to show.  The picture's own edges are mixed with nothing.
"""

from __future__ import annotations

import math

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


def mixing(side: int) -> Tensor:
    """What mixes the ``side`` pixels around a border between blocks [side, side], orthogonal (float64).

    Sums of mirrored pixels stay as they are, so constants do; differences go through J C2' C4 J, which makes
    the cosine transform of the mixed blocks Malvar's lapped orthogonal transform.
    """
    half = side // 2
    one = torch.eye(half, dtype=torch.float64)
    mirror = one.flip(0)
    k = torch.arange(half, dtype=torch.float64) + 0.5
    fourth = torch.cos(math.pi / half * torch.outer(k, k)) * math.sqrt(2 / half)
    differences = mirror @ dct(half).T @ fourth @ mirror
    sums = torch.cat([one, mirror], dim=1)
    others = torch.cat([mirror, -one], dim=1)
    return (sums.T @ sums + others.T @ differences @ others) / 2


def _rows(side: int, lapped: bool) -> Tensor:
    """The transform's functions along one direction, by frequency [side, side or 2 side]."""
    if not lapped:
        return dct(side)
    left, right = dct(side).chunk(2, dim=1)
    before, after = mixing(side).chunk(2)  # a block's halves lie after its first border and before its second
    return torch.cat([left @ after, right @ before], dim=1)


def mixer(size: int, side: int) -> Tensor:
    """What mixes the pixels around every inner border of a row of ``size`` pixels [size, size], float32."""
    whole, one = torch.eye(size, dtype=torch.float64), mixing(side)
    for border in range(side, size, side):
        around = slice(border - side // 2, border + side // 2)
        whole[around, around] = one
    return whole.float()


def mix(x: Tensor, matrix: Tensor) -> Tensor:
    """Pictures [n, c, size, size], float32, their rows and columns mixed by ``matrix`` [size, size]."""
    with torch.autocast(x.device.type, enabled=False):
        return matrix @ x @ matrix.mT


def deviations(channels: int, side: int, *, lapped: bool = False) -> Tensor:
    """Standard deviations [channels] of the coefficients of photographs; brightness's where there is none."""
    bands = _bands(channels, side)
    found = torch.full((channels,), CONTRAST * len(separable.COLOURS) ** 0.5, dtype=torch.float64)
    found[: len(bands)] = separable.deviations(_rows(side, lapped), bands, CONTRAST)
    return found


class Synthesis(nn.Module):
    """h0 [n, width, 8, 8] -> [n, 3, size, size]; channels of h0 have a variance near one."""

    mixer: Tensor | None

    def __init__(self, width: int, image_size: int, positions: int, *, lapped: bool = False) -> None:
        super().__init__()
        self.side = image_size // positions
        self.conv = nn.Conv2d(width, 3 * self.side**2, 3, padding=1, bias=False)
        kernel = block_transform(width, self.side)
        kernel *= deviations(width, self.side, lapped=lapped)[:, None, None, None]
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:, :, 1, 1] = kernel.flatten(1).mT.float() * STORED
        self.register_buffer("mixer", mixer(image_size, self.side).T if lapped else None, persistent=False)

    @property
    def lapped(self) -> bool:
        return self.mixer is not None

    def forward(self, h0: Tensor) -> Tensor:
        picture = F.pixel_shuffle(self.conv(h0 / STORED), self.side).float()
        return picture if self.mixer is None else mix(picture, self.mixer)


class Analysis(nn.Module):
    """Pictures around zero [n, 3, size, size] -> orthonormal coefficients [n, width, 8, 8]."""

    mixer: Tensor | None

    def __init__(self, width: int, image_size: int, positions: int, *, lapped: bool = False) -> None:
        super().__init__()
        self.side = image_size // positions
        self.conv = nn.Conv2d(3 * self.side**2, width, 3, padding=1, bias=False)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:, :, 1, 1] = block_transform(width, self.side).flatten(1).float() * STORED
        self.register_buffer("mixer", mixer(image_size, self.side) if lapped else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mixed = x if self.mixer is None else mix(x, self.mixer)
        coefficients: Tensor = self.conv(F.pixel_unshuffle(mixed / STORED, self.side))
        return coefficients
