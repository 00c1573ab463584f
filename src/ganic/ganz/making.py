"""From trained networks to a model: basis, prior, tables and prices, learned from training pictures.

    networks = checkpoint.weights(run)              # "generator.linear.weight", ...
    model = make(networks, Config(...), pictures)   # pictures [n, 3, size, size] in [0, 1]
    model_file.save("ganz-faces64.safetensors", "ganz-faces64", model, card=...)

A run of the reconstruction objective brings basis and encoder along.  One of BEGAN alone does not; its basis
is fitted to h0 maps that a search over h0 itself finds for the pictures ("no_linear").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganic.errors import ModelFormatError
from ganic.ganz.basis import KroneckerBasis, fit
from ganic.ganz.budget import Settings
from ganic.ganz.latent_coder import LARGEST_SCALE, RATIO, STEPS, LatentPrior, tile_bits
from ganic.ganz.model import Config, Model, fill, quantiser_steps
from ganic.ganz.picture_loss import PictureLoss
from ganic.ganz.prior_fit import fit_levels, fit_prior
from ganic.ganz.rd_search import Part, Problem, rd_search
from ganic.ganz.rows import Parts, Together
from ganic.ganz.search import search
from ganic.ganz.tables import laplace_tables

SEARCH = Settings(steps=400, finish=0.5)
"""For the h0 maps of a generator without basis."""

STRIDE = 4
"""Between the step indices whose symbols the tables are learned from."""

BEST_BITS, WORST_BITS = 2.0, 0.05
"""Bits per pixel at quality 1 and 0, on average over the pictures, before any search."""

Say = Callable[[str], None]


def make(
    networks: Mapping[str, Tensor],
    config: Config,
    pictures: Tensor,
    *,
    rd_steps: int = 0,
    say: Say = lambda line: None,
) -> Model:
    """The model of trained networks.

    ``networks``: tensors named "<network>.<parameter>", of a `BeganObjective` or `ReconstructionObjective`.
    ``rd_steps``: with more than 0, the tables are learned from symbols after so many steps of search, as
    files have them, and not from rounded coefficients.
    Raises ModelFormatError if the networks are not those of ``config``.
    """
    generator = config.generator()
    fill(generator, networks, "generator")
    bare = Model(config, generator, laplace_tables(), quantiser_steps())
    basis, encoder = config.basis(), None
    parts = Parts.of(len(pictures), bare.size, pictures.device)
    if "basis.channels" in networks:
        fill(basis, networks, "basis")
        encoder = config.encoder()
        fill(encoder, networks, "encoder")
        with torch.no_grad():
            coefficients = parts.cat(encoder, parts.split(pictures))
    elif config.local:
        raise ModelFormatError("basis: a local one comes with training; these networks have none")
    else:
        say("searching h0 maps")
        h0 = _search_h0(bare, pictures, parts)
        basis = fit(h0).basis
        coefficients = _analyse(basis, h0)
    scales = coefficients.double().square().mean(dim=0).sqrt().float()
    first = float(scales.max()) / LARGEST_SCALE
    model = replace(bare, basis=basis, scales=scales, encoder=encoder, steps=quantiser_steps(first))
    say("fitting the prior")
    return _with_prior(model, coefficients, pictures, rd_steps)


def _with_prior(model: Model, coefficients: Tensor, pictures: Tensor, rd_steps: int) -> Model:
    values = coefficients.numpy()
    levels = fit_levels(values, float(model.steps[0]), model.config.local)
    symbols: dict[int, NDArray[np.integer]] = {
        s: np.rint(values / model.steps[s]).astype(np.int16) for s in range(0, STEPS, STRIDE)
    }
    prior = fit_prior(levels, symbols, model.config.local)
    model = _priced(replace(model, prior=prior, tables=prior.tables), coefficients, pictures)
    if rd_steps:
        used = range(model.config.best_step, model.config.worst_step + 1, STRIDE)
        symbols = {s: _searched(model, coefficients, pictures, s, rd_steps) for s in used}
        prior = fit_prior(levels, symbols, model.config.local)
        model = replace(model, prior=prior, tables=prior.tables)
    return model


def _priced(model: Model, coefficients: Tensor, pictures: Tensor) -> Model:
    """The range of useful steps, and what a bit is worth in it: the slope of the unsearched R-D curve."""
    assert model.prior is not None and model.basis is not None
    pixels = model.size**2
    rates = np.array([_bits(model.prior, coefficients, model.steps[s], s) / pixels for s in range(STEPS)])
    best = int(np.argmin(np.abs(rates - BEST_BITS)))
    worst = max(best + 1, int(np.argmin(np.abs(rates - WORST_BITS))))
    errors = {
        s: _errors(model, coefficients, pictures, float(model.steps[s])) for s in range(best, worst + 1, 2)
    }
    ordered = sorted(errors)
    prices = [
        (errors[b] - errors[a]) / ((rates[a] - rates[b]) * pixels) / RATIO ** (a + b)
        for a, b in pairwise(ordered)
        if errors[b] > errors[a] and rates[a] > rates[b]
    ]
    price = math.exp(float(np.mean(np.log(prices)))) if prices else model.config.price
    return replace(
        model, config=replace(model.config, price=price, best_step=best, worst_step=min(worst, STEPS - 1))
    )


def _bits(prior: LatentPrior, coefficients: Tensor, step: float, index: int) -> float:
    """Mean bits of a picture's rounded coefficients."""
    return tile_bits(prior.at(index), np.rint(coefficients.numpy() / step).astype(np.int64)) / len(
        coefficients
    )


@torch.no_grad()
def _errors(model: Model, coefficients: Tensor, pictures: Tensor, step: float) -> float:
    """Mean squared error, summed over a picture, of its rounded coefficients."""
    assert model.basis is not None
    parts, basis = Parts.of(len(pictures), model.size, pictures.device), model.basis

    def error(part: Tensor, target: Tensor) -> float:
        made = model.generator.synthesise(basis(torch.round(part / step) * step))
        return float((made - target).square().sum())

    return sum(parts.map(error, parts.split(coefficients), parts.split(pictures))) / len(pictures)


def _searched(
    model: Model, coefficients: Tensor, pictures: Tensor, index: int, steps: int
) -> NDArray[np.integer]:
    """The symbols that a search finds at a step index."""
    assert model.prior is not None and model.basis is not None
    basis, step = model.basis, float(model.steps[index])
    part = Part(step, model.config.price_at(index))
    problem = Problem(
        render=lambda z: model.generator.synthesise(basis(z)),
        target=pictures,
        weight=torch.ones_like(pictures[:, :1]),
        file=torch.arange(len(pictures)),
        parts=[part] * len(pictures),
        coder=model.prior.at(index),
    )
    return rd_search(problem, coefficients / step, Settings(steps=steps)).symbols


def _search_h0(model: Model, pictures: Tensor, parts: Parts) -> Tensor:
    losses = [PictureLoss(model.generator.synthesise, part) for part in parts.split(pictures)]
    begin = torch.zeros(len(pictures), model.generator.h0_size)
    return search(Together(losses, parts), begin, SEARCH).latents


def _analyse(basis: KroneckerBasis, h0: Tensor) -> Tensor:
    """Coefficients of h0 maps in an orthonormal basis."""
    maps = (h0 - basis.mean).view(len(h0), basis.width, -1)
    coefficients: Tensor = basis.channels.mT @ maps @ basis.space
    return coefficients.flatten(1).detach()
