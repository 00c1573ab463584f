"""The stronger recipe's discriminator: two ways of looking at the same pictures.

- Heads on the maps of :mod:`ganic.training.projection`, frozen features of ImageNet: the projected
  discriminator of Sauer et al. 2021. They see what things are, and at an early stage of training.
- A critic at the pictures' own resolution that learns all it sees: SNGAN's (Miyato et al. 2018), narrow. The
  frozen features have strides, and heads on them are the same at every place: generated pictures keep a
  lattice that neither minds. This one knows its places, as its last layer is fully connected.

Both are told class and JPEG settings, as in StyleGAN-XL: logits are inner products with an embedding
of them (Miyato & Koyama 2018), plus unconditional ones.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganic.jpeg.halvings import LAST_SIDE, channels
from ganic.jpeg.settings import FEATURES
from ganic.training.projection import Projection

SMALLEST = 64
"""Side in pixels; smaller pictures are enlarged to it for the frozen features."""

HALVINGS = (3, 2, 1, 0)
"""Strides that bring each map of a picture of 64 pixels to 4x4 positions."""

NATIVE = (48, 64, 96, 128)
"""Of the native critic, see `channels`."""

SLOPE = 0.2

GROUP = 4
"""Pictures of a class whose deviation is seen."""


class Head(nn.Module):
    """[b, width, h, w] and conditions [b, c] -> logits [b, positions].

    Spectrally normalised: on ready-made features a free discriminator is right at once and teaches nothing.
    """

    def __init__(self, width: int, halvings: int, conditions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n in range(max(halvings, 1)):
            layers += _layer(width, width, stride=2 if n < halvings else 1)
        self.layers = nn.Sequential(*layers)
        self.output = nn.Conv2d(2 * width, width + 1, 1)
        self.condition = nn.Linear(conditions, width)

    def forward(self, x: Tensor, known: Tensor, order: Tensor) -> Tensor:
        """``order`` [b]: pictures to be compared lie side by side in it."""
        x = self.layers(x)
        x = self.output(torch.cat([x, deviation(x, order)], dim=1)).float()
        return (x[:, :1] + _agreement(x[:, 1:], self.condition(known))).flatten(1)


class NativeCritic(nn.Module):
    """RGB [b, 3, size, size] in -1..1 and conditions [b, c] -> logits [b, 1]; spectrally normalised."""

    def __init__(self, size: int, conditions: int) -> None:
        super().__init__()
        widths = channels(size, NATIVE)
        layers: list[nn.Module] = []
        for n, (inputs, outputs) in enumerate(pairwise((3, *widths))):
            layers += _layer(inputs, outputs, stride=2 if n else 1)
        self.layers = nn.Sequential(*layers)
        self.output = spectral_norm(nn.Linear(widths[-1] * LAST_SIDE**2, widths[-1]))
        self.plain = nn.Linear(widths[-1], 1)
        self.condition = nn.Linear(conditions, widths[-1])

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        x = self.layers(x.contiguous(memory_format=torch.channels_last))
        x = F.leaky_relu(self.output(x.flatten(1)), SLOPE).float()
        logits: Tensor = self.plain(x).float() + _agreement(x, self.condition(known))
        return logits


def _layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    return [spectral_norm(conv), nn.LeakyReLU(SLOPE)]


def _agreement(features: Tensor, embedding: Tensor) -> Tensor:
    """Inner products [b, 1, ...] of features [b, width, ...] with embeddings [b, width]."""
    embedding = embedding.float() / math.sqrt(embedding.shape[1])
    embedding = embedding.reshape(*embedding.shape, *[1] * (features.ndim - 2))
    return (features * embedding).sum(dim=1, keepdim=True)


def deviation(x: Tensor, order: Tensor) -> Tensor:
    """[b, c, h, w] -> the same shape: the deviation over groups of consecutive pictures in ``order``.

    Minibatch deviation (Karras et al. 2018), but for every feature and place, and within classes: a
    conditional generator that draws each class in one way has as much deviation over a mixed batch as the
    real pictures.  Groups are of 4, or of as many as divide the batch.
    """
    group = math.gcd(len(x), GROUP)
    y = x[order].reshape(-1, group, *x.shape[1:]).float()
    centred = y - y.mean(dim=1, keepdim=True)  # torch's var takes several times as long
    spread = (centred.square().mean(dim=1) + 1e-8).sqrt().to(x.dtype)
    return spread.repeat_interleave(group, dim=0)[order.argsort()]


class Verdict(NamedTuple):
    """What D says of a batch."""

    projected: Tensor
    """Logits [b, positions] of the heads on frozen features."""
    native: Tensor
    """Logits [b, 1] of the critic at the pictures' own resolution."""
    means: tuple[Tensor, ...]
    """Of each layer's frozen features over the places, [b, `CHANNELS`]."""

    @property
    def logits(self) -> tuple[Tensor, Tensor]:
        """Of both critics, which count the same."""
        return self.projected, self.native


class ModernDiscriminator(nn.Module):
    """RGB [b, 3, size, size] in -1..1, labels [b] and settings [b, 4] -> :class:`Verdict`.

    ``width``: channels of the projections and of the heads on them.
    """

    def __init__(self, size: int, width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        conditions = classes + FEATURES
        self.projection = Projection(width)
        self.heads = nn.ModuleList(Head(width, halvings, conditions) for halvings in HALVINGS)
        self.native = NativeCritic(size, conditions)

    def forward(self, x: Tensor, augmented: Tensor, label: Tensor, features: Tensor) -> Verdict:
        """``augmented``: ``x``, changed by chance, for all but the native critic, who would no longer know
        the places."""
        seen = self.projection.look(_for_the_trunk(augmented))
        known = [features]
        if self.classes:
            known.append(F.one_hot(label, self.classes).to(features.dtype))
        conditions, order = torch.cat(known, dim=1), label.argsort(stable=True)
        maps = self.projection.mix(seen)
        projected = [head(y, conditions, order) for head, y in zip(self.heads, maps, strict=True)]
        return Verdict(
            torch.cat(projected, dim=1),
            self.native(x, conditions),
            tuple(a.float().mean(dim=(2, 3)) for a in seen),
        )


def _for_the_trunk(x: Tensor) -> Tensor:
    x = x / 2 + 0.5
    if x.shape[2] < SMALLEST:
        x = F.interpolate(x, size=(SMALLEST, SMALLEST), mode="bilinear", align_corners=False)
    # The trunk pads nothing: without a margin its last rows and columns would go unseen.
    return F.pad(x, (1, 1, 1, 1), mode="replicate")
