"""Training batches of small labelled pictures, all of them in the memory of the training device.

Sample i of draw d of a run with seed s depends on (s, d, i) and the data alone, as in ``training/data.py``,
which serves large pictures; this one takes a batch in a few operations instead of a few per picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganic.errors import DataError, RecipeError
from ganic.jpeg import datasets
from ganic.jpeg.labelled import LabelledPictures
from ganic.jpeg.recipe import table_of
from ganic.training.data import Batches, PictureBatches
from ganic.training.distributed import Team
from ganic.training.recipes import Recipe
from ganic.training.sources import expand
from ganic.training.store import Skipped

OBEYED_BY_SETS = ("sources", "classes", "box", "flips", "memory_mib")
"""Keys of [data] that sets in memory obey; others are refused."""


def batches_of(recipe: Recipe, team: Team) -> Batches:
    """What the recipe's [data] table describes.

    A CIFAR-10 folder, a zip file or an lmdb are read whole (``data.box`` and ``data.flips`` apply; at most
    ``data.memory_mib`` of a zip file or lmdb); everything else goes through ``training/data.py``.
    """
    sources = [Path(expand(source)) for source in recipe.data.sources]
    limit = recipe.data.memory_mib * 2**20 // (3 * recipe.crop**2)
    loaded = [datasets.load(source, recipe.crop, box=recipe.data.box, limit=limit) for source in sources]
    sets = [one for one in loaded if one is not None]
    classes = getattr(table_of(recipe), "classes", 0)
    if not sets:
        if classes and recipe.data.classes == "none":
            raise RecipeError(
                f"{recipe.source}: data.classes: none, and the objective has {classes}; label pictures by "
                'their folders (data.classes = "folders"), or set objective.classes to 0'
            )
        return PictureBatches.of(recipe, team)
    _check_settings(recipe)
    if len(sets) < len(sources):
        raise RecipeError(f"{recipe.source}: data.sources: picture folders cannot be mixed with whole sets")
    with_labels = [one.labels for one in sets if one.labels is not None]
    if with_labels and len(with_labels) < len(sets):
        raise RecipeError(f"{recipe.source}: data.sources: some sets have labels and some have none")
    pictures = LabelledPictures(
        np.concatenate([one.pictures for one in sets]),
        np.concatenate(with_labels) if with_labels else None,
        sets[0].classes,
    )
    _check_pictures(recipe, pictures, classes)
    return SmallBatches(
        pictures, batch=recipe.batch, seed=recipe.seed, flip=recipe.data.flips != "none", team=team
    )


def _check_settings(recipe: Recipe) -> None:
    """Raises RecipeError for what would be ignored."""
    settings = recipe.data
    fields = type(settings).model_fields
    ignored = [
        name
        for name, field in fields.items()
        if name not in OBEYED_BY_SETS and getattr(settings, name) != field.default
    ]
    if settings.flips == "hv":
        ignored.append("flips")
    if ignored:
        raise RecipeError(
            f"{recipe.source}: data.{', data.'.join(ignored)}: not for sets that are read whole (CIFAR-10, "
            "zip files, lmdb); leave out, or unpack them into folders"
        )


def _check_pictures(recipe: Recipe, pictures: LabelledPictures, classes: int) -> None:
    """Raises RecipeError where the pictures are not what the objective is about."""
    height, width = pictures.pictures.shape[1:3]
    if (height, width) != (recipe.crop, recipe.crop):
        raise RecipeError(
            f"{recipe.source}: crop: {recipe.crop}; the pictures of data.sources have {width}x{height} pixels"
        )
    if classes and pictures.labels is None:
        raise RecipeError(
            f"{recipe.source}: data.sources: no labels, and the objective has {classes} classes; set "
            "objective.classes to 0, or use labelled pictures"
        )
    if classes and pictures.labels is not None and pictures.labels.max() >= classes:
        raise RecipeError(
            f"{recipe.source}: objective.classes: {classes}; there are labels up to {pictures.labels.max()}"
        )


class SmallBatches:
    """Pictures drawn evenly, mirrored left to right half of the time where ``flip``."""

    def __init__(self, pictures: LabelledPictures, *, batch: int, seed: int, flip: bool, team: Team) -> None:
        if batch % team.size:
            raise RecipeError(f"batch: {batch} pictures do not divide among {team.size} processes")
        if len(pictures) == 0:
            raise DataError("training data: no pictures")
        share = batch // team.size
        self.batch_size, self.seed, self.flip, self.team = batch, seed, flip, team
        self._mine = slice(team.rank * share, (team.rank + 1) * share)
        planes = torch.from_numpy(np.ascontiguousarray(pictures.pictures)).permute(0, 3, 1, 2)
        self._pictures = planes.to(team.device)
        self._labels = None if pictures.labels is None else torch.from_numpy(pictures.labels).to(team.device)

    def batch(self, draw: int) -> dict[str, Tensor]:
        """See ``training/objective.Batch``."""
        rng = np.random.default_rng((self.seed, draw))
        indices = rng.integers(len(self._pictures), size=self.batch_size)[self._mine]
        flipped = (rng.random(self.batch_size) < 0.5)[self._mine]
        index = torch.from_numpy(indices).to(self.team.device)
        image = self._pictures[index].float() / 255
        if self.flip:
            mirrored = torch.from_numpy(flipped).to(self.team.device)[:, None, None, None]
            image = torch.where(mirrored, image.flip(3), image)
        batch = {"image": image.contiguous(memory_format=torch.channels_last)}
        if self._labels is not None:
            batch["label"] = self._labels[index]
        return batch

    def describe(self) -> dict[str, object]:
        return {"pictures": len(self._pictures), "labels": self._labels is not None, "flips": self.flip}

    def newly_skipped(self) -> Sequence[Skipped]:
        """None: a set that has a damaged picture is refused whole."""
        return ()
