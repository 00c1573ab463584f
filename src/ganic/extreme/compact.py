"""The compact encoder and generator of the shipped ``photo`` model.

Plain 3x3 convolutions without normalisation: a picture coded in tiles gives the same numbers as one coded
whole, and CPUs run bf16 3x3 convolutions at their full speed.  Most of the arithmetic sits at 1/16 and 1/8
of the picture's resolution, where channels are wide and memory traffic is small.

Each network is the sum of a linear path, which starts as a lapped transform, and a deep one; see
:mod:`ganic.extreme.lapped`.

Receptive fields bound the overlap that tiled coding needs; see ``Encoder.margin`` and ``Generator.margin``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.errors import ModelFormatError
from ganic.extreme.conditioning import QualityAffine
from ganic.extreme.lapped import Analysis, Synthesis
from ganic.extreme.tiling import STRIDE

LATENT_SCALE = 4.0
"""Latent units per unit of an orthonormal transform of pixels in [0, 1]."""

SLOPE = 0.1
"""Negative slope of the leaky rectifiers."""

AFFINE_FACTOR = 8.0
"""Of what tells the encoder the quality, see :class:`ganic.extreme.conditioning.QualityAffine`."""

GUIDED = (2, 3)
"""Stages of a guided generator that see the linear path's picture: those at 1/4 and 1/2 resolution."""

GUIDE_SCALE = 24.0
"""What that picture is multiplied by: weights that start at zero have a way to go, in an optimiser's small
steps."""


def _conv(
    inputs: int, outputs: int, stride: int = 1, gain: float = 1.0, size: int = 3, bias: bool = True
) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=bias)
    nn.init.kaiming_normal_(conv.weight, a=SLOPE)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    with torch.no_grad():
        conv.weight.mul_(gain)
    return conv


