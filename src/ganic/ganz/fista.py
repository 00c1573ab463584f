"""Lasso in wavelets, the classical way to recover pictures from few measurements: FISTA.

    min over w   1/2 ||A Psi^T w - y||^2 + weight ||w||_1

Beck and Teboulle, SIAM J. Imaging Sci. 2 (2009), Sec. 4, with constant step size 1/L.  Psi is the orthonormal
db4 transform of `ganic.ganz.wavelets`, in RGB or in opponent colours.  The coarsest approximation band is not
penalised: pictures are not sparse there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ganic.errors import UsageError
from ganic.ganz.measurements import Measurement
from ganic.ganz.wavelets import LEVELS, analyse, from_opponent, synthesise, to_opponent

WEIGHTS = (0.003, 0.01, 0.03, 0.1)
"""What `best_of` tries, as shares of the largest correlation |Psi A^T y|."""


@dataclass(frozen=True)
class Lasso:
    """One problem for every row of ``y`` [n, count]; pictures are [n, 3, size, size]."""

    measurement: Measurement
    y: Tensor
    size: int
    opponent: bool = True

    def to_pictures(self, coefficients: Tensor) -> Tensor:
        made = synthesise(coefficients)
        return from_opponent(made) if self.opponent else made

    def to_coefficients(self, pictures: Tensor) -> Tensor:
        return analyse(to_opponent(pictures) if self.opponent else pictures)

    def residual(self, coefficients: Tensor) -> Tensor:
        return self.measurement.forward(self.to_pictures(coefficients).flatten(1)) - self.y

    def back(self, y: Tensor) -> Tensor:
        """Psi A^T y."""
        rows = self.measurement.adjoint(y)
        return self.to_coefficients(rows.view(len(y), 3, self.size, self.size))


def fista(problem: Lasso, weight: float, iterations: int = 300) -> Tensor:
    """Recovered pictures [n, 3, size, size], not clipped; ``weight`` is a share of max |Psi A^T y|.

    The weight is reached from 30 times its value within the first half of the iterations.
    Raises UsageError if weight or iterations are not positive.
    """
    if not weight > 0 or iterations < 1:
        raise UsageError(f"FISTA: weight {weight}, {iterations} iterations; both must be positive")
    correlation = problem.back(problem.y)
    mask = _penalised(problem)
    scale = (correlation * mask).abs().flatten(1).amax(1)[:, None, None, None]
    step = 1 / lipschitz(problem)
    w = torch.zeros_like(correlation)
    ahead, t = w, 1.0
    for i in range(iterations):
        fall = max(0.0, 1 - 2 * i / iterations)
        threshold = weight * 30.0**fall * scale * step * mask
        stepped = ahead - step * problem.back(problem.residual(ahead))
        new = torch.sign(stepped) * (stepped.abs() - threshold).clamp(min=0)
        t_new = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = new + (t - 1) / t_new * (new - w)
        w, t = new, t_new
    return problem.to_pictures(w)


def best_of(
    problem: Lasso, truth: Tensor, weights: Sequence[float] = WEIGHTS, iterations: int = 300
) -> tuple[Tensor, Tensor]:
    """For each picture, of all weights' results the nearest to the truth, and its mean squared error [n].

    Choosing with the truth in hand favours this baseline; that is intended.
    """
    best = torch.zeros_like(truth)
    errors = truth.new_full((len(truth),), math.inf)
    for weight in weights:
        made = fista(problem, weight, iterations).clamp(0, 1)
        error = (made - truth).square().flatten(1).mean(1)
        better = error < errors
        best = torch.where(better[:, None, None, None], made, best)
        errors = torch.where(better, error, errors)
    return best, errors


def lipschitz(problem: Lasso, iterations: int = 30) -> float:
    """The largest eigenvalue of A^T A, from above (Psi is orthonormal): power iteration and 2 % more."""
    x = problem.back(problem.y[:1])
    value = 1.0
    for _ in range(iterations):
        x = x / x.norm().clamp(min=1e-30)
        zero = Lasso(problem.measurement, torch.zeros_like(problem.y[:1]), problem.size, problem.opponent)
        x = zero.back(zero.residual(x))
        value = float(x.norm())
    return 1.02 * max(value, 1e-12)


def _penalised(problem: Lasso) -> Tensor:
    mask = problem.y.new_ones(problem.size, problem.size)
    side = problem.size >> LEVELS
    mask[:side, :side] = 0.0
    return mask
