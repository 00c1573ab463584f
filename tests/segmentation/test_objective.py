from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from ganic.errors import DataError, RecipeError
from ganic.segmentation.colours import colours, painted
from ganic.segmentation.objective import (
    PLAYER,
    SegmentationObjective,
    Settings,
    cross_entropy,
    dice,
    enlarged,
)
from ganic.segmentation.recipe import build
from ganic.training import recipes

CLASSES = ("sky", "road", "car")
VOID = 3
SMALL = {"widths": (8, 8, 8, 8, 8), "blocks": (0, 0, 0, 0, 0), "decoder": (8, 8, 8, 8)}


def settings(**changes: object) -> Settings:
    return Settings.model_validate({"classes": CLASSES, "sides": (64, 96), **SMALL, **changes})


def recipe(crop: int = 64, **objective: object) -> recipes.Recipe:
    values = {"classes": list(CLASSES), "sides": [64, 96], **objective}
    return recipes.parse(
        {
            "name": "s",
            "system": "segmentation",
            "steps": 1,
            "batch": 1,
            "crop": crop,
            "players": {PLAYER: {"lr": 1e-3}},
            "objective": values,
        }
    )


def batch(pictures: int = 2, side: int = 64) -> dict[str, torch.Tensor]:
    truth = torch.randint(0, VOID + 1, (pictures, side, side))
    return {"image": torch.rand(pictures, 3, side, side), "map": truth}


def test_cross_entropy_by_hand() -> None:
    # two pixels: probabilities 1/2, 1/4, 1/4 for class 0; and void, which counts only as a pixel
    logits = torch.tensor([math.log(2.0), 0.0, 0.0])[None, :, None, None].expand(1, 3, 1, 2)
    truth = torch.tensor([[[0, VOID]]])
    assert cross_entropy(logits, truth, torch.tensor([3.0, 1, 1])).item() == pytest.approx(
        3 * math.log(2) / 2
    )
    assert cross_entropy(logits, torch.tensor([[[1, 255]]]), torch.ones(3)).item() == pytest.approx(
        math.log(2)
    )


def test_cross_entropy_of_a_batch_is_the_mean_of_its_parts() -> None:
    torch.manual_seed(0)
    logits, truth, weights = (
        torch.randn(4, 3, 8, 8),
        torch.randint(0, 4, (4, 8, 8)),
        torch.tensor([1.0, 2, 5]),
    )
    truth[0] = VOID
    whole = cross_entropy(logits, truth, weights)
    parts = [cross_entropy(logits[i : i + 2], truth[i : i + 2], weights) for i in (0, 2)]
    torch.testing.assert_close(whole, (parts[0] + parts[1]) / 2)
    truth = truth.clamp_max(2)
    expected = (weights[truth] * F.cross_entropy(logits, truth, reduction="none")).mean()
    torch.testing.assert_close(cross_entropy(logits, truth, weights), expected)


def test_dice_by_hand() -> None:
    # three pixels: sky, road, void; the network is sure of sky, then undecided between sky and road
    probability = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]])  # [class, pixel]
    logits = probability.clamp_min(1e-30).log()[None, :, None]
    truth = torch.tensor([[[0, 1, VOID]]])
    sky = 2 * 1.0 / (1.5 + 1)
    road = 2 * 0.5 / max(0.5 + 1, 1)
    assert dice(logits, truth).item() == pytest.approx(1 - (sky + road) / 2, abs=1e-6)
    right = F.one_hot(torch.tensor([[0, 1, 2]]), 3).permute(0, 2, 1)[:, :, None] * 100.0
    assert dice(right, torch.tensor([[[0, 1, 2]]])).item() == pytest.approx(0, abs=1e-6)


def test_only_void_teaches_nothing() -> None:
    objective = SegmentationObjective(settings())
    data = batch()
    data["map"][:] = 200
    loss, stats = objective.loss(PLAYER, data, 0)
    loss.backward()
    assert loss.item() == 0 and stats["miou"] == 0 and stats["accuracy"] == 0
    assert all(p.grad is None or not p.grad.any() for p in objective.network.parameters())


