"""``ganic train``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from ganic.allocator import keep_freed_memory
from ganic.cli import options
from ganic.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ganic.training.data import Batches
    from ganic.training.distributed import Team
    from ganic.training.objective import Objective
    from ganic.training.recipes import Recipe, Table


@click.command("train", short_help="Train a model as a recipe says.")
@click.argument("recipe", metavar="RECIPE.toml")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the recipe: players.codec.lr=1e-4.",
)
@click.option(
    "--data",
    multiple=True,
    metavar="DIR|TAR",
    help="Train on these pictures instead of the recipe's; repeatable.",
)
@click.option("--run-dir", metavar="DIR", help="Default: runs/NAME, with the recipe's name.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option("-q", "--quiet", is_flag=True, help="No progress; warnings only.")
@options.debug_option
def command(
    recipe: str,
    overrides: tuple[str, ...],
    data: tuple[str, ...],
    run_dir: str | None,
    device: str,
    quiet: bool,
) -> None:
    """Train a model as a recipe says; started again with the same folder, go on from the last checkpoint.

    \b
      ganic train recipes/photo.toml --set steps=1000
      torchrun --nproc-per-node 2 -m ganic train recipes/photo.toml

    Ctrl-C saves a checkpoint and stops. `ganic export` makes a model file from the run's folder.
    """
    try:
        from ganic.training import recipes
    except ModuleNotFoundError as error:
        raise UsageError(f"train: {error.name} is not installed; pip install 'ganic[train]'") from error
    if data:
        # A JSON list of strings is a TOML array of strings.
        overrides = (*overrides, f"data.sources={json.dumps(list(data))}")
    keep_freed_memory()
    loaded = recipes.load(recipe, overrides)  # before torch: mistakes are answered at once

    import torch

    from ganic.training import loop

    folder = Path(run_dir) if run_dir else Path("runs", loaded.name)
    torch.manual_seed(loaded.seed)  # decides the initial weights
    system = _system(loaded)
    loaded = loaded.with_objective(system.table_of(loaded))
    objective = system.build(loaded)
    with _log_on_stderr(logging.WARNING if quiet else logging.INFO):
        result = loop.train(
            loaded,
            objective,
            folder,
            data=_batches(loaded),
            weights=lambda path: _begin(loaded, _weights(path)),
            device=device,
            quiet=quiet,
        )
    state = "finished" if result.finished else "stopped, will go on from here:"
    click.echo(f"{loaded.name}: {state} step {result.step:,}, {result.checkpoint}", err=True)


@contextmanager
def _log_on_stderr(level: int) -> Iterator[None]:
    """What the loop logs (progress where there is no bar, pictures left out), one line each."""
    logger, handler = logging.getLogger("ganic"), logging.StreamHandler()
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _batches(recipe: Recipe) -> Callable[[Recipe, Team], Batches]:
    """Where a run's batches come from."""
    if recipe.system == "jpeg":
        from ganic.jpeg.batches import batches_of

        return batches_of
    from ganic.training.data import PictureBatches

    return PictureBatches.of


def _weights(path: Path) -> Mapping[str, Tensor]:
    """What a recipe's ``init`` means: another run, or a model, whose networks may be trained on."""
    from ganic import models
    from ganic.training import checkpoint

    if checkpoint.means_run(path):
        return checkpoint.weights(path)
    file = models.load(str(path))
    if file.system == "extreme":
        from ganic.extreme.export import weights_of

        return weights_of(file)
    if file.system == "jpeg":
        from ganic.jpeg.export import weights_of as jpeg_weights

        return jpeg_weights(file)
    if file.system == "ganz":
        from ganic.ganz.export import weights_of as ganz_weights

        return ganz_weights(file)
    raise TrainingError(f"{file.path}: models of the system {file.system!r} cannot be trained on; give a run")


def _begin(recipe: Recipe, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights that a recipe starts from, as its own networks have them."""
    if recipe.system != "extreme":
        return weights
    from ganic.extreme.recipe import begin

    return begin(recipe, weights)


class _System(Protocol):
    """What a system's module ``recipe`` has."""

    def table_of(self, recipe: Recipe, /) -> Table: ...

    def build(self, recipe: Recipe, /) -> Objective: ...


def _system(recipe: Recipe) -> _System:
    if recipe.system == "extreme":
        from ganic.extreme import recipe as extreme

        return extreme
    if recipe.system == "ganz":
        from ganic.ganz import recipe as ganz

        return ganz
    if recipe.system == "segmentation":
        from ganic.segmentation import recipe as segmentation

        return segmentation
    from ganic.jpeg import recipe as jpeg

    return jpeg
