"""How a step's losses look at its pictures: through one pretrained trunk, once.

The perceptual distance, the texture term and a projected discriminator all see SqueezeNet's activations of
the same originals and reconstructions.  Whoever asks first pays.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ganic.metrics.squeezenet import STRIDE, SqueezeNetFeatures

SMALLEST = 80
"""Side in pixels that leaves the trunk's last activations large enough for statistics and heads."""


class Eyes:
    """A trunk, its phase, and what it has seen since the phase was drawn.

    The trunk's strides see some pixels more than others: a lattice in the gradient, and in time in the
    pictures, unless the phase changes with every step.
    """

    def __init__(self) -> None:
        self.phase = 0, 0
        self._trunk: SqueezeNetFeatures | None = None
        self._seen: list[tuple[Tensor, Sequence[Tensor]]] = []

    def trunk(self, device: torch.device) -> SqueezeNetFeatures:
        """What activations are of, on a device; read when it is first needed."""
        if self._trunk is None:
            self._trunk = SqueezeNetFeatures()
        return self._trunk.to(device)

    def redraw(self) -> None:
        """As a step begins: another phase, at random, from torch's default generator; nothing is seen yet."""
        top, left = torch.randint(STRIDE, (2,)).tolist()
        self.phase = top, left
        self.forget()

    def forget(self) -> None:
        """As a step ends: let go of what was seen."""
        self._seen.clear()

    def offset(self, picture: Tensor) -> tuple[int, int]:
        """Rows and columns of a picture [n, 3, h, w] that are not seen: the phase, where enough is left."""
        top, left = (
            min(p, max(0, side - SMALLEST)) for p, side in zip(self.phase, picture.shape[2:], strict=True)
        )
        return top, left

    def look(self, picture: Tensor) -> Sequence[Tensor]:
        """The trunk's activations of pictures [n, 3, h, w] in [0, 1], from `offset` on.

        Remembered for this very tensor, with their gradient if there is to be one.
        """
        learning = picture.requires_grad and torch.is_grad_enabled()
        for known, activations in self._seen:
            if known is picture and (activations[0].requires_grad or not learning):
                return activations
        top, left = self.offset(picture)
        looked: Sequence[Tensor] = self.trunk(picture.device)(picture[:, :, top:, left:])
        self._seen.append((picture, looked))
        return looked
