"""Files and a way to run the command, shared by the tests of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import ganic
from ganic.bitstream import pack
from ganic.cli.main import cli

Run = Callable[..., Result]
TESTS = Path(__file__).parent.parent


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("info", "x.ganic")`` in an empty folder and in this process."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path, input: bytes | None = None) -> Result:
        return CliRunner().invoke(cli, [str(a) for a in arguments], input=input, prog_name="ganic")

    return call


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The start of a command line for subprocess, for what needs a process of its own."""
    return [sys.executable, "-m", "ganic"]


@pytest.fixture
def environment() -> dict[str, str]:
    """For subprocess: this very package, and one thread."""
    source = str(Path(ganic.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A well-formed file of 30x20 pixels by a model that is installed nowhere."""
    path = tmp_path / "stranger.ganic"
    path.write_bytes(pack(bytes([1, 2, 3, 4, 5, 6]), 30, 20, [b"stream"], {"xmp_": b"<x/>"}, b"\0\0"))
    return path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model of the golden files is installed."""
    monkeypatch.setenv("GANIC_MODELS", str(TESTS / "golden"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A part of the photograph, 160x96, as photo.png."""
    path = tmp_path / "photo.png"
    with Image.open(TESTS / "data" / "photo.webp") as photo:
        photo.crop((300, 200, 460, 296)).save(path)
    return path
