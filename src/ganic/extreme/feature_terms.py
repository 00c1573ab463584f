"""Perceptual distance and texture of one activation, in as few passes through memory as they need.

The activations that training compares are hundreds of megabytes, and arithmetic on them is a few operations
per number: written as formulas for autograd, the two terms took an eighth of a step's time.  Here forward and
backward go through strips that fit a processor's cache, and nothing of the activations' size is kept between
them but the activations.

The distance is that of :func:`ganic.metrics.perceptual.feature_distance`.  The texture term is a Wasserstein
distortion (arXiv:2310.03629, Eq. 5) of Gaussian summaries: squared differences of local means and deviations
of unit vectors, over 4x4 windows that overlap by half.  Such a window is 2x2 cells of 2x2 positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ganic.metrics.perceptual import EPSILON
from ganic.metrics.wasserstein import VARIANCE_FLOOR

STRIP = 2**18
"""Numbers that one thread's strip of one picture has, about: a megabyte of float32."""


def feature_terms(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Distance [n] in [0, 4] and texture [n] of activations [n, c, h, w], sides at least 4; float32.

    Differentiable in ``fake`` alone.
    """
    terms: tuple[Tensor, Tensor] = _FeatureTerms.apply(real, fake)  # type: ignore[no-untyped-call]
    return terms


class _FeatureTerms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        x, y = (_last(activation.detach()) for activation in (real, fake))
        n, h, w, c = x.shape
        distance, texture = x.new_zeros(2, n, dtype=torch.float32)
        # The inverse lengths of vectors, and d texture / d window means of u and of u^2.
        lengths = x.new_empty((2, n, h, w, 1), dtype=torch.float32)
        slopes = x.new_empty((2, n, h // 2 - 1, w // 2 - 1, c), dtype=torch.float32)
        scratch = _scratch(y, 3)
        for pictures, cells in _strips(y):
            # One more row of cells completes the last windows; there is none after the last strip.
            rows, more = _rows(cells, h), slice(2 * cells.start, min(2 * cells.stop + 2, h))
            *units, spare = (part[:, : more.stop - more.start] for part in scratch)
            for z, unit, inverse in zip((x, y), units, lengths, strict=True):
                unit.copy_(z[pictures, more])
                factors = torch.mul(unit, unit, out=spare).sum(-1, keepdim=True).add_(EPSILON).rsqrt_()
                inverse[pictures, more] = factors
                unit.mul_(factors)
            off = torch.sub(*units, out=spare)[:, : rows.stop - rows.start]
            distance[pictures] += off.square_().sum((1, 2, 3))
            (mean, square), (fake_mean, fake_square) = (
                (_windows(unit), _windows(torch.mul(unit, unit, out=spare))) for unit in units
            )
            deviation, fake_deviation = (
                s.addcmul_(m, m, value=-1).clamp_min_(VARIANCE_FLOOR).sqrt_()
                for m, s in ((mean, square), (fake_mean, fake_square))
            )
            off, spread = fake_mean - mean, fake_deviation - deviation
            texture[pictures] += (off.square() + spread.square()).sum((1, 2, 3))
            windows = slice(cells.start, cells.start + mean.shape[1])
            # A deviation at its floor does not move.
            flat = fake_deviation * fake_deviation <= VARIANCE_FLOOR
            on_square = spread.div_(fake_deviation).masked_fill_(flat, 0)
            slopes[1, pictures, windows] = on_square
            slopes[0, pictures, windows] = off.addcmul_(fake_mean, on_square, value=-1).mul_(2)
        ctx.save_for_backward(x, y, lengths, slopes)
        return distance / (h * w), texture / ((h // 2 - 1) * (w // 2 - 1))

    @staticmethod
    def backward(ctx: Any, *slopes_of: Tensor) -> tuple[None, Tensor]:
        x, y, lengths, slopes = ctx.saved_tensors
        n, h, w, _ = y.shape
        gradient = torch.empty_like(y)
        # Of a squared difference of unit vectors; of a window's mean, a sixteenth for each of its positions.
        per_position = (2 * slopes_of[0] / (h * w)).view(n, 1, 1, 1)
        per_window = (slopes_of[1] / (16 * (h // 2 - 1) * (w // 2 - 1))).view(n, 1, 1, 1)
        scratch = _scratch(y, 2)
        for pictures, cells in _strips(y):
            rows, count = _rows(cells, h), cells.stop - cells.start
            slope, unit = (part[:, : rows.stop - rows.start] for part in scratch)
            for z, into, inverse in zip((x, y), (slope, unit), lengths, strict=True):
                into.copy_(z[pictures, rows]).mul_(inverse[pictures, rows])
            torch.sub(unit, slope, out=slope).mul_(per_position[pictures])
            on_mean, on_square = (_per_cell(s[pictures], cells) * per_window[pictures] for s in slopes)
            blocks, unit_blocks = _blocks(slope, count), _blocks(unit, count)
            blocks.add_(on_mean[:, :, None, :, None]).addcmul_(
                unit_blocks, on_square[:, :, None, :, None], value=2
            )
            # Nothing changes along the vector itself.
            along = (slope * unit).sum(-1, keepdim=True)
            gradient[pictures, rows] = slope.sub_(unit.mul_(along)).mul_(lengths[1, pictures, rows])
        return None, gradient.permute(0, 3, 1, 2)


def _last(activation: Tensor) -> Tensor:
    """[n, c, h, w] -> [n, h, w, c], contiguous."""
    return activation.permute(0, 2, 3, 1).contiguous()


def _cells_at_once(activation: Tensor) -> tuple[int, int]:
    """Pictures and rows of cells of [n, h, w, c] in a strip; all where there is no small cache to stay in."""
    n, h, w, c = activation.shape
    if activation.device.type != "cpu":
        return n, h // 2
    return 1, min(h // 2, max(1, torch.get_num_threads() * STRIP // (2 * w * c)))


def _strips(activation: Tensor) -> Iterator[tuple[slice, slice]]:
    """Pictures and rows of cells of [n, h, w, c]."""
    n, h, _, _ = activation.shape
    pictures, cells = _cells_at_once(activation)
    for picture in range(0, n, pictures):
        for first in range(0, h // 2, cells):
            yield slice(picture, picture + pictures), slice(first, min(first + cells, h // 2))


def _scratch(activation: Tensor, count: int) -> Sequence[Tensor]:
    """Room for strips, with one more row of cells and what is left of an odd height."""
    pictures, cells = _cells_at_once(activation)
    shape = count, pictures, 2 * cells + 3, *activation.shape[2:]
    return list(activation.new_empty(shape, dtype=torch.float32))


def _rows(cells: slice, height: int) -> slice:
    """The rows of positions that cells are of; with the last cells, one that is left."""
    return slice(2 * cells.start, 2 * cells.stop if cells.stop < height // 2 else height)


def _windows(values: Tensor) -> Tensor:
    """Means over windows, [n, rows, w, c] -> [n, rows // 2 - 1, w // 2 - 1, c]."""
    blocks = _blocks(values, values.shape[1] // 2)
    rows = blocks[:, :, 0] + blocks[:, :, 1]
    cells = rows[:, :, :, 0] + rows[:, :, :, 1]
    rows = cells[:, :-1] + cells[:, 1:]
    return (rows[:, :, :-1] + rows[:, :, 1:]).div_(16)


def _blocks(positions: Tensor, rows: int) -> Tensor:
    """The cells of [n, h, w, c], as a view [n, rows, 2, w // 2, 2, c]."""
    n, _, w, c = positions.shape
    return positions[:, : 2 * rows, : w // 2 * 2].view(n, rows, 2, w // 2, 2, c)


def _per_cell(windows: Tensor, cells: slice) -> Tensor:
    """What the windows [n, rows, columns, c] that cells are in add up to, [n, cells, columns + 1, c]."""
    first, last = max(cells.start - 1, 0), min(cells.stop, windows.shape[1])
    part = windows[:, first:last]
    above, below = int(cells.start == 0), int(cells.stop > windows.shape[1])
    part = F.pad(part, (0, 0, 1, 1, above, below))
    rows = part[:, :-1] + part[:, 1:]
    return rows[:, :, :-1] + rows[:, :, 1:]
