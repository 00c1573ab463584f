from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from ganic.cli import frechet, generate
from ganic.errors import GanicError, OutputError, UsageError
from ganic.jpeg.generate import pictures
from ganic.jpeg.model import JpegModel


def run(*arguments: object) -> Result:
    return CliRunner().invoke(generate.command, [str(a) for a in arguments])


def test_writes_a_tar_and_says_so(model_path: Path, model: JpegModel, tmp_path: Path) -> None:
    common = ("--model", model_path, "--precision", "fp32", "--seed", 3)
    result = run("-n", 5, "-o", tmp_path / "x.tar", *common, "--class", "two", "--quality", 40)
    assert result.exit_code == 0, result.output
    assert "5 pictures" in result.stderr and "bytes each" in result.stderr
    assert "pictures per second" in result.stderr
    result = run("-n", 1, "-o", tmp_path / "x.jpg", *common, "--subsampling", "4:4:4", "-q")
    assert result.output == ""
    expected = next(pictures(model, 1, seed=3, subsampling="4:4:4"))
    assert (tmp_path / "x.jpg").read_bytes() == expected.data


def test_truncation_reaches_the_generator(model_path: Path, tmp_path: Path) -> None:
    common = ("-n", 2, "--model", model_path, "--class", "two", "-q", "-o")
    for share, differ in ((0, False), (0.5, True)):
        assert run(*common, tmp_path / str(share), "--truncation", share).exit_code == 0
        first, second = (path.read_bytes() for path in sorted((tmp_path / str(share)).glob("*.jpg")))
        assert (first != second) == differ


def test_summary_as_json(model_path: Path, tmp_path: Path) -> None:
    result = run("-n", 3, "-o", tmp_path / "x", "--model", model_path, "--json")
    record = json.loads(result.stdout)
    assert record["count"] == record["made"] == 3
    files = list((tmp_path / "x").glob("*.jpg"))
    assert record["bytes"] == sum(path.stat().st_size for path in files)
    assert record["model"] == "random"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("--quality", 0), UsageError),
        (("--quality", 101), UsageError),
        (("--subsampling", "4:1:1"), UsageError),
        (("--class", "unicorn"), UsageError),
        (("--size", 64), UsageError),
        (("--seed", -1), UsageError),
        (("--truncation", 1.1), UsageError),
        (("-o", "no/such/folder/x.tar"), OutputError),
    ],
)
def test_wrong_input_is_one_clear_error(
    arguments: tuple[object, ...], kind: type[GanicError], model_path: Path, tmp_path: Path
) -> None:
    result = run("-n", 2, "-o", tmp_path / "x.tar", "--model", model_path, *arguments)
    assert type(result.exception) is kind
    assert ": " in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_table_one(
    model_path: Path, photos: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("real.zip", "w") as archive:
        for i, picture in enumerate(photos):
            Image.fromarray(picture).save("x.png")
            archive.write("x.png", f"{i}.png")
    arguments = f"real.zip --rgb {model_path} --proposed {model_path} --also mine={model_path} -n 8"
    arguments += " --quality 75,25 --subsampling 4:2:0 -q -o cells.json --statistics real.npz"
    first = CliRunner().invoke(frechet.command, arguments.split())
    assert Path("real.npz").is_file()
    again = CliRunner().invoke(frechet.command, arguments.split())
    assert isinstance(again.exception, OutputError) and "cells.json: exists already" in str(again.exception)
    arguments += " -f"
    result = CliRunner().invoke(frechet.command, arguments.split())
    assert result.exit_code == 0, result.output
    assert first.stdout == result.stdout
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        "Frechet distance to the real pictures (CIFAR-10 ResNet-56, 64 features; N = 8"
    )
    assert [line.split("|")[1].strip() for line in lines[4:8]] == [
        "Real data",
        "TTUR, RGB + JPEG",
        "Proposed",
        "mine",
    ]

    proposed = f"--proposed {model_path}"
    several = arguments.replace(proposed, f"--proposed 75,50={model_path} {proposed}")
    assert CliRunner().invoke(frechet.command, several.split()).stdout == result.stdout
    ambiguous = CliRunner().invoke(
        frechet.command, arguments.replace(proposed, f"{proposed} {proposed}").split()
    )
    assert "say for which qualities" in ambiguous.output
    missing = arguments.replace(proposed, f"--proposed 75={model_path}").split()
    error = CliRunner().invoke(frechet.command, missing).exception
    assert isinstance(error, UsageError) and "no model for quality 25" in str(error)

    record = json.loads(Path("cells.json").read_text())
    assert len(record["cells"]) == 8
    assert record["real"] == 8 and record["seed"] == 0
    by_name = {(cell["method"], cell["quality"]): cell["distance"] for cell in record["cells"]}
    assert by_name["Real data", 75] < by_name["Real data", 25]
    assert by_name["Proposed", 75] == by_name["mine", 75]
