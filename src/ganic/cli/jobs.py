"""Which file becomes which file: the rules of -o, -r and "-"."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from ganic._api import read_file
from ganic.bitstream import MAX_FILE_BYTES
from ganic.errors import OutputError
from ganic.files import is_stream, write_atomic

STDIO = "-"


@dataclass(frozen=True)
class Job:
    """One input and its output; both are paths or "-"."""

    source: str
    target: str
    taken_by: str | None = None
    """An earlier input that has the same output: this job must fail."""


def plan(
    inputs: Sequence[str], output: str | None, suffix: str, *, recursive: bool, wanted: Callable[[Path], bool]
) -> list[Job]:
    """One job per input file, in order; folders are searched (with ``recursive``) for ``wanted`` files.

    Without ``output`` a result lies beside its input, with ``suffix`` in place of the input's; of standard
    input, on standard output. With several inputs or a folder, ``output`` is a folder, and what was found in
    a folder keeps its place in the tree. Raises click.UsageError.
    """
    several = len(inputs) > 1 or any(Path(name).is_dir() for name in inputs if name != STDIO)
    if output == STDIO and several:
        raise click.UsageError("standard output holds one file only; name a folder with -o.")
    if output is not None and several and Path(output).exists() and not Path(output).is_dir():
        raise click.UsageError(f"{output} is a file, but there are several inputs; name a folder with -o.")
    into = (
        output is not None
        and output != STDIO
        and (several or output.endswith(os.sep) or Path(output).is_dir())
    )

    jobs: list[Job] = []
    first: dict[str, str] = {}
    for source, relative in _sources(inputs, recursive, wanted):
        if source == STDIO:
            target = str(Path(output, f"stdin{suffix}")) if into and output is not None else output or STDIO
        elif output is None:
            target = str(Path(source).with_suffix(suffix))
        elif into:
            target = str(Path(output, relative).with_suffix(suffix))
        else:
            target = output
        jobs.append(Job(source, target, None if target == STDIO else first.get(target)))
        first.setdefault(target, source)
    return jobs


def gather(inputs: Sequence[str], *, recursive: bool, wanted: Callable[[Path], bool]) -> list[str]:
    """The input files of a command that writes none. Raises click.UsageError."""
    return [source for source, _ in _sources(inputs, recursive, wanted)]


def _sources(
    inputs: Sequence[str], recursive: bool, wanted: Callable[[Path], bool]
) -> Iterator[tuple[str, Path]]:
    """Each input file, and its path relative to where the output tree begins."""
    if sum(name == STDIO for name in inputs) > 1:
        raise click.UsageError('standard input can be read only once; give "-" once.')
    for name in inputs:
        folder = Path(name)
        if name == STDIO or not folder.is_dir():
            yield name, Path(folder.name)
            continue
        if not recursive:
            raise click.UsageError(f"{name} is a folder; use -r to search it.")
        found = False
        for path in _walk(folder):
            if wanted(path):
                found = True
                yield str(path), path.relative_to(folder)
        if not found:
            raise click.UsageError(f"{name}: nothing to do in this folder.")


def _walk(folder: Path) -> Iterator[Path]:
    """Files below the folder, sorted; links to folders are not followed, hidden files not taken."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def refuse_terminal(jobs: Sequence[Job]) -> None:
    """Raises click.UsageError if a binary file would be written to a terminal."""
    if any(job.target == STDIO for job in jobs) and sys.stdout.isatty():
        raise click.UsageError("not writing a binary file to a terminal; redirect it or name a file with -o.")


def refuse_mixing(jobs: Sequence[Job], as_json: bool) -> None:
    """Raises click.UsageError if standard output would hold a file and JSON."""
    if as_json and any(job.target == STDIO for job in jobs):
        raise click.UsageError("--json writes to standard output; name a file with -o.")


def check_target(job: Job, force: bool) -> None:
    """Raises OutputError before the work is done that could not be written afterwards."""
    if job.taken_by is not None:
        raise OutputError(f"{job.source}: {job.target} is for {job.taken_by} already; name another with -o")
    if job.target == STDIO or force or is_stream(job.target):
        return
    if os.path.lexists(job.target):
        raise OutputError(f"{job.target}: exists already; replace it with -f, or name another with -o")


def write(job: Job, data: bytes | Callable[[BinaryIO], object], force: bool) -> None:
    """Write the job's output, whole or not at all; folders it needs are made. Raises OutputError."""
    if job.target == STDIO:
        if not isinstance(data, bytes):
            # Not straight to the pipe: the writer may want to seek, and may fail half way.
            whole = io.BytesIO()
            data(whole)
            data = whole.getvalue()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    make_folder(job.target)
    write_atomic(job.target, data, overwrite=force)


def make_folder(target: str) -> None:
    """The folder that the target will lie in. Raises OutputError."""
    try:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: its folder cannot be made: {error.strerror}; name another") from error


def read(source: str) -> bytes:
    """The bytes of a .ganic file. Raises InputError or LimitError."""
    if source == STDIO:
        return read_file(sys.stdin.buffer.read(MAX_FILE_BYTES + 1))
    return read_file(source)


def shown(name: str) -> str:
    """What messages call an input or output."""
    return "standard input" if name == STDIO else click.format_filename(name)


def arrow(job: Job) -> str:
    """``photo.jpg -> photo.ganic``; the second without its folder where that is the first's."""
    if job.target == STDIO:
        return shown(job.source)
    same = Path(job.source).parent == Path(job.target).parent
    return f"{shown(job.source)} -> {click.format_filename(Path(job.target).name if same else job.target)}"


def is_ganic(path: Path) -> bool:
    """By its name: what a folder is searched for."""
    return path.suffix.lower() == ".ganic"
