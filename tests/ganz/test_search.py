"""Searches: against reference optimisers, and each problem of a batch on its own."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ganic.errors import TrainingError, UsageError
from ganic.ganz.adam import adam
from ganic.ganz.budget import Progress, Settings
from ganic.ganz.joint import joint_search
from ganic.ganz.lbfgs import lbfgs
from ganic.ganz.model import Model
from ganic.ganz.picture_loss import PictureLoss, psnr
from ganic.ganz.rows import Loss, Parts, Together, evaluate
from ganic.ganz.search import restarts, search, start
from ganic.ganz.surfing import surf


class Quadratics:
    """1/2 x A x - b x with a different, badly scaled A for every row."""

    def __init__(self, rows: int = 5, size: int = 20) -> None:
        generator = torch.Generator().manual_seed(0)
        a = torch.randn(rows, size, size, dtype=torch.float64, generator=generator)
        self.a = a @ a.mT + 0.01 * torch.eye(size, dtype=torch.float64)
        self.b = torch.randn(rows, size, dtype=torch.float64, generator=generator)
        self.zero = torch.zeros(rows, size, dtype=torch.float64)
        self.solution = torch.linalg.solve(self.a, self.b)

    def __call__(self, x: Tensor) -> Tensor:
        return 0.5 * torch.einsum("ni,nij,nj->n", x, self.a, x) - (self.b * x).sum(1)


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[:, 1:] - x[:, :-1].square()).square() + (1 - x[:, :-1]).square()).sum(1)


ROSENBROCK_STARTS = torch.linspace(-2, 2, 6 * 8, dtype=torch.float64).view(6, 8)


def test_lbfgs_solves_quadratics() -> None:
    problem = Quadratics()
    found = lbfgs(problem, problem.zero, Settings(steps=400))
    assert torch.allclose(found.latents, problem.solution, atol=1e-3)
    assert torch.allclose(found.losses, problem(problem.solution), atol=1e-9)


def test_lbfgs_agrees_with_scipy_on_rosenbrock() -> None:
    found = lbfgs(rosenbrock, ROSENBROCK_STARTS, Settings(steps=500))

    def value(row: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        losses, gradient = evaluate(rosenbrock, torch.from_numpy(row)[None])
        return float(losses[0]), gradient[0].numpy()

    for i, row in enumerate(ROSENBROCK_STARTS):
        reference = minimize(
            value, row.numpy(), jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-10}
        )
        assert math.isclose(float(found.losses[i]), reference.fun, abs_tol=1e-12)
        assert np.allclose(found.latents[i].numpy(), reference.x, atol=1e-5)
        # Not many more evaluations than scipy needs, although all rows march together.
        alone = lbfgs(rosenbrock, row[None], Settings(steps=reference.nfev * 3), tolerance=1e-8)
        assert float(alone.losses[0]) < 1e-12


@pytest.mark.parametrize("method", [lbfgs, adam])
def test_rows_do_not_influence_each_other(method: object) -> None:
    settings = Settings(steps=60)
    together = method(rosenbrock, ROSENBROCK_STARTS, settings)  # type: ignore[operator]
    for i in range(len(ROSENBROCK_STARTS)):
        alone = method(rosenbrock, ROSENBROCK_STARTS[i : i + 1], settings)  # type: ignore[operator]
        assert torch.equal(alone.latents[0], together.latents[i])


def test_lbfgs_survives_a_cliff() -> None:
    # Steps that land where the loss is not finite are only shortened.
    def cliff(x: Tensor) -> Tensor:
        return (torch.log(x) - 1).square().sum(1)

    found = lbfgs(cliff, torch.full((2, 3), 0.1, dtype=torch.float64), Settings(steps=100))
    assert torch.allclose(found.latents, torch.full_like(found.latents, math.e), atol=1e-6)


def test_lbfgs_keeps_the_shape_of_latents() -> None:
    found = lbfgs(lambda x: (x - 2).square().flatten(1).sum(1), torch.zeros(2, 3, 4), Settings(steps=20))
    assert torch.allclose(found.latents, torch.full((2, 3, 4), 2.0), atol=1e-4)


def test_adam_is_torchs_adam_with_cosine_decay() -> None:
    problem, steps = Quadratics(3, 6), 40
    x = problem.zero.clone().requires_grad_()
    optimiser = torch.optim.Adam([x], lr=0.05, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    path = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = problem(x)
        path.append((x.detach().clone(), loss.detach().clone()))
        loss.sum().backward()
        optimiser.step()
        schedule.step()
    path.append((x.detach().clone(), problem(x).detach()))
    found = adam(problem, problem.zero, Settings(steps=steps))
    best = torch.stack([loss for _, loss in path]).min(dim=0)
    assert torch.allclose(found.losses, best.values, atol=1e-9)
    for row, index in enumerate(best.indices.tolist()):
        assert torch.allclose(found.latents[row], path[index][0][row], atol=1e-7)


def test_the_best_is_kept_and_reported() -> None:
    # A huge rate makes Adam jump about; what it returns is never worse than where it began.
    problem = Quadratics()
    seen: list[Progress] = []
    found = adam(problem, problem.solution + 0.01, Settings(steps=30, rate=5.0), seen.append)
    assert (found.losses <= problem(problem.solution + 0.01)).all()
    assert torch.allclose(problem(found.latents), found.losses)
    assert [p.step for p in seen] == list(range(1, 31)) and {p.steps for p in seen} == {30}
    assert all((b.best <= a.best).all() for a, b in pairwise(seen))


def test_search_finishes_with_lbfgs_in_full_precision() -> None:
    problem, coarse_calls, fine_calls = Quadratics(), 0, 0

    def coarse(x: Tensor) -> Tensor:
        nonlocal coarse_calls
        coarse_calls += 1
        return problem(x) + 1e-3

    def fine(x: Tensor) -> Tensor:
        nonlocal fine_calls
        fine_calls += 1
        return problem(x)

    found = search(coarse, problem.zero, Settings(steps=200, finish=0.75), precise=fine)
    assert coarse_calls == 51 and 140 <= fine_calls <= 151  # one more each: where Adam ended
    assert torch.allclose(found.losses, problem(problem.solution), atol=1e-4)
    assert torch.allclose(found.losses, problem(found.latents))


def test_zero_steps_evaluate_the_start() -> None:
    problem = Quadratics()
    for finish in (0.0, 0.5, 1.0):
        found = search(problem, problem.zero, Settings(steps=0, finish=finish))
        assert torch.equal(found.latents, problem.zero) and found.steps == 0
        assert torch.equal(found.losses, problem(problem.zero))


def at_step_seven(progress: Progress) -> None:
    if progress.step == 7:
        raise KeyboardInterrupt


@pytest.mark.parametrize("finish", [0.0, 1.0])
def test_ctrl_c_keeps_the_best(finish: float) -> None:
    problem = Quadratics()

    found = search(problem, problem.zero, Settings(steps=1000, finish=finish), at_step_seven)
    assert found.interrupted
    assert (found.losses < problem(problem.zero)).all()
    assert torch.allclose(found.losses, problem(found.latents))


def test_a_time_budget_ends_the_search() -> None:
    problem = Quadratics()
    found = search(problem, problem.zero, Settings(steps=10**9, seconds=0.2, finish=0.5))
    assert 0.1 < found.seconds < 5 and found.steps > 1 and not found.interrupted


@pytest.mark.parametrize("finish", [0.0, 1.0])
def test_a_loss_that_is_not_finite_is_an_error(finish: float) -> None:
    def broken(x: Tensor) -> Tensor:
        return torch.tensor([0.0, math.nan]) + x.sum(1)

    with pytest.raises(TrainingError, match="picture 1 is nan at step 0"):
        search(broken, torch.zeros(2, 3), Settings(steps=5, finish=finish))


class Halves:
    """The rows of Quadratics as two parts, or three on two cores; which are computed in what thread."""

    def __init__(self, sizes: tuple[int, ...] = (3, 2)) -> None:
        self.problem, self.threads = Quadratics(), [set[int]() for _ in sizes]
        starts = np.cumsum((0, *sizes))
        cuts = [slice(a, b) for a, b in pairwise(starts.tolist())]
        self.together = Together([self.part(i, cut) for i, cut in enumerate(cuts)], Parts(sizes, 2))

    def part(self, number: int, cut: slice) -> Loss:
        a, b = self.problem.a[cut], self.problem.b[cut]

        def loss(x: Tensor) -> Tensor:
            self.threads[number].add(threading.get_ident())
            return 0.5 * torch.einsum("ni,nij,nj->n", x, a, x) - (b * x).sum(1)

        return loss


@pytest.mark.parametrize("finish", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("sizes", [(3, 2), (1, 2, 2), (2, 1, 1, 1)])
def test_each_core_searches_its_rows_from_beginning_to_end(finish: float, sizes: tuple[int, ...]) -> None:
    halves, seen = Halves(sizes), list[Progress]()
    settings = Settings(steps=60, finish=finish)
    alone = search(halves.problem, halves.problem.zero, settings)
    found = search(halves.together, halves.problem.zero, settings, seen.append, precise=halves.together)
    assert torch.allclose(found.latents, alone.latents, atol=1e-9)
    assert torch.allclose(found.losses, alone.losses, atol=1e-9)
    assert found.steps == alone.steps == 60 and not found.interrupted
    assert all(len(threads) == 1 for threads in halves.threads)
    # Of all rows, and of the core that is behind: a step is heard once, and the last one is.
    steps = [progress.step for progress in seen]
    assert steps == sorted(set(steps)) and steps[-1] == 60 and {len(p.best) for p in seen} == {5}
    assert torch.allclose(seen[-1].best, found.losses, atol=1e-3)


def test_fewer_parts_than_cores_leave_torch_its_threads() -> None:
    halves, before = Halves((2, 2, 1)), torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        together = Together(halves.together.losses, Parts((2, 2, 1), 5))
        search(together, halves.problem.zero, Settings(steps=3))
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)


def test_rows_that_are_done_do_not_keep_others_from_reporting() -> None:
    # L-BFGS ends at once where it begins at the solution.
    halves, seen = Halves(), list[Progress]()
    begin = torch.cat([halves.problem.solution[:3], halves.problem.zero[3:]])
    losses = [lambda x: (x - halves.problem.solution[:3]).square().sum(1), halves.together.losses[1]]
    together = Together(losses, halves.together.parts)
    found = search(together, begin, Settings(steps=40, finish=1.0), seen.append)
    assert torch.equal(found.latents[:3], halves.problem.solution[:3])
    assert seen[-1].step == found.steps > 10


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Shells start what runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("finish", [0.0, 1.0])
def test_ctrl_c_in_one_thread_ends_all(finish: float) -> None:
    halves = Halves()

    found = search(halves.together, halves.problem.zero, Settings(steps=10**9, finish=finish), at_step_seven)
    assert found.interrupted and 7 <= found.steps < 10**6
    assert (found.losses < halves.problem(halves.problem.zero)).all()
    assert torch.allclose(found.losses, halves.problem(found.latents))


def test_ctrl_c_in_the_terminal_ends_all(interruptible: None) -> None:
    halves = Halves()
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.5, signal.pthread_kill, [main, signal.SIGINT])
    timer.start()
    found = search(halves.together, halves.problem.zero, Settings(steps=10**9))
    assert found.interrupted and found.seconds < 30
    assert torch.allclose(found.losses, halves.problem(found.latents))


def test_a_loss_of_one_part_that_is_not_finite_ends_all() -> None:
    losses = [lambda x: x.square().sum(1), lambda x: torch.tensor([0.0, math.nan]) + x.sum(1)]
    with pytest.raises(TrainingError, match="picture 4 is nan at step 0"):
        search(Together(losses, Parts((3, 2), 2)), torch.zeros(5, 3), Settings(steps=10**9))


def test_restarts_choose_for_each_row() -> None:
    # Two wells; from the left start the left one is found, from the right the (deeper) right one.
    def wells(x: Tensor) -> Tensor:
        return ((x.square() - 1).square() - 0.3 * x * sign).sum(1)

    sign = torch.tensor([[1.0], [-1.0]])
    starts = [torch.full((2, 1), -1.0), torch.full((2, 1), 1.0)]
    found = restarts(wells, starts, Settings(steps=200, finish=0.5))
    assert torch.allclose(found.latents.flatten(), torch.tensor([1.04, -1.04]), atol=0.02)
    with pytest.raises(UsageError, match="starts"):
        restarts(wells, [], Settings())


def test_starts_are_alike_for_every_row() -> None:
    z = start("clamped-normal", 3, 1000, seed=4)
    assert torch.equal(z[0], z[2]) and z.abs().max() == 1 and 0.2 < (z.abs() == 1).float().mean() < 0.45
    assert torch.equal(start("zero", 2, 5), torch.zeros(2, 5))
    assert not torch.equal(start("normal", 1, 9, seed=1), start("normal", 1, 9, seed=2))


@pytest.mark.parametrize(
    "wrong",
    [{"steps": -1}, {"seconds": 0.0}, {"seconds": math.nan}, {"finish": 1.5}, {"rate": 0.0}, {"history": 0}],
)
def test_impossible_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="search"):
        Settings(**wrong)  # type: ignore[arg-type]


def test_surfing_escapes_a_bad_minimum() -> None:
    # The landscape grows a barrier as training goes on: from the start, the last one alone leads astray.
    def landscape(height: float) -> object:
        return lambda x: ((x - 2).square() * 0.1 + height * torch.exp(-8 * x.square())).sum(1)

    begin = torch.full((1, 1), -1.0)
    losses = [landscape(h) for h in (0.0, 0.5, 1.0)]
    settings = Settings(steps=300, finish=0.0)
    stuck = surf(losses[-1:], begin, settings)  # type: ignore[arg-type]
    surfed = surf(losses, begin, settings)  # type: ignore[arg-type]
    assert float(stuck.latents) < 0 and abs(float(surfed.latents) - 2) < 0.05
    assert surfed.steps == 300
    with pytest.raises(UsageError, match="checkpoints"):
        surf([], begin, settings)


def test_picture_loss_weighs_pixels() -> None:
    target, made = torch.zeros(1, 3, 2, 2), torch.tensor([[0.1, 0.2], [0.3, 0.4]]).expand(1, 3, 2, 2)
    latent = torch.zeros(1, 1)
    loss = PictureLoss(lambda z: made + 0 * z.sum(), target)
    assert math.isclose(float(loss(latent)), (0.01 + 0.04 + 0.09 + 0.16) / 4, rel_tol=1e-6)
    weighted = PictureLoss(loss.render, target, torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]]))
    assert math.isclose(float(weighted(latent)), (0.01 + 0.16) / 2, rel_tol=1e-6)
    assert psnr(0.01) == 20 and psnr(0.0) == math.inf


def test_pictures_do_not_influence_each_other(tiny_model: Model, pictures: Tensor) -> None:
    layer = tiny_model.first_layer("structured", 40)

    def found(target: Tensor) -> Tensor:
        loss = PictureLoss(lambda z: tiny_model.generator.synthesise(layer(z)), target)
        return search(loss, start("normal", len(target), 40), Settings(steps=20, finish=0.5)).losses

    together = found(pictures[:3])
    for i in range(3):
        # To rounding: convolutions of a batch may add up in another order.
        assert math.isclose(float(found(pictures[i : i + 1])), float(together[i]), rel_tol=1e-2)


def test_joint_search_beats_the_fixed_layer_and_counts_its_numbers(
    tiny_model: Model, pictures: Tensor
) -> None:
    layer, begin = tiny_model.first_layer("structured", 10), start("normal", 3, 10)
    loss = PictureLoss(lambda z: tiny_model.generator.synthesise(layer(z)), pictures[:3])
    fixed = search(loss, begin, Settings(steps=60))
    joint = joint_search(tiny_model.generator, layer, pictures[:3], begin, 2, Settings(steps=60))
    assert joint.losses.sum() < fixed.losses.sum()
    assert joint.numbers == 3 * 10 + 512 * 2 + 10 * 2
    h0 = layer(joint.latents) + joint.latents @ joint.right @ joint.left.mT
    again = (tiny_model.generator.synthesise(h0) - pictures[:3]).square().flatten(1).mean(1)
    assert torch.allclose(again, joint.losses, rtol=1e-4)
    with pytest.raises(UsageError, match="rank"):
        joint_search(tiny_model.generator, layer, pictures[:3], begin, 0, Settings(steps=1))
