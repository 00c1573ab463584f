"""The paper's generator: TTUR's residual network (Heusel et al. 2017) as trunk, then the three-path head."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganic.errors import UsageError
from ganic.jpeg import init
from ganic.jpeg.coefficients import Coefficients, table_tensors
from ganic.jpeg.head import Head
from ganic.jpeg.sampling import Subsampling
from ganic.jpeg.synthesis import Generator, Noise
from ganic.resample_conv import upsampled_conv

LATENT = 128


def width_of(size: int) -> int:
    """ "dim" of the reference code: 64 for 64x64 pictures, 32 for 32x32; raises UsageError for other sizes.

    Section III-A: at 32x32 the layers' sides and the numbers of feature maps are halved.
    """
    if size not in (32, 64):
        raise UsageError(f"size: {size}; the paper's networks exist for 32 and 64")
    return size


class UpBlock(nn.Module):
    """Residual block (Fig. 2c) that doubles the sides: norm, ReLU, nearest x2, 3x3; norm, ReLU, 3x3."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = init.he(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = init.he(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut = init.glorot(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = upsampled_conv(F.relu(self.norm1(x)), self.conv1.weight)
        y = self.conv2(F.relu(self.norm2(y)))
        # Nearest upsampling and a 1x1 convolution commute; this order costs a quarter.
        return F.interpolate(self.shortcut(x), scale_factor=2) + y  # type: ignore[no-any-return]


class ResidualTrunk(nn.Module):
    """TTUR's "GoodGenerator": latent [b, 128] -> tanh planes [b, 3, size, size]. Sizes 32 and 64."""

    def __init__(self, size: int) -> None:
        super().__init__()
        dim = width_of(size)
        self.side = size // 16
        self.input = init.glorot_linear(nn.Linear(LATENT, self.side**2 * 8 * dim))
        widths = (8 * dim, 8 * dim, 4 * dim, 2 * dim, dim)
        self.blocks = nn.Sequential(*(UpBlock(a, b) for a, b in pairwise(widths)))
        self.norm = nn.BatchNorm2d(dim)
        self.output = init.he(nn.Conv2d(dim, 3, 3, padding=1))

    def forward(self, latent: Tensor) -> Tensor:
        x = self.input(latent).view(len(latent), -1, self.side, self.side)
        x = x.contiguous(memory_format=torch.channels_last)
        return torch.tanh(self.output(F.relu(self.norm(self.blocks(x)))).float())


class JpegGenerator(Generator):
    """Fig. 2a: the trunk G-hat, then Loc1, chroma subsampling, Loc2 and quantisation for Y, Cb and Cr."""

    has_trunk = True
    classes = 0
    latent = LATENT

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.trunk = ResidualTrunk(size)
        self.head = Head()

    def paint(self, noise: Noise, features: Tensor) -> Tensor:
        return self.trunk(noise.latent)  # type: ignore[no-any-return]

    def code(self, planes: Tensor, quality: Tensor, subsampling: Subsampling) -> Coefficients:
        return self.head(planes, table_tensors(quality), subsampling)  # type: ignore[no-any-return]
