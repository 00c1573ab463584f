"""``ganic compare``."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from click.core import ParameterSource

from ganic import __version__
from ganic.cli import jobs, options
from ganic.cli.table import table
from ganic.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from ganic._api import Info
    from ganic.baselines import Baseline
    from ganic.hardware import Precision
    from ganic.images import Picture
    from ganic.pages.comparison import Coding
    from ganic.regions import Box

AGAINST = ("avif", "heic", "webp", "jpeg")


PAGES = frozenset({".html", ".htm"})
FIGURES = {".png": "PNG", ".webp": "WEBP"}
FIGURE_SIDE = 320
"""Of what a figure shows unless --crop says so, in pixels."""
FIGURE_COLUMNS = 3


def _check_name(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:
    if name is not None and Path(name).suffix.lower() not in PAGES | FIGURES.keys():
        raise click.BadParameter(f"{name}: is neither a page (.html) nor a figure (.png, .webp).")
    return name


@click.command("compare", short_help="Compare with other codecs, on one HTML page.")
@click.argument("original", metavar="PICTURE")
@click.argument("coded", required=False, metavar="[FILE.ganic]")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    callback=_check_name,
    help="A page (.html) or a figure (.png, .webp).  [PICTURE-compare.html beside the picture]",
)
@click.option(
    "--crop",
    multiple=True,
    callback=options.parse_box,
    metavar="X,Y,W,H",
    help="What a figure shows, in pixels.  [320 x 320 in the middle]",
)
@click.option("-f", "--force", is_flag=True, help="Replace a page that exists.")
@click.option(
    "--against",
    default=",".join(AGAINST),
    show_default=True,
    metavar="CODEC,...",
    help="Also: jpeg2000, db4, and jxl where installed.",
)
@options.rate_options
@click.option("--fidelity", type=click.FloatRange(0, 1), default=0.0, metavar="0..1", help="As in decode.")
@click.option("--model", help="As in encode; with FILE.ganic as in decode.")
@options.precision_option
@click.option("--json", "as_json", is_flag=True, help="The numbers as JSON on stdout, one object per codec.")
@click.option("-q", "--quiet", is_flag=True, help="No table.")
@options.debug_option
def command(
    original: str,
    coded: str | None,
    output: str | None,
    crop: list[Box],
    force: bool,
    against: str,
    rate: str | None,
    quality: float | None,
    target_bpp: float | None,
    target_size: int | None,
    fidelity: float,
    model: str | None,
    precision: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare with other codecs at equal bytes, on one HTML page that needs nothing else, or in a figure.

    The picture is coded as --rate and the like say, or FILE.ganic is taken as it is. Every other codec gets
    as many bytes and the best quality that fits. Sizes are of whole files; none but FILE.ganic has metadata.
    """
    chosen = options.rate_of(rate, quality, target_bpp, target_size)
    if coded is not None and chosen.given:
        raise click.UsageError("FILE.ganic has its rate already; leave the rate options out.")
    page = output or str(Path(original).with_name(f"{Path(original).stem}-compare.html"))
    kind = FIGURES.get(Path(page).suffix.lower())
    if crop and (kind is None or len(crop) > 1):
        raise click.UsageError("--crop is what a figure shows: give one, and -o FILE.png or FILE.webp.")
    job = jobs.Job(original, page)
    jobs.check_target(job, force)
    chosen_by_default = click.get_current_context().get_parameter_source("against")
    rivals = _rivals(against, lenient=chosen_by_default == ParameterSource.DEFAULT)

    from ganic import _api, images

    picture = images.read(original)
    box = _figure_box(picture.image.size, crop[0] if crop else None)
    if coded is None:
        bare = dataclasses.replace(picture, alpha=None, icc=None, exif=None, xmp=None)
        data = _api.encode(
            bare,
            model=model or "photo",
            quality=chosen.quality,
            rate=chosen.name,
            target_bpp=chosen.bpp,
            target_size=chosen.size,
            precision=cast("Precision", precision),
        )
    else:
        data = jobs.read(coded)
    decoded = _api.decode(
        data,
        model=model,
        fidelity=fidelity,
        precision=cast("Precision", precision),
    ).convert("RGB")
    if decoded.size != picture.image.size:
        raise click.UsageError(f"{coded} has {decoded.width}x{decoded.height} pixels, {original} not.")
    found = _api.info(data)
    codings = _codings(picture.image, decoded, data, rivals, quiet)
    if kind is None:
        made = _page(original, picture, codings, found).encode()
    else:
        made = _figure(picture, codings, box, kind)
    jobs.write(job, made, force)
    _report(page, picture, codings, as_json, quiet)


def _rivals(names: str, *, lenient: bool) -> list[Baseline]:
    """The baselines asked for, in that order; where that is ``lenient``, those that are installed."""
    from ganic.baselines import available

    by_name = {baseline.name: baseline for baseline in available()}
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    if not lenient:
        return [options.named(by_name, name, "--against") for name in wanted]
    for name in wanted:
        if name not in by_name:
            click.echo(f"left out: {name}, not installed; pip install 'ganic[baselines]'", err=True)
    return [by_name[name] for name in wanted if name in by_name]


