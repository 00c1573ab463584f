"""The paper's discriminator (Fig. 2b): TTUR's residual critic for WGAN-GP."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ganic.jpeg import init
from ganic.jpeg.generator import width_of
from ganic.jpeg.layer_norm import LayerNorm
from ganic.resample_conv import averaged_conv


class DownBlock(nn.Module):
    """Residual block that halves the sides: layer norm, ReLU, 3x3; layer norm, ReLU, 3x3, mean over 2x2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(inputs)
        self.conv1 = init.he(nn.Conv2d(inputs, inputs, 3, padding=1, bias=False))
        self.norm2 = LayerNorm(inputs)
        self.conv2 = init.he(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.shortcut = init.glorot(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        y = averaged_conv(F.relu(self.norm2(y)), self.conv2.weight, self.conv2.bias)
        return self.shortcut(F.avg_pool2d(x, 2)) + y  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """RGB [b, 3, size, size] in -1..1 -> critic values [b]. Sizes 32 and 64.

    The last layer looks at one picture. (At 32x32 the reference code reshapes to the 4x4 features that 64x64
    pictures have, which merges four pictures into one value.)
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        dim = width_of(size)
        self.input = init.glorot(nn.Conv2d(3, dim, 3, padding=1))
        widths = (dim, 2 * dim, 4 * dim, 8 * dim, 8 * dim)
        self.blocks = nn.Sequential(*(DownBlock(a, b) for a, b in pairwise(widths)))
        self.output = init.glorot_linear(nn.Linear((size // 16) ** 2 * 8 * dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        features = self.blocks(self.input(x))
        return self.output(features.flatten(1)).squeeze(1).float()  # type: ignore[no-any-return]
