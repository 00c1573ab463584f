"""``ganic generate``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import click

from ganic.cli import options
from ganic.cli.progress import bar

if TYPE_CHECKING:
    from ganic.hardware import Precision

DEFAULT_MODEL = "cifar10"


@click.command("generate", short_help="Write JPEG files of pictures that never were.")
@click.option(
    "-n", "--count", type=click.IntRange(1), default=1, show_default=True, help="How many pictures."
)
@click.option("-o", "--output", required=True, metavar="DIR|FILE.tar|FILE.jpg", help="Where they go.")
@click.option(
    "--quality", type=int, default=75, show_default=True, metavar="1..100", help="As of any JPEG file."
)
@click.option(
    "--subsampling", default="4:2:0", show_default=True, metavar="4:4:4|4:2:2|4:2:0", help="Of the colours."
)
@click.option(
    "--class", "label", metavar="NAME|NUMBER", help="All of this class. Default: classes drawn at random."
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Picture i of a seed is always the same."
)
@options.truncation_option
@click.option("--size", type=int, metavar="PIXELS", help="Refuse a model that makes another size.")
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="Name of an installed model, or path of a model file.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@options.precision_option
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="Pictures in memory; changes no byte.",
)
@click.option("--resume", is_flag=True, help="Go on with what an interrupted run left there.")
@click.option("-f", "--force", is_flag=True, help="Replace what is there.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="The summary as a JSON object on stdout.")
@options.debug_option
def command(
    count: int,
    output: str,
    quality: int,
    subsampling: str,
    label: str | None,
    seed: int,
    truncation: float,
    size: int | None,
    model: str,
    device: str,
    precision: str,
    batch: int,
    resume: bool,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write JPEG files straight from a GAN's coefficients.

    \b
      ganic generate -n 10000 -o cats.tar --class cat --quality 75
      ganic generate -n 16 -o pictures/ --seed 7 --subsampling 4:4:4

    A .tar file has WebDataset's layout (000000000.jpg, 000000000.cls, ...); an interrupted one is called
    .part and goes on with --resume. Baseline JPEG with Huffman tables fitted to each picture.
    """
    from ganic.errors import UsageError
    from ganic.jpeg.sampling import Subsampling
    from ganic.jpeg.tables import check_quality

    check_quality(quality)  # before torch is imported
    ratio = Subsampling.parse(subsampling)

    from ganic.jpeg import model as models
    from ganic.jpeg.generate import generate

    loaded = models.load(model, device, precision=cast("Precision", precision), truncation=truncation)
    if size not in (None, loaded.generator.size):
        raise UsageError(
            f"size: {size}; {loaded.name} makes {loaded.generator.size} x {loaded.generator.size} pixels"
        )
    with bar(count, "generating", silent=quiet or as_json) as show:
        summary = generate(
            loaded,
            count,
            output,
            quality=quality,
            subsampling=ratio,
            seed=seed,
            label=None if label is None else loaded.label_of(label),
            batch=batch,
            resume=resume,
            overwrite=force,
            progress=show,
        )
    if as_json:
        record = {
            "output": output,
            "count": summary.count,
            "bytes": summary.bytes,
            "bytes_per_picture": summary.bytes_per_picture,
            "made": summary.made,
            "seconds": round(summary.seconds, 3),
            "pictures_per_second": round(summary.pictures_per_second, 1),
            "model": loaded.name,
            "model_id": loaded.model_id.hex(),
        }
        click.echo(json.dumps(record))
    elif not quiet:
        size_bpp = 8 * summary.bytes_per_picture / loaded.generator.size**2
        click.echo(
            f"{output}: {summary.count:,} pictures, {summary.bytes_per_picture:,.1f} bytes each "
            f"({size_bpp:.3f} bpp), {summary.pictures_per_second:,.0f} pictures per second",
            err=True,
        )
