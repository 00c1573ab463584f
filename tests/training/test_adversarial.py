"""Losses against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ganic.training import adversarial as adv

REAL, FAKE = torch.tensor([1.5, -0.5]), torch.tensor([0.5, -2.0])


def test_least_squares() -> None:
    # (0.5^2 + 1.5^2) / 2 + (0.5^2 + 2^2) / 2
    assert adv.least_squares_discriminator(REAL, FAKE).item() == pytest.approx(1.25 + 2.125)
    assert adv.least_squares_generator(FAKE).item() == pytest.approx((0.25 + 9) / 2)


def test_samples_that_count_differently() -> None:
    weights = torch.tensor([2.0, 0.5])
    assert adv.least_squares_generator(FAKE, weights).item() == pytest.approx((2 * 0.25 + 0.5 * 9) / 2)
    maps = FAKE[:, None, None, None].expand(2, 1, 3, 3)
    assert adv.least_squares_generator([maps, FAKE], weights).item() == pytest.approx(2.5)
    real, fake = [torch.zeros(2, 2), torch.ones(2, 3)], [torch.tensor([[1.0, 3.0], [0, 2]]), torch.ones(2, 3)]
    assert adv.feature_matching(real, fake, weights).item() == pytest.approx((2 * 2 + 0.5 * 1) / 2 / 2)
    same = torch.ones(2)
    assert adv.feature_matching(real, fake, same).item() == pytest.approx(
        adv.feature_matching(real, fake).item()
    )


def test_wasserstein() -> None:
    assert adv.wasserstein_discriminator(REAL, FAKE).item() == pytest.approx(-0.75 - 0.5)
    assert adv.wasserstein_generator(FAKE).item() == pytest.approx(0.75)
    assert adv.hinge_generator(FAKE).item() == pytest.approx(0.75)


def test_hinge() -> None:
    # real: max(0, -0.5), max(0, 1.5); fake: max(0, 1.5), max(0, -1)
    assert adv.hinge_discriminator(REAL, FAKE).item() == pytest.approx(0.75 + 0.75)


def test_several_scales_count_alike() -> None:
    large, small = torch.full((2, 1, 8, 8), 3.0), torch.full((2, 1, 2, 2), -1.0)
    assert adv.wasserstein_generator([large, small]).item() == pytest.approx(-1.0)
    assert adv.least_squares_discriminator([large, small], [large, small]).item() == pytest.approx(
        (4 + 4) / 2 + (9 + 1) / 2
    )


class Linear(nn.Module):
    """D(x) = <w, x>: its gradient is w everywhere."""

    def __init__(self, w: list[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.w).sum(1)


def test_gradient_penalty_of_a_linear_critic() -> None:
    critic = Linear([3.0, 4.0])  # ||w|| = 5
    penalty = adv.gradient_penalty(critic, torch.randn(6, 2), torch.randn(6, 2))
    assert penalty.item() == pytest.approx(16.0)
    penalty.backward()  # d/dw (||w|| - 1)^2 = 2 (||w|| - 1) w / ||w||
    assert critic.w.grad is not None
    assert critic.w.grad.tolist() == pytest.approx([8 * 3 / 5, 8 * 4 / 5])


def test_gradient_penalty_is_taken_between_real_and_fake() -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x)
        return x.square().sum((1, 2, 3))

    real, fake = torch.zeros(64, 3, 2, 2), torch.full((64, 3, 2, 2), 2.0, requires_grad=True)
    adv.gradient_penalty(critic, real, fake)
    (at,) = seen
    shares = at.detach()[:, 0, 0, 0]
    assert torch.equal(at.detach(), shares[:, None, None, None].expand_as(at))  # one share per sample
    assert 0 <= shares.min() < 0.3 and 1.7 < shares.max() <= 2 and len(shares.unique()) == 64


def test_gradient_penalty_of_a_flat_critic_is_finite() -> None:
    critic = Linear([0.0, 0.0])
    penalty = adv.gradient_penalty(critic, torch.randn(3, 2), torch.randn(3, 2))
    penalty.backward()
    assert penalty.item() == pytest.approx(1.0, abs=1e-5)
    assert critic.w.grad is not None and critic.w.grad.isfinite().all()


class Quadratic(nn.Module):
    """D(x) = a ||x||^2 / 2: its gradient is a x."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x.square().sum(1, keepdim=True) / 2


def test_penalties_average_over_positions_and_scales() -> None:
    def critic(x: Tensor) -> list[Tensor]:
        return [x[:, :1], 3 * x[:, 1:2]]  # [b, 1, 2, 2] each

    penalty = adv.gradient_penalty(critic, torch.randn(5, 2, 2, 2), torch.randn(5, 2, 2, 2))
    # D = (mean(x0) + 3 mean(x1)) / 2; gradient 1/8 at 4 places and 3/8 at 4 places
    assert penalty.item() == pytest.approx(((4 / 64 + 4 * 9 / 64) ** 0.5 - 1) ** 2)


