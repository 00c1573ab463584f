"""The moving average of the weights, which is what is sampled from and exported."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Moving averages of some networks: ``average += (1 - d) (weight - average)`` in float32.

    ``d = min(decay, (1 + n) / (10 + n))`` after n updates, so that the first weights, which are noise, are
    forgotten quickly.  Buffers of floats, such as batch norm's statistics, move with the weights that they
    belong to; whatever is no float is copied.

    Attributes: ``networks`` holds the averaged copies (never trained), under the names of the originals;
    ``updates`` is n.
    """

    def __init__(self, networks: nn.ModuleDict, names: Sequence[str], decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._originals = nn.ModuleDict({name: networks[name] for name in names})
        self.networks = copy.deepcopy(self._originals).requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages, weights = [], []
        for average, present in self._pairs():
            if average.is_floating_point():
                averages.append(average)
                weights.append(present)
            else:
                average.copy_(present)
        if averages:
            torch._foreach_lerp_(averages, weights, 1 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Forget the past: the averages become the present weights."""
        self.updates = 0
        self.networks.load_state_dict(self._originals.state_dict())

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the original networks hold the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, original in self._pairs():
            kept = original.clone()
            original.copy_(average)
            average.copy_(kept)

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every average beside what it is of: parameters, then buffers."""
        yield from zip(self.networks.parameters(), self._originals.parameters(), strict=True)
        yield from zip(self.networks.buffers(), self._originals.buffers(), strict=True)
