from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ganic.jpeg.coefficients import table_tensors
from ganic.jpeg.files import write_files
from ganic.jpeg.head import Head, LocallyConnected, quantise, subsample
from ganic.jpeg.sampling import ALL, Subsampling
from ganic.jpeg.tables import quantisation_tables
from ganic.jpeg.transform import dct_matrix

jpeglib = pytest.importorskip("jpeglib", reason="the independent reader of coefficients")


def test_parameters() -> None:
    head = Head()
    assert sum(p.numel() for p in head.parameters()) == 12_492
    assert sum(p.numel() for p in head.luminance.loc1.parameters()) == 4
    assert sum(p.numel() for p in head.luminance.loc2.parameters()) == 64 * 65


@pytest.mark.parametrize("subsampling", ALL, ids=str)
@pytest.mark.parametrize("quality", [75, 50, 25])
def test_with_its_first_weights_it_is_libjpegs_encoder(
    subsampling: Subsampling, quality: int, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    """libjpeg rounds samples between its steps, so a coefficient near one half may fall the other way."""
    image = torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        planes = Head()(image, table_tensors(torch.full((len(photos),), quality)), subsampling).planes()
    for i, picture in enumerate(photos):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=str(subsampling))
        (tmp_path / "x.jpg").write_bytes(file.getvalue())
        libjpeg = jpeglib.read_dct(str(tmp_path / "x.jpg"))
        for ours, theirs in (
            (planes.luminance[i], libjpeg.Y),
            (planes.blue[i], libjpeg.Cb),
            (planes.red[i], libjpeg.Cr),
        ):
            assert ours.shape == theirs.shape
            difference = np.abs(ours - theirs)
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.02


def test_locally_connected_by_hand() -> None:
    """Blocks of 2x2: each output is its own sum of its own block's four inputs; blocks share weights."""
    layer = LocallyConnected(1, 1, 2)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.arange(16.0).view(4, 4, 1, 1))
        layer.linear.bias.copy_(torch.tensor([0.0, 1, 2, 3]))  # type: ignore[union-attr]
        x = torch.tensor([[1.0, 0, 2, 0], [0, 0, 0, 1]]).view(1, 1, 2, 4)
        y = layer(x)
    assert y.shape == (1, 4, 1, 2)
    assert y[0, :, 0, 0].tolist() == [0, 4 + 1, 8 + 2, 12 + 3]  # first column of the weights, and the bias
    assert y[0, :, 0, 1].tolist() == [2 * 0 + 3, 2 * 4 + 7 + 1, 2 * 8 + 11 + 2, 2 * 12 + 15 + 3]


def test_subsampling_layer_is_a_mean() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(subsample(x, 1, 1), x)
    assert subsample(x, 1, 2)[0, 0, 0].tolist() == [0.5, 2.5]
    assert subsample(x, 2, 2)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_black_and_white_by_hand() -> None:
    """Black is Y = 0, level-shifted -128, DC amplitude -128 * 8; white is 127 * 8; no colour in either."""
    image = torch.stack([torch.full((3, 8, 8), -1.0), torch.ones(3, 8, 8)])
    y, blue, red = Head().amplitudes(image, Subsampling.NONE)
    assert y[:, 0, 0, 0].tolist() == pytest.approx([-1024, 1016], abs=1e-3)
    assert y[:, 1:].abs().max() < 1e-3
    assert max(blue.abs().max(), red.abs().max()) < 1e-3


def test_quantisation_divides_rounds_and_limits() -> None:
    tables = table_tensors(torch.tensor([50]))
    y = torch.zeros(1, 64, 1, 1)
    y[0, :4, 0, 0] = torch.tensor([24.1, -16.4, 5000.0, 7.9])  # steps 16, 11, 10, 16
    flat = torch.zeros(1, 64, 1, 1)
    coded = quantise((y, flat, flat), tables, Subsampling.NONE)
    assert coded.luminance[0, :4, 0, 0].tolist() == [2, -1, 102, 0]


def test_every_coefficient_fits_a_baseline_file() -> None:
    """At quality 100 all steps are 1, and -1024 is for means only: other categories end at 10 bits."""
    far = torch.stack([torch.full((64, 1, 1), value) for value in (-5000.0, 5000.0)])
    coded = quantise((far, far, far), table_tensors(torch.tensor([100, 100])), Subsampling.NONE)
    planes = coded.planes()
    assert planes.luminance[0].min() == -1024 and planes.luminance.max() == 1023
    assert planes.red[0, 0, 0, 0, 0] == -1024 and (planes.red[0, 0, 0].ravel()[1:] == -1023).all()
    made = write_files(planes, quantisation_tables(100), Subsampling.NONE)
    assert [Image.open(io.BytesIO(data)).size for data in made] == [(8, 8)] * 2


def test_gradients_reach_every_weight_through_rounding() -> None:
    torch.manual_seed(0)
    head = Head()
    image = (torch.rand(4, 3, 32, 32) * 2 - 1).requires_grad_(True)
    coded = head(image, table_tensors(torch.full((4,), 50)), Subsampling.BOTH)
    total = sum((plane * torch.randn_like(plane)).sum() for plane in (coded.luminance, coded.blue, coded.red))
    assert isinstance(total, torch.Tensor)
    total.backward()
    assert all(p.grad is not None and (p.grad != 0).all() for p in head.parameters())
    assert image.grad is not None and (image.grad != 0).all()


def test_stays_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    tables = table_tensors(torch.tensor([100]))
    with torch.no_grad():
        plain = Head()(image, tables, Subsampling.NONE)
        with torch.autocast("cpu", torch.bfloat16):
            cast = Head()(image, tables, Subsampling.NONE)
    assert torch.equal(plain.luminance, cast.luminance)
    assert torch.allclose(Head().luminance.loc2.linear.weight[:, :, 0, 0], dct_matrix().float())
