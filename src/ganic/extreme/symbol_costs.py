"""What a symbol of the latent costs, and which symbol stands for a value.

Scales are 64 in number, evenly spaced by their logarithm; each has a table of probabilities.  What training
counts (:func:`rate_bits`) and what files pay (:func:`symbol_tables`) come from one distribution.
"""

from __future__ import annotations

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
    are worth more than the error that it adds.  ``index``: scale indices 0..63, whole numbers.
    """
    nearest = torch.round(offset)
    if index is None or not price:
        return nearest
    saved = _of(LAST_STEP, torch.where(nearest.abs() == 1, index + SCALES, index))
    lower = nearest - nearest.sign()
    added = (offset - lower).square() - (offset - nearest).square()
    return torch.where(price * saved > added, lower, nearest)


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


def _by_index() -> tuple[Tensor, Tensor, Tensor]:
    """What of a code length depends on the scale index alone.

    The rate 1/b [SCALES]. Bits of symbols n as ``a + b |n|``: a and b [2, 2 * SCALES], first for n = 0, then
    for all others, and their derivatives by the index.
    """
    with torch.enable_grad():
        index = torch.arange(SCALES, dtype=torch.float64, requires_grad=True)
        rate = laplace_rate(index)
        each = rate / math.log(2)
        zero, one = (symbol_bits(torch.full((SCALES,), n, dtype=torch.float64), index) for n in (0.0, 1.0))
        parts = zero, one - each, 0 * rate, each
        slopes = [torch.autograd.grad(part.sum(), index, retain_graph=True)[0] for part in parts]
    lengths = torch.cat(parts).detach().float().view(2, 2 * SCALES)
    return rate.detach().float(), lengths, torch.cat(slopes).float().view(2, 2 * SCALES)


RATES, LENGTHS, SLOPES = _by_index()
LAST_STEP = torch.cat([LENGTHS[1, SCALES:], LENGTHS.sum(0)[SCALES:] - LENGTHS[0, :SCALES]])
"""Bits that a symbol's neighbour towards 0 saves [2 * SCALES], by scale index; then the same for +-1."""


def _of(table: Tensor, which: Tensor) -> Tensor:
    """Entries [any shape] of a table [n]; several times as fast as indexing it."""
    found = table.to(which.device).index_select(0, which.flatten().int())
    return found.view(which.shape)


class _RateBits(torch.autograd.Function):
    """`rate_bits` with its gradients written out.  Made of `symbol_bits` twice, they were most of what a step
    of the entropy model takes; but indices are whole numbers, and what depends on them is looked up."""

    @staticmethod
    def forward(ctx: Any, offset: Tensor, index: Tensor, symbols: Tensor) -> Tensor:
        size, rate = symbols.abs(), _of(RATES, index)
        which = torch.where(size > 0, index + SCALES, index).int()
        bits = torch.addcmul(_of(LENGTHS[0], which), _of(LENGTHS[1], which), size)
        slope = torch.addcmul(_of(SLOPES[0], which), _of(SLOPES[1], which), size)
        # Under noise it is -log2(1 - exp(-rate / 2) cosh(rate u)) at a value u within +-0.5, and beyond as
        # steep as there.
        noisy = torch.empty_like(offset).uniform_(-0.5, 0.5).add_(offset).clamp_(-0.5, 0.5)
        half = torch.exp(rate * -0.5).mul_(0.5)
        up = noisy.mul_(rate).exp_()
        down = up.reciprocal().mul_(half)
        up.mul_(half)
        inside = (up + down).neg_().add_(1)  # the probability of a symbol 0
        pull = up.sub_(down).mul_(rate).div_(inside.mul_(math.log(2)))
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
