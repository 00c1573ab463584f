"""What a projected discriminator sees: pretrained features, mixed (Projected GAN, Sauer et al. 2021).

A discriminator that starts from nothing spends most of a short training on learning to see. One that starts
from frozen features of ImageNet (SqueezeNet 1.1 here, EfficientNet in the paper) learns small heads only.
Frozen random projections mix the features first, across channels and then, from coarse to fine, across
scales (section 4.1 of the paper): a head cannot settle on the few channels that tell most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganic.metrics.squeezenet import CHANNELS, SqueezeNetFeatures

SCALES = (0, 1, 2, 6)
"""Which of the trunk's activations are looked at: the last at each of 1/2, 1/4, 1/8, 1/16 of the sides."""

SPREAD = (29.0, 54.0, 53.0, 8.0)
"""Root mean square of those activations over photographs; the projections start divided by it."""


class Projection(nn.Module):
    """``mix(look(rgb))``: RGB [b, 3, h, w] in 0..1, sides of at least 64 -> four maps [b, width, ...], the
    finest first.

    Nothing in it learns: the projections are buffers. The trunk's weights, which ship with ganic, belong to
    no checkpoint.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        for n, (scale, spread) in enumerate(zip(SCALES, SPREAD, strict=True)):
            # A map is the sum of two of variance 1/2, but for the coarsest, which is one of variance 1.
            share = 1.0 if n == len(SCALES) - 1 else math.sqrt(0.5)
            across = torch.randn(width, CHANNELS[scale], 1, 1) / math.sqrt(CHANNELS[scale])
            self.register_buffer(f"across{n}", across * (share / spread))
            if n:
                down = torch.randn(width, width, 3, 3) / math.sqrt(9 * width)
                self.register_buffer(f"down{n}", down * math.sqrt(0.5))
        # In a list: no part of a checkpoint, and read only when it is needed.
        self._trunk: list[SqueezeNetFeatures] = []

    def look(self, rgb: Tensor) -> tuple[Tensor, ...]:
        """The trunk's activations, see `SqueezeNetFeatures`."""
        if not self._trunk:
            self._trunk.append(SqueezeNetFeatures())
        activations: tuple[Tensor, ...] = self._trunk[0].to(rgb.device)(rgb)
        return activations

    def mix(self, activations: Sequence[Tensor]) -> list[Tensor]:
        """The maps of what :meth:`look` saw."""
        maps: list[Tensor] = []
        for n in reversed(range(len(SCALES))):
            x = F.conv2d(activations[SCALES[n]], self.get_buffer(f"across{n}"))
            if maps:
                coarse = F.conv2d(maps[-1], self.get_buffer(f"down{n + 1}"), padding=1)
                x = x + F.interpolate(coarse, size=x.shape[2:], mode="bilinear", align_corners=False)
            maps.append(x)
        return maps[::-1]
