"""Losses row by row, and many pictures as parts of few: one part on each core.

The i-th loss of a batch depends on the i-th latent alone, so a batch may be cut anywhere. On a CPU several
small parts side by side, each on one core, are faster than one large one on all: their activations stay in
the caches, and no core waits for another after every layer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

R = TypeVar("R")

Loss = Callable[[Tensor], Tensor]
"""Latents [n, ...] -> losses [n], row by row: the i-th depends on the i-th latent alone."""

PIXELS = 1 << 17
"""Of the pictures that go through a network at once: 32 of 64x64, 8 of 128x128."""


@dataclass(frozen=True)
class Parts:
    """How the rows of a batch are cut, and how many parts are computed at a time."""

    sizes: tuple[int, ...]
    cores: int

    @classmethod
    def of(cls, count: int, side: int, device: torch.device) -> Parts:
        """For ``count`` pictures of ``side`` pixels: as many parts as cores, or a multiple of that."""
        cores = torch.get_num_threads() if device.type == "cpu" else 1
        least = -(-count // max(1, PIXELS // side**2))
        parts = min(count, -(-least // cores) * cores)
        return cls(tuple(count * (i + 1) // parts - count * i // parts for i in range(parts)), cores)

    def split(self, rows: Tensor) -> Sequence[Tensor]:
        """[n, ...] -> one tensor per part."""
        return torch.split(rows, list(self.sizes))

    def map(
        self, work: Callable[..., R], *columns: Sequence[Any], interrupt: Callable[[], None] | None = None
    ) -> list[R]:
        """``work`` of each part, whose arguments are a row of ``columns``; gradients on or off as here.

        With ``interrupt``, Ctrl-C while parts are computed side by side calls it, and what they make of that
        is the result.
        """
        if len(self.sizes) == 1 or self.cores == 1:
            return [work(*row) for row in zip(*columns, strict=True)]
        gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

        def alone(*row: Any) -> R:
            with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
                return work(*row)

        futures = [_threads(self.cores).submit(alone, *row) for row in zip(*columns, strict=True)]
        try:
            wait(futures)
        except KeyboardInterrupt:
            if interrupt is None:
                for future in futures:
                    future.cancel()
                raise
            interrupt()
        return [future.result() for future in futures]

    def cat(self, work: Callable[..., Tensor], *columns: Sequence[Any]) -> Tensor:
        """As `map`, the results one after the other."""
        return torch.cat(self.map(work, *columns))


@dataclass(frozen=True)
class Together:
    """The loss of all rows, from a loss for each part of them."""

    losses: Sequence[Loss]
    parts: Parts

    def __call__(self, latents: Tensor) -> Tensor:
        return self.parts.cat(_call, self.losses, self.parts.split(latents))

    def columns(self) -> list[tuple[int, Together]]:
        """For every core the parts that it computes, one after the other: their number of rows, their loss.

        A core that goes through all steps of its rows never waits for another.
        """
        parts, count = self.parts, len(self.losses)
        cores = min(parts.cores, count)
        cuts = [slice(count * i // cores, count * (i + 1) // cores) for i in range(cores)]
        return [
            (sum(parts.sizes[cut]), Together(self.losses[cut], Parts(parts.sizes[cut], 1))) for cut in cuts
        ]

    def evaluate(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and gradients; the parts share nothing, so each has a graph of its own."""
        losses, gradients = zip(
            *self.parts.map(evaluate, self.losses, self.parts.split(latents)), strict=True
        )
        return torch.cat(losses), torch.cat(gradients)


def evaluate(loss: Loss, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [n] and their gradients, detached."""
    if isinstance(loss, Together):
        return loss.evaluate(latents)
    variable = latents.detach().requires_grad_()
    with torch.enable_grad():
        losses = loss(variable)
        (gradient,) = torch.autograd.grad(losses.sum(), variable)
    return losses.detach(), gradient.detach()


def _call(loss: Loss, latents: Tensor) -> Tensor:
    return loss(latents)


@cache
def _threads(cores: int) -> ThreadPoolExecutor:
    """Threads in which torch computes on one core, however many it has elsewhere."""
    pool = ThreadPoolExecutor(cores, thread_name_prefix="ganic")
    ready = threading.Barrier(cores + 1)

    def begin() -> None:
        torch.get_num_threads()  # here torch gives a new thread its usual number, and after this never again
        torch.set_num_threads(1)
        ready.wait()

    for _ in range(cores):
        pool.submit(begin)
    ready.wait()
    torch.set_num_threads(cores)  # what threads to come are given, which the others have just changed
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a child process has no threads but its own
