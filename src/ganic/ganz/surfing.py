"""Surfing: follow the minimum through the checkpoints of a training run (Song, Fan and Lafferty, 2019).

The landscape of an untrained generator is benign; the trained one's has bad local minima.  A search that
starts on an early checkpoint and is carried along as training goes on may end in a better one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ganic.errors import UsageError
from ganic.ganz.budget import Found, Report, Settings
from ganic.ganz.rows import Loss
from ganic.ganz.search import search

LAST_SHARE = 0.5
"""Of the budget, for the last checkpoint; the earlier ones share the rest equally."""


def surf(losses: Sequence[Loss], start: Tensor, settings: Settings, report: Report | None = None) -> Found:
    """Minimise the losses of successive checkpoints, each from where the one before ended.

    ``losses``: oldest first; the last is the one that counts.  Raises UsageError if there are none.
    """
    if not losses:
        raise UsageError("surfing: no checkpoints were given; one at least is needed")
    latents, steps, seconds = start, 0, 0.0
    earlier = len(losses) - 1
    for i, loss in enumerate(losses):
        share = LAST_SHARE if i == earlier else (1 - LAST_SHARE) / earlier
        share = 1.0 if not earlier else share
        budget = replace(
            settings,
            steps=round(settings.steps * share),
            seconds=None if settings.seconds is None else settings.seconds * share,
        )
        found = search(loss, latents, budget, report)
        latents, steps, seconds = found.latents, steps + found.steps, seconds + found.seconds
        if found.interrupted:
            break
    if found.interrupted and i < earlier:
        found = search(losses[-1], latents, replace(settings, steps=0, finish=0.0))
        found = replace(found, interrupted=True)
    return replace(found, steps=steps, seconds=seconds)
