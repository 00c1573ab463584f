"""The generator's wide layers in 8-bit integers, where the processor multiplies those fastest.

Nothing here decides a symbol, and pixels differ from those of float32 by less than half a grey level (root
mean square), as those of bfloat16 do.  Rounded are inputs and weights of residual blocks and sub-pixel
convolutions; sums, and what blocks add to, are float32.  Layers at full resolution, whose errors are seen as
they are, and those that read latents, whose range is large, keep the generator's precision.

Inputs have one step per channel, found once when a model is exported
(:mod:`ganic.extreme.activation_ranges`), so a picture in tiles is rounded as one that is decoded whole.
Weights have one step per output channel.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.byte_products import ByteConv
from ganic.errors import ModelFormatError
from ganic.extreme.compact import SLOPE, Generator, ResidualBlock, Stage, Upsample

REDUCED = 4
"""How many stages of a generator are in 8 bits: those at 1/16, 1/8, 1/4 and 1/2 resolution; in models before
the twelfth release of ``photo`` all but the last."""

KEPT = 0.6
"""Share of a range that has steps; values beyond it, which hardly occur, are clipped. On 21 files of 7
photographs the difference to float32 is 54.7, 56.2, 56.7 and 55.5 dB with 1, 0.7, 0.55 and 0.4 (bfloat16:
56.4 dB)."""

INTEGERS = 1.5 * 2**23
"""float32 numbers of this size are whole: to add it is to round, and the low byte of the sum is that of the
rounded number.  Takes half the passes through memory of adding, clipping, rounding and converting."""

Ranges = Mapping[str, Tensor]
"""By name of a convolution of G: least and largest value [2, channels] of each channel of its input."""


class Rounding:
    """How an input is rounded to bytes.

    Channels are divided by their ranges, so that all have about as many steps, and share what stands for 0.
    """

    def __init__(self, limits: Tensor) -> None:
        low, high = KEPT * limits.float()
        self.ranges = (high - low).clamp(min=1e-6)
        least = float((low / self.ranges).min().clamp(max=0))
        largest = float((high / self.ranges).max().clamp(min=0))
        self.step = max(largest - least, 1e-6) / 255
        self.zero = round(-least / self.step)
        self.per_unit = (1 / (self.ranges * self.step)).view(1, -1, 1, 1)
        """Steps per unit of each channel."""
        self._whole = torch.tensor(INTEGERS + self.zero)

    def __call__(self, x: Tensor) -> Tensor:
        """[n, c, h, w] float32 -> bytes."""
        return _low_bytes(torch.addcmul(self._whole, x, self.per_unit))

    def in_place(self, steps: Tensor) -> Tensor:
        """The same of what is in units of steps already. Overwrites it."""
        return _low_bytes(steps.add_(self._whole))

    def conv(self, conv: nn.Conv2d, scale: Tensor | None = None) -> ByteConv:
        """A convolution that reads bytes of this rounding; its outputs are multiplied by ``scale``
        [outputs]."""
        weight = conv.weight.detach().float() * self.ranges[:, None, None]
        steps = weight.abs().amax((1, 2, 3)).clamp(min=1e-12) / 127
        signed = (weight / steps[:, None, None, None]).round_().to(torch.int8)
        assert conv.bias is not None
        bias = conv.bias.detach().float()
        if scale is not None:
            steps, bias = steps * scale, bias * scale
        assert isinstance(conv.padding, tuple)
        return ByteConv(signed, steps, bias, self.step, self.zero, (conv.padding[0], conv.padding[1]))


def _low_bytes(whole: Tensor) -> Tensor:
    """float32 numbers, as bytes and INTEGERS together, -> those bytes; others clipped. Overwrites them."""
    return whole.clamp_(INTEGERS, INTEGERS + 255).view(torch.int32).to(torch.int8).view(torch.uint8)


class EightBitBlock(nn.Module):
    """A :class:`~ganic.extreme.compact.ResidualBlock`, float32 outside. Overwrites its input."""

    def __init__(self, block: ResidualBlock, ranges: Ranges, name: str) -> None:
        super().__init__()
        self.outer = Rounding(_limits(ranges, f"{name}.first", block.first))
        self.inner = Rounding(_limits(ranges, f"{name}.second", block.second))
        # What the first one gives is in steps already: a rectifier minds no positive factor.
        self.first = self.outer.conv(block.first, self.inner.per_unit.flatten())
        self.second = self.inner.conv(block.second)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.float32, memory_format=torch.channels_last)
        y = self.first(self.outer(x), torch.float32)
        return self.second.add_to(x, self.inner.in_place(F.leaky_relu_(y, SLOPE)))


class EightBitUpsample(nn.Module):
    """An :class:`~ganic.extreme.compact.Upsample` whose output is of the generator's type."""

    def __init__(self, up: Upsample, ranges: Ranges, name: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.rounding = Rounding(_limits(ranges, f"{name}.conv", up.conv))
        self.conv = self.rounding.conv(up.conv)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.float32, memory_format=torch.channels_last)
        return self.conv(self.rounding(x), self.dtype)


def reduce(generator: Generator, ranges: Ranges, dtype: torch.dtype) -> None:
    """Replace the layers of a generator whose ranges are known; ``dtype`` is what the others compute in.

    Raises ModelFormatError if the ranges are of another generator.
    """
    stages = list(zip(generator.stages, generator.up, strict=False))
    known = [level for level in range(len(stages)) if f"up.{level}.conv" in ranges]
    for level, (stage, up) in enumerate(stages[: max(known, default=-1) + 1]):
        assert isinstance(stage, Stage) and isinstance(up, Upsample)
        for number, block in enumerate(stage.blocks):
            assert isinstance(block, ResidualBlock)
            stage.blocks[number] = EightBitBlock(block, ranges, f"stages.{level}.blocks.{number}")
        generator.up[level] = EightBitUpsample(up, ranges, f"up.{level}", dtype)


def _limits(ranges: Ranges, name: str, conv: nn.Conv2d) -> Tensor:
    limits = ranges.get(name)
    if limits is None or limits.shape != (2, conv.in_channels):
        raise ModelFormatError(f"ranges.{name}: missing or of another shape; the model file is damaged")
    return limits