def test_penalties_work_without_gradients_around_and_in_bf16() -> None:
    critic = nn.Conv2d(1, 1, 3)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = adv.gradient_penalty(critic, torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8))
    assert penalty.dtype == torch.float32 and penalty.isfinite()
    with torch.no_grad():
        ones = torch.ones(1, 2)  # where a ||x|| = 3 sqrt(2)
        assert adv.gradient_penalty(Quadratic(), ones, ones).item() == pytest.approx((3 * 2**0.5 - 1) ** 2)


def test_feature_matching() -> None:
    real = [torch.zeros(1, 2, requires_grad=True), torch.ones(1, 3)]
    fake = [torch.tensor([[1.0, 3.0]], requires_grad=True), torch.ones(1, 3)]
    loss = adv.feature_matching(real, fake)
    assert loss.item() == pytest.approx((2.0 + 0.0) / 2)
    loss.backward()
    assert real[0].grad is None and fake[0].grad is not None
    with pytest.raises(ValueError):
        adv.feature_matching(real, fake[:1])


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weighted", [False, True])
def test_feature_matching_is_what_autograd_makes_of_it(kind: torch.dtype, weighted: bool) -> None:
    torch.manual_seed(0)
    fake, real = (torch.randn(3, 8, 12, 10).to(kind) for _ in "ab")
    fake[0, 0, 0] = real[0, 0, 0]  # no difference, no gradient
    fake = fake.contiguous(memory_format=torch.channels_last)
    weights = torch.tensor([0.5, 1.0, 3.0]) if weighted else torch.ones(3)

    def pull(loss: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, float]:
        learned = fake.clone().requires_grad_()
        value = loss(learned)
        (2 * value).backward()  # type: ignore[no-untyped-call]
        assert learned.grad is not None
        return learned.grad, value.item()

    def matching(maps: torch.Tensor) -> torch.Tensor:
        return adv.feature_matching([real], [maps], weights if weighted else None)

    def written(maps: torch.Tensor) -> torch.Tensor:
        return (weights * (maps.float() - real.float()).abs().mean((1, 2, 3))).mean()

    (gradient, value), (expected, other) = pull(matching), pull(written)
    assert value == pytest.approx(other, rel=1e-3 if kind == torch.bfloat16 else 1e-6)
    assert gradient.dtype == kind and not gradient[0, 0, 0].any()
    assert torch.allclose(gradient.float(), expected.float(), rtol=0.01 if kind == torch.bfloat16 else 1e-6)


def test_translation_shifts_whole_pixels_and_brings_in_zeros() -> None:
    torch.manual_seed(0)
    images = torch.rand(40, 3, 16, 24) + 1  # nowhere 0
    moved = adv.diff_augment(images, ["translation"])
    shifts = set()
    for before, after in zip(images, moved, strict=True):
        rows, columns = (after[0] != 0).any(1).nonzero()[:, 0], (after[0] != 0).any(0).nonzero()[:, 0]
        height, width = len(rows), len(columns)
        y = 16 - height if rows[0] > 0 else height - 16
        x = 24 - width if columns[0] > 0 else width - 24
        assert torch.equal(
            after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1],
            before[:, max(0, -y) : 16 - max(0, y), max(0, -x) : 24 - max(0, x)],
        )
        shifts.add((y, x))
    assert {y for y, _ in shifts} == {-2, -1, 0, 1, 2} and {x for _, x in shifts} == {-3, -2, -1, 0, 1, 2, 3}


def test_cutout_removes_at_most_a_quarter() -> None:
    torch.manual_seed(0)
    cut = adv.diff_augment(torch.ones(50, 3, 16, 16), ["cutout"])
    share = (cut == 0).float().mean((1, 2, 3))
    assert share.max() == 0.25 and share.min() > 0
    assert torch.equal(cut[:, 0], cut[:, 1])


def test_colour_is_affine_and_differs_between_samples() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 5, 5).requires_grad_(True)
    grey = torch.full((4, 3, 5, 5), 0.3)
    changed = adv.diff_augment(grey, ["colour"])  # grey: neither saturation nor contrast matter
    offsets = changed[:, 0, 0, 0] - 0.3
    assert torch.allclose(changed, grey + offsets[:, None, None, None], atol=1e-6)
    assert offsets.abs().max() <= 0.5 and len(offsets.unique()) == 4
    adv.diff_augment(images, ["colour", "translation", "cutout"]).sum().backward()
    assert images.grad is not None and images.grad.isfinite().all()
