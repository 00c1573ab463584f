"""Adam with cosine decay, for a batch of separate problems (Kingma and Ba, arXiv:1412.6980, Algorithm 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

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
    first, second = torch.zeros_like(current), torch.zeros_like(current)
    beta1, beta2 = settings.betas
    steps, interrupted = 0, False
    try:
        while clock.fraction < 1:
            losses, gradient = evaluate(loss, current)
            check_finite(losses, clock.step, clock.first)
            best, best_losses = keep_better(best, best_losses, current, losses)
            rate = settings.rate * 0.5 * (1 + math.cos(math.pi * clock.fraction))
            steps += 1
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            scale = (second / (1 - beta2**steps)).sqrt_().add_(1e-8)
            current = current.addcdiv(first, scale, value=-rate / (1 - beta1**steps))
            clock.tick(best_losses)
    except KeyboardInterrupt:
        interrupted = True
    with torch.no_grad():
        losses = loss(current)
    if steps == 0:
        check_finite(losses, 0, clock.first)
    best, best_losses = keep_better(best, best_losses, current, losses.nan_to_num(nan=math.inf))
    return Found(best, best_losses, steps, clock.seconds, interrupted)
