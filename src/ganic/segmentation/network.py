"""The segmenter: an encoder-decoder of plain 3x3 convolutions.

    picture -> 1/2 --> 1/4 --> 1/8 --> 1/16 --> 1/32      a convolution of stride 2, then residual blocks
                |       |       |       |        |
    logits  <- 1/2 <-- 1/4 <-- 1/8 <-- 1/16 <----+        1x1 and upsampling, plus 1x1 of the skip, then 3x3

Plain convolutions are what CPUs run at full speed in bf16 with channels_last memory, and most channels sit at
1/16 and 1/32, where context is wide and memory traffic small.  Nothing pools over the whole picture: away
from its margins, a window of a picture gets the labels that the whole picture gets.

Batch normalisation makes training from noise short.  ``fold`` puts it into the convolutions, so that
inference is convolutions, additions and rectifiers alone, and depends on no other picture of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 32
"""Sides of what the network is given must be multiples of this; see ``pad``."""

LEVELS = 5
"""Resolutions of the encoder."""


class Unit(nn.Module):
    """A convolution and batch normalisation; once folded, a convolution with a bias."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1, *, folded: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=folded)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.norm = None if folded else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if self.norm is None else self.norm(y)


class ResidualBlock(nn.Module):
    """``relu(x + unit(relu(unit(x))))``; it starts as the identity, so that a deep stack trains at once."""

    def __init__(self, channels: int, *, folded: bool) -> None:
        super().__init__()
        self.first = Unit(channels, channels, folded=folded)
        self.second = Unit(channels, channels, folded=folded)
        if self.second.norm is not None:
            nn.init.zeros_(self.second.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x), inplace=True)), inplace=True)


class Down(nn.Module):
    """To half the resolution, then residual blocks."""

    def __init__(self, inputs: int, outputs: int, blocks: int, *, folded: bool) -> None:
        super().__init__()
        self.down = Unit(inputs, outputs, stride=2, folded=folded)
        self.blocks = nn.Sequential(*(ResidualBlock(outputs, folded=folded) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(F.relu(self.down(x), inplace=True))
        return y


class Up(nn.Module):
    """To twice the resolution, joined with what the encoder knew there."""

    def __init__(self, inputs: int, skipped: int, outputs: int, *, folded: bool) -> None:
        super().__init__()
        self.deep = Unit(inputs, outputs, size=1, folded=folded)
        self.skip = Unit(skipped, outputs, size=1, folded=folded)
        self.mix = Unit(outputs, outputs, folded=folded)

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        joined = F.interpolate(self.deep(x), scale_factor=2.0, mode="nearest") + self.skip(skipped)
        return F.relu(self.mix(F.relu(joined, inplace=True)), inplace=True)


class Segnet(nn.Module):
    """Logits of every class at half the picture's resolution.

    Args:
        classes: number of classes.
        widths: channels of the encoder at 1/2, 1/4, 1/8, 1/16, 1/32.
        blocks: residual blocks of the encoder at the same resolutions.
        decoder: channels of the decoder at 1/16, 1/8, 1/4, 1/2.
        folded: whether normalisation is part of the convolutions: for inference, never for training.

    Raises:
        ValueError: a list has another length.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        decoder: Sequence[int],
        *,
        folded: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) != LEVELS or len(blocks) != LEVELS or len(decoder) != LEVELS - 1:
            raise ValueError(f"give {LEVELS} widths, {LEVELS} blocks and {LEVELS - 1} decoder widths")
        self.encoder = nn.ModuleList(
            Down(inputs, outputs, count, folded=folded)
            for (inputs, outputs), count in zip(pairwise((3, *widths)), blocks, strict=True)
        )
        self.decoder = nn.ModuleList(
            Up(inputs, skipped, outputs, folded=folded)
            for (inputs, outputs), skipped in zip(
                pairwise((widths[-1], *decoder)), reversed(widths[:-1]), strict=True
            )
        )
        self.head = nn.Conv2d(decoder[-1], classes, 1)
        nn.init.normal_(self.head.weight, std=decoder[-1] ** -0.5)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, picture: Tensor) -> Tensor:
        """RGB in [0, 1], [n, 3, h, w], sides multiples of 32 -> logits [n, classes, h/2, w/2]."""
        x = (picture - 0.5) * 4  # mean and deviation of photographs: about 0 and 1
        levels: list[Tensor] = []
        for down in self.encoder:
            x = down(x)
            levels.append(x)
        for up, skipped in zip(self.decoder, reversed(levels[:-1]), strict=True):
            x = up(x, skipped)
        logits: Tensor = self.head(x)
        return logits


def full_size(logits: Tensor) -> Tensor:
    """Logits [n, classes, h/2, w/2] at the picture's resolution, [n, classes, h, w], float32."""
    return F.interpolate(logits.float(), scale_factor=2.0, mode="bilinear", align_corners=False)


def pad(picture: Tensor) -> Tensor:
    """[n, 3, h, w] with its right and lower edges repeated up to multiples of ``STRIDE``."""
    height, width = picture.shape[2:]
    return F.pad(picture, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


@torch.no_grad()
def fold(network: Segnet) -> dict[str, Tensor]:
    """The state of a folded network that computes what ``network`` does in eval mode, up to rounding."""
    state = {name: value for name, value in network.state_dict().items() if name.startswith("head.")}
    for name, unit in network.named_modules():
        if not isinstance(unit, Unit) or unit.norm is None:
            continue
        mean, variance = unit.norm.running_mean, unit.norm.running_var
        assert mean is not None and variance is not None
        factor = unit.norm.weight / torch.sqrt(variance + unit.norm.eps)
        state[f"{name}.conv.weight"] = unit.conv.weight * factor[:, None, None, None]
        state[f"{name}.conv.bias"] = unit.norm.bias - mean * factor
    return state
