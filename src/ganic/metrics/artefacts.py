"""Artefacts that averages hide: the lattices that upsampling layers and block transforms leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ganic.errors import UsageError
from ganic.metrics.pixels import Pixels, as_pair

if TYPE_CHECKING:
    from PIL import Image

PERIODS = (2, 4, 8, 16)
WINDOW = 32
"""Side in pixels of the windows whose spectra show a screen, and of the smallest picture that has one."""
SCREENS = [(u, v) for u in range(0, WINDOW, WINDOW // 4) for v in range(0, WINDOW, WINDOW // 4) if u or v]
"""The frequencies of patterns that repeat every two or four pixels, in both directions together."""
ROUNDING = 1 / 12
"""Variance in squared grey levels that rounding leaves at every frequency."""


def grid(original: Image.Image | Pixels, decoded: Image.Image | Pixels) -> float:
    """How much the residual's gradient clings to a lattice; 1 = not at all.

    The residual is the mean over RGB of (decoded - original). Its mean absolute difference between
    neighbouring columns gives one number per column, and likewise for rows. For every period of 2, 4, 8 and
    16 pixels these numbers are averaged at each phase; the measure is the largest (strongest phase / mean
    over phases) over all periods and both directions. AVIF has about 1.05, a careless pixel shuffle 1.25.

    A period that does not fit twice into a direction says nothing there and is left out, so a picture of a
    few pixels has 1, as has a decoded picture equal to its original.
    """
    # The sum over RGB: a factor of three cancels in every ratio, and integers keep the phases comparable.
    residual = _residual(*as_pair(original, decoded))
    across = np.abs(np.diff(residual, axis=1)).mean(axis=0)
    down = np.abs(np.diff(residual, axis=0)).mean(axis=1)
    return max(_strongest_phase(gradient, period) for gradient in (across, down) for period in PERIODS)


def _residual(first: Pixels, second: Pixels) -> NDArray[np.int32]:
    """What was added to a picture [h, w, 3], summed over RGB [h, w]."""
    added: NDArray[np.int32] = (second.astype(np.int32) - first.astype(np.int32)).sum(axis=2, dtype=np.int32)
    return added


def _strongest_phase(gradient: NDArray[np.float64], period: int) -> float:
    if gradient.size < 2 * period:
        return 1.0
    phases = np.array([gradient[phase::period].mean() for phase in range(period)])
    mean = float(phases.mean())
    return float(phases.max()) / mean if mean > 0 else 1.0


def screen(original: Image.Image | Pixels, decoded: Image.Image | Pixels) -> float:
    """How much a fine regular pattern stands out of the residual; about 1 = not at all.

    A checkerboard, or dots on every fourth pixel, as a generator's last sub-pixel convolutions draw them: the
    same at every phase, so `grid` does not see them (Durall et al., arXiv:2003.01826, find them in spectra).

    Of the residual of `grid` the power spectrum is averaged over 32x32 windows (Hann, half overlapping, their
    means removed).  At each frequency of a pattern that repeats every two or four pixels its power is divided
    by that of its neighbours, two steps away across or down, whichever is more: the ridges that edges leave
    along the axes are no lines.  The measure is the largest of these 15 ratios.

    Raises UsageError when the sizes differ or a side has less than 32 pixels.
    """
    first, second = as_pair(original, decoded)
    if min(first.shape[:2]) < WINDOW:
        raise UsageError(
            f"pictures of {first.shape[1]}x{first.shape[0]} pixels: a screen shows from 32x32 on"
        )
    residual = _residual(first, second) / np.float32(3)
    hann = np.hanning(WINDOW + 1)[:-1]
    taper = np.outer(hann, hann).astype(np.float32)
    taper /= np.sqrt(np.square(taper).sum())
    power = np.zeros((WINDOW, WINDOW))
    rows = range(0, residual.shape[0] - WINDOW + 1, WINDOW // 2)
    for top in rows:
        windows = sliding_window_view(residual[top : top + WINDOW], WINDOW, axis=1)[:, :: WINDOW // 2]
        windows = windows.transpose(1, 0, 2)
        spectra = np.fft.fft2((windows - windows.mean(axis=(1, 2), keepdims=True)) * taper)
        power += np.square(np.abs(spectra)).mean(axis=0)
    power = power / len(rows) + ROUNDING
    return max(float(power[u, v]) / _beside(power, u, v) for u, v in SCREENS)


def _beside(power: NDArray[np.float64], u: int, v: int) -> float:
    """The mean power two steps from a frequency, across or down, whichever is more."""
    down = float(power[u - 2, v] + power[(u + 2) % WINDOW, v])
    across = float(power[u, v - 2] + power[u, (v + 2) % WINDOW])
    return max(down, across) / 2
