"""How good a codec in training is, on pictures that it is not trained on and at rates that files have.

A loss goes up and down with the rates and pictures that a batch happens to ask for; this does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganic.errors import DataError
from ganic.extreme import codec
from ganic.extreme.conditioning import QUALITIES
from ganic.extreme.model import CompactModel
from ganic.extreme.tiling import CELL_PIXELS
from ganic.metrics.perceptual import feature_distance
from ganic.metrics.squeezenet import SqueezeNetFeatures
from ganic.metrics.structural import MIN_SIDE, ms_ssim

RATES = tuple(codec.RATES.values())
"""Bits per pixel of the codec's rate points."""

STEP = 32
"""Quality indices between those that are looked at; what lies between them is interpolated."""

LARGEST = 448
"""Side in pixels of the part of a picture that is looked at, its middle."""

MEASURES = "psnr", "ms_ssim", "distance"
"""dB; 0 .. 1; the SqueezeNet perceptual distance."""


def validate(
    model: CompactModel, pictures: Sequence[Tensor], network: SqueezeNetFeatures
) -> dict[str, float]:
    """Means over pictures, uint8 [3, h, w], of `MEASURES` at `RATES`, as ``psnr@0.1``; and ``bpp@0.05``,
    which is more than 0.05 where some pictures cannot be coded as small.

    Rates are those of the symbols, without the few bytes of a file around them.  Raises DataError for a
    picture with a side of less than 192 pixels, of which MS-SSIM says nothing.
    """
    rows = [_at_rates(_curve(model, _middle(picture), network)) for picture in pictures]
    means = np.mean(rows, axis=0)
    names = [f"{measure}@{rate:g}" for rate in RATES for measure in ("bpp", *MEASURES)]
    return dict(zip(names, means.tolist(), strict=True))


def _middle(picture: Tensor) -> Tensor:
    """A picture's middle [1, 3, h, w] in [0, 1]."""
    sides = [min(side, LARGEST) // CELL_PIXELS * CELL_PIXELS for side in picture.shape[1:]]
    if min(sides) < MIN_SIDE:
        raise DataError(
            f"validation: a picture has {picture.shape[2]}x{picture.shape[1]} pixels; 192 a side are needed"
        )
    top, left = ((whole - side) // 2 for whole, side in zip(picture.shape[1:], sides, strict=True))
    return picture[None, :, top : top + sides[0], left : left + sides[1]].float() / 255


def _curve(model: CompactModel, x: Tensor, network: SqueezeNetFeatures) -> NDArray[np.float64]:
    """Rate and measures [qualities, 1 + measures] of a picture, up to the first beyond all `RATES`."""
    real = network(x)
    rows: list[list[float]] = []
    for quality in range(0, QUALITIES, STEP):
        out = model(x, torch.full((1,), float(quality), device=x.device))
        y = (out.picture.float().clamp(0, 1) * 255).round() / 255
        bpp = out.prior.bits / (x.shape[2] * x.shape[3])
        psnr = -10 * torch.log10((y - x).square().mean())
        measured = bpp, psnr, ms_ssim(x, y), feature_distance(real, network(y))
        rows.append([value.item() for value in measured])
        if rows[-1][0] > RATES[-1]:
            break
    return np.array(rows)


def _at_rates(curve: NDArray[np.float64]) -> list[float]:
    """Rate and measures at each of `RATES`, or at the nearest rate of the curve, one after the other."""
    curve = curve[np.argsort(curve[:, 0])]
    return [
        float(np.interp(np.log(rate), np.log(curve[:, 0]), column)) for rate in RATES for column in curve.T
    ]
