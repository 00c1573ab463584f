"""Complete baseline JPEG files from quantised coefficients, in memory, many at once. NumPy only.

The coefficients in the file are exactly those given; nothing is transformed or rounded. Each file is JFIF
1.01 with two quantisation tables, one interleaved scan, and Huffman tables fitted to that picture alone, so a
picture's bytes do not depend on what else is written with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ganic.errors import UsageError
from ganic.jpeg import scan
from ganic.jpeg.sampling import Subsampling
from ganic.jpeg.tables import ZIGZAG, Tables

Layout = Literal["compact", "libjpeg"]

TOGETHER = 2**19
"""Coefficients coded in one go: enough to hide Python's cost, few enough to stay in the processor's cache."""

LARGEST_SIDE = 65535


@dataclass(frozen=True)
class Planes:
    """Quantised coefficients of n pictures of one size; rows are vertical frequencies, whole numbers.

    ``luminance`` [n, rows, columns, 8, 8], ``blue`` and ``red`` (Cb, Cr) [n, rows', columns', 8, 8].
    """

    luminance: NDArray[np.integer]
    blue: NDArray[np.integer]
    red: NDArray[np.integer]

    def __len__(self) -> int:
        return len(self.luminance)

    def __getitem__(self, some: slice) -> Planes:
        return Planes(self.luminance[some], self.blue[some], self.red[some])


def write_files(
    planes: Planes,
    tables: Tables,
    subsampling: Subsampling,
    *,
    size: tuple[int, int] | None = None,
    layout: Layout = "compact",
) -> list[bytes]:
    """One .jpg file per picture.

    ``layout``: "libjpeg" gives chroma tables of its own always, and every table a segment of its own, as
    libjpeg's optimised files have them; to compare what coefficients cost, whoever writes them.
    ``size`` (width, height) in pixels where it is less than whole blocks; the planes must have just the
    blocks that such a picture needs. Raises UsageError for planes of the wrong shape, for a size they do not
    fit, and for coefficients that baseline JPEG cannot express (DC -1024..1023, others -1023..1023).
    """
    width, height = size if size is not None else _whole(planes)
    _check(planes, tables, subsampling, width, height)
    compact = layout == "compact"
    before, after = _header(tables, subsampling, width, height, together=compact)
    files: list[bytes] = []
    per_picture = (
        sum(plane[0].size for plane in (planes.luminance, planes.blue, planes.red)) if len(planes) else 1
    )
    step = max(1, TOGETHER // per_picture)
    for start in range(0, len(planes), step):
        blocks, component = _in_scan_order(planes[start : start + step], subsampling)
        coded = scan.code(scan.symbols_of(blocks, component), component, share=compact)
        offsets, table_offsets = coded.offsets.tolist(), coded.table_offsets.tolist()
        for i, shared in enumerate(coded.shared.tolist()):
            definition = coded.tables[table_offsets[i] : table_offsets[i + 1]]
            data = coded.data[offsets[i] : offsets[i + 1]].replace(b"\xff", b"\xff\x00")
            segments = [definition] if compact else _apart(definition)
            huffman = b"".join(_segment(0xC4, contents) for contents in segments)
            files.append(b"".join((before, huffman, after[shared], data, b"\xff\xd9")))
    return files


def _whole(planes: Planes) -> tuple[int, int]:
    if planes.luminance.ndim != 5:
        raise UsageError(f"luminance: shape {list(planes.luminance.shape)}; pass [n, rows, columns, 8, 8]")
    return 8 * planes.luminance.shape[2], 8 * planes.luminance.shape[1]


def _check(planes: Planes, tables: Tables, subsampling: Subsampling, width: int, height: int) -> None:
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise UsageError(f"size: {width} x {height} pixels; JPEG pictures have 1 to {LARGEST_SIDE} on a side")
    vertical, horizontal = subsampling.vertical, subsampling.horizontal
    luminance = _ceil(height, 8), _ceil(width, 8)
    chroma = _ceil(_ceil(height, vertical), 8), _ceil(_ceil(width, horizontal), 8)
    for name, plane, blocks in (
        ("luminance", planes.luminance, luminance),
        ("blue", planes.blue, chroma),
        ("red", planes.red, chroma),
    ):
        if plane.shape != (len(planes), *blocks, 8, 8):
            raise UsageError(
                f"{name}: shape {list(plane.shape)}; {width} x {height} pixels at {subsampling} need "
                f"{[len(planes), *blocks, 8, 8]}"
            )
        if plane.dtype.kind not in "iu":
            raise UsageError(f"{name}: {plane.dtype} coefficients; round them to whole numbers")
        _check_range(name, plane)
    for table in (tables.luminance, tables.chrominance):
        if table.shape != (8, 8) or table.min() < 1 or table.max() > 255:
            raise UsageError("quantisation tables: baseline JPEG has 8 x 8 entries from 1 to 255")


def _ceil(length: int, unit: int) -> int:
    return -(-length // unit)


def _check_range(name: str, plane: NDArray[np.integer]) -> None:
    if plane.size == 0 or (plane.min() >= -scan.AC_MOST and plane.max() <= scan.AC_MOST):
        return
    low = np.full((8, 8), -scan.AC_MOST)
    low[0, 0] = scan.DC_LOW
    wrong = np.argwhere((plane < low) | (plane > scan.AC_MOST))
    if len(wrong):
        picture, row, column, v, u = wrong[0].tolist()
        raise UsageError(
            f"{name}: coefficient {plane[tuple(wrong[0])]} at picture {picture}, block ({row}, {column}), "
            f"frequency ({v}, {u}); baseline JPEG holds {scan.DC_LOW}..{scan.DC_HIGH} for (0, 0), "
            f"else -{scan.AC_MOST}..{scan.AC_MOST}"
        )


def _in_scan_order(planes: Planes, subsampling: Subsampling) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Blocks [n, b, 64] in zigzag, in the order of an interleaved scan (T.81, A.2.3), and whose they are."""
    vertical, horizontal = subsampling.vertical, subsampling.horizontal
    rows, columns = planes.blue.shape[1:3]
    n = len(planes)
    y = _filled(planes.luminance, rows * vertical, columns * horizontal)
    y = y.reshape(n, rows, vertical, columns, horizontal, 64).transpose(0, 1, 3, 2, 4, 5)
    units = np.concatenate(
        [
            y.reshape(n, rows * columns, vertical * horizontal, 64),
            planes.blue.astype(np.int16).reshape(n, rows * columns, 1, 64),
            planes.red.astype(np.int16).reshape(n, rows * columns, 1, 64),
        ],
        axis=2,
    )
    component = np.array([0] * (vertical * horizontal) + [1, 2])
    return units.reshape(n, -1, 64)[:, :, ZIGZAG], np.tile(component, rows * columns)


