from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganic.errors import RecipeError
from ganic.jpeg import recipe as jpeg_recipe
from ganic.jpeg.modern_objective import JUDGE_DECAY, Falling, ModernObjective, ModernTable
from ganic.jpeg.objective import PaperObjective, PaperTable
from ganic.jpeg.sampling import Subsampling
from ganic.training import recipes

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("jpeg_*.toml"))


@pytest.fixture
def batch() -> Mapping[str, Tensor]:
    torch.manual_seed(1)
    return {"image": torch.rand(3, 3, 32, 32), "label": torch.arange(3)}


def small(**changes: object) -> ModernTable:
    values: dict[str, object] = {
        "kind": "modern",
        "widths": (8, 8, 8, 8),
        "critic_width": 8,
        "classes": 10,
        "features": 2,
    }
    return ModernTable.model_validate(values | changes)


def test_equation_5_by_its_parts(batch: Mapping[str, Tensor]) -> None:
    objective = PaperObjective(PaperTable(size=32, gamma=100, gradient_penalty=10))
    loss, scalars = objective.loss("discriminator", batch, 0)
    assert loss.item() == pytest.approx(
        -scalars["distance"].item() + 10 * scalars["penalty"].item(), rel=1e-5
    )
    torch.manual_seed(5)
    loss, scalars = objective.loss("generator", batch, 0)
    torch.manual_seed(5)
    fake, trunk = objective._generate(3, torch.device("cpu"))
    assert trunk is not None
    deviation = (fake - trunk).abs().mean()
    assert scalars["deviation"].item() == pytest.approx(deviation.item(), rel=1e-4)
    expected = -objective.discriminator(fake).mean() + 100 * deviation
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_pretraining_leaves_the_head_alone(batch: Mapping[str, Tensor]) -> None:
    objective = PaperObjective(PaperTable(size=32, output="rgb"))
    mine = objective.parameters("generator")
    assert sum(p.numel() for p in mine) == 2_005_155
    loss, scalars = objective.loss("generator", batch, 0)
    assert scalars == {}
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in mine)
    joint = PaperObjective(PaperTable(size=32))
    assert sum(p.numel() for p in joint.parameters("generator")) == 2_005_155 + 12_492
    # The pretrained networks can be loaded into those of the joint training.
    joint.networks.load_state_dict(objective.networks.state_dict())


def test_gradients_reach_every_weight_of_a_player(batch: Mapping[str, Tensor]) -> None:
    objectives = [
        PaperObjective(PaperTable(size=32)),
        PaperObjective(PaperTable(size=32, generator="convolutional")),
        PaperObjective(PaperTable(size=32, generator="fully_connected")),
        ModernObjective(
            small(
                augment=("colour", "translation", "cutout"),
                gamma={"start": 1.0, "steps": 10},
                classify=0.5,
                transport=2.0,
            )
        ),
        ModernObjective(small()),
        ModernObjective(small(classes=0)),
    ]
    for objective in objectives:
        for player in objective.players(0):
            objective.networks.zero_grad()
            loss, _ = objective.loss(player, batch, 0)
            loss.backward()  # type: ignore[no-untyped-call]
            assert all(p.grad is not None for p in objective.parameters(player)), (objective, player)
        assert sum(len(objective.parameters(p)) for p in objective.players(0)) <= len(
            list(objective.networks.parameters())
        )


def test_runs_under_bf16(batch: Mapping[str, Tensor]) -> None:
    for objective in (PaperObjective(PaperTable(size=32)), ModernObjective(small())):
        objective.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for player in objective.players(0):
            with torch.autocast("cpu", torch.bfloat16):
                loss, _ = objective.loss(player, batch, 0)
            assert loss.dtype == torch.float32
            loss.backward()  # type: ignore[no-untyped-call]
            assert torch.isfinite(loss)


def test_gamma_falls() -> None:
    gamma = Falling(start=10, end=2, steps=4)
    assert [gamma.at(step) for step in range(6)] == [10, 8, 6, 4, 2, 2]
    assert Falling(end=3.0).at(0) == 3


def test_gamma_counts_while_it_lasts(batch: Mapping[str, Tensor]) -> None:
    objective = ModernObjective(small(gamma={"start": 50.0, "steps": 10}))
    losses = []
    for step in (0, 10):
        torch.manual_seed(3)
        loss, scalars = objective.loss("generator", batch, step)
        losses.append(loss.item())
    assert losses[0] - losses[1] == pytest.approx(50 * scalars["deviation"].item(), rel=1e-3)


def test_the_classifier_learns_from_real_pictures_and_teaches_the_generator(
    batch: Mapping[str, Tensor],
) -> None:
    objective, plain = ModernObjective(small(classify=0.5)), ModernObjective(small())
    assert objective.players(0) == ("discriminator", "classifier", "generator")
    assert plain.players(0) == ("discriminator", "generator")
    assert not objective.fresh_batch("classifier")
    plain.networks.load_state_dict(objective.networks.state_dict(), strict=False)
    for each in (objective, plain):
        each.networks.eval()  # spectral norms stay as they are
    for player, weight in (("discriminator", 0.0), ("generator", 0.5)):
        torch.manual_seed(3)
        loss, scalars = objective.loss(player, batch, 0)
        torch.manual_seed(3)
        without, _ = plain.loss(player, batch, 0)
        taught = weight * scalars["class"].item() if weight else 0.0
        assert (loss - without).item() == pytest.approx(taught, rel=1e-3)
    loss, _ = objective.loss("classifier", batch, 0)
    others = [*objective.parameters("generator"), *objective.parameters("discriminator")]
    assert all(g is None for g in torch.autograd.grad(loss, others, allow_unused=True))


