"""3x3 convolutions at a change of resolution, at the cost of the smaller picture.  Exact, in reals.

A convolution over a picture that was enlarged by repeating its pixels reads the same value several times, and
one whose results are averaged computes what is not kept.  Either pair of steps is linear: one convolution
with a stride, whose kernels are the 3x3 ones at several places, added up.  For a factor of two that is 16
products for every four pixels of the larger picture instead of 36, and no tensor that is repeated or thrown
away.  (The order of additions differs, so results agree to rounding, not bit for bit.)
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def upsampled_conv(x: Tensor, weight: Tensor, factor: int = 2) -> Tensor:
    """``conv2d(upsample(x, factor), weight, padding=1)``, nearest neighbours, for an integer ``factor`` >= 2.

    x [n, i, h, w], weight [o, i, 3, 3] -> [n, o, factor h, factor w].
    """
    # A transposed convolution turns its kernels round.
    kernels = _at_all_places(weight, factor).flip(2, 3).transpose(0, 1)
    return F.conv_transpose2d(x, kernels, stride=factor, padding=1)


def averaged_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``avg_pool2d(conv2d(x, weight, bias, padding=1), 2)``.

    x [n, i, h, w] with even sides, weight [o, i, 3, 3] -> [n, o, h / 2, w / 2].
    """
    return F.conv2d(x, _at_all_places(weight, 2) / 4, bias, stride=2, padding=1)


def _at_all_places(weight: Tensor, factor: int) -> Tensor:
    """[o, i, 3, 3] -> [o, i, factor + 2, factor + 2], the sum of the kernels at factor x factor places."""
    return F.avg_pool2d(F.pad(weight, [factor - 1] * 4), factor, stride=1, divisor_override=1)
