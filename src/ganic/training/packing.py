"""Pictures as WebDataset shards below a size limit, to carry training data to another machine.

Members: ``key.webp`` or ``key.jpg``, and ``key.cls``, ``key.seg.png`` where the records have classes or
label maps.  Keys keep the folders of the pictures' names; dots in them become underscores, because WebDataset
ends a key at its first dot.
"""

from __future__ import annotations

import io
import math
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from ganic import images
from ganic.errors import DataError, GanicError, OutputError
from ganic.training.sources import Record
from ganic.training.store import read_map

BLOCK = 512
"""Tar pads everything to blocks."""


@dataclass(frozen=True)
class Packed:
    """The shards, their bytes in all, the factor pictures were downscaled by (1: not), what was left out."""

    shards: tuple[Path, ...]
    pictures: int
    bytes: int
    scale: float
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    """The files of one picture: (extension, contents)."""

    key: str
    files: tuple[tuple[str, bytes], ...]

    @property
    def size(self) -> int:
        """Bytes in a tar file, at most: headers (a long name takes two more blocks) and padding."""
        extra = 0 if len(self.key) < 80 else 3 * BLOCK
        return sum(BLOCK + extra + math.ceil(len(data) / BLOCK) * BLOCK for _, data in self.files)


def pack(
    records: Sequence[Record],
    folder: Path,
    *,
    limit: int,
    shard_bytes: int = 2**24,
    kind: Literal["webp", "jpeg"] = "webp",
    quality: int = 92,
    smallest_side: int = 64,
) -> Packed:
    """Write ``folder/shard-NNNNNN.tar``, together at most ``limit`` bytes, none above ``shard_bytes``.

    Where the pictures are too large for that, all are downscaled by one factor, but none below
    ``smallest_side`` on its short side.  A JPEG or WebP file that is not downscaled and no larger than what
    would replace it is carried as it is.  Damaged pictures are left out and named.
    Raises DataError when the limit cannot be met, nothing can be read, or two pictures get the same key;
    OutputError when the folder has shards already.
    """
    if any(folder.glob("*.tar")):
        raise OutputError(f"{folder}: holds .tar files already, which would be read as data too; remove them")
    _check_keys(records)
    scale = 1.0
    while True:
        members, skipped = _encode_all(records, scale, kind, quality, smallest_side)
        if not members:
            raise DataError(
                f"packing: none of {len(records)} pictures can be read ({', '.join(skipped[:3])})"
            )
        size = _packed_size(members, shard_bytes)
        if size <= limit:
            break
        # Bytes grow a little slower than pixels: aiming a little below the limit takes 2 or 3 rounds.
        smaller = scale * min(0.97, 0.98 * math.sqrt(limit / size))
        if smaller < 0.02:
            raise DataError(f"packing: {len(members)} pictures need more than {limit} bytes even when tiny")
        scale = smaller
    shards = tuple(_write(folder, members, shard_bytes))
    return Packed(shards, len(members), sum(shard.stat().st_size for shard in shards), scale, tuple(skipped))


def _encode_all(
    records: Sequence[Record], scale: float, kind: Literal["webp", "jpeg"], quality: int, smallest_side: int
) -> tuple[list[_Member], list[str]]:
    def encode(record: Record) -> _Member | str:
        try:
            return _encode(record, scale, kind, quality, smallest_side)
        except (GanicError, OSError) as error:
            return f"{record.name}: {error}"

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        results = list(pool.map(encode, records))
    members = [result for result in results if isinstance(result, _Member)]
    return members, [result for result in results if isinstance(result, str)]


def _encode(
    record: Record, scale: float, kind: Literal["webp", "jpeg"], quality: int, smallest_side: int
) -> _Member:
    original = record.picture.read()
    picture = images.read(original).image
    whole = picture.size
    factor = min(1.0, max(scale, smallest_side / min(whole)))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        original = b""
    file = io.BytesIO()
    if kind == "webp":
        picture.save(file, "WEBP", quality=quality, method=4)
    else:
        picture.save(file, "JPEG", quality=quality, subsampling="4:4:4", optimize=True)
    extension, data = ("webp" if kind == "webp" else "jpg"), file.getvalue()
    if original and len(original) <= len(data) and (own := _extension(original)):
        extension, data = own, original
    files = [(extension, data)]
    if record.label is not None:
        files.append(("cls", str(record.label).encode()))
    if record.map is not None:
        files.append(("seg.png", _scaled_map(record.map.read(), whole, size)))
    return _Member(_key(record), tuple(files))


def _extension(data: bytes) -> str | None:
    """jpg or webp, by the first bytes."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _scaled_map(data: bytes, whole: tuple[int, int], size: tuple[int, int]) -> bytes:
    file, labels = io.BytesIO(), read_map(data, whole)
    labels.resize(size, Image.Resampling.NEAREST).save(file, "PNG", optimize=True)
    return file.getvalue()


def _key(record: Record) -> str:
    return record.key.replace(".", "_")


def _check_keys(records: Sequence[Record]) -> None:
    first: dict[str, str] = {}
    for record in records:
        other = first.setdefault(_key(record), record.name)
        if other != record.name:
            raise DataError(f"packing: {other} and {record.name} would get the same key; rename one of them")


def _shards(members: Sequence[_Member], shard_bytes: int) -> Iterator[list[_Member]]:
    """Members in order, cut where a shard would grow beyond ``shard_bytes``."""
    shard: list[_Member] = []
    size = 0
    for member in members:
        if shard and _rounded(size + member.size) > shard_bytes:
            yield shard
            shard, size = [], 0
        if _rounded(member.size) > shard_bytes:
            raise DataError(f"packing: {member.key} alone is larger than a shard; raise shard_bytes")
        shard.append(member)
        size += member.size
    yield shard


def _rounded(size: int) -> int:
    """The size of a tar file: two empty blocks at the end, and records of 20 blocks."""
    return math.ceil((size + 2 * BLOCK) / tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _packed_size(members: Sequence[_Member], shard_bytes: int) -> int:
    return sum(_rounded(sum(member.size for member in shard)) for shard in _shards(members, shard_bytes))


def _write(folder: Path, members: Sequence[_Member], shard_bytes: int) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(_shards(members, shard_bytes)):
        path = folder / f"shard-{number:06d}.tar"
        partial = path.with_suffix(".partial")
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            for member in shard:
                for extension, data in member.files:
                    entry = tarfile.TarInfo(f"{member.key}.{extension}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
        partial.replace(path)
        yield path
