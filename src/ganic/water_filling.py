"""How many bits a picture takes at an error, before any codec has seen it.

A quality means an error, not a size: at one quality meadows take twenty times the bits of a sky.  Training
for all qualities alike is training for rates that nobody asks for, on busy pictures above all, whose bits
are most of what there is to save.  To train for rates one has to know which error a picture has at a rate;
and a search for a size ends sooner where it begins with that.

That is what reverse water-filling tells (Cover and Thomas, "Elements of Information Theory", section 10.3.3):
with a squared error of at most d in each coefficient c of an orthonormal transform, a picture takes

    R(d) = sum of max(0, log2(c^2 / d) / 2)   bits.

Here the transforms are 16x16 cosine transforms of three colours, and a codec pays `PAID` times that.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ganic import separable

SIDE = 16
"""Of a block, in pixels."""

BLOCKS = 1024
"""Blocks of a picture that are looked at, at most."""

MEAN = 0.25
"""How much of a block's mean counts: most of it is known from its neighbours."""

PAID = 1.6
"""Bits of a file over those above, for the codec ``photo``: files of 24 training pictures at three qualities
have what is expected of them but for a factor of 1.2 (one standard deviation)."""

LEVELS: NDArray[np.float64] = np.linspace(-4.0, 20.0, 97)
"""Water levels that are looked at, as log2 of squared grey levels."""


class RateCurve:
    """What a picture takes at all water levels, whole and downscaled.

    Args:
        image: uint8 [3, h, w], at least one block high and wide.
        scale: the least that it may be downscaled by, (0, 1].  Between that and 1 rates are interpolated.
    """

    def __init__(self, image: Tensor, scale: float = 1.0) -> None:
        self.scale = scale
        self.whole = self.small = _rates(image)
        if scale < 1:
            size = [max(SIDE, round(side * scale)) for side in image.shape[1:]]
            # On the CPU torch filters bytes as they are, several times faster.
            bytes_or_floats = image if image.device.type == "cpu" else image.float()
            small = F.interpolate(bytes_or_floats[None], size, mode="bilinear", antialias=True)
            self.small = _rates(small[0])

    def level(self, rate: float, scale: float = 1.0) -> float:
        """The water level, in squared grey levels, at which the picture, downscaled by ``scale``, takes
        ``rate`` bits per pixel; the lowest or highest of `LEVELS` where none does."""
        share = min(math.log(scale) / math.log(self.scale), 1.0) if self.scale < 1 else 0.0
        rates = (1 - share) * self.whole + share * self.small
        return float(2 ** np.interp(-rate, -rates, LEVELS))


def rate_at(image: Tensor, level: float) -> float:
    """Bits per pixel of a picture [3, h, w] in grey levels, with this water level in its coefficients."""
    powers = _powers(image)
    return PAID * float((powers - math.log2(level)).clamp(min=0).sum()) / 2 / (len(powers) // 3)


def _rates(image: Tensor) -> NDArray[np.float64]:
    """Bits per pixel at all `LEVELS`."""
    powers = _powers(image)
    # How much lies above each level: of the counts and the sums of powers between two of them.
    low, step = float(LEVELS[0]), float(LEVELS[1] - LEVELS[0])
    bins = ((powers - low) / step).ceil().clamp(0, len(LEVELS)).long()
    counts = torch.bincount(bins, minlength=len(LEVELS) + 1).cpu().double()
    sums = torch.bincount(bins, powers.double(), minlength=len(LEVELS) + 1).cpu()
    above = (sums[1:].flip(0).cumsum(0).flip(0)).numpy(), counts[1:].flip(0).cumsum(0).flip(0).numpy()
    bits: NDArray[np.float64] = (above[0] - LEVELS * above[1]) / 2
    return PAID * bits / (len(powers) // 3)


def _powers(image: Tensor) -> Tensor:
    """log2 of the squared coefficients of `BLOCKS` of a picture [3, h, w], three for every pixel."""
    transform, colours = (matrix.to(image.device) for matrix in _transforms())
    rows, columns = (side // SIDE for side in image.shape[1:])
    chosen = torch.linspace(0, rows * columns - 1, min(rows * columns, BLOCKS), device=image.device).long()
    grid = image[:, : rows * SIDE, : columns * SIDE].reshape(3, rows, SIDE, columns, SIDE)
    blocks = grid.permute(1, 3, 0, 2, 4)[chosen // columns, chosen % columns]
    blocks = torch.einsum("ci,bihw->bchw", colours, blocks.float())
    coefficients = transform @ blocks @ transform.T
    coefficients[:, :, 0, 0] *= MEAN
    return 2 * coefficients.flatten().abs().clamp(min=1e-3).log2()


@cache
def _transforms() -> tuple[Tensor, Tensor]:
    """Of a block's rows and columns, and of its colours."""
    return separable.dct(SIDE).float(), separable.colour_transform().float()
