"""``arch = "agustsson2019"``: the networks of GC as they were published.

Agustsson, Tschannen, Mentzer, Timofte, Van Gool, "Generative Adversarial Networks for Extreme Learned Image
Compression" (ICCV 2019, arXiv:1804.02958), in the notation of pix2pixHD (arXiv:1711.11585):

    encoder    c7s1-60, d120, d240, d480, d960, c3s1-C, q
    generator  c3s1-960, R960 x 9, u480, u240, u120, u60, c7s1-3

    c7s1-k  7x7 convolution, InstanceNorm, ReLU (c3s1-k: 3x3)
    dk      3x3 convolution with stride 2, InstanceNorm, ReLU
    Rk      residual block of two 3x3 convolutions with InstanceNorm
    uk      3x3 transposed convolution with stride 2, InstanceNorm, ReLU

The last layer of each has no normalisation: the encoder's goes to the quantiser as it is, the generator's
through tanh.  Convolutions pad by reflection; transposed ones cannot, and pad with zeros.

For C = 8 the encoder has 5.6 M parameters and costs 74 kMAC per pixel, the generator 154.9 M and 657.
InstanceNorm looks at the whole picture: tiles would disagree, so these networks code pictures whole.

Selective compression (SC) has two encoders more; they are in :mod:`ganic.extreme.published_selective`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ganic.errors import UsageError
from ganic.extreme.quantiser import Quantised, Quantiser, bits_bound

STRIDE = 16
"""Picture pixels per latent position, in each direction."""

SMALLEST = 2 * STRIDE
"""Reflection and InstanceNorm need at least 2 latent positions in each direction."""

WIDTH = 60
"""Channels at full resolution; twice as many at each lower one."""

BLOCKS = 9
"""Residual blocks of the generator."""


def _initialised(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """Weights N(0, 0.02), biases 0: pix2pixHD's."""
    nn.init.normal_(conv.weight, 0.0, 0.02)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Module:
    """A convolution that pads by reflection: what a network ends in."""
    conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, padding_mode="reflect")
    return _initialised(conv)


def _up(inputs: int, outputs: int) -> nn.Module:
    return _initialised(nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1))


def normalised(conv: nn.Module, channels: int) -> nn.Sequential:
    """The convolution, InstanceNorm of its ``channels``, ReLU: c7s1-k, c3s1-k, dk, uk."""
    return nn.Sequential(conv, nn.InstanceNorm2d(channels), nn.ReLU(inplace=True))


def descent(inputs: int, width: int, halvings: int) -> list[nn.Module]:
    """c7s1-width, d(2 width), d(4 width), ...: how every encoder begins."""
    widths = [width << level for level in range(halvings + 1)]
    first = normalised(convolution(inputs, width, 7), width)
    return [first, *(normalised(convolution(a, b, 3, stride=2), b) for a, b in pairwise(widths))]


class ResidualBlock(nn.Module):
    """Rk: ``x + norm(conv(relu(norm(conv(x)))))``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = normalised(convolution(channels, channels, 3), channels)
        self.second = nn.Sequential(convolution(channels, channels, 3), nn.InstanceNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.first(x))
        return out


class Encoder(nn.Module):
    """E: pictures [n, 3, 16h, 16w] in [0, 1] -> w [n, channels, h, w], unbounded; h and w at least 2.

    Args:
        channels: C, the latent's channels.
        width: channels at full resolution.
        halvings: layers dk: 4 in GC; 3 in SC, whose w is [n, channels, 2h, 2w].
    """

    def __init__(self, channels: int, width: int = WIDTH, halvings: int = 4) -> None:
        super().__init__()
        layers = descent(3, width, halvings)
        self.layers = nn.Sequential(*layers, convolution(width << halvings, channels, 3))

    def forward(self, picture: Tensor) -> Tensor:
        """Raises UsageError for other sizes."""
        height, width = picture.shape[-2:]
        if height % STRIDE or width % STRIDE or min(height, width) < SMALLEST:
            raise UsageError(
                f"picture: {width}x{height}; these networks take multiples of {STRIDE} from {SMALLEST} on"
            )
        w: Tensor = self.layers(picture * 2 - 1)
        return w


class Generator(nn.Module):
    """G: w-hat [n, channels, h, w] -> pictures [n, 3, 16h, 16w], float32 in [0, 1].

    Args:
        channels: C, the latent's channels.
        width: channels at full resolution.
        blocks: residual blocks.
        noise: channels of v, standard normal, concatenated to w-hat: z = [w-hat, v].
    """

    def __init__(self, channels: int, width: int = WIDTH, blocks: int = BLOCKS, noise: int = 0) -> None:
        super().__init__()
        self.noise = noise
        widest = width << 4
        layers = [normalised(convolution(channels + noise, widest, 3), widest)]
        body = [ResidualBlock(widest) for _ in range(blocks)]
        up = [normalised(_up(width << (i + 1), width << i), width << i) for i in (3, 2, 1, 0)]
        self.layers = nn.Sequential(*layers, *body, *up, convolution(width, 3, 7))

    def forward(self, w_hat: Tensor, noise: Tensor | None = None) -> Tensor:
        """``noise``: v [n, noise, h, w] in place of a random one."""
        if self.noise:
            if noise is None:
                noise = torch.randn(
                    len(w_hat), self.noise, *w_hat.shape[2:], device=w_hat.device, dtype=w_hat.dtype
                )
            w_hat = torch.cat([w_hat, noise], dim=1)
        out: Tensor = self.layers(w_hat)
        return (torch.tanh(out.float()) + 1) / 2


@dataclass(frozen=True)
class Reconstruction:
    """What the codec makes of a batch."""

    picture: Tensor
    """x-hat = G([q(E(x)), v]) [n, 3, h, w], float32 in [0, 1]."""
    quantised: Quantised
    """w-hat = q(E(x)); in SC its values are 0 outside the preserved region."""


class PublishedCodec(nn.Module):
    """E, q and G.  Arguments as theirs; raises UsageError as they do."""

    def __init__(
        self,
        channels: int,
        *,
        levels: int = 5,
        sigma: float = 1.0,
        learned_centres: bool = False,
        width: int = WIDTH,
        blocks: int = BLOCKS,
        noise: int = 0,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.encoder = Encoder(channels, width)
        self.quantiser = Quantiser(levels, sigma=sigma, learned=learned_centres)
        self.generator = Generator(channels, width, blocks, noise)

    @property
    def bpp_bound(self) -> float:
        """C log2(L) / 256, the bound on the rate in bits per pixel."""
        return bits_bound(self.channels, self.quantiser.levels) / STRIDE**2

    def forward(self, picture: Tensor) -> Reconstruction:
        """Pictures [n, 3, h, w] in [0, 1], h and w multiples of 16 from 32 on."""
        quantised: Quantised = self.quantiser(self.encoder(picture))
        values = quantised.values.contiguous(memory_format=torch.channels_last)
        return Reconstruction(self.generator(values), quantised)


__all__ = [
    "Encoder",
    "Generator",
    "PublishedCodec",
    "Reconstruction",
    "convolution",
    "descent",
    "normalised",
]
