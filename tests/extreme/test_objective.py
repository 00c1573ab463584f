"""The compact objective: its stages, and d term by term against plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_msssim
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ganic import models
from ganic.errors import DataError, RecipeError
from ganic.extreme.distortion import CHANCE, SPREAD, Distortion, DistortionWeights, regularity, unevenness
from ganic.extreme.export import weights_of
from ganic.extreme.model import Architecture
from ganic.extreme.objective import (
    FACTORS,
    TYPICAL,
    CompactSettings,
    GenerativeCompression,
    quality_for,
    trade_off,
)
from ganic.extreme.recipe import build, check, table_of
from ganic.extreme.shades import PRICE, add_shades, far_kernel, fitted, from_rgb, step_of, to_rgb
from ganic.extreme.symbol_costs import nearest_symbols, symbol_bits
from ganic.metrics.artefacts import grid, screen
from ganic.metrics.perceptual import SqueezeNetDistance
from ganic.metrics.pixels import Pixels
from ganic.training import recipes

Make = Callable[..., GenerativeCompression]


@pytest.fixture
def objective(small_architecture: Architecture) -> Make:
    def make(*, asked: bool = False, **settings: Any) -> GenerativeCompression:
        torch.manual_seed(0)
        return GenerativeCompression(
            CompactSettings(
                architecture=small_architecture,
                discriminator_widths=(8, 8),
                discriminator_latent=3,
                **settings,
            ),
            asked=asked,
        )

    return make


def pictures(n: int = 2, side: int = 128) -> Tensor:
    torch.manual_seed(1)
    return F.interpolate(torch.rand(n, 3, side // 8, side // 8), size=(side, side), mode="bicubic").clamp(
        0, 1
    )


def test_lambda_is_log_linear_between_its_ends() -> None:
    values = trade_off(torch.tensor([0.0, 127.5, 255.0]), 1e-4, 1e-2)
    assert values.tolist() == pytest.approx([1e-4, 1e-3, 1e-2], rel=1e-5)
    assert quality_for(values, 1e-4, 1e-2).tolist() == pytest.approx([0, 127.5, 255], abs=1e-3)


def test_every_term_of_d() -> None:
    x, y = pictures(4, 128), pictures(4, 128).flip(3)
    d = Distortion(DistortionWeights(mse=2, shading=3, perceptual=5, texture=7, featured=0.5))
    terms = d(x, y)
    assert {name: len(term) for name, term in terms.items()} == {
        "mse": 4,
        "shading": 4,
        "perceptual": 2,
        "texture": 2,
    }
    error = (x - y).double()
    assert terms["mse"].tolist() == pytest.approx((2 * error.square().mean((1, 2, 3))).tolist(), rel=1e-5)
    blocks = error.reshape(4, 3, 16, 8, 16, 8).mean((3, 5))
    assert terms["shading"].tolist() == pytest.approx(
        (3 * blocks.square().mean((1, 2, 3))).tolist(), rel=1e-4
    )
    distance = SqueezeNetDistance()(x[:2], y[:2])
    assert terms["perceptual"].tolist() == pytest.approx((5 * distance).tolist(), rel=1e-4)
    assert (terms["texture"] > 0).all()
    assert all((term.abs() < 1e-4).all() for term in d(x, x).values())


def test_structure_is_what_ms_ssim_lacks() -> None:
    x, y = pictures(2, 176), pictures(2, 176).flip(3)
    d = Distortion(DistortionWeights(structure=4, perceptual=0, texture=0))
    expected = 4 * (1 - pytorch_msssim.ms_ssim(x, y, data_range=1, size_average=False))
    assert d(x, y)["structure"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    with pytest.raises(DataError, match=r"160x176 .* crop at least 161"):
        d(x[..., :160], y[..., :160])


def test_excess_sees_screens_and_noise_but_no_blur() -> None:
    torch.manual_seed(0)
    x = (0.5 + 0.05 * torch.randn(1, 3, 96, 96)).expand(4, -1, -1, -1)
    screen = 0.02 * torch.tensor([1.0, 1, -1, -1]).repeat(96, 24)
    y = torch.stack([x[0], x[0] + screen, 2 * x[0] - 0.5, F.avg_pool2d(x[0], 3, 1, 1)])
    d = Distortion(DistortionWeights(excess=2, perceptual=0, texture=0))
    same, lines, louder, blurred = d(x, y)["excess"].tolist()
    assert same == 0 and blurred < 0.01 * louder
    # All powers four times as large, but the least: rounding's floor is under both.
    assert louder == pytest.approx(2 * (math.log(4) - CHANCE) ** 2, rel=0.02)
    assert lines > 20 * d(x[:1], x[:1] + 0.02 * torch.randn(1, 3, 96, 96))["excess"].item()
    with pytest.raises(DataError, match=r"48x96 .* crop at least 64"):
        d(x[..., :48], y[..., :48])


def eight_bit(picture: torch.Tensor) -> Pixels:
    """One picture [3, h, w] in [0, 1] as `ganic.metrics` takes it."""
    return (255 * picture.detach()).round().byte().permute(1, 2, 0).numpy()


def test_unevenness_is_the_variance_of_the_phases_that_grid_measures() -> None:
    torch.manual_seed(0)
    x = torch.rand(3, 3, 49, 65)
    y = x + 0.02 * torch.randn_like(x)
    y[:, :, :, 7::16] += 0.1  # a column in 16, on every row
    residual = (y - x).double().mean(1).numpy()
    expected = 0.0
    for steps in (np.abs(np.diff(residual, axis=2)).mean(1), np.abs(np.diff(residual, axis=1)).mean(2)):
        phases = np.stack([steps[:, p::16][:, : steps.shape[1] // 16].mean(1) for p in range(16)], axis=1)
        expected += (phases / phases.mean(1, keepdims=True)).mean(0).var()
    assert unevenness(x, y).item() == pytest.approx(expected, rel=0.02)
    assert unevenness(x, x).item() == 0


def trained(term: Callable[[Tensor, Tensor], Tensor], error: Tensor, lr: float) -> tuple[Pixels, ...]:
    """The first of two pictures, and it with its error before and after 50 steps that lower ``term``."""
    x = 0.3 + 0.4 * torch.rand_like(error)
    y = (x + error).requires_grad_()
    optimiser = torch.optim.Adam([y], lr=lr)
    before = eight_bit(y[0])
    for _ in range(50):
        optimiser.zero_grad()
        term(x, y).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return eight_bit(x[0]), before, eight_bit(y[0])


def test_unevenness_falls_where_it_is_trained_on() -> None:
    torch.manual_seed(0)
    error = 0.02 * torch.randn(2, 3, 64, 64)
    error[:, :, ::8] *= 2
    original, before, after = trained(unevenness, error, lr=2e-3)
    assert grid(original, before) > 1.3 and grid(original, after) < 1.12


def test_regularity_is_what_screen_measures() -> None:
    torch.manual_seed(0)
    x = torch.full((2, 3, 64, 96), 0.5)
    y = x + 0.05 * torch.randn_like(x)
    assert regularity(x, y).item() < 0.01 and regularity(x, x).item() == 0
    y[0] += 0.03 * torch.tensor([1.0, -1.0]).repeat(64, 48)  # stripes: the one line of frequency (0, 1/2)
    expected = (math.log(screen(eight_bit(x[0]), eight_bit(y[0]))) - SPREAD) ** 2 / 2
    assert regularity(x, y).item() == pytest.approx(expected, rel=0.02)
    with pytest.raises(DataError, match=r"31x64 .* too few for screen; crop at least 32"):
        regularity(x[..., :31], y[..., :31])


def test_regularity_falls_where_it_is_trained_on() -> None:
    torch.manual_seed(0)
    error = 0.02 * torch.randn(2, 3, 64, 64)
    error[:, :, ::4, ::4] += 0.05
    original, before, after = trained(regularity, error, lr=5e-4)
    assert screen(original, before) > 5 and screen(original, after) < 1.5


def test_errors_count_as_smooth_where_the_original_is() -> None:
    torch.manual_seed(0)
    x = torch.full((1, 3, 16, 16), 0.5)
    x[:, :, :8] += 4 / 255 * torch.tensor([-1.0, 1.0]).repeat(3, 8, 8)  # a deviation of exactly CALM
    error = torch.randn(1, 3, 16, 16) / 255
    d = Distortion(DistortionWeights(mse=1, shading=0, smooth=3, perceptual=0, texture=0))
    squares = error.square()
    expected = 3 * (squares[:, :, :8].mean() / 2 + squares[:, :, 8:].mean()) / 2
    assert d(x, x + error)["smooth"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert d(x, x)["smooth"].item() == 0


def test_colour_is_what_pillow_calls_cb_and_cr() -> None:
    torch.manual_seed(0)
    x = torch.full((1, 3, 16, 16), 100 / 255)
    d = Distortion(DistortionWeights(mse=1, shading=0, colour=3, perceptual=0, texture=0))
    assert d(x, x + 0.1)["colour"].item() == pytest.approx(0, abs=1e-9)  # brighter, of the same colour
    shift = torch.tensor([90, -40, -75])
    other = tuple((100 + shift).tolist())
    _, *chromas = Image.new("RGB", (1, 1), other).convert("YCbCr").getpixel((0, 0))
    noise = torch.randn(1, 3, 2, 8, 2, 8) / 10  # goes away in the mean of a block
    noise -= noise.mean((3, 5), keepdim=True)
    y = x + (shift / 255).view(1, 3, 1, 1) + noise.reshape(1, 3, 16, 16)
    expected = 3 * sum(((c - 128) / 255) ** 2 for c in chromas) / 2
    assert d(x, y)["colour"].item() == pytest.approx(expected, rel=0.02)  # Pillow rounds


def test_texture_forgives_a_shift_that_mse_does_not() -> None:
    """Local statistics of noise hardly change when the noise is another: blur changes them more."""
    torch.manual_seed(0)
    noise, other = torch.rand(2, 1, 3, 128, 128)
    blurred = F.avg_pool2d(F.pad(noise, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    d = Distortion(DistortionWeights(mse=1, shading=0, perceptual=0, texture=1))
    assert d(noise, other)["mse"] > d(noise, blurred)["mse"]
    assert d(noise, other)["texture"] < d(noise, blurred)["texture"]


def test_the_distortion_stage_trains_everything(objective: Make) -> None:
    game = objective(texture=0.0)
    assert list(game.networks) == ["codec"] and game.players(0) == ("codec",)
    loss, stats = game.loss("codec", {"image": pictures()}, 0)
    parts = {name: stats[name].detach() for name in ("rate", "mse", "shading", "perceptual")}
    assert loss.item() == pytest.approx(float(torch.stack(list(parts.values())).sum()), rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in game.parameters("codec"))


def asked_for(*rates: float, level: float = 100.0) -> dict[str, Tensor]:
    return {
        "image": pictures(len(rates)),
        "rate": torch.tensor(rates),
        "level": torch.full((len(rates),), level),
        "weight": torch.ones(len(rates)),
    }


def test_rates_that_are_asked_for_decide_quality_and_weight(objective: Make) -> None:
    game = objective(asked=True, lambda_low=1e-4, lambda_high=1e-2, shading=0.0, perceptual=0.0, texture=0.0)
    assert game.asking is not None
    game.asking.factor.fill_(0.1)
    batch = asked_for(0.1, 0.1) | {"level": torch.tensor([1e9, 100.0])}
    assert game._quality(batch).tolist() == pytest.approx([0, 127.5], abs=1e-3)  # lambda = 0.1 / 100
    assert game._quality(asked_for(0.1, level=1e-3)).tolist() == [255]
    # Half the rate: the picture counts twice, its bits and its errors.
    sums = []
    for rates in ((0.2, 0.2), (0.1, 0.1)):
        torch.manual_seed(5)
        loss, stats = game.loss("codec", asked_for(*rates), 0)
        sums.append((loss.item(), stats["rate"].item(), stats["paid"].item()))
        assert stats["rate"].item() == pytest.approx(TYPICAL / rates[0] * stats["bpp"].item(), rel=1e-5)
        assert stats["paid"].item() == pytest.approx(stats["bpp"].item() / rates[0], rel=1e-5)
    assert [2 * value for value in sums[0]] == pytest.approx(list(sums[1]), rel=1e-5)


def test_where_rates_are_asked_for_only_squared_errors_count_by_lambda(objective: Make) -> None:
    terms = {"perceptual": 3.0, "texture": 0.0, "shading": 0.0}
    game = objective(asked=True, lambda_low=1e-4, lambda_high=1e-2, balance=0.25, **terms)
    batch = asked_for(0.05, 0.2) | {"level": torch.tensor([37.0, 370.0])}  # lambda = 0.37 / level
    batch["weight"] = torch.tensor([0.5, 1.5])
    torch.manual_seed(5)
    _, stats = game.loss("codec", batch, 0)
    torch.manual_seed(5)
    d = game.distortion(batch["image"], game.codec(batch["image"], game._quality(batch)).picture.float())
    weights = [0.5 * TYPICAL / 0.05 * 1e-2, 1.5 * TYPICAL / 0.2 * 1e-3]
    squares = sum(w * v for w, v in zip(weights, d["mse"].tolist(), strict=True)) / 2
    assert stats["mse"].item() == pytest.approx(squares * 255**2 / 150, rel=1e-4)
    others = (batch["weight"] * torch.tensor([2**0.25, 0.5**0.25]) * d["perceptual"]).mean().item()
    assert stats["perceptual"].item() == pytest.approx(others, rel=1e-4)


def test_terms_of_d_may_count_more_where_there_are_more_bits_or_less(objective: Make) -> None:
    terms = {"texture": 0.0, "shading": 700.0, "slopes": {"perceptual": 0.5, "shading": -1.0}}
    sums = []
    for rate in (TYPICAL, 4 * TYPICAL):
        game = objective(asked=True, lambda_low=1e-4, lambda_high=1e-2, balance=0.25, **terms)
        torch.manual_seed(5)
        _, stats = game.loss("codec", asked_for(rate), 0)  # the same picture and quality
        sums.append({name: stats[name].item() for name in ("mse", "shading", "perceptual", "bpp")})
    assert sums[1]["bpp"] == sums[0]["bpp"]
    assert sums[1]["mse"] == pytest.approx(sums[0]["mse"] / 4, rel=1e-5)  # as bits do
    assert sums[1]["shading"] == pytest.approx(sums[0]["shading"] / 16, rel=1e-5)
    assert sums[1]["perceptual"] == pytest.approx(2 * sums[0]["perceptual"], rel=1e-5)


def test_the_game_counts_less_where_there_are_more_bits(objective: Make) -> None:
    settings = {"stage": "joint", "texture": 0.0, "perceptual": 0.0, "adversarial": 0.3, "matching": 0.7}
    sums = []
    for balance, rates in ((0.0, (0.1, 0.1)), (0.5, (0.1, 0.1)), (0.5, (0.4, 0.4))):
        torch.manual_seed(5)
        _, stats = objective(asked=True, game_balance=balance, **settings).loss("codec", asked_for(*rates), 0)
        sums.append([stats[name].item() for name in ("adversarial", "matching")])
    assert sums[1] == pytest.approx(sums[0], rel=1e-5)
    assert sums[2] == pytest.approx([value / 2 for value in sums[0]], rel=1e-5)


def test_the_game_may_be_played_in_some_steps_and_counts_as_often(objective: Make) -> None:
    batch = {"image": pictures()}

    def turn(step: int, every: int) -> tuple[GenerativeCompression, dict[str, float]]:
        game = objective(stage="generator", texture=0.0, perceptual=0.0, adversarial=0.3, game_every=every)
        _, stats = game.loss("generator", batch, step)
        return game, {name: float(value.detach()) for name, value in stats.items()}

    game, once = turn(3, 1)
    assert game.players(3) == ("generator", "discriminator")
    game, third = turn(3, 3)
    assert game.players(3) == ("generator", "discriminator")
    for name in ("adversarial", "matching"):
        assert third[name] == pytest.approx(3 * once[name], rel=1e-5)
    game, without = turn(4, 3)
    assert game.players(4) == ("generator",)
    assert without.keys() == once.keys() - {"adversarial", "matching"}
    assert without["mse"] == pytest.approx(once["mse"], rel=1e-5)


def test_quality_follows_what_pictures_take(objective: Make) -> None:
    """A picture that takes twice what it was asked for is coded worse from then on, and the other way."""
    game = objective(asked=True)
    assert game.asking is not None and "asking" in game.networks
    batch = asked_for(0.1)
    before = game._quality(batch).item()
    for paid, sign in ((2.0, -1), (0.5, 1), (0.5, 1)):
        game.after_step(0, {"codec/paid": paid, "codec/loss": 1.0})
        quality = game._quality(batch).item()
        assert sign * (quality - before) > 0
        before = quality
    factor = game.asking.factor.item()
    game.after_step(0, {"codec/paid": 1e9})  # a batch of surprises moves little
    assert 0.9 * factor < game.asking.factor.item() < factor
    for paid, end in ((0.0, FACTORS[1]), (3.0, FACTORS[0])):  # rates that no quality reaches
        for _ in range(1000):
            game.asking.hear(paid)
        assert game.asking.factor.item() == pytest.approx(end)


@pytest.mark.parametrize("stage", ["distortion", "joint"])
def test_the_codec_is_called_as_a_whole(objective: Make, stage: str) -> None:
    """What a recipe's ``compile`` compiles is its call."""
    game = objective(stage=stage, perceptual=0.0, texture=0.0)
    calls: list[int] = []
    game.codec.register_forward_hook(lambda *_: calls.append(1))
    game.loss("codec", {"image": pictures()}, 0)
    assert calls == [1]


