"""MS-SSIM, the multi-scale structural similarity of Wang, Simoncelli and Bovik (2003), in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ganic.errors import UsageError

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The exponents beta_1..beta_5 of the paper's section 3.2."""

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03

MIN_SIDE = (WINDOW - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1
"""Shorter pictures have no 11-pixel window left at the fifth scale."""


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """MS-SSIM of two batches of pictures, [n, c, h, w] in [0, 1] -> [n] in [0, 1]; differentiable.

    Equation 7 of the paper: contrast and structure at every scale, luminance at the coarsest, per channel and
    averaged over channels. The usual choices are followed (no padding of the Gaussian windows, 2x2 means
    between scales with odd sides padded by zeros, negative terms clipped), so that values can be set beside
    published ones.

    Raises UsageError when shapes differ or a side is shorter than `MIN_SIDE` = 161 pixels.
    """
    if first.shape != second.shape or first.ndim != 4:
        raise UsageError(
            f"pictures: {list(first.shape)} and {list(second.shape)}; pass two equal [n, c, h, w]"
        )
    if min(first.shape[-2:]) < MIN_SIDE:
        raise UsageError(
            f"picture: {first.shape[-1]}x{first.shape[-2]}; MS-SSIM needs at least {MIN_SIDE} pixels a side"
        )
    window = _gaussian(first)
    product = first.new_ones(first.shape[:2])
    for scale, weight in enumerate(SCALE_WEIGHTS):
        similarity, contrast_structure = _ssim_terms(first, second, window)
        last = scale == len(SCALE_WEIGHTS) - 1
        product = product * (similarity if last else contrast_structure).clamp_min(0) ** weight
        if not last:
            padding = (first.shape[-2] % 2, first.shape[-1] % 2)
            first, second = (F.avg_pool2d(x, 2, padding=padding) for x in (first, second))
    return product.mean(dim=1)


def _gaussian(like: Tensor) -> Tensor:
    """A normalised one-dimensional window, [WINDOW]."""
    x = torch.arange(WINDOW, dtype=like.dtype, device=like.device) - (WINDOW - 1) / 2
    window = torch.exp(-x * x / (2 * SIGMA * SIGMA))
    return window / window.sum()


def _blur(x: Tensor, window: Tensor) -> Tensor:
    n, c, h, w = x.shape
    # As channels of one picture: as many pictures of one channel take ten times as long in training.
    kernels = window.expand(n * c, 1, 1, -1)
    planes = F.conv2d(x.reshape(1, n * c, h, w), kernels.mT, groups=n * c)
    planes = F.conv2d(planes, kernels, groups=n * c)
    return planes.reshape(n, c, planes.shape[-2], planes.shape[-1])


def _ssim_terms(x: Tensor, y: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Means over positions of SSIM and of its contrast-structure part, each [n, c]."""
    c1, c2 = K1 * K1, K2 * K2
    mean_x, mean_y = _blur(x, window), _blur(y, window)
    variance_x = _blur(x * x, window) - mean_x * mean_x
    variance_y = _blur(y * y, window) - mean_y * mean_y
    covariance = _blur(x * y, window) - mean_x * mean_y
    contrast_structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return (luminance * contrast_structure).mean(dim=(2, 3)), contrast_structure.mean(dim=(2, 3))
