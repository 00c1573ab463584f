"""From a recipe to the objective it describes."""

from __future__ import annotations

from ganic.errors import RecipeError
from ganic.segmentation.network import STRIDE
from ganic.segmentation.objective import SegmentationObjective, Settings
from ganic.training.recipes import Recipe


def table_of(recipe: Recipe) -> Settings:
    """The recipe's [objective] table; raises RecipeError."""
    if recipe.crop % STRIDE:
        raise RecipeError(f"{recipe.source}: crop: {recipe.crop}; the segmenter needs a multiple of {STRIDE}")
    return recipe.objective_as(Settings)


def build(recipe: Recipe) -> SegmentationObjective:
    """The objective of a recipe with ``system = "segmentation"``; raises RecipeError.

    Its first weights come from torch's default generator.
    """
    return SegmentationObjective(table_of(recipe))
