"""From a training run to a model file of the system "jpeg", and back to where another run starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganic import models
from ganic.errors import ModelFormatError
from ganic.jpeg.model import from_file
from ganic.jpeg.modern_objective import ModernTable
from ganic.jpeg.objective import GENERATOR
from ganic.jpeg.recipe import table_of
from ganic.models import ModelInfo
from ganic.tensor_names import below
from ganic.training import checkpoint
from ganic.training.recipes import Recipe
from ganic.training.run_log import run_recipe


def config_of(recipe: Recipe) -> dict[str, Any]:
    """What :func:`build` needs, from the recipe of a run."""
    table = table_of(recipe)
    config: dict[str, Any] = {"output": table.output, "size": table.size}
    if isinstance(table, ModernTable):
        return config | {
            "generator": "modern",
            "widths": list(table.widths),
            "features": table.features,
            "classes": table.classes,
            "class_names": list(table.class_names),
        }
    return config | {"generator": table.generator, "classes": 0}


def save(
    path: str | os.PathLike[str],
    name: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    card: str = "",
    overwrite: bool = True,
) -> ModelInfo:
    """Write a model file: matrices and kernels in half precision, the head and all vectors in single.

    ``weights``: the generator's own state. Half precision would move the head's exact transforms by up to one
    grey level. Raises ModelFormatError where half precision overflows.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for key, value in weights.items():
        if key.endswith("num_batches_tracked"):
            continue
        small = value.ndim > 1 and not key.startswith("head.")
        array = value.detach().cpu().to(torch.float16 if small else torch.float32).contiguous().numpy()
        if not np.isfinite(array).all():
            raise ModelFormatError(f"{name}: {key} has values that are not finite; train it again")
        tensors[key] = array
    return models.save(path, name, "jpeg", config, tensors, card=card, overwrite=overwrite)


def export_run(run_dir: Path, target: Path, name: str, *, card: str = "") -> ModelInfo:
    """A model file from the last checkpoint of a training run: averaged weights where they are kept.

    The recipe is the one that the run itself noted. Raises TrainingError where there is no run.
    """
    recipe = run_recipe(run_dir)
    weights = below(checkpoint.weights(run_dir), f"{GENERATOR}.")
    return save(target, name, config_of(recipe), weights, card=card)


def weights_of(file: models.ModelFile) -> dict[str, Tensor]:
    """A model's weights by their names in a run, for its ``init``."""
    state = from_file(file).generator.state_dict()
    return {f"{GENERATOR}.{name}": value for name, value in state.items()}
