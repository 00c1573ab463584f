"""The two terms of training's features against the same written as formulas, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ganic.extreme import feature_terms as module
from ganic.extreme.feature_terms import feature_terms
from ganic.metrics.perceptual import feature_distance, unit_length
from ganic.metrics.wasserstein import VARIANCE_FLOOR


def formula(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
        unit = unit_length(features)
        mean, square = (F.avg_pool2d(values, 4, stride=2) for values in (unit, unit.square()))
        return mean, (square - mean.square()).clamp_min(VARIANCE_FLOOR).sqrt()

    (mean, deviation), (fake_mean, fake_deviation) = statistics(real), statistics(fake)
    texture = (mean - fake_mean).square() + (deviation - fake_deviation).square()
    return feature_distance([real], [fake]), texture.sum(1).mean((1, 2))


def activations(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Like those behind a rectifier: many zeros, here and there all of a position's."""
    torch.manual_seed(math.prod(shape))
    real = 30 * torch.randn(shape).relu() * (torch.rand(shape[0], 1, *shape[2:]) > 0.1)
    fake = (real + 10 * torch.randn(shape)).relu()
    return tuple(x.to(dtype).contiguous(memory_format=torch.channels_last) for x in (real, fake))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strip", [1, 700, 2**18])
@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (2, 5, 5, 9), (2, 4, 23, 8), (3, 8, 30, 31)])
def test_values_and_gradients_are_those_of_the_formulas(
    shape: tuple[int, ...], strip: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STRIP", strip)
    real, fake = activations(shape, dtype)
    weights = torch.arange(1.0, 2 * shape[0] + 1).view(2, -1)
    found = []
    for terms in (formula, feature_terms):
        y = fake.clone().requires_grad_(True)
        values = torch.stack(terms(real, y))
        (weights * values).sum().backward()
        found.append((values.detach(), y.grad))
    (values, slope), (fused, fused_slope) = found
    torch.testing.assert_close(fused, values, rtol=1e-5, atol=1e-6)
    assert slope is not None and fused_slope is not None and fused_slope.dtype == dtype
    exact = 1e-5 if dtype == torch.float32 else 2e-2
    scale = float(slope.float().square().mean().sqrt())
    assert float((fused_slope - slope).float().abs().max()) < 10 * exact * scale


def test_by_hand() -> None:
    """Constant vectors: the distance is that of two directions, so is what means differ by, and nothing
    deviates."""
    real, fake = (torch.tensor(v).view(1, 2, 1, 1).expand(1, 2, 6, 7) for v in ([3.0, 4.0], [5.0, 0.0]))
    distance, texture = feature_terms(real, fake)
    assert float(distance) == pytest.approx(0.4**2 + 0.8**2, rel=1e-6)
    assert float(texture) == pytest.approx(0.4**2 + 0.8**2, rel=1e-6)


def test_equal_activations_have_no_gradient() -> None:
    real, _ = activations((2, 4, 12, 12), torch.float32)
    fake = real.clone().requires_grad_(True)
    distance, texture = feature_terms(real, fake)
    assert distance.tolist() == texture.tolist() == [0, 0]
    (distance.sum() + texture.sum()).backward()
    assert fake.grad is not None and float(fake.grad.abs().max()) < 1e-6
