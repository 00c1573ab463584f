"""A folder of generated .jpg files that can be gone on with after an interruption. Standard library only.

``000000000.jpg``, ``000000001.jpg``, ...; ``ganic.json`` says what is being made; with labels, ``labels.csv``
(columns file, label) appears when all pictures are there.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

from ganic.errors import OutputError
from ganic.files import write_atomic
from ganic.jpeg.tar import About

ABOUT, LABELS = "ganic.json", "labels.csv"
_PICTURE = re.compile(r"\d{9}\.jpg")


class FolderWriter:
    """Pictures in order into the folder ``path``; ``pictures`` are there already, of ``total`` bytes."""

    overhead = 2048  # half a cluster

    def __init__(self, path: Path, about: About, *, resume: bool, overwrite: bool) -> None:
        """Raises OutputError where something is in the way, or ``resume`` finds something else."""
        self.path = path
        self.pictures = self.total = 0
        note = path / ABOUT
        text = json.dumps(about, sort_keys=True, indent=1) + "\n"
        try:
            path.mkdir(parents=True, exist_ok=True)
            ours = note.is_file()
            pictures = sorted(entry for entry in path.iterdir() if _PICTURE.fullmatch(entry.name))
            if ours and resume:
                if note.read_text(encoding="utf-8") != text:
                    raise OutputError(
                        f"{path}: was started with other options or another model; "
                        "use the same, or replace it (-f)"
                    )
                self._count()
            elif (ours or pictures) and not overwrite:
                raise OutputError(
                    f"{path}: has generated pictures already; go on (--resume) or replace them (-f)"
                )
            elif ours or pictures:
                for entry in [*pictures, path / LABELS]:
                    entry.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
        write_atomic(note, text.encode(), overwrite=True)

    def _count(self) -> None:
        while (picture := self._picture(self.pictures)).is_file():
            self.total += picture.stat().st_size
            self.pictures += 1

    def _picture(self, index: int) -> Path:
        return self.path / f"{index:09d}.jpg"

    def add(self, index: int, label: int | None, data: bytes) -> None:
        """Write picture ``index``; it appears whole or not at all."""
        temporary = self.path / ".ganic.tmp"
        temporary.write_bytes(data)
        temporary.replace(self._picture(index))
        self.pictures += 1
        self.total += len(data)

    def flush(self) -> None:
        """Every picture is the operating system's already."""

    def finish(self, labels: Sequence[int] | None) -> None:
        """Write the table of labels."""
        if labels is not None:
            table = io.StringIO()
            writer = csv.writer(table, lineterminator="\n")
            writer.writerow(["file", "label"])
            writer.writerows((self._picture(index).name, label) for index, label in enumerate(labels))
            write_atomic(self.path / LABELS, table.getvalue().encode(), overwrite=True)

    def close(self) -> None:
        """Nothing is open."""
        (self.path / ".ganic.tmp").unlink(missing_ok=True)
