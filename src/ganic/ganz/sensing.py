"""Compressive sensing with the generator as prior (Sec. 4; Bora et al., arXiv:1703.03208):

    z* = argmin  1/M ||A G(z) - y||^2 + prior / d ||z||^2

The first layer is any of the model's.  With the learned basis, latents are in units of their standard
deviations and the second term is what a Gaussian prior says.  Afterwards an intermediate layer may be freed,
within reach of where it is (intermediate-layer optimisation, Daras et al., arXiv:2102.07364).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ganic.errors import UsageError
from ganic.ganz.budget import Found, Report, Settings
from ganic.ganz.generator import Generator
from ganic.ganz.measurements import Measurement
from ganic.ganz.rows import Parts, Together
from ganic.ganz.search import restarts, search


def check_size(measurement: Measurement, generator: Generator) -> None:
    """Raises UsageError unless the generator's pictures are what is measured."""
    expected = 3 * generator.image_size**2
    if measurement.numbers != expected:
        raise UsageError(f"measurements: of pictures of {measurement.numbers} numbers, not of {expected}")


@dataclass(frozen=True)
class Recovered:
    """What a recovery gave."""

    pictures: Tensor
    """[n, 3, s, s], clipped to [0, 1]."""
    residuals: Tensor
    """1/M ||A G(z) - y||^2 of each picture [n], before clipping."""
    found: Found


@dataclass(frozen=True)
class Recovery:
    """The problem of recovering pictures from measurements ``y`` [n, count].

    ``prior``: the weight of the latents' mean square; 0 for the paper's plain least squares.
    ``bf16``: compute the first part of a search under autocast.
    """

    generator: Generator
    layer: nn.Module
    measurement: Measurement
    y: Tensor
    prior: float = 0.0
    bf16: bool = False

    def __post_init__(self) -> None:
        check_size(self.measurement, self.generator)
        if not self.prior >= 0:
            raise UsageError(f"prior: {self.prior} is no weight; give 0 or more")

    def pictures(self, z: Tensor) -> Tensor:
        return self.generator.synthesise(self.layer(z))

    def residuals(self, pictures: Tensor) -> Tensor:
        return (self.measurement.forward(pictures.float().flatten(1)) - self.y).square().mean(dim=1)

    def __call__(self, z: Tensor) -> Tensor:
        """The loss of each row."""
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.bf16):
            pictures = self.pictures(z)
        losses = self.residuals(pictures)
        return losses + self.prior * z.square().mean(dim=1) if self.prior else losses


def recover(
    problem: Recovery, starts: Sequence[Tensor], settings: Settings, report: Report | None = None
) -> Recovered:
    """Search from each of ``starts`` (each [n, d]) and keep the best of every picture."""
    parts = Parts.of(len(problem.y), problem.generator.image_size, problem.y.device)
    losses = [replace(problem, y=y) for y in parts.split(problem.y)]
    precise = [replace(loss, bf16=False) for loss in losses]
    found = restarts(Together(losses, parts), starts, settings, report, precise=Together(precise, parts))
    with torch.no_grad():
        pictures = parts.cat(problem.pictures, parts.split(found.latents))
        residuals = problem.residuals(pictures)
    return Recovered(pictures.clamp(0, 1), residuals, found)


def recover_deeper(
    problem: Recovery,
    recovered: Recovered,
    settings: Settings,
    report: Report | None = None,
    *,
    cut: int = 1,
    leash: float = 0.01,
) -> Recovered:
    """Go on from a recovery with the activation after ``cut`` blocks free; h0 stays for the skips.

    ``leash`` weighs the mean square of the activation's change.
    Raises UsageError if the generator has no such block.
    """
    generator = problem.generator
    if not 0 <= cut < len(generator.blocks):
        raise UsageError(f"intermediate layer: {cut}; this generator has 0 to {len(generator.blocks) - 1}")
    with torch.no_grad():
        h0: Tensor = problem.layer(recovered.found.latents)
        begin = generator.head(h0, cut)

    def pictures(activation: Tensor) -> Tensor:
        return generator.tail(activation, h0, cut)

    def loss(activation: Tensor) -> Tensor:
        change = (activation - begin).square().flatten(1).mean(dim=1)
        return problem.residuals(pictures(activation)) + leash * change

    found = search(loss, begin, replace(settings, finish=1.0), report)
    with torch.no_grad():
        made = pictures(found.latents)
        residuals = problem.residuals(made)
    return Recovered(made.clamp(0, 1), residuals, found)
