"""``ganic encode``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, cast

import click

from ganic.allocator import keep_freed_memory
from ganic.cli import jobs, options
from ganic.cli.batch import Done, Status, run
from ganic.cli.progress import bar
from ganic.cli.together import Made, Together
from ganic.errors import InputError, UsageError

if TYPE_CHECKING:
    from ganic._api import FileCodec
    from ganic.cli.jobs import Job
    from ganic.ganz.budget import Progress
    from ganic.hardware import Precision
    from ganic.images import Picture
    from ganic.labels import Convention
    from ganic.models import ModelInfo
    from ganic.regions import Box


@click.command("encode", short_help="Compress pictures into .ganic files.")
@click.argument("inputs", nargs=-1, required=True, metavar="PICTURE...")
@options.output_options
@options.recursive_option
@options.rate_options
@options.region_options
@click.option(
    "--steps",
    type=click.IntRange(0),
    metavar="N",
    help="Of a search for what shows a picture best in its bytes.  [40; models that need none: 0]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="A limit of its time for each picture; Ctrl-C ends it too, and the best so far is kept.",
)
@click.option("--strip", is_flag=True, help="Leave out EXIF and XMP data (the ICC profile stays).")
@options.model_option
@options.precision_option
@options.status_options
def command(
    inputs: tuple[str, ...],
    output: str | None,
    force: bool,
    recursive: bool,
    rate: str | None,
    quality: float | None,
    target_bpp: float | None,
    target_size: int | None,
    labels: str | None,
    keep: list[str],
    drop: list[str],
    keep_box: list[Box],
    keep_mask: str | None,
    simplify_labels: int,
    background: float,
    segmenter: str | None,
    label_format: str,
    steps: int | None,
    seconds: float | None,
    strip: bool,
    model: str,
    precision: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compress pictures into .ganic files.

    Whatever Pillow opens is taken. photo.jpg becomes photo.ganic beside it; "-" is standard input, or with -o
    standard output. Several pictures, and folders with -r, go beside their originals or into the folder -o.
    """
    chosen = options.rate_of(rate, quality, target_bpp, target_size)
    work = jobs.plan(inputs, output, ".ganic", recursive=recursive, wanted=_is_picture)
    jobs.refuse_terminal(work)
    jobs.refuse_mixing(work, as_json)

    from ganic import models
    from ganic._api import Matters, load_codec

    found = models.find(model)
    searches = found.system == "ganz"
    budget = {name: value for name, value in (("steps", steps), ("seconds", seconds)) if value is not None}
    if seconds is not None and not searches:
        raise UsageError(f"--seconds: {found.name} has a search of --steps alone; leave out")
    if searches or steps:
        keep_freed_memory()
    codec = load_codec(model, cast("Precision", precision))
    amount: dict[str, Any] = {
        "quality": None if chosen.quality is None else chosen.quality / 100,
        "rate": chosen.name,
        "target_bpp": chosen.bpp,
        "target_bytes": chosen.size,
    }

    matters = Matters(
        labels, keep, drop, keep_box, keep_mask, simplify_labels, segmenter, cast("Convention", label_format)
    )

    def read(job: Job) -> Picture:
        jobs.check_target(job, force)
        return _read(job.source, strip)

    def code(job: Job) -> Made:
        started = time.perf_counter()
        picture = read(job)
        named = matters if labels is None else replace(matters, labels=_labels_for(labels, job.source))
        wanted = named.regions(picture, model)
        data = codec.encode(picture, regions=wanted, background=background / 100, steps=steps, **amount)
        return Made(picture, data, time.perf_counter() - started)

    make: Callable[[Job], Made] = code
    interruption = Event()  # of a search, whose best so far is kept
    if searches:
        from ganic.ganz.codec import NO_REGIONS

        if matters.is_said:
            raise UsageError(NO_REGIONS)
        silent = quiet or as_json

        def search(pictures: Sequence[Picture]) -> list[bytes]:
            if interruption.is_set():
                raise KeyboardInterrupt
            return _search(codec, pictures, amount, budget, interruption.set, silent=silent)

        make = Together(work, read, search)

    def encode(job: Job) -> Done:
        made = make(job)
        jobs.write(job, made.data, force)
        return _done(job, made, found, verbose)

    run(work, encode, Status(as_json, quiet), name=lambda job: jobs.shown(job.source), verb="encoding")
    if interruption.is_set():
        raise KeyboardInterrupt


def _read(source: str, strip: bool) -> Picture:
    from ganic import images

    if source == jobs.STDIO:
        picture = images.read(sys.stdin.buffer, name="standard input")
    else:
        picture = images.read(source)
    return replace(picture, exif=None, xmp=None) if strip else picture


def _search(
    codec: FileCodec,
    pictures: Sequence[Picture],
    amount: Mapping[str, Any],
    budget: Mapping[str, float],
    on_interrupt: Callable[[], None],
    *,
    silent: bool,
) -> list[bytes]:
    """The files of several pictures, by one search, with a bar that shows how far it is, and how good."""
    import math

    from ganic.ganz.codec import DEFAULT_STEPS, Codec

    steps = int(budget.get("steps", DEFAULT_STEPS))
    seconds = budget["seconds"] * len(pictures) if "seconds" in budget else None
    with bar(steps, "searching", silent=silent) as show:

        def report(progress: Progress) -> None:
            psnr = -10 * math.log10(max(float(progress.best.mean()), 1e-10))
            if show is not None:
                show(progress.step, f"searching, {psnr:.2f} dB")

        return cast(Codec, codec).encode_many(
            pictures, steps=steps, seconds=seconds, report=report, on_interrupt=on_interrupt, **amount
        )


def _labels_for(labels: str, source: str) -> str:
    """The label map of one picture: the file itself, or the one of the picture's name in a folder."""
    folder = Path(labels)
    if not folder.is_dir():
        return labels
    stem = Path(source).stem
    for suffix in (".png", ".json"):
        if (folder / f"{stem}{suffix}").is_file():
            return str(folder / f"{stem}{suffix}")
    raise InputError(f"{labels}: has no {stem}.png or {stem}.json, the label map of {source}; add it")


def _done(job: Job, made: Made, model: ModelInfo, verbose: bool) -> Done:
    picture, data = made.picture, made.data
    pixels = picture.width * picture.height
    bpp = 8 * len(data) / pixels
    line = f"{jobs.arrow(job)}: {len(data):,} bytes, {bpp:.4f} bpp, {picture.width}x{picture.height}"
    if verbose:
        line += f", {made.seconds:.2f} s, model {model.name} ({model.model_id.hex()})"
    record: dict[str, object] = {
        "input": job.source,
        "output": job.target,
        "bytes": len(data),
        "bpp": bpp,
        "width": picture.width,
        "height": picture.height,
        "input_bytes": None if job.source == jobs.STDIO else Path(job.source).stat().st_size,
        "model": model.name,
        "model_id": model.model_id.hex(),
        "seconds": round(made.seconds, 3),
    }
    return Done(line, record, len(data), pixels)


def _is_picture(path: Path) -> bool:
    """By its name: what a folder is searched for."""
    from PIL import Image

    kind = Image.registered_extensions().get(path.suffix.lower())
    return kind in Image.OPEN or path.suffix.lower() in (".heic", ".heif")
