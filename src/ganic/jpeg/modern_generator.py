"""A stronger generator: a style network (StyleGAN2, Karras et al. 2020) that knows the class and the JPEG
settings.

Where it differs from StyleGAN2: modulation scales a layer's inputs and demodulation its outputs, instead of
weights for each picture (the same function, with one ordinary convolution for the whole batch); no noise
inputs, so that a picture is a function of its latent; no style mixing; the first 4x4 activations are a linear
function of the style, where StyleGAN2 has a constant.

Beside the trunk's picture it emits planes of block features. A locally connected 8x8 layer turns them into
corrections of the amplitudes, so the network can choose each coefficient for what it will look like after
quantisation. Those layers are zero at first: the head is then exactly a JPEG encoder of the trunk's picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganic.errors import UsageError
from ganic.jpeg.coefficients import Coefficients, table_tensors
from ganic.jpeg.equalised import EqualConv, EqualLinear, leaky
from ganic.jpeg.head import Head, quantise, subsample
from ganic.jpeg.noise import draws
from ganic.jpeg.sampling import Subsampling
from ganic.jpeg.settings import FEATURES
from ganic.jpeg.synthesis import Generator, Noise

LATENT = 128
STYLE = 256
MAPPING_LR = 0.01

CORRECTION = 16.0
"""Amplitude per unit of a correction layer's output: about a step of the tables at quality 50."""

FIRST_SIDE = 4

CENTRE_OF = 1024
"""Latents whose styles' mean is a class's centre, for truncation."""


