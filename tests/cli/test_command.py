"""The command as far as it needs no model: help, info, errors and their exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

import ganic
from ganic.cli.main import COMMANDS, cli

Run = Callable[..., Result]
NAMES = [name for section in COMMANDS.values() for name in section]


def test_help_lists_every_subcommand(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in NAMES:
        assert f"  {name} " in result.stdout
    assert run("--version").stdout == f"ganic {ganic.__version__}\n"


@pytest.mark.parametrize("name", NAMES)
def test_short_help_is_the_commands_own(name: str, run: Run) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.name == name
    assert command.short_help == next(section[name] for section in COMMANDS.values() if name in section)
    result = run(name, "--help")
    assert result.exit_code == 0 and result.stdout.startswith(f"Usage: ganic {name}")


def test_info(run: Run, stranger: Path) -> None:
    result = run("info", stranger.name)
    size = stranger.stat().st_size
    assert result.exit_code == 0
    assert result.stdout == (
        f"stranger.ganic: 30x20, {size} bytes, {8 * size / 600:.4f} bpp, "
        "model 010203040506 (not installed here), XMP 4 bytes\n"
    )
    assert "1 stream, 6 bytes" in run("info", "-v", stranger.name).stdout
    assert json.loads(run("info", "--json", stranger.name).stdout) == {
        "input": "stranger.ganic",
        "width": 30,
        "height": 20,
        "bytes": size,
        "bpp": pytest.approx(8 * size / 600),
        "model_id": "010203040506",
        "model": None,
        "streams": [6],
        "boxes": {"xmp_": 4},
        "version": 1,
        "kept": 1.0,
        "qualities": 1,
        "labels": None,
    }
    assert run("info", "-", input=stranger.read_bytes()).stdout.startswith("standard input: 30x20")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["info", "nothing.ganic"], 1, "ganic: nothing.ganic: no such file; check the name\n"),
        (["info", "cut.ganic"], 4, "ganic: cut.ganic: "),
        (["info", "text.ganic"], 4, "ganic: text.ganic: does not begin as a .ganic file does; "),
        (["verify", "stranger.ganic"], 3, "ganic: stranger.ganic: model id 010203040506: not found in "),
        (["decode", "stranger.ganic"], 3, "ganic: stranger.ganic: model id 010203040506: not found in "),
        (["decode", "cut.ganic"], 4, "ganic: cut.ganic: "),
        (["encode", "text.ganic", "--model", "none"], 3, "ganic: model 'none': not found in "),
        (["compare", "text.ganic", "-o", "page.html"], 1, "ganic: page.html: exists already; "),
        (["train", "nothing.toml"], 2, "ganic: nothing.toml: cannot be read"),
    ],
)
def test_one_line_and_the_errors_own_exit_code(
    arguments: list[str], code: int, message: str, run: Run, stranger: Path
) -> None:
    stranger.with_name("cut.ganic").write_bytes(stranger.read_bytes()[:-1])
    for name in ("text.ganic", "page.html"):
        stranger.with_name(name).write_text("Dear reader,")
    result = run(*arguments)
    assert result.exit_code == code
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1 and result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["encode", "x.png", "--target-size", "many"],
        ["encode", "x.png", "--target-bpp", "0"],
        ["encode", "x.png", "--quality", "101"],
        ["encode", "x.png", "--rate", "low", "--quality", "5"],
        ["encode", "x.png", "--precision", "fp64"],
        ["encode", ".", "-o", "out"],
        ["encode", "x.png", "-o", "-", "--json"],
        ["decode", "x.ganic", "-o", "x.docx"],
        ["decode", "x.ganic", "--format", "ganic"],
        ["decode", "x.ganic", "--fidelity", "2"],
        ["compare", "x.png", "x.ganic", "--rate", "low"],
        ["compare", "x.png", "--against", "gif"],
        ["frobnicate"],
    ],
)
def test_wrong_usage(arguments: list[str], run: Run) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and "Error: " in result.stderr and "Traceback" not in result.stderr


def test_one_bad_file_of_several_does_not_stop_the_others(run: Run, stranger: Path) -> None:
    result = run("info", "nothing.ganic", "stranger.ganic")
    assert result.exit_code == 1
    assert result.stderr == "ganic: nothing.ganic: no such file; check the name\n"
    assert result.stdout.startswith("stranger.ganic: 30x20")

    result = run("info", "--json", "nothing.ganic", "stranger.ganic")
    failed, good = (json.loads(line) for line in result.stdout.splitlines())
    assert failed == {
        "input": "nothing.ganic",
        "error": "InputError",
        "message": "nothing.ganic: no such file; check the name",
        "exit_code": 1,
    }
    assert good["width"] == 30


def test_debug_shows_the_traceback(run: Run) -> None:
    result = run("info", "--debug", "nothing.ganic")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr and result.stderr.endswith("no such file; check the name\n")


def test_models_without_any(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANIC_MODELS", str(tmp_path))
    for line in run("models", "--json").stdout.splitlines():
        assert json.loads(line)["name"]
    result = run("models", "no-such-model")
    assert result.exit_code == 3 and str(tmp_path) in result.stderr


def test_no_binary_file_on_a_terminal(
    command: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    master, terminal = pty.openpty()
    try:
        for arguments in (["encode", "x.png", "-o", "-"], ["decode", "x.ganic", "-o", "-"]):
            done = subprocess.run(
                [*command, *arguments], stdout=terminal, stderr=subprocess.PIPE, env=environment, check=False
            )
            assert done.returncode == 2 and b"terminal" in done.stderr
    finally:
        os.close(master)
        os.close(terminal)


def test_a_reader_that_goes_away(command: list[str], environment: dict[str, str], stranger: Path) -> None:
    many = [str(stranger)] * 3000  # more than a pipe holds
    process = subprocess.Popen(
        [*command, "info", *many], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(bytes(stranger))
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, b"")


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGINT, 130, b"ganic: interrupted\n"), (signal.SIGTERM, 143, b"")],
)
def test_signals(
    number: signal.Signals, code: int, message: bytes, command: list[str], environment: dict[str, str]
) -> None:
    process = subprocess.Popen(
        [*command, "info", "nothing.ganic", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    assert process.stderr is not None
    assert b"no such file" in process.stderr.readline()  # now it waits for standard input
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, message)
