"""CIFAR-10 in the three shapes it comes in: binary batches, Python batches, and sheets of tiles."""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganic.errors import DataError
from ganic.jpeg.labelled import LabelledPictures

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
VALUES = 3 * SIDE**2
RECORD = 1 + VALUES
MAX_BATCH_BYTES = 64 * 2**20

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


def is_cifar10(folder: Path) -> bool:
    """Whether the folder has one of the three shapes."""
    if any(_first(folder, shape) is not None for shape in ("data_batch_1.bin", "data_batch_1")):
        return True
    table = _first(folder, "labels.csv")  # which folders of generated pictures have too
    return table is not None and any(table.parent.glob("sheet_*"))


def read_cifar10(folder: Path) -> LabelledPictures:
    """The training pictures of ``folder``: uint8 [n, 32, 32, 3] and labels 0..9, in the files' order.

    Looked for in this order, also one folder further down: ``data_batch_*.bin`` (the binary version),
    ``data_batch_*`` (the Python version; its pickles are read without running anything in them),
    ``labels.csv`` with sheets of tiles (``sheet_NN.*``; columns sheet, row, col, label). Raises DataError
    naming the file.
    """
    if (first := _first(folder, "data_batch_1.bin")) is not None:
        parts = [_binary(path) for path in sorted(first.parent.glob("data_batch_*.bin"))]
    elif (first := _first(folder, "data_batch_1")) is not None:
        parts = [_python(path) for path in sorted(first.parent.glob("data_batch_?"))]
    elif (first := _first(folder, "labels.csv")) is not None:
        parts = list(_sheets(first))
    else:
        raise DataError(
            f"{folder}: no CIFAR-10 here; it has data_batch_1.bin, data_batch_1, or labels.csv and sheets"
        )
    if not parts:
        raise DataError(f"{first}: names no pictures; get the data again")
    pictures = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= len(CLASSES):
        raise DataError(f"{folder}: labels are not 0 to 9; the files are damaged")
    return LabelledPictures(pictures, labels, CLASSES)


def _first(folder: Path, name: str) -> Path | None:
    candidates = [folder / name, *sorted(folder.glob(f"*/{name}"))]
    return next((path for path in candidates if path.is_file()), None)


def _planes(rows: NDArray[np.uint8]) -> Pixels:
    """[n, 3072], red, green and blue planes one after the other -> [n, 32, 32, 3]."""
    return rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BATCH_BYTES:
            raise DataError(f"{path}: {path.stat().st_size:,} bytes; a CIFAR-10 batch has about 31,000,000")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _binary(path: Path) -> tuple[Pixels, Labels]:
    data = _read(path)
    if not data or len(data) % RECORD:
        raise DataError(f"{path}: {len(data)} bytes are no whole number of records of {RECORD}; get it again")
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, RECORD)
    return _planes(records[:, 1:]), records[:, 0].astype(np.int64)


class _OnlyArrays(pickle.Unpickler):
    """An unpickler that builds numpy arrays, containers and strings, and refuses every other global."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.zeros(0).__reduce__()[0]
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in old protocols
            return _latin1
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 file")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} has no place in a CIFAR-10 file")
    return text.encode("latin1")


def _python(path: Path) -> tuple[Pixels, Labels]:
    try:
        batch = _OnlyArrays(io.BytesIO(_read(path)), encoding="bytes").load()
    except DataError:
        raise
    except Exception as error:  # a hostile pickle makes the unpickler raise whatever it likes
        raise DataError(f"{path}: not a CIFAR-10 batch ({error})") from error
    if not isinstance(batch, dict):
        raise DataError(f"{path}: holds a {type(batch).__name__}, not a CIFAR-10 batch")
    data = batch.get(b"data", batch.get("data"))
    labels = batch.get(b"labels", batch.get("labels"))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (VALUES,):
        raise DataError(f"{path}: no uint8 data [n, {VALUES}]; get it again")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise DataError(f"{path}: not one label for each of {len(data)} pictures; get it again")
    if not all(isinstance(label, int) for label in labels):
        raise DataError(f"{path}: labels are not whole numbers; get it again")
    return _planes(data), np.array(labels, dtype=np.int64)


def _sheets(table: Path) -> Iterator[tuple[Pixels, Labels]]:
    """Sheet by sheet, tiles in the order of the table."""
    try:
        rows = [
            (row["sheet"], int(row["row"]), int(row["col"]), int(row["label"]))
            for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{table}: no table of sheet, row, col, label ({error})") from error
    by_sheet: dict[str, list[tuple[int, int, int]]] = {}
    for sheet, row, column, label in rows:
        by_sheet.setdefault(sheet, []).append((row, column, label))
    for sheet, entries in by_sheet.items():
        tiles = _tiles(table.parent, sheet)
        where = np.array(entries, dtype=np.int64)
        if where[:, :2].min() < 0 or (where[:, :2].max(axis=0) >= tiles.shape[:2]).any():
            raise DataError(
                f"{table}: names tiles outside sheet {sheet} of {tiles.shape[0]} x {tiles.shape[1]}"
            )
        yield tiles[where[:, 0], where[:, 1]], where[:, 2]


def _tiles(folder: Path, sheet: str) -> Pixels:
    """A sheet as [rows, columns, 32, 32, 3]."""
    from PIL import Image

    found = sorted(folder.glob(f"sheet_{sheet}.*")) if sheet.isalnum() else []
    if not found:
        raise DataError(f"{folder}: sheet_{sheet} is missing; get the data again")
    try:
        with Image.open(found[0]) as image:
            sheet_pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{found[0]}: cannot be read ({error})") from error
    height, width, _ = sheet_pixels.shape
    if height % SIDE or width % SIDE:
        raise DataError(f"{found[0]}: {width} x {height} pixels are no whole tiles of {SIDE}")
    grid = sheet_pixels.reshape(height // SIDE, SIDE, width // SIDE, SIDE, 3)
    return grid.transpose(0, 2, 1, 3, 4)
