"""Layer norm over channels, rows and columns, whose gradient has a gradient at a fraction of torch's price.

WGAN-GP's penalty differentiates the critic twice. torch composes the gradient of its norm from single
operations as soon as that gradient is to be differentiated; here both are written out. With means over the n
values of a sample, xhat = r (x - mean x) and r = 1 / sqrt(var x + eps), y = w xhat + b, and the projection
P u = u - mean(u) - xhat mean(u xhat), which takes out what moves mean and deviation:

    first     for g = dL/dy and h = w g:   dL/dx = r P h,   dL/dw = sum g xhat,   dL/db = sum g
    second    for a scalar S with v = dS/d(dL/dx), p = dS/d(dL/dw), q = dS/d(dL/db):
              dS/dg = w r P v + p xhat + q,   dS/dw = sum g r P v
              dS/dx = r P(p g) - r^2 (mean(v P h) xhat + mean(h xhat) P v + mean(v xhat) P h)

All of these are sums of v, g, xhat and 1 with one factor for each sample and channel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

EPS = 1e-5

CACHED = 2**18
"""Values taken at once in the second gradient, so that its dozen tensors of float32 stay in the cache."""


class LayerNorm(nn.Module):
    """[b, c, h, w] -> the same; mean 0 and variance 1 for each sample, then scale and shift per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return _Norm.apply(x, self.weight, self.bias)  # type: ignore[no-any-return, no-untyped-call]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = x.contiguous(memory_format=_layout(x))
        y, mean, rate = torch.native_group_norm(x, weight, bias, *_sizes(x), 1, EPS)
        ctx.save_for_backward(x, weight, mean, rate)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _NormBackward.apply(*gradients, *ctx.saved_tensors)  # type: ignore[no-any-return, no-untyped-call]


class _NormBackward(torch.autograd.Function):
    """``mean`` and ``rate`` are those of ``x``: what depends on them is counted as depending on ``x``."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rate: Tensor
    ) -> tuple[Tensor, ...]:
        g = g.contiguous(memory_format=_layout(x))
        ctx.save_for_backward(g, x, weight, mean, rate)
        gradients: tuple[Tensor, ...] = torch.ops.aten.native_group_norm_backward(
            g, x, mean, rate, weight, *_sizes(x), 1, [True, True, True]
        )
        return gradients

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor | None, ...]:
        g, x, weight, mean, rate = ctx.saved_tensors
        to_g, to_x, to_w = torch.empty_like(g), torch.empty_like(x), torch.zeros_like(weight)
        count = max(1, CACHED // x[0].numel())
        for start in range(0, len(x), count):
            part = slice(start, start + count)
            to_g[part], to_x[part], more = _second(
                v[part], g[part], x[part], mean[part], rate[part], weight, p, q
            )
            to_w += more
        return to_g, to_x, to_w, None, None


def _second(
    v: Tensor, g: Tensor, x: Tensor, mean: Tensor, rate: Tensor, w: Tensor, p: Tensor, q: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dS/dg, dS/dx [b, c, h, w] and dS/dw [c]."""
    wide = torch.promote_types(x.dtype, torch.float32)
    v, g, w, p, q = (t.to(wide) for t in (v, g, w, p, q))
    r = rate.to(wide).view(-1, 1)
    xhat = torch.addcmul(_map(-mean.to(wide).view(-1, 1) * r), x.to(wide), _map(r))
    values = x[0].numel()

    g_sum, v_sum, gx, vx, gv = (t.sum((2, 3)) for t in (g, v, g * xhat, v * xhat, g * v))  # [b, c]

    def mean_of(sums: Tensor) -> Tensor:
        return sums.sum(1, keepdim=True) / values

    v_mean, h_mean, v_along, h_along = mean_of(v_sum), mean_of(w * g_sum), mean_of(vx), mean_of(w * gx)
    v_on_h = mean_of(w * gv) - v_mean * h_mean - v_along * h_along  # mean(v P h)
    rr = r.square()

    of_xhat = rr * (2 * h_along * v_along - v_on_h) - r * mean_of(p * gx)
    of_one = rr * (h_along * v_mean + v_along * h_mean) - r * mean_of(p * g_sum)
    to_x = torch.addcmul(_map(of_one), xhat, _map(of_xhat))
    to_x = to_x.addcmul_(v, _map(-rr * h_along)).addcmul_(g, _map(r * p - rr * v_along * w))

    to_g = torch.addcmul(_map(q - w * r * v_mean), xhat, _map(p - w * r * v_along)).addcmul_(v, _map(w * r))
    to_w = (r * (gv - v_mean * g_sum - v_along * gx)).sum(0)
    return to_g, to_x, to_w


def _map(factors: Tensor) -> Tensor:
    return factors[:, :, None, None]


def _layout(x: Tensor) -> torch.memory_format:
    """What torch's kernels take: on GPUs planes, on CPUs channels_last as well."""
    pixels = x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if pixels else torch.contiguous_format


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
