"""From a recipe to the objective it describes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ganic.errors import RecipeError
from ganic.extreme.growing import channels, grown
from ganic.extreme.objective import CompactSettings, GenerativeCompression
from ganic.extreme.published_objective import PublishedObjective, PublishedSettings
from ganic.extreme.selective_objective import SelectiveCompression, SelectiveSettings
from ganic.training.objective import Objective
from ganic.training.recipes import Recipe


def table_of(recipe: Recipe) -> CompactSettings | SelectiveSettings | PublishedSettings:
    """The recipe's ``[objective]`` table, which says which networks; raises RecipeError."""
    arch = recipe.objective.get("arch", "compact")
    if arch == "compact":
        return recipe.objective_as(CompactSettings)
    if arch == "compact-selective":
        return recipe.objective_as(SelectiveSettings)
    if arch == "agustsson2019":
        return recipe.objective_as(PublishedSettings)
    raise RecipeError(
        f"{recipe.source}: objective.arch: {arch!r} is none of 'compact', 'compact-selective' and "
        "'agustsson2019'"
    )


def build(recipe: Recipe) -> Objective:
    """The objective of a recipe with ``system = "extreme"``; raises RecipeError."""
    table = table_of(recipe)
    if isinstance(table, CompactSettings):
        return GenerativeCompression(table, asked=recipe.data.rates is not None)
    if recipe.data.rates is not None:
        raise RecipeError(f"{recipe.source}: data.rates: {table.arch} does not ask for rates; remove it")
    if isinstance(table, SelectiveSettings):
        return SelectiveCompression(table)
    return PublishedObjective(table)


def begin(recipe: Recipe, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What a recipe's ``init`` says, with as many channels of the latent as the recipe's codec has.

    Raises RecipeError, TrainingError.
    """
    table, before = table_of(recipe), channels(weights)
    if not isinstance(table, CompactSettings) or before is None or before >= table.architecture.latent:
        return weights
    return grown(weights, table.architecture.latent)