def test_the_average_of_the_classifier_judges_and_learns_nothing_from_what_it_judges(
    batch: Mapping[str, Tensor],
) -> None:
    objective = ModernObjective(small(classify=1.0))
    classifier, judge = objective.classifier, objective.judge
    assert classifier is not None and judge is not None
    objective.loss("classifier", batch, 0)
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter += 1
    torch.manual_seed(3)
    _, scalars = objective.loss("generator", batch, 0)
    objective.loss("discriminator", batch, 0)
    assert all(torch.equal(value, before[name]) for name, value in judge.state_dict().items())
    torch.manual_seed(3)
    judge.module.output.bias.data[0] += 5  # what the judge says is what counts
    assert objective.loss("generator", batch, 0)[1]["class"] != scalars["class"]
    objective.loss("classifier", batch, 0)
    moved = judge.module.output.weight - before["module.output.weight"]
    assert moved.mean().item() == pytest.approx(1 - JUDGE_DECAY, rel=1e-3)
    assert not any(parameter.requires_grad for parameter in judge.parameters())


def test_features_have_their_way_to_go_in_the_generators_loss(batch: Mapping[str, Tensor]) -> None:
    objective = ModernObjective(small(transport=2.0))
    transport = objective.transport
    assert transport is not None
    for _ in range(2):
        objective.loss("discriminator", batch, 0)
    loss, scalars = objective.loss("generator", batch, 0)
    assert scalars["transport"].item() == 0  # of too few pictures nothing is known
    for layer in transport.each:
        assert layer.real.total == 2 * 3 and layer.fake.total == 3 * 3
        layer.real.total.fill_(3000)
        layer.fake.total.fill_(3000)
    plain = ModernObjective(small())
    plain.networks.load_state_dict(objective.networks.state_dict(), strict=False)
    losses = []
    for each in (objective, plain):
        each.networks.eval()
        torch.manual_seed(3)
        losses.append(each.loss("generator", batch, 0))
    (loss, scalars), (without, _) = losses
    assert scalars["transport"].item() > 0
    assert (loss - without).item() == pytest.approx(2 * scalars["transport"].item(), rel=1e-3)


def test_samples_are_pictures(batch: Mapping[str, Tensor]) -> None:
    for objective in (
        PaperObjective(PaperTable(size=32)),
        ModernObjective(small()),
        ModernObjective(small(output="rgb")),
    ):
        objective.networks.eval()
        with torch.no_grad():
            pictures = objective.samples(batch, 0)
        assert pictures.shape == (64, 3, 32, 32)
        assert pictures.min() >= 0 and pictures.max() <= 1


def test_a_critic_can_be_learned(batch: Mapping[str, Tensor]) -> None:
    """A few steps on one batch: the discriminator's loss falls well below where it began."""
    torch.manual_seed(0)
    objective = ModernObjective(small(output="rgb"))
    optimiser = torch.optim.Adam(objective.parameters("discriminator"), lr=0.03, betas=(0.0, 0.99))
    losses = []
    for step in range(1, 8):
        optimiser.zero_grad()
        loss, _ = objective.loss("discriminator", batch, step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    assert min(losses) < 0.5 * losses[0]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_build(path: Path) -> None:
    recipe = recipes.load(path)
    objective = jpeg_recipe.build(recipe)
    assert set(recipe.players) == set(objective.players(0))
    if recipe.crop == 32:
        assert recipe.batch == 64  # rows are compared after equally many steps of this size
    assert set(objective.table.subsamplings) == set(Subsampling)


def test_recipes_are_there() -> None:
    stems = {path.stem for path in RECIPES}
    rows = {"trunk", "rgb", "conv", "fc", "proposed", "modern"}
    assert {f"jpeg_cifar10_{row}" for row in rows} | {
        "jpeg_cifar10",
        "jpeg_faces64",
        "jpeg_faces64_modern",
    } <= stems


def parsed(**objective: object) -> recipes.Recipe:
    values = {
        "name": "x",
        "system": "jpeg",
        "steps": 1,
        "batch": 4,
        "crop": 32,
        "players": {"generator": {"lr": 1e-4}},
        "objective": objective,
    }
    return recipes.parse(values)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"size": 64}, "crop: 32; this generator makes 64 x 64"),
        ({"size": 48}, "objective.size"),
        ({"size": 32, "qualities": [0]}, "objective.qualities.0"),
        ({"size": 32, "qualities": []}, "objective.qualities"),
        ({"size": 32, "subsamplings": ["4:1:1"]}, "objective.subsamplings.0"),
        ({"size": 32, "generator": "fully_connected", "output": "rgb"}, "no picture before the decoder"),
        ({"size": 32, "gama": 3}, "objective.gama: unknown key"),
        ({"kind": "modern", "widths": [8, 8, 8, 8], "classes": 1}, "no choice"),
        ({"kind": "modern", "widths": [8, 8, 8, 8], "classify": 1.0}, "no classes to tell"),
    ],
)
def test_wrong_objectives_are_refused(objective: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        jpeg_recipe.build(parsed(**objective))
