"""Where generated pictures' features should go, for classes to have the means and covariances of real ones.

A critic tells real from generated pictures one by one, and a generator that draws the middle of each class
answers it for long: generated features keep half of the variance of real ones.  Between two Gaussians the
least change that makes one the other is known in closed form,

    x -> m_r + T (x - m_g),   T = C_g^(-1/2) (C_g^(1/2) C_r C_g^(1/2))^(1/2) C_g^(-1/2)

(Olkin & Pukelsheim 1982), and the way from x to there is, up to a factor, minus the gradient of their Frechet
distance at x.  So generated features are drawn to where this map takes them, with means of their own for each
class (as in the Frechet joint distance, DeVries et al. 2019) and covariances within classes.  The statistics
are running ones: those of a batch say little about covariances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ganic.training.distributed import from_everyone

WINDOW = 6400
"""Generated pictures that the running statistics go back."""

FIRST = 2000
"""Pictures of each side that statistics need before they are used."""

REFRESH = 20
"""Losses between two computations of the map."""

LIMIT = 3.0
"""Deviations beyond which no feature is sent.  Statistics lag behind the generator: without a limit, features
that are to have more variance run away before it is seen in them that they have it."""

FLOOR = 0.01
"""Of the mean variance, added to all variances: directions without any would have maps without bounds."""


class ClassGaussians(nn.Module):
    """Running means [classes, d] and covariance within classes [d, d] of feature vectors.

    Of all that were seen (Welford's update), or of about the last ``window``.
    """

    mean: Tensor
    covariance: Tensor
    seen: Tensor
    total: Tensor

    def __init__(self, classes: int, d: int, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("mean", torch.zeros(classes, d))
        self.register_buffer("covariance", torch.zeros(d, d))
        self.register_buffer("seen", torch.zeros(classes))
        self.register_buffer("total", torch.zeros(()))

    @torch.no_grad()
    def update(self, x: Tensor, label: Tensor) -> None:
        """Vectors [b, d] and their classes [b]."""
        with torch.autocast(x.device.type, enabled=False):
            self._update(x.float(), label)

    def _update(self, x: Tensor, label: Tensor) -> None:
        classes, before = len(self.mean), self.mean[label]
        count = torch.bincount(label, minlength=classes).to(x.dtype)
        sums = torch.zeros_like(self.mean).index_add_(0, label, x - before)
        self.seen += count
        self.total += len(x)
        if self.window is not None:
            self.seen.clamp_(max=self.window / classes)
            self.total.clamp_(max=self.window)
        self.mean += sums / self.seen.maximum(count).clamp(min=1)[:, None]
        products = (x - before).T @ (x - self.mean[label]) / len(x)
        share = len(x) / self.total.clamp(min=len(x))
        self.covariance.lerp_((products + products.T) / 2, share)


class LayerTransport(nn.Module):
    """One layer's features, of length ``d``: what is known of them, and where they should go."""

    there: Tensor
    back: Tensor

    def __init__(self, d: int, classes: int) -> None:
        super().__init__()
        self.real = ClassGaussians(classes, d, None)
        self.fake = ClassGaussians(classes, d, WINDOW)
        # Deviations of generated features -> where they should go, in coordinates in which real features have
        # variance 1; and from those back to features.
        self.register_buffer("there", torch.eye(d))
        self.register_buffer("back", torch.eye(d))

    @torch.no_grad()
    def refresh(self) -> None:
        """The map for what is known now."""
        values, vectors = torch.linalg.eigh(self.real.covariance)
        deviations = values.clamp(min=_least(self.real.covariance)).sqrt()
        self.there.copy_(optimal_map(self.fake.covariance, self.real.covariance) @ vectors / deviations)
        self.back.copy_((vectors * deviations).T)

    def way(self, x: Tensor, label: Tensor) -> Tensor:
        """Half the squared way that features [b, d] have to go, over the real ones' variance."""
        with torch.no_grad():
            deviation = (x - self.fake.mean[label]) @ self.there
            target = self.real.mean[label] + deviation.clamp(-LIMIT, LIMIT) @ self.back
        return (x - target).square().sum(dim=1).mean() / (2 * _variance(self.real))


class Transport(nn.Module):
    """For features of several layers, of lengths ``channels``: what each lacks to be a real one's.

    No parameters; statistics are buffers. ``classes``: 0 is one class.
    """

    age: Tensor

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LayerTransport(d, max(classes, 1)) for d in channels)
        self.register_buffer("age", torch.zeros(()))

    @property
    def each(self) -> list[LayerTransport]:
        """The layers' own."""
        return [cast(LayerTransport, layer) for layer in self.layers]

    def update(self, features: Sequence[Tensor], label: Tensor, *, real: bool) -> None:
        """Features [b, d] of each layer, of real or generated pictures of the classes [b].

        Of several processes each learns from all pictures: the statistics are the same everywhere.
        """
        label = from_everyone(label)
        for layer, x in zip(self.each, features, strict=True):
            (layer.real if real else layer.fake).update(from_everyone(x), label)

    def loss(self, features: Sequence[Tensor], label: Tensor) -> Tensor:
        """Mean over the layers of `LayerTransport.way`; 0 until both sides have enough pictures."""
        first = self.each[0]
        if first.real.total < FIRST or first.fake.total < FIRST:
            return features[0].new_zeros((), dtype=torch.float32)
        with torch.autocast(label.device.type, enabled=False):
            if int(self.age) % REFRESH == 0:
                for layer in self.each:
                    layer.refresh()
            self.age += 1
            ways = [layer.way(x.float(), label) for layer, x in zip(self.each, features, strict=True)]
            return torch.stack(ways).mean()


def _variance(gaussians: ClassGaussians) -> Tensor:
    """Within and between classes, summed over the dimensions."""
    between: Tensor = (gaussians.mean - gaussians.mean.mean(dim=0)).square().mean(dim=0).sum()
    return gaussians.covariance.trace() + between


def _least(covariance: Tensor) -> float:
    """`FLOOR` as a variance; positive even where all pictures are the same."""
    return max(FLOOR * float(covariance.diagonal().mean()), 1e-6)


def optimal_map(source: Tensor, target: Tensor) -> Tensor:
    """The symmetric T [d, d] with T C T = C' for covariances ``source`` C and ``target`` C', both raised by
    `FLOOR` of the mean variance of C'."""
    d = len(source)
    least = _least(target)
    floor = least * torch.eye(d, device=source.device)
    values, vectors = torch.linalg.eigh(source + floor)
    values = values.clamp(min=least / 2).sqrt()
    root, inverse = (vectors * values) @ vectors.T, (vectors / values) @ vectors.T
    values, vectors = torch.linalg.eigh(root @ (target + floor) @ root)
    middle = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    found: Tensor = inverse @ middle @ inverse
    return found
