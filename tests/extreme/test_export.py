"""From a run to a model file, and back to where another run starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from ganic import models
from ganic.errors import TrainingError
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


def trained(folder: Path, name: str, *changes: str, steps: int = 1) -> Path:
    """A run on a crop of the photograph, of the golden files' kind of model."""
    if not (folder / "a.png").exists():
        with Image.open(PHOTO) as photo:
            photo.crop((0, 0, 192, 192)).save(folder / "a.png")
    recipe = recipes.load(
        GOLDEN / "tiny.toml",
        [f"steps={steps}", "batch=1", "sample_every=0", f'data.sources=["{folder}"]', *changes],
    )
    torch.manual_seed(0)

    def weights(origin: Path | str) -> dict[str, torch.Tensor]:
        return dict(
            checkpoint.weights(Path(origin)) if Path(origin).is_dir() else weights_of(models.load(origin))
        )

    train(recipe, build(recipe), folder / name, weights=weights, quiet=True)
    return folder / name


SHADES = 'objective.stage="shades"', "objective.shades=[3.0, 1.0]", 'players={shades={kind="adam", lr=1e-3}}'


def test_shades_of_a_run_go_along(tmp_path: Path) -> None:
    run = trained(tmp_path, "run")
    of = trained(tmp_path, "shades", f'init="{run}"', *SHADES, steps=3)
    info = export_run(run, tmp_path / "m.safetensors", "m", shades=str(of))
    file, made = models.load(info.path), checkpoint.weights(of)
    assert file.config["shade_steps"] == [3.0, 1.0] and file.config["afar"] == {"latent": 16}
    again = weights_of(file)
    assert {name for name in again if name.startswith("shades.")} == {
        name for name in made if name.startswith("shades.")
    }
    for name, value in again.items():
        if name.startswith("shades.afar."):
            assert torch.equal(value, made[name].half().float()), name
    assert (again["shades.index.anchors"] - made["shades.index.anchors"]).abs().max() < 1 / 64
    (tile,) = (codec := Codec(file)).symbols(codec.encode(tmp_path / "a.png", quality=0.5))
    assert tile.shades is not None

    # Another run goes on from them, and another model has them as they are.
    more = trained(tmp_path, "more", f'init=["{run}", "{info.path}"]', *SHADES)
    first = (more / "metrics.jsonl").read_text().splitlines()[0]
    assert f"{info.path} (shades)" in first
    second = export_run(run, tmp_path / "n.safetensors", "m", shades=str(info.path))
    assert second.model_id == info.model_id


def test_shades_of_another_codec_are_refused(tmp_path: Path) -> None:
    run, other = trained(tmp_path, "run"), trained(tmp_path, "other", "seed=8", steps=2)
    of = trained(tmp_path, "shades", f'init="{other}"', *SHADES)
    for source, fact in (
        (of, "another encoder"),
        (other, "trained no shades"),
        (GOLDEN / "tiny.safetensors", "no shades"),
    ):
        with pytest.raises(TrainingError, match=fact):
            export_run(run, tmp_path / "m.safetensors", "m", shades=str(source))
    assert not (tmp_path / "m.safetensors").exists()
