"""What every search shares: budgets, progress, results."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ganic.errors import TrainingError, UsageError


@dataclass(frozen=True)
class Progress:
    """How far a search is."""

    step: int
    steps: int
    seconds: float
    best: Tensor
    """The lowest loss so far of each picture [n]."""


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Found:
    """What a search found."""

    latents: Tensor
    """[n, ...], the best of each picture."""
    losses: Tensor
    """[n], their losses."""
    steps: int
    """Gradient evaluations per picture."""
    seconds: float
    interrupted: bool = False


@dataclass(frozen=True)
class Settings:
    """How to search; the defaults are the authors' optimiser.

    ``seconds`` limits the time, beside ``steps``.  ``finish`` is the share of the steps that L-BFGS takes
    after Adam (0: Adam alone, 1: L-BFGS alone).
    """

    steps: int = 500
    seconds: float | None = None
    rate: float = 0.05
    betas: tuple[float, float] = (0.5, 0.999)
    finish: float = 0.0
    history: int = 10

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.seconds is not None and not self.seconds > 0):
            raise UsageError(
                f"search: a budget of {self.steps} steps and {self.seconds} seconds; give at least "
                "0 steps and a positive time"
            )
        if not 0 <= self.finish <= 1 or not self.rate > 0 or self.history < 1:
            raise UsageError("search: finish must be within 0 to 1, rate positive, history at least 1")


class Clock:
    """Steps and seconds of one search, and its callback; ``first`` is what its pictures count from."""

    def __init__(self, settings: Settings, report: Report | None, first: int = 0) -> None:
        self.steps, self.limit, self.report = settings.steps, settings.seconds, report
        self.first = first
        self.start = time.monotonic()
        self.step = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    @property
    def fraction(self) -> float:
        """How much of the budget is used: of the steps or of the time, whichever is further."""
        by_steps = self.step / self.steps if self.steps else 1.0
        return min(1.0, max(by_steps, self.seconds / self.limit if self.limit is not None else 0.0))

    def tick(self, best: Tensor) -> None:
        self.step += 1
        if self.report is not None:
            self.report(Progress(self.step, self.steps, self.seconds, best))


class Relay:
    """One report and one end for ``count`` searches that run side by side, each of some of the pictures.

    What the caller hears is how far the last of them is. When one is interrupted or fails, so are all at
    their next step.
    """

    def __init__(self, count: int, report: Report | None) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._steps = [0.0] * count
        self._best: list[Tensor | None] = [None] * count
        self._told = 0.0
        self._stopped = False

    def stop(self) -> None:
        """End all searches."""
        self._stopped = True

    def end(self, number: int) -> None:
        """Search ``number`` will not report any more, and nobody waits for it."""
        self._steps[number] = math.inf

    def of(self, number: int) -> Report:
        """What search ``number`` reports to; raises KeyboardInterrupt where it should end."""

        def hear(progress: Progress) -> None:
            if self._stopped:
                raise KeyboardInterrupt
            if self._report is None:
                return
            with self._lock:
                self._steps[number], self._best[number] = progress.step, progress.best
                best = [each for each in self._best if each is not None]
                step = min(self._steps)
                if step <= self._told or len(best) < len(self._best):
                    return
                self._told = step
                try:
                    self._report(replace(progress, step=int(step), best=torch.cat(best)))
                except KeyboardInterrupt:
                    self.stop()
                    raise

        return hear


def check_finite(losses: Tensor, step: int, first: int = 0) -> None:
    """Raises TrainingError naming the first picture whose loss is not finite; they count from ``first``."""
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        picture = int(bad[0])
        raise TrainingError(
            f"search: the loss of picture {first + picture} is {float(losses[picture])} at step {step}; "
            "lower the rate, or use fp32"
        )


def keep_better(best: Tensor, best_losses: Tensor, latents: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    """Row by row, the better of two latents and its loss."""
    better = losses < best_losses
    rows = better.view(-1, *[1] * (latents.ndim - 1))
    return torch.where(rows, latents, best), torch.where(better, losses, best_losses)
