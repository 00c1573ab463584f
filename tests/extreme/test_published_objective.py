from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ganic.errors import DataError, RecipeError
from ganic.extreme.discriminator import LabelMaps
from ganic.extreme.published_objective import PublishedObjective, PublishedSettings
from ganic.extreme.published_selective import SelectiveCodec
from ganic.extreme.recipe import build
from ganic.metrics.perceptual import SqueezeNetDistance
from ganic.training import checkpoint, recipes
from ganic.training.loop import train

ROOT = Path(__file__).resolve().parents[2]

SMALL: dict[str, Any] = {
    "channels": 2,
    "width": 4,
    "blocks": 1,
    "discriminator_width": 4,
    "discriminator_scales": 2,
    "entropy_features": 4,
}


def objective(**changes: Any) -> PublishedObjective:
    torch.manual_seed(0)
    return PublishedObjective(PublishedSettings.model_validate({**SMALL, **changes}))


def batch(maps: bool = False) -> dict[str, Tensor]:
    torch.manual_seed(1)
    found = {"image": torch.rand(2, 3, 32, 32)}
    if maps:
        found["map"] = torch.randint(-1, 4, (2, 32, 32))
    return found


def certain(gan: PublishedObjective, logit: float) -> None:
    """Make every logit of D this number."""
    with torch.no_grad():
        for scale in gan.discriminator.scales:
            scale.out.weight.zero_()  # type: ignore[union-attr, operator]
            scale.out.bias.fill_(logit)  # type: ignore[union-attr, operator]


def test_least_squares_by_hand() -> None:
    """f(y) = (y - 1)^2, g(y) = y^2 where D says 0.25 to everything."""
    gan = objective(adversarial=2.0, matching=0.0, mse=0.0, perceptual=0.0)
    certain(gan, 0.25)
    loss, terms = gan.loss("codec", batch(), 0)
    assert terms["adversarial"].item() == loss.item() == pytest.approx(2 * 0.75**2)
    loss, terms = gan.loss("discriminator", batch(), 0)
    assert loss.item() == pytest.approx(0.75**2 + 0.25**2)
    assert terms["margin"].item() == pytest.approx(0, abs=1e-6)


def test_every_term_of_the_codec() -> None:
    gan, x = objective(beta=3.0), batch()["image"]
    loss, terms = gan.loss("codec", batch(), 0)
    with torch.no_grad():
        out = gan.codec(x)
        fake, real = gan.discriminator(out.picture), gan.discriminator(x)
        distance = SqueezeNetDistance()(out.picture, x)
        assert gan.entropy is not None
        bits = gan.entropy(out.quantised)
    original, made = x.double().numpy() * 2 - 1, out.picture.double().numpy() * 2 - 1
    expected = {"mse": 10 * ((original - made) ** 2).mean()}
    expected["adversarial"] = np.mean([((y.double().numpy() - 1) ** 2).mean() for y in fake.logits])
    differences = [
        np.abs(a.double().numpy() - b.double().numpy()).mean()
        for a, b in zip(real.features, fake.features, strict=True)
    ]
    assert len(differences) == 2 * 4
    expected["matching"] = 12 * np.mean([sum(differences[:4]), sum(differences[4:])])
    expected["perceptual"] = 12 * distance.mean().item()
    expected["rate"] = 3 * bits.mean().item() / 32**2
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4), name
    assert loss.item() == pytest.approx(sum(expected.values()), rel=1e-5)
    error = ((original - made) ** 2 / 4).mean((1, 2, 3))
    assert terms["psnr"].item() == pytest.approx((10 * np.log10(1 / error)).mean(), rel=1e-5)


def test_rate_modes() -> None:
    """beta = 0: no model, the bound.  beta > 0: a model, which before training costs exactly the bound."""
    bound = 2 * math.log2(5) / 256
    free, terms = objective(), objective().loss("codec", batch(), 0)[1]
    assert free.entropy is None and "entropy" not in free.networks and free.ema_of == ("codec",)
    assert terms["bpp_bound"].item() == pytest.approx(bound) and "bpp" not in terms and "rate" not in terms
    paid = objective(beta=0.5)
    terms = paid.loss("codec", batch(), 0)[1]
    assert paid.ema_of == ("codec", "entropy")
    assert terms["bpp"].item() == pytest.approx(bound, rel=1e-5)
    assert terms["rate"].item() == pytest.approx(0.5 * bound, rel=1e-5)


