"""Shades: how a picture's large areas differ from what its latent shows of them.

Where errors of the latent are below a step they cost nothing and stay, alike over whole regions: a sky that
is a few grey levels too dark, blotches as large as a hand.  A symbol of the latent that mends one of them
mends 16x16 pixels.  So after the latent's symbols come those of a picture of 64x64 pixels to a sample, the
*shades*, which the decoder adds, interpolated linearly, to what G draws.  At 0.05 bits per pixel they take
one or two per cent of a file, and PSNR of 8x8 means gains half a decibel (docs/results/photo.md).

An encoder need not draw the picture to know what G's looks like from afar: `Afar` tells it from the latent,
a hundredth of the arithmetic.  Decoders do without.

Shades are in Y, Cb and Cr of JFIF (:data:`ganic.colour.YCBCR`), in units of a step that falls with the
quality index from ``steps[0]`` grey levels at 0 to ``steps[1]`` at 255, log-linear, for Y, and CHROMA times
that for the others.  The sample of a cell is that of its middle; between the middles of cells pictures are
interpolated linearly in both directions, and beyond the outermost they stay what they are there.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.colour import YCBCR
from ganic.extreme.compact import LATENT_SCALE, SLOPE, ResidualBlock
from ganic.extreme.conditioning import QUALITIES, QualityAffine, QualityTable
from ganic.extreme.integer_prior import COLOURS
from ganic.extreme.lapped import BANDS, Synthesis, typical_deviations
from ganic.extreme.prior import anchors_of, band_of, every_band
from ganic.extreme.symbol_costs import SCALES, nearest_index
from ganic.extreme.tiling import CELL, CELL_PIXELS, STRIDE

CHROMA = 1.5
"""A step of Cb and Cr over one of Y."""
PRICE = 0.1
"""Squared steps that a bit is worth when symbols are chosen; 2 ln 2 / 12 = 0.116 is what a fine quantiser
pays."""
WIDTH = 48
FARTHEST = 4
"""Latent positions on each side on which a value of `Afar` depends."""
GREY_LEVEL = 1 / 255
CORRECTION = 3 * GREY_LEVEL
"""What an output of 1 of the learned part of `Afar` changes."""
FROM_YCBCR: list[list[float]] = np.linalg.inv(YCBCR).tolist()
"""Rows R, G, B."""

Steps = tuple[float, float]


def step_of(quality: Tensor, steps: Steps) -> Tensor:
    """Quality indices [...] -> size of a step [3, ...] of Y, Cb and Cr in pictures in [0, 1]."""
    low, high = steps
    luma: Tensor = GREY_LEVEL * low * torch.exp(quality.float() / (QUALITIES - 1) * math.log(high / low))
    return torch.stack([luma, CHROMA * luma, CHROMA * luma])


def from_rgb(picture: Tensor) -> Tensor:
    """RGB [..., 3, h, w] -> Y, Cb, Cr; of differences."""
    red, green, blue = picture.unbind(-3)
    # Element by element: autocast would round the products of matrices.
    return torch.stack([r * red + g * green + b * blue for r, g, b in YCBCR], dim=-3)


def to_rgb(picture: Tensor) -> Tensor:
    """The inverse of `from_rgb`."""
    return torch.einsum("cy,...yhw->...chw", picture.new_tensor(FROM_YCBCR), picture)


def interpolation(start: int, stop: int, cells: int, samples: int) -> Tensor:
    """Weights [stop - start, cells] of cells in samples ``start`` to ``stop``, ``samples`` to a cell."""
    position = (torch.arange(start, stop) + 0.5) / samples - 0.5
    position = position.clamp(0, cells - 1)
    return (1 - (position[:, None] - torch.arange(cells)).abs()).clamp(min=0)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what an encoder began with, training can go on with
def _fitting(positions: int) -> Tensor:
    """From values at latent positions to the samples [cells, positions] whose interpolation is nearest."""
    weights = interpolation(0, positions, -(-positions // CELL), CELL)
    fitting: Tensor = torch.linalg.solve(weights.T @ weights, weights.T)
    return fitting


def fitted(differences: Tensor) -> Tensor:
    """Means over latent positions [..., h, w] -> samples [..., ceil(h / 4), ceil(w / 4)] that come nearest
    to them when they are interpolated (least squares)."""
    rows, columns = (_fitting(length).to(differences) for length in differences.shape[-2:])
    return torch.einsum("ih,...hw,jw->...ij", rows, differences, columns)


def in_steps(
    missing: npt.NDArray[np.float32], quality: npt.NDArray[np.uint8], steps: Steps
) -> npt.NDArray[np.float32]:
    """What RGB lacks at latent positions [h, w, 3] -> samples [3, ceil(h / 4), ceil(w / 4)] in units of a
    step; ``quality``: indices of the cells."""
    samples = fitted(from_rgb(torch.from_numpy(missing).permute(2, 0, 1)))
    values: npt.NDArray[np.float32] = (samples / step_of(torch.from_numpy(quality), steps)).numpy()
    return values


def offsets(shades: Tensor, quality: Tensor, steps: Steps) -> Tensor:
    """Symbols [3, h, w] of cells of these quality indices [h, w] -> what is added to RGB in [0, 1] there."""
    return to_rgb(step_of(quality, steps) * shades)


def add_shades(pixels: Tensor, shades: Tensor, top: int, left: int) -> None:
    """Add `offsets` [3, rows, columns] to a contiguous part [h, w, 3] of their picture, in place.

    ``top`` and ``left``: the pixel that it begins with.
    """
    height, width, _ = pixels.shape
    _, rows, columns = shades.shape
    down = interpolation(top, top + height, rows, CELL_PIXELS).to(shades)
    across = interpolation(left, left + width, columns, CELL_PIXELS).to(shades)
    lines = torch.einsum("crk,wk->rwc", shades, across)
    pixels.view(height, -1).addmm_(down, lines.reshape(rows, -1))


def means(picture: Tensor) -> Tensor:
    """Pictures [n, 3, 16h, 16w] -> means of every latent position's pixels [n, 3, h, w]."""
    return F.avg_pool2d(picture, STRIDE)


