"""The losses that GANs are trained with, one function each.

Critics may look at several scales: ``logits`` is one tensor, or one per scale, and a loss over several scales
is the mean of their losses.  Every function returns a scalar, the mean over the batch; where it takes
``weights`` [b], each sample's loss is multiplied by its own first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Logits = Tensor | Sequence[Tensor]
Critic = Callable[[Tensor], Logits]


def _scales(logits: Logits) -> list[Tensor]:
    return [logits] if isinstance(logits, Tensor) else list(logits)


def _mean(function: Callable[[Tensor], Tensor], logits: Logits, weights: Tensor | None = None) -> Tensor:
    return torch.stack([_weighed(function(scale), weights) for scale in _scales(logits)]).mean()


def _weighed(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of losses [b, ...], each sample's multiplied by its weight."""
    return losses.mean() if weights is None else (weights * losses.reshape(len(losses), -1).mean(1)).mean()


def least_squares_discriminator(real: Logits, fake: Logits) -> Tensor:
    """E f(D(x)) + E g(D(G(z))), f(y) = (y - 1)^2, g(y) = y^2, which D minimises.

    GC's objective (Agustsson et al. 2019) with LSGAN's f and g (Mao et al. 2017, Eq. 9, without its 1/2).
    The paper writes max over D; with these f and g a good D makes both terms small.
    """
    return _mean(lambda y: (y - 1).square(), real) + _mean(torch.square, fake)


def least_squares_generator(fake: Logits, weights: Tensor | None = None) -> Tensor:
    """E f(D(G(z))) = E (D(G(z)) - 1)^2 (Mao et al. 2017, Eq. 9, without its 1/2)."""
    return _mean(lambda y: (y - 1).square(), fake, weights)


def wasserstein_discriminator(real: Logits, fake: Logits) -> Tensor:
    """E D(G(z)) - E D(x) (Arjovsky et al. 2017); needs a gradient penalty."""
    return _mean(lambda y: y, fake) - _mean(lambda y: y, real)


def wasserstein_generator(fake: Logits) -> Tensor:
    """-E D(G(z))."""
    return -_mean(lambda y: y, fake)


def hinge_discriminator(real: Logits, fake: Logits) -> Tensor:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))) (Lim & Ye 2017)."""
    return _mean(lambda y: F.relu(1 - y), real) + _mean(lambda y: F.relu(1 + y), fake)


def hinge_generator(fake: Logits) -> Tensor:
    """-E D(G(z)): the same as Wasserstein's."""
    return wasserstein_generator(fake)


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """E (||grad D(u)||_2 - 1)^2 at u = e x + (1 - e) G(z), e uniform in [0, 1] for each sample.

    Gulrajani et al. 2017, Eq. 3, to be multiplied by lambda (10).  Differentiable with respect to D's
    parameters.  ``real`` and ``fake`` [b, ...] are taken as constants.
    """
    share = torch.rand([len(real)] + [1] * (real.ndim - 1), device=real.device)
    between = torch.lerp(fake.detach().float(), real.detach().float(), share)
    # 1e-12: the root must be differentiable where the gradient vanishes, as in a critic that starts at 0.
    return ((_squared_gradients(critic, between) + 1e-12).sqrt() - 1).square().mean()


def _squared_gradients(critic: Critic, at: Tensor) -> Tensor:
    """||grad D||^2 at each sample, [b], D being the mean of the critic's outputs over scales and positions.

    Norms are computed in float32; the critic runs as it is (under autocast where that is on).
    """
    at = at.float().requires_grad_(True)
    with torch.enable_grad():
        scales = [scale.float().reshape(len(at), -1).mean(1) for scale in _scales(critic(at))]
        total = torch.stack(scales).mean(0).sum()
    (gradient,) = torch.autograd.grad(total, at, create_graph=True)
    return gradient.float().flatten(1).square().sum(1)


class _MeanDifference(torch.autograd.Function):
    """The mean |a - b| of every sample of a, b [n, ...]; a gradient for a alone.

    Written out, since maps of D at a picture's full resolution are the largest tensors of a step: autograd
    would copy them to float32 or, in bfloat16, pass over them nine times.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        change = a - b
        ctx.save_for_backward(change)
        sums = torch.linalg.vector_norm(change, 1, dim=tuple(range(1, a.ndim)), dtype=torch.float32)
        means: Tensor = sums / a[0].numel()
        return means

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (change,) = ctx.saved_tensors
        share = (gradient / change[0].numel()).to(change.dtype)
        return change.sign().mul_(share.view(-1, *[1] * (change.ndim - 1))), None


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor], weights: Tensor | None = None) -> Tensor:
    """Mean over D's layers (of all scales) of the mean |D_i(x) - D_i(G(z))|.

    pix2pixHD (Wang et al. 2018, Eq. 4).  No gradient flows into the real side.
    """
    layers = []
    for r, g in zip(real, fake, strict=True):
        distances: Tensor = _MeanDifference.apply(g, r.detach())  # type: ignore[no-untyped-call]
        layers.append(_weighed(distances, weights))
    return torch.stack(layers).mean()


Change = Literal["colour", "translation", "cutout"]


def diff_augment(images: Tensor, changes: Sequence[Change]) -> Tensor:
    """Differentiable augmentation for both sides of a critic (DiffAugment, Zhao et al. 2020).

    ``images`` [b, c, h, w], every sample changed on its own: ``colour``: brightness +-0.5, saturation x 0..2,
    contrast x 0.5..1.5 (as the paper has them for pixels in [-1, 1]); ``translation``: by up to 1/8 of the
    size, zeros come in; ``cutout``: a square of half the size, its centre anywhere, becomes 0.
    """
    for change in changes:
        if change == "colour":
            images = _colour(images)
        elif change == "translation":
            images = _translation(images)
        else:
            images = _cutout(images)
    return images


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype) * (high - low) + low


def _colour(images: Tensor) -> Tensor:
    images = images + _uniform(images, -0.5, 0.5)
    mean = images.mean(1, keepdim=True)
    images = torch.lerp(mean, images, _uniform(images, 0, 2))
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, _uniform(images, 0.5, 1.5))


def _translation(images: Tensor) -> Tensor:
    count, _, height, width = images.shape
    most_y, most_x = round(height / 8), round(width / 8)
    padded = F.pad(images, (most_x, most_x, most_y, most_y))
    down = torch.randint(2 * most_y + 1, (count, 1, 1), device=images.device)
    right = torch.randint(2 * most_x + 1, (count, 1, 1), device=images.device)
    rows = torch.arange(height, device=images.device)[None, :, None] + down
    columns = torch.arange(width, device=images.device)[None, None, :] + right
    sample = torch.arange(count, device=images.device)[:, None, None]
    return padded[sample, :, rows, columns].permute(0, 3, 1, 2)


def _cutout(images: Tensor) -> Tensor:
    count, _, height, width = images.shape
    side_y, side_x = height // 2, width // 2
    top = torch.randint(height, (count, 1, 1, 1), device=images.device) - side_y // 2
    left = torch.randint(width, (count, 1, 1, 1), device=images.device) - side_x // 2
    rows = torch.arange(height, device=images.device)[None, None, :, None]
    columns = torch.arange(width, device=images.device)[None, None, None, :]
    hole = (rows >= top) & (rows < top + side_y) & (columns >= left) & (columns < left + side_x)
    return images.masked_fill(hole, 0)
