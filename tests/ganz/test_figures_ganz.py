"""Experiments, figures, and the commands around them, with the tiny model and hardly any steps."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from ganic.cli.sense import command as sense_command
from ganic.errors import DataError, GanicError, OutputError, UsageError
from ganic.ganz import figures, speed
from ganic.ganz.budget import Settings
from ganic.ganz.experiments import How, compress, psnrs, untrained, wavelets
from ganic.ganz.model import Model
from ganic.ganz.pictures import load, to_image
from ganic.ganz.plots import Table

HOW = How(Settings(steps=6, finish=0.5))


@pytest.fixture(scope="module")
def sets(pictures: Tensor) -> dict[str, Tensor]:
    return {"one": pictures[:2], "two": pictures[2:4]}


@pytest.fixture
def folder(pictures: Tensor, tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for i, pixels in enumerate(pictures[:3]):
        to_image(pixels).save(made / f"{i}.png")
    return made


def rows_of(table: Table) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_psnr_by_hand() -> None:
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack([a[0] + 0.1, a[1] + 0.01])
    assert torch.allclose(psnrs(b, a).float(), torch.tensor([20.0, 40.0]))


def test_compression_improves_with_steps_and_numbers(tiny_model: Model, pictures: Tensor) -> None:
    few = compress(tiny_model, "structured", pictures[:2], How(Settings(steps=5)), 60)
    many = compress(tiny_model, "structured", pictures[:2], How(Settings(steps=60, finish=0.5)), 60)
    assert many.mean > few.mean + 1
    begun = compress(tiny_model, "basis", pictures[:2], How(Settings(steps=0)), 10)
    ended = compress(tiny_model, "basis", pictures[:2], How(Settings(steps=40, finish=0.5)), 10)
    assert ended.mean > begun.mean and ended.pictures.shape == (2, 3, 32, 32)
    tries = compress(tiny_model, "dense", pictures[:1], How(Settings(steps=10), restarts=3), 60)
    assert math.isfinite(tries.mean)
    assert set(wavelets(pictures, 20)) == {"code", "formula", "joint"}


def test_the_control_is_the_same_network_untrained(tiny_model: Model) -> None:
    control, again = untrained(tiny_model), untrained(tiny_model)
    assert control.generator.last.weight.shape == tiny_model.generator.last.weight.shape
    assert torch.equal(control.generator.last.weight, again.generator.last.weight)
    assert control.basis is None and control.encoder is None and tiny_model.basis is not None
    with pytest.raises(UsageError, match="no learned basis"):
        control.first_layer("basis")
    with pytest.raises(UsageError, match="4 numbers"):
        tiny_model.first_layer("trained", 5)
    with pytest.raises(UsageError, match="size of the latent"):
        tiny_model.first_layer("dense")


def test_figure2(tiny_model: Model, sets: dict[str, Tensor], tmp_path: Path) -> None:
    table = figures.figure2([tiny_model], sets, HOW, tmp_path)
    assert [(row["set"], row["training latent"]) for row in rows_of(table)] == [("one", 4), ("two", 4)]
    assert (tmp_path / "figure2_one.png").stat().st_size > 1000


def test_figure3(tiny_model: Model, sets: dict[str, Tensor], tmp_path: Path) -> None:
    table = figures.figure3(tiny_model, sets, HOW, tmp_path)
    assert table.columns[1:3] == ("no_linear", "square_linear") and len(table.rows) == 2
    assert (tmp_path / "figure3.png").exists()


def test_figure4_and_5(tiny_model: Model, sets: dict[str, Tensor], tmp_path: Path) -> None:
    table = figures.figure4(tiny_model, {"one": sets["one"]}, HOW, tmp_path, (10.0, 768.0))
    assert [row["ratio"] for row in rows_of(table)] == ["keep_linear", "10", "768"]
    said: list[str] = []
    table = figures.figure5(tiny_model, sets, HOW, tmp_path, (10.0, 768.0), said.append)
    rows = rows_of(table)
    assert [(row["set"], row["ratio"], row["numbers"]) for row in rows] == [
        ("one", 10.0, 307), ("one", 768.0, 4), ("two", 10.0, 307), ("two", 768.0, 4)
    ]  # fmt: skip
    expected = wavelets(sets["two"], 10)["formula"].mean
    assert rows[2]["db4 formula"] == pytest.approx(expected) and len(said) == 4
    text = (tmp_path / "figure5.csv").read_text()
    assert text.splitlines()[0].startswith("set,ratio,numbers,dense") and len(text.splitlines()) == 5
    assert "| set | ratio |" in (tmp_path / "figure5.md").read_text()


def test_figure5_needs_a_layer_of_the_model(
    tiny_model: Model, sets: dict[str, Tensor], tmp_path: Path
) -> None:
    without = replace(tiny_model, basis=None, scales=None, prior=None, encoder=None)
    with pytest.raises(UsageError, match="no learned basis"):
        figures.figure5(without, {"one": sets["one"][:1]}, HOW, tmp_path, (10.0,), layers=("basis",))


def test_figure7(tiny_model: Model, tmp_path: Path) -> None:
    (row,) = figures.figure7([tiny_model], tmp_path).rows
    assert row[0] == 4 and isinstance(row[1], float) and row[1] > 0


def test_figure8(tiny_model: Model, sets: dict[str, Tensor], tmp_path: Path) -> None:
    table = figures.figure8(tiny_model, {"one": sets["one"][:1]}, HOW, tmp_path, (0.2,), structured=True)
    (row,) = rows_of(table)
    assert row["M"] == round(0.2 * 3072) and all(isinstance(row[c], float) for c in table.columns[3:])


def test_figures_command(tiny_file: Path, folder: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(figures.command, [*arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    out = ["--out", str(tmp_path / "out"), "--model", str(tiny_file)]
    assert "| one |" in run("3", *out, "--set", f"one={folder}@1", "--steps", "4", "--count", "1")
    assert "Figure 7" in run("7", *out)
    some = run("5", *out, "--set", f"one={folder}@1", "--steps", "2", "--count", "1", "--layers", "basis")
    assert "| set | ratio | numbers | learned basis | db4 code |" in some
    with pytest.raises(UsageError, match="--layers: sparse: none of dense, structured, basis, chosen"):
        run("5", *out, "--set", f"one={folder}@1", "--layers", "basis,sparse")
    with pytest.raises(UsageError, match="--set"):
        run("5", *out)
    with pytest.raises(UsageError, match="NAME=PATH"):
        run("5", *out, "--set", str(folder))


def test_speed(tiny_model: Model, tiny_file: Path, pictures: Tensor, folder: Path) -> None:
    found = speed.batching(tiny_model, "structured", pictures[:2], How(Settings(steps=3)), 60)
    assert found.gain == found.together / found.one_by_one > 0
    how = How(Settings(steps=30, finish=0.5))
    path = speed.convergence(tiny_model, "structured", pictures[:1], how, 60)
    assert 1 <= path.steps <= 30 and path.seconds > 0 and math.isfinite(path.converged)
    arguments = [
        "--model",
        str(tiny_file),
        "--set",
        f"a={folder}",
        "--count",
        "2",
        "--steps",
        "2",
        "--converge",
        "4",
    ]
    result = CliRunner().invoke(speed.command, arguments, catch_exceptions=False)
    assert "times" in result.output and "converged" in result.output


# Pictures


def test_pictures_from_folders_zips_and_files(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (10, 10)).save(folder / "small.png")
    found = load(folder, 32)
    assert found.names == ("0.png", "1.png", "2.png") and found.pixels.shape == (3, 3, 32, 32)
    assert load(folder, 32, first=1, count=1).names == ("1.png",)
    archive = tmp_path / "faces.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.glob("[0-9].png")):
            file.write(path, f"inside/{path.name}")
    zipped = load(archive, 16, how="resize", box=(8, 0, 24, 32), count=2)
    assert zipped.names == ("inside/0.png", "inside/1.png") and zipped.pixels.shape == (2, 3, 16, 16)
    single = load(folder / "1.png", 16)
    centre = np.asarray(Image.open(folder / "1.png"))[8:24, 8:24]
    assert np.array_equal(np.asarray(single.image(0)), centre)
    assert np.array_equal(np.asarray(to_image(single.values[0])), centre)


def test_pictures_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4 not really")
    for source in (tmp_path / "bad.zip", tmp_path / "none.zip"):
        with pytest.raises(DataError, match="zip"):
            load(source, 16)
    with pytest.raises(DataError, match="no pictures"):
        load(folder, 64)
    with pytest.raises(GanicError):
        load(tmp_path / "nothing.png", 16)


# ganic sense


def test_sense_command(tiny_file: Path, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    arguments = [str(folder / "0.png"), "--model", str(tiny_file), "--steps", "10", "-o", str(target)]
    for more in (
        ["--measurements", "300"],
        ["--share", "0.1", "--kind", "structured", "--noise", "0.01", "-f"],
    ):
        result = CliRunner().invoke(sense_command, [*arguments, *more, "--json"], catch_exceptions=False)
        record = json.loads(result.output)
        assert record["psnr"] > 0 and record["fista_psnr"] > 0 and record["layer"] == "basis"
        with Image.open(target) as image:
            assert image.size == (3 * 32, 32)
    assert record["measurements"] == 307 and record["noise"] == 0.01
    with pytest.raises(OutputError, match="exists already"):
        CliRunner().invoke(sense_command, [*arguments, "--share", "0.1"], catch_exceptions=False)
    plain = [
        str(folder / "0.png"),
        "--model",
        str(tiny_file),
        "--share",
        "0.1",
        "--steps",
        "2",
        "--no-baseline",
    ]
    result = CliRunner().invoke(sense_command, [*plain, "--layer", "structured"], catch_exceptions=False)
    assert result.output.startswith("307 of 3072 numbers: recovery") and "FISTA" not in result.output


@pytest.mark.parametrize(
    "wrong, message",
    [
        ([], "how many measurements"),
        (["--measurements", "10", "--share", "0.1"], "how many measurements"),
        (["--measurements", "0"], "measurements"),
        (["--measurements", "3073"], "measurements"),
        (["--share", "0"], "measurements"),
        (["--share", "0.1", "--noise", "-1"], "noise"),
        (["--share", "0.1", "--layer", "dense", "--ratio", "5"], "compression ratio"),
        (["--share", "0.1", "--steps", "-1"], "search"),
        (["--share", "0.1", "--seed", "-1"], "seed"),
    ],
)
def test_sense_refuses_nonsense(tiny_file: Path, folder: Path, wrong: list[str], message: str) -> None:
    arguments = [str(folder / "0.png"), "--model", str(tiny_file), "--no-baseline", *wrong]
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(sense_command, arguments, catch_exceptions=False)
