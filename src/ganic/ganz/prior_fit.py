"""Levels, activity shifts and tables for a model's basis, from coefficients of training pictures.

For use when a model is made.  Everything here ends up as integers in the model file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ganic.entropy import MAX_SUPPORT, calibrated_tables
from ganic.errors import UsageError
from ganic.ganz.basis import POSITIONS, SMOOTH
from ganic.ganz.latent_coder import (
    BINS,
    LEVELS,
    RATIO,
    SMALLEST_SCALE,
    ActivityCoder,
    LatentPrior,
)
from ganic.ganz.tables import code_lengths, laplace_tables, with_certain_zero, without_certain_zero

SHIFTS = range(-16, 17)
"""What is tried; activity ratios of 4 either way are worth 14."""

RELUCTANCE = 1.0
"""Bits that a shift must save per unit: kinds of activity that hardly occur keep none."""

STRENGTH = 4000.0
"""Imaginary Laplace symbols that keep each table near its start."""

MAGNITUDES = MAX_SUPPORT + 1

ROUNDS = 2
"""Shifts depend on tables and tables on shifts."""


def fit_levels(
    coefficients: NDArray[np.float32], first_step: float, local: bool = False
) -> NDArray[np.int16]:
    """Levels [channels, 64] for coefficients [n, channels * 64]: the most likely Laplace scales.

    Of a local basis all positions of a channel have the same, but for the smooth channels' frequencies.

    Raises UsageError if there are no coefficients or they are not finite.
    """
    if not len(coefficients) or not np.isfinite(coefficients).all():
        raise UsageError("latent prior: no coefficients to learn from, or not finite ones")
    scale = math.sqrt(2.0) * np.abs(coefficients).mean(axis=0, dtype=np.float64) / first_step
    scale = scale.reshape(-1, POSITIONS)
    if local:
        scale[SMOOTH:] = scale[SMOOTH:].mean(axis=1, keepdims=True)
    levels = np.round(np.log(np.maximum(scale, 1e-6) / SMALLEST_SCALE) / math.log(RATIO))
    fitted: NDArray[np.int16] = levels.astype(np.int16)
    return fitted


def fit_prior(
    levels: NDArray[np.int16],
    symbols: Mapping[int, NDArray[np.integer]],
    local: bool = False,
    strength: float = STRENGTH,
) -> LatentPrior:
    """The prior for symbols [n, channels * 64] seen at each of several step indices."""
    tables = laplace_tables()
    prior = LatentPrior(tables, levels, np.zeros((BINS, BINS), np.int8), local)
    base = without_certain_zero(tables)
    for _ in range(ROUNDS):
        prior = replace(prior, shifts=fit_shifts(prior, symbols))
        seen = np.zeros(len(prior.tables.counts), np.int64)
        for step, values in symbols.items():
            fitted, which = prior.at(step).fit(values)
            seen += prior.tables.histogram(fitted.ravel(), which.ravel())
        calibrated = calibrated_tables(base, seen[1:], strength)  # the first entry is table 0's only symbol
        prior = replace(prior, tables=with_certain_zero(calibrated))
    return prior


def fit_shifts(prior: LatentPrior, symbols: Mapping[int, NDArray[np.integer]]) -> NDArray[np.int8]:
    """For each kind of activity the shift of levels that makes the code shortest [BINS, BINS]."""
    highest = LEVELS - 1 - min(SHIFTS)  # no higher base level comes down to another table
    counts = np.zeros(BINS * BINS * (highest + 1) * MAGNITUDES, np.int64)
    for step, values in symbols.items():
        for base, kind, magnitude in _cases(prior.at(step), values):
            place = (kind * (highest + 1) + np.minimum(base, highest)) * MAGNITUDES + magnitude
            counts += np.bincount(place, minlength=len(counts))
    seen = counts.reshape(BINS * BINS, highest + 1, MAGNITUDES).astype(np.float64)
    lengths = code_lengths(prior.tables)[:, :MAGNITUDES]
    costs = []
    for shift in SHIFTS:
        tables = 1 + np.clip(np.arange(highest + 1) + shift, 0, LEVELS - 1)
        costs.append(np.einsum("kbm,bm->k", seen, lengths[tables]) + RELUCTANCE * abs(shift))
    best = np.argmin(costs, axis=0)
    shifts: NDArray[np.int8] = np.array(SHIFTS, np.int8)[best].reshape(BINS, BINS)
    return shifts


def _cases(
    coder: ActivityCoder, values: NDArray[np.integer]
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Base level, kind of activity and magnitude of every symbol that has an activity and is not certain."""
    symbols = coder.arranged(np.clip(values, -MAX_SUPPORT, MAX_SUPPORT).astype(np.int16))
    for group in range(coder.first, len(coder.groups) - 1):
        part = slice(coder.groups[group], coder.groups[group + 1])
        nearby, around = coder.activity(group, symbols)
        kind = np.broadcast_to((nearby * BINS + around)[:, :, None], symbols[:, :, part].shape)
        base = np.broadcast_to(coder.base[:, :, part], kind.shape)
        coded = base >= 0
        yield base[coded], kind[coded], np.abs(symbols[:, :, part].astype(np.int64))[coded]
