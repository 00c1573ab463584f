"""The entropy model's layers as they are trained, with the numbers of :mod:`ganic.extreme.integer_prior`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.straight_through import floor_through, round_through

GRID = 16
"""Integer activations, means and hyper-latents are in units of 1/16."""
ACTIVATION_MAX = 255
WEIGHT_MAX = 127
ACCUMULATOR_LIMIT = 2**24
"""float32 adds integers exactly below this bound, in any order."""
BIAS_LIMIT = 2**20


class IntegerConv(nn.Module):
    """A convolution trained as it will run: 8-bit weights, activations on the 1/16 grid.

    The step of output channel c is ``max(max|w| / 127, 255 * sum|w| / (2**24 - 2**21))``: the second term
    makes every partial sum of ``weight * activation``, bias included, smaller than 2**24 for any input within
    +-255, by construction.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 3, gain: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.empty(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_normal_(self.weight)
        with torch.no_grad():
            self.weight.mul_(gain)

    def steps(self) -> Tensor:
        """Weight step per output channel [outputs]."""
        flat = self.weight.detach().float().flatten(1).abs()
        by_sum = flat.sum(1) * (ACTIVATION_MAX / (ACCUMULATOR_LIMIT - 2 * BIAS_LIMIT))
        return torch.maximum(flat.amax(1) / WEIGHT_MAX, by_sum).clamp(min=1e-8)

    def integers(self, bias: Tensor | None = None, unit: Tensor | float = 1.0) -> dict[str, Tensor]:
        """The layer in integers, as :class:`ganic.extreme.integer_prior.Layer` runs it.

        Args:
            bias: real biases [outputs] or [bands, outputs]; the layer's own if None.
            unit: output grid steps per 1/16, per channel.
        """
        step = self.steps().double()
        bias = self.bias if bias is None else bias
        rescale = step * unit
        shift = int(torch.floor(16 - torch.log2(rescale.max())).clamp(1, 40))
        return {
            "weight": torch.round(self.weight.double() / step[:, None, None, None]).to(torch.int8),
            "bias": torch.round(bias.double() * GRID / step).clamp(-BIAS_LIMIT, BIAS_LIMIT).to(torch.int32),
            "multiplier": torch.round(rescale * 2.0**shift).to(torch.int32),
            "shift": torch.tensor([shift], dtype=torch.int32),
        }

    @staticmethod
    def reals(parts: Mapping[str, Tensor], unit: Tensor | float = 1.0) -> dict[str, Tensor]:
        """The weight and bias that `integers` made ``parts`` of, but for their rounding."""
        step = parts["multiplier"].double() * 2.0 ** -int(parts["shift"]) / unit
        return {
            "weight": (parts["weight"].double() * step[:, None, None, None]).float(),
            "bias": (parts["bias"].double() * step / GRID).float(),
        }

    def forward(self, x: Tensor) -> Tensor:
        """Real-valued accumulators; the caller rounds them to its grid."""
        step = self.steps()[:, None, None, None]
        weight = round_through(self.weight / step) * step
        return F.conv2d(x, weight, self.bias, padding=self.size // 2)


def activate(x: Tensor) -> Tensor:
    """Rectify, clip to [0, 255/16] and round to multiples of 1/16, gradient straight through the rounding."""
    return round_through(x.clamp(0, ACTIVATION_MAX / GRID) * GRID) / GRID


def hyper_input(z: Tensor) -> Tensor:
    """The hyper-latent as the integer network sees it: multiples of 1/16 within +-255/16."""
    return z.clamp(-ACTIVATION_MAX / GRID, ACTIVATION_MAX / GRID)


def context_input(y: Tensor) -> Tensor:
    """Latents as the integer network sees them: a quarter of their value, on the same grid."""
    scaled = (y * (GRID / 4)).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)
    return floor_through(scaled + 0.5) / GRID
