"""Where training pictures lie: folders, WebDataset shards, and zip files.

A shard is an uncompressed tar file whose members share a key: ``key.webp`` (or .jpg, .png, ...) is the
picture, ``key.cls`` its class as decimal text, ``key.seg.png`` its label map.  Such members can be read at
random, so shards need no unpacking.  The same holds for zip files whose members are stored, not compressed,
as zips of JPEG files often are.
"""

from __future__ import annotations

import fnmatch
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ganic.errors import DataError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".avif", ".jp2", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".gif")
)
"""What counts as a picture in folders and shards, in lower case."""


@dataclass(frozen=True)
class Span:
    """Some bytes of a file; ``size`` -1 means up to its end."""

    path: Path
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """The bytes; raises OSError."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Record:
    """One picture with what is known of it.

    ``key`` is its path within its source, with slashes, without suffix; ``name`` says where to find it.
    """

    key: str
    name: str
    picture: Span
    label: int | None = None
    map: Span | None = None


def find(
    sources: Sequence[str],
    maps: Sequence[str] = (),
    *,
    map_names: tuple[str, str] | None = None,
    class_folders: bool = False,
) -> list[Record]:
    """All pictures of ``sources``, in an order that depends on their keys alone.

    Each source is a folder (searched recursively, for pictures and for .tar files), a .tar or a .zip file.
    ``maps``: nothing, or one folder per source in which ``key.png`` is the label map of picture ``key``.
    ``map_names``: the end that every key has, and what stands there in the label map's name instead.
    ``class_folders``: the first folder of a key is its class, numbered in alphabetical order.
    Raises DataError when a source is missing or empty, or a map or class is.
    """
    records: list[Record] = []
    for number, text in enumerate(sources):
        source = expand(text)
        if source.is_dir():
            found = _folder(source)
        elif source.is_file():
            found = _zip(source) if zipfile.is_zipfile(source) else _shard(source)
        else:
            raise DataError(f"{text}: no such folder, .tar or .zip file; check [data] sources and test")
        if not found:
            raise DataError(
                f"{text}: holds no pictures ({', '.join(sorted(SUFFIXES))}) and no .tar files of them"
            )
        if maps:
            folder = expand(maps[number])
            found = [
                replace(record, map=Span(folder / f"{_map_key(record, map_names)}.png")) for record in found
            ]
        records += sorted(found, key=lambda record: (record.key, record.name))
    if class_folders:
        records = _classes(records)
    return records


def expand(text: str) -> Path:
    """A path of a recipe, with ``~`` and ``$VARIABLES`` expanded."""
    return Path(os.path.expandvars(text)).expanduser()


def exclude(
    records: Iterable[Record], patterns: Sequence[str]
) -> tuple[list[Record], list[Record], list[str]]:
    """Split into (kept, excluded, patterns that matched nothing).

    A pattern (``*``, ``?``, ``[...]``) is compared with the key, with the key's last part, and with both with
    the picture's suffix.  A pattern that ends in .txt is a file: its lines are meant (# starts a comment).
    """
    wanted = _expand_lists(patterns)
    plain = {pattern for pattern in wanted if not any(c in pattern for c in "*?[")}
    globs = [pattern for pattern in wanted if pattern not in plain]
    kept: list[Record] = []
    excluded: list[Record] = []
    matched: set[str] = set()
    for record in records:
        names = _names(record)
        hits = (plain & names) | {g for g in globs if any(fnmatch.fnmatchcase(name, g) for name in names)}
        (excluded if hits else kept).append(record)
        matched |= hits
    return kept, excluded, sorted(set(wanted) - matched)


def _expand_lists(patterns: Sequence[str]) -> list[str]:
    wanted: list[str] = []
    for pattern in patterns:
        if not pattern.endswith(".txt"):
            wanted.append(pattern)
            continue
        try:
            lines = expand(pattern).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise DataError(
                f"{pattern}: the list of excluded pictures cannot be read ({error.strerror})"
            ) from error
        wanted += [name for line in lines if (name := line.split("#")[0].strip())]
    return wanted


def _names(record: Record) -> set[str]:
    key, suffix = PurePosixPath(record.key), PurePosixPath(record.name).suffix
    return {str(key), key.name, f"{key}{suffix}", f"{key.name}{suffix}"}


def _folder(folder: Path) -> list[Record]:
    records: list[Record] = []
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if suffix == ".tar" and path.is_file():
            records += _shard(path)
        elif suffix in SUFFIXES and path.is_file():
            key = path.relative_to(folder).with_suffix("").as_posix()
            records.append(Record(key, str(path), Span(path)))
    return records


def _shard(path: Path) -> list[Record]:
    members: dict[str, dict[str, tuple[Span, str]]] = {}
    try:
        with tarfile.open(path, "r:") as tar:  # "r:": no compression, so that offsets are offsets in the file
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, base = member.name.removeprefix("./").rpartition("/")
                stem, _, extension = base.partition(".")  # WebDataset: the key ends at the first dot
                key = f"{folder}/{stem}" if folder else stem
                span = Span(path, member.offset_data, member.size)
                members.setdefault(key, {})[extension.lower()] = (span, member.name)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"{path}: not an uncompressed tar file ({error}); repack it with ganic's packing"
        ) from error
    return [record for key, parts in members.items() if (record := _member(path, key, parts)) is not None]


def _zip(path: Path) -> list[Record]:
    records: list[Record] = []
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for member in archive.infolist():
                name = PurePosixPath(member.filename)
                if name.suffix.lower() not in SUFFIXES:
                    continue
                if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                    raise DataError(
                        f"{path}: {name} is compressed or encrypted; unpack the zip and name the folder"
                    )
                # A member's data follow its local header; name and extra field have their own lengths there.
                file.seek(member.header_offset + 26)
                lengths = struct.unpack("<HH", file.read(4))
                span = Span(path, member.header_offset + 30 + sum(lengths), member.file_size)
                records.append(Record(str(name.with_suffix("")), f"{path}/{name}", span))
    except (zipfile.BadZipFile, OSError, struct.error) as error:
        raise DataError(f"{path}: not a readable zip file ({error}); fetch it again") from error
    return records


def _map_key(record: Record, ends: tuple[str, str] | None) -> str:
    if ends is None:
        return record.key
    if not record.key.endswith(ends[0]):
        raise DataError(f"{record.name}: its name does not end in {ends[0]}; check [data] map_names")
    return record.key.removesuffix(ends[0]) + ends[1]


def _member(path: Path, key: str, parts: dict[str, tuple[Span, str]]) -> Record | None:
    pictures = [extension for extension in parts if f".{extension}" in SUFFIXES]
    if not pictures:
        return None
    span, name = parts[pictures[0]]
    label: int | None = None
    if "cls" in parts:
        text = parts["cls"][0].read().strip()
        if not text.isdigit():
            raise DataError(f"{path}: {key}.cls holds {text[:20]!r}; a class is a decimal number")
        label = int(text)
    segmentation = parts["seg.png"][0] if "seg.png" in parts else None
    return Record(key, f"{path}/{name}", span, label, segmentation)


def _classes(records: list[Record]) -> list[Record]:
    def folder(record: Record) -> str:
        first, slash, _ = record.key.partition("/")
        if not slash:
            raise DataError(
                f'{record.name}: lies in no class folder; with classes = "folders" every picture must'
            )
        return first

    number = {name: i for i, name in enumerate(sorted({folder(record) for record in records}))}
    return [replace(record, label=number[folder(record)]) for record in records]


Progress = Callable[[int, int], None]
"""Called with (done, total) during long preparations."""
