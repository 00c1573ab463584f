"""The objective of generative compression for the compact networks.

Agustsson et al. 2019, Eq. (4) in both papers' numbering:

    min_{E, G}  L_GAN  +  lambda E[d(x, G(z))]  +  beta E[H(w-hat)]

in three stages, each of which may be the last.  *distortion*: E, G and the entropy model minimise
``H + lambda(q) * 255^2 * d``, in bits per pixel, for a quality index q drawn anew for every picture: one
model for all rates.  *joint*: the same with L_GAN, as the papers train.  *adversarial*: E and the entropy
model stay as they are, so files do not change; G plays against a multi-scale discriminator.

d is the same weighted sum in all, of the terms of :mod:`ganic.extreme.distortion`.  In the first stage with
MSE alone it is the papers' learned MSE baseline; in the last without L_GAN it makes that baseline's generator
for given files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganic.extreme.compact import LATENT_SCALE
from ganic.extreme.conditioning import QUALITIES
from ganic.extreme.discriminator import Discriminator, MultiScaleDiscriminator
from ganic.extreme.distortion import Distortion, DistortionWeights, Weight, regularity, unevenness
from ganic.extreme.game import Seen, discriminator_turn, generator_terms
from ganic.extreme.model import Architecture, CompactModel
from ganic.extreme.projected_discriminator import ProjectedDiscriminator
from ganic.training.objective import Batch


class CompactSettings(DistortionWeights):
    """The ``[objective]`` table of a recipe with ``arch = "compact"``."""

    arch: Literal["compact"] = "compact"
    stage: Literal["distortion", "joint", "adversarial"] = "distortion"
    architecture: Architecture = Architecture()
    lambda_low: Weight = 3e-5  # bits per pixel per squared grey level, at quality index 0
    lambda_high: Weight = 6e-3  # the same at quality index 255; log-linear between
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5  # see GenerativeCompression.importance
    lattice: Weight = 0.0  # of errors that cling to a lattice of 16 pixels, which L_GAN alone leaves
    screen: Weight = 0.0  # of fine regular patterns in them, which look like texture to D
    adversarial: Weight = 0.05  # of L_GAN, against d as it is weighted above
    matching: Weight = 0.2  # of discriminator feature matching
    discriminator: Literal["patches", "projected"] = "patches"  # from pixels, or on pretrained features
    discriminator_width: Annotated[int, Field(ge=1)] = 64  # channels of the projected one
    discriminator_pixels: Annotated[int, Field(ge=0)] = 0  # channels of its head on pixels; 0: none
    discriminator_widths: tuple[int, ...] = (32, 64, 128, 192)
    discriminator_scales: Annotated[int, Field(ge=1)] = 2
    discriminator_norm: Literal["instance", "spectral", "none"] = "spectral"
    discriminator_latent: Annotated[int, Field(ge=0)] = 12  # channels of the latent that D sees; 0: none

    @property
    def plays(self) -> bool:
        """Whether there is a discriminator."""
        return self.stage != "distortion" and (self.adversarial > 0 or self.matching > 0)


class GenerativeCompression:
    """The training objective; see the module's docstring.  Implements
    ``ganic.training.objective.Objective``."""

    def __init__(self, settings: CompactSettings) -> None:
        self.settings = settings
        self.codec = CompactModel(settings.architecture)
        self.networks = nn.ModuleDict({"codec": self.codec})
        self.ema_of: Sequence[str] = ("codec",)
        self.distortion = Distortion(settings)
        self._seen: Seen | None = None
        self._latent: Tensor | None = None
        if settings.plays:
            self.discriminator: Discriminator
            if settings.discriminator == "projected":
                self.discriminator = ProjectedDiscriminator(
                    settings.discriminator_width,
                    condition=settings.discriminator_latent,
                    pixels=settings.discriminator_pixels,
                    eyes=self.distortion.eyes,
                )
            else:
                self.discriminator = MultiScaleDiscriminator(
                    widths=settings.discriminator_widths,
                    scales=settings.discriminator_scales,
                    normalisation=settings.discriminator_norm,
                    condition=settings.discriminator_latent,
                )
            self.networks["discriminator"] = self.discriminator
            self.glance = None
            if settings.discriminator_latent:
                # D judges a picture as the picture of its code (HiFiC, arXiv:2006.09965, section 3.2).
                channels = settings.architecture.latent, settings.discriminator_latent
                self.glance = nn.Conv2d(*channels, 3, padding=1)
                self.networks["glance"] = self.glance

    def players(self, step: int) -> Sequence[str]:
        learner = "generator" if self.settings.stage == "adversarial" else "codec"
        return (learner, "discriminator") if self.settings.plays else (learner,)

    def parameters(self, player: str) -> Sequence[nn.Parameter]:
        if player == "codec":
            return list(self.codec.parameters())
        if player == "generator":
            return list(self.codec.generator.parameters())
        modules = [self.discriminator] if self.glance is None else [self.discriminator, self.glance]
        return [parameter for module in modules for parameter in module.parameters()]

    def fresh_batch(self, player: str) -> bool:
        return False

    def loss(self, player: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        if player == "codec":
            return self._codec_turn(batch["image"])
        if player == "generator":
            return self._generator_turn(batch["image"])
        return self._discriminator_turn()

    def after_step(self, step: int, stats: Mapping[str, float]) -> None:
        self._seen = self._latent = None
        self.distortion.eyes.redraw()

    @torch.no_grad()
    def samples(self, batch: Batch, step: int) -> Tensor:
        """Rows of three: the original, and its reconstructions at two thirds and one third of the quality
        scale."""
        pictures = batch["image"][:4]
        columns = [pictures]
        for quality in (2 * QUALITIES // 3, QUALITIES // 3):
            index = torch.full((len(pictures),), float(quality), device=pictures.device)
            columns.append(self.codec(pictures, index).picture.clamp(0, 1))
        return torch.stack(columns, dim=1).flatten(0, 1)

    def importance(self, quality: Tensor) -> Tensor:
        """How much a picture coded at this quality counts: (lambda(q) / lambda(middle)) ** -balance.

        Rate and distortion times lambda are both several times larger at high qualities than at low ones,
        whose pictures would hardly be heard: the networks are shared.
        """
        settings = self.settings
        middle = math.sqrt(settings.lambda_low * settings.lambda_high)
        ratio = trade_off(quality, settings.lambda_low, settings.lambda_high) / middle
        return ratio.pow(-settings.balance)

    def _codec_turn(self, x: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """H + lambda * 255^2 * d, with d in units of the MSE, and in the joint stage L_GAN."""
        quality = random_quality(x)
        out = self.codec(x, quality)  # as a whole: `compile` compiles its call
        bpp = out.prior.bits / (x.shape[2] * x.shape[3])
        y = out.picture.float()
        weight = self.importance(quality)
        factor = weight * trade_off(quality, self.settings.lambda_low, self.settings.lambda_high) * 255**2
        terms = {
            name: (factor[: len(d)] * d).mean() / self.settings.mse
            for name, d in self.distortion(x, y).items()
        }
        psnr = -10 * torch.log10((y.detach() - x).square().mean((1, 2, 3)))
        terms["rate"] = (weight * bpp).mean()
        terms |= self._evenness(x, y) | self._game(x, y, out.latent)
        return torch.stack(list(terms.values())).sum(), {
            "bpp": bpp.mean(),
            "psnr": psnr.mean(),
            **terms,
        }

    def _generator_turn(self, x: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """L_GAN + E[d]; the rate is fixed."""
        quality = random_quality(x)
        with torch.no_grad():
            latent, prior = self.codec.compress(x, quality)
        y = self.codec.generator(latent, quality).float()
        terms = {name: d.mean() for name, d in self.distortion(x, y).items()}
        terms |= self._evenness(x, y) | self._game(x, y, latent)
        stats = {"bpp": (prior.bits / (x.shape[2] * x.shape[3])).mean(), **terms}
        return torch.stack(list(terms.values())).sum(), stats

    def _evenness(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        settings, terms = self.settings, {}
        if settings.lattice:
            terms["lattice"] = settings.lattice * unevenness(x, y)
        if settings.screen:
            terms["screen"] = settings.screen * regularity(x, y)
        return terms

    def _game(self, x: Tensor, y: Tensor, latent: Tensor) -> dict[str, Tensor]:
        """L_GAN for the pictures ``y`` of G, which D's turn will see too."""
        settings = self.settings
        if not settings.plays:
            return {}
        self._latent = latent.detach()
        adversarial, matching, self._seen = generator_terms(self.discriminator, x, y, self._glance())
        return {"adversarial": settings.adversarial * adversarial, "matching": settings.matching * matching}

    def _discriminator_turn(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        assert self._seen is not None
        return discriminator_turn(self.discriminator, self._seen, self._glance())

    def _glance(self) -> Tensor | None:
        """What D sees of the latent of the generator's last turn."""
        if self.glance is None:
            return None
        assert self._latent is not None
        seen: Tensor = self.glance(self._latent / LATENT_SCALE)
        return seen


def random_quality(x: Tensor) -> Tensor:
    """A quality index for every picture of a batch, uniform [n]."""
    return torch.rand(len(x), device=x.device) * (QUALITIES - 1)


def trade_off(quality: Tensor, low: float, high: float) -> Tensor:
    """lambda(q) in bits per pixel per squared grey level: log-linear from ``low`` to ``high``."""
    return low * torch.exp(quality / (QUALITIES - 1) * math.log(high / low))
