"""Rounding, floor and clipping whose gradients are those of simpler functions (Bengio et al., arXiv
1308.3432).

Values are exact: ``round(x) + (x - x)`` rather than ``x + (round(x) - x)``, which loses the last bit.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T", float, Tensor)


def round_through(x: Tensor) -> Tensor:
    """The nearest integer (halves to even); the gradient of the identity."""
    return torch.round(x).detach() + (x - x.detach())


def floor_through(x: Tensor) -> Tensor:
    """The integer below; the gradient of the identity."""
    return torch.floor(x).detach() + (x - x.detach())


def clip_through(x: Tensor, low: T, high: T, leak: float) -> Tensor:
    """``x`` limited to [low, high]; outside, ``leak`` of the gradient passes, so that nothing stays there."""
    clipped = x.clamp(low, high)
    outside = leak * (x - clipped)
    return clipped + (outside - outside.detach())
