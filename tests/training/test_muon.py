"""Muon: its updates against a singular value decomposition, and Adam where no convolution is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ganic.training.muon import MOMENTUM, RMS, Muon, orthogonal


@pytest.mark.parametrize("shape", [(3, 24, 60), (2, 60, 24), (1, 32, 32)])
def test_orthogonal_keeps_singular_vectors_and_evens_out_values(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    matrices[:, :, 0] *= 20
    made = orthogonal(matrices)
    assert made.shape == shape and made.dtype == torch.float32
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    values = torch.linalg.svdvals(made)
    middle = values[:, : shape[1] // 2]
    assert middle.min() > 0.6 and values.max() < 1.3
    assert F.cosine_similarity(made.flatten(1), (left @ right).flatten(1)).min() > 0.95


def test_turns_are_the_polynomial_and_autocast_only_rounds() -> None:
    matrices = torch.randn(2, 24, 60, generator=torch.Generator().manual_seed(0))
    x = matrices.double() / torch.linalg.matrix_norm(matrices.double(), keepdim=True)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
    assert torch.allclose(orthogonal(matrices).double(), x, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = orthogonal(matrices)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, orthogonal(matrices))
    assert F.cosine_similarity(rounded.double().flatten(1), x.flatten(1)).min() > 0.999


def test_no_gradient_is_no_update() -> None:
    assert not orthogonal(torch.zeros(2, 16, 16)).any()


def test_convolutions_move_by_orthogonal_steps_of_nesterov_momentum() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 32, 3, bias=False)
    optimiser = Muon(conv.parameters(), lr=0.5)
    momentum = torch.zeros_like(conv.weight)
    for _ in range(2):
        before, gradient = conv.weight.detach().clone(), torch.randn_like(conv.weight)
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        expected = orthogonal(((1 - MOMENTUM) * gradient + MOMENTUM * momentum).flatten(1)[None])[0]
        conv.weight.grad = gradient.clone()
        optimiser.step()
        moved = before - conv.weight.detach()
        assert torch.allclose(moved.flatten(1), 0.5 * RMS * 144**0.5 * expected, atol=1e-6)
        assert moved.square().mean().sqrt().item() == pytest.approx(0.5 * RMS, rel=0.25)


def test_everything_else_moves_as_with_adam() -> None:
    def moved(kind: type[torch.optim.Adam]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        # A vector, a matrix, a convolution that enlarges, one to three channels.
        shapes = [(16,), (16, 16), (16, 16, 2, 2), (3, 16, 3, 3)]
        parameters = [nn.Parameter(torch.randn(shape)) for shape in shapes]
        optimiser = kind(parameters, lr=1e-2, betas=(0.5, 0.9))
        for _ in range(3):
            for parameter in parameters:
                parameter.grad = torch.randn_like(parameter)
            optimiser.step()
        return [parameter.detach() for parameter in parameters]

    for a, b in zip(moved(Muon), moved(torch.optim.Adam), strict=True):
        assert torch.equal(a, b)


def test_groups_have_their_own_learning_rates() -> None:
    def moved(rates: tuple[float, float]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        convs = [nn.Conv2d(16, 16, 3) for _ in rates]
        before = [parameter.detach().clone() for conv in convs for parameter in conv.parameters()]
        groups = [{"params": list(conv.parameters()), "lr": r} for conv, r in zip(convs, rates, strict=True)]
        optimiser = Muon(groups, lr=1.0)
        for conv in convs:
            for parameter in conv.parameters():
                parameter.grad = torch.randn_like(parameter)
        optimiser.step()
        after = [parameter.detach() for conv in convs for parameter in conv.parameters()]
        return [b - a for a, b in zip(after, before, strict=True)]

    slow, fast = moved((0.1, 0.1)), moved((0.1, 0.3))
    for number, (one, other) in enumerate(zip(slow, fast, strict=True)):
        assert torch.allclose(other, one * (1 if number < 2 else 3), rtol=1e-4, atol=1e-6)


def test_it_minimises_what_adam_minimises() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, padding=1)
    x, truth = torch.randn(4, 16, 8, 8), nn.Conv2d(16, 16, 3, padding=1)
    with torch.no_grad():
        y = truth(x)
    optimiser = Muon(conv.parameters(), lr=0.02)
    losses = []
    for _ in range(100):
        optimiser.zero_grad()
        loss = (conv(x) - y).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 50
