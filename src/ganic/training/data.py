"""Batches: the same ones for the same recipe, however often a run is interrupted or split.

Sample i of draw d of a run with seed s depends on (s, d, i) and the data alone.  Several processes share a
draw: process r of n takes samples r b/n to (r + 1) b/n, so a run under torchrun sees the batches of a run of
one process.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ganic.errors import DataError, RecipeError
from ganic.training import sources, store
from ganic.training.augment import Window, cut, cut_map, draw_colours, draw_window, recolour
from ganic.training.distributed import Team
from ganic.training.recipes import Data, Recipe
from ganic.training.store import Skipped, Store
from ganic.water_filling import SIDE, RateCurve, rate_at

LOGGER = logging.getLogger(__name__)

ATTEMPTS = 100
"""Pictures that may be drawn in a row before the data count as unusable if all are damaged, and as having no
calm ones if none is calm."""


WINDOWS = 4
"""Of which one becomes a crop where rates are asked for."""

CALM = 160.0
"""Water level in squared grey levels below which a picture needs few bits for its rate.  Less than a fifth of
pictures are like that, and their gradients are as good as orthogonal to those of others."""


class _Asked(NamedTuple):
    """What batches say of a crop where rates are asked for, see ``objective.Batch``."""

    rate: float
    level: float
    weight: float


class Batches(Protocol):
    """What the loop needs of data."""

    def batch(self, draw: int) -> dict[str, Tensor]:
        """This process's share of batch number ``draw`` (any integer >= 0, in any order), on its device.

        See ``objective.Batch`` for the contents.
        """
        ...

    def describe(self) -> dict[str, object]:
        """What the data are, for the log: JSON values."""
        ...

    def newly_skipped(self) -> Sequence[Skipped]:
        """Pictures found damaged since the last call (the first call: since the beginning)."""
        ...


def held_back(recipe: Recipe, team: Team) -> list[Tensor]:
    """The pictures of ``data.validation``, uint8 [3, h, w] on the team's device, prepared as those of
    training; a warning where there are none, as with other people's data.

    Raises DataError for pictures that cannot be used.
    """
    settings = recipe.data
    found, _, _ = sources.exclude(sources.find(settings.sources), settings.exclude)
    _, held, _ = sources.exclude(found, settings.validation)
    if not held:
        LOGGER.warning("data.validation: none of these pictures is in data.sources; nothing is validated")
        return []
    plain = settings.model_copy(update={"maps": (), "classes": "none"})
    pictures = store.fill(held, plain, crop=1)
    samples = [pictures.get(index) for index in range(len(pictures))]
    if pictures.skipped:
        first = pictures.skipped[0]
        raise DataError(f"{first.name}: of data.validation, but {first.reason}; name another")
    return [sample.image.to(team.device) for sample in samples if sample is not None]


class PictureBatches:
    """Random crops of the pictures of a store."""

    def __init__(
        self, pictures: Store, settings: Data, *, crop: int, batch: int, seed: int, team: Team
    ) -> None:
        if batch % team.size:
            raise RecipeError(f"batch: {batch} pictures do not divide among {team.size} processes")
        if settings.rates is not None and crop < SIDE:
            raise RecipeError(
                f"data.rates: crops of {crop} pixels say nothing of rates; crop at least {SIDE}"
            )
        self.pictures, self.settings, self.crop, self.seed, self.team = pictures, settings, crop, seed, team
        share = batch // team.size
        self._samples = range(team.rank * share, (team.rank + 1) * share)
        areas = pictures.sizes.prod(axis=1).astype(np.float64)
        weights = areas if settings.weight == "pixels" else (areas > 0).astype(np.float64)
        self._cumulative = np.cumsum(weights) / weights.sum()
        self._cumulative /= self._cumulative[-1]  # exactly 1, so that no draw falls behind the last picture
        self._curves: dict[int, RateCurve] = {}
        self._reported = 0
        self._excluded: list[str] = []
        self._unmatched: list[str] = []
        # Work on the host is done while the device trains: decoding, and cropping for another device.
        on_host = not pictures.resident or (team.device.type != "cpu" and pictures.device.type == "cpu")
        self._worker = ThreadPoolExecutor(1) if on_host else None
        self._ahead: tuple[int, Future[dict[str, Tensor]]] | None = None

    @classmethod
    def of(cls, recipe: Recipe, team: Team) -> PictureBatches:
        """The pictures that the recipe's [data] table describes; raises DataError."""
        settings = recipe.data
        if not settings.sources:
            raise RecipeError(
                f"{recipe.source}: data.sources: missing; name folders of pictures or .tar shards"
            )
        found = sources.find(
            settings.sources,
            settings.maps,
            map_names=settings.map_names,
            class_folders=settings.classes == "folders",
        )
        kept, excluded, unmatched = sources.exclude(found, settings.exclude)
        kept, held, missing = sources.exclude(kept, settings.validation)
        alike = [*excluded, *held] if settings.exclude_alike else held
        pictures = store.fill(
            kept,
            settings,
            crop=recipe.crop,
            device=team.device,
            test=[*sources.find(settings.test), *alike],
        )
        batches = cls(pictures, settings, crop=recipe.crop, batch=recipe.batch, seed=recipe.seed, team=team)
        batches._excluded = [record.name for record in excluded]
        batches._unmatched = [*unmatched, *missing]
        return batches

    def batch(self, draw: int) -> dict[str, Tensor]:
        """Raises DataError when nearly every picture turns out damaged."""
        if self._worker is None:
            return self._assemble(draw)
        if self._ahead is not None and self._ahead[0] == draw:
            made = self._ahead[1].result()
        else:
            made = self._worker.submit(self._assemble, draw).result()
        self._ahead = (draw + 1, self._worker.submit(self._assemble, draw + 1))
        return {name: tensor.to(self.team.device, non_blocking=True) for name, tensor in made.items()}

    def describe(self) -> dict[str, object]:
        usable = self.pictures.sizes[:, 0] > 0
        return {
            "pictures": int(usable.sum()),
            "megapixels": round(float(self.pictures.sizes.prod(axis=1).sum()) / 1e6, 1),
            "in_memory": self.pictures.resident,
            "excluded": self._excluded,
            "excluded_patterns_without_match": self._unmatched,
        }

    def newly_skipped(self) -> Sequence[Skipped]:
        new = self.pictures.skipped[self._reported :]
        self._reported += len(new)
        return new

    def _assemble(self, draw: int) -> dict[str, Tensor]:
        indices: list[int] = []
        crops: list[Tensor] = []
        maps: list[Tensor] = []
        colours: list[Tensor] = []
        asked: list[_Asked] = []
        for i in self._samples:
            rng = np.random.default_rng((self.seed, draw, i))
            index, sample, rate = self._draw(rng)
            if rate is None:
                window = self._window(rng, sample)
                crop = cut(sample.image, window, self.crop)
            else:
                window, crop, request = self._ask(rng, index, sample, rate)
                asked.append(request)
            indices.append(index)
            crops.append(crop.to(self.pictures.device))
            if sample.map is not None:
                maps.append(cut_map(sample.map, window, self.crop).to(self.pictures.device))
            colours.append(torch.from_numpy(draw_colours(rng, self.settings)).float())
        images = torch.stack(crops)
        if self.settings.colour or self.settings.grey or self.settings.vivid:
            images = recolour(images, torch.stack(colours).to(images.device))
        batch = {"image": images.contiguous(memory_format=torch.channels_last)}
        if self.pictures.labels is not None:
            batch["label"] = torch.from_numpy(self.pictures.labels[indices]).to(images.device)
        if maps:
            batch["map"] = torch.stack(maps)
        for name in _Asked._fields if asked else ():
            batch[name] = torch.tensor([getattr(request, name) for request in asked], device=images.device)
        if self.team.device.type == "cuda" and images.device.type == "cpu":
            batch = {name: tensor.pin_memory() for name, tensor in batch.items()}
        return batch

    def _window(self, rng: np.random.Generator, sample: store.Sample) -> Window:
        _, height, width = sample.image.shape
        return draw_window(rng, height, width, self.crop, self.settings)

    def _ask(
        self, rng: np.random.Generator, index: int, sample: store.Sample, rate: float
    ) -> tuple[Window, Tensor, _Asked]:
        """A part of a picture that should have this rate as a whole.

        There is something to learn where a picture's bits are: of a few windows one is chosen with a chance
        that grows with its bits, and counts as much less.
        """
        curve = self._curve(index, sample)
        windows = [self._window(rng, sample) for _ in range(WINDOWS)]
        crops = [cut(sample.image, window, self.crop) for window in windows]
        levels = [curve.level(rate, window.scale(self.crop)) for window in windows]
        shares = [1 + rate_at(255 * crop, level) / rate for crop, level in zip(crops, levels, strict=True)]
        chances = np.array(shares) / sum(shares)
        chosen = int(rng.choice(WINDOWS, p=chances))
        request = _Asked(rate, levels[chosen], 1 / (WINDOWS * float(chances[chosen])))
        return windows[chosen], crops[chosen], request

    def _draw(self, rng: np.random.Generator) -> tuple[int, store.Sample, float | None]:
        """A picture, and the rate that it should have, if any is asked for."""
        if self.settings.rates is None:
            return *self._pick(rng), None
        low, high = self.settings.rates
        calm = self.settings.calm > 0 and rng.random() < self.settings.calm
        for _ in range(ATTEMPTS):
            index, sample = self._pick(rng)
            rate = low * (high / low) ** rng.random()
            if not calm or self._curve(index, sample).level(rate) < CALM:
                break
        return index, sample, rate

    def _curve(self, index: int, sample: store.Sample) -> RateCurve:
        if index not in self._curves:
            self._curves[index] = RateCurve(sample.image, self.settings.scale[0])
        return self._curves[index]

    def _pick(self, rng: np.random.Generator) -> tuple[int, store.Sample]:
        for _ in range(ATTEMPTS):
            index = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
            sample = self.pictures.get(index)
            if sample is not None:
                return index, sample
        last = self.pictures.skipped[-1]
        raise DataError(
            f"training data: {ATTEMPTS} damaged pictures drawn in a row; the last: {last.name}: {last.reason}"
        )
