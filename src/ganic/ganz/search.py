"""Eq. 1 of the GANZ paper: z* = argmin ||G(z) - x||^2, for many pictures at once and each on its own.

A *loss* (`ganic.ganz.rows.Loss`) maps latents [n, ...] to n numbers, row by row.  Gradients of
their sum are then n separate gradients, and neither Adam (element by element) nor `ganic.ganz.lbfgs` (row by
row) lets one picture influence another: alone or in a batch, a picture gets the same result, to rounding.

What the authors ran (not what the paper says): Adam, rate 0.05, betas (0.5, 0.999), cosine decay to zero over
7500 steps, one start, clamp(N(0, 1), -1, 1).  Those are the defaults of `Settings`, except for the steps.

Every search remembers the best latent of each picture.  Ctrl-C or the end of a time budget ends it early with
those; the cosine follows whichever budget is nearer to its end, so that a search by the clock cools down too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ganic.errors import UsageError
from ganic.ganz.adam import adam
from ganic.ganz.budget import Clock, Found, Progress, Relay, Report, Settings, keep_better
from ganic.ganz.lbfgs import lbfgs
from ganic.ganz.random_stream import Purpose, normal
from ganic.ganz.rows import Loss, Parts, Together

__all__ = ["Found", "Loss", "Progress", "Report", "Settings", "Start", "restarts", "search", "start"]

Start = Literal["clamped-normal", "normal", "zero"]


def start(kind: Start, count: int, size: int, seed: int = 0) -> Tensor:
    """``count`` starting latents [count, size], all equal: a picture's place in a batch is nothing."""
    if kind == "zero":
        return torch.zeros(count, size)
    row = torch.from_numpy(normal(seed, Purpose.START, size))
    if kind == "clamped-normal":
        row = row.clamp(-1, 1)
    return row.repeat(count, 1)


def search(
    loss: Loss,
    latents: Tensor,
    settings: Settings | None = None,
    report: Report | None = None,
    *,
    precise: Loss | None = None,
) -> Found:
    """Minimise from ``latents`` [n, ...]: Adam, then L-BFGS as ``settings.finish`` says.

    ``precise`` is the same loss in full precision, for the second part, when the first runs in bf16: Adam
    does not mind bf16's noise, a line search does.  Of parts that are computed side by side, each core
    searches its own from beginning to end; ``report`` is then called from their threads, one at a time.
    Raises TrainingError if a loss is not finite.
    """
    settings = settings or Settings()
    if isinstance(loss, Together) and loss.parts.cores > 1 and len(loss.losses) > 1:
        return _side_by_side(loss, latents, settings, report, precise)
    return _search(loss, latents, settings, Clock(settings, report), precise)


def _search(loss: Loss, latents: Tensor, settings: Settings, clock: Clock, precise: Loss | None) -> Found:
    steps = round(settings.steps * (1 - settings.finish))
    if steps == settings.steps:
        return adam(loss, latents, settings, clock=clock)
    if steps:
        clock.steps = steps
        clock.limit = None if settings.seconds is None else settings.seconds * (1 - settings.finish)
        warm = adam(loss, latents, settings, clock=clock)
        if warm.interrupted:
            return warm
        latents = warm.latents
        clock.steps, clock.limit = settings.steps, settings.seconds
    found = lbfgs(precise or loss, latents, settings, clock=clock)
    return replace(found, steps=clock.step)


def _side_by_side(
    loss: Together, latents: Tensor, settings: Settings, report: Report | None, precise: Loss | None
) -> Found:
    """`_search` on every core for its rows; one that ends early leaves the others to go on."""
    sizes, losses = zip(*loss.columns(), strict=True)
    precisely: Sequence[Loss | None] = [None] * len(sizes)
    if isinstance(precise, Together):
        precisely = [column for _, column in precise.columns()]
    elif precise is not None:
        raise UsageError("search: the precise loss has other parts than the loss")
    relay = Relay(len(sizes), report)

    def alone(number: int, loss: Loss, precise: Loss | None, latents: Tensor) -> Found:
        clock = Clock(settings, relay.of(number), first=sum(sizes[:number]))
        try:
            return _search(loss, latents, settings, clock, precise)
        except BaseException:
            relay.stop()
            raise
        finally:
            relay.end(number)

    parts = Parts(sizes, loss.parts.cores)
    found = parts.map(alone, range(len(sizes)), losses, precisely, parts.split(latents), interrupt=relay.stop)
    return Found(
        torch.cat([each.latents for each in found]),
        torch.cat([each.losses for each in found]),
        max(each.steps for each in found),
        max(each.seconds for each in found),
        any(each.interrupted for each in found),
    )


def restarts(
    loss: Loss,
    starts: Sequence[Tensor],
    settings: Settings,
    report: Report | None = None,
    *,
    trial: float = 0.2,
    precise: Loss | None = None,
) -> Found:
    """Try every start for a share ``trial`` of the budget, then go on from the best of each picture.

    All starts together get ``trial``, the rest gets what is left of the budget.
    Raises UsageError if there is no start.
    """
    if not starts:
        raise UsageError("search: no starts were given; one at least is needed")
    if len(starts) == 1:
        return search(loss, starts[0], settings, report, precise=precise)
    share = trial / len(starts)
    short = replace(
        settings,
        steps=max(1, round(settings.steps * share)),
        seconds=None if settings.seconds is None else settings.seconds * share,
        finish=0.0,
    )
    tries: list[Found] = []
    for latents in starts:
        tries.append(search(loss, latents, short, report))
        if tries[-1].interrupted:
            break
    losses, which = torch.stack([found.losses for found in tries]).min(dim=0)
    chosen = torch.stack([found.latents for found in tries])[which, torch.arange(len(which))]
    used = sum(found.steps for found in tries)
    seconds = sum(found.seconds for found in tries)
    if tries[-1].interrupted:
        return Found(chosen, losses, used, seconds, True)
    left = None if settings.seconds is None else max(1e-3, settings.seconds - seconds)
    rest = search(
        loss,
        chosen,
        replace(settings, steps=max(0, settings.steps - used), seconds=left),
        report,
        precise=precise,
    )
    best, best_losses = keep_better(chosen, losses, rest.latents, rest.losses)
    return Found(best, best_losses, used + rest.steps, seconds + rest.seconds, rest.interrupted)
