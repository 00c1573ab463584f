"""3x3 convolutions that change the resolution by two, as one convolution with 4x4 kernels each.

TTUR's blocks take means over 2x2 after a convolution, and repeat every value 2x2 before one. Either pair is
linear, and the same map is a 4x4 convolution of stride 2, whose kernels are the 3x3 ones at four places,
added up: 16 products for every four pixels at the higher resolution instead of 36, and no tensor that is
repeated or thrown away. What is stored and trained are the 3x3 kernels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvolutionThenMean(nn.Conv2d):
    """3x3 convolution, then the mean of every 2x2: [b, i, h, w] -> [b, o, h / 2, w / 2], even sides."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, _spread(self.weight), self.bias, stride=2, padding=1)


class RepeatThenConvolution(nn.Conv2d):
    """Every value repeated 2x2 (nearest upsampling), then a 3x3 convolution without bias:
    [b, i, h, w] -> [b, o, 2 h, 2 w]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # A transposed convolution turns its kernels round.
        kernels = 4 * _spread(self.weight).flip(2, 3).transpose(0, 1)
        return F.conv_transpose2d(x, kernels, stride=2, padding=1)


def _spread(kernels: Tensor) -> Tensor:
    """[o, i, 3, 3] -> [o, i, 4, 4], float32: the mean of the kernels at four places."""
    with torch.autocast(kernels.device.type, enabled=False):
        return F.avg_pool2d(kernels, 2, stride=1, padding=1)
