"""Compressive sensing with a local basis: few latents are large, wherever they are.

    z* = argmin  1/2 ||A G(z) - y||^2 + weight ||z||_1      (the smooth channels' latents are not penalised)

Faces resemble their mean, and small latents are a good guess (`ganic.ganz.sensing`). Photographs resemble
each other in that few coefficients of a local basis matter, which is what wavelets are used for; here the
generator takes the place of the inverse wavelet transform.  FISTA (Beck and Teboulle, SIAM J. Imaging Sci. 2
(2009), Sec. 4) with the momentum dropped where it points uphill (O'Donoghue and Candes, arXiv:1204.3982),
because G is not quite linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ganic.errors import UsageError
from ganic.ganz.basis import POSITIONS, SMOOTH, KroneckerBasis
from ganic.ganz.budget import Clock, Found, Report, Settings, check_finite
from ganic.ganz.generator import Generator
from ganic.ganz.measurements import Measurement
from ganic.ganz.rows import Loss, Parts, Together, evaluate
from ganic.ganz.sensing import Recovered, check_size

WEIGHT = 0.001
"""Of the largest correlation |J^T A^T (y - A G(0))|, J being G's derivative at 0."""

FIRST = 30.0
"""The weight begins so many times larger and reaches its value after half of the budget."""

CAUTION = 1.3
"""How much steeper G may be than at 0."""

NOISE = 3.0
"""Latents that noise alone would explain, up to so many standard deviations, stay zero."""

POWERS = 12
"""Of the iteration that finds the largest eigenvalue."""


@dataclass(frozen=True)
class SparseRecovery:
    """The problem of recovering pictures from measurements ``y`` [n, count].

    ``basis``: a local one; latents [n, width * 64] are its coefficients in their common unit.
    ``noise``: standard deviation of a measurement. ``weight``: see WEIGHT.
    ``bf16``: compute pictures under autocast until the weight is reached.

    Raises UsageError for another basis, another picture size or a weight that is not positive.
    """

    generator: Generator
    basis: KroneckerBasis
    measurement: Measurement
    y: Tensor
    noise: float = 0.0
    weight: float = WEIGHT
    bf16: bool = False

    def __post_init__(self) -> None:
        check_size(self.measurement, self.generator)
        if not self.basis.local:
            raise UsageError("sparse recovery: this model's basis is not local; use the Gaussian prior")
        if not self.weight > 0:
            raise UsageError(f"sparse recovery: a weight of {self.weight}; it must be positive")

    def pictures(self, z: Tensor) -> Tensor:
        """[n, 3, s, s], not clipped."""
        return self.generator.synthesise(self.basis(z / self.basis.units))

    def measured(self, z: Tensor, bf16: bool = False) -> Tensor:
        """A G(z) [n, count]."""
        with torch.autocast(z.device.type, torch.bfloat16, enabled=bf16):
            pictures = self.pictures(z)
        return self.measurement.forward(pictures.float().flatten(1))

    def misfit(self, y: Tensor, bf16: bool = False) -> Loss:
        """1/M ||A G(z) - y||^2 of each row, for those pictures that were measured as ``y``."""
        return lambda z: (self.measured(z, bf16) - y).square().mean(dim=1)

    def back(self, z: Tensor, y: Tensor) -> Tensor:
        """J(z)^T A^T y."""
        variable = z.detach().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad((self.measured(variable) * y).sum(), variable)
        return found

    def steepness(self) -> Tensor:
        """The largest eigenvalue of J^T A^T A J at zero, for each row alike [1, 1]: power iteration."""
        zero = self.y.new_zeros(1, self.generator.h0_size)
        origin = self.measured(zero)
        direction = self.back(zero, self.y[:1] - origin)
        value = zero[:, :1]
        for _ in range(POWERS):
            direction = direction / direction.norm().clamp(min=1e-30)
            with torch.no_grad():
                along = self.measured(zero + direction) - origin
            direction = self.back(zero, along)
            value = direction.norm().reshape(1, 1)
        return value.clamp(min=1e-12)


def recover_sparse(problem: SparseRecovery, settings: Settings, report: Report | None = None) -> Recovered:
    """Recovered pictures; of ``settings``, steps and seconds count.

    Ctrl-C ends it early with what there is.  Raises TrainingError if a residual is not finite.
    """
    clock = Clock(settings, report)
    z = problem.y.new_zeros(len(problem.y), problem.generator.h0_size)
    penalised = torch.ones_like(z[:1])
    penalised[:, : SMOOTH * POSITIONS] = 0
    parts = Parts.of(len(z), problem.generator.image_size, z.device)
    ys = parts.split(problem.y)
    precise = Together([problem.misfit(y) for y in ys], parts)
    quick = Together([problem.misfit(y, problem.bf16) for y in ys], parts)
    half = problem.measurement.count / 2  # of a misfit: what the gradients here are of
    with torch.no_grad():
        first = problem.measured(z[:1])
    scale = (evaluate(precise, z)[1] * half * penalised).abs().amax(1, keepdim=True)
    draw = torch.Generator().manual_seed(0)
    some = torch.randn(first.shape, generator=draw).to(first)
    loud = NOISE * problem.noise * problem.back(z[:1], some).square().mean().sqrt()
    step = 1 / (CAUTION * problem.steepness())
    ahead, age = z, torch.ones_like(z[:, :1])
    interrupted = False
    try:
        while clock.fraction < 1:
            fall = max(0.0, 1 - 2 * clock.fraction)
            losses, gradient = evaluate(quick if fall > 0 else precise, ahead)
            check_finite(losses, clock.step)
            threshold = (problem.weight * FIRST**fall * scale).clamp(min=float(loud)) * step * penalised
            moved = ahead - step * half * gradient
            new = moved.sign() * (moved.abs() - threshold).clamp(min=0)
            uphill = ((ahead - new) * (new - z)).sum(dim=1, keepdim=True) > 0
            age = torch.where(uphill, torch.ones_like(age), age)
            older = (1 + (1 + 4 * age.square()).sqrt()) / 2
            ahead = new + torch.where(uphill, torch.zeros_like(age), (age - 1) / older) * (new - z)
            z, age = new, older
            clock.tick(losses)
    except KeyboardInterrupt:
        interrupted = True
    with torch.no_grad():
        pictures = parts.cat(problem.pictures, parts.split(z))
        residuals = (problem.measurement.forward(pictures.flatten(1)) - problem.y).square().mean(dim=1)
    found = Found(z, residuals, clock.step, clock.seconds, interrupted)
    return Recovered(pictures.clamp(0, 1), residuals, found)