def test_rate_term_trains_encoder_and_model_but_not_generator() -> None:
    gan = objective(beta=1.0, adversarial=0.0, matching=0.0, mse=0.0, perceptual=0.0)
    assert gan.entropy is not None
    torch.nn.init.normal_(gan.entropy.factorised)
    gan.loss("codec", batch(), 0)[0].backward()  # type: ignore[no-untyped-call]
    first = gan.codec.encoder.get_parameter("layers.0.0.weight").grad
    assert first is not None and first.abs().amax() > 0
    assert gan.entropy.factorised.grad is not None and gan.entropy.factorised.grad.abs().amax() > 0
    assert all(p.grad is None or not p.grad.any() for p in gan.codec.generator.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"beta": 1.0, "learned_centres": True, "classes": 3, "embedding": 2},
        {"beta": 1.0, "learned_centres": True, "classes": 3, "embedding": 2, "selection": "both"},
    ],
)
def test_every_parameter_has_one_player(changes: dict[str, Any]) -> None:
    gan = objective(**changes)
    assert gan.players(0) == ("codec", "discriminator") and not gan.fresh_batch("discriminator")
    mine, theirs = gan.parameters("codec"), gan.parameters("discriminator")
    everything = {id(p) for p in gan.networks.parameters()}
    assert len(mine) + len(theirs) == len(everything) and {id(p) for p in [*mine, *theirs]} == everything
    assert {id(p) for p in gan.discriminator.parameters()} <= {id(p) for p in theirs}


def test_discriminator_learns_from_the_pictures_the_codec_made() -> None:
    gan = objective()
    gan.loss("codec", batch(), 0)
    gan.loss("discriminator", batch(), 0)[0].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in gan.codec.parameters())
    assert all(p.grad is not None for p in gan.discriminator.parameters())
    gan.after_step(0, {})
    assert gan._seen is None  # no picture is kept between steps


def test_mse_baseline_needs_no_discriminator() -> None:
    gan = objective(adversarial=0.0, matching=0.0, perceptual=0.0)
    assert gan.players(0) == ("codec",)
    loss, terms = gan.loss("codec", batch(), 0)
    assert loss.item() == terms["mse"].item()


@pytest.mark.parametrize("embedding", [0, 2])
def test_label_maps_are_for_the_discriminator_only(embedding: int) -> None:
    gan = objective(classes=3, embedding=embedding)
    data = batch(maps=True)
    other = {**data, "map": data["map"].flip(1)}
    first, second = gan.loss("codec", data, 0)[1], gan.loss("codec", other, 0)[1]
    assert first["mse"] == second["mse"] and first["adversarial"] != second["adversarial"]
    assert gan.loss("discriminator", data, 0)[0] != gan.loss("discriminator", other, 0)[0]
    with pytest.raises(DataError, match=r"data\.maps"):
        gan.loss("codec", batch(), 0)


@pytest.mark.parametrize("mask_perceptual", [True, False])
def test_selective_terms(mask_perceptual: bool) -> None:
    """d and H count the preserved region, L_GAN and feature matching the whole picture."""
    gan = objective(beta=3.0, classes=3, selection="both", mask_perceptual=mask_perceptual)
    assert isinstance(gan.codec, SelectiveCodec) and gan.entropy is not None
    torch.nn.init.normal_(gan.entropy.factorised)
    data = batch(maps=True)
    x = data["image"]
    torch.manual_seed(5)
    heat = gan._heat(data)
    assert heat is not None and 0 < heat.sum() < heat.numel()
    torch.manual_seed(5)
    loss, terms = gan.loss("codec", data, 0)
    with torch.no_grad():
        out = gan.codec(x, data["map"], heat)
        maps = LabelMaps(3)(data["map"])
        fake, real = gan.discriminator(out.picture, maps), gan.discriminator(x, maps)
        inside = F.interpolate(heat, scale_factor=8, mode="nearest")
        pasted = x * (1 - inside) + out.picture * inside
        distance = SqueezeNetDistance()(pasted if mask_perceptual else out.picture, x).mean().item()
        log2_p = gan.entropy.log2_probabilities(out.quantised.values)
        chosen = log2_p.gather(-1, out.quantised.symbols[..., None])[..., 0]
    pixels = inside.double().numpy()
    squared = ((x.double().numpy() - out.picture.double().numpy()) ** 2 * pixels).sum((1, 2, 3))
    expected = {"mse": 10 * 4 * squared.mean() / (3 * 32**2), "perceptual": 12 * distance}
    expected["adversarial"] = np.mean([((y.double().numpy() - 1) ** 2).mean() for y in fake.logits])
    differences = [(a - b).abs().mean().item() for a, b in zip(real.features, fake.features, strict=True)]
    expected["matching"] = 12 * np.mean([sum(differences[:4]), sum(differences[4:])])
    expected["rate"] = -3 * (chosen * heat).sum().item() / (2 * 32**2)
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4), name
    assert loss.item() == pytest.approx(sum(expected.values()), rel=1e-5)
    assert terms["psnr"].item() == pytest.approx(
        np.mean(-10 * np.log10(squared / (3 * pixels.sum((1, 2, 3))))), rel=1e-4
    )
    assert terms["preserved"].item() == pytest.approx(heat.mean().item())
    assert terms["bpp_bound"].item() == pytest.approx(2 * math.log2(5) * heat.sum().item() / (2 * 32**2))


