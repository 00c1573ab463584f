"""An encoder that starts a search where it would end: pictures to coefficients of the learned basis.

The paper starts every search from noise; thousands of steps later it is where a small network gets at once.
With it, zero steps already make a file, and a few dozen a good one.  It is needed for encoding only.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.ganz.basis import cosines, turned, units
from ganic.ganz.direct import Analysis
from ganic.ganz.generator import QUIET, SIDE, WIDTH

FEATURES = 32
"""Channels at full size; every halving adds as many, and the last layer but one has six times as many."""

GAIN = 16.0
"""Coefficients are in units of the finest quantiser step; an untrained network's activations are near one."""


class Encoder(nn.Module):
    """Pictures [n, 3, size, size] in [0, 1] -> coefficients [n, width * 64] for `KroneckerBasis`.

    ``direct``: for a generator with a direct path; the encoder then starts as that path's inverse.
    ``lapped``: for a path whose blocks overlap.
    ``local``: for a local basis.
    """

    def __init__(
        self,
        image_size: int = 128,
        width: int = WIDTH,
        features: int = FEATURES,
        *,
        direct: bool = False,
        lapped: bool = False,
        local: bool = False,
    ) -> None:
        super().__init__()
        self.placed = local
        steps = int(math.log2(image_size // SIDE))
        channels = [features * (i + 1) for i in range(steps + 1)]
        self.first = nn.Conv2d(3, channels[0], 3, padding=1)
        self.local = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in channels[:-1])
        self.halving = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(channels))
        self.deep = nn.Conv2d(channels[-1], 6 * features, 3, padding=1)
        self.last = nn.Conv2d(6 * features, width, 3, padding=1)
        self.space = nn.Parameter(cosines())
        self.units: Tensor
        self.register_buffer("units", units(width, local=local), persistent=False)
        self.direct = Analysis(width, image_size, SIDE, lapped=lapped) if direct else None
        if direct:
            with torch.no_grad():
                self.last.weight.mul_(QUIET)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last) - 0.5
        y = F.elu(self.first(x))
        for local, halving in zip(self.local, self.halving, strict=True):
            y = F.elu(halving(y + F.elu(local(y))))
        y = self.last(F.elu(self.deep(y))).float()
        with torch.autocast(x.device.type, enabled=False):
            if self.direct is not None:  # in float32: bf16 would be coarser than the finest quantiser
                y = y + self.direct(x)
            y = turned(y.flatten(2) * GAIN, self.space, local=self.placed)
            return y.flatten(1) / self.units
