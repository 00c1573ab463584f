"""The direct path: a block transform against scipy's, and a codec before any training."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch

from ganic.ganz.direct import Analysis, Synthesis, block_transform, dct, deviations
from ganic.ganz.encoder import GAIN
from ganic.ganz.generator import Generator
from ganic.ganz.reconstruction import ReconstructionObjective


@pytest.mark.parametrize("length", [2, 8, 16])
def test_dct_is_scipys(length: int) -> None:
    expected = scipy.fft.dct(np.eye(length), axis=0, norm="ortho")
    np.testing.assert_allclose(dct(length).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("channels, side", [(128, 8), (128, 16), (6, 4), (20, 2)])
def test_transform_is_orthonormal(channels: int, side: int) -> None:
    basis = block_transform(channels, side).flatten(1)
    used = min(channels, 3 * side * side)
    expected = torch.zeros(channels, channels, dtype=torch.float64)
    expected[:used, :used] = torch.eye(used, dtype=torch.float64)
    torch.testing.assert_close(basis @ basis.mT, expected, atol=1e-12, rtol=0)
    # The first channel is the brightness of the block.
    torch.testing.assert_close(basis[0], torch.full_like(basis[0], basis.shape[1] ** -0.5))


def test_deviations_fall_with_frequency_and_are_higher_for_brightness() -> None:
    found = deviations(192, 8)
    assert found[0] == found.max() and found.min() > 0
    # A model of the whole block keeps its variance: 3 colours of CONTRAST ** 2, chroma counted less.
    total = 0.25**2 * 3 * (1 + 2 * 0.25**2) * 64
    assert float(found.square().sum()) == pytest.approx(total, rel=1e-6)


def test_synthesis_undoes_analysis_where_channels_suffice() -> None:
    torch.manual_seed(0)
    pictures = torch.randn(2, 3, 64, 64)
    coefficients = Analysis(192, 64, 8)(pictures).detach()
    assert float(coefficients.square().sum()) == pytest.approx(float(pictures.square().sum()), rel=1e-4)
    h0 = coefficients / deviations(192, 8).float()[:, None, None]
    torch.testing.assert_close(Synthesis(192, 64, 8)(h0).detach(), pictures, atol=1e-4, rtol=0)


def test_an_untrained_model_is_a_transform_codec() -> None:
    """Before the first step: smooth pictures come back, coefficients in units of 1/16."""
    torch.manual_seed(0)
    generator = Generator(8, 64, width=128, init="preserving", direct=True)
    objective = ReconstructionObjective(generator, None)
    coarse = torch.rand(4, 3, 8, 8)
    pictures = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        coefficients = objective.encoder(pictures)
        made = generator.synthesise(objective.basis(coefficients))
        energy = (pictures - 0.5).square().flatten(1).sum(1)
        h0 = objective.basis(coefficients).view(4, 128, 8, 8)
    assert float((made - pictures).square().mean()) < 0.1 * float(pictures.var())
    torch.testing.assert_close(coefficients.square().sum(1) / GAIN**2, energy, rtol=0.1, atol=0)
    assert 0.1 < float(h0.square().mean()) < 10
    plain = Generator(8, 64, width=128)
    assert plain.direct is None and not any("direct" in name for name in plain.state_dict())