def test_weights() -> None:
    shares = (0.5, 0.4, 0.1)
    assert settings().weights() == [1, 1, 1]
    assert settings(shares=shares, balance=0).weights() == [1, 1, 1]
    inverse = settings(shares=shares, balance=1, heaviest=3).weights()
    assert inverse == pytest.approx([1 / 3 / 0.5, 1 / 3 / 0.4, 3])
    half = settings(shares=shares).weights()
    assert half[2] / half[0] == pytest.approx(math.sqrt(5))
    assert sum(w * s for w, s in zip(half, shares, strict=True)) == pytest.approx(1)
    assert settings(shares=(0.25, 0.2, 0.05)).weights() == pytest.approx(half)


def test_enlarging_keeps_labels_on_their_pixels() -> None:
    torch.manual_seed(0)
    truth = (torch.rand(16, 8, 8) > 0.5).long().repeat_interleave(8, 1).repeat_interleave(8, 2) * 200
    picture = truth[:, None].expand(-1, 3, -1, -1).float() / 200
    near, labels = enlarged(picture, truth, 2.0)
    assert near.shape == picture.shape and labels.dtype == torch.int64
    sure = (near[:, 0] - 0.5).abs() > 0.26
    assert sure.float().mean() > 0.5
    assert torch.equal((near[:, 0] > 0.5)[sure], (labels == 200)[sure])
    assert set(labels.unique().tolist()) == {0, 200}
    # edges between labels are farther apart than they were, twice as far at most
    before = (truth.diff(dim=2) != 0).float().mean()
    after = (labels.diff(dim=2) != 0).float().mean()
    assert before / 2 < after < before
    assert enlarged(picture, truth, 1.0)[0] is picture


def test_enlarging_is_as_exact_in_mixed_precision() -> None:
    truth = torch.arange(64 * 64).reshape(1, 64, 64) % 251
    picture = (truth[:, None] / 251).expand(-1, 3, -1, -1)
    torch.manual_seed(0)
    near, labels = enlarged(picture, truth, 1.6)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = enlarged(picture, truth, 1.6)
    assert torch.equal(mixed[0], near) and torch.equal(mixed[1], labels)


def test_loss_falls_with_better_logits_and_statistics_say_so() -> None:
    torch.manual_seed(0)
    objective = SegmentationObjective(settings())
    data = batch()
    data["map"][:] = 1
    with torch.no_grad():
        objective.network.head.weight.zero_()
        before, _ = objective.loss(PLAYER, data, 0)
        assert objective.network.head.bias is not None
        objective.network.head.bias[1] = 10
        after, stats = objective.loss(PLAYER, data, 0)
    assert after < 0.01 < before
    assert stats["accuracy"] == 1 and stats["miou"] == 1


def test_samples_show_picture_truth_and_labels() -> None:
    objective = SegmentationObjective(settings())
    data = batch(5)
    shown = objective.samples(data, 0)
    assert shown.shape == (12, 3, 64, 64)
    assert torch.equal(shown[0], data["image"][0])
    assert torch.equal(shown[1], painted(data["map"][:1], 3)[0])
    assert not shown[1][:, data["map"][0] == VOID].any()
    found = {tuple(round(v, 4) for v in colour) for colour in shown[2].flatten(1).T.tolist()}
    assert found <= {tuple(round(v, 4) for v in colour) for colour in colours(3)}


def test_colours_differ() -> None:
    many = torch.tensor(colours(34))
    distances = torch.cdist(many, many) + torch.eye(34)
    assert distances.min() > 0.05 and (many.amax(1) > 0.3).all()


def test_mistakes() -> None:
    with pytest.raises(DataError, match=r"no label maps; name their folders in data\.maps"):
        SegmentationObjective(settings()).loss(PLAYER, {"image": torch.rand(1, 3, 64, 64)}, 0)
    with pytest.raises(RecipeError, match="crop: 80; the segmenter needs a multiple of 32"):
        build(recipe(crop=80))
    with pytest.raises(RecipeError, match="objective: shares needs one number per class"):
        build(recipe(shares=[0.5, 0.5]))
    with pytest.raises(RecipeError, match="objective: classes must have different names"):
        build(recipe(classes=["a", "a"]))
    with pytest.raises(RecipeError, match="objective: sides must be between 32 and 2048"):
        build(recipe(sides=[96, 64]))
    with pytest.raises(RecipeError, match=r"objective\.zooom: unknown key"):
        build(recipe(zooom=2))
