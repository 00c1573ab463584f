"""A trained compact codec whose quality indices mean other trade-offs between rate and distortion.

What depends on the quality is learned at eight points of an axis along which lambda is log-linear
(`ganic.extreme.conditioning`).  Where a run is to reach lower or higher than the one before, its tables begin
with what theirs say at the same lambda; beyond their ends they go on in a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ganic.extreme.conditioning import ANCHORS

TABLES = ".anchors"
"""How the names of tables over the quality end."""


def respaced(
    weights: Mapping[str, Tensor], before: tuple[float, float], now: tuple[float, float]
) -> dict[str, Tensor]:
    """Weights by their names in a run, for lambda from ``now[0]`` to ``now[1]`` instead of ``before``."""
    wanted = torch.linspace(math.log(now[0]), math.log(now[1]), ANCHORS, dtype=torch.float64)
    low, high = (math.log(end) for end in before)
    position = (wanted - low) / (high - low) * (ANCHORS - 1)
    left = position.floor().clamp(0, ANCHORS - 2).long()
    share = (position - left)[:, None]  # below 0 and above 1 where the old axis ends

    def moved(table: Tensor) -> Tensor:
        return torch.lerp(table[left].double(), table[left + 1].double(), share).to(table.dtype)

    return {name: moved(value) if name.endswith(TABLES) else value for name, value in weights.items()}
