"""The stronger recipe's discriminator: heads on the maps of :mod:`ganic.training.projection`.

The projected discriminator of Sauer et al. 2021, told class and JPEG settings as in StyleGAN-XL: every head's
logits are inner products with an embedding of them (Miyato & Koyama 2018), plus unconditional ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganic.jpeg.settings import FEATURES
from ganic.training.projection import Projection

SMALLEST = 64
"""Side in pixels; smaller pictures are enlarged to it."""

HALVINGS = (3, 2, 1, 0)
"""Strides that bring each map of a picture of 64 pixels to 4x4 positions."""

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
            stride = 2 if n < halvings else 1
            layers += [
                spectral_norm(nn.Conv2d(width, width, 3, stride=stride, padding=1)),
                nn.LeakyReLU(SLOPE),
            ]
        self.layers = nn.Sequential(*layers)
        self.output = nn.Conv2d(2 * width, width + 1, 1)
        self.condition = nn.Linear(conditions, width)

    def forward(self, x: Tensor, known: Tensor, order: Tensor) -> Tensor:
        """``order`` [b]: pictures to be compared lie side by side in it."""
        x = self.layers(x)
        x = self.output(torch.cat([x, deviation(x, order)], dim=1)).float()
        embedding = self.condition(known).float() / math.sqrt(self.condition.out_features)
        logits: Tensor = x[:, :1] + (x[:, 1:] * embedding[:, :, None, None]).sum(dim=1, keepdim=True)
        return logits.flatten(1)


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


class ProjectedDiscriminator(nn.Module):
    """RGB [b, 3, size, size] in -1..1, labels [b] and settings [b, 4] -> logits [b, positions].

    ``width``: channels of the projections and of the heads.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.projection = Projection(width)
        self.heads = nn.ModuleList(Head(width, halvings, classes + FEATURES) for halvings in HALVINGS)

    def forward(self, x: Tensor, label: Tensor, features: Tensor) -> Tensor:
        x = x / 2 + 0.5
        if x.shape[2] < SMALLEST:
            x = F.interpolate(x, size=(SMALLEST, SMALLEST), mode="bilinear", align_corners=False)
        # The trunk pads nothing: without a margin its last rows and columns would go unseen.
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        known = [features]
        if self.classes:
            known.append(F.one_hot(label, self.classes).to(features.dtype))
        maps = self.projection(x)
        condition, order = torch.cat(known, dim=1), label.argsort(stable=True)
        return torch.cat([head(y, condition, order) for head, y in zip(self.heads, maps, strict=True)], dim=1)
