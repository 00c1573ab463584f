"""What projected discriminators see, against a computation by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ganic.metrics.squeezenet import SqueezeNetFeatures
from ganic.training.projection import SCALES, Projection


def photograph_like(count: int, side: int) -> torch.Tensor:
    """Coloured noise, amplitudes falling with frequency, in 0..1."""
    frequency = torch.fft.fftfreq(side)
    radius = (frequency[:, None].square() + frequency[None].square()).sqrt().clamp_min(1 / side)
    noise = torch.fft.fft2(torch.randn(count, 3, side, side)) / radius
    pictures = torch.fft.ifft2(noise).real
    return (pictures / pictures.std() * 0.25 + 0.5).clamp(0, 1)


def test_maps_are_sums_from_coarse_to_fine() -> None:
    torch.manual_seed(0)
    projection = Projection(6)
    x = torch.rand(2, 3, 64, 80)
    activations = [SqueezeNetFeatures()(x)[n] for n in SCALES]
    maps = projection.mix(projection.look(x))
    assert [tuple(m.shape[1:]) for m in maps] == [(6, 31, 39), (6, 15, 19), (6, 7, 9), (6, 3, 4)]
    coarsest = torch.einsum("oc,nchw->nohw", projection.get_buffer("across3")[:, :, 0, 0], activations[3])
    torch.testing.assert_close(maps[3], coarsest, rtol=1e-4, atol=1e-4)
    own = torch.einsum("oc,nchw->nohw", projection.get_buffer("across2")[:, :, 0, 0], activations[2])
    above = F.conv2d(maps[3], projection.get_buffer("down3"), padding=1)
    above = F.interpolate(above, size=(7, 9), mode="bilinear", align_corners=False)
    torch.testing.assert_close(maps[2], own + above, rtol=1e-4, atol=1e-4)


def test_maps_of_pictures_have_unit_size() -> None:
    torch.manual_seed(0)
    projection = Projection(64)
    for scale in projection.mix(projection.look(photograph_like(8, 64))):
        assert 0.3 < scale.square().mean().sqrt().item() < 3


def test_nothing_learns_and_the_trunk_is_not_saved() -> None:
    torch.manual_seed(0)
    projection = Projection(4)
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    sum(scale.square().sum() for scale in projection.mix(projection.look(x))).backward()  # type: ignore[union-attr]
    assert x.grad is not None and x.grad[..., :63, :63].abs().mean() > 0
    assert not list(projection.parameters())
    assert set(projection.state_dict()) == {f"across{n}" for n in range(4)} | {f"down{n}" for n in (1, 2, 3)}


def test_another_process_draws_the_same_projections() -> None:
    """They are in the checkpoint: a run that resumes looks through the same ones."""
    torch.manual_seed(0)
    first, second = Projection(4), Projection(4)
    x = torch.rand(1, 3, 64, 64)
    seen = first.look(x)
    assert not torch.equal(first.mix(seen)[0], second.mix(seen)[0])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.mix(seen)[0], second.mix(second.look(x))[0])
