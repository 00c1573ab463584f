"""Latents fitted to one picture before they are coded: a few steps of gradient descent from what E says.

E has to say in one go what is best for any picture that looks like this one.  From there, with the decoder's
own generator in view, other symbols are found that take as many bits and draw this one better: texture that
lay just below what is worth a symbol, above all.  File format and decoders know nothing of it.  (Inference
beyond the encoder's: Yang et al., "Improving Inference for Neural Image Compression", arXiv:2006.04240.)

What is minimised is Eq. (4) of the papers without the terms that mean something for sets of pictures alone,
all in parts of the bits that the picture takes before,

    bits / bits before + SQUARES (MSE + MSE of 8x8 means) / MSE before
        + PERCEPTUAL d + STRUCTURE (1 - MS-SSIM)

with d the SqueezeNet perceptual distance.  The weights are such that PSNR, MS-SSIM and SSIMULACRA2, which has
no part in it, do not pay for the distance.  Symbols are the ones that would be coded, by the integer entropy
model; gradients pass their rounding as if it were not there, and those of bits are half the difference
between a symbol's two neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ganic import images
from ganic.adam import Adam
from ganic.extreme.allocation import Allocation
from ganic.extreme.compact import Generator
from ganic.extreme.integer_prior import GRID, IntegerPrior, Quantised
from ganic.extreme.tiling import Span, Tile, spans, tiles
from ganic.extreme.windowed import index_of, is_uniform, pixels_of
from ganic.metrics.perceptual import feature_distance
from ganic.metrics.squeezenet import STRIDE as PHASES
from ganic.metrics.squeezenet import SqueezeNetFeatures
from ganic.metrics.structural import MIN_SIDE, ms_ssim

SMALLEST = 64
"""Pixels that a side has at least: of less the distance's last layers see nothing but borders."""

WINDOW, MARGIN = 48, 4
"""Latent positions that are drawn at once, and around them; gradients keep more in memory than pictures do,
and need not be exact."""

RATE = 0.32
"""Adam's first learning rate in steps of the quantiser, times the root of bits per pixel over the number of
steps; it falls to nothing along a cosine.  Where there are few bits, a step that misses costs more."""

BETAS = 0.9, 0.99

SQUARES, PERCEPTUAL, STRUCTURE = 0.6, 5.0, 25.0
LEAST = 1e-6
"""MSE below which errors count no more; a quarter of a grey level."""

Float32 = npt.NDArray[np.float32]
Window = tuple[Span, Span]
"""Rows and columns of latent positions."""


