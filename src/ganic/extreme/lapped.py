"""A lapped orthogonal transform as the linear part of encoder and generator.

The compact networks do not start from noise: their linear shortcut starts as a 16-band lapped orthogonal
transform (Malvar and Staelin, "The LOT: transform coding without blocking effects", IEEE ASSP 37(4), 1989) of
which only the lowest frequencies are kept, and the convolutional paths learn what that misses.  The shortcut
trains with everything else, costs 1.5 kMAC per pixel, and saves thousands of steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganic import separable
from ganic.separable import STORED, Band, covariance, dct

BANDS = 16
"""Bands per direction, and the hop in pixels; basis functions are twice as long."""

CONTRAST = 0.2
"""Standard deviation of a colour channel of photographs in [0, 1]."""


def lapped_basis() -> Tensor:
    """The 16 basis functions [16, 32], by frequency; with their shifts by 16 an orthonormal basis
    (float64)."""
    cosines = dct(BANDS)
    difference = cosines[0::2] - cosines[1::2]
    mirrored = difference.flip(1)
    even = torch.cat([difference, mirrored], dim=1) / 2
    odd = torch.cat([difference, -mirrored], dim=1) / 2
    expected = covariance(2 * BANDS)
    halves = []
    for half in (even, odd):
        # Karhunen-Loeve within the symmetric and the antisymmetric half; both stay orthogonal to their
        # shifts.
        _, vectors = torch.linalg.eigh(half @ expected @ half.T)
        halves.append(vectors.flip(1).T @ half)
    return torch.stack(halves, dim=1).reshape(BANDS, 2 * BANDS)


def kept(channels: int) -> list[Band]:
    """The bands of the lowest frequencies: two thirds luma, the rest two chromas."""
    chroma = channels // 6
    return separable.lowest(BANDS, (channels - 2 * chroma, chroma, chroma))


def picture_basis(channels: int) -> Tensor:
    """The ``channels`` (at most 384) lowest-frequency functions [channels, 3, 32, 32], orthonormal."""
    return separable.functions(lapped_basis(), kept(channels))


def typical_deviations(channels: int) -> Tensor:
    """Standard deviations [channels] of the coefficients of photographs."""
    return separable.deviations(lapped_basis(), kept(channels), CONTRAST).float()


def kernel(channels: int) -> Tensor:
    """The basis as a 2x2 kernel over 16x16 blocks, as stored: [channels, 768, 2, 2]."""
    blocks = picture_basis(channels).reshape(channels, 3, 2, BANDS, 2, BANDS)
    return blocks.permute(0, 1, 3, 5, 2, 4).reshape(channels, 3 * BANDS * BANDS, 2, 2).float() * STORED


class Analysis(nn.Module):
    """Picture [n, 3, 16h, 16w] -> coefficients [n, channels, h, w], orthonormal times ``scale``.

    ``blank``: starts as nothing instead, and learns fast.
    """

    def __init__(self, channels: int, scale: float, blank: bool = False) -> None:
        super().__init__()
        self.factor = scale if blank else scale / STORED
        self.conv = nn.Conv2d(3 * BANDS * BANDS, channels, 2, bias=False)
        with torch.no_grad():
            if blank:
                self.conv.weight.zero_()
            else:
                self.conv.weight.copy_(kernel(channels))

    def forward(self, x: Tensor) -> Tensor:
        half = BANDS // 2
        out: Tensor = self.conv(F.pixel_unshuffle(F.pad(x * self.factor, (half, half, half, half)), BANDS))
        return out


def tapered(length: int) -> Tensor:
    """A window [32] that rises from 0 as a squared sine over ``length`` samples, stays at 1, and falls
    likewise."""
    rise = torch.sin(math.pi / 2 * (torch.arange(length) + 0.5) / max(length, 1)).square()
    return torch.cat([rise, torch.ones(2 * BANDS - 2 * length), rise.flip(0)])


class Synthesis(nn.Module):
    """The adjoint of :class:`Analysis` divided by ``scale`` squared: coefficients -> picture.

    ``taper``: samples over which the functions are forced to rise from 0 and to fall to it.  Those of the
    lapped transform do not quite end in 0, and training widens the step: a lattice of 16 pixels.  0 for
    models without the entry.
    """

    window: Tensor

    def __init__(self, channels: int, scale: float, taper: int = 0) -> None:
        super().__init__()
        self.factor = 1 / (scale * STORED)
        window = tapered(taper)
        blocks = torch.outer(window, window).reshape(2, BANDS, 2, BANDS).permute(1, 3, 0, 2)
        # [1 (coefficients last)...]: as the weights below, over colours, rows and columns of a block.
        window = blocks.reshape(1, BANDS * BANDS, 2, 2).expand(3, -1, -1, -1).reshape(-1, 1, 2, 2).flip(2, 3)
        self.register_buffer("window", window.contiguous(), persistent=False)
        self.conv = nn.Conv2d(channels, 3 * BANDS * BANDS, 2, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(kernel(channels).transpose(0, 1).flip(2, 3))

    def forward(self, y: Tensor) -> Tensor:
        half = BANDS // 2
        weight = self.conv.weight * self.window.to(self.conv.weight.dtype)
        blocks = F.conv2d(F.pad(y * self.factor, (1, 1, 1, 1)), weight)
        return F.pixel_shuffle(blocks, BANDS)[:, :, half:-half, half:-half]
