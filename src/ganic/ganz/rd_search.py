"""Quantised latents by search: min ||G(z) - x||^2 + price * bits, with z on the quantiser's grid.

Eq. 1 of the paper with what its future work asks for: the file is what counts, so the rate belongs into the
minimum, and the latents that the file holds are integers.  Two phases, after C3 (arXiv:2312.02753):

    soft   latents pass through a rounding that hardens from temperature 0.3 to 0.1
    hard   latents are rounded, their gradients pass straight through; every step is a candidate for the file,
           because its distortion and its code length are those of integers

The code length between two integers is interpolated from the model's own tables, so that it is exact where it
counts and has a gradient elsewhere.  Tables that depend on symbols (`ActivityCoder`) are kept fixed while
differentiating and looked up again at every step.

With limits of bits (all parts have one, or none has) the price is a Lagrange multiplier: it rises while a
file is too long and falls while there is room, and the best candidate within the limit is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganic.entropy import MAX_SUPPORT
from ganic.ganz.budget import Clock, Report, Settings, check_finite
from ganic.ganz.latent_coder import LatentCoder
from ganic.ganz.rows import Parts
from ganic.ganz.tables import code_lengths

SOFT_SHARE = 0.1
"""Of the steps; the rest is hard, and keeps to the limits."""

WARM, COLD = 0.3, 0.1
"""Temperatures of the soft rounding at the beginning and at the end."""

CLOSE, CODED = 64, 4000
"""How many bits around a limit `Part.fits` decides, and one more for so many symbols: a file has whole bytes,
streams of other lengths other headers, and the coder its overhead."""

RATE, BETAS = 0.05, (0.9, 0.99)
"""Adam's, in units of symbols; the rate falls to zero along a cosine."""

PRICE_GAIN = 0.3
"""How fast the price follows: e**0.3 per step for a file twice too long; faster, it disturbs the search."""

Render = Callable[[Tensor], Tensor]
"""Latents [m, d] -> pictures [m, 3, s, s]."""


@dataclass(frozen=True)
class Part:
    """What the tiles of one file have in common."""

    step: float
    """The quantiser's: latent = step * symbol."""
    price: float
    """The squared error that one bit is worth."""
    limit: float | None = None
    """Bits for all symbols of the file."""
    fits: Callable[[NDArray[np.int16]], bool] | None = None
    """Whether symbols [tiles, d] really keep the limit; asked when they come within a few bits of it."""


@dataclass(frozen=True)
class Problem:
    """Tiles to be coded, of one or more files with the same first layer.

    ``target`` [n, 3, s, s]; ``weight`` [n, 1, s, s], how much each pixel's error counts; ``file`` [n], which
    of ``parts`` each tile belongs to, in ascending order; ``coder``, of all tiles at their own steps.
    """

    render: Render
    target: Tensor
    weight: Tensor
    file: Tensor
    parts: Sequence[Part]
    coder: LatentCoder
    bf16: bool = False
    """Whether the soft phase runs under autocast."""

    @cached_property
    def tiles(self) -> list[slice]:
        """Where each file's tiles are."""
        ends = np.cumsum(np.bincount(self.file.cpu().numpy(), minlength=len(self.parts)))
        return [slice(int(begin), int(end)) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]

    @cached_property
    def steps(self) -> Tensor:
        """The quantiser step of each tile [n, 1]."""
        return self.target.new_tensor([part.step for part in self.parts])[self.file][:, None]

    def fit(self, values: Tensor) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        """The nearest symbols [n, d] that can be coded, and their tables."""
        return self.coder.fit(np.rint(values.detach().cpu().numpy()).astype(np.int64))


@dataclass(frozen=True)
class Coded:
    """The best candidate of every file."""

    symbols: NDArray[np.int16]
    """[n, d]."""
    errors: Tensor
    """[files]: weighted sums of squares; infinite where no candidate kept the limit."""
    bits: Tensor
    """[files]."""
    steps: int
    seconds: float
    interrupted: bool


class _Best:
    """The cheapest candidate of each file so far."""

    def __init__(self, problem: Problem, latents: int) -> None:
        self.problem = problem
        unknown = problem.target.new_full((len(problem.parts),), math.inf)
        self.symbols = np.zeros((len(problem.target), latents), np.int16)
        self.costs, self.errors, self.bits = unknown, unknown.clone(), unknown.clone()

    def consider(self, symbols: NDArray[np.int16], errors: Tensor, bits: Tensor) -> None:
        """A candidate with its errors and bits per file [files]; within a limit, errors alone decide."""
        costs = errors.clone()
        for file, (part, tiles) in enumerate(zip(self.problem.parts, self.problem.tiles, strict=True)):
            if part.limit is None:
                costs[file] += part.price * bits[file]
                continue
            close = CLOSE + symbols[tiles].size / CODED
            if bits[file] > part.limit - close and costs[file] < self.costs[file]:
                kept = bool(bits[file] <= part.limit)
                if part.fits is not None and bits[file] < part.limit + close:
                    kept = part.fits(symbols[tiles])
                if not kept:
                    costs[file] = math.inf
        better = costs < self.costs
        if better.any():
            self.costs = torch.where(better, costs, self.costs)
            self.errors = torch.where(better, errors, self.errors)
            self.bits = torch.where(better, bits, self.bits)
            chosen = better[self.problem.file].cpu().numpy()
            self.symbols[chosen] = symbols[chosen]


