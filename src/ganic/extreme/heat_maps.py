"""Heat maps to train selective compression with: which symbols exist (section 3.3 and 4.3 of
arXiv:1804.02958).

Binary, at the resolution of the latent; ones are preserved, zeros are synthesised.  The papers train with two
kinds, and so do we: *random instances* (RI) and *random boxes* (RB).
"""

from __future__ import annotations

import torch
from torch import Tensor


def random_instances(labels: Tensor, stride: int, share: float = 0.25) -> Tensor:
    """RI: ``share`` of each picture's instances, drawn at random, at least one.

    An instance is a connected region of one class, at the latent's resolution: data sets with labels but
    without instances have nothing finer.

    Args:
        labels: classes [n, h, w], multiples of ``stride``; the class at a block's centre counts for the
        block. stride: pixels per position. share: of the number of instances, whatever their areas.

    Returns:
        [n, 1, h / stride, w / stride], float32.
    """
    coarse = labels[:, stride // 2 :: stride, stride // 2 :: stride]
    found = components(coarse)
    maps = torch.zeros_like(found, dtype=torch.float32)
    for picture, heat in zip(found, maps, strict=True):
        names = picture.unique()
        chosen = torch.randperm(len(names))[: max(round(share * len(names)), 1)]
        heat[torch.isin(picture, names[chosen])] = 1
    return maps[:, None]


def random_box(count: int, height: int, width: int, share: tuple[float, float] = (0.1, 0.5)) -> Tensor:
    """RB: one box at random, covering about a share drawn from ``share`` of the positions: [count, 1, height,
    width], float32."""
    maps = torch.zeros(count, 1, height, width)
    for heat in maps[:, 0]:
        area = float(torch.empty(()).uniform_(*share)) * height * width
        ratio = float(torch.exp(torch.empty(()).uniform_(-0.7, 0.7)))  # width : height, 1/2 to 2
        box_height = min(max(round((area / ratio) ** 0.5), 1), height)
        box_width = min(max(round((area * ratio) ** 0.5), 1), width)
        top = int(torch.randint(height - box_height + 1, ()))
        left = int(torch.randint(width - box_width + 1, ()))
        heat[top : top + box_height, left : left + box_width] = 1
    return maps


def components(labels: Tensor) -> Tensor:
    """Connected regions (4 neighbours) of equal labels [n, h, w]: a number for each, unique within a picture.

    Every region takes the largest number that its positions started with, spread from neighbour to neighbour
    until nothing changes: quick for the small maps that a latent has.
    """
    n, height, width = labels.shape
    numbers = torch.arange(height * width, device=labels.device).reshape(1, height, width).repeat(n, 1, 1)
    across = labels[:, :, 1:] == labels[:, :, :-1]
    down = labels[:, 1:] == labels[:, :-1]
    while True:
        before = numbers.clone()
        for same, one, other in (
            (across, numbers[:, :, 1:], numbers[:, :, :-1]),
            (down, numbers[:, 1:], numbers[:, :-1]),
        ):
            larger = torch.where(same, torch.maximum(one, other), 0)
            one.copy_(torch.maximum(one, larger))
            other.copy_(torch.maximum(other, larger))
        if torch.equal(before, numbers):
            return numbers


__all__ = ["components", "random_box", "random_instances"]
