from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganic.errors import UsageError
from ganic.jpeg import files
from ganic.jpeg.files import Planes, write_files
from ganic.jpeg.sampling import ALL, Subsampling
from ganic.jpeg.tables import Tables, quantisation_tables

jpeglib = pytest.importorskip("jpeglib", reason="the independent reader of coefficients")


def read_back(data: bytes, folder: Path) -> tuple[Planes, Tables]:
    """Coefficients and tables by libjpeg's own entropy decoder."""
    path = folder / "picture.jpg"
    path.write_bytes(data)
    found = jpeglib.read_dct(str(path))
    planes = Planes(found.Y[None], found.Cb[None], found.Cr[None])
    return planes, Tables(found.qt[0].astype(np.int32), found.qt[1].astype(np.int32))


def assert_same(written: Planes, found: Planes) -> None:
    for name in ("luminance", "blue", "red"):
        assert np.array_equal(getattr(written, name), getattr(found, name)), name


@pytest.mark.parametrize("subsampling", ALL, ids=str)
@pytest.mark.parametrize("density", [0.0, 0.01, 0.2, 1.0])
def test_exactly_the_coefficients_given(
    subsampling: Subsampling, density: float, make_planes: Callable[..., Planes], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    planes = make_planes(rng, 3, 48, 32, subsampling, density)
    tables = quantisation_tables(60)
    for i, data in enumerate(write_files(planes, tables, subsampling)):
        found, found_tables = read_back(data, tmp_path)
        assert_same(planes[i : i + 1], found)
        assert (found_tables.luminance == tables.luminance).all()
        assert (found_tables.chrominance == tables.chrominance).all()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(ALL),
    st.floats(0, 1),
    st.sampled_from([1.0, 20.0, 600.0]),
)
def test_any_size_and_contents(
    tmp_path_factory: pytest.TempPathFactory,
    make_planes: Callable[..., Planes],
    seed: int,
    width: int,
    height: int,
    subsampling: Subsampling,
    density: float,
    largest: float,
) -> None:
    planes = make_planes(np.random.default_rng(seed), 1, width, height, subsampling, density, largest)
    (data,) = write_files(planes, quantisation_tables(50), subsampling, size=(width, height))
    found, _ = read_back(data, tmp_path_factory.getbasetemp())
    assert_same(planes, found)
    picture = Image.open(io.BytesIO(data))
    picture.load()
    assert picture.size == (width, height)


def test_extreme_coefficients(tmp_path: Path) -> None:
    luminance = np.zeros((1, 1, 4, 8, 8), dtype=np.int16)
    luminance[0, 0, :, 0, 0] = [-1024, 1023, -1024, 0]  # differences of +-2047, the largest there are
    luminance[0, 0, 0, 7, 7] = 1023  # after 62 zeros, and no end of block
    luminance[0, 0, 1, 0, 1] = -1023
    luminance[0, 0, 2, 7, 6] = 1  # before the last place
    planes = Planes(luminance, np.zeros_like(luminance), np.zeros_like(luminance))
    (data,) = write_files(planes, quantisation_tables(100), Subsampling.NONE)
    assert_same(planes, read_back(data, tmp_path)[0])


def test_a_picture_does_not_depend_on_its_company(
    make_planes: Callable[..., Planes], monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = make_planes(np.random.default_rng(2), 9, 32, 32, Subsampling.BOTH)
    together = write_files(planes, quantisation_tables(75), Subsampling.BOTH)
    alone = [write_files(planes[i : i + 1], quantisation_tables(75), Subsampling.BOTH)[0] for i in range(9)]
    assert together == alone
    monkeypatch.setattr(files, "TOGETHER", 4 * 24 * 64)  # four pictures at a time
    assert write_files(planes, quantisation_tables(75), Subsampling.BOTH) == together


def test_smaller_than_libjpegs_optimised_files(photos: np.ndarray, tmp_path: Path) -> None:
    for picture in photos:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=75, subsampling="4:2:0", optimize=True)
        planes, tables = read_back(file.getvalue(), tmp_path)
        (ours,) = write_files(planes, tables, Subsampling.BOTH)
        assert len(ours) < len(file.getvalue())
        (alike,) = write_files(planes, tables, Subsampling.BOTH, layout="libjpeg")
        # But for stuffed bytes, which depend on which of the codes of one length a symbol has.
        assert abs(len(alike) - len(file.getvalue())) <= 4
        assert_same(planes, read_back(alike, tmp_path)[0])


