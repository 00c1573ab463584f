"""From a run to a model file, and back to where another run starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from ganic import models
from ganic.extreme.codec import Codec
from ganic.extreme.export import export_run, weights_of

pytest.importorskip("pydantic")

from ganic.extreme.recipe import build
from ganic.training import checkpoint, recipes
from ganic.training.loop import train

GOLDEN = Path(__file__).parents[1] / "golden"
PHOTO = Path(__file__).parents[1] / "data" / "photo.webp"


def test_a_model_keeps_the_discriminator_that_it_was_trained_against(tmp_path: Path) -> None:
    with Image.open(PHOTO) as photo:
        photo.crop((0, 0, 192, 192)).save(tmp_path / "a.png")
    changes = [
        "steps=1", "batch=1", "crop=128", "sample_every=0", f'data.sources=["{tmp_path}"]',
        'objective.stage="joint"', 'objective.discriminator="projected"', "objective.discriminator_width=4",
        "objective.discriminator_latent=2", "players.discriminator.lr=1e-3",
    ]  # fmt: skip
    recipe = recipes.load(GOLDEN / "tiny.toml", changes)
    torch.manual_seed(0)
    train(recipe, build(recipe), tmp_path / "run", quiet=True)
    info = export_run(tmp_path / "run", tmp_path / "m.safetensors", "m")

    file, trained = models.load(info.path), checkpoint.weights(tmp_path / "run")
    again = weights_of(file)
    assert set(again) == set(trained)
    for name in trained:
        if name.startswith(("discriminator.", "glance.")):
            assert torch.equal(again[name], trained[name].half().float()), name
    assert {"glance.weight", "discriminator.projection.across0", "discriminator.heads.0.out.bias"} < {*again}
    codec = Codec(file)
    assert codec.decode(codec.encode(tmp_path / "a.png", quality=0.5)).size == (192, 192)
    # The next run starts from all of it.
    further = recipes.load(GOLDEN / "tiny.toml", [*changes, f'init="{info.path}"'])
    train(further, build(further), tmp_path / "more", weights=lambda _: again, quiet=True)
    first = (tmp_path / "more" / "metrics.jsonl").read_text().splitlines()[0]
    assert "(codec, discriminator, glance)" in first
