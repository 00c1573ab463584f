"""A classifier of real pictures that tells the generator what it draws (AC-GAN, Odena et al. 2017)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ganic.jpeg.halvings import channels

WIDTHS = (32, 64, 128, 256)
"""See `channels`."""


class Classifier(nn.Module):
    """RGB [b, 3, size, size] in -1..1 -> logits [b, classes], by convolutions with batch norm."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        widths = channels(size, WIDTHS)
        layers = _layer(3, widths[0], stride=1)
        for n, (inputs, outputs) in enumerate(pairwise(widths)):
            layers += _layer(inputs, inputs, stride=1) if n else []
            layers += _layer(inputs, outputs, stride=2)
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x.contiguous(memory_format=torch.channels_last))
        return self.output(x.mean(dim=(2, 3))).float()  # type: ignore[no-any-return]


def _layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
