"""Training pictures, decoded once and kept in memory as far as a budget goes.

The rest is decoded again at every use.  Which pictures are kept depends on the data and the budget alone, and
what a picture looks like does not depend on whether it is kept.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganic import images
from ganic.errors import DataError, GanicError
from ganic.labels.reading import stored_levels
from ganic.training.data_hash import near, perceptual_hash
from ganic.training.recipes import Data
from ganic.training.sources import Record

ROTATED = frozenset((5, 6, 7, 8))
"""Values of EXIF's orientation that exchange height and width."""


@dataclass(frozen=True)
class Sample:
    """A decoded picture: uint8 [3, h, w], and its label map, uint8 [h, w], where there is one."""

    image: Tensor
    map: Tensor | None = None


@dataclass(frozen=True)
class Skipped:
    """A picture that is not trained on, and why."""

    name: str
    reason: str


class Store:
    """Pictures by number.  Numbers of skipped ones stay, with weight 0.

    Attributes: ``names``; ``sizes`` int64 [n, 2], height and width as trained on; ``labels`` int64 [n] or
    None; ``skipped``, which grows when a picture turns out damaged only at its use; ``resident``, whether
    all usable pictures are in memory; ``device``, whose memory that is (what is decoded late is on the CPU).
    """

    def __init__(
        self,
        names: Sequence[str],
        sizes: NDArray[np.int64],
        labels: NDArray[np.int64] | None,
        kept: dict[int, Sample],
        decode: Callable[[int], Sample],
        skipped: list[Skipped],
        device: torch.device,
    ) -> None:
        self.names = names
        self.sizes = sizes
        self.labels = labels
        self.device = device
        self.skipped = skipped
        self.resident = len(kept) == int((sizes[:, 0] > 0).sum())
        self._kept = kept
        self._decode = decode
        self._damaged: set[int] = set()

    def __len__(self) -> int:
        return len(self.names)

    def get(self, index: int) -> Sample | None:
        """Picture ``index``; None where it cannot be decoded, which ``skipped`` then says."""
        sample = self._kept.get(index)
        if sample is not None or index in self._damaged:
            return sample
        try:
            return self._decode(index)
        except (GanicError, OSError) as error:
            self._damaged.add(index)
            self.skipped.append(Skipped(self.names[index], str(error)))
            return None


def from_arrays(
    pictures: Tensor, labels: Sequence[int] | NDArray[np.int64] | None = None, maps: Tensor | None = None
) -> Store:
    """A store of what is in memory already: uint8 [n, 3, h, w]; labels [n]; maps uint8 [n, h, w]."""
    count, _, height, width = pictures.shape
    kept = {i: Sample(pictures[i], None if maps is None else maps[i]) for i in range(count)}
    return Store(
        names=[str(i) for i in range(count)],
        sizes=np.tile(np.array([[height, width]], dtype=np.int64), (count, 1)),
        labels=None if labels is None else np.asarray(labels, dtype=np.int64),
        kept=kept,
        decode=kept.__getitem__,
        skipped=[],
        device=pictures.device,
    )


def fill(
    records: Sequence[Record],
    settings: Data,
    *,
    crop: int,
    device: torch.device | str = "cpu",
    test: Sequence[Record] = (),
    workers: int | None = None,
) -> Store:
    """Look at every picture once, and keep in the memory of ``device`` what ``settings.memory_mib`` allows.

    Skipped, with their reasons: what cannot be read, what is smaller than ``crop`` (after ``settings.box``
    and ``settings.short_side``), what has a label map of another size, and what looks like a picture of
    ``test`` (see ``data_hash``; this needs every picture decoded, also those that are not kept).
    Raises DataError when nothing is left, or when only some records have labels or maps.
    """
    labels, has_maps = (
        _labels(records, settings),
        _all_or_none([r.map is not None for r in records], "a label map"),
    )
    reader = _Reader(records, settings, crop)
    skipped: list[Skipped] = []
    sizes = np.zeros((len(records), 2), dtype=np.int64)
    budget = settings.memory_mib * 2**20
    wanted: set[int] = set()
    with ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1)) as pool:
        for i, size in enumerate(_in_order(pool, reader.try_size, range(len(records)))):
            if isinstance(size, Skipped):
                skipped.append(size)
                continue
            sizes[i] = size
            needed = size[0] * size[1] * (3 + has_maps)
            if needed <= budget:
                budget -= needed
                wanted.add(i)
        usable = [i for i in range(len(records)) if sizes[i, 0]]
        kept: dict[int, Sample] = {}
        hashes: dict[int, int] = {}
        looked_at = usable if test else sorted(wanted)
        for i, result in zip(looked_at, _in_order(pool, reader.try_sample, looked_at), strict=True):
            if isinstance(result, Skipped):
                skipped.append(result)
                sizes[i] = 0
                continue
            if test:
                hashes[i] = _hash(result)
            if i in wanted:
                kept[i] = Sample(
                    result.image.to(device), None if result.map is None else result.map.to(device)
                )
        for i, reason in _lookalikes(hashes, test, settings, pool):
            skipped.append(Skipped(records[i].name, reason))
            sizes[i] = 0
            kept.pop(i, None)
    if not sizes.any():
        examples = "; ".join(f"{s.name}: {s.reason}" for s in skipped[:3])
        raise DataError(f"training data: none of {len(records)} pictures can be used ({examples})")
    return Store([r.name for r in records], sizes, labels, kept, reader.sample, skipped, torch.device(device))


