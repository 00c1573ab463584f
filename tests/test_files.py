"""write_atomic: whole or not at all."""

from __future__ import annotations

import os
import resource
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from ganic.errors import InputError, OutputError
from ganic.files import is_stream, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.bin"


def test_bytes_and_functions(target: Path) -> None:
    write_atomic(target, b"one")
    assert target.read_bytes() == b"one"

    def write(file: BinaryIO) -> None:
        file.write(b"???four")
        file.seek(0)
        file.write(b"two")

    write_atomic(str(target), write, overwrite=True)
    assert target.read_bytes() == b"twofour"
    assert names(target.parent) == ["out.bin"]


def test_existing_file_stays_without_overwrite(target: Path) -> None:
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match=r"out\.bin: exists already; use -f"):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old" and names(target.parent) == ["out.bin"]


def test_file_created_meanwhile_stays_without_overwrite(target: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"new")
        target.write_bytes(b"someone else's")

    with pytest.raises(OutputError, match="exists already"):
        write_atomic(target, write)
    assert target.read_bytes() == b"someone else's" and names(target.parent) == ["out.bin"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), InputError("picture: broken")])
@pytest.mark.parametrize("existed", [True, False])
def test_failing_writer_leaves_everything_as_it_was(
    target: Path, error: BaseException, existed: bool
) -> None:
    if existed:
        target.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(type(error)) as caught:
        write_atomic(target, write, overwrite=True)
    assert caught.value is error
    assert names(target.parent) == (["out.bin"] if existed else [])
    assert not existed or target.read_bytes() == b"old"


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The kernel refuses writes past a size, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_full_keeps_the_old_file(target: Path) -> None:
    target.write_bytes(b"old")
    with (
        no_file_larger_than(100_000),
        pytest.raises(OutputError, match="File too large; nothing was changed"),
    ):
        write_atomic(target, b"x" * 1_000_000, overwrite=True)
    assert target.read_bytes() == b"old" and names(target.parent) == ["out.bin"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device")
def test_disk_full_on_a_device() -> None:
    with pytest.raises(OutputError, match="/dev/full: cannot be written: No space left on device"):
        write_atomic("/dev/full", b"data")


def test_folder_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        write_atomic(tmp_path, b"data", overwrite=True)
    with pytest.raises(OutputError, match="its folder does not exist"):
        write_atomic(tmp_path / "no" / "file", b"data")
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(OutputError):
        write_atomic(tmp_path / "file" / "inside", b"data")
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomic(tmp_path / "nul\0byte", b"data")
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomic(tmp_path / ("n" * 300), b"data")
    assert names(tmp_path) == ["file"]


def test_longest_possible_name(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_atomic(path, b"data")
    assert path.read_bytes() == b"data"


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Root may write everywhere; permissions are only tested as somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_permissions_are_respected() -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: its parents are for its owner only
        folder = Path(name)
        folder.chmod(0o755 if os.geteuid() == 0 else 0o555)
        try:
            with (
                as_ordinary_user(),
                pytest.raises(OutputError, match="Permission denied; nothing was changed"),
            ):
                write_atomic(folder / "new", b"data")
        finally:
            folder.chmod(0o777)
        (folder / "protected").write_bytes(b"old")
        (folder / "protected").chmod(0o444)
        with as_ordinary_user(), pytest.raises(OutputError, match="write-protected"):
            write_atomic(folder / "protected", b"data", overwrite=True)
        assert names(folder) == ["protected"] and (folder / "protected").read_bytes() == b"old"


def test_permission_bits(target: Path) -> None:
    write_atomic(target, b"one")
    (target.parent / "plain").write_bytes(b"")
    assert target.stat().st_mode == (target.parent / "plain").stat().st_mode  # the umask decides
    target.chmod(0o640)
    write_atomic(target, b"two", overwrite=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "file", tmp_path / "link"
    link.symlink_to(real)
    write_atomic(link, b"one")  # dangling so far
    with pytest.raises(OutputError, match="exists already"):
        write_atomic(link, b"two")
    write_atomic(link, b"two", overwrite=True)
    assert link.is_symlink() and real.read_bytes() == b"two" and not real.is_symlink()
    assert names(tmp_path) == ["link", "real"] and names(tmp_path / "real") == ["file"]
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OutputError):
        write_atomic(loop, b"data", overwrite=True)


def test_devices_and_pipes_are_written_directly(tmp_path: Path) -> None:
    write_atomic(os.devnull, b"data")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    fifo, got = tmp_path / "pipe", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    write_atomic(fifo, b"through the pipe")
    reader.join()
    assert got == [b"through the pipe"] and names(tmp_path) == ["pipe"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are Linux's")
def test_an_open_file_of_the_process_is_written_where_it_stands(tmp_path: Path) -> None:
    into, out = os.pipe()
    assert is_stream(f"/dev/fd/{out}") and not is_stream(tmp_path) and not is_stream(tmp_path / "new")
    write_atomic(f"/dev/fd/{out}", lambda file: file.seek(2) and file.write(b"seeks"))  # pipes cannot
    os.close(out)
    with os.fdopen(into, "rb") as pipe:
        assert pipe.read() == b"\0\0seeks"
    with (tmp_path / "log").open("w+b") as log:
        log.write(b"before, ")
        log.flush()
        write_atomic(
            f"/dev/fd/{log.fileno()}", lambda file: file.write(b"After") and file.seek(0) + file.write(b"a")
        )
    assert (tmp_path / "log").read_bytes() == b"before, after"  # the same file, nothing of it lost
