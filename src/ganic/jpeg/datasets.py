"""Sets of small pictures, wholly in memory: folders, zip files, LSUN's lmdb."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganic.errors import DataError, UsageError
from ganic.jpeg.cifar10 import is_cifar10, read_cifar10
from ganic.jpeg.labelled import LabelledPictures

Box = tuple[int, int, int, int]

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm"))
MAX_MEMBER_BYTES = 64 * 2**20


def load(
    source: Path, size: int, *, box: Box | None = None, limit: int | None = None
) -> LabelledPictures | None:
    """A set that is read whole: CIFAR-10 in any of its forms, a zip file, or an lmdb.

    None for anything else, for instance a folder of pictures. CIFAR-10 is read as it is, whatever ``size``
    and ``limit``; a ``box`` for it raises UsageError.
    """
    if source.suffix.lower() == ".zip":
        return read_zip(source, size, box=box, limit=limit)
    if (source / "data.mdb").is_file():
        return read_lmdb(source, size, box=box, limit=limit)
    if not is_cifar10(source):
        return None
    if box is not None:
        raise UsageError(f"{source}: box: pictures of CIFAR-10 are taken whole; leave the box out")
    return read_cifar10(source)


def read_folder(
    folder: Path, size: int, *, box: Box | None = None, limit: int | None = None
) -> LabelledPictures:
    """Every picture below ``folder``, by name; labelled by first folder level if all of them lie in one.

    Each is made ``size`` x ``size`` by :func:`fitted`. ``limit``: no more than so many. Raises DataError
    naming the first that cannot be read, or the folder if it has none.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())[:limit]
    if not paths:
        raise DataError(f"{folder}: no pictures here")
    parts = [path.relative_to(folder).parts for path in paths]
    pictures = _stacked(((str(path), _contents(path)) for path in paths), size, box)
    if not all(len(part) > 1 for part in parts):
        return LabelledPictures(pictures, None, ())
    classes = tuple(sorted({part[0] for part in parts}))
    return LabelledPictures(
        pictures, np.array([classes.index(part[0]) for part in parts], dtype=np.int64), classes
    )


def read_zip(path: Path, size: int, *, box: Box | None = None, limit: int | None = None) -> LabelledPictures:
    """Every picture in a zip file, by name, without labels; otherwise as :func:`read_folder`."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(
                (m for m in archive.infolist() if Path(m.filename).suffix.lower() in SUFFIXES),
                key=lambda m: m.filename,
            )[:limit]
            if not members:
                raise DataError(f"{path}: no pictures in it")
            for member in members:
                if member.file_size > MAX_MEMBER_BYTES:
                    raise DataError(
                        f"{path}: {member.filename} has {member.file_size:,} bytes; that is no small picture"
                    )
            contents = ((f"{path}/{m.filename}", archive.read(m)) for m in members)
            return LabelledPictures(_stacked(contents, size, box), None, ())
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise DataError(f"{path}: cannot be read as a zip file ({error})") from error


def read_lmdb(path: Path, size: int, *, box: Box | None = None, limit: int | None = None) -> LabelledPictures:
    """LSUN's databases: one encoded picture per key, in the order of the keys, without labels; otherwise as
    :func:`read_folder`.

    Raises UsageError where the package lmdb is missing, DataError for a damaged database.
    """
    try:
        import lmdb
    except ModuleNotFoundError as error:
        raise UsageError(f"{path}: reading it needs the package lmdb; pip install lmdb") from error
    try:
        with lmdb.open(str(path), readonly=True, lock=False, create=False, max_dbs=0) as database:
            count = database.stat()["entries"]
            if count == 0:
                raise DataError(f"{path}: an empty database")
            with database.begin(buffers=False) as transaction:
                entries = (
                    (f"{path}: {key.decode('latin1')}", value)
                    for _, (key, value) in zip(
                        range(count if limit is None else limit), transaction.cursor(), strict=False
                    )
                )
                return LabelledPictures(_stacked(entries, size, box), None, ())
    except lmdb.Error as error:
        raise DataError(f"{path}: cannot be read as an lmdb ({error})") from error


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _stacked(files: Iterable[tuple[str, bytes]], size: int, box: Box | None) -> NDArray[np.uint8]:
    """Decode (name, contents) one after the other -> [n, size, size, 3]."""
    return np.stack([fitted(name, data, size, box) for name, data in files])


def fitted(name: str, data: bytes, size: int, box: Box | None) -> NDArray[np.uint8]:
    """A picture file as uint8 [size, size, 3]: cut to ``box``, then to its central square, then made smaller.

    ``box`` is left, top, width, height. Raises DataError, naming ``name``, for what cannot be read or is too
    small.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = opened.convert("RGB")
    except Exception as error:  # Pillow's readers raise whatever a hostile file makes them raise
        raise DataError(f"{name}: not a readable picture ({error})") from error
    if box is not None:
        left, top, width, height = box
        if left + width > image.width or top + height > image.height:
            raise DataError(f"{name}: {image.width} x {image.height} pixels do not hold the box {list(box)}")
        image = image.crop((left, top, left + width, top + height))
    side = min(image.size)
    if side < size:
        raise DataError(f"{name}: {image.width} x {image.height} pixels are fewer than {size} on a side")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)
