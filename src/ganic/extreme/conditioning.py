"""One network for every rate: parameters that vary smoothly with the quality index.

The quality index ``q`` is an integer 0..255 stored in the file.  Quantities that depend on it (channel
gains, feature scales and biases, hyper-latent priors) are learned at ``ANCHORS`` points and interpolated
linearly between them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

QUALITIES = 256
"""Number of quality indices; one byte in the file."""

ANCHORS = 8
"""Learned points on the quality axis."""


def anchor_weights(quality: Tensor) -> Tensor:
    """Linear interpolation weights [..., ANCHORS] for (possibly fractional) quality indices [...] in
    0..255."""
    position = quality.float().clamp(0, QUALITIES - 1) * ((ANCHORS - 1) / (QUALITIES - 1))
    points = torch.arange(ANCHORS, device=quality.device, dtype=torch.float32)
    return (1 - (position[..., None] - points).abs()).clamp(min=0)


class QualityTable(nn.Module):
    """A vector of ``channels`` values for each quality index: anchors [ANCHORS, channels] interpolated."""

    def __init__(self, channels: int, initial: Tensor | float = 0.0) -> None:
        super().__init__()
        start = torch.as_tensor(initial, dtype=torch.float32)
        if start.ndim == 1:
            start = start[:, None]
        self.anchors = nn.Parameter(start.expand(ANCHORS, channels).clone())

    def forward(self, quality: Tensor) -> Tensor:
        """Quality indices [n] -> values [n, channels, 1, 1]; a map [n, h, w] -> [n, channels, h, w]
        (float32; under autocast rounded to bfloat16, which codecs do not)."""
        values = anchor_weights(quality) @ self.anchors.float()
        return values[:, :, None, None] if quality.ndim == 1 else values.permute(0, 3, 1, 2)


class QualityAffine(nn.Module):
    """Feature modulation ``x * (1 + scale(q)) + bias(q)``; the identity at the start of training.

    ``factor``: what the values of its tables are multiplied by: an optimiser's small steps still move them.
    """

    def __init__(self, channels: int, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.scale = QualityTable(channels)
        self.bias = QualityTable(channels)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """``quality`` [n], or a map [n, h, w] at a resolution that divides that of x [n, channels, kh,
        kw]."""
        values = 1 + self.factor * self.scale(quality), self.factor * self.bias(quality)
        scale, bias = (value.to(x.dtype) for value in values)
        if quality.ndim == 3 and quality.shape[1:] != x.shape[2:]:
            scale, bias = (F.interpolate(value, x.shape[2:], mode="nearest") for value in (scale, bias))
        return torch.addcmul(bias, x, scale)
