"""train, export and evaluate: thin skins, so one short way through all three."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

Run = Callable[..., Result]
GOLDEN = Path(__file__).parent.parent / "golden"
PHOTO = Path(__file__).parent.parent / "data" / "photo.webp"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three small pictures."""
    made = tmp_path / "pictures"
    made.mkdir()
    with Image.open(PHOTO) as photo:
        for x in (0, 200, 400):
            photo.crop((x, 200, x + 192, 376)).save(made / f"{x}.png")
    return made


def test_train_export_evaluate(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydantic")
    pytest.importorskip("matplotlib")
    short = ["--set", "steps=2", "--set", "batch=2", "--set", "crop=64", "--data", "pictures"]
    result = run("train", GOLDEN / "tiny.toml", *short, "--run-dir", "runs/mini", "-q")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("tiny: finished step 2, ") and result.stdout == ""
    # The log says what the recipe leaves to defaults: those of a later version may be others.
    table = json.loads(Path("runs/mini/metrics.jsonl").read_text().splitlines()[0])["recipe"]["objective"]
    assert table["mse"] == 150.0 and table["architecture"]["bit_price"] == 0.04

    result = run("export", "runs/mini", "-o", "models/mini.safetensors")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("models/mini.safetensors: mini (")
    assert run("export", "runs/mini", "-o", "models/mini.safetensors").exit_code == 1  # exists

    monkeypatch.setenv("GANIC_MODELS", "models")
    # Training goes on from a model as from a run: by its name, or its file.
    for model in ("mini", "models/mini.safetensors"):
        result = run(
            "train", GOLDEN / "tiny.toml", *short, "--set", f'init="{model}"', "--run-dir", "more", "-q"
        )
        assert result.exit_code == 0, result.stderr
        line = Path("more/metrics.jsonl").read_text().splitlines()[0]
        assert json.loads(line)["from"] == f"{model} (codec)"
        shutil.rmtree("more")
    # A latent of more channels than the model's grows out of it.
    wider = ["--set", 'init="mini"', "--set", "objective.architecture.latent=24"]
    assert run("train", GOLDEN / "tiny.toml", *short, *wider, "--run-dir", "wider", "-q").exit_code == 0
    assert run("export", "wider", "-o", "models/wider.safetensors").exit_code == 0
    assert run("encode", PHOTO, "--model", "wider", "-o", "photo.ganic").exit_code == 0
    assert run("verify", "photo.ganic").exit_code == 0

    result = run("train", GOLDEN / "tiny.toml", *short, "--set", 'init="nobody"', "--run-dir", "more", "-q")
    assert result.exit_code != 0 and "nobody" in result.stderr

    result = run(
        "evaluate", "pictures", "-o", "out", "--model", "mini", "--quality", "10",
        "--against", "webp,jpeg:2", "--no-ssimulacra2", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert len(json.loads(result.stdout)["measurements"]) == 3 * 3
    assert result.stderr == "wrote out/report.html\n"
    assert Path("out/report.html").is_file() and Path("out/measurements.csv").is_file()
    # A rate point below what the other codec can do: both are measured at its smallest file instead.
    at_floor = ("--bpp", "0.05", "--floor", "jpeg", "--against", "jpeg", "--no-ssimulacra2", "--json")
    result = run("evaluate", "pictures", "-o", "floor", "--model", "mini", "--steps", "1", *at_floor)
    assert result.exit_code == 0, result.stderr
    ours, jpeg = (
        [m for m in json.loads(result.stdout)["measurements"] if m["codec"] == c] for c in ("ganic", "jpeg")
    )
    assert all(0.9 * b["bytes"] <= a["bytes"] <= b["bytes"] for a, b in zip(ours, jpeg, strict=True)), (
        ours,
        jpeg,
    )


def test_mistakes(run: Run, folder: Path) -> None:
    result = run("train", GOLDEN / "tiny.toml", "--set", "stepz=3")
    assert result.exit_code == 2 and "stepz: unknown key" in result.stderr
    assert run("train", GOLDEN / "tiny.toml", "--data", "nowhere").exit_code == 1
    assert run("export", "pictures").exit_code == 1
    assert run("evaluate", "pictures", "--bpp", "a lot").exit_code == 2
    assert run("evaluate", "nowhere").exit_code == 2
    for against in ("gif", "jpeg:lots", "jpeg:0"):
        result = run("evaluate", "pictures", "--model", GOLDEN / "tiny.safetensors", "--against", against)
        assert result.exit_code == 2, against
    assert run("evaluate", "pictures", "--floor", "gif").exit_code == 2
    assert run("evaluate", "pictures", "--floor", "webp", "--quality", "10").exit_code == 2
