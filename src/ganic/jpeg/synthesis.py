"""What every generator of this room can do, and how its pictures look once decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ganic.errors import UsageError
from ganic.jpeg.coefficients import Coefficients, table_tensors
from ganic.jpeg.sampling import Subsampling
from ganic.jpeg.settings import Settings
from ganic.jpeg.transform import decode


class Noise(NamedTuple):
    """``latent`` [b, latent] standard normal; ``label`` int64 [b], zeros where there are no classes."""

    latent: Tensor
    label: Tensor


class Generator(nn.Module, ABC):
    """Noise -> planes -> quantised coefficients.

    Attributes: ``size``, side of the square pictures in pixels; ``latent``, width of the noise; ``classes``,
    how many labels it knows (0: none); ``has_trunk``, whether the first three planes are an RGB picture;
    ``truncation``, see :meth:`truncate`.
    """

    size: int
    latent: int
    classes: int
    has_trunk: bool
    truncation: float = 1.0

    @abstractmethod
    def paint(self, noise: Noise, features: Tensor) -> Tensor:
        """The network proper: planes [b, p, size, size], with ``Settings.features()`` as second argument.

        With a trunk, planes 0 to 2 are G-hat of Eq. 5: RGB, where -1..1 is black to white.
        """

    @abstractmethod
    def code(self, planes: Tensor, quality: Tensor, subsampling: Subsampling) -> Coefficients:
        """Planes [b, p, size, size] and qualities int64 [b] -> coefficients."""

    def truncate(self, share: float) -> None:
        """From now on styles go only ``share`` of their way from the mean style of their class: more typical
        pictures, less variety (truncation in W, Karras et al. 2019, appendix B).

        1 changes nothing; at 0 every picture of a class is the same.  Raises UsageError for a share outside
        0..1, and for a generator without styles.
        """
        if not 0 <= share <= 1:
            raise UsageError(
                f"truncation: {share} is not within 0 (one picture per class) .. 1 (all variety)"
            )
        if share < 1:
            self._centre_styles()
            self.truncation = share

    def _centre_styles(self) -> None:
        """Get to know the mean styles."""
        raise UsageError(
            "truncation: this generator has no styles that could be truncated; leave it at 1, or take a "
            "model of the stronger recipe, such as cifar10"
        )

    def noise(self, count: int, device: torch.device | str) -> Noise:
        """Random noise and labels from torch's default generators, for training."""
        label = torch.randint(max(self.classes, 1), (count,), device=device)
        return Noise(torch.randn(count, self.latent, device=device), label)

    def forward(self, noise: Noise, features: Tensor) -> Tensor:
        """The same as :meth:`paint`."""
        return self.paint(noise, features)


def rendered(generator: Generator, planes: Tensor, settings: Settings) -> Tensor:
    """P(G(.)): what a JPEG decoder shows for these planes, RGB [b, 3, h, w] in -1..1, float32."""
    pictures, start = [], 0
    for subsampling, count in settings.runs:
        quality = settings.quality[start : start + count]
        coefficients = generator.code(planes[start : start + count], quality, subsampling)
        pictures.append(decode(coefficients, table_tensors(quality)))
        start += count
    return torch.cat(pictures) / 127.5 - 1
