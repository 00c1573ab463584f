"""Separable transforms of colour pictures, which the linear paths of networks start from.

A function of such a transform is a colour times a row of a one-dimensional basis down the picture times
another one across it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
"""Brightness, red - blue, and what is left: orthogonal, normalised where they are used."""

CORRELATION = 0.95
"""Correlation of neighbouring pixels of photographs."""

CHROMA = 0.25
"""Standard deviation of the last two colours relative to brightness's."""

STORED = 16.0
"""Kernels are stored this much larger than they act, so that an optimiser's steps, which know nothing of a
weight's size, are small against them."""

Band = tuple[int, int, int]
"""Colour, vertical and horizontal frequency."""


def dct(length: int) -> Tensor:
    """The orthonormal DCT-II as rows [frequency, sample], float64."""
    k = torch.arange(length, dtype=torch.float64)
    rows = torch.cos(math.pi / length * k[:, None] * (k + 0.5)) * math.sqrt(2 / length)
    rows[0] *= math.sqrt(0.5)
    return rows


def colour_transform() -> Tensor:
    """`COLOURS`, normalised: orthonormal rows [3, 3], float64."""
    colours = torch.tensor(COLOURS, dtype=torch.float64)
    colours /= colours.norm(dim=1, keepdim=True)
    return colours


def covariance(length: int) -> Tensor:
    """Of ``length`` neighbouring pixels, modelled as first-order autoregressive [length, length], float64."""
    distance = torch.arange(length, dtype=torch.float64)
    return CORRELATION ** (distance[:, None] - distance).abs()


def radius(vertical: int, horizontal: int) -> int:
    """By what frequencies are ordered."""
    return vertical**2 + horizontal**2 + vertical * horizontal


def lowest(side: int, counts: Sequence[int]) -> list[Band]:
    """The ``counts`` lowest frequencies of each colour, colour by colour; at most side ** 2 of each."""
    order = sorted(((u, v) for u in range(side) for v in range(side)), key=lambda uv: (radius(*uv), uv))
    return [(colour, u, v) for colour, count in enumerate(counts) for u, v in order[:count]]


def functions(rows: Tensor, bands: Sequence[Band]) -> Tensor:
    """The functions [len(bands), 3, n, n] of one-dimensional ones [frequency, n]; float64."""
    colours = colour_transform()
    return torch.stack([colours[c][:, None, None] * torch.outer(rows[u], rows[v]) for c, u, v in bands])


def deviations(rows: Tensor, bands: Sequence[Band], contrast: float) -> Tensor:
    """Standard deviations [len(bands)] of the coefficients of photographs (float64).

    ``contrast``: the standard deviation of a colour channel; see `covariance` for the model.
    """
    spread = torch.einsum("un,nm,um->u", rows, covariance(rows.shape[1]), rows).sqrt()
    luma = contrast * math.sqrt(len(COLOURS))
    colours = torch.tensor([luma if c == 0 else luma * CHROMA for c, _, _ in bands], dtype=torch.float64)
    # No number leaves its tensor: networks are also made without memory, on the meta device.
    return colours * spread[[u for _, u, _ in bands]] * spread[[v for _, _, v in bands]]
