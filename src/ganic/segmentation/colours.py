"""Label maps to look at."""

from __future__ import annotations

import colorsys

import torch
from torch import Tensor

GOLDEN = 0.618034
"""Hues that are this far apart stay apart, however many there are."""


def colours(classes: int) -> list[tuple[float, float, float]]:
    """A colour in [0, 1] per class, in turn bright, dark and pale."""
    tones = ((0.75, 0.9), (0.9, 0.5), (0.35, 1.0))  # saturation, value
    found = []
    for i in range(classes):
        turn, tone = divmod(i, len(tones))
        found.append(colorsys.hsv_to_rgb(0.58 + turn * GOLDEN + tone / len(tones), *tones[tone]))
    return found


def painted(labels: Tensor, classes: int) -> Tensor:
    """Labels, int64 [n, h, w], as pictures [n, 3, h, w] in [0, 1]; from ``classes`` on (void): black."""
    table = torch.tensor([*colours(classes), (0.0, 0.0, 0.0)], device=labels.device)
    return table[labels.clamp_max(classes)].permute(0, 3, 1, 2)
