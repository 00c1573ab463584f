"""The three-path head of the paper (section III-A, Fig. 2a): a trunk's picture becomes JPEG coefficients.

For each of Y, Cb and Cr: a locally connected layer with blocks of 1x1 (Loc1), chroma subsampling, a locally
connected layer with blocks of 8x8 (Loc2), quantisation. Weights are shared between blocks, not within one.
The head has 12 492 parameters.

It starts as the exact colour transform and DCT, so at first it *is* a JPEG encoder of the trunk's picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganic.colour import YCBCR
from ganic.jpeg.coefficients import Coefficients, TableTensors
from ganic.jpeg.sampling import Subsampling
from ganic.jpeg.transform import LEAK, dct_matrix
from ganic.straight_through import clip_through, round_through

HALF_RANGE = 127.5
"""8-bit samples per unit of the trunk's range -1..1: keeps every weight of the head near 1."""

LARGEST, LOWEST_MEAN = 1023.0, -1024.0
"""The amplitudes that baseline JPEG can hold whatever the table: within +-1023, and one more for black."""


class LocallyConnected(nn.Module):
    """A linear map from each ``block`` x ``block`` subregion of the input to the same subregion of the
    output.

    [b, c, h, w] -> [b, o block^2, h / block, w / block]: the outputs of one block lie in one column of
    channels, output by output, row by row. Every block has the same weights; no two outputs of a block share
    any (Fig. 3c).
    """

    def __init__(self, inputs: int, outputs: int, block: int) -> None:
        super().__init__()
        self.block = block
        self.linear = nn.Conv2d(inputs * block**2, outputs * block**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(F.pixel_unshuffle(x, self.block))  # type: ignore[no-any-return]


class Path(nn.Module):
    """One component's way through the head, [b, 3, h, w] -> amplitudes [b, 64, h / 8 / v, w / 8 / h]."""

    def __init__(self, colour: tuple[float, float, float], level: float) -> None:
        super().__init__()
        self.loc1 = LocallyConnected(3, 1, 1)
        self.loc2 = LocallyConnected(1, 1, 8)
        with torch.no_grad():
            self.loc1.linear.weight.copy_(torch.tensor(colour).view(1, 3, 1, 1))
            self.loc1.linear.bias.fill_(level)  # type: ignore[union-attr]
            self.loc2.linear.weight.copy_(dct_matrix().float()[:, :, None, None])
            self.loc2.linear.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor, vertical: int, horizontal: int) -> Tensor:
        component = subsample(self.loc1(x), vertical, horizontal)
        return self.loc2(component) * HALF_RANGE  # type: ignore[no-any-return]


class Head(nn.Module):
    """Three paths and the quantisation layer. Computed in float32, also under autocast."""

    def __init__(self) -> None:
        super().__init__()
        # The trunk's 0 is grey level 127.5; JPEG's level shift takes 128 from Y, and Cb and Cr have no level.
        self.luminance = Path(YCBCR[0], (127.5 - 128) / HALF_RANGE)
        self.blue = Path(YCBCR[1], 0.0)
        self.red = Path(YCBCR[2], 0.0)

    def amplitudes(self, image: Tensor, subsampling: Subsampling) -> tuple[Tensor, Tensor, Tensor]:
        """RGB [b, 3, H, W] in -1..1 -> amplitudes of Y, Cb and Cr before quantisation.

        H and W must be multiples of the minimum coded unit: 8 times the subsampling factors.
        """
        with torch.autocast(image.device.type, enabled=False):
            image = image.float()
            factors = subsampling.vertical, subsampling.horizontal
            return self.luminance(image, 1, 1), self.blue(image, *factors), self.red(image, *factors)

    def forward(self, image: Tensor, tables: TableTensors, subsampling: Subsampling) -> Coefficients:
        """RGB [b, 3, H, W] in -1..1 -> quantised coefficients."""
        return quantise(self.amplitudes(image, subsampling), tables, subsampling)


def subsample(component: Tensor, vertical: int, horizontal: int) -> Tensor:
    """The chroma subsampling layer: the mean of each block of ``vertical`` x ``horizontal`` values."""
    if vertical == horizontal == 1:
        return component
    return F.avg_pool2d(component, (vertical, horizontal))


def quantise(
    amplitudes: tuple[Tensor, Tensor, Tensor], tables: TableTensors, subsampling: Subsampling
) -> Coefficients:
    """The quantisation layer: divide by the tables, round; the gradient of rounding is the identity's."""

    y, blue, red = amplitudes
    high = torch.full((64, 1, 1), LARGEST, device=y.device)
    low = -high
    low[0] = LOWEST_MEAN

    def rounded(plane: Tensor, table: Tensor) -> Tensor:
        return round_through(clip_through(plane.float(), low, high, LEAK) / table)

    return Coefficients(
        rounded(y, tables.luminance),
        rounded(blue, tables.chrominance),
        rounded(red, tables.chrominance),
        subsampling,
    )