def _filled(plane: NDArray[np.integer], rows: int, columns: int) -> NDArray[np.int16]:
    """With flat blocks at the right and below, so that coded units tile the plane; decoders drop them."""
    _, own_rows, own_columns = plane.shape[:3]
    whole = plane.astype(np.int16)
    if (own_rows, own_columns) == (rows, columns):
        return whole
    whole = np.pad(
        whole, ((0, 0), (0, rows - own_rows), (0, columns - own_columns), (0, 0), (0, 0)), mode="edge"
    )
    added = np.zeros((rows, columns), dtype=bool)
    added[own_rows:], added[:, own_columns:] = True, True
    level = whole[:, added, 0, 0]
    whole[:, added] = 0
    whole[:, added, 0, 0] = level
    return whole


def _apart(definitions: bytes) -> Iterator[bytes]:
    """Huffman tables one by one: a byte, sixteen counts, as many symbols."""
    while definitions:
        length = 17 + sum(definitions[1:17])
        yield definitions[:length]
        definitions = definitions[length:]


def _header(
    tables: Tables, subsampling: Subsampling, width: int, height: int, *, together: bool
) -> tuple[bytes, tuple[bytes, bytes]]:
    """What comes before the Huffman tables, and after them: with own, with shared tables for chroma.

    ``together``: both quantisation tables in one segment.
    """
    jfif = b"JFIF\x00" + struct.pack(">HBHHBB", 0x0101, 0, 1, 1, 0, 0)  # 1.01, square pixels, no thumbnail
    steps = [
        bytes([number]) + table.reshape(64)[ZIGZAG].astype(np.uint8).tobytes()
        for number, table in enumerate((tables.luminance, tables.chrominance))
    ]
    quantisation = b"".join(_segment(0xDB, part) for part in ([b"".join(steps)] if together else steps))
    sampling = subsampling.horizontal << 4 | subsampling.vertical
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, sampling, 0, 2, 0x11, 1, 3, 0x11, 1])
    before = b"\xff\xd8" + _segment(0xE0, jfif) + quantisation + _segment(0xC0, frame)
    own, shared = (
        _segment(0xDA, bytes([3, 1, 0x00, 2, chroma, 3, chroma, 0, 63, 0])) for chroma in (0x11, 0x00)
    )
    return before, (own, shared)


def _segment(marker: int, contents: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(contents)) + contents
