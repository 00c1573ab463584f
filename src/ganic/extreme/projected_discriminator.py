"""D looking through a pretrained network: heads on the maps of :mod:`ganic.training.projection`.

The projected discriminator of Sauer et al. 2021, told the latent as :class:`MultiScaleDiscriminator` may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganic.errors import DataError
from ganic.extreme.discriminator import SLOPE, Discriminator, Verdict
from ganic.extreme.eyes import SMALLEST, Eyes
from ganic.training.projection import SCALES, Projection


class ProjectedDiscriminator(Discriminator):
    """Pictures [n, 3, h, w] in [0, 1] -> :class:`~ganic.extreme.discriminator.Verdict`, a scale per map.

    Args:
        width: channels of the projections and heads.
        condition: channels of the maps that accompany every picture; 0: none.
        pixels: channels of one more head, the first scale, on the picture itself at full resolution: the
            trunk begins with a stride of 2, and takes a pattern as fine as that for texture.  0: none.
        eyes: those of other losses that look at the same pictures; its own if None.
    """

    def __init__(
        self, width: int = 64, *, condition: int = 0, pixels: int = 0, eyes: Eyes | None = None
    ) -> None:
        super().__init__(condition)
        self.projection = Projection(width)
        # The finest head halves its map first: what it adds is local, and it would cost more than all others.
        inputs = width + condition
        self.heads = nn.ModuleList(Head(inputs, width, 2 if n == 0 else 1) for n in range(len(SCALES)))
        self.pixels = Head(3, pixels, 1) if pixels else None
        self.eyes = eyes or Eyes()

    def perceive(self, picture: Tensor) -> list[Tensor]:
        """The picture and the trunk's maps of it.  Raises DataError where it is too small."""
        if min(picture.shape[2:]) < SMALLEST:
            raise DataError(
                f"pictures: {picture.shape[3]}x{picture.shape[2]} pixels are too few for a projected "
                f"discriminator; crop at least {SMALLEST}"
            )
        return [picture, *self.projection.mix(self.eyes.look(picture))]

    def judge(self, seen: Sequence[Tensor], condition: Tensor | None = None) -> Verdict:
        """Every map is accompanied by the means of ``condition`` over the pixels that its positions stand
        for."""
        self.check(condition)
        picture, *maps = seen
        verdict = Verdict([], [])
        if self.pixels is not None:
            verdict.add(*self.pixels((picture - 0.5) * 3))
        for head, x in zip(self.heads, maps, strict=True):
            if condition is not None:
                x = torch.cat([x, self._beside(condition, picture, x).to(x.dtype)], dim=1)
            verdict.add(*head(x.contiguous(memory_format=torch.channels_last)))
        return verdict

    def _beside(self, condition: Tensor, picture: Tensor, x: Tensor) -> Tensor:
        """What `F.interpolate` to the picture's size, what is not seen cut off, and `F.adaptive_avg_pool2d`
        to the map's size would make of the condition; without ever having it in pixels."""
        rows, columns = (
            _shares(condition.shape[axis], picture.shape[axis], hidden, x.shape[axis])
            for axis, hidden in enumerate(self.eyes.offset(picture), 2)
        )
        device = condition.device
        return torch.einsum("yh,nchw,xw->ncyx", rows.to(device), condition.double(), columns.to(device))


@lru_cache(maxsize=256)
def _shares(places: int, pixels: int, hidden: int, outputs: int) -> Tensor:
    """How much of each of ``outputs`` windows over ``pixels``, without the first ``hidden``, lies in each of
    ``places`` [outputs, places]; float64, which autocast leaves alone."""
    owner = F.one_hot(torch.arange(hidden, pixels) * places // pixels, places).double()
    return F.adaptive_avg_pool1d(owner.mT, outputs).mT


class Head(nn.Module):
    """[n, inputs, h, w] -> (logits [n, 1, h / stride, w / stride], activations before)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 1, 3, padding=1)
        for layer in (self.conv1, self.conv2, self.out):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        first = F.leaky_relu(self.conv1(x), SLOPE)
        second = F.leaky_relu(self.conv2(first), SLOPE)
        return self.out(second).float(), [first, second]
