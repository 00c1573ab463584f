"""P: the transform between generator and discriminator (section III-B), a differentiable JPEG decoder.

Dequantise, inverse DCT, chroma upsampling, YCbCr to RGB, clip. Where libjpeg (and libjpeg-turbo) rounds, this
rounds in the same way, with the gradient of the identity; what remains of a difference is libjpeg's
fixed-point inverse DCT. The discriminator thus sees what viewers of the files will see.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ganic.jpeg.coefficients import Coefficients, TableTensors
from ganic.jpeg.sampling import Subsampling
from ganic.straight_through import clip_through, floor_through, round_through

LEAK = 0.1
"""Share of the gradient that passes where a value was clipped."""


def dct_matrix() -> Tensor:
    """float64 [64, 64]: row ``8 v + u`` is the orthonormal DCT-II basis picture of frequencies (v, u).

    ``dct_matrix() @ block.reshape(64)`` are T.81's amplitudes (section A.3.3); its transpose is the inverse.
    """
    position = torch.arange(8, dtype=torch.float64)
    cosines = torch.cos((2 * position[None, :] + 1) * position[:, None] * math.pi / 16) / 2
    cosines[0] /= math.sqrt(2)
    return torch.einsum("vr,uc->vurc", cosines, cosines).reshape(64, 64)


@functools.cache
def _inverse(device: torch.device) -> Tensor:
    """The inverse DCT as a 1x1 convolution, float32 [64, 64, 1, 1]."""
    with torch.inference_mode(False):  # it is kept, and training may use it later
        return dct_matrix().T.float().contiguous().to(device)[:, :, None, None]


def decode(coefficients: Coefficients, tables: TableTensors) -> Tensor:
    """P of the paper: quantised coefficients -> RGB [b, 3, H, W], whole numbers in 0..255, float32.

    Always computed in float32, also under autocast. Chroma is upsampled with libjpeg's triangle filter
    (bilinear, ``align_corners=False``); other filters decode the same file up to several grey levels away.
    """
    with torch.autocast(coefficients.luminance.device.type, enabled=False):
        y = _samples(coefficients.luminance, tables.luminance)
        blue = _upsampled(_samples(coefficients.blue, tables.chrominance), coefficients.subsampling) - 128
        red = _upsampled(_samples(coefficients.red, tables.chrominance), coefficients.subsampling) - 128
        rgb = torch.cat(
            [
                y + floor_through((91881 * red + 32768) / 65536),  # 1.402 in libjpeg's 16 bit fixed point
                y + floor_through((32768 - 22554 * blue - 46802 * red) / 65536),  # .34414, .71414
                y + floor_through((116130 * blue + 32768) / 65536),  # 1.772
            ],
            dim=1,
        )
        return clip_through(rgb, 0, 255, LEAK)


def _samples(plane: Tensor, table: Tensor) -> Tensor:
    """[b, 64, h, w] quantised -> [b, 1, 8 h, 8 w] samples in 0..255."""
    samples = F.pixel_shuffle(F.conv2d(plane.float() * table, _inverse(plane.device)), 8) + 128
    return clip_through(round_through(samples), 0, 255, LEAK)


def _upsampled(plane: Tensor, subsampling: Subsampling) -> Tensor:
    """Whole numbers [b, 1, h, w] -> [b, 1, h v, w h]: jdsample.c's h2v1 and h2v2 "fancy upsampling"."""
    if subsampling is Subsampling.NONE:
        return plane
    if subsampling is Subsampling.HORIZONTAL:
        even, odd = _neighbours(plane, 3)
        return floor_through(torch.stack([even + 1, odd + 2], dim=-1) / 4).flatten(3)
    above, below = _neighbours(plane, 2)
    rows = torch.stack([above, below], dim=3).flatten(2, 3)
    even, odd = _neighbours(rows, 3)
    return floor_through(torch.stack([even + 8, odd + 7], dim=-1) / 16).flatten(3)


def _neighbours(plane: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Three times each value plus the one before, and plus the one after; borders repeat."""
    size = plane.shape[dimension]
    first, last = plane.narrow(dimension, 0, 1), plane.narrow(dimension, size - 1, 1)
    before = torch.cat([first, plane.narrow(dimension, 0, size - 1)], dimension)
    after = torch.cat([plane.narrow(dimension, 1, size - 1), last], dimension)
    return 3 * plane + before, 3 * plane + after
