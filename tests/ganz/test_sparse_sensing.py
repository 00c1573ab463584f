"""Recovery of pictures that have few large coefficients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ganic.errors import TrainingError, UsageError
from ganic.ganz.basis import POSITIONS, SMOOTH, KroneckerBasis
from ganic.ganz.budget import Progress, Settings
from ganic.ganz.encoder import GAIN
from ganic.ganz.experiments import psnrs
from ganic.ganz.generator import Generator
from ganic.ganz.measurements import Measurement, StructuredMeasurement, measure
from ganic.ganz.reconstruction import ReconstructionObjective
from ganic.ganz.sparse_sensing import SparseRecovery, recover_sparse

SIZE, WIDTH = 32, 48
NUMBERS = 3 * SIZE**2


@pytest.fixture(scope="module")
def networks() -> ReconstructionObjective:
    """An orthonormal transform with as many latents as numbers: the direct path alone."""
    torch.manual_seed(0)
    generator = Generator(4, SIZE, WIDTH, direct=True, narrowing=(4, 4))
    objective = ReconstructionObjective(generator, None, encoder_features=4, local=True)
    with torch.no_grad():
        generator.last.weight.zero_()
        objective.encoder.last.weight.zero_()
        objective.encoder.last.bias.zero_()
    return objective


def sparse_pictures(networks: ReconstructionObjective, count: int) -> Tensor:
    """Grey, with smooth parts and 40 large coefficients anywhere [count, 3, 32, 32]."""
    torch.manual_seed(1)
    latents = torch.zeros(count, WIDTH * POSITIONS)
    latents[:, :8] = torch.randn(count, 8) * GAIN * 0.3
    for row in latents:
        places = SMOOTH * POSITIONS + torch.randperm((WIDTH - SMOOTH) * POSITIONS)[:40]
        row[places] = torch.randn(40) * GAIN * 0.3
    with torch.no_grad():
        return networks.generator.synthesise(networks.basis(latents))


def test_the_orthonormal_problem_in_closed_form(
    networks: ReconstructionObjective, whole: Measurement
) -> None:
    x = torch.rand(2, 3, SIZE, SIZE)
    problem = SparseRecovery(networks.generator, networks.basis, whole, x.flatten(1), weight=0.1)
    assert float(problem.steepness()) == pytest.approx(GAIN**-2, rel=1e-2)
    found = recover_sparse(problem, Settings(steps=80)).found
    with torch.no_grad():
        coefficients = networks.encoder(x)
    sizes = networks.basis.sizes(coefficients) * coefficients.sign()
    cut = torch.zeros_like(sizes)
    cut[:, SMOOTH * POSITIONS :] = 0.1 * sizes[:, SMOOTH * POSITIONS :].abs().amax(1, keepdim=True)
    expected = sizes.sign() * (sizes.abs() - cut).clamp(min=0)
    assert torch.allclose(found.latents, expected, atol=2e-3 * float(sizes.abs().max()))


def test_few_coefficients_come_back_from_few_measurements(networks: ReconstructionObjective) -> None:
    truth = sparse_pictures(networks, 3).clamp(0, 1)
    a = StructuredMeasurement(NUMBERS, NUMBERS // 4, seed=2)
    problem = SparseRecovery(networks.generator, networks.basis, a, measure(a, truth), weight=0.005)
    steps: list[Progress] = []
    found = recover_sparse(problem, Settings(steps=250), steps.append)
    assert float(psnrs(found.pictures, truth).min()) > 30
    assert len(steps) == found.found.steps == 250 and not found.found.interrupted
    assert found.residuals.max() < 1e-3 and found.pictures.min() >= 0 and found.pictures.max() <= 1
    (alone,) = recover_sparse(
        SparseRecovery(networks.generator, networks.basis, a, measure(a, truth[:1]), weight=0.005),
        Settings(steps=250),
    ).pictures
    assert psnrs(alone[None], found.pictures[:1]) > 45  # its neighbours hardly matter


def test_what_noise_explains_stays_zero(networks: ReconstructionObjective) -> None:
    a = StructuredMeasurement(NUMBERS, NUMBERS // 2, seed=2)
    y = measure(a, torch.full((1, 3, SIZE, SIZE), 0.6), noise=0.2)
    quiet = SparseRecovery(networks.generator, networks.basis, a, y, noise=0.2)
    loud = SparseRecovery(networks.generator, networks.basis, a, y)
    counts = [
        int((recover_sparse(p, Settings(steps=60)).found.latents[:, SMOOTH * POSITIONS :] != 0).sum())
        for p in (quiet, loud)
    ]
    assert counts[0] < 0.05 * WIDTH * POSITIONS < counts[1]


def test_ctrl_c_gives_what_there_is(networks: ReconstructionObjective, whole: Measurement) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    y = torch.rand(1, NUMBERS)
    problem = SparseRecovery(networks.generator, networks.basis, whole, y)
    found = recover_sparse(problem, Settings(steps=50), stop).found
    assert found.interrupted and found.steps <= 3 and bool(torch.isfinite(found.latents).all())


def test_impossible_problems(networks: ReconstructionObjective, whole: Measurement) -> None:
    y, generator, basis = torch.zeros(1, NUMBERS), networks.generator, networks.basis
    with pytest.raises(UsageError, match="local"):
        SparseRecovery(generator, KroneckerBasis(WIDTH), whole, y)
    with pytest.raises(UsageError, match="weight"):
        SparseRecovery(generator, basis, whole, y, weight=0)
    with pytest.raises(UsageError, match="pictures of 75 numbers"):
        SparseRecovery(generator, basis, StructuredMeasurement(75, 10), y)
    broken = SparseRecovery(generator, basis, whole, torch.full((1, NUMBERS), math.inf))
    with pytest.raises(TrainingError, match="picture 0"):
        recover_sparse(broken, Settings(steps=3))
