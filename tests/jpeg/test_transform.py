from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ganic.jpeg.coefficients import Coefficients, table_tensors
from ganic.jpeg.files import write_files
from ganic.jpeg.head import Head
from ganic.jpeg.sampling import ALL, Subsampling
from ganic.jpeg.tables import quantisation_tables
from ganic.jpeg.transform import dct_matrix
from ganic.jpeg.transform import decode as transform
from ganic.straight_through import clip_through, floor_through, round_through

Decode = Callable[[bytes], NDArray[np.float64]]


def qualities(count: int, quality: int) -> torch.Tensor:
    return torch.full((count,), quality)


@pytest.mark.parametrize("subsampling", ALL, ids=str)
@pytest.mark.parametrize("quality", [100, 75, 50, 25, 5])
def test_equal_to_libjpegs_decoder(
    subsampling: Subsampling, quality: int, photos: NDArray[np.uint8], decode: Decode
) -> None:
    image = torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 127.5 - 1
    tables = table_tensors(qualities(len(photos), quality))
    with torch.no_grad():
        coefficients = Head()(image, tables, subsampling)
        ours = transform(coefficients, tables).permute(0, 2, 3, 1).numpy()
    files = write_files(coefficients.planes(), quantisation_tables(quality), subsampling)
    difference = np.abs(ours - np.stack([decode(data) for data in files]))
    assert difference.mean() < 0.1  # the issue asks for .5; what is left is libjpeg's integer DCT
    assert difference.max() <= 3


@pytest.mark.parametrize("subsampling", ALL, ids=str)
def test_equal_to_libjpegs_decoder_on_wild_coefficients(subsampling: Subsampling, decode: Decode) -> None:
    """Coefficients that no picture has: samples far outside 0..255, sharp chroma edges."""
    rng = np.random.default_rng(0)
    v, h = subsampling.vertical, subsampling.horizontal
    shapes = [(4, 64, 4, 4), (4, 64, 4 // v, 4 // h), (4, 64, 4 // v, 4 // h)]
    sparse = [
        torch.from_numpy(rng.normal(0, 8, shape) * (rng.random(shape) < 0.1)).round().float()
        for shape in shapes
    ]
    coefficients = Coefficients(sparse[0], sparse[1], sparse[2], subsampling)
    tables = table_tensors(qualities(4, 50))
    ours = transform(coefficients, tables).permute(0, 2, 3, 1).numpy()
    files = write_files(coefficients.planes(), quantisation_tables(50), subsampling)
    difference = np.abs(ours - np.stack([decode(data) for data in files]))
    assert difference.mean() < 0.1
    assert difference.max() <= 3


def test_a_flat_picture_by_hand() -> None:
    """Y = 128 + 2 * 8 * 8 / 8 = 144, Cb - 128 = 17 * 8 / 8 = 17: R = 144, G = 144 - 5.85, B = 144 + 30.1."""
    y, blue = torch.zeros(1, 64, 1, 1), torch.zeros(1, 64, 1, 1)
    y[0, 0], blue[0, 0] = 8, 8
    tables = table_tensors(torch.tensor([50]))  # DC steps 16 and 17
    rgb = transform(Coefficients(y, blue, torch.zeros_like(y), Subsampling.NONE), tables)
    assert rgb.shape == (1, 3, 8, 8)
    assert rgb[0, :, 3, 5].tolist() == [144, 138, 174]
    assert torch.equal(rgb, rgb[:, :, :1, :1].expand(-1, -1, 8, 8))


def test_each_picture_has_its_own_tables() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 16, 16) * 2 - 1
    head, mixed = Head(), torch.tensor([90, 20])
    with torch.no_grad():
        both = transform(head(image, table_tensors(mixed), Subsampling.BOTH), table_tensors(mixed))
        for i in range(2):
            tables = table_tensors(mixed[i : i + 1])
            alone = transform(head(image[i : i + 1], tables, Subsampling.BOTH), tables)
            assert torch.equal(both[i : i + 1], alone)


def test_dct_is_orthonormal_and_ordered_by_rows() -> None:
    matrix = dct_matrix()
    assert torch.allclose(matrix @ matrix.T, torch.eye(64, dtype=torch.float64), atol=1e-12)
    rows = torch.arange(8.0, dtype=torch.float64)[:, None].expand(8, 8).reshape(64)  # varies downwards only
    amplitudes = matrix @ rows
    assert amplitudes[8].abs() > 1  # v = 1, u = 0
    assert amplitudes[1].abs() < 1e-9


def test_gradients_reach_every_coefficient() -> None:
    torch.manual_seed(0)
    planes = [torch.randint(-3, 4, shape).float() for shape in ((2, 64, 2, 2), (2, 64, 1, 1), (2, 64, 1, 1))]
    for plane in planes:
        plane.requires_grad_(True)
    coefficients = Coefficients(planes[0], planes[1], planes[2], Subsampling.BOTH)
    rgb = transform(coefficients, table_tensors(qualities(2, 75)))
    (rgb * torch.randn_like(rgb)).sum().backward()
    for plane in planes:
        assert plane.grad is not None
        assert (plane.grad != 0).all()


def test_gradient_is_that_of_the_decoder_without_rounding() -> None:
    """The derivative of a pixel by a luminance coefficient is the table's step times the cosine."""
    y = torch.zeros(1, 64, 1, 1, requires_grad=True)
    flat = torch.zeros(1, 64, 1, 1)
    tables = table_tensors(torch.tensor([50]))
    rgb = transform(Coefficients(y, flat, flat, Subsampling.NONE), tables)
    rgb[0, 1, 2, 6].backward()
    expected = dct_matrix()[:, 2 * 8 + 6].float() * tables.luminance[0, :, 0, 0]
    assert y.grad is not None
    assert torch.allclose(y.grad[0, :, 0, 0], expected, atol=1e-5)


def test_straight_through() -> None:
    x = torch.tensor([-1.5, -0.2, 0.5, 1e-8, 300.7], requires_grad=True)
    assert round_through(x).tolist() == [-2, 0, 0, 0, 301]
    assert floor_through(x).tolist() == [-2, -1, 0, 0, 300]
    (gradient,) = torch.autograd.grad(round_through(x).sum() + floor_through(x).sum(), x)
    assert gradient.tolist() == [2.0] * 5
    clipped = clip_through(x, 0, 255, 0.1)
    assert clipped.tolist() == pytest.approx([0, 0, 0.5, 1e-8, 255])
    (gradient,) = torch.autograd.grad(clipped.sum(), x)
    assert gradient.tolist() == pytest.approx([0.1, 0.1, 1, 1, 0.1])
