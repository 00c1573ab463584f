"""A trained model on another axis of lambda: at each lambda its tables say what they said."""

from __future__ import annotations

import math

import pytest
import torch

from ganic.errors import RecipeError
from ganic.extreme.conditioning import ANCHORS, QualityTable
from ganic.extreme.objective import quality_for
from ganic.extreme.recipe import begin
from ganic.extreme.respacing import respaced
from ganic.tensor_names import below
from ganic.training import recipes

STEP = math.e  # of lambda, from anchor to anchor
BEFORE = 1e-4, 1e-4 * STEP ** (ANCHORS - 1)


def table_of(channels: int = 3) -> QualityTable:
    torch.manual_seed(0)
    table = QualityTable(channels)
    torch.nn.init.normal_(table.anchors)
    return table


def test_tables_say_at_each_lambda_what_they_said() -> None:
    table = table_of()
    now = BEFORE[0] / STEP, BEFORE[1] / STEP  # every anchor moves up by one
    weights = {"codec.gain.anchors": table.anchors.detach(), "codec.other": torch.ones(8, 3)}
    made = respaced(weights, BEFORE, now)
    assert torch.equal(made["codec.other"], weights["codec.other"])
    moved = QualityTable(3)
    moved.load_state_dict(below(made, "codec.gain."))
    values = torch.logspace(math.log10(BEFORE[0]), math.log10(now[1]), 40)
    before, after = (table(quality_for(values, *ends)) for ends, table in ((BEFORE, table), (now, moved)))
    assert torch.allclose(before, after, atol=1e-4)
    # Below the old axis in the direction of its first interval.
    first, second = table.anchors[:2]
    assert torch.allclose(made["codec.gain.anchors"][0], 2 * first - second, atol=1e-5)
    assert torch.allclose(respaced(weights, BEFORE, BEFORE)["codec.gain.anchors"], table.anchors, atol=1e-6)


def test_recipes_say_what_init_was_trained_for() -> None:
    lambdas = {"lambda_low": BEFORE[0] / STEP, "lambda_high": BEFORE[1] / STEP}

    def recipe(**objective: object) -> recipes.Recipe:
        values = {"name": "a", "system": "extreme", "steps": 1, "batch": 1, "crop": 64}
        players = {"codec": {"lr": 1e-3}}
        architecture = {"latent": 16, "conditioned": False}
        objective = {"architecture": architecture, **lambdas, **objective}
        return recipes.parse({**values, "players": players, "objective": objective})

    weights = {"codec.gain.anchors": table_of(16).anchors.detach()}
    assert begin(recipe(), weights) is weights
    made = begin(recipe(lambda_before=BEFORE), weights)
    assert torch.allclose(made["codec.gain.anchors"][1:], weights["codec.gain.anchors"][:-1], atol=1e-5)
    for wrong in ({"lambda_before": (1e-3, 1e-3)}, {"lambda_low": 1.0, "lambda_high": 0.5}):
        with pytest.raises(
            RecipeError, match=r"objective: lambda grows with the quality; give the smaller one first"
        ):
            begin(recipe(**wrong), weights)
