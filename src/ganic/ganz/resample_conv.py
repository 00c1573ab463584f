"""Convolutions after nearest-neighbour upsampling, at the cost of the picture before it.  Exact, in reals.

A 3x3 convolution over a picture that was enlarged by repeating its pixels reads the same value several times.
Adding up the weights that meet the same value first gives the same sums with fewer multiplications: 4/9 of
them for a factor of two, and next to none for the skip connections of BEGAN, which are enlarged up to 16
times.  (The order of additions differs, so results agree to rounding, not bit for bit.)

Rows and columns behave alike, so everything follows from one dimension.  In a run of ``f`` equal values, an
output sees, of the three taps (w0, w1, w2):

    at the run's first place:  w0 on the previous run,  w1 + w2 on its own
    in between:                                         w0 + w1 + w2 on its own
    at the run's last place:                            w0 + w1 on its own,  w2 on the next run
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# [place in the run, tap on (previous, own, next) run, tap of the 3-tap kernel]
FIRST = ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (0.0, 0.0, 0.0))
BETWEEN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
LAST = ((0.0, 0.0, 0.0), (1.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def upsampled_conv(x: Tensor, weight: Tensor) -> Tensor:
    """``conv2d(upsample(x, 2), weight, padding=1)`` as four 2x2 convolutions.

    x [n, i, h, w], weight [o, i, 3, 3] -> [n, o, 2h, 2w].  Output row 2y is made of rows y - 1 and y, output
    row 2y + 1 of rows y and y + 1: over the padded picture, both are 2-tap kernels at a stride of one.
    """
    n, _, h, w = x.shape
    outputs, inputs = weight.shape[:2]
    pairs = weight.new_tensor([FIRST[:2], LAST[1:]])  # [phase, tap of 2, tap of 3]
    kernels = torch.einsum("pak,qbl,oikl->pqoiab", pairs, pairs, weight).reshape(4 * outputs, inputs, 2, 2)
    y = F.conv2d(x, kernels, padding=1).permute(0, 2, 3, 1).view(n, h + 1, w + 1, 4, outputs)
    # Phase (0, .) of output row 2y stands at position y, phase (1, .) of row 2y + 1 at position y + 1.
    # Channels stay innermost throughout, so that everything moves in long runs; and the phases are parted by
    # one unbind, because the gradient of each slice of the whole would fill a tensor as large as the whole.
    phases = [phase[:, i // 2 : i // 2 + h, i % 2 : i % 2 + w] for i, phase in enumerate(y.unbind(3))]
    rows = [torch.stack(phases[i : i + 2], dim=3).view(n, h, 2 * w, outputs) for i in (0, 2)]
    return torch.stack(rows, dim=2).view(n, 2 * h, 2 * w, outputs).permute(0, 3, 1, 2)


def enlarged_conv(x: Tensor, weight: Tensor, factor: int) -> Tensor:
    """``conv2d(upsample(x, factor), weight, padding=1)`` for an integer ``factor`` >= 2.

    x [n, i, h, w], weight [o, i, 3, 3] -> [n, o, factor h, factor w].  There are only 3 x 3 kinds of places
    in an enlarged pixel; each is one 3x3 convolution over the small picture.
    """
    n, _, h, w = x.shape
    outputs, inputs = weight.shape[:2]
    kinds = weight.new_tensor([FIRST, BETWEEN, LAST])
    kernels = torch.einsum("pak,qbl,oikl->pqoiab", kinds, kinds, weight).reshape(9 * outputs, inputs, 3, 3)
    y = F.conv2d(x, kernels, padding=1).permute(0, 2, 3, 1).view(n, h, w, 3, 3, outputs).transpose(2, 3)
    y = _repeated(_repeated(y, 4, factor), 2, factor)
    return y.reshape(n, factor * h, factor * w, outputs).permute(0, 3, 1, 2)


def _repeated(y: Tensor, dim: int, factor: int) -> Tensor:
    """The middle of three entries of a dimension repeated, for ``factor`` entries in all: its gradient is one
    sum, where that of an index_select is a scatter."""
    first, between, last = torch.split(y, 1, dim)
    sizes = [-1] * y.ndim
    sizes[dim] = factor - 2
    return torch.cat([first, between.expand(sizes), last], dim)