def _codings(
    original: Image.Image, decoded: Image.Image, data: bytes, rivals: list[Baseline], quiet: bool
) -> list[Coding]:
    """Ours first, then each rival's best picture in as many bytes, or its smallest file, noted as such."""
    from ganic.baselines import match_or_smallest
    from ganic.metrics import SqueezeNetFeatures, measure
    from ganic.pages.comparison import Coding, window

    network = SqueezeNetFeatures()
    box = window(*original.size)
    part = original.crop(box)

    def coding(name: str, picture: Image.Image, size: int, note: str = "") -> Coding:
        values = dataclasses.asdict(measure(part, picture.crop(box), network=network))
        return Coding(name, picture, size, values, note)

    def best_file(rival: Baseline) -> bytes | InputError:
        try:
            return match_or_smallest(rival, original, len(data)).data
        except InputError as error:
            return error

    if not quiet:
        titles = ", ".join(rival.title for rival in rivals)
        click.echo(f"looking for the best quality of {titles} in {len(data):,} bytes", err=True)
    codings = [coding("ganic", decoded, len(data))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the libraries work outside Python's lock
        files = list(pool.map(best_file, rivals))
    for rival, file in zip(rivals, files, strict=True):
        if isinstance(file, InputError):
            click.echo(f"left out: {file}", err=True)
            continue
        over = len(file) / len(data)
        note = f"its smallest file, {over:.2f}x the bytes" if over > 1 else ""
        codings.append(coding(rival.title, rival.decode(file), len(file), note))
    return codings


def _page(original: str, picture: Picture, codings: list[Coding], found: Info) -> str:
    from ganic.pages import comparison

    measures = [
        comparison.Measure("squeezenet", "Perceptual distance", 3, higher_is_better=False),
        comparison.Measure("ms_ssim", "MS-SSIM", 4, higher_is_better=True),
        comparison.Measure("ssimulacra2", "SSIMULACRA2", 1, higher_is_better=True),
        comparison.Measure("psnr", "PSNR", 2, higher_is_better=True, unit="dB"),
        comparison.Measure("psnr_8x8", "PSNR of 8x8 means", 2, higher_is_better=True, unit="dB"),
    ]
    source = comparison.Coding("Original", picture.image, Path(original).stat().st_size)
    remarks = [
        "Perceptual distance compares texture and structure as a small network (SqueezeNet) sees them. "
        "PSNR compares pixel by pixel and favours smooth pictures; of 8x8 means it sees colour and shading."
    ]
    if picture.alpha is not None:
        remarks.append("The original's transparency is left out of the comparison.")
    return comparison.page(
        f"{Path(original).name} in {found.bytes:,} bytes",
        source,
        codings,
        measures,
        lead=f"{found.width} x {found.height} pixels at {found.bpp:.3f} bits per pixel: "
        "the best picture of each codec in that many bytes.",
        remarks=remarks,
        footnote=f"Made by ganic {__version__}, model {found.model or 'by path'} ({found.model_id}).",
        measured="shown",
        icc=picture.icc,
    )


def _figure_box(size: tuple[int, int], crop: Box | None) -> tuple[int, int, int, int]:
    """What a figure shows, as Pillow's crop box; raises click.UsageError for a box outside."""
    width, height = size
    if crop is None:
        w, h = min(FIGURE_SIDE, width), min(FIGURE_SIDE, height)
        crop = ((width - w) // 2, (height - h) // 2, w, h)
    x, y, w, h = crop
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise click.UsageError(f"--crop {x},{y},{w},{h}: is not within the picture's {width}x{height}.")
    return (x, y, x + w, y + h)


def _figure(original: Picture, codings: list[Coding], box: tuple[int, int, int, int], kind: str) -> bytes:
    """The same part of every picture, as a picture file."""
    from ganic.pages.figure import Panel, figure

    width, height = original.width, original.height
    panels = [Panel("Original", f"{width} x {height}", original.image.crop(box))]
    for coding in codings:
        note = coding.note or f"{8 * coding.bytes / (width * height):.3f} bits per pixel"
        panels.append(Panel(f"{coding.name}: {coding.bytes:,} bytes", note, coding.picture.crop(box)))
    made = io.BytesIO()
    how = {"quality": 95} if kind == "WEBP" else {}
    figure(panels, FIGURE_COLUMNS).save(made, kind, icc_profile=original.icc, **how)
    return made.getvalue()


def _report(page: str, picture: Picture, codings: list[Coding], as_json: bool, quiet: bool) -> None:
    from ganic.evaluation.store import jsonable
    from ganic.pages.comparison import window

    pixels = picture.width * picture.height
    left, top, right, bottom = window(picture.width, picture.height)
    measured = right - left, bottom - top
    if as_json:
        for coding in codings:
            numbers: dict[str, object] = {
                "codec": coding.name,
                "bytes": coding.bytes,
                "bpp": 8 * coding.bytes / pixels,
            }
            numbers |= dict(coding.values) | {"measured": list(measured), "note": coding.note}
            click.echo(json.dumps(jsonable(numbers)))
    elif not quiet:
        rows: list[tuple[str, ...]] = [("CODEC", "BYTES", "BPP", "PERCEPTUAL", "MS-SSIM", "PSNR dB", "")]
        for coding in codings:
            numbers_of = [
                _number(coding.values.get(k), d) for k, d in (("squeezenet", 3), ("ms_ssim", 4), ("psnr", 2))
            ]
            rows.append(
                (
                    coding.name,
                    f"{coding.bytes:,}",
                    f"{8 * coding.bytes / pixels:.4f}",
                    *numbers_of,
                    coding.note,
                )
            )
        click.echo(table(rows, right=range(1, 6)))
        if measured != picture.image.size:
            click.echo(f"measured: the middle {measured[0]}x{measured[1]} pixels", err=True)
    click.echo(f"wrote {page} ({Path(page).stat().st_size / 1e6:.1f} MB)", err=True)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