def test_the_joint_stage_trains_everything_in_the_game(objective: Make) -> None:
    game = objective(stage="joint", texture=0.0, adversarial=0.3, matching=0.7)
    assert game.players(0) == ("codec", "discriminator")
    loss, stats = game.loss("codec", {"image": pictures()}, 0)
    parts = ("rate", "mse", "shading", "perceptual", "adversarial", "matching")
    assert loss.item() == pytest.approx(sum(float(stats[name].detach()) for name in parts), rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in game.parameters("codec"))
    game.codec.zero_grad(set_to_none=True)
    loss, stats = game.loss("discriminator", {"image": pictures()}, 0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss) and "margin" in stats
    assert all(p.grad is None for p in game.parameters("codec"))
    assert all(p.grad is not None for p in game.parameters("discriminator"))


def test_a_run_that_goes_on_looks_from_where_it_would_have_looked(objective: Make) -> None:
    """The trunk's phase follows from torch's generator as a step begins: what a checkpoint has."""
    game, again, batch = objective(texture=0.0), objective(texture=0.0), {"image": pictures()}
    for step in range(3):
        game.loss("codec", batch, step)
        game.after_step(step, {})
    state = torch.get_rng_state()
    expected = game.loss("codec", batch, 3)[0].item()
    assert game.distortion.eyes.phase != (0, 0)
    torch.set_rng_state(state)
    assert again.loss("codec", batch, 3)[0].item() == expected


