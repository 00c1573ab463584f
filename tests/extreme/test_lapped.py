from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from ganic.extreme.lapped import (
    BANDS,
    Analysis,
    Synthesis,
    lapped_basis,
    picture_basis,
    tapered,
    typical_deviations,
)


def test_the_basis_and_its_shifts_are_orthonormal() -> None:
    basis = lapped_basis()
    assert torch.allclose(basis @ basis.T, torch.eye(BANDS, dtype=torch.float64), atol=1e-12)
    assert (basis[:, BANDS:] @ basis[:, :BANDS].T).abs().max() < 1e-12


def test_the_basis_is_sorted_by_frequency_and_sees_a_constant_in_its_first_band_most() -> None:
    basis = lapped_basis()
    crossings = (basis[:, 1:] * basis[:, :-1] < 0).sum(1)
    assert crossings[0] == crossings.min() and crossings[-1] >= BANDS - 1
    response = basis.sum(1).abs()
    assert response[0] > 3.9 and response[1:].max() < 0.3


def test_analysis_is_a_projection_of_the_picture_on_the_basis() -> None:
    torch.manual_seed(0)
    picture = torch.randn(1, 3, 64, 48)
    analysis = Analysis(12, scale=4.0)
    y = analysis(picture)
    assert y.shape == (1, 12, 4, 3)
    padded = F.pad(picture, (8, 8, 8, 8))
    for channel, function in enumerate(picture_basis(12)):
        window = padded[0, :, 16:48, 32:64]  # the 32x32 pixels around block (1, 2)
        expected = 4 * (window.double() * function).sum()
        assert torch.isclose(y[0, channel, 1, 2].double(), expected, atol=1e-4)


def test_synthesis_inverts_analysis_on_what_the_basis_spans() -> None:
    torch.manual_seed(0)
    analysis, synthesis = Analysis(24, scale=4.0), Synthesis(24, scale=4.0)
    y = torch.randn(1, 24, 6, 6)
    y[:, :, [0, -1]] = 0  # functions at the border reach over it
    y[:, :, :, [0, -1]] = 0
    again = analysis(synthesis(y))
    assert torch.allclose(again, y, atol=1e-4)


def test_typical_deviations_fall_with_frequency() -> None:
    deviations = typical_deviations(24)
    assert deviations[0] == deviations[:16].max()
    assert deviations[16] < deviations[0]
    assert (deviations > 0).all()


def test_a_tapered_synthesis_ends_in_zero() -> None:
    """One coefficient's function: forced to 0 at its ends, untouched in its middle."""
    plain, forced = Synthesis(6, 4.0), Synthesis(6, 4.0, taper=8)
    y = torch.zeros(1, 6, 5, 5)
    y[0, 0, 2, 2] = 1
    with torch.no_grad():
        before, after = plain(y)[0, 0], forced(y)[0, 0]
    support = slice(24, 56)  # 32 samples around the position 2 (pixels 32 to 47)
    assert torch.equal(before[32:48, 32:48], after[32:48, 32:48])
    assert (
        after[support, support].abs().amax(0)[[0, -1]] < 0.02 * before[support, support].abs().amax()
    ).all()
    assert (before[24].abs() > 1e-3).any() and (after[24].abs() < 1e-4).all()
    outside = torch.ones(80, 80, dtype=torch.bool)
    outside[support, support] = False
    assert (after[outside] == 0).all()


def test_the_taper_by_hand() -> None:
    rise = [math.sin(math.pi / 8) ** 2, math.sin(3 * math.pi / 8) ** 2]
    assert tapered(2).tolist() == pytest.approx([*rise, *[1] * 28, *rise[::-1]])
    assert (tapered(0) == 1).all() and len(tapered(0)) == 32
