"""Crops, scales, mirrors and colours: what a picture may become before a network sees it.

Chance and arithmetic are apart: ``draw_window`` and ``draw_colours`` decide (NumPy, on the host), ``cut``,
``cut_map`` and ``recolour`` compute (torch, where the picture is).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ganic.colour import YCBCR
from ganic.training.recipes import Data

LUMA = np.array(YCBCR[0])
"""Weights of R, G, B in grey."""


@dataclass(frozen=True)
class Window:
    """A square of a picture, in its pixels, and how it is mirrored once cut out."""

    top: int
    left: int
    side: int
    left_right: bool
    upside_down: bool

    def scale(self, crop: int) -> float:
        """What the picture is downscaled by where the window becomes ``crop`` wide."""
        return crop / self.side


def draw_window(rng: np.random.Generator, height: int, width: int, crop: int, settings: Data) -> Window:
    """A random square that downscaling by a factor within ``settings.scale`` makes ``crop`` wide.

    The factor is log-uniform; where the picture is too small for it, the nearest one that fits is the limit.
    The picture must be at least ``crop`` high and wide.
    """
    smallest = crop / min(height, width)
    low = max(settings.scale[0], smallest)
    high = max(settings.scale[1], low)
    factor = math.exp(rng.uniform(math.log(low), math.log(high)))
    side = min(max(crop, round(crop / factor)), height, width)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    mirrored, upside_down = rng.random(2) < 0.5
    return Window(
        top,
        left,
        side,
        bool(mirrored) and settings.flips != "none",
        bool(upside_down) and settings.flips == "hv",
    )


def draw_colours(rng: np.random.Generator, settings: Data) -> NDArray[np.float64]:
    """A random affine change of colour as a [3, 4] matrix: RGB' = M[:, :3] RGB + M[:, 3].

    With c = ``settings.colour`` and u uniform in [-1, 1] (a new one each time): exposure 1 + c u, white
    balance 1 + c u / 3 per channel, saturation 1 + c u about grey, contrast 1 + c u about 0.5.  A share
    ``settings.grey`` becomes grey: saturation 0, white balance unchanged.  Before that, a share
    ``settings.vivid`` has its colours exchanged, in any order, and saturated 1 to 4 times as much, so that
    many end at the edges of the cube: neon, flags and deep water are rare among photographs, and a codec that
    hardly knows them spends bits on plain green.
    """
    exposure, saturation, contrast, red, green, blue = settings.colour * rng.uniform(-1, 1, 6)
    balance = 1 + np.array([red, green, blue]) / 3
    saturation += 1
    if rng.random() < settings.grey:
        saturation, balance = 0.0, np.ones(3)
    matrix = (1 + contrast) * (1 + exposure) * _saturated(saturation) * balance[None, :]
    if rng.random() < settings.vivid:
        matrix = matrix @ _saturated(4 ** rng.uniform()) @ rng.permutation(np.eye(3))
    return np.concatenate([matrix, np.full((3, 1), -0.5 * contrast)], axis=1)


def _saturated(factor: float) -> NDArray[np.float64]:
    """[3, 3]: colours ``factor`` times as far from the grey of the same luma."""
    return factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))


def cut(image: Tensor, window: Window, crop: int) -> Tensor:
    """The window of a uint8 picture [3, h, w] as float32 [3, crop, crop] in [0, 1].

    Larger windows are downscaled with an antialiasing bicubic filter, so that a downscaled crop has no more
    aliasing than a photograph of that size, and rounded to the 256 levels every photograph has.
    """
    part = image[:, window.top : window.top + window.side, window.left : window.left + window.side]
    if window.side != crop:
        if part.device.type != "cpu":  # there torch filters bytes as they are, several times faster
            part = part.float()
        part = F.interpolate(part[None], (crop, crop), mode="bicubic", antialias=True)[0]
        part = part.round().clamp(0, 255) if part.is_floating_point() else part
    return _mirrored(part, window).float() / 255


def cut_map(labels: Tensor, window: Window, crop: int) -> Tensor:
    """The same window of a uint8 label map [h, w] as int64 [crop, crop]: nearest labels, never mixed."""
    part = labels[window.top : window.top + window.side, window.left : window.left + window.side]
    if window.side != crop:
        at = (torch.arange(crop, device=labels.device) * 2 + 1) * window.side // (2 * crop)
        part = part[at][:, at]
    return _mirrored(part, window).long()


def recolour(images: Tensor, matrices: Tensor) -> Tensor:
    """Apply each picture's [3, 4] matrix; images [b, 3, h, w] in [0, 1], matrices [b, 3, 4]."""
    changed = torch.einsum("bij,bjhw->bihw", matrices[:, :, :3], images) + matrices[:, :, 3, None, None]
    return changed.clamp_(0, 1)


def _mirrored(part: Tensor, window: Window) -> Tensor:
    axes = [axis for axis, wanted in ((-1, window.left_right), (-2, window.upside_down)) if wanted]
    return part.flip(axes) if axes else part
