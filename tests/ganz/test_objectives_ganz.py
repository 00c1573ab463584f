"""BEGAN's and the reconstruction objective: by hand, and in the real training loop."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganic import models
from ganic.errors import ModelFormatError, RecipeError, TrainingError
from ganic.ganz.codec import Codec
from ganic.ganz.discriminator import Discriminator
from ganic.ganz.export import export_run, weights_of
from ganic.ganz.generator import Generator
from ganic.ganz.latent_coder import RATIO
from ganic.ganz.making import make
from ganic.ganz.model import Config
from ganic.ganz.objective import BeganObjective, Equilibrium, reconstruction_error
from ganic.ganz.recipe import build
from ganic.ganz.reconstruction import ReconstructionObjective, laplace_bits
from ganic.training import loop, recipes


def began() -> BeganObjective:
    torch.manual_seed(0)
    return BeganObjective(Generator(4, 16, 4), Discriminator(4, 16, 4))


def batch(size: int = 16, count: int = 4) -> dict[str, Tensor]:
    return {"image": torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))}


def test_k_by_hand() -> None:
    equilibrium = Equilibrium(gamma=0.5, gain=0.1)
    # k <- k + 0.1 (0.5 * 0.4 - 0.1) = 0.01; M = 0.4 + |0.2 - 0.1|
    assert math.isclose(equilibrium.update(0.4, 0.1), 0.5)
    assert math.isclose(float(equilibrium.k), 0.01, rel_tol=1e-6)
    equilibrium.update(0.4, 0.25)  # 0.01 + 0.1 (0.2 - 0.25)
    assert math.isclose(float(equilibrium.k), 0.005, rel_tol=1e-5)
    equilibrium.update(0.0, 1.0)  # would be negative
    assert float(equilibrium.k) == 0
    equilibrium.update(50.0, 0.0)  # would be above one
    assert float(equilibrium.k) == 1
    assert "k" in equilibrium.state_dict()


def test_losses_are_those_of_the_paper() -> None:
    objective, images = began(), batch()
    objective.equilibrium.k.fill_(0.3)
    torch.manual_seed(7)
    loss, stats = objective.loss("discriminator", images, 0)
    torch.manual_seed(7)
    z = torch.rand(4, 4) * 2 - 1
    d, real, fake = objective.discriminator, images["image"], objective.generator(z).detach()
    true_error = (real - d(real)).abs().mean()
    made_error = (fake - d(fake)).abs().mean()
    assert torch.allclose(loss, true_error - 0.3 * made_error)
    assert torch.allclose(stats["real"], true_error) and torch.allclose(stats["fake"], made_error)
    torch.manual_seed(7)
    loss, stats = objective.loss("generator", images, 0)
    assert torch.allclose(loss, made_error) and torch.allclose(reconstruction_error(d, fake), made_error)


def test_each_player_has_its_own_gradients_and_the_discriminator_goes_first() -> None:
    objective, images = began(), batch()
    assert tuple(objective.players(0)) == ("discriminator", "generator")
    own = {player: {id(p) for p in objective.parameters(player)} for player in objective.players(0)}
    assert not own["discriminator"] & own["generator"]
    loss, _ = objective.loss("discriminator", images, 0)
    loss.backward()
    assert all(p.grad is None for p in objective.parameters("generator"))
    # A step of D between the two losses must not break G's backward pass, as it does in the authors' code.
    torch.optim.SGD(objective.parameters("discriminator"), 0.1).step()
    loss, _ = objective.loss("generator", images, 0)
    loss.backward()
    assert all(p.grad is not None for p in objective.parameters("generator"))


def test_k_moves_after_each_step() -> None:
    objective = began()
    objective.after_step(0, {"discriminator/real": 0.4, "generator/fake": 0.1, "discriminator/fake": 9.0})
    assert math.isclose(float(objective.equilibrium.k), 1e-4, rel_tol=1e-4)
    assert objective.samples(batch(count=2), 0).shape == (16 + 2 + 2, 3, 16, 16)


def test_laplace_bits_are_those_of_rounded_laplace_variables() -> None:
    scale = 3.0
    rate = math.sqrt(2) / scale
    values = torch.arange(-6.0, 7.0, dtype=torch.float64)

    def below(x: float) -> float:
        return 0.5 * math.exp(rate * x) if x < 0 else 1 - 0.5 * math.exp(-rate * x)

    expected = [-math.log2(below(v + 0.5) - below(v - 0.5)) for v in values.tolist()]
    assert np.allclose(laplace_bits(values, torch.tensor(scale)).numpy(), expected, rtol=1e-6)
    halves = torch.tensor([0.25, -0.4, 0.5, 1.75], dtype=torch.float64)
    expected = [-math.log2(below(v + 0.5) - below(v - 0.5)) for v in halves.tolist()]
    assert np.allclose(laplace_bits(halves, torch.tensor(scale)).numpy(), expected, rtol=1e-6)


def test_laplace_bits_have_finite_gradients_everywhere() -> None:
    values = torch.tensor([0.0, 0.5, 3.0, -1e4, 1e6], requires_grad=True)
    scales = torch.tensor([1e-4, 0.1, 1.0, 1e-3, 1e3], requires_grad=True)
    bits = laplace_bits(values, scales)
    bits.sum().backward()
    assert torch.isfinite(bits).all() and bits.max() <= 24
    for tensor in (values, scales):
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all()


def reconstruction(adversarial: float = 0.0, nested: float = 0.25) -> ReconstructionObjective:
    torch.manual_seed(0)
    discriminator = Discriminator(4, 16, 4) if adversarial else None
    generator = Generator(4, 16, 4, "preserving")
    return ReconstructionObjective(
        generator, discriminator, encoder_features=4, nested=nested, adversarial=adversarial
    )


def test_reconstruction_players() -> None:
    plain, game = reconstruction(), reconstruction(0.1)
    assert tuple(plain.players(0)) == ("codec",) and tuple(game.players(0)) == ("discriminator", "codec")
    assert "discriminator" not in plain.networks and "discriminator" in game.networks
    images = batch()
    loss, stats = game.loss("codec", images, 0)
    loss.backward()
    assert {"bits", "psnr", "nested_psnr", "fake"} <= set(stats)
    for name in ("generator", "basis", "encoder", "scales"):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in game.networks[name].parameters()), (
            name
        )
    loss, stats = game.loss("discriminator", images, 0)
    assert torch.isfinite(loss) and {"real", "fake", "k"} == set(stats)
    game.after_step(0, {"discriminator/real": 0.4, "codec/fake": 0.1})
    assert float(game.equilibrium.k) > 0
    assert game.samples(images, 0).shape == (16, 3, 16, 16)


def test_reconstruction_loss_by_hand() -> None:
    objective, images = reconstruction(nested=0.0), batch(count=3)
    torch.manual_seed(3)
    loss, _ = objective.loss("codec", images, 0)
    torch.manual_seed(3)
    indices = torch.randint(0, 31, (3, 1))
    step = RATIO ** indices.double()
    coefficients = objective.encoder(images["image"]).detach()
    values = coefficients / step.float() + torch.rand(3, 256) - 0.5
    bits = laplace_bits(values, objective.scales().detach() / step.float()).sum(1)
    made = objective.generator.synthesise(objective.basis(values * step.float()))
    errors = (made - images["image"]).square().flatten(1).sum(1)
    cost = step[:, 0] / RATIO**15 * (bits + 400 * step[:, 0] ** -2 * errors)
    assert math.isclose(float(loss.detach()), float(cost.sum().detach()) / (3 * 768), rel_tol=1e-4)


def test_nesting_keeps_the_most_important_coefficients() -> None:
    objective = reconstruction()
    with torch.no_grad():
        objective.scales.slow_log.copy_(torch.linspace(1, -1, 256)[torch.randperm(256)])
    kept = objective._nest(torch.ones(50, 256), 768) != 0
    counts = kept.sum(1)
    assert counts.min() >= 1 and counts.max() <= 128 and len(set(counts.tolist())) > 10  # R from 6 to 768
    scales = objective.scales().detach()
    for row, count in zip(kept, counts.tolist(), strict=True):
        assert set(row.nonzero().flatten().tolist()) == set(scales.topk(count).indices.tolist())


def test_nesting_in_a_local_basis_keeps_each_pictures_largest_coefficients() -> None:
    generator = Generator(4, 16, width=4, direct=True)
    objective = ReconstructionObjective(generator, None, encoder_features=4, local=True)
    given = torch.randn(30, 256)
    kept = objective._nest(given, 768) != 0
    assert len(set(kept.sum(1).tolist())) > 8
    sizes = objective.basis.sizes(given)
    for row, size in zip(kept, sizes, strict=True):
        assert set(row.nonzero().flatten().tolist()) == set(size.topk(int(row.sum())).indices.tolist())


def recipe(folder: Path, objective: dict[str, object], players: list[str]) -> recipes.Recipe:
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for i in range(6):
        coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        coarse.resize((20, 20), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return recipes.parse(
        {
            "name": "toy",
            "system": "ganz",
            "steps": 3,
            "batch": 4,
            "crop": 16,
            "precision": "fp32",
            "sample_every": 3,
            "log_every": 1,
            "data": {"sources": [str(folder)]},
            "players": {player: {"kind": "adam", "lr": 1e-3} for player in players},
            "objective": {
                "latent_dim": 4,
                "width": 4,
                "encoder_features": 4,
                "pictures": 6,
                "search_steps": 2,
            }
            | objective,
        }
    )


@pytest.mark.parametrize(
    "objective, players",
    [
        ({"kind": "began"}, ["discriminator", "generator"]),
        ({"kind": "reconstruction", "adversarial": 0.1, "narrowing": [3]}, ["discriminator", "codec"]),
    ],
)
def test_training_and_export(
    tmp_path: Path, objective: dict[str, object], players: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganic.ganz import making
    from ganic.ganz.budget import Settings

    monkeypatch.setattr(making, "SEARCH", Settings(steps=4, finish=0.5))  # h0 maps need hundreds
    chosen = recipe(tmp_path / "data", objective, players)
    result = loop.train(chosen, build(chosen), tmp_path / "run", device="cpu", quiet=True)
    assert result.finished and result.step == 3
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = [r for r in records if f"{players[0]}/k" in str(r)]
    assert last
    said: list[str] = []
    info = export_run(tmp_path / "run", tmp_path / "toy.safetensors", "toy", card="# Toy", say=said.append)
    assert info.system == "ganz" and info.card == "# Toy" and said
    codec = Codec.load(info.path, precision="fp32")
    assert list(codec.model.config.narrowing) == objective.get("narrowing", [])
    picture = Image.open(tmp_path / "data" / "0.png").convert("RGB").crop((0, 0, 16, 16))
    data = codec.encode(picture, quality=0.2, steps=2)
    assert codec.decode(data).size == (16, 16)
    assert (codec.model.encoder is None) == (objective["kind"] == "began")
    # Training can go on from the model: what it holds of the run's networks, it holds whole.
    networks = build(chosen).networks.state_dict()
    weights = weights_of(models.load(info.path))
    held = {name.partition(".")[0] for name in weights}
    assert held == (
        {"generator"} if objective["kind"] == "began" else {"generator", "basis", "encoder", "scales"}
    )
    assert weights.keys() == {name for name in networks if name.partition(".")[0] in held}
    assert all(weights[name].shape == networks[name].shape for name in weights)


def test_wrong_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"objective\.kind"):
        build(recipe(tmp_path / "data", {"kind": "gan"}, ["generator"]))
    with pytest.raises(RecipeError, match=r"objective: .*steps: \[5, 64\]"):
        build(recipe(tmp_path / "data", {"kind": "reconstruction", "steps": [5, 64]}, ["codec"]))
    with pytest.raises(RecipeError, match=r"objective: .*lapped: .* direct is false"):
        build(recipe(tmp_path / "data", {"kind": "reconstruction", "lapped": True}, ["codec"]))
    with pytest.raises(TrainingError, match="folder of a training run"):
        export_run(tmp_path, tmp_path / "x.safetensors", "x")


def test_models_of_other_networks_are_refused(pictures: Tensor) -> None:
    with pytest.raises(ModelFormatError, match="generator"):
        make(reconstruction().networks.state_dict(), Config(4, 32, 8, 4), pictures)


def test_the_shipped_recipes_are_valid() -> None:
    folder = Path(__file__).parents[2] / "recipes"
    found = sorted(folder.glob("ganz_*.toml"))
    assert len(found) >= 4
    for path in found:
        loaded = recipes.load(path)
        with torch.device("meta"):
            objective = build(loaded)
        assert set(objective.players(0)) == set(loaded.players), path.name
