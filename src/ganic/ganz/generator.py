"""The generator of BEGAN as the GANZ paper uses it (Fig. 6), whose first layer ``h0`` is made to be replaced.

    z [n, d]  --linear, no bias-->  h0 [n, 128, 8, 8]  --blocks-->  picture [n, 3, size, size]

Each block enlarges twice (nearest neighbour) and convolves twice, each time with an ELU; before every block
but the first, h0, enlarged to the block's size, is concatenated.  A last convolution to RGB has an ELU as
well, so pictures lie above -1 and, trained on [0, 1], near that range.  No convolution has a bias.

At 128 x 128 with d = 64: 2,149,760 parameters.  Computed as drawn, a picture costs 9.65 GMAC; with what
`ganic.resample_conv` and `ganic.ganz.enlarged_conv` rearrange it is half of that, for the same function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.errors import UsageError
from ganic.ganz.direct import Synthesis
from ganic.ganz.enlarged_conv import plus_enlarged_conv
from ganic.resample_conv import upsampled_conv

WIDTH = 128
SIDE = 8
"""h0 is a picture of 8 x 8 positions at every image size."""

H0 = WIDTH * SIDE * SIDE
"""8192: what every first layer, trained, random or none, has to deliver."""

ELU_GAIN = 1.2451
"""1 / sqrt(E[ELU(x)^2]) for standard normal x: keeps second moments through a layer."""

QUIET = 0.03
"""What the convolutions contribute at first beside a direct path."""

Init = Literal["torch", "preserving"]


class Block(nn.Module):
    """Two convolutions at twice the resolution; h0, of ``skip`` channels, is concatenated first."""

    def __init__(self, inputs: int, outputs: int, skip: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs + skip, outputs, 3, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)

    def forward(self, x: Tensor, h0: Tensor) -> Tensor:
        """x [n, inputs, s, s], h0 [n, skip, 8, 8] -> [n, outputs, 2s, 2s]; without a skip, h0 is not read."""
        inputs = x.shape[1]
        y = upsampled_conv(x, self.first.weight[:, :inputs])
        if self.first.in_channels > inputs:
            y = plus_enlarged_conv(y, h0, self.first.weight[:, inputs:], y.shape[2] // h0.shape[2])
        # In place: at full size, memory is what a search waits for.
        return F.elu(self.second(F.elu(y, inplace=True)), inplace=True)


class Generator(nn.Module):
    """BEGAN's generator.

    Args:
        latent_dim: size d of the latent vector in training (64, 128, 256, 512 in the paper).
        image_size: 128, or another power of two from 16 (64 has one block less).
        width: channels; the paper has 128.
        narrowing: channels of each block where they are not ``width`` in all, as the paper's are: most of the
            arithmetic is where pictures are large.
        init: "torch" is torch's default, as the authors trained; "preserving" keeps the variance of
            activations from layer to layer (the default loses a factor of three at each), which converges
            much faster.
        direct: whether a linear path (`ganic.ganz.direct`) is added to the last convolution's output, which
            then starts small.  Not the paper's.
        lapped: whether the blocks of that path overlap.

    Raises UsageError for an impossible size.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        image_size: int = 128,
        width: int = WIDTH,
        init: Init = "torch",
        *,
        narrowing: Sequence[int] = (),
        direct: bool = False,
        lapped: bool = False,
    ) -> None:
        super().__init__()
        steps = math.log2(image_size / SIDE) if image_size > SIDE else 0.0
        widths = tuple(narrowing) or (width,) * int(steps)
        if steps < 1 or len(widths) != steps or min((latent_dim, width, *widths)) < 1:
            raise UsageError(
                f"generator: latent size {latent_dim}, width {width}, narrowing {list(narrowing)}, image "
                f"size {image_size}; sizes are positive, the image size is a power of two from 16, and "
                "narrowing says nothing or one width for each doubling from 8"
            )
        self.latent_dim, self.image_size, self.width = latent_dim, image_size, width
        self.linear = nn.Linear(latent_dim, width * SIDE * SIDE, bias=False)
        self.blocks = nn.ModuleList(
            Block(inputs, outputs, skip=width if i else 0)
            for i, (inputs, outputs) in enumerate(pairwise((width, *widths)))
        )
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1, bias=False)
        if init == "preserving":
            preserve_variance(self)
        self.direct = Synthesis(width, image_size, SIDE, lapped=lapped) if direct else None
        if direct:
            with torch.no_grad():
                self.last.weight.mul_(QUIET)

    @property
    def h0_size(self) -> int:
        """The length of h0 as a row: 8192 in the paper."""
        return self.width * SIDE * SIDE

    def forward(self, z: Tensor) -> Tensor:
        """Latents [n, latent_dim] -> pictures [n, 3, size, size]."""
        h0: Tensor = self.linear(z)
        return self.synthesise(h0)

    def synthesise(self, h0: Tensor) -> Tensor:
        """h0 [n, h0_size], from whichever first layer -> pictures [n, 3, size, size], near [0, 1]."""
        return self.tail(self.head(h0, 0), h0, 0)

    def head(self, h0: Tensor, cut: int) -> Tensor:
        """The activation after ``cut`` blocks [n, channels of the last of them, 8 * 2**cut, 8 * 2**cut]."""
        base = h0.view(-1, self.width, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
        x = base
        for block in self.blocks[:cut]:
            x = block(x, base)
        return x

    def tail(self, x: Tensor, h0: Tensor, cut: int) -> Tensor:
        """The picture, from the activation after ``cut`` blocks and from h0 [n, h0_size] for the skips."""
        base = h0.view(-1, self.width, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
        for block in self.blocks[cut:]:
            x = block(x, base)
        picture = F.elu(self.last(x))
        return picture if self.direct is None else picture.float() + self.direct(base) + 0.5


def preserve_variance(module: nn.Module) -> None:
    """Normal weights that keep second moments through ELU layers; the last layer is calmer."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.weight[0].numel()
            gain = 0.5 if name.split(".")[-1] == "last" else ELU_GAIN
            nn.init.normal_(layer.weight, std=gain / math.sqrt(fan_in))
        elif isinstance(layer, nn.Linear):
            # Latents are uniform on [-1, 1] in training: variance 1/3.
            nn.init.normal_(layer.weight, std=math.sqrt(3.0 / layer.in_features))
