"""From a recipe to files: the real loop, a few steps."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ganic.errors import TrainingError
from ganic.jpeg import export, recipe
from ganic.jpeg.batches import batches_of
from ganic.jpeg.evaluate import painted
from ganic.jpeg.generate import pictures
from ganic.jpeg.model import JpegModel, load
from ganic.training import loop, recipes

PLAYER = {"kind": "adam", "lr": 1e-3, "betas": [0.0, 0.99]}


@pytest.fixture
def data(photos: NDArray[np.uint8], tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for i, picture in enumerate(photos):
            Image.fromarray(picture).save(tmp_path / "x.png")
            archive.write(tmp_path / "x.png", f"{i}.png")
    return tmp_path / "data.zip"


def train(data: Path, folder: Path, name: str, steps: int, **values: object) -> Path:
    parsed = recipes.parse(
        {
            "name": name,
            "system": "jpeg",
            "steps": steps,
            "batch": 2,
            "crop": 32,
            "precision": "fp32",
            "sample_every": 2,
            "data": {"sources": [str(data)]},
            "players": {"generator": PLAYER, "discriminator": PLAYER},
            **values,
        }
    )
    torch.manual_seed(0)
    result = loop.train(
        parsed, recipe.build(parsed), folder / name, data=batches_of, device="cpu", quiet=True
    )
    assert result.finished
    return folder / name


def test_modern_recipe_from_training_to_files(data: Path, tmp_path: Path) -> None:
    objective = {"kind": "modern", "widths": [8, 8, 8, 8], "critic_width": 8, "features": 2}
    run = train(data, tmp_path, "tiny", 3, objective=objective)
    info = export.export_run(run, tmp_path / "tiny.safetensors", "tiny", card="A test.")
    assert info.system == "jpeg" and info.card == "A test."
    made = list(pictures(load(info.path, precision="fp32"), 2))
    assert len({p.data for p in made}) == 2
    assert made[0].label is None

    # The averaged weights were exported, not the last ones.
    model = load(info.path)
    saved = export.checkpoint.weights(run)["generator.start.weight"]
    last = export.checkpoint.weights(run, averaged=False)["generator.start.weight"]
    start = model.generator.state_dict()["start.weight"]
    assert torch.equal(start, saved.half().float())
    assert not torch.equal(saved, last)


def test_the_papers_two_stages(data: Path, tmp_path: Path) -> None:
    """The trunk as an RGB generator, then trunk and head from its weights."""
    first = train(data, tmp_path, "trunk", 1, objective={"size": 32, "output": "rgb"})
    second = train(data, tmp_path, "proposed", 1, objective={"size": 32}, init=str(first))
    models: list[JpegModel] = []
    for run in (first, second):
        info = export.export_run(run, tmp_path / f"{run.name}.safetensors", run.name)
        models.append(load(info.path, precision="fp32"))
    rgb, proposed = (model.generator.state_dict() for model in models)
    weight = "trunk.input.weight"
    assert not torch.equal(rgb[weight], proposed[weight])
    assert torch.allclose(rgb[weight], proposed[weight], atol=5e-3)  # one step away
    head = "head.luminance.loc2.linear.weight"
    assert not torch.equal(rgb[head], proposed[head])
    assert torch.allclose(rgb[head], proposed[head], atol=5e-3)
    assert painted(models[0], 3, 0).shape == (3, 32, 32, 3)


@pytest.mark.parametrize(
    "objective", [{"kind": "modern", "widths": [8, 8, 8, 8], "critic_width": 8}, {"size": 32}]
)
def test_a_model_can_be_trained_on(data: Path, tmp_path: Path, objective: dict[str, object]) -> None:
    run = train(data, tmp_path, "tiny", 1, objective=objective)
    info = export.export_run(run, tmp_path / "tiny.safetensors", "tiny")
    weights = export.weights_of(export.models.load(info.path))
    kept = export.checkpoint.weights(run)
    assert weights.keys() == {name for name in kept if name.startswith("generator.")}
    for name, value in weights.items():
        assert torch.allclose(value.float(), kept[name].float(), rtol=1e-3, atol=1e-6) or (
            name.endswith("num_batches_tracked")
        )


def test_export_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no recipe"):
        export.export_run(tmp_path, tmp_path / "x.safetensors", "x")