class _Reader:
    """Decodes records as the recipe wants them."""

    def __init__(self, records: Sequence[Record], settings: Data, crop: int) -> None:
        self.records, self.settings, self.crop = records, settings, crop

    def sample(self, index: int) -> Sample:
        """Raises GanicError or OSError."""
        record = self.records[index]
        picture = images.read(record.picture.read()).image
        labels = None
        if record.map is not None:
            labels = read_map(record.map.read(), picture.size, self.settings.map_values)
        picture = self._prepared(picture, Image.Resampling.LANCZOS)
        if min(picture.size) < self.crop:  # the header said otherwise
            raise DataError("smaller than the crop")
        image = torch.from_numpy(np.array(picture, dtype=np.uint8)).permute(2, 0, 1).contiguous()
        if labels is None:
            return Sample(image)
        labels = self._prepared(labels, Image.Resampling.NEAREST)
        return Sample(image, torch.from_numpy(np.array(labels, dtype=np.uint8)))

    def try_sample(self, index: int) -> Sample | Skipped:
        try:
            return self.sample(index)
        except (GanicError, OSError) as error:
            return Skipped(self.records[index].name, str(error))

    def try_size(self, index: int) -> tuple[int, int] | Skipped:
        """Height and width after preparation, from the file's header alone."""
        record = self.records[index]
        try:
            with Image.open(io.BytesIO(record.picture.read())) as image:
                width, height = image.size
                if image.getexif().get(0x0112) in ROTATED:
                    width, height = height, width
        except Exception as error:  # Pillow's readers raise whatever a hostile file makes them raise
            return Skipped(record.name, f"not a readable picture ({error})")
        box = self.settings.box
        if box is not None:
            if box[0] + box[2] > width or box[1] + box[3] > height:
                return Skipped(record.name, f"{width} x {height} pixels do not hold the box {list(box)}")
            width, height = box[2], box[3]
        width, height = self._shrunk(width, height)
        if min(width, height) < self.crop:
            return Skipped(record.name, f"{width} x {height} pixels are smaller than the crop of {self.crop}")
        return height, width

    def _shrunk(self, width: int, height: int) -> tuple[int, int]:
        short = self.settings.short_side
        if short is None or min(width, height) <= short:
            return width, height
        factor = short / min(width, height)
        return max(short, round(width * factor)), max(short, round(height * factor))

    def _prepared(self, image: Image.Image, resampling: Image.Resampling) -> Image.Image:
        if self.settings.box is not None:
            left, top, width, height = self.settings.box
            image = image.crop((left, top, left + width, top + height))
        size = self._shrunk(*image.size)
        return image if size == image.size else image.resize(size, resampling)


def read_map(data: bytes, size: tuple[int, int], values: Sequence[int] = ()) -> Image.Image:
    """A label map as an L image whose values are the labels: ``values[v]`` for v in the file, 255 beyond.

    Without ``values``, the file's own.  Raises DataError where it is none of a picture of this size.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            levels = stored_levels(image)
            image.load()
            if image.mode not in ("L", "P"):
                raise DataError(f"its label map has mode {image.mode}; grey or palette (8 bits) is needed")
            labels = Image.fromarray(np.array(image, dtype=np.uint8) // (255 // (levels - 1)))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"its label map cannot be read ({error})") from error
    if labels.size != size:
        raise DataError(
            f"its label map has {labels.size[0]} x {labels.size[1]} pixels, the picture {size[0]} x {size[1]}"
        )
    return labels.point([*values, *[255] * (256 - len(values))]) if values else labels


def _labels(records: Sequence[Record], settings: Data) -> NDArray[np.int64] | None:
    if settings.classes == "none":
        return None
    if not _all_or_none([record.label is not None for record in records], "a class"):
        raise DataError("training data: no picture has a class; set classes to none or add .cls members")
    return np.array([record.label for record in records], dtype=np.int64)


def _all_or_none(present: Sequence[bool], what: str) -> bool:
    if any(present) and not all(present):
        raise DataError(
            f"training data: {sum(present)} of {len(present)} pictures have {what}; all of them must, or none"
        )
    return bool(present) and present[0]


def _hash(sample: Sample) -> int:
    return perceptual_hash(Image.fromarray(sample.image.permute(1, 2, 0).numpy()))


def _lookalikes(
    hashes: dict[int, int], test: Sequence[Record], settings: Data, pool: ThreadPoolExecutor
) -> Iterator[tuple[int, str]]:
    """(index, reason) for every training picture near one of ``test``.

    Both sides are compared as trained on: the test pictures go through the same box.
    """
    if not test:
        return
    reader = _Reader(test, settings.model_copy(update={"maps": ()}), crop=1)
    readable = [
        (record.name, _hash(result))
        for record, result in zip(test, _in_order(pool, reader.try_sample, range(len(test))), strict=True)
        if isinstance(result, Sample)
    ]
    indices = list(hashes)
    for pair in near([hashes[i] for i in indices], [value for _, value in readable], settings.near):
        name = readable[pair.second][0]
        yield indices[pair.first], f"looks like the test picture {name} ({pair.bits} of 64 bits differ)"


Result = TypeVar("Result")


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[int], Result], indices: Iterable[int]
) -> Iterator[Result]:
    """``pool.map`` that never holds more than a few dozen results that nobody has taken yet."""
    pending: list[Future[Result]] = []
    for index in indices:
        pending.append(pool.submit(function, index))
        if len(pending) >= 32:
            yield pending.pop(0).result()
    for future in pending:
        yield future.result()
