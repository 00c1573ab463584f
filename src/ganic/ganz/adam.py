"""Adam with cosine decay, for a batch of separate problems."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganic.adam import Adam
from ganic.ganz.budget import Clock, Found, Report, Settings, check_finite, keep_better
from ganic.ganz.rows import Loss, evaluate


def adam(
    loss: Loss,
    latents: Tensor,
    settings: Settings | None = None,
    report: Report | None = None,
    *,
    clock: Clock | None = None,
) -> Found:
    """Adam with cosine decay.  One step is one gradient; the last latent is evaluated as well."""
    settings = settings or Settings()
    clock = clock or Clock(settings, report)
    current = latents.detach().clone()
    best, best_losses = current.clone(), torch.full((len(current),), math.inf, device=current.device)
    update, interrupted = Adam(current, settings.betas), False
    try:
        while clock.fraction < 1:
            losses, gradient = evaluate(loss, current)
            check_finite(losses, clock.step, clock.first)
            best, best_losses = keep_better(best, best_losses, current, losses)
            rate = settings.rate * 0.5 * (1 + math.cos(math.pi * clock.fraction))
            current = update(current, gradient, rate)
            clock.tick(best_losses)
    except KeyboardInterrupt:
        interrupted = True
    with torch.no_grad():
        losses = loss(current)
    if update.steps == 0:
        check_finite(losses, 0, clock.first)
    best, best_losses = keep_better(best, best_losses, current, losses.nan_to_num(nan=math.inf))
    return Found(best, best_losses, update.steps, clock.seconds, interrupted)
