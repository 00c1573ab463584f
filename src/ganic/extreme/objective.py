"""The objective of generative compression for the compact networks.

Agustsson et al. 2019, Eq. (4) in both papers' numbering:

    min_{E, G}  L_GAN  +  lambda E[d(x, G(z))]  +  beta E[H(w-hat)]

in stages, each of which may be the last.  *distortion*: E, G and the entropy model minimise
``H + lambda(q) * 255^2 * d``, in bits per pixel, for a quality index q drawn anew for every picture: one
model for all rates.  *joint*: the same with L_GAN, as the papers train.  *encoder*: the first stage's
objective for E alone; decoders stay as they are.  *generator*: the joint stage's objective for G alone;
files stay as they are.  *prior*: E and G stay as they are, the entropy model learns alone, for ``H`` and the
squared error that its means leave in the latent.
*adversarial*: E and the entropy model stay as they are, so files do not change; G plays against a multi-scale
discriminator.  *shades*: all of them stay as they are, and what an encoder has to know to add
:mod:`ganic.extreme.shades` is learned.

q is uniform, or with ``data.rates`` what the picture needs for a rate that is drawn (:class:`Asking`).  Then
lambda weighs squared errors of pixels alone, over ``mse``; the other terms of d weigh what the recipe says.

d is the same weighted sum in all, of the terms of :mod:`ganic.extreme.distortion`.  In the first stage with
MSE alone it is the papers' learned MSE baseline; in the last without L_GAN it makes that baseline's generator
for given files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ganic.extreme import validation
from ganic.extreme.compact import LATENT_SCALE
from ganic.extreme.conditioning import QUALITIES
from ganic.extreme.discriminator import Discriminator, MultiScaleDiscriminator
from ganic.extreme.distortion import (
    SQUARES,
    TERMS,
    Distortion,
    DistortionWeights,
    Weight,
    regularity,
    unevenness,
)
from ganic.extreme.game import Seen, discriminator_turn, generator_terms
from ganic.extreme.model import Architecture, CompactModel, Reconstruction
from ganic.extreme.prior import PriorOutput
from ganic.extreme.projected_discriminator import ProjectedDiscriminator
from ganic.extreme.shades import PRICE, Shades, fitted, from_rgb, means, step_of, to_rgb
from ganic.extreme.symbol_costs import nearest_symbols, rate_bits
from ganic.extreme.tiling import CELL
from ganic.training.objective import Batch

Price = Annotated[float, Field(gt=0)]
Grey = Annotated[float, Field(gt=0, le=64)]

TYPICAL = 0.1
"""Bits per pixel of a picture that counts once where rates are asked for."""

WORTH = 6 / math.log(2)
"""Bits that a squared step of the latent's error is worth, as they are to a uniform quantiser: its error is
1/12, and one bit more quarters it."""

PATIENCE = 0.02
"""How fast lambda follows: about a hundred batches."""

FACTORS = 1e-3, 1e2
"""How far it follows: rates that no quality reaches would lead it away for ever."""

StageName = Literal["distortion", "joint", "encoder", "generator", "prior", "adversarial", "shades"]


class Stage(NamedTuple):
    """What is different from stage to stage."""

    learner: str
    """Who learns: the whole codec or a part of it."""
    whole: bool
    """Whether the objective is that of the whole codec."""
    game: bool
    """Whether L_GAN may be in it."""


STAGES: Mapping[StageName, Stage] = {
    "distortion": Stage("codec", whole=True, game=False),
    "joint": Stage("codec", whole=True, game=True),
    "encoder": Stage("encoder", whole=True, game=False),
    "generator": Stage("generator", whole=True, game=True),
    "prior": Stage("prior", whole=False, game=False),
    "adversarial": Stage("generator", whole=False, game=True),
    "shades": Stage("shades", whole=False, game=False),
}

BLOTCHES = 0.3
"""Squared grey levels that errors of shades are measured against where a picture has hardly any."""


class CompactSettings(DistortionWeights):
    """The ``[objective]`` table of a recipe with ``arch = "compact"``."""

    arch: Literal["compact"] = "compact"
    stage: StageName = "distortion"
    architecture: Architecture = Architecture()
    lambda_low: Price = 3e-5  # bits per pixel per squared grey level, at quality index 0
    lambda_high: Price = 6e-3  # the same at quality index 255; log-linear between
    lambda_before: tuple[Price, Price] | None = None  # the two of what init says, where they were others
    # How much more counts what has few bits: see GenerativeCompression.importance; with data.rates, of all
    # but squared errors of pixels.
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5
    # With data.rates, terms of d whose weights change with the rate in another way: (rate / 0.1) ** this.
    slopes: dict[str, Annotated[float, Field(ge=-2, le=2)]] = Field(default_factory=dict)
    # With data.rates, how much less L_GAN counts where there are more bits: (0.1 / rate) ** this.
    game_balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    # Steps to a turn of the game, which then counts that often: its gradients are small and alike, those of
    # the perceptual distance are large and mostly noise, and want more pictures.
    game_every: Annotated[int, Field(ge=1)] = 1
    # Steps of shades, in grey levels at quality index 0 and 255: see ganic.extreme.shades.
    shades: tuple[Grey, Grey] = (2.4, 0.6)
    # In stages with the objective of the whole codec: pictures are judged with their shades, which cost bits.
    shaded: bool = False
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

    @model_validator(mode="after")
    def _growing(self) -> Self:
        ends = self.lambda_before or (self.lambda_low, self.lambda_high)
        if not (self.lambda_low < self.lambda_high and ends[0] < ends[1]):
            raise ValueError("lambda grows with the quality; give the smaller one first")
        if self.shaded and not STAGES[self.stage].whole:
            whole = ", ".join(name for name, stage in STAGES.items() if stage.whole)
            raise ValueError(f"shaded: only the stages {whole} judge pictures with their shades")
        return self

    @field_validator("slopes")
    @classmethod
    def _terms(cls, slopes: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(slopes) - set(TERMS)):
            raise ValueError(f"no term of d is called {', '.join(unknown)}; there are {', '.join(TERMS)}")
        return slopes

    @property
    def plays(self) -> bool:
        """Whether there is a discriminator."""
        return STAGES[self.stage].game and (self.adversarial > 0 or self.matching > 0)


class GenerativeCompression:
    """The training objective; see the module's docstring.  Implements
    ``ganic.training.objective.Objective``.

    ``asked``: batches say which rates pictures should have.
    """

    def __init__(self, settings: CompactSettings, *, asked: bool = False) -> None:
        self.settings = settings
        self.stage = STAGES[settings.stage]
        self.codec = CompactModel(settings.architecture)
        self.networks = nn.ModuleDict({"codec": self.codec})
        self.asking = Asking() if asked else None
        if self.asking is not None:
            self.networks["asking"] = self.asking
        self.ema_of: Sequence[str] = ("codec",)
        if settings.stage == "shades" or settings.shaded:
            self.shades = Shades(settings.architecture.latent)
            self.networks["shades"] = self.shades
        if settings.stage == "shades":
            self.ema_of = ("codec", "shades")
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
        learner = self.stage.learner
        return (learner, "discriminator") if self._plays(step) else (learner,)

    def parameters(self, player: str) -> Sequence[nn.Parameter]:
        if player == "codec":
            return list(self.codec.parameters())
        if player in ("encoder", "generator", "prior"):
            return list(getattr(self.codec, player).parameters())
        if player == "shades":
            return list(self.shades.parameters())
        modules = [self.discriminator] if self.glance is None else [self.discriminator, self.glance]
        return [parameter for module in modules for parameter in module.parameters()]

    def _plays(self, step: int) -> bool:
        return self.settings.plays and step % self.settings.game_every == 0

    def fresh_batch(self, player: str) -> bool:
        return False

    def loss(self, player: str, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        if player == "discriminator":
            return self._discriminator_turn()
        if player == "prior":
            return self._prior_turn(batch)
        if player == "shades":
            return self._shades_turn(batch)
        self.distortion.eyes.redraw()
        turn = self._codec_turn if self.stage.whole else self._generator_turn
        return turn(batch, step)

    def after_step(self, step: int, stats: Mapping[str, float]) -> None:
        if self.asking is not None:
            self.asking.hear(next(value for name, value in stats.items() if name.endswith("/paid")))
        self._seen = self._latent = None
        self.distortion.eyes.forget()

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

    @torch.no_grad()
    def validate(self, pictures: Sequence[Tensor]) -> Mapping[str, float]:
        """See :func:`ganic.extreme.validation.validate`."""
        return validation.validate(self.codec, pictures, self.distortion.eyes.trunk(pictures[0].device))

    def importance(self, quality: Tensor) -> Tensor:
        """How much a picture coded at this quality counts: (lambda(q) / lambda(middle)) ** -balance.

        Rate and distortion times lambda are both several times larger at high qualities than at low ones,
        whose pictures would hardly be heard: the networks are shared.
        """
        middle = math.sqrt(self.settings.lambda_low * self.settings.lambda_high)
        ratio = self._trade_off(quality) / middle
        return ratio.pow(-self.settings.balance)

    def _trade_off(self, quality: Tensor) -> Tensor:
        return trade_off(quality, self.settings.lambda_low, self.settings.lambda_high)

    def _quality(self, batch: Batch) -> Tensor:
        """A quality index for every picture of a batch [n]."""
        if self.asking is None:
            return random_quality(batch["image"])
        wanted: Tensor = self.asking(batch["level"])
        return quality_for(wanted, self.settings.lambda_low, self.settings.lambda_high)

    def _paid(self, batch: Batch, bpp: Tensor) -> dict[str, Tensor]:
        """For the log and `Asking.hear`: what pictures take of what they were asked for."""
        if self.asking is None:
            return {}
        return {"paid": (batch["weight"] * bpp / batch["rate"]).mean()}

    def _reconstruction(self, x: Tensor, quality: Tensor) -> Reconstruction:
        """What the codec makes of pictures; where the generator learns alone, all before it is given."""
        if self.stage.learner != "generator":
            whole: Reconstruction = self.codec(x, quality)  # in one call, which `compile` compiles
            return whole
        with torch.no_grad():
            latent, prior = self.codec.compress(x, quality)
        return Reconstruction(self.codec.generator(latent, quality), latent, prior)

    def _codec_turn(self, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """H + lambda * 255^2 * d, with d in units of the MSE, and L_GAN where there is a discriminator."""
        x, quality = batch["image"], self._quality(batch)
        out = self._reconstruction(x, quality)
        bits, y = out.prior.bits, out.picture.float()
        if self.settings.shaded:
            added, beside = self._shades_for(means(x - y), quality)
            y = y + F.interpolate(added.detach(), x.shape[2:], mode="bilinear")
            bits = bits + beside
        bpp = bits / (x.shape[2] * x.shape[3])
        stats = {"bpp": bpp.mean(), **self._paid(batch, bpp)}
        weight = self._weight(batch, quality)
        weights = self._weights(batch, weight * self._trade_off(quality) * 255**2 / self.settings.mse)
        terms = {name: (weights[name][: len(d)] * d).mean() for name, d in self.distortion(x, y).items()}
        stats["psnr"] = (-10 * torch.log10((y.detach() - x).square().mean((1, 2, 3)))).mean()
        terms["rate"] = (weight * bpp).mean()
        terms |= self._evenness(x, y) | self._game(x, y, out.latent, batch, step)
        return torch.stack(list(terms.values())).sum(), stats | terms

    def _weight(self, batch: Batch, quality: Tensor) -> Tensor:
        """Of the bits of each picture [n].  One per cent of a file counts the same in every file where rates
        are asked for."""
        if self.asking is None:
            return self.importance(quality)
        weight: Tensor = batch["weight"] * _scarcity(batch)
        return weight

    def _weights(self, batch: Batch, squares: Tensor) -> dict[str, Tensor]:
        """Of each term of d of each picture [n], where squared errors weigh ``squares``."""
        if self.asking is None:
            return dict.fromkeys(TERMS, squares)
        # lambda makes errors of pixels count in parts of themselves, as PSNR does; all else is comparable
        # from picture to picture as it is, but for what `balance` and `slopes` say.
        others, scarcity = batch["weight"], _scarcity(batch)
        slopes = {term: 0.0 if term in SQUARES else -self.settings.balance for term in TERMS}
        return {
            term: (squares if term in SQUARES else others) * scarcity**-slope
            for term, slope in (slopes | self.settings.slopes).items()
        }

    def _prior_turn(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """H, and the error that the means leave in the latent; E is fixed."""
        x, quality = batch["image"], self._quality(batch)
        with torch.no_grad():
            y = self.codec.gained(x, quality)
        out: PriorOutput = self.codec.prior(y, quality)
        pixels = x.shape[2] * x.shape[3]
        bpp, error = out.bits / pixels, (out.latent - y).square().flatten(1).sum(1) / pixels
        weight = self._weight(batch, quality)
        terms = {"rate": (weight * bpp).mean(), "latent": WORTH * (weight * error).mean()}
        return terms["rate"] + terms["latent"], {"bpp": bpp.mean(), **self._paid(batch, bpp), **terms}

    def _shades_turn(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """How far G's pictures are from what is told of them from afar, and bits of the shades; all else is
        fixed.

        Squared errors of means over 16, 32 and 64 pixels, each as if it were white noise, relative to the
        errors over 64 pixels that there are to mend.
        """
        x, quality = batch["image"], self._quality(batch)
        with torch.no_grad():
            latent, prior = self.codec.compress(x, quality)
            drawn = means(self.codec.generator(latent, quality).float())
        with torch.autocast(x.device.type, enabled=False):
            self.shades.afar.look_at(self.codec.generator.linear)
            seen = self.shades.afar(latent.float(), quality)
            wrong, missing = seen - drawn, means(x) - drawn
            scale = _greys(F.avg_pool2d(missing, CELL)) + BLOTCHES
            errors = [side**2 * _greys(F.avg_pool2d(wrong, side)) / scale for side in (1, 2, CELL)]
            _, bits = self._shades_for(missing - wrong.detach(), quality)
        pixels = x.shape[2] * x.shape[3]
        bpp, beside = prior.bits / pixels, bits / pixels
        terms = {
            "afar": torch.stack(errors).sum(0).mean(),
            "rate": (self._weight(batch, quality) * beside).mean(),
        }
        stats = {"bpp": bpp.mean(), "share": (beside / bpp).mean(), **self._paid(batch, bpp)}
        return terms["afar"] + terms["rate"], stats | terms

    def _shades_for(self, missing: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Shades for what pictures lack at latent positions [n, 3, h, w], as they are added to RGB [n, 3,
        h / 4, w / 4], and their bits [n]."""
        with torch.autocast(missing.device.type, enabled=False):
            steps = step_of(quality, self.settings.shades).T[:, :, None, None]
            values = fitted(from_rgb(missing)) / steps
            index = self.shades.tables(quality)
            symbols = nearest_symbols(values, index.expand_as(values), PRICE)
            bits = rate_bits(values, index, symbols).flatten(1).sum(1)
            return to_rgb(symbols * steps), bits

    def _generator_turn(self, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """L_GAN + E[d]; the rate is fixed."""
        x, quality = batch["image"], self._quality(batch)
        out = self._reconstruction(x, quality)
        y = out.picture.float()
        weight = torch.ones_like(quality) if self.asking is None else batch["weight"]
        terms = {name: (weight[: len(d)] * d).mean() for name, d in self.distortion(x, y).items()}
        terms |= self._evenness(x, y) | self._game(x, y, out.latent, batch, step)
        bpp = out.prior.bits / (x.shape[2] * x.shape[3])
        stats = {"bpp": bpp.mean(), **self._paid(batch, bpp), **terms}
        return torch.stack(list(terms.values())).sum(), stats

    def _evenness(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        settings, terms = self.settings, {}
        if settings.lattice:
            terms["lattice"] = settings.lattice * unevenness(x, y)
        if settings.screen:
            terms["screen"] = settings.screen * regularity(x, y)
        return terms

    def _game(self, x: Tensor, y: Tensor, latent: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        """L_GAN for the pictures ``y`` of G, which D's turn will see too."""
        settings, weights = self.settings, None
        if not self._plays(step):
            return {}
        if settings.game_balance:
            # Where bits say what is there, what D asks for beside is error.
            weights = _scarcity(batch) ** settings.game_balance
        self._latent = latent.detach()
        adversarial, matching, self._seen = generator_terms(self.discriminator, x, y, self._glance(), weights)
        terms = {"adversarial": settings.adversarial * adversarial, "matching": settings.matching * matching}
        return {name: settings.game_every * term for name, term in terms.items()}

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


def _greys(errors: Tensor) -> Tensor:
    """Mean squared grey levels of each picture [n]."""
    return errors.square().mean((1, 2, 3)) * 255**2


def _scarcity(batch: Batch) -> Tensor:
    """How few bits pictures are asked to take, against a typical one [n]."""
    scarcity: Tensor = TYPICAL / batch["rate"]
    return scarcity


class Asking(nn.Module):
    """From water levels at which pictures take certain rates (:mod:`ganic.water_filling`) to lambda.

    Where the error of every coefficient is worth its bits, lambda is inversely proportional to the level.
    The factor depends on what d consists of beside the MSE and on how good the codec is: it follows from what
    pictures take, and is no weight.
    """

    factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(0.37))  # the model ``photo``'s

    def forward(self, level: Tensor) -> Tensor:
        """Water levels [n] in squared grey levels -> lambda [n] in bits per pixel per squared grey level."""
        return self.factor / level

    @torch.no_grad()
    def hear(self, paid: float) -> None:
        """``paid``: bits that a batch took over those that it was asked for, on average."""
        self.factor.mul_(math.exp(PATIENCE * (1 - min(paid, 3)))).clamp_(*FACTORS)


def random_quality(x: Tensor) -> Tensor:
    """A quality index for every picture of a batch, uniform [n]."""
    return torch.rand(len(x), device=x.device) * (QUALITIES - 1)


def trade_off(quality: Tensor, low: float, high: float) -> Tensor:
    """lambda(q) in bits per pixel per squared grey level: log-linear from ``low`` to ``high``."""
    return low * torch.exp(quality / (QUALITIES - 1) * math.log(high / low))


def quality_for(value: Tensor, low: float, high: float) -> Tensor:
    """The inverse of `trade_off`; the nearest end of the scale for what lies beyond it."""
    return ((value / low).log() / math.log(high / low)).clamp(0, 1) * (QUALITIES - 1)
