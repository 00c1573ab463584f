"""From a training run to a model file of the system "segmentation"."""

from __future__ import annotations

from pathlib import Path

from ganic import models
from ganic.errors import TrainingError
from ganic.segmentation.objective import PLAYER
from ganic.segmentation.recipe import table_of
from ganic.segmentation.storage import stored
from ganic.tensor_names import below
from ganic.training import checkpoint
from ganic.training.run_log import run_recipe


def export_run(run_dir: Path, output: Path, name: str, *, card: str = "") -> models.ModelInfo:
    """Write the averaged weights of a run's newest checkpoint as a model file.

    Raises:
        TrainingError: there is no checkpoint, or the run trained no segmenter.
        OutputError: the file cannot be written.
    """
    recipe = run_recipe(run_dir)
    if recipe.system != "segmentation":
        raise TrainingError(f"{run_dir}: is a run of the system {recipe.system!r}, which trains no segmenter")
    settings = table_of(recipe)
    network = settings.network()
    network.load_state_dict(below(checkpoint.weights(run_dir), f"{PLAYER}."))
    return models.save(output, name, "segmentation", settings.config(), stored(network), card=card)
