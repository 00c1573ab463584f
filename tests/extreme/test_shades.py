"""Shades: what is added to G's picture from 64x64 pixels to a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from ganic import images
from ganic.extreme import shades, windowed
from ganic.extreme.codec import Codec
from ganic.extreme.lapped import Synthesis
from ganic.extreme.shades import Afar, Shades
from ganic.extreme.windowed import block_means
from ganic.labels import LabelMap
from ganic.regions import Regions

PHOTO = Path(__file__).parents[1] / "data" / "photo.webp"


def photo(width: int, height: int) -> Image.Image:
    return Image.open(PHOTO).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def pixels(picture: Image.Image) -> NDArray[np.float64]:
    return np.asarray(picture, dtype=np.float64)


def test_steps_fall_log_linearly_with_the_quality() -> None:
    found = 255 * shades.step_of(torch.tensor([0, 85, 255]), (4.0, 0.5))
    assert found[0].tolist() == pytest.approx([4, 2, 0.5])
    assert found[1].tolist() == found[2].tolist() == pytest.approx([6, 3, 0.75])


def test_colours_are_those_of_jpeg() -> None:
    dark, bright = Image.new("RGB", (1, 1), (40, 50, 60)), Image.new("RGB", (1, 1), (80, 30, 200))
    moved = pixels(bright.convert("YCbCr")) - pixels(dark.convert("YCbCr"))
    difference = torch.from_numpy(pixels(bright) - pixels(dark)).permute(2, 0, 1)
    found = shades.from_rgb(difference)
    assert np.abs(found[:, 0, 0].numpy() - moved[0, 0]).max() < 1  # Pillow rounds
    assert torch.allclose(shades.to_rgb(found), difference)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 4), (1, 5)])
def test_what_is_interpolated_is_linear_between_middles(size: tuple[int, int]) -> None:
    cells = torch.randn(3, *size)
    expected = F.interpolate(cells[None], scale_factor=64.0, mode="bilinear")[0].permute(1, 2, 0)
    found = torch.zeros(size[0] * 64, size[1] * 64, 3)
    shades.add_shades(found, cells, 0, 0)
    assert torch.allclose(found, expected, atol=1e-5)
    part = torch.ones(40, 17, 3)
    shades.add_shades(part, cells, 24, 47)
    assert torch.allclose(part, expected[24:64, 47:64] + 1, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 12), (5, 9), (1, 3)])
def test_samples_are_fitted_by_least_squares(size: tuple[int, int]) -> None:
    rows, columns = size
    values = torch.randn(3, rows, columns, dtype=torch.float64)
    down = shades.interpolation(0, rows, -(-rows // 4), 4)
    across = shades.interpolation(0, columns, -(-columns // 4), 4)
    both = torch.einsum("ha,wb->hwab", down, across).reshape(rows * columns, -1).double()
    expected, *_ = np.linalg.lstsq(both.numpy(), values.reshape(3, -1).T.numpy(), rcond=None)
    assert np.allclose(shades.fitted(values).reshape(3, -1).T.numpy(), expected, atol=1e-5)


def test_what_an_encoder_has_fitted_can_be_learned_from() -> None:
    with torch.inference_mode():
        shades.fitted(torch.randn(3, 6, 11))
    values = torch.randn(3, 6, 11, requires_grad=True)
    shades.fitted(values).square().sum().backward()
    assert values.grad is not None and values.grad.any()


@pytest.mark.parametrize("taper", [0, 8])
def test_a_linear_path_is_known_from_afar(taper: int) -> None:
    torch.manual_seed(0)
    synthesis = Synthesis(20, 4.0, taper)
    torch.nn.init.normal_(synthesis.conv.weight)
    latent = 30 * torch.randn(2, 20, 5, 6)
    afar = Afar(20)
    afar.look_at(synthesis)
    with torch.no_grad():
        expected = F.avg_pool2d(synthesis(latent) + 0.5, 16)
        assert torch.allclose(afar(latent, torch.tensor([3, 200])), expected, atol=1e-5)


def test_afar_sees_no_farther_than_it_says() -> None:
    torch.manual_seed(0)
    afar = Afar(12)
    for parameter in afar.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.normal_(afar.kernel)
    latent = torch.randn(1, 12, 15, 15, requires_grad=True)
    quality = torch.arange(15 * 15).view(1, 15, 15)
    afar(latent, quality)[0, :, 7, 7].sum().backward()
    assert latent.grad is not None
    where = latent.grad[0].abs().sum(0).nonzero()
    reach = shades.FARTHEST
    assert where.amin(0).tolist() == [7 - reach] * 2 and where.amax(0).tolist() == [7 + reach] * 2


def test_scale_indices_come_back_from_a_model() -> None:
    torch.manual_seed(0)
    learned = Shades(8)
    torch.nn.init.normal_(learned.index.anchors, mean=0.3, std=0.1)
    integers = learned.integers()
    assert integers.shape == (64, 3) and integers.dtype == torch.uint8
    again = Shades(8)
    with torch.no_grad():
        again.index.anchors.copy_(Shades.anchors(integers))
    assert (again.integers().int() - integers.int()).abs().max() <= 1
    assert torch.equal(learned.tables(torch.tensor([41.0, 43.9]))[0], learned.tables(torch.tensor([40.0]))[0])


def test_means_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = images.read(photo(83, 150))
    padded = np.pad(pixels(picture.image), ((0, 10), (0, 13), (0, 0)), mode="edge")
    expected = padded.reshape(10, 16, 6, 16, 3).mean((1, 3)) / 255
    assert np.allclose(block_means(picture), expected, atol=1e-6)
    monkeypatch.setattr(windowed, "WINDOW", 3)
    assert np.allclose(block_means(picture), expected, atol=1e-6)


def coarse(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is missing of 64x64 pixels to a sample, by the reference fit, in grey levels of Y, Cb, Cr."""
    height, width = (side // 16 for side in difference.shape[:2])
    means = difference.reshape(height, 16, width, 16, 3).mean((1, 3))
    ycc: NDArray[np.float64] = shades.from_rgb(torch.from_numpy(means).permute(2, 0, 1)).numpy()
    return np.asarray(shades.fitted(torch.from_numpy(ycc)).numpy())


def test_large_areas_have_their_colours(shaded: Codec, plain: Codec) -> None:
    """The generator of this model is linear, so that what is told of it from afar is exact: what is missing
    in the end is half a step, and what the bits' price and rounding to 8 bits add."""
    picture = photo(320, 192)
    errors = {}
    for name, codec in (("shaded", shaded), ("plain", plain)):
        data = codec.encode(picture, quality=0.2)
        errors[name] = np.abs(coarse(pixels(codec.decode(data)) - pixels(picture))).max((1, 2))
    step = 255 * shades.step_of(torch.tensor(51), (2.4, 0.6)).numpy()
    assert (errors["shaded"] < 0.8 * step + 0.2).all(), errors
    assert errors["plain"][0] > 1.5 * errors["shaded"][0]


def test_shades_are_symbols_of_the_file(shaded: Codec, plain: Codec) -> None:
    picture = photo(200, 90)
    data = shaded.encode(picture, quality=0.3)
    (tile,) = shaded.symbols(data)
    (without,) = plain.symbols(plain.encode(picture, quality=0.3))
    assert tile.shades is not None and tile.shades.shape == (3, 2, 4) and tile.shades.any()
    assert (tile.symbols[-1] == tile.shades.ravel()).all()
    assert tile.canonical() == without.canonical() + tile.shades.astype("<i2").tobytes()
    assert (tile.latent == without.latent).all() and without.shades is None
    shaded.verify(data)


def test_tiles_and_windows_leave_no_seams(shaded: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = photo(2128, 64)
    data = shaded.encode(picture, quality=0.3)
    first, second = shaded.symbols(data)
    assert first.shades is not None and second.shades is not None
    cells = first.shades.shape[2]
    assert cells + second.shades.shape[2] == 34
    whole = pixels(shaded.decode(data))
    monkeypatch.setattr(windowed, "WHOLE", 0)
    monkeypatch.setattr(windowed, "WINDOW", 13)
    assert np.abs(pixels(shaded.decode(data)) - whole).max() <= 1
    # What is missing at the border of tiles is no more than elsewhere.
    missing = np.abs(coarse(whole[:, : 33 * 64] - pixels(picture)[:, : 33 * 64]))
    assert missing[0, 0, cells - 1 : cells + 1].max() <= missing[0].max()
    step = 255 * float(shades.step_of(torch.tensor(76), (2.4, 0.6))[0])
    assert missing[0, 0, cells - 1 : cells + 1].max() < 0.8 * step + 0.3


def test_where_nothing_is_coded_are_no_shades(shaded_selective: Codec) -> None:
    importance = np.zeros((192, 256), np.float32)
    importance[:64, :64] = 1
    importance[130:140, 200:210] = 0.5
    labels = LabelMap(np.zeros((192, 256), np.uint8), shaded_selective.classes)
    data = shaded_selective.encode(photo(256, 192), quality=0.3, regions=Regions(importance, labels))
    (tile,) = shaded_selective.symbols(data)
    assert tile.shades is not None and tile.shades.shape == (3, 3, 4)
    coded = np.zeros((3, 4), bool)
    coded[0, 0] = coded[2, 3] = True
    assert len(tile.symbols[-1]) == 3 * 2 and (tile.shades[:, ~coded] == 0).all()
    shaded_selective.verify(data)


def test_dearer_bits_buy_fewer_shades(shaded: Codec) -> None:
    picture = photo(256, 192)
    lowest = shaded.encode(picture, quality=0.0)
    data = shaded.encode(picture, target_bytes=round(0.9 * len(lowest)))
    sizes = []
    for file in (lowest, data):
        (tile,) = shaded.symbols(file)
        assert tile.shades is not None
        sizes.append(int(np.abs(tile.shades).sum()))
    assert sizes[1] < sizes[0]
