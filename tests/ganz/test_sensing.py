"""Compressive sensing: measurements, the Lasso, recovery with a generator."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ganic.errors import UsageError
from ganic.ganz.budget import Settings
from ganic.ganz.experiments import How, lasso, measurement_of, prior_weight, psnrs, sense
from ganic.ganz.fista import Lasso, best_of, fista, lipschitz
from ganic.ganz.measurements import GaussianMeasurement, Measurement, StructuredMeasurement, measure
from ganic.ganz.model import Model
from ganic.ganz.search import start
from ganic.ganz.sensing import Recovery, recover, recover_deeper
from ganic.ganz.wavelets import analyse, synthesise

NUMBERS = 3 * 32 * 32
KINDS = [GaussianMeasurement, StructuredMeasurement]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", [NUMBERS, 75])
def test_adjoint_is_the_transpose(kind: type[Measurement], numbers: int) -> None:
    a = kind(numbers, 20, seed=3)  # type: ignore[call-arg]
    x, y = torch.randn(2, numbers), torch.randn(2, 20)
    assert torch.allclose((a.forward(x) * y).sum(1), (x * a.adjoint(y)).sum(1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_measurements_keep_lengths_on_average(kind: type[Measurement]) -> None:
    x = torch.randn(1, NUMBERS)
    x /= x.norm()
    lengths = [float(kind(NUMBERS, 300, seed=s).forward(x).square().sum()) for s in range(20)]  # type: ignore[call-arg]
    assert math.isclose(sum(lengths) / 20, 1.0, rel_tol=0.07), lengths  # 4 standard errors


def test_structured_measurements_are_orthogonal_rows() -> None:
    a = StructuredMeasurement(64, 10, seed=1)
    matrix = a.forward(torch.eye(64)).mT
    assert torch.allclose(matrix @ matrix.mT, torch.eye(10) * 64 / 10, atol=1e-4)
    assert torch.allclose(a.adjoint(torch.eye(10)), matrix, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, -1, NUMBERS + 1])
def test_impossible_numbers_of_measurements(kind: type[Measurement], count: int) -> None:
    with pytest.raises(UsageError, match="measurements"):
        kind(NUMBERS, count)  # type: ignore[call-arg]


def test_noise_has_its_deviation_and_is_the_same_for_every_picture() -> None:
    a, pictures = StructuredMeasurement(NUMBERS, 2000), torch.zeros(2, 3, 32, 32)
    y = measure(a, pictures, noise=0.1)
    assert math.isclose(float(y[0].std()), 0.1, rel_tol=0.06) and torch.equal(y[0], y[1])
    assert torch.equal(measure(a, pictures), torch.zeros(2, 2000))
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(UsageError, match="noise"):
            measure(a, pictures, noise=wrong)


@pytest.mark.parametrize("weight", [0.01, 0.1])
def test_fista_solves_the_orthonormal_problem_in_closed_form(
    weight: float, pictures: Tensor, whole: Measurement
) -> None:
    truth = pictures[:2]
    problem = Lasso(whole, truth.flatten(1), 32, opponent=False)
    coefficients = analyse(truth)
    mask = torch.ones(32, 32)
    mask[:2, :2] = 0  # the approximation band of four levels is not penalised
    threshold = weight * (coefficients * mask).abs().flatten(1).amax(1)[:, None, None, None] * mask
    shrunk = torch.sign(coefficients) * (coefficients.abs() - threshold).clamp(min=0)
    assert torch.allclose(fista(problem, weight, 60), synthesise(shrunk), atol=2e-4)


def test_fista_result_is_optimal_for_the_lasso(pictures: Tensor) -> None:
    a = GaussianMeasurement(NUMBERS, 400)
    problem = Lasso(a, measure(a, pictures[:1]), 32)
    weight = 0.05
    made = fista(problem, weight, 1500)
    w = problem.to_coefficients(made)
    correlation = problem.back(problem.residual(w))
    scale = (problem.back(problem.y) * _mask()).abs().max()
    # Subgradient conditions: gradient = -lambda sign(w) where w is not zero, within lambda elsewhere.
    active = (w.abs() > 1e-3) & (_mask() > 0)
    assert torch.allclose(
        correlation[active], -weight * scale * w.sign()[active], atol=0.02 * float(weight * scale)
    )
    assert float((correlation * _mask()).abs().max()) <= 1.02 * weight * float(scale)
    assert float((correlation * (1 - _mask())).abs().max()) < 0.02 * weight * float(scale)


def _mask() -> Tensor:
    mask = torch.ones(3, 32, 32)
    mask[:, :2, :2] = 0
    return mask


def test_lipschitz_constant_is_the_largest_eigenvalue() -> None:
    a = GaussianMeasurement(NUMBERS, 100)
    largest = float(torch.linalg.matrix_norm(a.matrix, 2)) ** 2
    found = lipschitz(Lasso(a, torch.randn(1, 100), 32))
    assert 0.95 * largest < found < 1.05 * largest
    structured = StructuredMeasurement(NUMBERS, 100)
    assert math.isclose(
        lipschitz(Lasso(structured, torch.randn(1, 100), 32)), 1.02 * NUMBERS / 100, rel_tol=1e-3
    )


def test_the_best_weight_is_chosen_for_each_picture(pictures: Tensor) -> None:
    a = GaussianMeasurement(NUMBERS, 600)
    problem = Lasso(a, measure(a, pictures[:2]), 32)
    made, errors = best_of(problem, pictures[:2], weights=(0.003, 0.03, 3.0), iterations=60)
    each = [
        (fista(problem, w, 60).clamp(0, 1) - pictures[:2]).square().flatten(1).mean(1)
        for w in (0.003, 0.03, 3.0)
    ]
    assert torch.allclose(errors, torch.stack(each).min(0).values)
    assert torch.allclose((made - pictures[:2]).square().flatten(1).mean(1), errors)
    for wrong in ({"weight": 0.0}, {"weight": 0.1, "iterations": 0}):
        with pytest.raises(UsageError, match="FISTA"):
            fista(problem, **wrong)  # type: ignore[arg-type]


def test_opponent_colours_help_the_baseline(pictures: Tensor) -> None:
    a = StructuredMeasurement(NUMBERS, 900)
    rgb, opponent = (lasso(pictures[:3], a, opponent=o, iterations=120).mean for o in (False, True))
    assert opponent > rgb > 12


@pytest.mark.parametrize("structured", [False, True])
def test_a_picture_of_the_generator_is_recovered(tiny_model: Model, structured: bool) -> None:
    # 10 unknowns, 100 measurements, no noise: the picture itself comes out.
    layer = tiny_model.first_layer("structured", 10)
    with torch.no_grad():
        truth = tiny_model.generator.synthesise(layer(start("normal", 1, 10, seed=5)))
    a = measurement_of(tiny_model, 100, structured, 0)
    problem = Recovery(tiny_model.generator, layer, a, measure(a, truth))
    recovered = recover(problem, [start("clamped-normal", 1, 10)], Settings(steps=150, finish=0.6))
    assert float(psnrs(recovered.pictures, truth.clamp(0, 1))) > 35
    assert float(recovered.residuals) < 1e-3


def test_the_learned_basis_recovers_what_it_can_make(tiny_model: Model) -> None:
    ratio = 100.0  # 30 numbers
    layer = tiny_model.first_layer("basis", tiny_model.latent_size(ratio))
    with torch.no_grad():
        z = start("clamped-normal", 2, 30, seed=3) * torch.tensor([[1.0], [-0.5]])
        truth = tiny_model.generator.synthesise(layer(z)).clamp(0, 1)
    a = measurement_of(tiny_model, 600, True, 0)
    how = How(Settings(steps=100, finish=0.7))
    outcome = sense(tiny_model, "basis", truth, a, how, ratio=ratio, floor=1e-6)
    assert torch.allclose(outcome.psnr, psnrs(outcome.pictures, truth)) and outcome.psnr.shape == (2,)
    noisy = sense(tiny_model, "basis", truth, a, how, ratio=ratio, noise=0.2)
    assert outcome.mean > noisy.mean + 3 and outcome.mean > 25


def test_prior_weight_by_hand() -> None:
    a = StructuredMeasurement(3072, 600)
    # v d / M with v = noise^2 + N floor / M
    assert math.isclose(prior_weight(a, 512, 0.1, 1e-4), (0.01 + 3072 * 1e-4 / 600) * 512 / 600)


def test_freeing_an_intermediate_layer_lowers_the_misfit(tiny_model: Model, pictures: Tensor) -> None:
    layer = tiny_model.first_layer("structured", 30)
    a = measurement_of(tiny_model, 500, True, 0)
    problem = Recovery(tiny_model.generator, layer, a, measure(a, pictures[:2]))
    first = recover(problem, [start("clamped-normal", 2, 30)], Settings(steps=40, finish=0.5))
    deeper = recover_deeper(problem, first, Settings(steps=30), cut=1)
    assert (deeper.residuals < first.residuals).all()
    with pytest.raises(UsageError, match="intermediate"):
        recover_deeper(problem, first, Settings(steps=1), cut=2)


def test_recovery_refuses_measurements_of_other_pictures(tiny_model: Model) -> None:
    layer = tiny_model.first_layer("structured", 10)
    other = StructuredMeasurement(300, 20)
    with pytest.raises(UsageError, match="numbers"):
        Recovery(tiny_model.generator, layer, other, torch.zeros(1, 20))
    a = StructuredMeasurement(NUMBERS, 20)
    with pytest.raises(UsageError, match="prior"):
        Recovery(tiny_model.generator, layer, a, torch.zeros(1, 20), prior=-1.0)
