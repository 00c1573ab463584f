"""Convolutions at a change of resolution against the two steps that they stand for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ganic.resample_conv import averaged_conv, upsampled_conv


@pytest.mark.parametrize("factor", [2, 3, 4, 16])
def test_convolution_after_enlarging(factor: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.randn(7, 5, 3, 3, dtype=torch.float64)
    expected = F.conv2d(F.interpolate(x, scale_factor=factor, mode="nearest"), weight, padding=1)
    assert torch.allclose(upsampled_conv(x, weight, factor), expected, atol=1e-12)


def test_convolution_before_averaging() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 8, 6, dtype=torch.float64), torch.randn(7, 5, 3, 3, dtype=torch.float64)
    for bias in (None, torch.randn(7, dtype=torch.float64)):
        expected = F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)
        assert torch.allclose(averaged_conv(x, weight, bias), expected, atol=1e-12)


def test_first_and_second_gradients() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    for function in (upsampled_conv, averaged_conv):
        assert torch.autograd.gradcheck(function, (x, weight))
        assert torch.autograd.gradgradcheck(function, (x, weight))


def test_kernels_are_added_up_in_single_precision() -> None:
    """Under autocast too: they are rounded once, as those of other convolutions are."""
    weight = torch.full((1, 1, 3, 3), 1 + 2**-12)
    x = torch.ones(1, 1, 8, 8)
    difference = torch.zeros(1, 1, 3, 3)
    difference[0, 0, 1, 1:] = torch.tensor([1 + 2**-9, -1])  # bf16 has 1 for the first
    with torch.autocast("cpu", torch.bfloat16):
        assert upsampled_conv(x, weight)[0, 0, 2, 2] == 9
        assert averaged_conv(x, weight)[0, 0, 1, 1] == 9
        # The sum is a weight only where both meet the same value: in one of two columns.
        assert upsampled_conv(x, difference)[0, 0, 2, 2:4].tolist() == [2**-9, 0]
        assert averaged_conv(x, difference)[0, 0, 1, 1] == 2**-10
