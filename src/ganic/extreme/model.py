"""The compact codec as one trainable network: encoder, gains, entropy model, generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganic.extreme.compact import LATENT_SCALE, Encoder, Generator
from ganic.extreme.conditioning import ANCHORS, QualityTable
from ganic.extreme.lapped import typical_deviations
from ganic.extreme.prior import Prior, PriorOutput
from ganic.extreme.selection import channels
from ganic.training.recipes import Table

GAIN_RANGE = (0.15, 1.1)
"""Gains at the lowest and the highest quality before training."""

GAIN_UNIT = 4.0
"""The trained parameter is the gain's logarithm divided by this: an optimiser's small steps still move it."""


class Architecture(Table):
    """Sizes of every part; a model file's ``config`` is made from it."""

    # channels of the latent; a lapped transform of colour pictures has no more than 384
    latent: Annotated[int, Field(ge=4, le=384, multiple_of=4)] = 256
    encoder_widths: tuple[int, ...] = (32, 64, 128, 192)  # channels at 1/2, 1/4, 1/8, 1/16
    encoder_blocks: tuple[int, ...] = (0, 2, 2, 2)  # residual blocks at the same resolutions
    conditioned: bool = True  # the encoder is told the quality
    generator_widths: tuple[int, ...] = (192, 128, 64, 32, 16)  # channels at 1/16, 1/8, 1/4, 1/2, 1
    generator_blocks: tuple[int, ...] = (4, 2, 2, 1)  # residual blocks at 1/16, 1/8, 1/4, 1/2
    generator_up: Literal[1, 3] = 3  # side of the sub-pixel convolutions
    classes: tuple[str, ...] = ()  # of the label maps that say what to synthesise; none: no label encoder
    taper: int = 8  # samples over which the linear path's functions rise from 0
    guided: bool = True  # the generator's last stages see the linear path's picture
    noise: Literal[0] = 0  # no v: files have to decode alike everywhere; see `selection.noise`
    hyper: int = 64  # channels of the hyper-latent
    features: int = 128  # channels of psi
    hidden: int = 160  # channels of each pass's 1x1 layers
    context: int = 96  # channels of each pass's 3x3 layer
    bit_price: Annotated[float, Field(ge=0)] = 0.04  # squared steps that a bit is worth when E picks symbols

    @property
    def label_channels(self) -> int:
        """Channels of what G's label encoder sees, see :func:`ganic.extreme.selection.shares`."""
        return channels(len(self.classes)) if self.classes else 0

    def config(self) -> dict[str, Any]:
        """Arguments of the networks that a codec builds."""
        selective = {"selective": True} if self.classes else {}
        conditioned = {"conditioned": True} if self.conditioned else {}
        classes = {"classes": list(self.classes)} if self.classes else {}
        return {
            "encoder": {
                "latent": self.latent,
                "widths": list(self.encoder_widths),
                "blocks": list(self.encoder_blocks),
            }
            | selective
            | conditioned,
            "generator": {
                "latent": self.latent,
                "widths": list(self.generator_widths),
                "blocks": list(self.generator_blocks),
                "noise": self.noise,
                "up": self.generator_up,
                "labels": self.label_channels,
                "taper": self.taper,
            }
            | ({"guided": True} if self.guided else {}),
            "hyper_encoder": {"latent": self.latent, "hidden": self.features, "hyper": self.hyper},
            "bit_price": self.bit_price,
            **classes,
        }


@dataclass(frozen=True)
class Reconstruction:
    """What the codec makes of a batch."""

    picture: Tensor
    """[n, 3, h, w] float32, about [0, 1]."""
    latent: Tensor
    """What G received [n, latent, h / 16, w / 16]."""
    prior: PriorOutput


class CompactModel(nn.Module):
    """E, q, the entropy model and G; pictures must be multiples of 64 pixels on each side in training."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        low, high = GAIN_RANGE
        config = a.config()
        self.encoder = Encoder(**config["encoder"])
        self.generator = Generator(**config["generator"])
        self.prior = Prior(a.latent, a.hyper, a.features, a.hidden, a.context, a.bit_price)
        self.gain = QualityTable(a.latent, torch.linspace(math.log(low), math.log(high), ANCHORS) / GAIN_UNIT)
        # Neighbours tell about half of what a coefficient will be.
        self.prior.expect(typical_deviations(a.latent) * LATENT_SCALE * 0.5 * math.sqrt(low * high))

    def gained(self, picture: Tensor, quality: Tensor, coded: Tensor | None = None) -> Tensor:
        """What the entropy model codes of pictures, in steps [n, latent, h / 16, w / 16] float32; arguments
        are those of `compress`."""
        latent: Tensor = self.encoder(picture, quality, coded).float()
        return latent * self._gain(quality)

    def compress(
        self, picture: Tensor, quality: Tensor, coded: Tensor | None = None
    ) -> tuple[Tensor, PriorOutput]:
        """Pictures [n, 3, h, w] in [0, 1] -> (latent that G receives, entropy model's output).

        Args:
            picture: sides multiples of 64.
            quality: indices [n] in 0..255, or a map [n, h / 16, w / 16].
            coded: heat map [n, 1, h / 16, w / 16] of zeros and ones; None: every symbol is coded.
        """
        output: PriorOutput = self.prior(self.gained(picture, quality, coded), quality, coded)
        latent = output.latent / self._gain(quality)
        return latent.contiguous(memory_format=torch.channels_last), output

    def _gain(self, quality: Tensor) -> Tensor:
        return torch.exp(GAIN_UNIT * self.gain(quality))

    def forward(self, picture: Tensor, quality: Tensor) -> Reconstruction:
        latent, output = self.compress(picture, quality)
        return Reconstruction(self.generator(latent, quality), latent, output)
