from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor

from ganic.jpeg.transport import FIRST, FLOOR, WINDOW, ClassGaussians, Transport, optimal_map
from ganic.metrics.frechet import frechet_distance


def covariance(seed: int, d: int = 6) -> Tensor:
    x = torch.randn(d, d, generator=torch.Generator().manual_seed(seed))
    return x @ x.T / d


def pictures(n: int, seed: int, d: int = 6, classes: int = 3) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (n,), generator=g)
    x = (torch.rand(n, d, generator=g) - 0.5) * 12**0.5 @ torch.linalg.cholesky(covariance(seed)).T
    return x + torch.randn(classes, d, generator=torch.Generator().manual_seed(seed + 1))[label], label


def test_running_statistics_are_those_of_all_pictures() -> None:
    x, label = pictures(1000, 3)
    running = ClassGaussians(3, 6, None)
    for part, known in zip(x.split(37), label.split(37), strict=True):
        running.update(part, known)
    means = torch.stack([x[label == c].mean(dim=0) for c in range(3)])
    torch.testing.assert_close(running.mean, means, rtol=1e-4, atol=1e-5)
    within = x - means[label]
    torch.testing.assert_close(running.covariance, within.T @ within / 1000, rtol=1e-4, atol=1e-5)


SHARE = """
import os, sys, torch
from ganic.jpeg.transport import Transport
from ganic.training.distributed import join

team = join("cpu")
features, label = torch.load(sys.argv[1])
half = slice(team.rank, None, 2)
transport = Transport([6], 3)
for _ in range(2):
    transport.update([features[half]], label[half], real=False)
torch.save(transport.state_dict(), f"{sys.argv[1]}.{team.rank}")
team.leave()
"""


def test_two_processes_know_what_one_would(tmp_path: Path, run_as_two: Callable[..., None]) -> None:
    file = tmp_path / "pictures"
    features, label = pictures(60, 4)
    torch.save((features, label), file)
    run_as_two("-c", SHARE, str(file))
    alone = Transport([6], 3)
    for _ in range(2):
        alone.update([features], label, real=False)
    first, second = (torch.load(f"{file}.{rank}") for rank in range(2))
    for name, expected in alone.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], expected, rtol=1e-4, atol=1e-5, msg=name)


def test_with_a_window_old_pictures_are_forgotten() -> None:
    running = ClassGaussians(1, 2, WINDOW)
    for n in range(4 * WINDOW // 50):
        part = torch.randn(50, 2, generator=torch.Generator().manual_seed(n))
        running.update(part + (100 if n < WINDOW // 50 else 0), torch.zeros(50).long())
    # 3 windows later e^-3 of the first pictures' weight is left.
    assert running.mean.abs().max() < 100 * np.exp(-3) + 1
    assert running.total == WINDOW


def test_a_class_without_pictures_in_a_batch_stays() -> None:
    running = ClassGaussians(3, 2, 30)
    running.update(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 2]))
    running.update(torch.tensor([[5.0, 6.0]]), torch.tensor([2]))
    assert running.mean.tolist() == [[1, 2], [0, 0], [4, 5]]


def test_the_map_makes_one_covariance_the_other() -> None:
    source, target = covariance(0), covariance(1)
    found = optimal_map(source, target)
    floor = FLOOR * target.trace() / 6 * torch.eye(6)
    torch.testing.assert_close(found @ (source + floor) @ found, target + floor, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found, found.T, rtol=1e-4, atol=1e-5)
    a, b = ((c + floor).double().numpy() for c in (source, target))
    root = linalg.sqrtm(a)
    inverse = np.linalg.inv(root)
    expected = inverse @ linalg.sqrtm(root @ b @ root) @ inverse
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-3, atol=1e-3)


def test_a_map_from_covariances_without_full_rank_is_finite() -> None:
    flat = torch.zeros(6, 6)
    flat[0, 0] = 2.0
    assert optimal_map(flat, covariance(1)).isfinite().all()
    assert optimal_map(covariance(1), flat).isfinite().all()
    assert optimal_map(torch.zeros(6, 6), torch.zeros(6, 6)).isfinite().all()


def filled(real: Tensor, fake: Tensor, label: Tensor, classes: int) -> Transport:
    transport = Transport([real.shape[1]], classes)
    transport.update([real], label, real=True)
    transport.update([fake], label, real=False)
    return transport


def test_its_gradient_is_that_of_the_frechet_distance() -> None:
    n, d = 2500, 6
    real, _ = pictures(n, 3, classes=1)
    fake, label = pictures(n, 5, classes=1)
    transport = filled(real, fake, label, 0)
    x = fake.clone().requires_grad_()
    loss = transport.loss([x], label)
    (gradient,) = torch.autograd.grad(loss, x)
    scale = 2 * float(np.trace(np.cov(real.T.numpy(), bias=True)))

    def distance(pictures: np.ndarray) -> float:
        floor = FLOOR * np.trace(np.cov(real.T.numpy(), bias=True)) / d * np.eye(d)
        moments = [
            (y.mean(axis=0), np.cov(y.T, bias=True) + floor) for y in (pictures, real.double().numpy())
        ]
        return frechet_distance(*moments[0], *moments[1])

    start = fake.double().numpy()
    for seed in range(3):
        step = np.random.default_rng(seed).normal(size=start.shape)
        slope = (distance(start + 1e-4 * step) - distance(start - 1e-4 * step)) / 2e-4
        assert (gradient.double().numpy() * step).sum() * scale == pytest.approx(slope, rel=0.02)


def test_nothing_is_asked_of_pictures_like_the_real_ones() -> None:
    real, label = pictures(FIRST, 3)
    transport = filled(real, real, label, 3)
    assert transport.loss([real[:50]], label[:50]).item() == pytest.approx(0, abs=1e-8)


def test_each_class_has_a_mean_of_its_own() -> None:
    """Of three classes with the same mean over all, only the two that changed places have a way to go."""
    real, label = pictures(4000, 3)
    transport = filled(real, real, label, 3)
    transport.each[0].fake.mean.copy_(transport.each[0].fake.mean[[1, 0, 2]])
    at_middle = [
        transport.loss([transport.each[0].fake.mean[label[label == c][:1]]], torch.tensor([c])).item()
        for c in range(3)
    ]
    assert at_middle[0] == pytest.approx(at_middle[1]) and at_middle[0] > 0.01
    assert at_middle[2] == pytest.approx(0, abs=1e-8)


def test_no_picture_is_sent_far_away() -> None:
    """Of features with a tenth of the deviation they should have: they are sent outwards, and those that are
    out there already are sent back."""
    real, label = pictures(4000, 3, classes=1)
    real = real - real.mean(dim=0)
    transport = filled(real, real / 10, label, 0)
    (near, far) = (x.clone().requires_grad_() for x in (real[:50] / 10, real[:50] * 10))
    for x, sign in ((near, -1), (far, 1)):
        transport.loss([x], label[:50]).backward()
        assert x.grad is not None
        outwards = (x.grad * x.detach()).sum()
        assert sign * outwards > 0


def test_few_pictures_ask_nothing() -> None:
    real, label = pictures(FIRST - 1, 3)
    x = real[:4].clone().requires_grad_()
    loss = filled(real, 2 * real, label, 3).loss([x], label[:4])
    assert loss.item() == 0
