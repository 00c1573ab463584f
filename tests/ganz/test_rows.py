"""Batches in parts: how they are cut, and that nothing but the time depends on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ganic.ganz.rows import PIXELS, Parts, Together, evaluate

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@given(st.integers(1, 500), st.sampled_from([8, 32, 64, 128, 1024]), st.integers(1, 5))
def test_parts_are_small_even_and_keep_all_cores_busy(count: int, side: int, cores: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    sizes = Parts.of(count, side, CPU).sizes
    torch.set_num_threads(before)
    assert sum(sizes) == count and max(sizes) - min(sizes) <= 1
    assert max(sizes) == 1 or max(sizes) * side**2 <= PIXELS
    assert len(sizes) % cores == 0 or len(sizes) == count


def test_another_device_computes_one_part_at_a_time() -> None:
    parts = Parts.of(64, 64, torch.device("meta"))
    assert parts.sizes == (32, 32) and parts.cores == 1
    threads = parts.map(lambda i: threading.get_ident(), [0, 1])
    assert threads == [threading.get_ident()] * 2


def test_parts_are_computed_side_by_side_on_one_core_each() -> None:
    both = threading.Barrier(2)

    def work(i: int) -> tuple[int, int]:
        both.wait(timeout=30)  # one after the other would not get past this
        return i, torch.get_num_threads()

    assert Parts((3, 2), 2).map(work, [7, 8]) == [(7, 1), (8, 1)]
    assert torch.get_num_threads() == 2


def test_the_loss_of_parts_is_that_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 9, generator=generator)
    z, target = torch.randn(7, 5, generator=generator), torch.randn(7, 9, generator=generator)

    def loss_for(part: Tensor) -> object:
        return lambda z: (torch.sin(z @ weight) - part).square().mean(dim=1)

    parts = Parts((3, 2, 2), 2)
    together = Together([loss_for(part) for part in parts.split(target)], parts)  # type: ignore[misc]
    losses, gradient = evaluate(together, z)
    # By hand: d/dz mean (sin(zW) - t)^2 = 2/9 (sin(zW) - t) cos(zW) W^T
    inner = z @ weight
    error = torch.sin(inner) - target
    assert torch.allclose(losses, error.square().mean(dim=1), atol=1e-6)
    assert torch.allclose(gradient, 2 / 9 * (error * torch.cos(inner)) @ weight.mT, atol=1e-6)
    assert torch.allclose(together(z), losses, atol=1e-6)


def test_gradients_and_errors_pass_between_threads() -> None:
    parts, x = Parts((1, 1), 2), torch.ones(1, requires_grad=True)
    assert [y.requires_grad for y in parts.map(lambda i: x * i, [1, 2])] == [True, True]
    with torch.no_grad():
        assert [y.requires_grad for y in parts.map(lambda i: x * i, [1, 2])] == [False, False]
    with torch.inference_mode():
        assert all(y.is_inference() for y in parts.map(lambda i: torch.ones(1) * i, [1, 2]))

    def fail(i: int) -> Tensor:
        raise ValueError(f"part {i}")

    with pytest.raises(ValueError, match="part 1"):
        parts.cat(fail, [1, 2])
