"""Convolutions after nearest-neighbour upsampling, at the cost of the picture before it.  Exact, in reals.

A 3x3 convolution over a picture that was enlarged by repeating its pixels reads the same value several times.
Adding up the weights that meet the same value first gives the same sums with fewer multiplications: 4/9 of
them for a factor of two, and next to none for the skip connections of BEGAN, which are enlarged up to 16
times.  (The order of additions differs, so results agree to rounding, not bit for bit.)

Rows and columns behave alike, so everything follows from one dimension.  Every value is written to ``f``
places and seen from one more on either side: a transposed convolution with a stride of f, whose f + 2 taps
are the three taps (w0, w1, w2), last first, convolved with f ones.  Of f equal values, only the first and the
last have a neighbour that differs: between them the result is one and the same, so an enlargement by three
has all results there are; see `plus_enlarged_conv`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LARGE = 4
"""From this factor on, to enlarge by three and repeat what lies between is cheaper."""


def upsampled_conv(x: Tensor, weight: Tensor, factor: int = 2) -> Tensor:
    """``conv2d(upsample(x, factor), weight, padding=1)`` for an integer ``factor`` >= 2.

    x [n, i, h, w], weight [o, i, 3, 3] -> [n, o, factor h, factor w].
    """
    taps = weight.new_zeros(factor + 2, 3)
    for k in range(3):
        taps[2 - k : 2 - k + factor, k] = 1
    kernel = torch.einsum("ak,bl,oikl->ioab", taps, taps, weight)
    return F.conv_transpose2d(x, kernel, stride=factor, padding=1)


def plus_enlarged_conv(y: Tensor, x: Tensor, weight: Tensor, factor: int) -> Tensor:
    """``y + conv2d(upsample(x, factor), weight, padding=1)`` for an integer ``factor`` >= 2; ``y`` is lost.

    x [n, i, h, w], weight [o, i, 3, 3], y and the result [n, o, factor h, factor w].
    """
    if factor < LARGE:
        return y + upsampled_conv(x, weight, factor)
    n, _, h, w = x.shape
    places = upsampled_conv(x, weight, 3).permute(0, 2, 3, 1).reshape(n, h, 3, w, 3, -1)
    sums: Tensor = _PlusPlaces.apply(y, places)  # type: ignore[no-untyped-call]
    return sums


class _PlusPlaces(torch.autograd.Function):
    """Adds to y [n, o, f h, f w], in place, what each of the 3 x 3 kinds of places in a run of f pixels gets
    [n, h, 3, w, 3, o]: one pass over memory, and y's gradient is the one that comes, without a copy."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, places: Tensor) -> Tensor:
        n, h, _, w = places.shape[:4]
        factor = y.shape[3] // w
        first, between, last = torch.split(places.to(y.dtype), 1, dim=4)
        middle = between.expand(-1, -1, -1, -1, factor - 2, -1)
        rows = torch.cat([first, middle, last], dim=4).view(n, h, 3, factor * w, -1)
        target = y.permute(0, 2, 3, 1).view(n, h, factor, factor * w, -1)
        target[:, :, 0] += rows[:, :, 0]
        target[:, :, 1:-1] += rows[:, :, 1:2]
        target[:, :, -1] += rows[:, :, 2]
        ctx.mark_dirty(y)
        ctx.small, ctx.kind = (h, w), places.dtype
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        rows = _by_kind(gradients[0].permute(0, 2, 3, 1), 1, ctx.small[0])
        return gradients[0], _by_kind(rows, 3, ctx.small[1]).to(ctx.kind)


def _by_kind(x: Tensor, dim: int, runs: int) -> Tensor:
    """A dimension of ``runs`` runs of pixels as [runs, 3]: sums by kind of place."""
    length = x.shape[dim] // runs
    x = x.reshape(*x.shape[:dim], runs, length, *x.shape[dim + 1 :])
    parts = [x.narrow(dim + 1, 0, 1), x.narrow(dim + 1, 1, length - 2), x.narrow(dim + 1, length - 1, 1)]
    parts[1] = parts[1].sum(dim + 1, keepdim=True)
    return torch.cat(parts, dim + 1)
