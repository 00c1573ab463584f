"""Adam's update against torch's."""

from __future__ import annotations

import pytest
import torch

from ganic.adam import Adam


@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.99), 1e-12), ((0.5, 0.999), 1e-8)])
def test_as_torch_has_it(betas: tuple[float, float], eps: float) -> None:
    torch.manual_seed(3)
    start = torch.randn(5, 7)
    theirs = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([theirs], betas=betas, eps=eps)
    update, ours = Adam(start, betas, eps), start
    for rate in (0.1, 0.05, 0.2, 0.0, 0.01):
        gradient = torch.randn(5, 7)
        gradient[0] = 0  # never has one
        before = ours.clone()
        theirs.grad = gradient.clone()
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        following = update(ours, gradient, rate)
        assert torch.equal(ours, before)
        ours = following
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-7)
    assert update.steps == 5 and torch.equal(ours[0], start[0])