def far_kernel(synthesis: Synthesis) -> Tensor:
    """The linear path of G followed by `means`, as a kernel [3, channels, 3, 3] over the latent.

    The path's blocks are 8 pixels off the latent's positions: a position's pixels are the lower half of one
    block and the upper half of the next, and a block sees two positions in each direction.
    """
    weight = synthesis.factor * synthesis.conv.weight * synthesis.window.to(synthesis.conv.weight)
    blocks = weight.reshape(COLOURS, 2, BANDS // 2, 2, BANDS // 2, *weight.shape[1:])
    halves = blocks.sum((2, 4)) / BANDS**2
    # Half 0, the upper one, is of the block behind: its two taps are this position and the next.
    where = halves.new_zeros(2, 2, 3)
    for half in range(2):
        for tap in range(2):
            where[half, tap, 1 - half + tap] = 1
    return torch.einsum("cabouv,aui,bvj->coij", halves, where, where)


class Afar(nn.Module):
    """What G draws of a latent, seen from afar: means over 16x16 pixels.

    That of its linear path is linear too, ``kernel``; what is learned is the rest.

    Args:
        latent: channels of the latent.
    """

    scale: Tensor
    kernel: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(latent, WIDTH, 3, padding=1)
        self.affine = QualityAffine(WIDTH)
        self.block = ResidualBlock(WIDTH)
        self.out = nn.Conv2d(WIDTH, COLOURS, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        scale = 1 / (LATENT_SCALE * typical_deviations(latent))
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("kernel", torch.zeros(COLOURS, latent, 3, 3))

    @torch.no_grad()
    def look_at(self, synthesis: Synthesis) -> None:
        """Take over G's linear path."""
        self.kernel.copy_(far_kernel(synthesis))

    def forward(self, latent: Tensor, quality: Tensor) -> Tensor:
        """
        Args:
            latent: what G receives [n, latent, h, w].
            quality: indices [n], or a map [n, h, w].

        Returns:
            [n, 3, h, w], about [0, 1].
        """
        x = F.leaky_relu(self.affine(self.enter(latent * self.scale), quality), SLOPE)
        x = F.leaky_relu(self.block(x), SLOPE)
        drawn = F.conv2d(latent, self.kernel, padding=1)
        seen: Tensor = self.out(x).mul(CORRECTION).add_(drawn).add_(0.5)
        return seen


class Shades(nn.Module):
    """What encoders of shades learn: `Afar`, and the scale indices of the symbols.

    Args:
        latent: channels of the latent.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.afar = Afar(latent)
        self.index = QualityTable(COLOURS, 16.0 / SCALES)  # in units of all scales, so that it can move

    def tables(self, quality: Tensor) -> Tensor:
        """Scale indices of the symbols of pictures of these quality indices [n] -> [n, 3, 1, 1]."""
        return nearest_index(self.index(band_of(quality)) * SCALES)

    @torch.no_grad()
    def integers(self) -> Tensor:
        """`tables` of every band [BANDS, 3] uint8, as a model file has them."""
        return self.tables(every_band(self.index.anchors.device))[:, :, 0, 0].to(torch.uint8)

    @staticmethod
    def anchors(integers: Tensor) -> Tensor:
        """Those of the table that `integers` made these of, but for their rounding."""
        return anchors_of(integers.float() / SCALES)


__all__ = [
    "COLOURS",
    "FARTHEST",
    "PRICE",
    "Afar",
    "Shades",
    "Steps",
    "add_shades",
    "far_kernel",
    "fitted",
    "from_rgb",
    "in_steps",
    "interpolation",
    "means",
    "offsets",
    "step_of",
    "to_rgb",
]