def test_synthesised_pixels_matter_to_the_discriminator_alone() -> None:
    """The gradient of d is 0 in each pixel outside the preserved region; L_GAN's and matching's is not."""
    for weights, whole in (
        ({"adversarial": 0.0, "matching": 0.0}, False),
        ({"mse": 0.0, "perceptual": 0.0, "matching": 0.0}, True),
        ({"mse": 0.0, "perceptual": 0.0, "adversarial": 0.0}, True),
    ):
        gan = objective(classes=3, selection="boxes", **weights)
        made: list[Tensor] = []
        gan.codec.generator.register_forward_hook(lambda module, inputs, y, made=made: made.append(y))
        data = batch(maps=True)
        torch.manual_seed(5)
        heat = gan._heat(data)
        torch.manual_seed(5)
        (gradient,) = torch.autograd.grad(gan.loss("codec", data, 0)[0], made[0])
        assert heat is not None
        outside = F.interpolate(heat, scale_factor=8, mode="nearest").expand_as(gradient) == 0
        assert gradient[~outside].any() and outside.any()
        assert bool(gradient[outside].any()) == whole, weights


def test_heat_maps() -> None:
    """Where all is one instance, RI preserves everything, and RB never does."""
    labels = torch.ones(32, 64, 64, dtype=torch.int64)
    found: dict[str, Tensor] = {}
    for selection in ("instances", "boxes", "both"):
        torch.manual_seed(0)
        heat = objective(classes=3, selection=selection)._heat({"map": labels})
        assert heat is not None and heat.shape == (32, 1, 8, 8)
        found[selection] = heat.mean((1, 2, 3))
    assert found["instances"].eq(1).all()
    assert found["boxes"].lt(0.7).all() and found["boxes"].gt(0).all()
    assert 4 < found["both"].eq(1).sum() < 28
    stripes = torch.arange(64).expand(8, 64, 64) // 8  # eight instances of one eighth each
    for preserved, count in ((0.25, 2), (0.5, 4), (0.6, 5)):
        heat = objective(classes=3, selection="instances", preserved=preserved)._heat({"map": stripes})
        assert heat is not None and (heat.mean((1, 2, 3)) == count / 8).all()


def test_selection_needs_labels() -> None:
    with pytest.raises(ValueError, match="classes must be positive"):
        PublishedSettings(channels=2, selection="boxes")
    gan = objective(classes=3, selection="boxes")
    with pytest.raises(DataError, match=r"data\.maps"):
        gan.loss("codec", batch(), 0)


def test_selective_samples_show_what_is_preserved() -> None:
    gan, data = objective(classes=3, selection="boxes"), batch(maps=True)
    state = torch.get_rng_state()
    shown = gan.samples(data, 0)
    assert torch.equal(torch.get_rng_state(), state), "samples change what is trained next"
    assert shown.shape == (6, 3, 32, 32) and torch.equal(shown[::3], data["image"])
    kept = (shown[1::3] == data["image"]).all(1)
    assert 0 < kept.sum() < kept.numel() and (shown[1::3].permute(0, 2, 3, 1)[~kept] == 0.5).all()
    assert torch.equal(gan.samples(data, 0), shown)


def test_samples_are_pairs() -> None:
    gan = objective(noise=1)
    shown = gan.samples(batch(), 0)
    assert shown.shape == (4, 3, 32, 32) and torch.equal(shown[::2], batch()["image"])
    assert 0 <= shown.amin() <= shown.amax() <= 1 and not shown.requires_grad


