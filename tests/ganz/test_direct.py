"""The direct path: a block transform against scipy's, and a codec before any training."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch

from ganic.ganz import direct
from ganic.ganz.direct import Analysis, Synthesis, block_transform, dct, deviations, mix, mixer, mixing
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


@pytest.mark.parametrize("lapped", [False, True])
def test_deviations_fall_with_frequency_and_are_higher_for_brightness(lapped: bool) -> None:
    found = deviations(192, 8, lapped=lapped)
    assert found[0] == found.max() and found.min() > 0
    # A model of the whole block keeps its variance: 3 colours of CONTRAST ** 2, chroma counted less.
    total = 0.25**2 * 3 * (1 + 2 * 0.25**2) * 64
    assert float(found.square().sum()) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("side, block, lapped", [(8, 8.83, 9.22), (16, 9.46, 9.76)])
def test_overlapping_codes_better(side: int, block: float, lapped: float) -> None:
    """Coding gains in dB at a correlation of 0.95, as Malvar gives them for the DCT and the LOT."""
    for expected, overlaps in ((block, False), (lapped, True)):
        # Brightness of no vertical frequency, in order of the horizontal one: one row of the transform.
        variances = deviations(3 * side * side, side, lapped=overlaps).square()
        bands = direct._bands(3 * side * side, side)
        row = torch.stack([variances[bands.index((0, 0, v))] for v in range(side)])
        gain = 10 * torch.log10(row.mean() / row.log().mean().exp())
        assert float(gain) == pytest.approx(expected, abs=0.02)


def test_mixing_is_orthogonal_keeps_constants_and_leaves_the_edges() -> None:
    one, whole = mixing(8), mixer(32, 8)
    torch.testing.assert_close(one @ one.mT, torch.eye(8, dtype=torch.float64), atol=1e-12, rtol=0)
    flat = torch.full((1, 3, 32, 32), 0.3)
    torch.testing.assert_close(mix(flat, whole), flat)
    picture = torch.zeros(1, 1, 32, 32)
    picture[..., 12, 12:20] = torch.arange(8.0)
    mixed = mix(picture, whole)
    # Row 12 is the first of those around the border at 16, as columns 12 to 19 are.
    expected = torch.outer(one[:, 0], one @ torch.arange(8, dtype=torch.float64)).float()
    torch.testing.assert_close(mixed[0, 0, 12:20, 12:20], expected)
    assert not mixed[..., :12, :].any() and not mixed[..., 20:, :].any()
    corner = torch.zeros(1, 1, 32, 32)
    corner[..., :4, :4] = 1
    assert torch.equal(mix(corner, whole), corner)


@pytest.mark.parametrize("lapped", [False, True])
def test_synthesis_undoes_analysis_where_channels_suffice(lapped: bool) -> None:
    torch.manual_seed(0)
    pictures = torch.randn(2, 3, 64, 64)
    coefficients = Analysis(192, 64, 8, lapped=lapped)(pictures).detach()
    assert float(coefficients.square().sum()) == pytest.approx(float(pictures.square().sum()), rel=1e-4)
    h0 = coefficients / deviations(192, 8, lapped=lapped).float()[:, None, None]
    synthesis = Synthesis(192, 64, 8, lapped=lapped)
    torch.testing.assert_close(synthesis(h0).detach(), pictures, atol=1e-4, rtol=0)


@pytest.mark.parametrize("lapped", [False, True])
def test_an_untrained_model_is_a_transform_codec(lapped: bool) -> None:
    """Before the first step: smooth pictures come back, coefficients in units of 1/16."""
    torch.manual_seed(0)
    generator = Generator(8, 64, width=128, init="preserving", direct=True, lapped=lapped)
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
