"""The objective of SC and GC (D+) for the compact networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ganic.errors import DataError
from ganic.extreme.model import Architecture, CompactModel
from ganic.extreme.objective import CompactSettings
from ganic.extreme.selection import channels
from ganic.extreme.selective_objective import SelectiveCompression, SelectiveSettings
from ganic.training import recipes

Make = Callable[..., SelectiveCompression]


@pytest.fixture
def objective(small_architecture: Architecture) -> Make:
    def make(**settings: Any) -> SelectiveCompression:
        torch.manual_seed(0)
        return SelectiveCompression(
            SelectiveSettings(
                architecture=small_architecture,
                classes=("sky", "road", "car"),
                discriminator_widths=(8, 8),
                **({"perceptual": 0.0, "texture": 0.0} | settings),
            )
        )

    return make


def batch(n: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(1)
    labels = torch.zeros(n, 128, 128, dtype=torch.int64)
    labels[:, 64:] = 1
    labels[:, 32:96, 64:96] = 2
    labels[:, :, 120:] = 11  # void
    return {"image": torch.rand(n, 3, 128, 128), "map": labels}


def test_turns_give_finite_losses_and_gradients(objective: Make) -> None:
    game = objective(perceptual=1.0)
    for player in game.players(0):
        loss, stats = game.loss(player, batch(), 0)
        loss.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(loss) and all(torch.isfinite(value).all() for value in stats.values())
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in game.parameters(player))
    assert game.samples(batch(), 0).shape == (8, 3, 128, 128)


@pytest.mark.parametrize("guide", [False, True])
def test_distortion_counts_where_the_heat_map_preserves(
    objective: Make, guide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient with respect to G's picture, pixel by pixel."""
    game = objective(selection="boxes", whole=0.0, adversarial=0.0, matching=0.0, shading=150.0, guide=guide)
    made = torch.rand(2, 3, 128, 128, requires_grad=True)
    seen: list[Tensor] = []

    def reconstruct(
        x: Tensor, labels: Tensor, quality: Tensor, coded: Tensor, looks: int
    ) -> tuple[Tensor, Tensor]:
        seen.append(coded)
        return made, torch.zeros(2)

    monkeypatch.setattr(game, "_reconstruct", reconstruct)
    game.loss("codec", batch(), 0)[0].backward()  # type: ignore[no-untyped-call]
    assert made.grad is not None
    touched = made.grad.abs().amax(1, keepdim=True) > 0
    preserved = torch.nn.functional.interpolate(seen[0], scale_factor=16.0).bool()
    assert torch.equal(touched, preserved)


def test_a_second_look_is_at_what_was_made_outside(objective: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    game = objective(selection="boxes", whole=0.0, look_again=1.0)
    compress, generate = game.codec.compress, game.codec.generator.forward
    shown: list[Tensor] = []
    made: list[Tensor] = []
    heat: list[Tensor] = []

    def watched(picture: Tensor, quality: Tensor, coded: Tensor) -> object:
        shown.append(picture)
        heat.append(coded)
        return compress(picture, quality, coded)

    def drawn(latent: Tensor, quality: Tensor, labels: Tensor) -> Tensor:
        made.append(generate(latent, quality, labels=labels))
        return made[-1]

    monkeypatch.setattr(game.codec, "compress", watched)
    monkeypatch.setattr(game.codec.generator, "forward", drawn)
    x = batch()["image"]
    game.loss("codec", batch(), 0)
    assert len(shown) == 2 and torch.equal(shown[0], x) and torch.equal(heat[0], heat[1])
    inside = torch.nn.functional.interpolate(heat[0], scale_factor=16.0).bool()
    assert torch.equal(shown[1], torch.where(inside, x, made[0].clamp(0, 1)))
    assert not made[0].requires_grad and made[1].requires_grad


def test_the_guide_counts_everywhere(objective: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = torch.rand(1, 3, 128, 128, requires_grad=True)
    game = objective(selection="boxes", whole=0.0, adversarial=0.0, matching=0.0, perceptual=1.0, guide=True)
    monkeypatch.setattr(game, "_reconstruct", lambda *_: (made, torch.zeros(1)))
    game.loss("codec", batch(1), 0)[0].backward()  # type: ignore[no-untyped-call]
    assert made.grad is not None and (made.grad.abs().amax((1, 3)) > 0).float().mean() > 0.9


@pytest.mark.parametrize(("selection", "low"), [("instances", 0.0), ("boxes", 0.05), ("both", 0.05)])
def test_heat_maps(objective: Make, selection: str, low: float) -> None:
    game = objective(selection=selection, whole=0.0)
    maps = game._heat_maps(batch(40)["map"])
    shares = maps.mean((1, 2, 3))
    assert maps.shape == (40, 1, 8, 8) and ((maps == 0) | (maps == 1)).all()
    assert (shares >= low).all() and shares.mean() < 0.9 and shares.std() > 0.02
    whole = objective(selection=selection, whole=1.0)._heat_maps(batch(3)["map"])
    assert (whole == 1).all()


def test_dplus_changes_the_discriminator_alone(objective: Make) -> None:
    plain, dplus = objective(selection="none", conditional=False), objective(selection="none")
    assert [p.shape for p in plain.parameters("codec")] == [p.shape for p in dplus.parameters("codec")]
    assert plain.codec.generator.label_encoder is None
    assert dplus.discriminator.condition == 3 and plain.discriminator.condition == 0
    assert (dplus._heat_maps(batch()["map"]) == 1).all()


def test_selective_networks_have_a_label_encoder_that_is_silent_without_labels(objective: Make) -> None:
    game = objective()
    generator = game.codec.generator
    assert generator.label_encoder is not None
    latent, quality = torch.randn(1, 16, 4, 4), torch.zeros(1)
    nothing = torch.zeros(1, channels(3), 32, 32)
    assert torch.equal(generator(latent, quality, labels=nothing), generator(latent, quality))


def test_batches_without_maps_are_named(objective: Make) -> None:
    with pytest.raises(DataError, match="maps"):
        objective().loss("codec", {"image": torch.rand(1, 3, 64, 64)}, 0)


@pytest.mark.parametrize("name", ["street", "street_gc", "street_dplus"])
def test_recipes_for_streets_start_from_photo_as_it_is(name: str) -> None:
    """They call fresh what it lacks, and leave nothing of it out that is no player's of its own."""
    folder = Path(__file__).parents[2] / "recipes"
    photo, street = (recipes.load(folder / f"{which}.toml") for which in ("photo", name))
    before = photo.objective_as(CompactSettings).architecture
    after = street.objective_as(SelectiveSettings).codec
    with torch.device("meta"):
        has, needs = CompactModel(before).state_dict(), CompactModel(after).state_dict()
    lacking = {f"codec.{key}" for key in needs.keys() - has.keys()}
    assert all(key.startswith(street.fresh) for key in lacking) and bool(lacking) == bool(after.classes)
    assert has.keys() <= needs.keys() and before.taper == after.taper
    assert all(has[key].shape == value.shape for key, value in needs.items() if key in has)
