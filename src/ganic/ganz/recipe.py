"""The ``[objective]`` table of a GANZ recipe, and the objective it describes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator

from ganic.ganz.discriminator import Discriminator
from ganic.ganz.generator import Init
from ganic.ganz.latent_coder import STEPS
from ganic.ganz.layout import Fit
from ganic.ganz.model import Config
from ganic.ganz.objective import BeganObjective
from ganic.ganz.reconstruction import ReconstructionObjective
from ganic.training.objective import Objective
from ganic.training.recipes import Positive, Recipe, Table, Unit


class GanzTable(Table):
    """Every knob of the system's training."""

    kind: Literal["began", "reconstruction"] = "began"  # the paper's objective, or ours
    latent_dim: Positive = 64  # d_t; the paper has 64, 128, 256, 512
    width: Positive = 128  # channels of the generator
    narrowing: tuple[Positive, ...] = ()  # of its blocks, where they are not the same; not the paper's
    encoder_features: Positive = 32  # reconstruction: channels of the encoder at full size
    local: bool = False  # reconstruction: whether the basis is local, see basis.py
    init: Init = "torch"  # "preserving" converges faster
    direct: bool = False  # a linear path from h0 to the picture, see direct.py; not the paper's
    lapped: bool = False  # whether that path's blocks overlap
    gamma: Annotated[float, Field(gt=0)] = 0.5  # BEGAN's diversity ratio
    gain: Annotated[float, Field(gt=0)] = 1e-3  # BEGAN's lambda_k
    distortion: Annotated[float, Field(gt=0)] = (
        400.0  # reconstruction: bits per unit of squared error at step 0
    )
    steps: tuple[int, int] = (0, 30)  # reconstruction: step indices that are drawn
    nested: Unit = 0.25  # reconstruction: share of the batch with truncated, unquantised latents
    adversarial: Annotated[float, Field(ge=0)] = (
        0.0  # reconstruction: weight of BEGAN's game; 0: no discriminator
    )
    fit: Fit = "tiles"  # export: what the codec does with pictures of other sizes
    overlap: Annotated[int, Field(ge=0)] = 8  # export: pixels that neighbouring tiles share
    pictures: Positive = 256  # export: crops of the training pictures that the prior is fitted to
    search_steps: Annotated[int, Field(ge=0)] = (
        40  # export: of the searches whose symbols the tables are fitted to
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lapped and not self.direct:
            raise ValueError("lapped: overlaps the blocks of the direct path, and direct is false")
        if not 0 <= self.steps[0] <= self.steps[1] < STEPS:
            raise ValueError(f"steps: {list(self.steps)} is no range within 0 to {STEPS - 1}")
        return self


def table_of(recipe: Recipe) -> GanzTable:
    """The recipe's [objective] table; raises RecipeError."""
    return recipe.objective_as(GanzTable)


def config_of(recipe: Recipe) -> Config:
    """What the exported model will say of itself."""
    table = table_of(recipe)
    return Config(
        table.latent_dim,
        recipe.crop,
        table.width,
        table.encoder_features,
        table.fit,
        min(table.overlap, recipe.crop // 2),
        table.direct,
        table.narrowing,
        table.local,
        table.lapped,
    )


def build(recipe: Recipe) -> Objective:
    """The objective of a recipe; its crop is the picture size.  Raises RecipeError, UsageError."""
    table = table_of(recipe)
    generator = config_of(recipe).generator(table.init)
    wanted = table.kind == "began" or table.adversarial > 0
    discriminator = Discriminator(table.latent_dim, recipe.crop, table.width, table.init) if wanted else None
    objective: BeganObjective | ReconstructionObjective
    if table.kind == "began":
        assert discriminator is not None
        objective = BeganObjective(generator, discriminator, table.gamma, table.gain)
    else:
        objective = ReconstructionObjective(
            generator,
            discriminator,
            encoder_features=table.encoder_features,
            local=table.local,
            distortion=table.distortion,
            steps=table.steps,
            nested=table.nested,
            adversarial=table.adversarial,
            gamma=table.gamma,
            gain=table.gain,
        )
    objective.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return objective
