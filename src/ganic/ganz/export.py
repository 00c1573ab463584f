"""From a training run to a model file, and back to where another run starts."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ganic import models
from ganic.errors import TrainingError
from ganic.ganz import model as model_file
from ganic.ganz.basis import SMALLEST
from ganic.ganz.making import Say, make
from ganic.ganz.recipe import config_of, table_of
from ganic.ganz.reconstruction import LearnedScales
from ganic.training import checkpoint, distributed
from ganic.training.data import PictureBatches
from ganic.training.recipes import Recipe
from ganic.training.run_log import run_recipe

DRAW = 2**41
"""The first batch that the prior is fitted to; training draws from 0 on, samples at 2**40."""


def export_run(
    run_dir: Path, output: Path, name: str, *, card: str = "", say: Say = lambda line: None
) -> models.ModelInfo:
    """Write the averaged weights of a run's newest checkpoint as a model file.

    The prior is fitted to crops of the run's own training pictures, which must still be there.

    Raises:
        TrainingError: there is no checkpoint, or the run is of another system.
        DataError: the training pictures are gone.
        OutputError: the file cannot be written.
    """
    recipe = run_recipe(run_dir)
    if recipe.system != "ganz":
        raise TrainingError(f"{run_dir}: is a run of the system {recipe.system!r}, not of ganz")
    table = table_of(recipe)
    weights = checkpoint.weights(run_dir)
    pictures = _pictures(recipe, table.pictures)
    model = make(weights, config_of(recipe), pictures, rd_steps=table.search_steps, say=say)
    return model_file.save(output, name, model, card=card, overwrite=True)


def weights_of(file: models.ModelFile) -> dict[str, Tensor]:
    """A model's weights by their names in a run, for its ``init``."""
    model = model_file.from_file(file)
    networks: dict[str, nn.Module] = {"generator": model.generator}
    if model.basis is not None and model.scales is not None and model.encoder is not None:
        # Coefficients that never varied in training have no logarithm.
        spread = model.scales.clamp(min=SMALLEST * float(model.scales.max()))
        networks |= {"basis": model.basis, "encoder": model.encoder, "scales": LearnedScales(spread)}
    return {
        f"{network}.{name}": value.detach()
        for network, module in networks.items()
        for name, value in module.state_dict().items()
    }


def _pictures(recipe: Recipe, count: int) -> Tensor:
    """Crops as the run saw them [count, 3, crop, crop]."""
    team = distributed.join("cpu")
    try:
        batches = PictureBatches.of(recipe, team)
        draws = range(-(-count // recipe.batch))
        return torch.cat([batches.batch(DRAW + draw)["image"] for draw in draws])[:count].contiguous()
    finally:
        team.leave()
