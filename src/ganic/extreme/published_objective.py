"""The objective of generative compression for the published networks.

Agustsson et al. 2019 (GC); Eq. (4) of the second paper:

    min_{E, G}  L_GAN  +  lambda E[d(x, G(z))]  +  beta E[H(w-hat)],     z = [w-hat, v],  w-hat = q(E(x))
    L_GAN = max_D  E[f(D(x))] + E[g(D(G(z)))]                            (Eq. 1)
    f(y) = (y - 1)^2,  g(y) = y^2

with the two rate modes of the papers:

    beta = 0   no entropy model; H(w-hat) <= dim(w-hat) log2 L           (Eq. 3) bounds the rate
    beta > 0   H(w-hat) is estimated by a learned entropy model, in bits per pixel

``lambda d`` stands for three distances with weights of their own: MSE, and as in pix2pixHD (arXiv:1711.11585)
D's feature matching and a perceptual distance.  The paper's perceptual distance looks through VGG; here it is
the SqueezeNet distance of :mod:`ganic.metrics.perceptual`, whose values differ, so its weight of 12 is only
nominally the paper's.

As LSGAN (arXiv:1611.04076, Eq. 9) does, G minimises E[f(D(G(z)))] in place of the minimax form's
-E[g(D(G(z)))].  Without a role for D (``adversarial = matching = 0``) Eq. (2) remains, E[d] + beta H; with
``perceptual = 0`` too it is the papers' learned MSE baseline.

With label maps s in the data:

    GC (D+)   D sees s beside every picture; nothing else changes, neither files nor decoder
    SC        G sees s too, a heat map says which symbols exist, and d is masked: it counts only what is to be
              preserved, while L_GAN and feature matching judge the whole picture

In SC the original takes the synthesised region's place before d compares: per preserved pixel d weighs as in
GC, and other pixels add nothing.  Each training picture has a heat map of its own, of random instances (RI)
or a random box (RB): see :mod:`ganic.extreme.heat_maps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ganic.errors import DataError
from ganic.extreme.discriminator import LabelMaps, MultiScaleDiscriminator
from ganic.extreme.game import Seen, discriminator_turn, generator_terms
from ganic.extreme.heat_maps import random_box, random_instances
from ganic.extreme.published import PublishedCodec, Reconstruction
from ganic.extreme.published_selective import STRIDE, SelectiveCodec
from ganic.extreme.symbol_entropy import SymbolEntropy
from ganic.metrics.perceptual import SqueezeNetDistance
from ganic.training.objective import Batch
from ganic.training.recipes import Count, Positive, Share, Table

Weight = Annotated[float, Field(ge=0)]

LAYERS = 4
"""Of one scale of D, as published."""


class PublishedSettings(Table):
    """The ``[objective]`` table of a recipe with ``arch = "agustsson2019"``."""

    arch: Literal["agustsson2019"] = "agustsson2019"
    channels: Positive  # C: the latent's channels
    levels: Annotated[int, Field(ge=2)] = 5  # L: centres of the quantiser
    sigma: Annotated[float, Field(gt=0)] = 1.0  # hardness of the soft assignment
    learned_centres: bool = False  # train the centres; else -(L - 1)/2 .. (L - 1)/2
    width: Positive = 60  # channels at full resolution; 60 as published
    blocks: Count = 9  # residual blocks of the generator; 9 as published
    noise: Count = 0  # channels of v concatenated to the symbols
    beta: Weight = 0.0  # weight of H(w-hat) in bits per pixel; 0: the bound alone, no entropy model
    entropy_features: Positive = 16  # features per latent channel of the entropy model's context
    adversarial: Weight = 1.0  # of L_GAN
    mse: Weight = 10.0  # of the squared error of pixels in [-1, 1]
    matching: Weight = 12.0  # of feature matching
    perceptual: Weight = 12.0  # of the SqueezeNet perceptual distance
    discriminator_width: Positive = 64  # channels of D's first layer; 2, 4, 8 times as many follow
    discriminator_scales: Positive = 3  # D's scales
    classes: Count = 0  # GC (D+) and SC: classes of the label maps that D sees; 0: GC
    embedding: Count = 0  # length of a learned vector per class, for D; 0: one-hot
    selection: Literal["none", "instances", "boxes", "both"] = "none"  # SC: heat maps RI, RB, or either
    preserved: Share = 0.25  # RI: share of the instances
    mask_perceptual: bool = True  # SC: the perceptual distance, too, counts what is preserved only

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.selection != "none" and not self.classes:
            raise ValueError(f'selection = "{self.selection}" needs label maps: classes must be positive')
        return self


class PublishedObjective:
    """The training objective; see the module's docstring.  Implements ``ganic.training.objective.Objective``.

    Raises ModelMissingError where the perceptual trunk's weights are needed and missing.
    """

    def __init__(self, settings: PublishedSettings) -> None:
        self.settings = settings
        self.codec = _codec(settings)
        self.labels = LabelMaps(settings.classes, settings.embedding) if settings.classes else None
        self.discriminator = MultiScaleDiscriminator(
            [settings.discriminator_width << level for level in range(LAYERS)],
            settings.discriminator_scales,
            condition=self.labels.channels if self.labels else 0,
        )
        self.networks = nn.ModuleDict({"codec": self.codec, "discriminator": self.discriminator})
        if self.labels is not None:
            self.networks["labels"] = self.labels
        self.entropy: SymbolEntropy | None = None
        if settings.beta:
            self.entropy = SymbolEntropy(settings.channels, settings.levels, settings.entropy_features)
            self.networks["entropy"] = self.entropy
        self.ema_of: Sequence[str] = ("codec", "entropy") if settings.beta else ("codec",)
        self._distance = SqueezeNetDistance() if settings.perceptual else None
        self._seen: Seen | None = None

    def players(self, step: int) -> Sequence[str]:
        return ("codec", "discriminator") if self._plays else ("codec",)

    def parameters(self, player: str) -> Sequence[nn.Parameter]:
        modules = (self.codec, self.entropy) if player == "codec" else (self.discriminator, self.labels)
        return [parameter for module in modules if module is not None for parameter in module.parameters()]

    def fresh_batch(self, player: str) -> bool:
        return False

    def loss(self, player: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self._codec_turn(batch) if player == "codec" else self._discriminator_turn(batch)

    def after_step(self, step: int, stats: Mapping[str, float]) -> None:
        self._seen = None

    @torch.no_grad()
    def samples(self, batch: Batch, step: int) -> Tensor:
        """Originals and their reconstructions; in SC, what of the original is preserved between the two."""
        some = {name: tensor[:8] for name, tensor in batch.items()}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the same regions every time
            heat = self._heat(some)
        x, y = some["image"], self._reconstruct(some, heat).picture
        shown = [x, y] if heat is None else [x, torch.where(_pixels(heat), x, 0.5), y]
        return torch.stack(shown, dim=1).flatten(0, 1)

    @property
    def _plays(self) -> bool:
        return self.settings.adversarial > 0 or self.settings.matching > 0

    def _codec_turn(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """L_GAN + lambda E[d] + beta E[H(w-hat)] (Eq. 4), for E, G and the entropy model."""
        settings, x = self.settings, batch["image"]
        heat = self._heat(batch)
        out = self._reconstruct(batch, heat)
        y = out.picture
        kept = y if heat is None else torch.where(_pixels(heat), y, x)  # what d compares with x
        share = x.new_ones(len(x)) if heat is None else heat.mean((1, 2, 3))
        mse = (kept - x).square().mean((1, 2, 3))
        # 4: from pixels in [0, 1] to the networks' own [-1, 1], in which the published weight is read.
        terms = {"mse": settings.mse * 4 * mse.mean(), **self._discriminator_terms(x, y, batch)}
        if self._distance is not None:
            seen = kept if settings.mask_perceptual else y
            terms["perceptual"] = settings.perceptual * self._distance.to(x.device)(seen, x).mean()
        stats = {
            "psnr": (-10 * torch.log10(mse / share)).mean(),  # of what is preserved
            "bpp_bound": self.codec.bpp_bound * share.mean(),
        }
        if heat is not None:
            stats["preserved"] = share.mean()
        if self.entropy is not None:
            bpp = self.entropy(out.quantised, heat).mean() / (x.shape[2] * x.shape[3])
            terms["rate"] = settings.beta * bpp
            stats["bpp"] = bpp
        return torch.stack(list(terms.values())).sum(), {**stats, **terms}

    def _reconstruct(self, batch: Batch, heat: Tensor | None) -> Reconstruction:
        out: Reconstruction = (
            self.codec(batch["image"]) if heat is None else self.codec(batch["image"], batch["map"], heat)
        )
        return out

    def _heat(self, batch: Batch) -> Tensor | None:
        """SC: random heat maps [n, 1, h / 8, w / 8]; None: GC."""
        if self.settings.selection == "none":
            return None
        labels = self._labelled(batch)
        n, height, width = labels.shape
        boxes = random_box(n, height // STRIDE, width // STRIDE).to(labels.device)
        if self.settings.selection == "boxes":
            return boxes
        instances = random_instances(labels, STRIDE, self.settings.preserved)
        if self.settings.selection == "instances":
            return instances
        return torch.where(torch.rand(n, 1, 1, 1).to(labels.device) < 0.5, instances, boxes)

    def _discriminator_terms(self, x: Tensor, y: Tensor, batch: Batch) -> dict[str, Tensor]:
        """E[f(D(G(z)))] (Eq. 1) and feature matching (pix2pixHD's Eq. 4), both as means over the scales.

        pix2pixHD sums feature matching over the layers of a scale.
        """
        if not self._plays:
            return {}
        adversarial, matching, self._seen = generator_terms(self.discriminator, x, y, self._maps(batch))
        return {
            "adversarial": self.settings.adversarial * adversarial,
            "matching": self.settings.matching * LAYERS * matching,
        }

    def _discriminator_turn(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """E[f(D(x))] + E[g(D(G(z)))] (Eq. 1), at the picture that the codec's turn made."""
        assert self._seen is not None
        return discriminator_turn(self.discriminator, self._seen, self._maps(batch))

    def _maps(self, batch: Batch) -> Tensor | None:
        """s of GC (D+) and SC, which D sees beside every picture."""
        if self.labels is None:
            return None
        maps: Tensor = self.labels(self._labelled(batch))
        return maps

    @staticmethod
    def _labelled(batch: Batch) -> Tensor:
        if "map" not in batch:
            raise DataError(
                "training data: no label maps, which GC (D+) and SC need; name their folder in data.maps"
            )
        return batch["map"]


def _codec(settings: PublishedSettings) -> PublishedCodec | SelectiveCodec:
    codec: Callable[..., PublishedCodec | SelectiveCodec] = PublishedCodec
    if settings.selection != "none":
        codec = partial(SelectiveCodec, classes=settings.classes)
    return codec(
        settings.channels,
        levels=settings.levels,
        sigma=settings.sigma,
        learned_centres=settings.learned_centres,
        width=settings.width,
        blocks=settings.blocks,
        noise=settings.noise,
    )


def _pixels(heat: Tensor) -> Tensor:
    """A heat map [n, 1, h / 8, w / 8] as a mask of the picture's pixels: bool [n, 1, h, w]."""
    return (heat > 0).repeat_interleave(STRIDE, 2).repeat_interleave(STRIDE, 3)


__all__ = ["PublishedObjective", "PublishedSettings"]
