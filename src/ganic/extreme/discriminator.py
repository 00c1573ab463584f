"""D: PatchGAN discriminators at several scales, after pix2pixHD (arXiv:1711.11585, sections 3.2 and A).

At each scale: 4x4 convolutions with stride 2 and 64, 128, 256, 512 channels, InstanceNorm after all but the
first, leaky ReLU with slope 0.2, and a last convolution to one logit per patch.  The next scale sees the
picture at half the size.  (NVIDIA's code, unlike the paper, gives the fourth convolution stride 1.)

GC shows D pictures only; GC (D+) shows it semantic maps beside them, which neither encoder nor generator ever
see: see :class:`LabelMaps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from ganic.errors import UsageError

Normalisation = Literal["instance", "spectral", "none"]

SLOPE = 0.2
"""Negative slope of the leaky rectifiers."""


class SpectralNorm(nn.Module):
    """W / sigma(W), sigma the largest singular value of W [out, rest] (Miyato et al. 2018, Algorithm 1).

    A parametrisation of a weight.  Each use in training mode improves the estimate of sigma by one power
    iteration; the arithmetic is float32 under autocast too.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", F.normalize(torch.randn_like(matrix[:, 0]), dim=0))
        self.register_buffer("right", torch.zeros_like(matrix[0]))
        for _ in range(15):  # afterwards one iteration per step is enough to follow the weight
            self._iterate(matrix)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.right.copy_(F.normalize(matrix.T @ self.left, dim=0))
        self.left.copy_(F.normalize(matrix @ self.right, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training:
                self._iterate(matrix)
            # Clones: the next use changes the vectors, perhaps before this one's backward pass reads them.
            sigma = self.left.clone() @ (matrix @ self.right.clone())
            return weight / sigma


class LabelMaps(nn.Module):
    """The map s of GC (D+): labels [n, h, w] -> maps [n, channels, h, w], float32.

    Args:
        classes: labels are 0..classes-1; any other ("void", "ignore") becomes zeros.
        embedding: length of the learned vector of each class; 0: one-hot vectors, and no parameters.
    """

    def __init__(self, classes: int, embedding: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.channels = embedding or classes
        self.embedding = nn.Embedding(classes + 1, embedding, padding_idx=classes) if embedding else None

    def forward(self, labels: Tensor) -> Tensor:
        known = (labels >= 0) & (labels < self.classes)
        labels = torch.where(known, labels, self.classes)
        if self.embedding is not None:
            vectors: Tensor = self.embedding(labels)
        else:
            vectors = F.one_hot(labels, self.classes + 1)[..., : self.classes].float()
        return vectors.permute(0, 3, 1, 2)


class Verdict(NamedTuple):
    """What D says of a batch."""

    logits: list[Tensor]
    """One float32 [n, 1, h_k, w_k] per scale, the finest first: one logit per patch."""
    features: list[Tensor]
    """Every layer's activation but the logits, scale after scale: for feature matching."""

    def add(self, logits: Tensor, features: Sequence[Tensor]) -> None:
        """The next scale."""
        self.logits.append(logits)
        self.features.extend(features)


class PatchDiscriminator(nn.Module):
    """One scale.  Arguments as :class:`MultiScaleDiscriminator`'s; ``inputs``: channels seen."""

    def __init__(self, inputs: int, widths: Sequence[int], kernel: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for number, width in enumerate(widths):
            layers: list[nn.Module] = [_conv(inputs, width, kernel, 2, normalisation)]
            if normalisation == "instance" and number > 0:
                layers.append(nn.InstanceNorm2d(width))
            self.layers.append(nn.Sequential(*layers, nn.LeakyReLU(SLOPE, inplace=True)))
            inputs = width
        self.out = _conv(inputs, 1, kernel, 1, normalisation)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[n, inputs, h, w] -> (logits, activations of all layers before)."""
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return self.out(x).float(), features


class Discriminator(nn.Module):
    """Pictures [n, 3, h, w] in [0, 1] -> :class:`Verdict`, for :mod:`ganic.extreme.game`.

    Args:
        condition: channels of the maps that accompany every picture; 0: none.
    """

    def __init__(self, condition: int) -> None:
        super().__init__()
        self.condition = condition

    def check(self, condition: Tensor | None) -> None:
        """Raises UsageError where the maps are not those that D was made for."""
        given = 0 if condition is None else condition.shape[1]
        if given != self.condition:
            raise UsageError(
                f"discriminator: {given} channels of maps; it was made for {self.condition}, give as many"
            )

    def perceive(self, picture: Tensor) -> list[Tensor]:
        """What :meth:`judge` looks at, by no parameter of D: a step's turns may share it."""
        return [picture]

    def judge(self, seen: Sequence[Tensor], condition: Tensor | None = None) -> Verdict:
        """``seen``: what :meth:`perceive` made of pictures; ``condition``: maps [n, condition, h', w'] of the
        whole pictures.  Raises UsageError where the maps are not those that D was made for."""
        raise NotImplementedError

    def forward(self, picture: Tensor, condition: Tensor | None = None) -> Verdict:
        return self.judge(self.perceive(picture), condition)


class MultiScaleDiscriminator(Discriminator):
    """Pictures [n, 3, h, w] in [0, 1] -> :class:`Verdict`.

    Args:
        widths: channels of the layers with stride 2.
        scales: discriminators, each of which sees half the size of the one before.
        kernel: 4 as published, or 3, at 9/16 of the arithmetic.
        normalisation: of activations ("instance", as published), of weights ("spectral"), or "none".  Without
            InstanceNorm D sees brightness, contrast and colour casts, and every operation but the
            convolutions is elementwise, which suits bf16 on CPUs.
        condition: channels of the maps that accompany every picture; 0: none.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512),
        scales: int = 3,
        *,
        kernel: Literal[3, 4] = 4,
        normalisation: Normalisation = "instance",
        condition: int = 0,
    ) -> None:
        super().__init__(condition)
        self.scales = nn.ModuleList(
            PatchDiscriminator(3 + condition, widths, kernel, normalisation) for _ in range(scales)
        )

    def judge(self, seen: Sequence[Tensor], condition: Tensor | None = None) -> Verdict:
        """Maps are brought to the picture's size by nearest neighbour."""
        self.check(condition)
        (picture,) = seen
        x = picture * 2 - 1
        if condition is not None:
            if condition.shape[2:] != picture.shape[2:]:
                condition = F.interpolate(condition, picture.shape[2:], mode="nearest")
            x = torch.cat([x, condition.to(x.dtype)], dim=1)
        x = x.contiguous(memory_format=torch.channels_last)
        verdict = Verdict([], [])
        for number, network in enumerate(self.scales):
            if number:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            verdict.add(*network(x))
        return verdict


def _conv(inputs: int, outputs: int, kernel: int, stride: int, normalisation: Normalisation) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    if normalisation == "instance":
        nn.init.normal_(conv.weight, 0.0, 0.02)  # pix2pixHD's
        return conv
    nn.init.kaiming_normal_(conv.weight, a=SLOPE)
    if normalisation == "spectral":
        register_parametrization(conv, "weight", SpectralNorm(conv.weight))
    return conv


__all__ = [
    "Discriminator",
    "LabelMaps",
    "MultiScaleDiscriminator",
    "PatchDiscriminator",
    "SpectralNorm",
    "Verdict",
]
