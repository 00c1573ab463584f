"""`ganic generate`: JPEG files from a trained generator.

    from ganic.jpeg import generate, model
    for picture in generate.pictures(model.load("cifar10"), 100, quality=75, subsampling="4:2:0"):
        Path(f"{picture.index}.jpg").write_bytes(picture.data)

Picture i of seed S is the same bytes whatever ``start``, ``count`` and ``batch``: its noise depends on S and
i alone, and the network always sees pictures 64 k to 64 k + 63 together, because a convolution's last bits
may depend on the batch around a picture. On other processors or devices, last bits may differ too, and with
them now and then a coefficient.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ganic.errors import OutputError, UsageError
from ganic.files import write_atomic
from ganic.jpeg.coefficients import Coefficients
from ganic.jpeg.files import Layout, Planes, write_files
from ganic.jpeg.folder import FolderWriter
from ganic.jpeg.model import JpegModel
from ganic.jpeg.noise import draws
from ganic.jpeg.sampling import Subsampling
from ganic.jpeg.settings import Settings
from ganic.jpeg.synthesis import Noise
from ganic.jpeg.tables import check_quality, quantisation_tables
from ganic.jpeg.tar import TarWriter

TOGETHER = 64
"""Pictures in every call of the network."""

BATCH = 512
SUFFIXES = (".jpg", ".jpeg")
RESERVE = 1.05
"""Free space asked for, per byte expected."""


@dataclass(frozen=True)
class GeneratedPicture:
    """``index`` i of the seed; ``label`` None where the model has no classes; ``data``: a whole .jpg file."""

    index: int
    label: int | None
    data: bytes


def pictures(
    model: JpegModel,
    count: int,
    *,
    quality: int = 75,
    subsampling: str | Subsampling = "4:2:0",
    seed: int = 0,
    label: int | None = None,
    start: int = 0,
    batch: int = BATCH,
    layout: Layout = "compact",
) -> Iterator[GeneratedPicture]:
    """Pictures ``start`` to ``start + count - 1`` of a seed, in order.

    ``quality`` 1..100; ``subsampling`` 4:4:4, 4:2:2 or 4:2:0; ``label``: all pictures of this class (see
    ``JpegModel.label_of``), else their classes are drawn from the seed; ``batch``: how many pictures to hold
    in memory; ``layout``: of the files, see `write_files`. Raises UsageError before the first picture for
    anything out of range.
    """
    quality, subsampling = check_quality(quality), Subsampling.parse(subsampling)
    if count < 0 or start < 0 or batch < 1:
        raise UsageError(
            f"generate: count {count}, start {start}, batch {batch}; none may be negative, batch at least 1"
        )
    classes = model.generator.classes
    if label is not None and not 0 <= label < classes:
        raise UsageError(f"class: {label}; {model.name} has {classes or 'no'} classes")
    draws(seed, 0, 0, 1, 0)  # checks the seed
    wanted = range(start, start + count)
    return _pictures(model, wanted, quality, subsampling, seed, label, batch, layout)


def _pictures(
    model: JpegModel,
    wanted: range,
    quality: int,
    subsampling: Subsampling,
    seed: int,
    label: int | None,
    batch: int,
    layout: Layout,
) -> Iterator[GeneratedPicture]:
    tables = quantisation_tables(quality)
    per_step = max(1, batch // TOGETHER) * TOGETHER
    for first in range(wanted.start // TOGETHER * TOGETHER, wanted.stop, per_step):
        last = min(first + per_step, wanted.stop)
        parts, labels = [], []
        for group in range(first, last, TOGETHER):
            planes, group_labels = _planes(model, group, quality, subsampling, seed, label)
            parts.append(planes)
            labels.append(group_labels)
        kept = slice(max(wanted.start - first, 0), last - first)
        files = write_files(joined(parts)[kept], tables, subsampling, layout=layout)
        known = np.concatenate(labels)[kept].tolist() if model.generator.classes else [None] * len(files)
        for offset, (data, one) in enumerate(zip(files, known, strict=True)):
            yield GeneratedPicture(first + kept.start + offset, one, data)


def _planes(
    model: JpegModel, first: int, quality: int, subsampling: Subsampling, seed: int, label: int | None
) -> tuple[Planes, np.ndarray]:
    """The coefficients of pictures ``first`` to ``first + 63``, and their labels."""
    generator = model.generator
    drawn = draws(seed, first, TOGETHER, generator.latent, generator.classes)
    labels = drawn.label if label is None else np.full(TOGETHER, label, dtype=np.int64)
    noise = Noise(torch.from_numpy(drawn.latent).to(model.device), torch.from_numpy(labels).to(model.device))
    return coefficients_of(model, noise, quality, subsampling).planes(), labels


def coefficients_of(model: JpegModel, noise: Noise, quality: int, subsampling: Subsampling) -> Coefficients:
    """One batch through the network."""
    settings = Settings.same(len(noise.latent), quality, subsampling, model.device)
    painted = model.paint(noise, settings)
    with torch.inference_mode():
        return model.generator.code(painted, settings.quality, subsampling)


def joined(parts: Sequence[Planes]) -> Planes:
    """Batches of one size, one after the other."""
    return Planes(
        np.concatenate([part.luminance for part in parts]),
        np.concatenate([part.blue for part in parts]),
        np.concatenate([part.red for part in parts]),
    )


@dataclass(frozen=True)
class Summary:
    """``count`` pictures of ``bytes`` in all; ``made`` now, in ``seconds``; the others were there already."""

    count: int
    bytes: int
    made: int
    seconds: float

    @property
    def pictures_per_second(self) -> float:
        return self.made / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_picture(self) -> float:
        return self.bytes / self.count if self.count else 0.0


class Writer(Protocol):
    """Where pictures go; what is there already counts in ``pictures`` and ``total``."""

    path: Path
    pictures: int
    total: int
    """Bytes of the pictures."""
    overhead: int
    """Bytes on the disk for each picture beside its own, about."""

    def add(self, index: int, label: int | None, data: bytes) -> None:
        """Append picture ``index``, the next one."""

    def flush(self) -> None:
        """Hand what was added to the operating system."""

    def finish(self, labels: Sequence[int] | None) -> None:
        """Every picture is there; ``labels`` of all of them, where there are classes."""

    def close(self) -> None:
        """Leave what there is so that it can be gone on with."""


def generate(
    model: JpegModel,
    count: int,
    output: str | Path,
    *,
    quality: int = 75,
    subsampling: str | Subsampling = "4:2:0",
    seed: int = 0,
    label: int | None = None,
    batch: int = BATCH,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Summary:
    """Write ``count`` pictures to ``output``: NAME.tar (WebDataset layout), NAME.jpg (one picture), or a
    folder.

    ``resume``: go on with what an interrupted call left there. ``progress`` is told how many pictures are
    there. Arguments are checked, and the space on the disk is estimated from the first pictures, before work
    is done that could be lost. Raises UsageError, OutputError, ModelError.
    """
    output = Path(output)
    if count < 1:
        raise UsageError(f"count: {count}; make at least one picture")
    options = {
        "quality": check_quality(quality),
        "subsampling": str(Subsampling.parse(subsampling)),
        "seed": seed,
    }
    pictures(model, 0, quality=quality, subsampling=subsampling, seed=seed, label=label, batch=batch)
    started = time.perf_counter()
    if output.suffix.lower() in SUFFIXES:
        if count != 1:
            raise UsageError(f"{output}: one file for {count} pictures; name a folder or a .tar file")
        (only,) = pictures(model, 1, quality=quality, subsampling=subsampling, seed=seed, label=label)
        write_atomic(output, only.data, overwrite=overwrite)
        return Summary(1, len(only.data), 1, time.perf_counter() - started)

    labelled = model.generator.classes > 0
    about = {"model": model.model_id.hex(), "class": label, "bf16": model.bf16, **options}
    if model.generator.truncation < 1:
        about["truncation"] = model.generator.truncation
    writer: Writer
    if output.suffix.lower() == ".tar":
        writer = TarWriter(output, about, labelled=labelled, resume=resume, overwrite=overwrite)
    else:
        writer = FolderWriter(output, about, resume=resume, overwrite=overwrite)
    try:
        done = writer.pictures
        if done > count:
            raise OutputError(
                f"{output}: has {done} pictures already, more than {count}; ask for at least as many"
            )
        made = pictures(
            model,
            count - done,
            quality=quality,
            subsampling=subsampling,
            seed=seed,
            label=label,
            start=done,
            batch=batch,
        )
        _add_all(writer, made, count, batch, progress)
        writer.finish(_labels(model, count, seed, label) if labelled else None)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be written: {error.strerror or error}; {writer.pictures} of {count} pictures "
            "are kept: free space and go on with --resume"
        ) from error
    finally:
        writer.close()
    return Summary(count, writer.total, count - done, time.perf_counter() - started)


def _add_all(
    writer: Writer,
    made: Iterator[GeneratedPicture],
    count: int,
    batch: int,
    progress: Callable[[int], object] | None,
) -> None:
    checked = False
    for picture in made:
        writer.add(picture.index, picture.label, picture.data)
        if writer.pictures % batch == 0 or writer.pictures == count:
            writer.flush()
            if not checked:
                _check_space(writer, count)
                checked = True
            if progress:
                progress(writer.pictures)


def _check_space(writer: Writer, count: int) -> None:
    """Raises OutputError if the disk will not hold the rest, going by the pictures so far."""
    needed = RESERVE * (count - writer.pictures) * (writer.total / writer.pictures + writer.overhead)
    free = shutil.disk_usage(writer.path if writer.path.is_dir() else writer.path.parent).free
    if needed > free:
        raise OutputError(
            f"{writer.path}: {count} pictures need about {needed / 1e6:,.0f} MB more, and "
            f"{free / 1e6:,.0f} MB are free; free space and go on with --resume"
        )


def _labels(model: JpegModel, count: int, seed: int, label: int | None) -> list[int]:
    """The class of each of the first ``count`` pictures."""
    if label is not None:
        return [label] * count
    labels: list[int] = []
    for start in range(0, count, BATCH):
        n = min(BATCH, count - start)
        labels += draws(seed, start, n, model.generator.latent, model.generator.classes).label.tolist()
    return labels
