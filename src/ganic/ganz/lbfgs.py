"""L-BFGS for a batch of separate problems: one history, one direction and one line search per row.

``torch.optim.LBFGS`` treats a batch as one long vector, so its pictures share one step size and one
curvature. Here every evaluation of the batch serves every row: while one row still looks for its step,
another starts a new direction.  A row's path depends on that row alone.

Two-loop recursion: Nocedal and Wright, Numerical Optimization, Algorithm 7.4.  Line search: weak Wolfe
conditions by bracketing (Lewis and Overton, Math. Program. 141, 2013, Algorithm 4.6), with quadratic
interpolation inside the bracket; it keeps s.y positive, so that every accepted pair may enter the history.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganic.ganz.budget import Clock, Found, Report, Settings, check_finite
from ganic.ganz.rows import Loss, evaluate

ARMIJO = 1e-4
CURVATURE = 0.9
TRIALS = 12
"""Steps tried along one direction before it is given up; without history, the row is finished then."""


class _History:
    """The last ``size`` pairs (s, y) of each row, newest last; unused slots have rho = 0 and do nothing."""

    def __init__(self, size: int, like: Tensor) -> None:
        rows, length = like.shape
        self.s, self.y = like.new_zeros(size, rows, length), like.new_zeros(size, rows, length)
        self.rho = like.new_zeros(size, rows)
        self.gamma = like.new_ones(rows)

    def push(self, rows: Tensor, s: Tensor, y: Tensor) -> None:
        """Append pairs to the rows where ``rows`` [n] is true and the curvature is safely positive."""
        product, square = _dot(s, y), _dot(y, y)
        rows = rows & (product > 1e-10 * (_dot(s, s) * square).sqrt()) & (square > 0)
        if not rows.any():
            return
        for old, new in ((self.s, s), (self.y, y)):
            old[:, rows] = torch.cat([old[1:, rows], new[None, rows]])
        self.rho[:, rows] = torch.cat([self.rho[1:, rows], (1 / product)[None, rows]])
        self.gamma = torch.where(rows, product / square, self.gamma)

    def forget(self, rows: Tensor) -> None:
        self.rho[:, rows] = 0.0

    def known(self) -> Tensor:
        """Which rows have any history [n]."""
        return (self.rho > 0).any(dim=0)

    def direction(self, gradient: Tensor) -> Tensor:
        """-H g for every row (Algorithm 7.4)."""
        q = gradient.clone()
        alphas: list[Tensor] = []
        for i in range(len(self.rho) - 1, -1, -1):
            alphas.append(self.rho[i] * _dot(self.s[i], q))
            q -= alphas[-1][:, None] * self.y[i]
        q *= torch.where(self.known(), self.gamma, 1.0)[:, None]
        for i in range(len(self.rho)):
            beta = self.rho[i] * _dot(self.y[i], q)
            q += (alphas[-1 - i] - beta)[:, None] * self.s[i]
        return -q


def lbfgs(
    loss: Loss,
    latents: Tensor,
    settings: Settings | None = None,
    report: Report | None = None,
    *,
    clock: Clock | None = None,
    tolerance: float = 0.0,
) -> Found:
    """Minimise from ``latents`` [n, ...]; ``settings.steps`` counts evaluations of loss and gradient.

    A row is finished when its largest gradient component is at most ``tolerance``, or when no step along its
    steepest descent makes it smaller; the search ends when all are, or with its budget.
    Raises TrainingError if a loss is not finite at the start (later ones only shorten a step).
    """
    settings = settings or Settings()
    clock = clock or Clock(settings, report)
    shape, first_step = latents.shape, clock.step

    def value(rows: Tensor) -> tuple[Tensor, Tensor]:
        losses, gradient = evaluate(loss, rows.view(shape))
        return losses, gradient.reshape(len(rows), -1)

    x = latents.detach().reshape(len(latents), -1).clone()
    interrupted = False
    f, g = value(x)
    check_finite(f, clock.step, clock.first)
    history = _History(settings.history, x)
    direction, slope, step = _steepest(g)
    low, high = torch.zeros_like(f), torch.full_like(f, math.inf)
    trials = torch.zeros_like(f)
    done = g.abs().amax(1) <= tolerance
    try:
        clock.tick(f)
        while clock.fraction < 1 and not bool(done.all()):
            trial = x + torch.where(done, 0.0, step)[:, None] * direction
            f_new, g_new = value(trial)
            trials += 1
            finite = torch.isfinite(f_new) & torch.isfinite(g_new).all(dim=1)
            lower = finite & (f_new <= f + ARMIJO * step * slope) & (f_new < f)
            flat = _dot(g_new, direction) >= CURVATURE * slope
            late = trials >= TRIALS
            accept = ~done & lower & (flat | late)
            failed = ~done & late & ~lower

            # Rows that go on along their direction: shrink or widen the bracket, choose the next step in it.
            seeking = ~done & ~accept & ~failed
            guess = _interpolate(f, slope, step, f_new, finite & ~lower)
            high = torch.where(seeking & ~lower, step, high)
            low = torch.where(seeking & lower, step, low)
            width = high - low
            inside = torch.where(low > 0, low + 0.5 * width, guess.clamp(min=0).minimum(0.9 * high))
            inside = inside.maximum(low + 0.1 * width)
            step = torch.where(seeking, torch.where(torch.isinf(high), 2 * step, inside), step)

            # Rows that arrived: remember the pair, move, aim anew.
            history.push(accept, trial - x, g_new - g)
            x = torch.where(accept[:, None], trial, x)
            f, g = torch.where(accept, f_new, f), torch.where(accept[:, None], g_new, g)
            done = done | (accept & (g.abs().amax(1) <= tolerance)) | (failed & ~history.known())
            history.forget(failed)
            anew = accept | failed
            if anew.any():
                down, down_slope, down_step = _steepest(g)
                aimed = history.direction(g)
                aimed_slope = _dot(aimed, g)
                use = history.known() & (aimed_slope < 0)
                direction = torch.where(anew[:, None], torch.where(use[:, None], aimed, down), direction)
                slope = torch.where(anew, torch.where(use, aimed_slope, down_slope), slope)
                step = torch.where(anew, torch.where(use, 1.0, down_step), step)
                low, high = low.masked_fill(anew, 0.0), high.masked_fill(anew, math.inf)
                trials = trials.masked_fill(anew, 0.0)
            clock.tick(f)
    except KeyboardInterrupt:
        interrupted = True
    return Found(x.view(shape), f, clock.step - first_step, clock.seconds, interrupted)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Row by row [n]."""
    return (a * b).sum(dim=1)


def _steepest(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Steepest descent [n, d], its slope [n], and a first step [n]: no component moves by more than 1."""
    largest = g.abs().amax(1).clamp(min=1e-30)
    return -g, -_dot(g, g), (1 / largest).clamp(max=1.0)


def _interpolate(f: Tensor, slope: Tensor, step: Tensor, f_new: Tensor, usable: Tensor) -> Tensor:
    """The minimum of the parabola through f, its slope and f_new; a tenth of ``step`` where there is none."""
    bend = f_new - f - slope * step
    guess = -slope * step.square() / (2 * bend)
    return torch.where(usable & (bend > 0) & torch.isfinite(guess), guess, 0.1 * step)
