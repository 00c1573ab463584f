"""Convolutions after an enlargement by a large factor, such as BEGAN's skip connections, added to a picture.

Rows and columns behave alike, so one dimension says it all.  Of f equal values, only the first and the last
have a neighbour that differs: between them the result of a 3x3 convolution is one and the same, so an
enlargement by three has all results there are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ganic.resample_conv import upsampled_conv

LARGE = 4
"""From this factor on, to enlarge by three and repeat what lies between is cheaper."""


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
