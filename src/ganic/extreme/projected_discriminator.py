"""D looking through a pretrained network: heads on the maps of :mod:`ganic.training.projection`.

The projected discriminator of Sauer et al. 2021, told the latent as :class:`MultiScaleDiscriminator` may be.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganic.errors import DataError
from ganic.extreme.discriminator import SLOPE, Discriminator, Verdict
from ganic.metrics.squeezenet import STRIDE
from ganic.training.projection import SCALES, Projection

SMALLEST = 80
"""Side in pixels that leaves more than one coarsest position whatever the phase."""


class ProjectedDiscriminator(Discriminator):
    """Pictures [n, 3, h, w] in [0, 1] -> :class:`~ganic.extreme.discriminator.Verdict`, a scale per map.

    Args:
        width: channels of the projections and heads.
        condition: channels of the maps that accompany every picture; 0: none.
        pixels: channels of one more head, the first scale, on the picture itself at full resolution: the
            trunk begins with a stride of 2, and takes a pattern as fine as that for texture.  0: none.
    """

    def __init__(self, width: int = 64, *, condition: int = 0, pixels: int = 0) -> None:
        super().__init__(condition)
        self.projection = Projection(width)
        # The finest head halves its map first: what it adds is local, and it would cost more than all others.
        inputs = width + condition
        self.heads = nn.ModuleList(Head(inputs, width, 2 if n == 0 else 1) for n in range(len(SCALES)))
        self.pixels = Head(3, pixels, 1) if pixels else None
        self.phase = 0, 0

    def redraw(self) -> None:
        """Another phase of the trunk's strides, at random, from torch's default generator.

        The trunk sees some pixels more than others: a lattice in the gradient, and in time in the pictures,
        unless its phase changes with every step.
        """
        top, left = torch.randint(STRIDE, (2,)).tolist()
        self.phase = top, left

    def forward(self, picture: Tensor, condition: Tensor | None = None) -> Verdict:
        """``condition``: maps [n, condition, h', w'] of the whole picture.

        Raises UsageError where the maps are not those that D was made for, DataError where the picture is too
        small.
        """
        self.check(condition)
        if min(picture.shape[2:]) < SMALLEST:
            raise DataError(
                f"pictures: {picture.shape[3]}x{picture.shape[2]} pixels are too few for a projected "
                f"discriminator; crop at least {SMALLEST}"
            )
        top, left = self.phase
        if condition is not None:
            condition = F.interpolate(condition, picture.shape[2:], mode="nearest")[:, :, top:, left:]
        maps = self.projection(picture[:, :, top:, left:])
        verdict = Verdict([], [])
        if self.pixels is not None:
            verdict.add(*self.pixels((picture - 0.5) * 3))
        for head, x in zip(self.heads, maps, strict=True):
            if condition is not None:
                x = torch.cat([x, F.adaptive_avg_pool2d(condition, x.shape[2:]).to(x.dtype)], dim=1)
            verdict.add(*head(x.contiguous(memory_format=torch.channels_last)))
        return verdict


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