def rd_search(problem: Problem, start: Tensor, settings: Settings, report: Report | None = None) -> Coded:
    """Search from ``start`` [n, d], in units of symbols.  Of ``settings``, steps and seconds count.

    With zero steps, ``start`` is rounded and evaluated.  Raises TrainingError if an error is not finite.
    """
    clock = Clock(settings, report)
    lengths = both_signs(code_lengths(problem.coder.tables)).to(start.device)
    best = _Best(problem, start.shape[1])
    current = start.detach().clone()
    first, second = torch.zeros_like(current), torch.zeros_like(current)
    price = problem.target.new_tensor([part.price for part in problem.parts])
    limited = [part.limit for part in problem.parts if part.limit is not None]
    limits = problem.target.new_tensor(limited).clamp(min=1.0) if limited else None
    pixels = _per_file(problem, 3 * problem.weight.flatten(1).sum(1))
    done, interrupted = 0, False

    def consider_rounded() -> None:
        symbols, tables = problem.fit(current)
        errors, bits, _ = _evaluate(problem, current, symbols, tables, lengths, price, gradient=False)
        check_finite(errors, clock.step)
        best.consider(symbols, errors, bits)

    try:
        consider_rounded()
        while clock.fraction < 1:
            soft = clock.fraction < SOFT_SHARE
            temperature = WARM + (COLD - WARM) * clock.fraction / SOFT_SHARE if soft else None
            symbols, tables = problem.fit(current)
            errors, bits, gradient = _evaluate(problem, current, symbols, tables, lengths, price, temperature)
            check_finite(errors, clock.step)
            if not soft:
                best.consider(symbols, errors, bits)
            if limits is not None:
                price = price * torch.exp(PRICE_GAIN * (bits / limits - 1).clamp(-0.5, 1.0))
            done += 1
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            scale = (second / (1 - BETAS[1] ** done)).sqrt_().add_(1e-12)
            rate = RATE * 0.5 * (1 + math.cos(math.pi * clock.fraction))
            current = current.addcdiv(first, scale, value=-rate / (1 - BETAS[0] ** done))
            clock.tick(torch.minimum(best.errors, errors) / pixels)
        if done:
            consider_rounded()
    except KeyboardInterrupt:
        interrupted = True
    if interrupted and torch.isinf(best.errors).any():
        consider_rounded()  # one evaluation, so that there is something to keep
    return Coded(best.symbols, best.errors, best.bits, done, clock.seconds, interrupted)


def _evaluate(
    problem: Problem,
    current: Tensor,
    symbols: NDArray[np.int16],
    tables: NDArray[np.int64],
    lengths: Tensor,
    price: Tensor,
    temperature: float | None = None,
    *,
    gradient: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Errors and bits per file [files], and the gradient [n, d] of errors + price * bits.

    With a temperature, of the softly rounded latents; without, of ``symbols``.
    """
    integers = torch.from_numpy(symbols).to(current)
    which = torch.from_numpy(tables).to(current.device)
    bf16 = problem.bf16 and temperature is not None

    def evaluate(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of some tiles."""
        values = current[rows].requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            if temperature is None:
                quantised = values + (integers[rows] - values).detach()
                rate = interpolated_bits(lengths, which[rows], values)
            else:
                quantised = soft_round(values, temperature)
                rate = interpolated_bits(lengths, which[rows], quantised)
            with torch.autocast(current.device.type, torch.bfloat16, enabled=bf16):
                pictures = problem.render(problem.steps[rows] * quantised)
            difference = (pictures.float() - problem.target[rows]).square() * problem.weight[rows]
            error = difference.flatten(1).sum(1)
            slope = values
            if gradient:
                (slope,) = torch.autograd.grad((error + price[problem.file[rows]] * rate).sum(), values)
        exact = interpolated_bits(lengths, which[rows], integers[rows]) if temperature is None else rate
        return error.detach(), exact.detach(), slope.detach()

    parts = Parts.of(len(current), problem.target.shape[-1], current.device)
    found = parts.map(evaluate, parts.split(torch.arange(len(current), device=current.device)))
    errors, bits, slopes = (torch.cat(column) for column in zip(*found, strict=True))
    return _per_file(problem, errors), _per_file(problem, bits), slopes


def _per_file(problem: Problem, values: Tensor) -> Tensor:
    """Sums over the tiles of each file."""
    return values.new_zeros(len(problem.parts)).index_add(0, problem.file, values)


def both_signs(lengths: NDArray[np.float64]) -> Tensor:
    """Of magnitudes 0 .. m [tables, m + 1] -> of symbols -m .. m [tables, 2 m + 1]; tables are symmetric."""
    return torch.from_numpy(np.concatenate([lengths[:, :0:-1], lengths], axis=1)).float()


def interpolated_bits(lengths: Tensor, tables: Tensor, values: Tensor) -> Tensor:
    """The code length of each row [n] of real ``values`` [n, d], linear between integers."""
    low = values.detach().floor().clamp(-MAX_SUPPORT - 1, MAX_SUPPORT)
    index = tables * lengths.shape[1] + low.long() + MAX_SUPPORT + 1
    flat = lengths.flatten()
    below, above = flat[index], flat[index + 1]
    return (below + (above - below) * (values - low)).sum(dim=1)


def soft_round(x: Tensor, temperature: float) -> Tensor:
    """Rounding that is the identity at infinite and hard at zero temperature; fixes integers and halves.

    Agustsson and Theis, arXiv:2006.09952, Eq. 10, with alpha = 1 / temperature.
    """
    low = x.detach().floor()
    return low + 0.5 + 0.5 * torch.tanh((x - low - 0.5) / temperature) / math.tanh(0.5 / temperature)
