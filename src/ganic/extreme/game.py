"""L_GAN of Eq. (1) as every objective of this room plays it, with least squares and feature matching.

    L_GAN = max_D  E[f(D(x, s))] + E[g(D(G(z), s))],     f(y) = (y - 1)^2,  g(y) = y^2

s are the maps that D sees beside every picture: label maps in GC (D+) and SC, the latent, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ganic.extreme.discriminator import Discriminator
from ganic.training.adversarial import (
    feature_matching,
    least_squares_discriminator,
    least_squares_generator,
)


class Seen(NamedTuple):
    """What D perceives of originals and of G's pictures, without gradients: G's turn hands it to D's."""

    real: list[Tensor]
    fake: list[Tensor]


def generator_terms(
    discriminator: Discriminator, x: Tensor, y: Tensor, maps: Tensor | None, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Seen]:
    """E[f(D(y, s))], which G minimises in place of -E[g(D(y, s))], and feature matching (pix2pixHD's Eq. 4).

    ``x``, ``y``: originals and G's pictures [n, 3, h, w].  Both terms are means over scales, and matching
    over a scale's layers too, and over pictures that count as ``weights`` [n] say; None: alike.
    """
    seen = discriminator.perceive(y)
    fake = discriminator.judge(seen, maps)
    with torch.no_grad():
        seen_real = discriminator.perceive(x)
        real = discriminator.judge(seen_real, maps)
    return (
        least_squares_generator(fake.logits, weights),
        feature_matching(real.features, fake.features, weights),
        Seen(seen_real, [maps_of_y.detach() for maps_of_y in seen]),
    )


def discriminator_turn(
    discriminator: Discriminator, seen: Seen, maps: Tensor | None
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """D's loss, and its margin between originals and G's pictures: 1 tells all, 0 none."""
    real = discriminator.judge(seen.real, maps).logits
    fake = discriminator.judge(seen.fake, maps).logits
    margin = torch.stack([a.mean() - b.mean() for a, b in zip(real, fake, strict=True)]).mean()
    return least_squares_discriminator(real, fake), {"margin": margin}