def test_settings_that_come_to_nothing_are_refused() -> None:
    folder = Path(__file__).parents[2] / "recipes"

    def problem(name: str, *overrides: str) -> str:
        with pytest.raises(RecipeError) as caught:
            build(recipes.load(folder / f"{name}.toml", overrides))
        return str(caught.value)

    assert "crop: 224; a multiple of 64" in problem("photo_joint", "crop=224")
    assert "compile: codec is not called" in problem("photo", 'compile=["codec"]')
    assert "compile: codec is not called" in problem("street", 'compile=["codec"]')
    assert "compile: discriminator is not called" in problem("photo_joint", 'compile=["discriminator"]')
    assert "architecture.latent" in problem("photo_joint", "objective.architecture.latent=130")
    assert "architecture.latent" in problem("photo_joint", "objective.architecture.latent=388")
    assert "architecture.noise" in problem("photo_joint", "objective.architecture.noise=1")
    assert "lambda_low" in problem("photo_joint", "objective.lambda_low=0")
    assert "lambda_high" in problem("street", "objective.lambda_high=0")
    assert "game_balance: needs data.rates" in problem("photo_distortion", "objective.game_balance=0.5")
    assert "slopes: needs data.rates" in problem("photo_distortion", "objective.slopes.shading=1")
    assert "no term of d is called shade; there" in problem("photo_joint", "objective.slopes.shade=1")
    assert "weight_decay is not for muon" in problem("photo_joint", "players.codec.weight_decay=0.1")


