"""Writing a file so that nobody ever sees half of it.

``write_atomic`` writes a temporary file in the target's folder, flushes it to the disk and renames it into
place. Whatever goes wrong (a full disk, Ctrl-C, an exception of the writer), an existing file keeps its old
contents and the temporary file is removed.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ganic.errors import OutputError

__all__ = ["is_stream", "write_atomic"]

Writer = Callable[[BinaryIO], object]

_EFFECTIVE = os.access in os.supports_effective_ids


def write_atomic(path: str | os.PathLike[str], data: bytes | Writer, *, overwrite: bool = False) -> None:
    """Write ``data`` to ``path``, whole or not at all.

    ``data`` is the contents, or a function that writes them to the binary file it is given (seekable,
    write-only; its return value is ignored), so that large outputs need not be held in memory.

    - An existing file is replaced only with ``overwrite`` and keeps its permission bits; it must be writable.
      Without ``overwrite`` a file that another process creates meanwhile is not replaced either (where the
      file system has hard links).
    - A symbolic link is followed: the file it points at is replaced and the link stays.
    - A device, a pipe or an open file of the process (``/dev/null``, ``/dev/stdout``, ``/dev/fd/63``) cannot
      be renamed over and is written directly.

    Raises OutputError for everything the file system refuses. An exception of the writer function other than
    OSError passes through unchanged.
    """
    shown = os.fspath(path)
    if is_stream(path):
        try:
            # Appended, for what /dev/stdout stands for may be a file that has something in it already.
            whole = io.BytesIO()  # where writers may seek
            _fill(whole, data)
            with Path(path).open("ab") as file:
                file.write(whole.getbuffer())
        except OSError as error:
            raise OutputError(f"{shown}: cannot be written: {_reason(error)}") from error
        return
    try:
        # strict=False: a dangling link resolves to the file that it would create.
        target = Path(path).resolve()
        status = target.stat() if target.exists() else None
    except (OSError, RuntimeError, ValueError) as error:  # link loops, names the system cannot hold
        raise OutputError(f"{shown}: cannot be written: {_reason(error)}; choose another name") from error

    if status is not None and stat.S_ISDIR(status.st_mode):
        raise OutputError(f"{shown}: is a folder; name a file in it")
    if status is not None and not overwrite:
        raise OutputError(f"{shown}: exists already; use -f (overwrite=True) to replace it")
    if status is not None and not os.access(target, os.W_OK, effective_ids=_EFFECTIVE):
        # A rename would succeed; but who protects a file from writing means its contents.
        raise OutputError(f"{shown}: is write-protected; change its permissions or choose another name")
    if not target.parent.is_dir():
        raise OutputError(f"{shown}: its folder does not exist; create {target.parent} first")

    # Not named after the target: a name of the greatest allowed length would get too long.
    temporary = target.parent / f".ganic-{os.urandom(8).hex()}.tmp"
    try:
        # os.open, unlike tempfile, lets the umask decide the permissions of a new file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            _fill(file, data)
            file.flush()
            os.fsync(file.fileno())
        if status is not None:
            # Not every file system keeps permission bits; the contents matter more.
            with contextlib.suppress(OSError):
                temporary.chmod(stat.S_IMODE(status.st_mode))
        _move(temporary, target, overwrite)
        _flush_folder(target.parent)
    except FileExistsError as error:
        raise OutputError(f"{shown}: exists already; use -f (overwrite=True) to replace it") from error
    except OSError as error:
        raise OutputError(f"{shown}: cannot be written: {_reason(error)}; nothing was changed") from error
    finally:
        # After a rename there is nothing left to remove; after a link or a failure there is.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether this is a device, a pipe, or an open file of this process: nothing that could be replaced."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # not there, or not a name
        return False
    of_process = os.fspath(Path(path).absolute()).startswith(("/dev/fd/", "/dev/std", "/proc/"))
    return not stat.S_ISDIR(mode) and (of_process or not stat.S_ISREG(mode))


def _fill(file: BinaryIO, data: bytes | Writer) -> None:
    if callable(data):
        data(file)
    else:
        file.write(data)


def _move(temporary: Path, target: Path, overwrite: bool) -> None:
    """Give the finished file its name; raises FileExistsError if it is taken and must not be."""
    if overwrite:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # unlike rename, fails when the name has been taken meanwhile
    except FileExistsError:
        raise
    except (OSError, NotImplementedError, AttributeError):  # no hard links on this file system
        if target.exists():
            raise FileExistsError(str(target)) from None
        temporary.replace(target)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable where folders can be opened (not on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
