"""What a symbol of the latent costs, and which symbol stands for a value.

Scales are 64 in number, evenly spaced by their logarithm; each has a table of probabilities.  What training
counts (:func:`rate_bits`) and what files pay (:func:`symbol_tables`) come from one distribution.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ganic.entropy import SymbolTables, excess_counts, laplacian_tables
from ganic.straight_through import clip_through, round_through

SCALES = 64
SCALE_MIN, SCALE_MAX = 0.11, 64.0
SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALES - 1)


def scale_of_index(index: Tensor) -> Tensor:
    """Standard deviation of scale index 0..63: SCALE_MIN * exp(index * SCALE_STEP)."""
    return SCALE_MIN * torch.exp(index * SCALE_STEP)


def index_of_scale(scale: Tensor) -> Tensor:
    """Inverse of :func:`scale_of_index`, not rounded."""
    return torch.log(scale / SCALE_MIN) / SCALE_STEP


def nearest_index(index: Tensor) -> Tensor:
    """The nearest scale index.  A scale that was certain of 0 hears of symbols that are not."""
    return round_through(clip_through(index, 0.0, SCALES - 1.0, leak=1.0))


def laplace_rate(index: Tensor) -> Tensor:
    """1/b of the Laplacian of scale index 0..63: its symbol 0 is as probable as a Gaussian's of that index.

    Laplacians, because that is what the symbols of photographs are: where a Gaussian of their standard
    deviation has one symbol of +-2 in 4,000, there are 30.
    """
    one_side: Tensor = torch.special.log_ndtr(-0.5 / scale_of_index(index))
    return -2 * (one_side + math.log(2))


def symbol_bits(value: Tensor, index: Tensor) -> Tensor:
    """Code length (elementwise): -log2 of the probability of ``value +- 0.5`` under a scale index."""
    rate, value = laplace_rate(index), value.abs()
    inside = value.clamp(max=0.5)
    outside = (torch.exp(rate * (inside - 0.5)) + torch.exp(-rate * (inside + 0.5))) / 2
    tail = rate * (value - 0.5) - torch.log(-torch.expm1(-rate) / 2)
    return torch.where(value < 0.5, -torch.log1p(-outside), tail) / math.log(2)


def symbol_tables() -> SymbolTables:
    """The probabilities behind :func:`symbol_bits`, for integers: one table per scale index, for export.

    Tables may be certain (support 0) and then code nothing: many symbols of a photograph are of that kind.
    Others tell what is beyond them: in calm pictures at high quality a few predictions in a thousand are
    off by tens, and each left standing is a blotch.
    """
    index = torch.arange(SCALES, dtype=torch.float64)
    tables = laplacian_tables((math.sqrt(2) / laplace_rate(index)).numpy(), min_support=0)
    return replace(tables, excess=excess_counts())


@torch.no_grad()
def nearest_symbols(offset: Tensor, index: Tensor | None = None, price: float = 0.0) -> Tensor:
    """The integers that stand for ``offset``, value minus mean.

    With a ``price``, in squared units per bit, an integer's neighbour towards 0 where the bits that it saves
    are worth more than the error that it adds.
    """
    nearest = torch.round(offset)
    if index is None or not price:
        return nearest
    lower = nearest - nearest.sign()
    saved = symbol_bits(nearest, index) - symbol_bits(lower, index)
    added = (offset - lower).square() - (offset - nearest).square()
    return torch.where(price * saved > added, lower, nearest)


def rate_bits(offset: Tensor, index: Tensor, symbols: Tensor) -> Tensor:
    """Code length (elementwise) of the ``symbols`` of ``offset``, value minus mean.

    The gradient for ``index`` is that of the symbols themselves, so the scales are learned for what is
    coded: under uniform noise a symbol that is certain costs 0.13 bits, and many are.  ``offset`` has no
    gradient through integers; its own is the one under the noise.
    """
    noise = torch.empty_like(offset).uniform_(-0.5, 0.5)
    noisy = symbol_bits(offset + noise, index.detach())
    return symbol_bits(symbols, index) + (noisy - noisy.detach())


def quantised(value: Tensor, mean: Tensor, symbols: Tensor) -> Tensor:
    """What ``symbols`` of ``value - mean`` decode to.

    The gradient reaches ``value`` as if nothing were rounded, and ``mean`` as it is: where the symbol stays
    what it is, most often 0, the decoder sees the mean itself.
    """
    return symbols + (value - value.detach()) + mean
