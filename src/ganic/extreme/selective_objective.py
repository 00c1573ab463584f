"""The objective of selective compression (SC) and of GC (D+) for the compact networks.

Eq. (4) of the GC papers once more,

    min_{E, G}  L_GAN  +  lambda E[d(x, G(z))]  +  beta E[H(w-hat)],

trained in one stage that starts from a GC model (the recipe's ``init``), with three changes (sections 3.3 and
4.3 of arXiv:1804.02958):

- a heat map at the latent's resolution says which symbols exist (:mod:`ganic.extreme.heat_maps`): only those
  cost bits, and d counts only there;
- G sees the label map, and noise v, so that it knows what to synthesise elsewhere
  (:mod:`ganic.extreme.selection`);
- D sees the label map beside every picture.  With ``selection = "none"`` this alone remains: GC (D+), whose
  files and decoder are those of GC.

Beyond the papers, ``guide`` lets perceptual distance and texture statistics count in synthesised regions too:
with little training they keep the synthesis near the scene where L_GAN alone would need far longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.errors import DataError
from ganic.extreme.discriminator import LabelMaps, MultiScaleDiscriminator
from ganic.extreme.distortion import Distortion, DistortionWeights, Weight
from ganic.extreme.game import Seen, discriminator_turn, generator_terms
from ganic.extreme.heat_maps import random_box, random_instances
from ganic.extreme.model import Architecture, CompactModel
from ganic.extreme.objective import Price, random_quality, trade_off
from ganic.extreme.selection import shares
from ganic.extreme.tiling import STRIDE
from ganic.training.objective import Batch

Share = Annotated[float, Field(ge=0, le=1)]


class SelectiveSettings(DistortionWeights):
    """The ``[objective]`` table of a recipe with ``arch = "compact-selective"``."""

    arch: Literal["compact-selective"] = "compact-selective"
    architecture: Architecture = Architecture()
    classes: tuple[str, ...]  # of the label maps, in the order of their numbers
    selection: Literal["none", "instances", "boxes", "both"] = "both"  # RI, RB or either; none: GC (D+)
    whole: Share = 0.25  # of the pictures: everything preserved, and no labels for G
    preserved: Share = 0.25  # RI: this share of the instances
    look_again: Share = 0.0  # of the batches: E sees G's own picture where nothing is coded, as in the codec
    lambda_low: Price = 1e-4  # bits per pixel per squared grey level, at quality index 0
    lambda_high: Price = 1.5e-2  # the same at quality index 255; log-linear between
    guide: Weight = 0.1  # of features in synthesised regions, beside terms of d that weigh lambda / mse
    conditional: bool = True  # D sees labels; without, and without selection, this is plain GC
    adversarial: Weight = 0.1  # of L_GAN
    matching: Weight = 1.0  # of D's feature matching
    discriminator_widths: tuple[int, ...] = (32, 64, 128, 192)
    discriminator_scales: Annotated[int, Field(ge=1)] = 2
    discriminator_norm: Literal["instance", "spectral", "none"] = "spectral"

    @property
    def codec(self) -> Architecture:
        """Of the codec: where everything is coded G sees no labels, and files and decoder are those of GC."""
        classes = () if self.selection == "none" else self.classes
        return self.architecture.model_copy(update={"classes": classes})


class SelectiveCompression:
    """The training objective; see the module's docstring.  Implements
    ``ganic.training.objective.Objective``.

    Raises DataError where batches lack label maps.
    """

    def __init__(self, settings: SelectiveSettings) -> None:
        self.settings = settings
        self.codec = CompactModel(settings.codec)
        self.labels = LabelMaps(len(settings.classes))
        self.discriminator = MultiScaleDiscriminator(
            settings.discriminator_widths,
            settings.discriminator_scales,
            normalisation=settings.discriminator_norm,
            condition=self.labels.channels if settings.conditional else 0,
        )
        self.networks = nn.ModuleDict({"codec": self.codec, "discriminator": self.discriminator})
        self.ema_of: Sequence[str] = ("codec",)
        self.distortion = Distortion(settings)
        self._seen: Seen | None = None

    def players(self, step: int) -> Sequence[str]:
        return ("codec", "discriminator")

    def parameters(self, player: str) -> Sequence[nn.Parameter]:
        return list((self.codec if player == "codec" else self.discriminator).parameters())

    def fresh_batch(self, player: str) -> bool:
        return False

    def loss(self, player: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        if "map" not in batch:
            raise DataError("data: no label maps; name their folders in data.maps")
        if player == "discriminator":
            return self._discriminator_turn(batch)
        self.distortion.eyes.redraw()
        return self._codec_turn(batch)

    def after_step(self, step: int, stats: Mapping[str, float]) -> None:
        self._seen = None
        self.distortion.eyes.forget()

    @torch.no_grad()
    def samples(self, batch: Batch, step: int) -> Tensor:
        """Rows of four: the original, everything preserved, a box preserved, nothing preserved."""
        x, labels = batch["image"][:4], batch["map"][:4]
        quality = torch.full((len(x),), 128.0, device=x.device)
        rows, columns = x.shape[2] // STRIDE, x.shape[3] // STRIDE
        box = torch.zeros(len(x), 1, rows, columns, device=x.device)
        box[:, :, rows // 4 : rows // 4 * 3, columns // 4 : columns // 4 * 3] = 1
        pictures = [x]
        for coded in (torch.ones_like(box), box, torch.zeros_like(box)):
            pictures.append(self._reconstruct(x, labels, quality, coded)[0].clamp(0, 1))
        return torch.stack(pictures, dim=1).flatten(0, 1)

    def _reconstruct(
        self, x: Tensor, labels: Tensor, quality: Tensor, coded: Tensor, looks: int = 1
    ) -> tuple[Tensor, Tensor]:
        """G(z) and its bits per pixel [n].

        At every look but the first E sees what G made of the last one in place of what is not coded.
        """
        seen = None
        if self.settings.selection != "none":
            # What is coded has no labels in the file: G sees none there, as if every pixel were void.
            void = len(self.settings.classes)
            places = torch.randint(1 << 20, (len(x), 2), device=x.device) * 2
            seen = shares(torch.where(_in_pixels(coded)[:, 0], void, labels), 1 - coded, void, places)
        shown = x
        for _ in range(looks - 1):
            with torch.no_grad():
                latent, _prior = self.codec.compress(shown, quality, coded)
                made = self.codec.generator(latent, quality, labels=seen).float().clamp(0, 1)
            shown = torch.where(_in_pixels(coded), x, made)
        latent, prior = self.codec.compress(shown, quality, coded)
        y = self.codec.generator(latent, quality, labels=seen)
        return y.float(), prior.bits / (x.shape[2] * x.shape[3])

    def _heat_maps(self, labels: Tensor) -> Tensor:
        """What is preserved of each picture [n, 1, h / 16, w / 16]."""
        settings = self.settings
        n, rows, columns = len(labels), labels.shape[1] // STRIDE, labels.shape[2] // STRIDE
        maps = torch.ones(n, 1, rows, columns, device=labels.device)
        if settings.selection == "none":
            return maps
        boxes = random_box(n, rows, columns).to(labels.device)
        instances = boxes
        if settings.selection != "boxes":
            instances = random_instances(labels, STRIDE, settings.preserved)
        for i in range(n):
            chance = float(torch.rand(()))
            if chance >= settings.whole:
                as_box = settings.selection == "boxes" or (
                    settings.selection == "both" and chance >= (1 + settings.whole) / 2
                )
                maps[i] = boxes[i] if as_box else instances[i]
        return maps

    def _codec_turn(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """L_GAN + lambda E[d] + beta E[H], with d where the heat map preserves."""
        settings, x = self.settings, batch["image"]
        quality, coded = random_quality(x), self._heat_maps(batch["map"])
        looks = 2 if float(torch.rand(())) < settings.look_again else 1
        y, bpp = self._reconstruct(x, batch["map"], quality, coded, looks)
        preserved = _in_pixels(coded)
        factor = trade_off(quality, settings.lambda_low, settings.lambda_high) * 255**2 / settings.mse
        # The original in place of what was synthesised: no distortion there, and no gradient.
        inside = compared = torch.where(preserved, y, x)
        if settings.guide:
            # Features outside weigh the same at every quality, which says nothing of what is synthesised.
            share = (settings.guide / factor)[:, None, None, None]
            compared = torch.where(preserved, y, y.detach() + share * (y - y.detach()))
        distortion = {**self.distortion.pixels(x, inside), **self.distortion.features(x, compared)}
        terms = {name: (factor[: len(d)] * d).mean() for name, d in distortion.items()}
        adversarial, matching, self._seen = generator_terms(self.discriminator, x, y, self._maps(batch))
        terms["adversarial"] = settings.adversarial * adversarial
        terms["matching"] = settings.matching * matching
        stats = {"bpp": bpp.mean(), "preserved": coded.mean(), **terms}
        return bpp.mean() + torch.stack(list(terms.values())).sum(), stats

    def _discriminator_turn(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        assert self._seen is not None
        return discriminator_turn(self.discriminator, self._seen, self._maps(batch))

    def _maps(self, batch: Batch) -> Tensor | None:
        maps: Tensor | None = self.labels(batch["map"]) if self.settings.conditional else None
        return maps


def _in_pixels(coded: Tensor) -> Tensor:
    """A heat map [n, 1, h / 16, w / 16] at the picture's resolution, of booleans."""
    return F.interpolate(coded, scale_factor=float(STRIDE), mode="nearest").bool()
