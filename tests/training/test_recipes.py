from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from ganic.errors import RecipeError
from ganic.training import recipes
from ganic.training.recipes import Table

TOML = """
name = "photo"
system = "extreme"
steps = 200_000
batch = 16
crop = 256

[data]
sources = ["photos"]
scale = [0.5, 1.0]

[players.codec]
lr = 3e-4
clip = 1.0

[players.discriminator]
kind = "adam"
lr = 4e-4
betas = [0.5, 0.9]

[schedule]
warmup = 1000
shape = "cosine"

[[schedule.stages]]
start = 150_000
scale = 0.5

[objective]
kind = "distortion"
weight = 3
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "photo.toml"
    file.write_text(TOML)
    return file


def test_values_and_defaults(path: Path) -> None:
    recipe = recipes.load(path)
    assert (recipe.name, recipe.steps, recipe.batch, recipe.crop) == ("photo", 200_000, 16, 256)
    assert recipe.data.sources == ("photos",) and recipe.data.scale == (0.5, 1.0)
    assert recipe.players["codec"].lr == 3e-4 and recipe.players["codec"].betas == (0.9, 0.999)
    assert recipe.players["discriminator"].betas == (0.5, 0.9)
    assert recipe.schedule.stages[0].start == 150_000 and recipe.schedule.stages[0].shape == "constant"
    assert (recipe.precision, recipe.seed, recipe.ema.decay) == ("bf16", 0, 0.999)
    assert recipe.objective == {"kind": "distortion", "weight": 3}
    assert recipe.source == str(path)
    with pytest.raises(ValidationError):
        recipe.steps = 3


def test_overrides(path: Path) -> None:
    recipe = recipes.load(
        path,
        [
            "steps=10",
            "players.codec.lr=1e-3",
            'data.sources=["a b", "$DATA/c"]',
            "precision=fp32",
            'name = "other-1"',
            "checkpoint.part_mib=16",
            "objective.deep.er=[1, 2]",
        ],
    )
    assert (recipe.steps, recipe.players["codec"].lr, recipe.precision) == (10, 1e-3, "fp32")
    assert recipe.data.sources == ("a b", "$DATA/c") and recipe.name == "other-1"
    assert recipe.checkpoint.part_mib == 16
    assert recipe.objective == {"kind": "distortion", "weight": 3, "deep": {"er": [1, 2]}}


def test_only_codecs_are_asked_for_rates(path: Path) -> None:
    rates = "data.rates=[0.1, 0.2]"
    assert recipes.load(path, [rates, "system=extreme"]).data.rates == (0.1, 0.2)
    with pytest.raises(RecipeError, match=r"data.rates is for codecs; ganz asks for no rates"):
        recipes.load(path, [rates, "system=ganz"])


def test_overrides_leave_the_callers_tables_alone() -> None:
    values = {"name": "a", "system": "ganz", "steps": 1, "batch": 1, "crop": 1, "players": {"g": {"lr": 1.0}}}
    changed = recipes.parse(values, ["players.g.lr=2.0"])
    assert changed.players["g"].lr == 2.0
    assert values["players"] == {"g": {"lr": 1.0}}


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("stepps=1", ["stepps: unknown key", "allowed here:", "steps,"]),
        ("players.codec.lrr=1", ["players.codec.lrr: unknown key", "betas, clip, eps, kind, lr"]),
        ("data.folder=x", ["data.folder: unknown key", "sources"]),
        (
            "schedule.stages=[{start=5, scal=1}]",
            ["schedule.stages.0.scal: unknown key", "scale, shape, start"],
        ),
        ("players.codec.schedule={stage=1}", ["players.codec.schedule.stage: unknown key", "warmup"]),
        ("system=hific", ["system: 'hific' is not one of", "'ganz' or 'segmentation'"]),
        ("steps=0", ["steps:", "greater than 0", "(it is 0)"]),
        ("steps=many", ["steps:", "integer", "'many'"]),
        ("players.x.clip=1", ["players.x.lr: missing"]),
        ("players.codec.lr=inf", ["players.codec.lr:", "finite"]),
        ("players.codec.betas=[0.5, 1.0]", ["players.codec.betas.1:", "less than 1"]),
        ("data.scale=[1.0, 0.5]", ["data: scale needs its smaller number first"]),
        ("data.maps=['a', 'b']", ["data: maps needs one folder per source"]),
        ("data.calm=0.5", ["data: calm needs rates"]),
        ("data.map_names=['_a', '_b']", ["data: map_names needs maps"]),
        ("data.map_values=[0, 256]", ["data.map_values.1:", "less than or equal to 255"]),
        ("schedule.stages=[{start=5},{start=5}]", ["schedule: stages must have increasing start steps"]),
        ("players.x={kind='muon', lr=1.0, weight_decay=0.1}", ["weight_decay is not for muon"]),
        ("name='../x'", ["name:", "pattern"]),
    ],
)
def test_errors_name_file_key_and_what_is_allowed(path: Path, override: str, fragments: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        recipes.load(path, [override])
    for fragment in [str(path), *fragments]:
        assert fragment in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("override", ["steps", "=1", "a..b=1", "name={{", "steps=1 2", "steps.x=1"])
def test_malformed_overrides(path: Path, override: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        recipes.load(path, [override])


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml: cannot be read"):
        recipes.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("steps = = 1")
    with pytest.raises(RecipeError, match=r"bad\.toml: not TOML .*line 1"):
        recipes.load(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(RecipeError, match=r"latin\.toml: not TOML"):
        recipes.load(tmp_path / "latin.toml")


def test_the_objective_table_is_the_systems_own(path: Path) -> None:
    class Distortion(Table):
        kind: str
        weight: float

    class Other(Table):
        kind: str
        wait: float = 1.0

    recipe = recipes.load(path)
    assert recipe.objective_as(Distortion) == Distortion(kind="distortion", weight=3.0)
    with pytest.raises(RecipeError, match=r"objective\.weight: unknown key \(allowed here: kind, wait\)"):
        recipe.objective_as(Other)


def test_a_log_has_every_value_of_the_objective_table(path: Path) -> None:
    class Distortion(Table):
        kind: str
        weight: float
        wait: tuple[int, ...] = (1, 2)

    recipe = recipes.load(path)
    full = recipe.with_objective(recipe.objective_as(Distortion))
    assert full.objective == {"kind": "distortion", "weight": 3.0, "wait": [1, 2]}
    assert "wait" not in recipe.objective and full.source == recipe.source
    assert full.objective_as(Distortion) == recipe.objective_as(Distortion)
