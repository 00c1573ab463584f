"""d(x, G(z)) of Eq. (4): how far a reconstruction is from its original, as training counts it."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ganic.errors import DataError
from ganic.extreme.eyes import SMALLEST, Eyes
from ganic.extreme.feature_terms import feature_terms
from ganic.extreme.shades import from_rgb
from ganic.metrics.artefacts import PERIODS, ROUNDING, SCREENS, WINDOW
from ganic.metrics.structural import MIN_SIDE, ms_ssim
from ganic.training.recipes import Table

Weight = Annotated[float, Field(ge=0)]

SQUARES = frozenset({"mse", "shading", "colour", "smooth"})
"""Terms that are squared errors of pixels."""
CALM = 4 / 255
"""Standard deviation of an 8x8 block that counts half as much as a constant one in the term ``smooth``."""
PERIOD = max(PERIODS)
EVEN = 1e-4
"""Keeps a picture without errors from being divided by zero; a fortieth of a grey level."""
CHANCE = 1.0
"""Difference of logarithmic powers that two pictures of one texture may well have."""
SPREAD = 0.3
"""Logarithm of a line's power over its neighbours' that noise in a picture of 192x192 may well have."""
FLOOR = ROUNDING / 255**2
"""Power that rounding to 8 bits leaves at every frequency, and a Hann window makes smaller."""


class DistortionWeights(Table):
    """The part of an ``[objective]`` table that weighs d."""

    mse: Annotated[float, Field(gt=0)] = 150.0  # of the MSE of pixels in [0, 1]
    shading: Weight = 300.0  # of the MSE after 8x8 box averaging: colour and shading must stay
    colour: Weight = 0.0  # of the MSE of both chromas alone after the same averaging
    smooth: Weight = 0.0  # of the MSE where the original is smooth: an error shows there that texture hides
    structure: Weight = 0.0  # of 1 - MS-SSIM
    excess: Weight = 0.0  # of power beyond the original's, by place and frequency: screens and noise
    perceptual: Weight = 1.0  # of the SqueezeNet perceptual distance
    texture: Weight = 1.0  # of differences of local means and deviations of features (Wasserstein distortion)
    featured: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of a batch whose features are compared


TERMS = tuple(name for name in DistortionWeights.model_fields if name != "featured")
"""All terms, by the names of their weights."""


class Distortion:
    """The weighted terms of d.

    ``eyes`` is what features are seen through: whoever owns the step calls their ``redraw`` as it begins, so
    that a run that goes on from a checkpoint sees what it would have seen, and their ``forget`` as it ends.
    """

    def __init__(self, weights: DistortionWeights) -> None:
        self.weights = weights
        self.eyes = Eyes()

    def pixels(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """All but what needs features, of pictures [n, 3, h, w] in [0, 1], per picture [n]."""
        weights = self.weights
        squares = (y - x).square()
        terms = {"mse": weights.mse * squares.mean((1, 2, 3))}
        means = F.avg_pool2d(y - x, 8)
        if weights.shading:
            terms["shading"] = weights.shading * means.square().mean((1, 2, 3))
        if weights.colour:
            terms["colour"] = weights.colour * from_rgb(means)[:, 1:].square().mean((1, 2, 3))
        if weights.smooth:
            variance = (F.avg_pool2d(x.square(), 8) - F.avg_pool2d(x, 8).square()).mean(1, keepdim=True)
            calm = 1 / (1 + variance / CALM**2)
            terms["smooth"] = weights.smooth * (calm * F.avg_pool2d(squares, 8)).mean((1, 2, 3))
        with torch.autocast(x.device.type, enabled=False):
            if weights.structure:
                _check_side(x, MIN_SIDE, "structure")
                terms["structure"] = weights.structure * (1 - ms_ssim(x, y))
            if weights.excess:
                _check_side(x, 2 * WINDOW, "excess")
                terms["excess"] = weights.excess * _excess(x, y)
        return terms

    def features(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Perceptual distance and texture of the first ``featured`` share of the pictures, per picture."""
        weights = self.weights
        if not (weights.perceptual or weights.texture):
            return {}
        _check_side(x, SMALLEST, "perceptual and texture")
        count = math.ceil(weights.featured * len(x))
        if count < len(x):
            x, y = x[:count], y[:count]
        with torch.no_grad():
            real = self.eyes.look(x)
        fake = self.eyes.look(y)
        terms = {}
        with torch.autocast(x.device.type, enabled=False):
            layers = [torch.stack(feature_terms(a, b)) for a, b in zip(real, fake, strict=True)]
            distance, texture = torch.stack(layers).mean(0)
            if weights.perceptual:
                terms["perceptual"] = weights.perceptual * distance
            if weights.texture:
                terms["texture"] = weights.texture * texture
        return terms

    def __call__(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """All terms: [n], or those of features for fewer pictures, from the first on."""
        return {**self.pixels(x, y), **self.features(x, y)}


def _check_side(pictures: Tensor, least: int, terms: str) -> None:
    height, width = pictures.shape[2:]
    if min(height, width) < least:
        raise DataError(
            f"pictures: {width}x{height} pixels are too few for {terms}; crop at least {least}, or set "
            f"{terms} to 0"
        )


def _excess(x: Tensor, y: Tensor) -> Tensor:
    """How far the power spectra of y surpass those of x, pictures [n, 3, h, w] -> [n]; less is no excess.

    Squared logarithms of ratios beyond CHANCE, over frequencies and places.  What a generator's sub-pixel
    convolutions repeat shows as lines at multiples of half and a quarter of the sampling rate (Durall et al.,
    arXiv:2003.01826); where D wants texture they are its cheapest form, and no MSE minds them much.
    """
    ratio = torch.log(_spectra(y) / _spectra(x))
    return F.relu(ratio - CHANCE).square().flatten(1).mean(1)


def _spectra(pictures: Tensor) -> Tensor:
    """Power by frequency and place [n, f, h, w]: over 3x3 windows that overlap by half, and over RGB."""
    power = torch.fft.rfft2(_windows(pictures), norm="ortho").abs().square().mean(1).flatten(3)
    return F.avg_pool2d(power.permute(0, 3, 1, 2), 3, stride=2) + FLOOR


def _windows(pictures: Tensor) -> Tensor:
    """Half overlapping windows without their means, under a Hann window [n, c, rows, columns, 32, 32]."""
    hann = torch.hann_window(WINDOW, device=pictures.device)
    windows = pictures.unfold(2, WINDOW, WINDOW // 2).unfold(3, WINDOW, WINDOW // 2)
    return (windows - windows.mean((-2, -1), keepdim=True)) * (hann[:, None] * hann)


def regularity(x: Tensor, y: Tensor) -> Tensor:
    """How far fine regular patterns stand out of the errors of pictures [n, 3, h, w]; 0 = not at all.

    What `ganic.metrics.screen` measures, in a form that has a gradient: logarithms of every line's power over
    that of its neighbours, beyond SPREAD, squared, added and averaged over pictures.  The gradient takes
    power from the lines and gives none to their neighbours.

    Raises DataError where a side is under 32 pixels.
    """
    _check_side(x, WINDOW, "screen")
    residual = (y - x).mean(1, keepdim=True)
    power = torch.fft.fft2(_windows(residual), norm="ortho").abs().square().mean((1, 2, 3)) + FLOOR
    down, across = ((power.roll(2, axis) + power.roll(-2, axis)) / 2 for axis in (1, 2))
    lines = torch.log(power / torch.maximum(down, across).detach())
    seen = torch.stack([lines[:, u, v] for u, v in SCREENS])
    return F.relu(seen - SPREAD).square().sum(0).mean()


def unevenness(x: Tensor, y: Tensor) -> Tensor:
    """How much the errors of a batch [n, 3, h, w], h and w at least 17, cling to a lattice; 0 = not at all.

    What `ganic.metrics.grid` measures, in a form that has a gradient: for rows and for columns the mean
    absolute gradient of the residual at each phase of 16 pixels, relative to its mean over phases and
    averaged over pictures; the variance over phases, of both added.
    """
    residual = (y - x).mean(1)
    return _phases(residual).var(correction=0) + _phases(residual.mT).var(correction=0)


def _phases(residual: Tensor) -> Tensor:
    """The mean absolute difference between neighbouring columns of residuals [n, h, w] at each phase [p]."""
    steps = residual.diff(dim=2).abs().mean(1)
    whole = steps.shape[1] // PERIOD * PERIOD
    phases = steps[:, :whole].reshape(len(steps), -1, PERIOD).mean(1)
    return (phases / (phases.mean(1, keepdim=True) + EVEN)).mean(0)
