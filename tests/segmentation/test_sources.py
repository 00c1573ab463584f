"""Label maps as others lay them out: the official folders of Cityscapes, values that mean something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganic.errors import DataError
from ganic.labels import CAMVID, CITYSCAPES, CITYSCAPES_IDS
from ganic.training import recipes, sources
from ganic.training.data import PictureBatches
from ganic.training.distributed import Team
from ganic.training.recipes import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"
ALONE = Team(0, 1, torch.device("cpu"))

# From the official label definitions: of every labelId the name, and the trainId (255: not evaluated).
LABEL_IDS = {
    "unlabeled": 255, "ego vehicle": 255, "rectification border": 255, "out of roi": 255, "static": 255,
    "dynamic": 255, "ground": 255, "road": 0, "sidewalk": 1, "parking": 255, "rail track": 255, "building": 2,
    "wall": 3, "fence": 4, "guard rail": 255, "bridge": 255, "tunnel": 255, "pole": 5, "polegroup": 255,
    "traffic light": 6, "traffic sign": 7, "vegetation": 8, "terrain": 9, "sky": 10, "person": 11,
    "rider": 12, "car": 13, "truck": 14, "bus": 15, "caravan": 255, "trailer": 255, "train": 16,
    "motorcycle": 17, "bicycle": 18,
}  # fmt: skip


@pytest.fixture
def cityscapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three cities in the official layout; the picture shows the labelIds as grey levels."""
    monkeypatch.setenv("GANIC_DATA", str(tmp_path))
    root = tmp_path / "cityscapes"
    rng = np.random.default_rng(0)
    for split, city, frame in (
        ("train", "aachen", "aachen_000000_000019"),
        ("train", "ulm", "ulm_000012_000019"),
        ("val", "lindau", "lindau_000000_000019"),
    ):
        ids = rng.integers(0, 36, (8, 16)).astype(np.uint8)
        ids[0, 0] = 255  # -1, the licence plate, as Pillow reads it
        pixels = np.stack([ids, ids, ids], axis=2).repeat(8, 0).repeat(8, 1)
        pictures, maps = root / "leftImg8bit" / split / city, root / "gtFine" / split / city
        for folder in (pictures, maps):
            folder.mkdir(parents=True)
        Image.fromarray(pixels).save(pictures / f"{frame}_leftImg8bit.png")
        Image.fromarray(pixels[:, :, 0]).save(maps / f"{frame}_gtFine_labelIds.png")
        Image.fromarray(pixels).save(maps / f"{frame}_gtFine_color.png")  # lies beside it, is not read
        (maps / f"{frame}_gtFine_polygons.json").write_text("{}")
    return root


def load(*overrides: str) -> Recipe:
    return recipes.load(RECIPES / "cityscapes_segmenter.toml", ["crop=32", "batch=4", *overrides])


def test_the_official_tree_is_read_as_it_is(cityscapes: Path) -> None:
    recipe = load("data.colour=0", "data.scale=[1, 1]")
    data = PictureBatches.of(recipe, ALONE)
    assert data.describe()["pictures"] == 2 and not data.newly_skipped()
    ids = torch.full((256,), 255)
    ids[: len(LABEL_IDS)] = torch.tensor(list(LABEL_IDS.values()))
    seen: set[int] = set()
    for draw in range(8):
        batch = data.batch(draw)
        values = (batch["image"][:, 0] * 255).round().long()
        assert torch.equal(batch["map"], ids[values])
        seen |= set(batch["map"].unique().tolist())
    assert seen == {*range(19), 255}


def test_recipe_and_official_definitions_agree() -> None:
    recipe = recipes.load(RECIPES / "cityscapes_segmenter.toml")
    assert recipe.data.map_values == tuple(LABEL_IDS.values())
    evaluated = {number: name for name, number in LABEL_IDS.items() if number != 255}
    assert tuple(recipe.objective["classes"]) == tuple(evaluated[i] for i in range(19)) == CITYSCAPES
    assert tuple(LABEL_IDS) == CITYSCAPES_IDS


def test_names_that_do_not_follow_the_rule(cityscapes: Path) -> None:
    stray = cityscapes / "leftImg8bit" / "train" / "ulm" / "stray.png"
    Image.new("RGB", (64, 64)).save(stray)
    with pytest.raises(DataError, match=r"stray\.png: its name does not end in _leftImg8bit; .* map_names"):
        PictureBatches.of(load(), ALONE)


def test_missing_maps_are_named(cityscapes: Path) -> None:
    (cityscapes / "gtFine/train/ulm/ulm_000012_000019_gtFine_labelIds.png").unlink()
    data = PictureBatches.of(load(), ALONE)
    (skipped,) = data.newly_skipped()
    assert "ulm_000012" in skipped.name and "No such file" in skipped.reason


def test_without_rules_names_and_values_stay(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    values = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(np.stack([values] * 3, axis=2)).save(tmp_path / "images" / "a.png")
    Image.fromarray(values).save(tmp_path / "labels" / "a.png")
    (record,) = sources.find([str(tmp_path / "images")], [str(tmp_path / "labels")])
    assert record.map is not None and record.map.path == tmp_path / "labels" / "a.png"
    data = {"sources": [str(tmp_path / "images")], "maps": [str(tmp_path / "labels")], "flips": "none"}
    table = {"name": "a", "system": "segmentation", "steps": 1, "batch": 1, "crop": 16, "players": {}}
    plain = PictureBatches.of(recipes.parse({**table, "data": data}), ALONE).batch(0)["map"]
    assert torch.equal(plain[0], torch.from_numpy(values).long())
    mapped = recipes.parse({**table, "data": {**data, "map_values": [7, 0, 1]}})
    (changed,) = PictureBatches.of(mapped, ALONE).batch(0)["map"]
    assert changed.flatten()[:4].tolist() == [7, 0, 1, 255] and (changed.flatten()[3:] == 255).all()


def test_scenes_set_aside() -> None:
    """60 pictures of one stretch of one recording, and nothing of that stretch is trained on."""
    recipe = recipes.load(RECIPES / "street_segmenter.toml")
    lines = [line.split("#")[0].strip() for line in (RECIPES / "street_heldout.txt").read_text().splitlines()]
    names = [line for line in lines if line]
    assert len(names) == len(set(names)) == 60
    frames = [int(name.removeprefix("0016E5_").removesuffix(".jpg")) for name in names]
    assert frames == sorted(frames) and max(frames) < 2400
    patterns = [pattern for pattern in recipe.data.exclude if not pattern.endswith(".txt")]
    others = [
        "0016E5_02190.jpg",
        "0016E5_02400.jpg",
        "0016E5_04350.jpg",
        "0001TP_006690.jpg",
        "0006R0_f00930.jpg",
    ]
    records = [sources.Record(Path(name).stem, name, sources.Span(Path(name))) for name in (*names, *others)]
    kept, _, _ = sources.exclude(records, patterns)
    assert [record.name for record in kept] == others[2:]


def test_classes_of_the_street_are_camvids() -> None:
    assert tuple(recipes.load(RECIPES / "street_segmenter.toml").objective["classes"]) == CAMVID
