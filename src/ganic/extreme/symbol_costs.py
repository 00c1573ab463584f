"""What a symbol of the latent costs, and which symbol stands for a value.

Scales are 64 in number, evenly spaced by their logarithm; each has a table of probabilities.  What training
counts (:func:`rate_bits`) and what files pay (:func:`symbol_tables`) come from one distribution.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

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
    where = nearest.nonzero(as_tuple=True)  # a few in a hundred
    symbol, value, scale = nearest[where], offset[where], index.expand_as(offset)[where]
    lower = symbol - symbol.sign()
    saved = symbol_bits(symbol, scale) - symbol_bits(lower, scale)
    added = (value - lower).square() - (value - symbol).square()
    nearest[where] = torch.where(price * saved > added, lower, symbol)
    return nearest


def rate_bits(offset: Tensor, index: Tensor, symbols: Tensor) -> Tensor:
    """Code length (elementwise) of the ``symbols`` of ``offset``, value minus mean.

    The gradient for ``index`` is that of the symbols themselves, so the scales are learned for what is
    coded: under uniform noise a symbol that is certain costs 0.13 bits, and many are.  ``offset`` has no
    gradient through integers; its own is the one under the noise.

    Args:
        offset: any shape.
        index: scale indices 0..63, whole numbers; of a shape that broadcasts to that of ``offset``.
        symbols: integers, of ``offset``'s shape.
    """
    bits: Tensor = _RateBits.apply(offset, index.expand_as(offset), symbols)  # type: ignore[no-untyped-call]
    return bits


@functools.cache
def _by_index(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each scale index [SCALES]: the rate 1/b, its derivative, the bits of a symbol 0 and their
    derivative."""
    with torch.enable_grad():
        index = torch.arange(SCALES, dtype=torch.float64, requires_grad=True)
        rate, bits = laplace_rate(index), symbol_bits(torch.zeros(SCALES, dtype=torch.float64), index)
        slopes = [torch.autograd.grad(of.sum(), index, retain_graph=True)[0] for of in (rate, bits)]
    values = rate.detach(), slopes[0], bits.detach(), slopes[1]
    return tuple(value.float().to(device) for value in values)  # type: ignore[return-value]


class _RateBits(torch.autograd.Function):
    """`rate_bits` with its gradients written out, which are most of what an entropy model's step takes:
    indices are whole numbers, so what depends on them alone is looked up, and few symbols are not 0."""

    @staticmethod
    def forward(ctx: Any, offset: Tensor, index: Tensor, symbols: Tensor) -> Tensor:
        rates, rate_slopes, zero_bits, zero_slopes = _by_index(offset.device)
        which = index.to(torch.int32)
        rate = rates[which]
        bits, slope = zero_bits[which], zero_slopes[which]
        where = symbols.nonzero(as_tuple=True)
        value, other = symbols[where].abs(), rate[where]
        bits[where] = (other * (value - 0.5) - torch.log(-torch.expm1(-other) / 2)) / math.log(2)
        # d/d rate of what is above
        slope[where] = (value - 0.5 - 1 / torch.expm1(other)) * rate_slopes[which[where]] / math.log(2)
        # -log2(1 - a cosh(rate u)) of a value u within +-0.5, where a = exp(-rate / 2); beyond, its slope
        # stays what it is there.
        grown = torch.empty_like(offset).uniform_(-0.5, 0.5).add_(offset).clamp_(-0.5, 0.5).mul_(rate).exp_()
        shrunk = grown.reciprocal().mul_(start := torch.exp(rate * -0.5).mul_(0.5))
        grown.mul_(start)
        pull = (grown - shrunk).mul_(rate).div_((grown.add_(shrunk).neg_().add_(1)).mul_(math.log(2)))
        ctx.save_for_backward(pull, slope)
        return bits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        pull, slope = ctx.saved_tensors
        return pull * gradients[0], slope * gradients[0], None


def quantised(value: Tensor, mean: Tensor, symbols: Tensor) -> Tensor:
    """What ``symbols`` of ``value - mean`` decode to.

    The gradient reaches ``value`` as if nothing were rounded, and ``mean`` as it is: where the symbol stays
    what it is, most often 0, the decoder sees the mean itself.
    """
    return symbols + (value - value.detach()) + mean