@pytest.mark.parametrize("name", ["photo_joint", "photo_distortion", "agustsson2019_c8"])
def test_codecs_that_are_called_as_a_whole_may_be_compiled(name: str) -> None:
    folder = Path(__file__).parents[2] / "recipes"
    recipe = recipes.load(folder / f"{name}.toml", ['compile=["codec"]'])
    check(recipe, table_of(recipe))


def test_a_projected_discriminator_plays(objective: Make) -> None:
    game = objective(stage="adversarial", texture=0.0, discriminator="projected", discriminator_width=8)
    batch, phases = {"image": pictures()}, set()
    for step in range(4):
        for player in game.players(step):
            game.networks.zero_grad()
            loss, _ = game.loss(player, batch, step)
            loss.backward()  # type: ignore[no-untyped-call]
            assert loss.isfinite()
            if player == "discriminator":
                assert all(p.grad is not None for p in game.parameters(player))
        game.after_step(step, {})
        phases.add(game.discriminator.eyes.phase)
    assert len(phases) > 1


def test_the_adversarial_stage_moves_the_generator_alone(objective: Make) -> None:
    game = objective(stage="adversarial", texture=0.0)
    assert game.players(0) == ("generator", "discriminator")
    generator = set(map(id, game.parameters("generator")))
    for player in game.players(0):
        mine = list(game.parameters(player))
        for parameter in game.networks.parameters():
            parameter.requires_grad_(any(parameter is p for p in mine))
        loss, stats = game.loss(player, {"image": pictures()}, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(loss) and stats
    moved = {id(p) for p in game.codec.parameters() if p.grad is not None}
    assert moved == generator
    assert game.glance is not None and game.glance.weight.grad is not None
    game.after_step(0, {})
    assert game._seen is None and game._latent is None


def test_the_generator_stage_is_the_joint_one_for_the_generator_alone(objective: Make) -> None:
    """The same loss and the same gradients, but none for encoder and entropy model."""
    settings = {"texture": 0.0, "adversarial": 0.3, "matching": 0.7, "shaded": True}
    batch, found = {"image": pictures()}, {}
    for stage, player in (("joint", "codec"), ("generator", "generator")):
        game = objective(stage=stage, **settings)
        assert game.players(0) == (player, "discriminator")
        loss, stats = game.loss(player, batch, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in game.codec.generator.parameters()]
        found[stage] = loss, stats, gradients
    (loss, stats, gradients), (same, alike, others) = found["joint"], found["generator"]
    assert same.item() == pytest.approx(loss.item(), rel=1e-6)
    assert {name: float(value.detach()) for name, value in alike.items()} == pytest.approx(
        {name: float(value.detach()) for name, value in stats.items()}, rel=1e-5
    )
    for one, other in zip(gradients, others, strict=True):
        assert one is not None and other is not None
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-7)
    moved = {id(p) for p in game.codec.parameters() if p.grad is not None}
    assert moved == set(map(id, game.parameters("generator")))


