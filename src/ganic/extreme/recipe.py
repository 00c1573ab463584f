"""From a recipe to the objective it describes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ganic.errors import RecipeError
from ganic.extreme.growing import channels, grown
from ganic.extreme.objective import CompactSettings, GenerativeCompression
from ganic.training.objective import Objective
from ganic.training.recipes import Recipe


def build(recipe: Recipe) -> Objective:
    """The objective of a recipe with ``system = "extreme"``; its ``[objective]`` table says which networks.

    Raises RecipeError.
    """
    arch = recipe.objective.get("arch", "compact")
    if arch == "compact":
        return GenerativeCompression(recipe.objective_as(CompactSettings))
    if arch == "compact-selective":
        from ganic.extreme.selective_objective import SelectiveCompression, SelectiveSettings

        return SelectiveCompression(recipe.objective_as(SelectiveSettings))
    if arch == "agustsson2019":
        from ganic.extreme.published_objective import PublishedObjective, PublishedSettings

        return PublishedObjective(recipe.objective_as(PublishedSettings))
    raise RecipeError(
        f"{recipe.source}: objective.arch: {arch!r} is none of 'compact', 'compact-selective' and "
        "'agustsson2019'"
    )


def begin(recipe: Recipe, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What a recipe's ``init`` says, with as many channels of the latent as the recipe's codec has.

    Raises RecipeError, TrainingError.
    """
    if recipe.objective.get("arch", "compact") != "compact":
        return weights
    latent, before = recipe.objective_as(CompactSettings).architecture.latent, channels(weights)
    return grown(weights, latent) if before is not None and before < latent else weights