class ResidualBlock(nn.Module):
    """``x + conv(act(conv(x)))``; the last convolution starts small, so that a deep stack starts as
    identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels, gain=0.1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.leaky_relu(self.first(x), SLOPE, inplace=True))
        return change.add_(x)


class Upsample(nn.Module):
    """Sub-pixel convolution to twice the resolution, before its sub-pixels are moved to their places.

    The four sub-pixels start with equal weights (ICNR, arXiv:1707.02937), so training starts without the
    lattice that independent sub-pixel filters draw.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.conv = _conv(inputs, 4 * outputs, size=size)
        with torch.no_grad():
            self.conv.weight.copy_(self.conv.weight[::4].repeat_interleave(4, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, 4 outputs, h, w]."""
        out: Tensor = self.conv(x)
        return out


class Stage(nn.Module):
    """Quality-dependent modulation followed by residual blocks, all at one resolution."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.affine = QualityAffine(channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(blocks))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        x = F.leaky_relu(self.affine(x, quality), SLOPE, inplace=True)
        for block in self.blocks:
            x = block(x)
        return x


def _seen() -> Tensor:
    seen = torch.zeros(2, 3, 2, 3)
    for sub_pixel in range(2):
        for tap in range(3):
            row, other = divmod(sub_pixel + tap - 1, 2)
            seen[sub_pixel, tap, other, row + 1] = 1
    return seen


SEEN = _seen()
"""1 where a sub-pixel of a row, through a tap of three, sees a sub-pixel of the row before, of its own and of
the next."""


def shuffled_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """``pixel_unshuffle(conv(pixel_shuffle(x, 2)), 2)`` for a 3x3 convolution, without the large picture.

    x [n, 4 inputs, h, w] -> [n, 4 outputs, h, w].  Sub-pixel a of an output looks at rows a - 1, a, a + 1,
    which are sub-pixels of the same, the previous or the next row of positions; columns likewise.
    """
    assert conv.bias is not None
    where = SEEN.to(conv.weight)
    kernel = torch.einsum("auir,bvjc,okuv->oabkijrc", where, where, conv.weight)
    return F.conv2d(x, kernel.flatten(3, 5).flatten(0, 2), conv.bias.repeat_interleave(4), padding=1)


def unshuffled(picture: Tensor, factor: int, scale: float) -> Tensor:
    """``pixel_unshuffle(picture, factor) * scale``, as a convolution of one tap per output: CPUs are two to
    six times faster at that, and the numbers are the same."""
    channels = picture.shape[1]
    taps = scale * torch.eye(channels * factor**2, dtype=picture.dtype, device=picture.device)
    return F.conv2d(picture, taps.view(-1, channels, factor, factor), stride=factor)


class Encoder(nn.Module):
    """E: picture [n, 3, 16h, 16w] in [0, 1] -> latent [n, latent, h, w].

    Args:
        latent: channels of the latent.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 resolution.
        blocks: residual blocks at the same resolutions.
        selective: E is told which positions are coded. The functions that draw one position reach into its
            neighbours; beside those that are left out it has to draw its own pixels without theirs.
        conditioned: E is told the quality.  What realism asks of it at low rates is error at high ones.
            Files do not depend on what it was told, and a decoder need not know.
    """

    def __init__(
        self,
        latent: int = 128,
        widths: Sequence[int] = (32, 64, 128, 192),
        blocks: Sequence[int] = (0, 2, 2, 2),
        selective: bool = False,
        conditioned: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.conditioned = conditioned
        inputs = 12  # the picture's 2x2 blocks as channels
        self.down = nn.ModuleList()
        self.stages = nn.ModuleList()
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            self.down.append(_conv(inputs, width, stride=1 if level == 0 else 2))
            self.stages.append(nn.ModuleList(ResidualBlock(width) for _ in range(count)))
            inputs = width
        self.affines = nn.ModuleList(QualityAffine(w, AFFINE_FACTOR) for w in widths if conditioned)
        self.out = _conv(inputs, latent, gain=0.1)
        self.linear = Analysis(latent, LATENT_SCALE)
        # What is left out as a second picture, beside the places where that is; nothing at first.
        self.beside = self.beside_linear = None
        if selective:
            self.beside = _conv(13, widths[0], gain=0, bias=False)
            self.beside_linear = Analysis(latent, LATENT_SCALE, blank=True)

    @property
    def margin(self) -> int:
        """Pixels beyond a window, rounded up to whole latent positions, that its latents depend on."""
        pixels = 0
        for level, count in enumerate(self.blocks):
            pixels += (2 << level) * (2 * count) + (2 << max(level - 1, 0))
        pixels += STRIDE
        return -(-pixels // STRIDE) * STRIDE

    def forward(self, x: Tensor, quality: Tensor, coded: Tensor | None = None) -> Tensor:
        """
        Args:
            x: the picture.
            quality: indices [n] in 0..255, or a map [n, h, w]. Only a ``conditioned`` encoder looks at it.
            coded: ones [n, 1, h, w] where there will be symbols, else zeros; None: ones. Only a
                ``selective`` encoder looks at it.
        """
        x = x - 0.5
        linear: Tensor = self.linear(x)
        outside = None
        if self.beside is not None and self.beside_linear is not None and coded is not None:
            left_out = F.interpolate((1 - coded).to(x.dtype), scale_factor=float(STRIDE), mode="nearest")
            linear = linear + self.beside_linear(x * left_out)
            parts = unshuffled(x * left_out, 2, 3.0), left_out[:, :, ::2, ::2]
            outside = self.beside(torch.cat(parts, dim=1))
        x = unshuffled(x, 2, 3.0)
        for level, (down, stage) in enumerate(zip(self.down, self.stages, strict=True)):
            x = down(x)
            if level == 0 and outside is not None:
                x = x + outside
            if self.conditioned:
                x = self.affines[level](x, quality)
            x = F.leaky_relu(x, SLOPE)
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
        out: Tensor = self.out(x)
        return out + linear


class LabelEncoder(nn.Module):
    """The label encoder of selective compression: what each region is, for every resolution of G.

    Shares [n, labels, 8h, 8w] of each class in 2x2 blocks of pixels -> features at 1/16, 1/8, 1/4 and 1/2 of
    the picture's resolution.  The paper hands G only the coarsest ("concatenated" there, added here, which is
    the same before a convolution); the finer ones draw the edges of synthesised regions where the map has
    them.

    Without biases: where no class is known its features are zero, so G needs no shares at all for a picture
    that is coded whole.

    Args:
        labels: channels of the shares.
        widths: channels at 1/16, 1/8, 1/4 and 1/2, those of G.
    """

    def __init__(self, labels: int, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = list(widths)[::-1]
        self.down = nn.ModuleList(
            _conv(a, b, stride=1 if level == 0 else 2, bias=False)
            for level, (a, b) in enumerate(pairwise([labels, *sizes]))
        )
        self.out = nn.ModuleList(_conv(width, width, gain=0.1, bias=False) for width in sizes)

    def forward(self, shares: Tensor) -> list[Tensor]:
        """The coarsest features first."""
        features = []
        for down, out in zip(self.down, self.out, strict=True):
            shares = F.leaky_relu(down(shares), SLOPE)
            features.append(out(shares))
        return features[::-1]


class Generator(nn.Module):
    """G: latent [n, latent, h, w] and quality [n] (or a map [n, h, w]) -> picture [n, 3, 16h, 16w], about [0,
    1] (not clipped).

    Args:
        latent: channels of the latent.
        widths: channels at 1/16, 1/8, 1/4, 1/2 and full resolution.
        blocks: residual blocks at 1/16, 1/8, 1/4 and 1/2 resolution.
        up: side of the sub-pixel convolutions.  1 leaves looking at neighbours to the residual blocks around
            them, at three quarters of the arithmetic of 3, which models without the entry have.
        noise: 0, which model files have an entry for.
        labels: channels of what says what to synthesise, see `ganic.extreme.selection.shares`; 0: none.
        taper: of the linear path, see :class:`ganic.extreme.lapped.Synthesis`.
        guided: the blocks at 1/4 and 1/2 resolution see the linear path's picture.  They need not draw anew
            what they are to correct, its ringing along edges above all.
    """

    def __init__(
        self,
        latent: int = 128,
        widths: Sequence[int] = (192, 128, 64, 32, 16),
        blocks: Sequence[int] = (4, 2, 2, 1),
        noise: int = 0,
        up: int = 3,
        labels: int = 0,
        taper: int = 0,
        guided: bool = False,
    ) -> None:
        super().__init__()
        if noise:
            raise ModelFormatError(f"generator: noise {noise}; pictures would differ from machine to machine")
        self.blocks = tuple(blocks)
        self.reach = up // 2
        self.enter = _conv(latent, widths[0], gain=0.2)
        self.stages = nn.ModuleList(Stage(w, b) for w, b in zip(widths, blocks, strict=False))
        self.up = nn.ModuleList(Upsample(a, b, up) for a, b in pairwise(widths))
        self.out = _conv(widths[-1], 3, gain=0.01)
        self.linear = Synthesis(latent, LATENT_SCALE, taper)
        self.label_encoder = LabelEncoder(labels, widths[:-1]) if labels else None
        self.guides = nn.ModuleDict()  # by level; nothing at first
        if guided:
            for level in GUIDED:
                self.guides[str(level)] = _conv(3 * (STRIDE >> level) ** 2, widths[level], gain=0, bias=False)

    @property
    def margin(self) -> int:
        """Latent positions beyond a window that its pixels depend on."""
        pixels = STRIDE
        for level, count in enumerate(self.blocks):
            seen = 1 if str(level) in self.guides else 0
            pixels += (STRIDE >> level) * (2 * count + self.reach + seen)
        return -(-(pixels + 1) // STRIDE)

    def forward(
        self,
        latent: Tensor,
        quality: Tensor,
        labels: Tensor | None = None,
    ) -> Tensor:
        """``labels``: shares [n, labels, 8h, 8w] of each class in blocks of 2x2 pixels; None where none is
        known or none needed."""
        linear: Tensor = self.linear(latent)
        x = self.enter(latent)
        regions = None
        if self.label_encoder is not None and labels is not None:
            regions = self.label_encoder(labels)
        for level, stage in enumerate(self.stages):
            if level:
                x = F.pixel_shuffle(x, 2)
            if regions is not None:
                x = x + regions[level]
            if str(level) in self.guides:
                x = self.guides[str(level)](unshuffled(linear, STRIDE >> level, GUIDE_SCALE)).add_(x)
            x = self.up[level](stage(x, quality))
        # At full resolution memory takes longer than arithmetic: the last two layers work on sub-pixels.
        out = shuffled_conv(F.leaky_relu(x, SLOPE, inplace=True), self.out)
        return F.pixel_shuffle(out, 2).float().add_(linear).add_(0.5)