def test_the_encoder_stage_is_the_first_one_for_the_encoder_alone(objective: Make) -> None:
    batch, found = {"image": pictures()}, {}
    for stage, player in (("distortion", "codec"), ("encoder", "encoder")):
        game = objective(stage=stage, texture=0.0, shaded=True)
        assert game.players(0) == (player,)
        mine = {id(p) for p in game.parameters(player)}
        for parameter in game.networks.parameters():
            parameter.requires_grad_(id(parameter) in mine)
        loss, _ = game.loss(player, batch, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        found[stage] = loss.item(), [p.grad for p in game.codec.encoder.parameters()]
    assert {id(p) for p in game.codec.parameters() if p.grad is not None} == mine
    assert mine == set(map(id, game.codec.encoder.parameters()))
    (loss_, gradients), (same, others) = found["distortion"], found["encoder"]
    assert same == pytest.approx(loss_, rel=1e-6)
    for one, other in zip(gradients, others, strict=True):
        assert one is not None and other is not None
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-7)


def test_the_prior_stage_moves_the_entropy_model_alone(objective: Make) -> None:
    game = objective(stage="prior")
    assert list(game.networks) == ["codec"] and game.players(0) == ("prior",)
    prior = set(map(id, game.codec.prior.parameters()))
    loss, stats = game.loss("prior", {"image": pictures()}, 0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(float(stats["rate"].detach() + stats["latent"].detach()), rel=1e-6)
    moved = {id(p) for p in game.codec.parameters() if p.grad is not None}
    assert moved == prior == set(map(id, game.parameters("prior")))


def test_the_shades_stage_moves_shades_alone(objective: Make) -> None:
    game = objective(stage="shades")
    assert list(game.networks) == ["codec", "shades"] and game.players(0) == ("shades",)
    assert game.ema_of == ("codec", "shades")
    loss, stats = game.loss("shades", {"image": pictures()}, 0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(float(stats["afar"].detach() + stats["rate"].detach()), rel=1e-6)
    assert all(p.grad is None for p in game.codec.parameters())
    moved = {id(p) for p in game.shades.parameters() if p.grad is not None}
    assert moved == set(map(id, game.parameters("shades")))
    assert torch.equal(game.shades.afar.kernel, far_kernel(game.codec.generator.linear))


def test_shades_that_know_the_picture_have_no_error(objective: Make) -> None:
    """Where G draws its linear path's picture; and what is missing then is told in bits, by hand."""
    game = objective(stage="shades", shades=(8.0, 2.0))
    torch.nn.init.zeros_(game.codec.generator.out.weight)
    x = pictures()
    torch.manual_seed(4)
    quality = torch.rand(len(x)) * 255
    with torch.no_grad():
        y = game.codec(x, quality).picture
        torch.manual_seed(4)
        _, stats = game.loss("shades", {"image": x}, 0)
        missing = fitted(from_rgb(F.avg_pool2d(x - y, 16)))
        values = missing / torch.stack([step_of(q, (8.0, 2.0)) for q in quality])[:, :, None, None]
        index = torch.round(64 * game.shades.index(quality)).expand_as(values)
        bits = symbol_bits(nearest_symbols(values, index, PRICE), index).sum((1, 2, 3))
        expected = (game.importance(quality) * bits).mean() / (x.shape[2] * x.shape[3])
    assert stats["afar"].item() < 1e-4
    assert stats["rate"].item() == pytest.approx(expected.item(), rel=1e-3)


def test_pictures_may_be_judged_with_their_shades(objective: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    game = objective(
        stage="distortion", shaded=True, shades=(2.0, 2.0), texture=0.0, perceptual=0.0, shading=0.0
    )
    assert list(game.networks) == ["codec", "shades"] and game.ema_of == ("codec",)
    torch.nn.init.constant_(game.shades.index.anchors, 0.4)
    x = pictures()
    quality = torch.tensor([30.0, 180.0])
    with torch.no_grad():
        out = game.codec(x, quality)
        values = (
            fitted(from_rgb(F.avg_pool2d(x - out.picture, 16)))
            / step_of(quality, (2.0, 2.0)).T[..., None, None]
        )
        index = torch.round(64 * game.shades.index(quality)).expand_as(values)
        symbols = nearest_symbols(values, index, PRICE)
        assert symbols.any()
        y = out.picture.clone()
        for n in range(len(x)):
            added = to_rgb(symbols[n] * step_of(quality[n], (2.0, 2.0))[:, None, None])
            add_shades(shown := y[n].permute(1, 2, 0).contiguous(), added, 0, 0)
            y[n] = shown.permute(2, 0, 1)
        weight = game.importance(quality)
        bits = out.prior.bits + symbol_bits(symbols, index).sum((1, 2, 3))
        monkeypatch.setattr(game, "_quality", lambda batch: quality)
        stats = game.loss("codec", {"image": x}, 0)[1]
        assert stats["rate"].item() == pytest.approx((weight * bits / 128**2).mean().item(), rel=1e-3)
        mse = (weight * trade_off(quality, 3e-5, 6e-3) * (255 * (y - x)).square().mean((1, 2, 3))).mean()
        assert stats["mse"].item() == pytest.approx(mse.item(), rel=1e-3)
    learns = set(map(id, game.parameters("codec")))
    assert not learns & set(map(id, game.shades.parameters()))
    with pytest.raises(ValueError, match="shaded"):
        objective(stage="prior", shaded=True)


def test_errors_of_shades_are_measured_as_white_noise(objective: Make) -> None:
    """A constant error e counts (1 + 4 + 16) e**2 of what there is to mend; a fine one, e**2."""
    game = objective(stage="shades")
    torch.nn.init.zeros_(game.codec.generator.out.weight)
    x = pictures()

    def error(bias: float) -> float:
        torch.nn.init.constant_(game.shades.afar.out.bias, bias)  # type: ignore[arg-type]
        torch.manual_seed(4)
        with torch.no_grad():
            return float(game.loss("shades", {"image": x}, 0)[1]["afar"])

    torch.manual_seed(4)
    quality = torch.rand(len(x)) * 255
    with torch.no_grad():
        missing = F.avg_pool2d(x - game.codec(x, quality).picture, 64).square().mean((1, 2, 3)) * 255**2
    expected = (21 * 3**2 * 0.5**2 / (missing + 0.3)).mean().item()
    assert error(0.5) == pytest.approx(expected, rel=1e-3)  # three halves of a grey level


def test_what_a_squared_step_of_the_latent_is_worth(objective: Make) -> None:
    """With the latent's bits as they are, twice the worth is twice the error's term: 6 / ln 2 of them."""
    game = objective(stage="prior")
    x = pictures()
    torch.manual_seed(4)
    quality = torch.rand(len(x)) * 255
    with torch.no_grad():
        y = game.codec.gained(x, quality)
        error = (game.codec.prior(y, quality).latent - y).square().sum((1, 2, 3))
        weight = game.importance(quality) / (x.shape[2] * x.shape[3])
        torch.manual_seed(4)
        _, stats = game.loss("prior", {"image": x}, 0)
    assert stats["latent"].item() == pytest.approx(
        12 / math.log(4) * (weight * error).mean().item(), rel=1e-5
    )


def test_without_a_game_there_is_no_discriminator(objective: Make) -> None:
    game = objective(stage="adversarial", adversarial=0.0, matching=0.0, perceptual=0.0, texture=0.0)
    assert list(game.networks) == ["codec"] and game.players(0) == ("generator",)
    _, stats = game.loss("generator", {"image": pictures()}, 0)
    assert set(stats) == {"bpp", "mse", "shading"}


def test_recipes_fit_the_shipped_model() -> None:
    """That for own pictures has all of its networks, its discriminator among them, but shades."""
    shapes = {}
    for name in ("yours", "shades"):
        recipe = recipes.load(Path(__file__).parents[2] / "recipes" / f"photo_{name}.toml")
        with torch.device("meta"):
            networks = build(recipe).networks.state_dict()
        shapes |= {name: value.shape for name, value in networks.items() if not name.startswith("asking.")}
    weights = weights_of(models.load("photo"))
    assert shapes == {name: value.shape for name, value in weights.items()}


def test_a_recipe_asks_for_rates_where_its_objective_can() -> None:
    folder = Path(__file__).parents[2] / "recipes"
    asks = ["data.rates=[0.03, 0.3]"]
    with torch.device("meta"):
        assert "asking" in build(recipes.load(folder / "photo_distortion.toml", asks)).networks
    for name in ("street", "agustsson2019_c4"):
        with pytest.raises(RecipeError, match=r"data\.rates: .* does not ask for rates"):
            build(recipes.load(folder / f"{name}.toml", asks))
