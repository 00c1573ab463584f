"""A learned entropy model of the quantiser's symbols, for beta > 0.

H(w-hat) of the objective min L_GAN + lambda E[d] + beta E[H(w-hat)] is estimated by the cross entropy

    E[H(w-hat)] <= E[-sum_i log2 p(s_i | s_1, ..., s_{i-1})],

the length of an arithmetic code that uses p.  Symbols are ordered by row, column, channel.  The logits of p
are one vector per channel (the factorised model) plus a small convolutional network whose kernels are masked
so that it sees earlier symbols only, as in PixelCNN (arXiv:1606.05328) with channels in groups, or Mentzer et
al. (arXiv:1801.04260).

With beta = 0 the bound dim(w-hat) log2 L controls the rate instead, and nothing of this is used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.extreme.quantiser import Quantised


def causal_mask(channels: int, inputs: int, outputs: int, size: int, *, strict: bool) -> Tensor:
    """Float mask [channels * outputs, channels * inputs, size, size] of a causal convolution.

    Each symbol channel owns ``inputs`` neighbouring input features and ``outputs`` output features.  Kernel
    entries that see later rows, later columns of the same row, or later channels of the same position are 0;
    with ``strict`` so is what the symbol itself owns.
    """
    centre = size // 2
    before = torch.zeros(size, size)
    before[:centre] = 1
    before[centre, :centre] = 1
    channel = torch.arange(channels)
    here = channel[:, None] > channel if strict else channel[:, None] >= channel
    mask = before.expand(channels, channels, size, size).clone()
    mask[:, :, centre, centre] = here.float()
    return mask.repeat_interleave(outputs, 0).repeat_interleave(inputs, 1)


class MaskedConv(nn.Module):
    """A convolution with :func:`causal_mask`; arguments as there."""

    mask: Tensor

    def __init__(
        self,
        channels: int,
        inputs: int,
        outputs: int,
        size: int,
        *,
        strict: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels * inputs, channels * outputs, size, padding=size // 2, bias=bias)
        mask = causal_mask(channels, inputs, outputs, size, strict=strict)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels * inputs, h, w] -> [n, channels * outputs, h, w]."""
        return F.conv2d(x, self.conv.weight * self.mask, self.conv.bias, padding=self.conv.padding)


class SymbolEntropy(nn.Module):
    """p and the bits it costs; before training every symbol costs log2 L bits, the bound.

    Args:
        channels: C, the latent's channels.
        levels: L.
        features: the context model's features per channel.
    """

    def __init__(self, channels: int, levels: int, features: int = 16) -> None:
        super().__init__()
        self.levels = levels
        self.factorised = nn.Parameter(torch.zeros(channels, levels))
        self.context = nn.Sequential(
            MaskedConv(channels, 1, features, 5, strict=True),
            nn.ReLU(inplace=True),
            MaskedConv(channels, features, features, 3),
            nn.ReLU(inplace=True),
        )
        # A bias would be the factorised logits again.
        self.head = MaskedConv(channels, features, levels, 1, bias=False)
        nn.init.zeros_(self.head.conv.weight)

    def log2_probabilities(self, values: Tensor) -> Tensor:
        """w-hat [n, C, h, w] -> log2 p(s | everything before) for every level, float32 [n, C, h, w, L]."""
        count, channels, height, width = values.shape
        with torch.autocast(values.device.type, enabled=False):
            context = self.head(self.context(values.float()))
            logits = context.reshape(count, channels, self.levels, height, width).movedim(2, -1)
            return torch.log_softmax(logits + self.factorised[:, None, None, :], -1) / math.log(2)

    def forward(self, quantised: Quantised, heat: Tensor | None = None) -> Tensor:
        """E[H(w-hat)]: bits of each picture [n], the exact code length -sum log2 p(s_i | ...).

        ``heat`` [n, 1, h, w], ones and zeros: only symbols at its ones exist and cost bits (SC).  The values
        at its zeros must be 0 already: they are the context that a decoder has.

        The gradient reaches the encoder in two ways: through the soft assignment,
        ``-sum_j a_j log2 p_j`` in place of the chosen level's, and through the context.
        """
        log2_p = self.log2_probabilities(quantised.values)
        hard = F.one_hot(quantised.symbols, self.levels).to(log2_p.dtype)
        assignment = hard + (quantised.soft - quantised.soft.detach())
        bits = -(assignment * log2_p).sum(-1)
        return (bits if heat is None else bits * heat).flatten(1).sum(1)


__all__ = ["MaskedConv", "SymbolEntropy", "causal_mask"]
