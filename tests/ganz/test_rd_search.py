"""The search for quantised latents: its rounding, its code lengths, its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ganic.errors import TrainingError
from ganic.ganz.budget import Progress, Settings
from ganic.ganz.latent_coder import LatentPrior, PlainCoder
from ganic.ganz.rd_search import Part, Problem, both_signs, interpolated_bits, rd_search, soft_round
from ganic.ganz.tables import code_lengths, laplace_tables

TABLES = laplace_tables()
SIZE = 8


def test_soft_rounding() -> None:
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    assert torch.allclose(soft_round(x, 100.0), x, atol=1e-4)
    hard = soft_round(x, 0.01)
    away = ((x - x.floor() - 0.5).abs() > 0.05) & ((x - x.round()).abs() > 1e-9)
    assert torch.allclose(hard[away], x[away].round(), atol=1e-3)
    assert (soft_round(x, 0.3).diff() >= 0).all()
    whole = torch.arange(-3.0, 4.0)
    assert torch.allclose(soft_round(whole, 0.2), whole, atol=1e-6)
    assert torch.allclose(soft_round(whole + 0.5, 0.2), whole + 0.5, atol=1e-6)


def test_code_lengths_are_those_of_the_coder() -> None:
    lengths = both_signs(code_lengths(TABLES))
    rng = np.random.default_rng(0)
    for table in (1, 17, 40, 64):
        support = int(TABLES.supports[table])
        symbols = rng.integers(-support, support + 1, (1, 30))
        exact = TABLES.bits(symbols[0], np.full(30, table))
        found = interpolated_bits(lengths, torch.full((1, 30), table), torch.from_numpy(symbols).float())
        assert math.isclose(float(found), exact, rel_tol=1e-5)
    outside = int(TABLES.supports[5]) + torch.tensor([[0.0, 1.0, 2.0]])
    a, b, c = (
        float(interpolated_bits(lengths, torch.tensor([[5]]), outside[:, i : i + 1])) for i in range(3)
    )
    assert a < b < c < math.inf


def test_interpolation_between_integers_has_their_slope() -> None:
    lengths = both_signs(code_lengths(TABLES))
    x = torch.tensor([[2.25, -1.75]], requires_grad=True)
    bits = interpolated_bits(lengths, torch.tensor([[30, 30]]), x)
    zero = lengths.shape[1] // 2
    row = lengths[30, zero:]
    assert math.isclose(
        float(bits.detach()), 0.75 * row[2] + 0.25 * row[3] + 0.25 * row[1] + 0.75 * row[2], rel_tol=1e-5
    )
    bits.sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad[0], torch.stack([row[3] - row[2], row[1] - row[2]]), atol=1e-4)


def identity_problem(target: Tensor, price: float = 1e-9, **part: object) -> Problem:
    """Pictures that are their latents: what rounding does can be told by hand."""
    n = len(target)
    return Problem(
        render=lambda z: z.view(-1, 3, SIZE, SIZE),
        target=target,
        weight=torch.ones(n, 1, SIZE, SIZE),
        file=torch.arange(n),
        parts=[Part(0.1, price, **part)] * n,  # type: ignore[arg-type]
        coder=PlainCoder(TABLES, 3 * SIZE * SIZE, 40, 0),
    )


def test_without_a_price_the_nearest_symbols_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3, 3, SIZE, SIZE, generator=generator)
    nearest = target.flatten(1) / 0.1
    start = nearest + 2 * torch.rand(3, 192, generator=generator) - 1
    begun = rd_search(identity_problem(target), start, Settings(steps=0))
    coded = rd_search(identity_problem(target), start, Settings(steps=200))
    assert np.mean(begun.symbols == nearest.round().numpy()) < 0.6
    assert np.mean(coded.symbols == nearest.round().numpy()) > 0.9
    assert (np.abs(coded.symbols - nearest.numpy()) < 0.75).all() and (
        coded.errors < 0.3 * begun.errors
    ).all()
    made = torch.from_numpy(coded.symbols).float().view_as(target) * 0.1
    assert torch.allclose((made - target).square().flatten(1).sum(1), coded.errors, rtol=1e-4)


def test_zero_steps_round_the_start() -> None:
    start = torch.linspace(-20, 20, 192)[None]
    coded = rd_search(identity_problem(torch.zeros(1, 3, SIZE, SIZE)), start, Settings(steps=0))
    assert np.array_equal(coded.symbols, np.rint(start.numpy()).astype(np.int16)) and coded.steps == 0


def test_a_price_buys_shorter_codes() -> None:
    target = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    start = target.flatten(1) / 0.1
    found = [rd_search(identity_problem(target, p), start, Settings(steps=60)) for p in (1e-9, 3e-3, 3e-2)]
    bits = [float(coded.bits) for coded in found]
    errors = [float(coded.errors) for coded in found]
    assert bits[0] > bits[1] > bits[2] and errors[0] < errors[1] < errors[2]
    costs = [float(coded.errors + 3e-2 * coded.bits) for coded in found]
    assert costs[2] == min(costs)


def test_limits_are_kept_and_used() -> None:
    target = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    start = target.flatten(1) / 0.1
    free = rd_search(identity_problem(target, 1e-3), start, Settings(steps=0))
    limit = 0.7 * float(free.bits.min())
    problem = identity_problem(target, 1e-3, limit=limit)
    coded = rd_search(problem, start, Settings(steps=600))
    assert (coded.bits <= limit).all() and (coded.bits > 0.95 * limit).all()
    for symbols, bits in zip(coded.symbols, coded.bits.tolist(), strict=True):
        assert math.isclose(TABLES.bits(symbols, np.full(192, 41)), bits, rel_tol=1e-4)
    # Half of the limit cannot be reached in one step: no candidate is better than a wrong one.
    hopeless = rd_search(identity_problem(target, 1e-3, limit=1.0), start, Settings(steps=1))
    assert torch.isinf(hopeless.errors).all()


def test_candidates_near_a_limit_are_really_tried() -> None:
    target = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    start = target.flatten(1) / 0.1
    bits = float(rd_search(identity_problem(target), start, Settings(steps=0)).bits)
    asked: list[tuple[int, ...]] = []

    def refuse(symbols: np.ndarray) -> bool:  # type: ignore[type-arg]
        asked.append(symbols.shape)
        return False

    near = rd_search(identity_problem(target, limit=bits + 1, fits=refuse), start, Settings(steps=0))
    far = rd_search(identity_problem(target, limit=bits + 100, fits=refuse), start, Settings(steps=0))
    assert torch.isinf(near.errors).all() and torch.isfinite(far.errors).all() and asked == [(1, 192)]


def test_files_do_not_influence_each_other() -> None:
    target = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    start = target.flatten(1) / 0.1
    levels = np.full((3, 64), 40, np.int16)
    shifts = np.zeros((6, 6), np.int8)
    shifts[5, :] = 5
    prior, steps = LatentPrior(TABLES, levels, shifts), np.array([0, 3, 6])

    def problem(files: list[int]) -> Problem:
        tiles = [t for t, f in enumerate((0, 0, 1, 2)) if f in files]
        file = [files.index((0, 0, 1, 2)[t]) for t in tiles]
        return Problem(
            render=lambda z: z.view(-1, 3, SIZE, SIZE),
            target=target[tiles],
            weight=torch.ones(len(tiles), 1, SIZE, SIZE),
            file=torch.tensor(file),
            parts=[Part(0.1 * 1.1 ** (3 * f), 1e-3, limit=500.0 + 300 * (f == 0)) for f in files],
            coder=prior.at(steps[files][file]),
        )

    together = rd_search(problem([0, 1, 2]), start, Settings(steps=40))
    for file, tiles in enumerate(([0, 1], [2], [3])):
        alone = rd_search(problem([file]), start[tiles], Settings(steps=40))
        assert np.array_equal(alone.symbols, together.symbols[tiles])
        assert torch.allclose(alone.errors, together.errors[file : file + 1])


def test_ctrl_c_gives_what_there_is() -> None:
    target = torch.randn(1, 3, SIZE, SIZE)

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    coded = rd_search(identity_problem(target), target.flatten(1) / 0.1, Settings(steps=50), stop)
    assert coded.interrupted and coded.steps <= 3 and torch.isfinite(coded.errors).all()


def test_an_error_that_is_not_finite_is_an_error() -> None:
    problem = identity_problem(torch.full((1, 3, SIZE, SIZE), math.nan))
    with pytest.raises(TrainingError, match="nan"):
        rd_search(problem, torch.zeros(1, 192), Settings(steps=2))