class Mapping(nn.Module):
    """Latent and class -> style [b, STYLE] (StyleGAN2-ADA's conditional mapping network, two layers)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embedding = EqualLinear(classes, LATENT) if classes else None
        self.layer1 = EqualLinear(LATENT * (2 if classes else 1), STYLE, lr_scale=MAPPING_LR)
        self.layer2 = EqualLinear(STYLE, STYLE, lr_scale=MAPPING_LR)
        self.classes = classes

    def forward(self, noise: Noise) -> Tensor:
        x = _normalised(noise.latent)
        if self.embedding is not None:
            label = F.one_hot(noise.label, self.classes).to(x.dtype)
            x = torch.cat([x, _normalised(self.embedding(label))], dim=1)
        return leaky(self.layer2(leaky(self.layer1(x))))


def _normalised(x: Tensor) -> Tensor:
    """Each vector with mean square 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class StyledConv(nn.Module):
    """Modulated convolution: inputs scaled by the style, outputs, if ``demodulate``, back to variance 1."""

    def __init__(self, inputs: int, outputs: int, side: int, *, demodulate: bool = True) -> None:
        super().__init__()
        self.style = EqualLinear(STYLE, inputs, bias=1.0)
        self.conv = EqualConv(inputs, outputs, side, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.style(style).float()
        y = self.conv(x * scale[:, :, None, None].to(x.dtype))
        if self.demodulate:
            with torch.autocast(x.device.type, enabled=False):
                energy = (self.conv.weight * self.conv.scale).square().sum(dim=(2, 3))
                demodulation = torch.rsqrt(F.linear(scale.square(), energy) + 1e-8)
            y = y * demodulation[:, :, None, None].to(y.dtype)
        return y + self.bias[:, None, None].to(y.dtype)  # type: ignore[no-any-return]


class Block(nn.Module):
    """One resolution: upsampling (not in the first), styled convolutions, a skip connection to the planes."""

    def __init__(self, inputs: int, outputs: int, planes: int, *, first: bool) -> None:
        super().__init__()
        self.conv1 = None if first else StyledConv(inputs, outputs, 3)
        self.conv2 = StyledConv(outputs, outputs, 3)
        self.to_planes = StyledConv(outputs, planes, 1, demodulate=False)

    def forward(self, x: Tensor, planes: Tensor | None, style: Tensor) -> tuple[Tensor, Tensor]:
        if self.conv1 is not None:
            x = _doubled(leaky(self.conv1(x, style)))
        x = leaky(self.conv2(x, style))
        new = self.to_planes(x, style).float()
        return x, new if planes is None else _doubled(planes) + new


def _doubled(x: Tensor) -> Tensor:
    """Twice the sides, through the filter 1 3 3 1."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Correction(nn.Module):
    """Block features [b, f, h, w] -> corrections of one plane's amplitudes [b, 64, h / 8 / v, w / 8 / h]."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.loc = EqualConv(features * 64, 64, 1, zero=True)

    def forward(self, features: Tensor, vertical: int, horizontal: int) -> Tensor:
        blocks = F.pixel_unshuffle(subsample(features, vertical, horizontal), 8)
        return self.loc(blocks) * CORRECTION  # type: ignore[no-any-return]


class ModernGenerator(Generator):
    """Latent, class and settings -> picture and block features -> coefficients.

    ``widths``: channels at sides 4, 8, ..., size. ``features``: block features, planes 3 onwards. The
    settings enter at the last two sides only: what is in the picture does not depend on them, how it is drawn
    does. The head's own weights stay exact unless they are trained as well.
    """

    _centres: Tensor | None
    has_trunk = True
    latent = LATENT

    def __init__(self, widths: Sequence[int], features: int, classes: int) -> None:
        super().__init__()
        if not widths or min(widths) < 1 or features < 0 or classes < 0 or classes == 1:
            raise UsageError(
                f"generator: widths {list(widths)}, {features} features, {classes} classes; see ModernTable"
            )
        self.size = FIRST_SIDE << (len(widths) - 1)
        if self.size < 16:
            raise UsageError(f"widths: {len(widths)} of them end at {self.size} pixels; 16 are the least")
        self.classes = classes
        self.features = features
        self.mapping = Mapping(classes)
        self.settings = EqualLinear(FEATURES, STYLE, zero=True)
        self.start = EqualLinear(STYLE, widths[0] * FIRST_SIDE**2)
        inputs = (widths[0], *widths[:-1])
        self.blocks = nn.ModuleList(
            Block(i, o, 3 + features, first=n == 0)
            for n, (i, o) in enumerate(zip(inputs, widths, strict=True))
        )
        self.head = Head()
        self.corrections = nn.ModuleList(Correction(features) for _ in range(3 if features else 0))
        self.register_buffer("_centres", None, persistent=False)

    @torch.no_grad()
    def _centre_styles(self) -> None:
        """Of the same latents always, and of the weights as they are now."""
        device = self.start.weight.device
        latent = torch.from_numpy(draws(0, 0, CENTRE_OF, self.latent, 0).latent).to(device)
        styles = [
            self.mapping(Noise(latent, torch.full((CENTRE_OF,), label, device=device)))
            for label in range(max(self.classes, 1))
        ]
        self._centres = torch.stack(styles).mean(dim=1)

    def _style(self, noise: Noise) -> Tensor:
        style: Tensor = self.mapping(noise)
        if self._centres is None:
            return style
        return self._centres[noise.label].lerp(style.float(), self.truncation)

    def paint(self, noise: Noise, features: Tensor) -> Tensor:
        style = self._style(noise)
        late = style + self.settings(features)
        x = self.start(style).view(len(style), -1, FIRST_SIDE, FIRST_SIDE)
        x = x.contiguous(memory_format=torch.channels_last)
        planes: Tensor | None = None
        for number, block in enumerate(self.blocks):
            x, planes = block(x, planes, late if number >= len(self.blocks) - 2 else style)
        assert planes is not None
        return planes

    def code(self, planes: Tensor, quality: Tensor, subsampling: Subsampling) -> Coefficients:
        amplitudes = self.head.amplitudes(planes[:, :3], subsampling)
        if self.features:
            amplitudes = self._corrected(amplitudes, planes[:, 3:], subsampling)
        return quantise(amplitudes, table_tensors(quality), subsampling)

    def _corrected(
        self, amplitudes: tuple[Tensor, Tensor, Tensor], features: Tensor, subsampling: Subsampling
    ) -> tuple[Tensor, Tensor, Tensor]:
        chroma = subsampling.vertical, subsampling.horizontal
        with torch.autocast(features.device.type, enabled=False):
            y, blue, red = self.corrections
            return (
                amplitudes[0] + y(features.float(), 1, 1),
                amplitudes[1] + blue(features.float(), *chroma),
                amplitudes[2] + red(features.float(), *chroma),
            )
