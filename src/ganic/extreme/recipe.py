"""From a recipe to the objective it describes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ganic.errors import RecipeError
from ganic.extreme.growing import channels, deepened, depths, grown, told
from ganic.extreme.objective import STAGES, CompactSettings, GenerativeCompression
from ganic.extreme.published_objective import PublishedObjective, PublishedSettings
from ganic.extreme.respacing import respaced
from ganic.extreme.selective_objective import SelectiveCompression, SelectiveSettings
from ganic.extreme.tiling import CELL_PIXELS
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
    check(recipe, table)
    if isinstance(table, CompactSettings):
        return GenerativeCompression(table, asked=recipe.data.rates is not None)
    if isinstance(table, SelectiveSettings):
        return SelectiveCompression(table)
    return PublishedObjective(table)


def check(recipe: Recipe, table: CompactSettings | SelectiveSettings | PublishedSettings) -> None:
    """Raises RecipeError for crops that do not fit the networks, for rates that nobody asks for, and for what
    ``compile`` would not reach."""
    if recipe.data.rates is not None and not isinstance(table, CompactSettings):
        raise RecipeError(f"{recipe.source}: data.rates: {table.arch} does not ask for rates; remove it")
    if recipe.data.rates is None and isinstance(table, CompactSettings):
        for name in ("game_balance", "slopes"):
            if getattr(table, name):
                raise RecipeError(
                    f"{recipe.source}: objective.{name}: needs data.rates; give them or remove it"
                )
    if not isinstance(table, PublishedSettings) and recipe.crop % CELL_PIXELS:
        raise RecipeError(f"{recipe.source}: crop: {recipe.crop}; a multiple of {CELL_PIXELS} is needed")
    if isinstance(table, CompactSettings):
        whole = STAGES[table.stage].learner in ("codec", "encoder")
    else:
        whole = isinstance(table, PublishedSettings)
    for name in recipe.compile:
        if name == "discriminator" or (name == "codec" and not whole):
            raise RecipeError(
                f"{recipe.source}: compile: {name} is not called as a whole in this stage, so nothing would "
                "be compiled; leave it out"
            )


def begin(recipe: Recipe, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What a recipe's ``init`` says, with as many channels of the latent and blocks of the generator as the
    recipe's codec has, its encoder told the quality if the recipe's is, and with its tables over the quality
    where the recipe's lambda has them.

    Raises RecipeError, TrainingError.
    """
    table, before = table_of(recipe), channels(weights)
    if not isinstance(table, CompactSettings) or before is None:
        return weights
    if before < table.architecture.latent:
        weights = grown(weights, table.architecture.latent)
    if table.architecture.conditioned:
        weights = told(weights, table.architecture.encoder_widths)
    blocks = table.architecture.generator_blocks
    if any(before < wanted for before, wanted in zip(depths(weights), blocks, strict=False)):
        weights = deepened(weights, table.architecture.generator_widths, blocks)
    if table.lambda_before is not None:
        weights = respaced(weights, table.lambda_before, (table.lambda_low, table.lambda_high))
    return weights
