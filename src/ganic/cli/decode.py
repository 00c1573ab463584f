"""``ganic decode``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ganic.cli import jobs, options
from ganic.cli.batch import Done, Status, run
from ganic.files import is_stream

if TYPE_CHECKING:
    from ganic.cli.jobs import Job
    from ganic.hardware import Precision


def _says_nothing(target: str, given: str | None) -> bool:
    """Whether the name of a file to be written leaves its format open."""
    return target == jobs.STDIO or (not Path(target).suffix and (bool(given) or is_stream(target)))


@click.command("decode", short_help="Turn .ganic files into pictures.")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@options.output_options
@options.recursive_option
@click.option(
    "--format",
    "suffix",
    metavar="EXT",
    help="png (the default), webp, tiff, jpg, avif, ...: where -o does not say it.",
)
@click.option(
    "--fidelity",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="0..1",
    help="0: most realistic. 1: least distortion, smoother.",
)
@options.decoding_model_option
@options.precision_option
@options.status_options
def command(
    inputs: tuple[str, ...],
    output: str | None,
    force: bool,
    recursive: bool,
    suffix: str | None,
    fidelity: float,
    model: str | None,
    precision: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Turn .ganic files into pictures.

    photo.ganic becomes photo.png beside it. The name given with -o decides the format; ICC profile, EXIF, XMP
    and transparency go with the picture. "-" is standard input, or with -o standard output.
    """
    extension = "." + (suffix or "png").lower().lstrip(".")
    work = jobs.plan(inputs, output, extension, recursive=recursive, wanted=jobs.is_ganic)
    jobs.refuse_terminal(work)
    jobs.refuse_mixing(work, as_json)

    from ganic import _api, bitstream
    from ganic.cli import picture_files

    kinds = {
        job.target: picture_files.kind_of(extension if _says_nothing(job.target, suffix) else job.target)
        for job in work
    }

    def decode(job: Job) -> Done:
        jobs.check_target(job, force)
        started = time.perf_counter()
        data = jobs.read(job.source)
        header = bitstream.read_header(data)
        image = _api.decode(data, model=model, fidelity=fidelity, precision=cast("Precision", precision))
        decoded = time.perf_counter() - started
        jobs.write(job, lambda file: picture_files.save(image, file, kinds[job.target], job.target), force)
        pixels = header.width * header.height
        line = f"{jobs.arrow(job)}: {header.size:,} bytes, {header.bits_per_pixel:.4f} bpp, "
        line += f"{header.width}x{header.height}"
        if verbose:
            line += f", {decoded:.2f} s, model {header.model_id.hex()}"
        record: dict[str, object] = {
            "input": job.source,
            "output": job.target,
            "bytes": header.size,
            "bpp": header.bits_per_pixel,
            "width": header.width,
            "height": header.height,
            "output_bytes": None if job.target == jobs.STDIO else Path(job.target).stat().st_size,
            "model_id": header.model_id.hex(),
            "seconds": round(decoded, 3),
        }
        return Done(line, record, header.size, pixels)

    run(work, decode, Status(as_json, quiet), name=lambda job: jobs.shown(job.source), verb="decoding")