@dataclass(frozen=True)
class Fitter:
    """What fitting needs of a codec."""

    generator: Generator
    """As floats that have gradients."""
    trunk: SqueezeNetFeatures
    prior: IntegerPrior
    gains: Float32
    """[qualities, channels], what latents are multiplied by."""
    choose: Callable[[Float32, Allocation], Quantised]
    """From a tile's latent in steps [height, width, channels] to its symbols."""

    def __call__(
        self,
        latent: Float32,
        picture: images.Picture,
        area: Allocation,
        bpp: float,
        steps: int,
    ) -> None:
        """Change E's ``latent`` [rows, columns, channels] by so many steps.

        Args:
            area: what positions get; all of them are coded.
            bpp: of the file as it is without fitting.
        """
        if min(picture.width, picture.height) < SMALLEST:
            return
        for tile in tiles(*area.shape):
            self._fit(latent, picture, area, tile, bpp, steps)

    def _fit(
        self,
        latent: Float32,
        picture: images.Picture,
        area: Allocation,
        tile: Tile,
        bpp: float,
        steps: int,
    ) -> None:
        """One coding tile of ``latent``; what surrounds it stays."""
        part = area.tile(tile)
        inside = latent[tile.top : tile.bottom, tile.left : tile.right]
        gains = self.gains[part.quality]
        y = torch.from_numpy(inside * gains)
        adam = Adam(y, BETAS, eps=1e-12)
        before = 1.0
        phases = torch.Generator().manual_seed(0)
        for step in range(steps):
            chosen = self.choose(y.numpy(), part)
            inside[:] = chosen.latent / (GRID * gains)
            if not step:
                before = self._error(latent, picture, area, tile)
            gradient = self._slopes(chosen, part)
            for rows, columns in _windows(tile, area.shape):
                phase = torch.randint(PHASES, (2,), generator=phases).tolist()
                where = (
                    slice(rows.start - tile.top, rows.stop - tile.top),
                    slice(columns.start - tile.left, columns.stop - tile.left),
                )
                slope = self._pull(latent, picture, area, (rows, columns), before, phase)
                gradient[where] += slope * bpp / torch.from_numpy(gains[where])
            rate = RATE * math.sqrt(bpp / steps) * 0.5 * (1 + math.cos(math.pi * step / steps))
            y = adam(y, gradient, rate)
        inside[:] = y.numpy() / gains

    def _slopes(self, chosen: Quantised, part: Allocation) -> Tensor:
        """Bits per step of every latent of a tile [height, width, channels]."""
        symbols, tables = self.prior.on_grid(chosen, part)
        known = self.prior.tables
        more, fewer = (
            known.lengths(known.clip(symbols.ravel() + step, tables.ravel()), tables.ravel())
            for step in (1, -1)
        )
        return torch.from_numpy(((more - fewer) / 2).astype(np.float32)).view(symbols.shape)

    def _pull(
        self,
        latent: Float32,
        picture: images.Picture,
        area: Allocation,
        window: Window,
        before: float,
        phase: list[int],
    ) -> Tensor:
        """The gradient of what a window's picture lacks, times its pixels, with respect to its latents [h, w,
        channels]; ``before`` is the MSE that errors are measured against."""
        half = torch.autocast(self._device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16)
        with torch.inference_mode(False), torch.enable_grad():
            z = self._shown(latent, window).requires_grad_(True)
            x, y = _original(picture, window).to(self._device), self._drawn(z, area, window)
            error = y - x
            squares = error.square().mean() + F.avg_pool2d(error, 8).square().mean()
            # The trunk's strides see some pixels more than others, unless their phase changes.
            top, left = (min(p, side - SMALLEST) for p, side in zip(phase, x.shape[2:], strict=True))
            with half:
                with torch.no_grad():
                    real = self.trunk(x[:, :, top:, left:])
                fake = self.trunk(y[:, :, top:, left:])
            looks = PERCEPTUAL * feature_distance(real, fake).mean()
            if min(x.shape[2:]) >= MIN_SIDE:
                looks = looks + STRUCTURE * (1 - ms_ssim(x, y.float()).mean())
            lacks = x.shape[2] * x.shape[3] * (SQUARES / before * squares + looks)
            (gradient,) = torch.autograd.grad(lacks, z)
        rows, columns = window
        return gradient[0].permute(1, 2, 0)[rows.inner, columns.inner].float().cpu()

    def _error(self, latent: Float32, picture: images.Picture, area: Allocation, tile: Tile) -> float:
        """The MSE of a tile and what its windows show around it; never 0."""
        total, pixels = 0.0, 0
        for window in _windows(tile, area.shape):
            x = _original(picture, window).to(self._device)
            error = (self._drawn(self._shown(latent, window), area, window) - x).square()
            total, pixels = total + float(error.sum()), pixels + error.numel()
        return max(total / pixels, LEAST)

    @property
    def _device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.generator.parameters()).dtype

    def _shown(self, latent: Float32, window: Window) -> Tensor:
        """What G receives of a window, [1, channels, h, w]."""
        rows, columns = window
        part = torch.from_numpy(latent[rows.outer, columns.outer])
        return part.to(self._device, self._dtype).permute(2, 0, 1)[None]

    def _drawn(self, z: Tensor, area: Allocation, window: Window) -> Tensor:
        """A window's picture [1, 3, 16 h, 16 w]."""
        rows, columns = window
        quality = index_of(area.quality[rows.outer, columns.outer], is_uniform(area.quality))
        drawn: Tensor = self.generator(z, quality.to(self._device))
        return drawn


def _original(picture: images.Picture, window: Window) -> Tensor:
    """A window's pixels [1, 3, 16 h, 16 w] in [0, 1]."""
    return torch.from_numpy(pixels_of(picture, *window)).permute(2, 0, 1)[None].float() / 255


def _windows(tile: Tile, shape: tuple[int, int]) -> Iterator[Window]:
    """Windows of a tile; their margins reach beyond it, to the picture's edges."""
    for row in _spans(tile.top, tile.bottom, shape[0]):
        for column in _spans(tile.left, tile.right, shape[1]):
            yield row, column


def _spans(first: int, last: int, length: int) -> list[Span]:
    return [
        Span(start, stop, max(0, start - MARGIN), min(length, stop + MARGIN))
        for part in spans(last - first, WINDOW, 0)
        for start, stop in [(first + part.start, first + part.stop)]
    ]
