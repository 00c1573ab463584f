"""``arch = "agustsson2019"``, selective compression (SC): what is kept is coded, the rest is synthesised.

The networks as published (Agustsson et al. 2019), in the notation of :mod:`ganic.extreme.published`:

    label map s   c7s1-60, d120, d240, d480, d960
    picture x     c7s1-60, d120, d240, d480, c3s1-C, q, (heat map), c3s1-480, d960
    generator     G of GC, which sees the outputs of both beside each other: 2 x 960 channels

What stands before q runs when a picture is encoded, everything else when it is decoded.

w-hat has 1/8 of the picture's size in each direction, unlike GC's 1/16.  The heat map has that size too: it
is binary, and w-hat is multiplied by it.  Where it is 0 the symbols are gone, so they need not be stored: the
bound of Eq. (3) counts the others only,

    H(w-hat) <= C log2(L) (positions where the heat map is 1).

There G has nothing but the label map, from which it synthesises.  The label map and the heat map are stored
beside the symbols, at a cost that the bound leaves out.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ganic.errors import UsageError
from ganic.extreme.discriminator import LabelMaps
from ganic.extreme.published import (
    BLOCKS,
    WIDTH,
    Encoder,
    Generator,
    Reconstruction,
    convolution,
    descent,
    normalised,
)
from ganic.extreme.quantiser import Quantised, Quantiser, bits_bound

STRIDE = 8
"""Picture pixels per position of w-hat and of the heat map, in each direction."""


class LabelEncoder(nn.Module):
    """F: label maps [n, 16h, 16w] -> features [n, 16 width, h, w].

    Labels are one-hot; any beyond 0..classes-1 ("void") is all zeros.

    Args:
        classes: how many labels have a meaning.
        width: channels at full resolution.
    """

    def __init__(self, classes: int, width: int = WIDTH) -> None:
        super().__init__()
        self.maps = LabelMaps(classes)
        self.layers = nn.Sequential(*descent(classes, width, 4))

    def forward(self, labels: Tensor) -> Tensor:
        maps = self.maps(labels).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.layers(maps)
        return features


class SelectiveCodec(nn.Module):
    """E, q, F and G of SC.

    Args:
        channels: C, the latent's channels.
        classes: of the label maps.
        levels, sigma, learned_centres: the quantiser's.
        width: channels at full resolution.
        blocks: residual blocks of G.
        noise: channels of v, standard normal, which G sees beside the features.

    Raises UsageError as the quantiser does.
    """

    def __init__(
        self,
        channels: int,
        *,
        classes: int,
        levels: int = 5,
        sigma: float = 1.0,
        learned_centres: bool = False,
        width: int = WIDTH,
        blocks: int = BLOCKS,
        noise: int = 0,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.encoder = Encoder(channels, width, halvings=3)
        self.quantiser = Quantiser(levels, sigma=sigma, learned=learned_centres)
        self.symbol_features = nn.Sequential(
            normalised(convolution(channels, width << 3, 3), width << 3),
            normalised(convolution(width << 3, width << 4, 3, stride=2), width << 4),
        )
        self.label_encoder = LabelEncoder(classes, width)
        self.generator = Generator(2 * (width << 4), width, blocks, noise)

    @property
    def bpp_bound(self) -> float:
        """C log2(L) / 64: the bound on the rate where everything is preserved, in bits per pixel.

        Times the heat map's mean it is the bound of a picture (Eq. 3 over the preserved symbols).
        """
        return bits_bound(self.channels, self.quantiser.levels) / STRIDE**2

    def forward(self, picture: Tensor, labels: Tensor, heat: Tensor) -> Reconstruction:
        """x-hat, and w-hat with zeros outside the preserved region.

        Args:
            picture: [n, 3, h, w] in [0, 1], h and w multiples of 16 from 32 on.
            labels: integers [n, h, w].
            heat: [n, 1, h / 8, w / 8]: ones are preserved, zeros synthesised.

        Raises UsageError where the sizes do not fit.
        """
        quantised: Quantised = self.quantiser(self.encoder(picture))
        if heat.shape != (len(picture), 1, *quantised.values.shape[2:]):
            raise UsageError(
                f"heat map: {_size(heat)}; it needs 1 channel and {_size(quantised.values)} positions, "
                f"one for {STRIDE}x{STRIDE} pixels"
            )
        preserved = replace(quantised, values=quantised.values * heat)
        return Reconstruction(self.generate(preserved.values, labels), preserved)

    def generate(self, values: Tensor, labels: Tensor, noise: Tensor | None = None) -> Tensor:
        """What decoding computes: [n, 3, h, w], float32 in [0, 1].

        Args:
            values: w-hat times the heat map [n, C, h / 8, w / 8].
            labels: integers [n, h, w].
            noise: v [n, noise, h / 16, w / 16] in place of a random one.

        Raises UsageError where the sizes do not fit.
        """
        height, width = (STRIDE * side for side in values.shape[2:])
        if labels.shape != (len(values), height, width):
            raise UsageError(
                f"label map: {_size(labels)}; the picture has {width}x{height} pixels, the map needs as many"
            )
        kept = self.symbol_features(values.contiguous(memory_format=torch.channels_last))
        picture: Tensor = self.generator(torch.cat([kept, self.label_encoder(labels)], dim=1), noise)
        return picture


def _size(tensor: Tensor) -> str:
    return f"{tensor.shape[-1]}x{tensor.shape[-2]}"


__all__ = ["STRIDE", "LabelEncoder", "SelectiveCodec"]
