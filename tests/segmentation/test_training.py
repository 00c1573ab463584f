"""From drawn scenes to a model that labels scenes it has not seen, by the commands a user gives.

The scenes are drawn here: photographs of streets may not lie in the repository.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from ganic import models
from ganic.cli.main import cli
from ganic.errors import TrainingError
from ganic.labels import VOID as LABEL_VOID
from ganic.labels import LabelMap
from ganic.segmentation.export import export_run
from ganic.segmentation.scores import score
from ganic.segmentation.segmenter import Segmenter

Scene = tuple[NDArray[np.uint8], NDArray[np.uint8]]

CLASSES = ("sky", "road", "car")
COLOURS = np.array([[120, 170, 230], [90, 90, 95], [200, 40, 50]])
VOID = 3


RECIPE = f"""
name = "tiny"
system = "segmentation"
steps = 40
batch = 4
crop = 64
precision = "fp32"
log_every = 10
sample_every = 40

[data]
sources = ["images"]
maps = ["labels"]

[players.segmenter]
lr = 1e-2

[ema]
decay = 0.9

[objective]
classes = {json.dumps(CLASSES)}
sides = [48, 96]
widths = [8, 12, 16, 16, 16]
blocks = [0, 0, 0, 0, 0]
decoder = [16, 16, 12, 8]
shares = [0.35, 0.5, 0.15]
zoom = 1.2
"""


def scene(seed: int, height: int = 64, width: int = 96) -> Scene:
    """A picture [h, w, 3] and its labels [h, w]: sky, road, two cars, and void along the horizon."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), dtype=np.uint8)
    horizon = int(rng.integers(height // 4, height // 2))
    labels[horizon:] = 1
    for _ in range(2):
        y, x = int(rng.integers(horizon, height - height // 4)), int(rng.integers(0, width - width // 4))
        labels[y : y + height // 5, x : x + width // 4] = 2
    pixels = COLOURS[labels] + rng.normal(0, 12, (height, width, 3))
    labels[horizon] = VOID
    return pixels.clip(0, 255).astype(np.uint8), labels


@pytest.fixture
def street(tmp_path: Path) -> Callable[[int], Path]:
    """Writes scenes into ``images`` and ``labels`` of a folder, which it returns."""

    def write(count: int) -> Path:
        for name in ("images", "labels"):
            (tmp_path / name).mkdir()
        for i in range(count):
            pixels, labels = scene(i)
            Image.fromarray(pixels).save(tmp_path / "images" / f"{i:03}.png")
            Image.fromarray(labels).save(tmp_path / "labels" / f"{i:03}.png")
        return tmp_path

    return write


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="ganic")


def test_train_export_label(street: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = street(12)
    monkeypatch.chdir(folder)
    Path("tiny.toml").write_text(RECIPE)
    result = run("train", "tiny.toml", "-q")
    assert result.exit_code == 0, result.stderr
    log = [json.loads(line) for line in Path("runs/tiny/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in log if line["event"] == "step"]
    assert steps[-1]["segmenter/loss"] < 0.5 * steps[0]["segmenter/loss"]
    assert steps[-1]["segmenter/miou"] > 0.8 and steps[-1]["segmenter/accuracy"] > 0.9
    with Image.open("runs/tiny/samples/00000040.png") as shown:
        assert shown.size == (4 * 64, 3 * 64)  # 4 rows of picture, truth, labels in a near-square grid

    Path("card.md").write_text("# Tiny")
    result = run("export", "runs/tiny", "-o", "tiny.safetensors", "--card", "card.md")
    assert result.exit_code == 0, result.stderr
    info = models.read_info("tiny.safetensors")
    assert (info.system, info.name, info.card) == ("segmentation", "tiny", "# Tiny")
    monkeypatch.setenv("GANIC_MODELS", ".")
    assert "segmentation" in run("models").stdout
    assert run("decode", "--model", "tiny", "x.ganic").exit_code != 0

    segmenter = Segmenter.load("tiny")
    assert segmenter.names == CLASSES
    pairs = []
    for seed in range(100, 104):
        pixels, labels = scene(seed)
        found = segmenter(Image.fromarray(pixels))
        pairs.append(
            (LabelMap(np.where(labels == VOID, LABEL_VOID, labels).astype(np.uint8), CLASSES), found)
        )
    miou = score(pairs).miou
    assert miou is not None and miou > 0.8

    # three times as large, the same scene gets the same labels, as far as a third of the pixels can say
    pixels, _ = scene(100)
    large = segmenter(Image.fromarray(pixels.repeat(3, 0).repeat(3, 1)))
    assert large.labels.shape == (3 * 64, 3 * 96)
    assert (large.labels[1::3, 1::3] == pairs[0][1].labels).mean() > 0.95


def test_runs_of_other_systems_are_refused(tmp_path: Path) -> None:
    recipe = {"name": "a", "system": "ganz", "steps": 1, "batch": 1, "crop": 1, "players": {"g": {"lr": 1.0}}}
    (tmp_path / "metrics.jsonl").write_text(
        json.dumps({"event": "start", "step": 0, "recipe": recipe}) + "\n"
    )
    with pytest.raises(TrainingError, match="a run of the system 'ganz', which trains no segmenter"):
        export_run(tmp_path, tmp_path / "a.safetensors", "a")
