"""Tar files in WebDataset's layout that can be gone on with after an interruption. Standard library only.

Members are ``000000000.jpg`` and, with labels, ``000000000.cls`` (a decimal number), in order, with fixed
times and owners, so that the same pictures give the same file. While it grows the file is called
``NAME.part``; its first member, a global header that readers pass over, says what is being made, so that
pictures of another model, seed or quality are never added to it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ganic.errors import OutputError

BLOCK = 512
RECORD = 20 * BLOCK
REGULAR, GLOBAL = b"0", b"g"
COMMENT = "ganic "

About = Mapping[str, object]
"""What a file is being made of: JSON values."""


def member(name: str, data: bytes, kind: bytes = REGULAR) -> bytes:
    """A member with its header and padding."""
    return b"".join((_header(name, len(data), kind), data, bytes(-len(data) % BLOCK)))


def _header(name: str, length: int, kind: bytes = REGULAR) -> bytes:
    """POSIX ustar. ``name``: ASCII, at most 100 bytes."""
    field = name.encode("ascii")
    number = b"%07o\x00"
    header = b"".join(
        (
            field.ljust(100, b"\x00"),
            number % 0o644,  # mode
            number % 0,  # owner
            number % 0,  # group
            b"%011o\x00" % length,
            b"%011o\x00" % 0,  # time
            b" " * 8,  # the sum is taken with blanks in its place
            kind,
            bytes(100),  # name of a link
            b"ustar\x00",
            b"00",  # version
        )
    ).ljust(BLOCK, b"\x00")
    return header[:148] + b"%06o\x00 " % sum(header) + header[156:]


def _preamble(about: About) -> bytes:
    """The global header: a pax record "<length> comment=ganic {...}\\n", whose length counts itself."""
    rest = f" comment={COMMENT}{json.dumps(about, sort_keys=True)}\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return member("pax_global_header", f"{length}{rest}".encode("ascii"), GLOBAL)


def _names(index: int, labelled: bool) -> tuple[str, ...]:
    return (f"{index:09d}.jpg", f"{index:09d}.cls") if labelled else (f"{index:09d}.jpg",)


@dataclass(frozen=True)
class _Progress:
    pictures: int
    end: int  # of the last whole picture, in bytes


class TarWriter:
    """Pictures in order into ``path``; ``pictures`` are there already, with ``total`` bytes in them."""

    def __init__(self, path: Path, about: About, *, labelled: bool, resume: bool, overwrite: bool) -> None:
        """Raises OutputError where something is in the way, or ``resume`` finds something else."""
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.labelled = labelled
        self.overhead = (BLOCK + BLOCK // 2) + (2 * BLOCK if labelled else 0)
        found = self.part.exists()
        finished = resume and not found and path.exists()  # and may be made longer
        if path.exists() and not (overwrite or finished):
            raise OutputError(f"{path}: exists already; use -f (overwrite=True) to replace it")
        if found and not (resume or overwrite):
            raise OutputError(f"{self.part}: an interrupted run; go on with it (--resume) or replace it (-f)")
        self.pictures = self.total = 0
        self._kept: int | None = None  # pictures of a finished file, to which none has been added
        try:
            if resume and (found or finished):
                before = path if finished else self.part
                self._file: BinaryIO = before.open("r+b")
                progress = self._whole(_preamble(about), before)
                self.pictures = progress.pictures
                if finished:
                    self._kept = self.pictures
                    path.replace(self.part)
                self._file.seek(progress.end)
                self._file.truncate()
            else:
                self._file = self.part.open("wb")
                self._file.write(_preamble(about))
        except OSError as error:
            raise OutputError(f"{self.part}: cannot be written: {error.strerror or error}") from error

    def add(self, index: int, label: int | None, data: bytes) -> None:
        """Append picture ``index``, the next one."""
        names = _names(index, self.labelled)
        parts = member(names[0], data)
        if self.labelled:
            parts += member(names[1], b"%d" % (label or 0))
        self._file.write(parts)
        self.pictures += 1
        self.total += len(data)

    def flush(self) -> None:
        """Hand what was added to the operating system."""
        self._file.flush()

    def finish(self, labels: Sequence[int] | None) -> None:
        """End the file and give it its name; the labels are in it already."""
        end = self._file.tell() + 2 * BLOCK
        self._file.write(bytes(2 * BLOCK + -end % RECORD))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.part.replace(self.path)

    def close(self) -> None:
        """Leave what there is as ``NAME.part``, or a finished file to which nothing was added as it was."""
        if self._kept == self.pictures and not self._file.closed:
            self.finish(None)
        with contextlib.suppress(OSError):  # a full disk, once more; the file is closed all the same
            self._file.close()

    def _whole(self, preamble: bytes, path: Path) -> _Progress:
        """How far a file is whole; counts the bytes of its pictures."""
        file, size = self._file, path.stat().st_size
        start = file.read(len(preamble))
        if start != preamble:
            file.close()
            raise OutputError(
                f"{path}: was started with other options or another model; use the same, or replace it (-f)"
            )
        pictures, end = 0, len(preamble)
        while True:
            at, picture_bytes = end, 0
            for name in _names(pictures, self.labelled):
                file.seek(at)
                header = file.read(BLOCK)
                length = _length(header, name)
                if length is None or at + BLOCK + length + -length % BLOCK > size:
                    return _Progress(pictures, end)
                if name.endswith(".jpg"):
                    file.seek(at + BLOCK + length - 2)
                    if file.read(2) != b"\xff\xd9":
                        return _Progress(pictures, end)
                    picture_bytes = length
                at += BLOCK + length + -length % BLOCK
            pictures, end = pictures + 1, at
            self.total += picture_bytes


def _length(header: bytes, name: str) -> int | None:
    """The size of the member, if this is the header of ``name``, whole and undamaged."""
    try:
        length = int(header[124:135], 8)
    except ValueError:
        return None
    return length if length >= 0 and header == _header(name, length) else None