def test_structure_of_the_file(make_planes: Callable[..., Planes]) -> None:
    (data,) = write_files(
        make_planes(np.random.default_rng(3), 1, 32, 16, Subsampling.HORIZONTAL),
        quantisation_tables(75),
        Subsampling.HORIZONTAL,
    )
    markers, position = [], 2
    while data[position + 1] != 0xDA:
        assert data[position] == 0xFF
        markers.append(data[position + 1])
        if data[position + 1] == 0xC0:
            precision, height, width, components = struct.unpack_from(">BHHB", data, position + 4)
            assert (precision, height, width, components) == (8, 16, 32, 3)
            assert data[position + 10 : position + 19] == bytes([1, 0x21, 0, 2, 0x11, 1, 3, 0x11, 1])
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    assert markers == [0xE0, 0xDB, 0xC0, 0xC4]
    assert data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"


@pytest.mark.parametrize(
    ("index", "value"),
    [((0, 0, 0, 0, 0), 1024), ((0, 0, 0, 0, 0), -1025), ((0, 1, 0, 0, 1), 1024), ((0, 0, 1, 7, 7), -1024)],
)
def test_coefficients_out_of_range_are_refused(
    index: tuple[int, ...], value: int, make_planes: Callable[..., Planes]
) -> None:
    planes = make_planes(np.random.default_rng(4), 1, 16, 16, Subsampling.NONE)
    planes.blue[index] = value
    with pytest.raises(UsageError, match=f"blue: coefficient {value} "):
        write_files(planes, quantisation_tables(75), Subsampling.NONE)
    assert len(write_files(planes[:0], quantisation_tables(75), Subsampling.NONE)) == 0


def test_the_lowest_dc_value_is_in_range(make_planes: Callable[..., Planes]) -> None:
    planes = make_planes(np.random.default_rng(4), 1, 16, 16, Subsampling.NONE)
    planes.blue[0, 0, 0, 0, 0] = -1024
    assert len(write_files(planes, quantisation_tables(75), Subsampling.NONE)) == 1


def test_wrong_shapes_types_and_tables_are_refused(make_planes: Callable[..., Planes]) -> None:
    planes = make_planes(np.random.default_rng(5), 2, 32, 32, Subsampling.BOTH)
    tables = quantisation_tables(75)
    with pytest.raises(UsageError, match=r"blue: shape \[2, 2, 2, 8, 8\].*need \[2, 4, 4, 8, 8\]"):
        write_files(planes, tables, Subsampling.NONE)
    with pytest.raises(UsageError, match="luminance: shape"):
        write_files(planes, tables, Subsampling.BOTH, size=(24, 32))
    with pytest.raises(UsageError, match="float64 coefficients"):
        write_files(replace(planes, red=planes.red.astype(float)), tables, Subsampling.BOTH)
    with pytest.raises(UsageError, match="65535"):
        write_files(planes, tables, Subsampling.BOTH, size=(65536, 8))
    with pytest.raises(UsageError, match="1 to 255"):
        write_files(planes, Tables(tables.luminance * 0, tables.chrominance), Subsampling.BOTH)
    with pytest.raises(UsageError, match="luminance: shape"):
        write_files(replace(planes, luminance=planes.luminance[0]), tables, Subsampling.BOTH)