def photograph_folder(folder: Path) -> Path:
    """One small real photograph, and a label map of it."""
    (folder / "photos").mkdir()
    (folder / "maps").mkdir()
    with Image.open(ROOT / "tests" / "data" / "photo.webp") as image:
        small = image.convert("RGB").resize((96, 64))
    small.save(folder / "photos" / "a.png")
    small.convert("L").point(lambda level: level // 64).save(folder / "maps" / "a.png")
    return folder


def shrunk(name: str, folder: Path, *changes: str) -> recipes.Recipe:
    objective_table = {k: v for k, v in SMALL.items() if k != "channels"}
    return recipes.load(
        ROOT / "recipes" / f"{name}.toml",
        [
            "steps=2",
            "crop=48",
            "batch=2",
            "log_every=1",
            "sample_every=2",
            "cpu_threads=1",
            "data.exclude=[]",
            "data.test=[]",
            f"data.sources={json.dumps([str(folder / 'photos')])}",
            *(f"objective.{key}={value}" for key, value in objective_table.items()),
            *changes,
        ],
    )


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_recipes_are_the_published_networks(channels: int) -> None:
    recipe = recipes.load(ROOT / "recipes" / f"agustsson2019_c{channels}.toml")
    assert recipe.name == f"agustsson2019_c{channels}" and recipe.system == "extreme"
    settings = recipe.objective_as(PublishedSettings)
    assert settings == PublishedSettings(channels=channels)
    assert (settings.width, settings.blocks, settings.levels, settings.beta) == (60, 9, 5, 0)
    assert {(p.kind, p.lr) for p in recipe.players.values()} == {("adam", 2e-4)}
    assert set(recipe.players) == {"codec", "discriminator"}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dplus", {}),
        ("sc_instances", {"selection": "instances", "preserved": 0.25}),
        ("sc_boxes", {"selection": "boxes"}),
    ],
)
def test_recipes_with_label_maps(name: str, changes: dict[str, Any]) -> None:
    recipe = recipes.load(ROOT / "recipes" / f"agustsson2019_{name}.toml")
    assert recipe.name == f"agustsson2019_{name}" and recipe.system == "extreme"
    assert recipe.objective_as(PublishedSettings) == PublishedSettings(channels=4, classes=11, **changes)
    assert {(p.kind, p.lr) for p in recipe.players.values()} == {("adam", 2e-4)}
    assert set(recipe.players) == {"codec", "discriminator"}
    assert len(recipe.data.maps) == len(recipe.data.sources) == 1 and recipe.crop % 16 == 0


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("agustsson2019_c2", []),
        ("agustsson2019_c4", ["objective.beta=1", "objective.noise=2", "precision=fp32"]),
        ("agustsson2019_dplus", ["objective.embedding=2", "data.maps=[MAPS]"]),
        ("agustsson2019_sc_instances", ["data.maps=[MAPS]"]),
        ("agustsson2019_sc_boxes", ["objective.beta=1", "data.maps=[MAPS]", "precision=fp32"]),
    ],
)
def test_recipes_train(name: str, changes: list[str], tmp_path: Path) -> None:
    photograph_folder(tmp_path)
    maps = json.dumps(str(tmp_path / "maps"))
    recipe = shrunk(name, tmp_path, *(change.replace("MAPS", maps) for change in changes))
    torch.manual_seed(recipe.seed)
    gan = build(recipe)
    assert isinstance(gan, PublishedObjective)
    before = {key: value.clone() for key, value in gan.networks.state_dict().items()}
    threads = torch.get_num_threads()
    try:
        result = train(recipe, gan, tmp_path / "run", device="cpu", quiet=True)
    finally:
        torch.set_num_threads(threads)
    assert result.finished and result.step == 2
    lines = [json.loads(line) for line in result.metrics.read_text().splitlines()]
    steps = [line for line in lines if line["event"] == "step"]
    numbers = [v for line in steps for k, v in line.items() if k.startswith(("codec/", "discriminator/"))]
    assert len(steps) == 2 and all(math.isfinite(v) for v in numbers)
    assert ("codec/bpp" in steps[0]) == ("objective.beta=1" in changes)
    trained = checkpoint.weights(result.checkpoint, averaged=False)
    assert trained.keys() == before.keys()
    moved = {key.split(".")[0] for key, value in trained.items() if not torch.equal(value, before[key])}
    assert moved == {name for name, network in gan.networks.items() if [*network.parameters()]}
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 1


def test_unknown_keys_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"objective\.lambda"):
        build(shrunk("agustsson2019_c2", tmp_path, "objective.lambda=1"))
    with pytest.raises(RecipeError, match=r"objective\.levels"):
        build(shrunk("agustsson2019_c2", tmp_path, "objective.levels=1"))
    with pytest.raises(RecipeError, match=r"classes must be positive"):
        build(shrunk("agustsson2019_c2", tmp_path, "objective.selection=boxes"))
