"""The SqueezeNet perceptual distance: a measure, and a loss to train with.

In the manner of Zhang et al., "The Unreasonable Effectiveness of Deep Features" (arXiv 1801.03924), equation
1, but with every channel weighted equally and another trunk: the values are not LPIPS and must not be called
so.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganic.metrics.squeezenet import SqueezeNetFeatures

EPSILON = 1e-10


def unit_length(activation: Tensor) -> Tensor:
    """Each position's channel vector of [n, c, h, w] scaled to length 1 (all-zero vectors stay zero),
    float32.

    Always float32: the activations reach thousands, and bf16 would lose the small channels of their squares.
    """
    x = activation.float()
    return x * torch.rsqrt((x * x).sum(dim=1, keepdim=True) + EPSILON)


def feature_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Mean over layers of the position-averaged squared difference of unit vectors; [n] in [0, 4].

    Takes two equally long lists of activations [n, c, h, w]; a loop that compares several pictures with one
    original computes the original's activations once.
    """
    layers = [_difference_of_unit_vectors(x, y).mean(dim=(1, 2)) for x, y in zip(first, second, strict=True)]
    return torch.stack(layers).mean(dim=0)


def _difference_of_unit_vectors(x: Tensor, y: Tensor) -> Tensor:
    """|x / |x| - y / |y||^2 over the channels of [n, c, h, w]: [n, h, w], float32.

    From the three inner products, without making unit vectors: less than half the memory traffic.  (Training
    has :mod:`ganic.extreme.feature_terms`.)
    """
    x, y = x.float(), y.float()
    xx, yy, xy = (x * x).sum(dim=1), (y * y).sum(dim=1), (x * y).sum(dim=1)
    scale_x, scale_y = torch.rsqrt(xx + EPSILON), torch.rsqrt(yy + EPSILON)
    return xx * scale_x * scale_x + yy * scale_y * scale_y - 2 * (xy * scale_x * scale_y)


class SqueezeNetDistance(nn.Module):
    """Perceptual distance between RGB batches: 0 for equal pictures, AVIF at .1 bpp about .6.

    Differentiable in both arguments and made for training: autocast reduces the trunk's precision only, the
    comparison is always float32. The network's weights are frozen and are not part of a checkpoint worth
    saving.
    """

    def __init__(self, features: SqueezeNetFeatures | None = None) -> None:
        super().__init__()
        self.features = features if features is not None else SqueezeNetFeatures()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """[n, 3, h, w] in [0, 1] twice -> [n], one distance per picture."""
        # Two passes, not one on the concatenation: then no graph is kept for the side that needs no gradient.
        first_features, second_features = self.features(first), self.features(second)
        with torch.autocast(first.device.type, enabled=False):
            return feature_distance(first_features, second_features)
