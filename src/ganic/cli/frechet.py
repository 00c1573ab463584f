"""``ganic frechet``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganic.cli import jobs, options
from ganic.errors import UsageError

if TYPE_CHECKING:
    from ganic.jpeg.evaluate import Cell, FeatureNetwork, Method

RGB_OUTPUT = "RGB image"


def _row_option(name: str, help: str) -> Callable[[options.F], options.F]:
    return click.option(name, multiple=True, metavar="[Q,...=]MODEL", help=help)


@click.command("frechet", short_help="Measure JPEG generators, in the layout of the paper's Table I.")
@click.argument("data", metavar="DATA", type=click.Path(exists=True))
@_row_option("--rgb", help="RGB generator whose pictures are compressed afterwards.")
@_row_option("--conv", help="Convolutional generator of coefficients.")
@_row_option("--fc", help="Fully connected generator of coefficients.")
@_row_option("--proposed", help="The paper's generator.")
@click.option("--also", multiple=True, metavar="NAME=MODEL", help="A further row, its own files; repeatable.")
@click.option(
    "--also-rgb", multiple=True, metavar="NAME=MODEL", help="A further row, its RGB pictures compressed."
)
@options.truncation_option
@click.option(
    "-n", "--count", type=click.IntRange(2), default=10_000, show_default=True, help="Files per cell."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise.")
@click.option("--quality", default="100,75,50,25", show_default=True, metavar="Q,...")
@click.option("--subsampling", default="4:4:4,4:2:2,4:2:0", show_default=True, metavar="R,...")
@click.option("--size", type=int, default=32, show_default=True, help="Side of the pictures of DATA.")
@click.option("--box", metavar="L,T,W,H", help="What to cut from each picture of DATA first.")
@click.option("--no-real", is_flag=True, help="Leave out the row of real data.")
@click.option(
    "--inception", metavar="FILE", help="Inception weights: true FID instead of the networks that ship."
)
@click.option(
    "--statistics",
    metavar="FILE.npz",
    help="Keep what DATA's features are like here, or take it from here: it costs minutes.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option("-o", "--output", metavar="FILE", help="All cells as JSON, written after each.")
@click.option("-f", "--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@options.debug_option
def command(
    data: str,
    rgb: tuple[str, ...],
    conv: tuple[str, ...],
    fc: tuple[str, ...],
    proposed: tuple[str, ...],
    also: tuple[str, ...],
    also_rgb: tuple[str, ...],
    truncation: float,
    count: int,
    seed: int,
    quality: str,
    subsampling: str,
    size: int,
    box: str | None,
    no_real: bool,
    inception: str | None,
    statistics: str | None,
    device: str,
    output: str | None,
    force: bool,
    quiet: bool,
) -> None:
    """Frechet distances between real pictures and generated JPEG files.

    DATA: CIFAR-10 (any of its forms), a folder or zip file of pictures, or an LSUN lmdb. The distance uses
    CIFAR ResNet-56 features at 32 pixels and SqueezeNet features above; neither is the FID, which needs
    --inception. --truncation is for the further rows.

    A row of the paper's may have several models: those with qualities before a = are for these, as in
    --proposed 100=A --proposed B.
    """
    if output:
        jobs.check_target(jobs.Job(data, output), force)

    from ganic.hardware import device_of
    from ganic.jpeg import datasets, evaluate, table
    from ganic.jpeg.remembered import remembered
    from ganic.jpeg.sampling import Subsampling
    from ganic.jpeg.tables import check_quality

    qualities = [check_quality(number) for number in _numbers("--quality", quality)]
    subsamplings = [Subsampling.parse(text.strip()) for text in subsampling.split(",")]
    window = _box(box)
    device_of(device)  # raises before pictures are read
    rows = [
        (table.RGB, rgb, True, 1.0),
        (table.CONVOLUTIONAL, conv, False, 1.0),
        (table.FULLY_CONNECTED, fc, False, 1.0),
        (table.PROPOSED, proposed, False, 1.0),
        *((name, (which,), True, truncation) for name, which in map(_named, also_rgb)),
        *((name, (which,), False, truncation) for name, which in map(_named, also)),
    ]
    load = partial(_method, count=count, seed=seed, size=size, device=device)
    methods = [
        _row(which, partial(load, name, truncation=share, compress=compress), qualities)
        for name, which, compress, share in rows
        if which
    ]
    real = datasets.load(Path(data), size, box=window)
    if real is None:
        real = datasets.read_folder(Path(data), size, box=window)
    if real.pictures.shape[1:3] != (size, size):
        raise UsageError(
            f"size: {size}; {data} has pictures of {real.pictures.shape[2]} x {real.pictures.shape[1]}"
        )
    if not no_real:
        methods.insert(0, evaluate.Recoded(table.REAL, "-", real.pictures[:count]))

    network: FeatureNetwork
    if inception:
        network = evaluate.FidFeatures(Path(inception), device)
    else:
        network = evaluate.CifarFeatures(device) if size == 32 else evaluate.SqueezeFeatures(device)
    results: list[Cell] = []

    def note(cell: Cell) -> None:
        results.append(cell)
        if output:
            record = {
                "network": network.name,
                "seed": seed,
                "real": len(real),
                "cells": [*map(asdict, results)],
            }
            text = json.dumps(record, indent=1) + "\n"
            jobs.write(jobs.Job(data, output), text.encode(), force or len(results) > 1)
        if not quiet:
            click.echo(
                f"{cell.method}, {cell.subsampling}, quality {cell.quality}: {cell.distance:.3f}, "
                f"{cell.bytes_per_file:.0f} bytes",
                err=True,
            )

    if statistics:
        truth = remembered(Path(statistics), real.pictures, network, device)
    else:
        truth = evaluate.statistics(real.pictures, network, device)
    evaluate.cells(
        methods,
        truth,
        network,
        qualities=qualities,
        subsamplings=subsamplings,
        device=device,
        done=note,
    )
    click.echo(table.markdown(results, network.name, seed, paper=size == 32))


def _row(models: Sequence[str], method: Callable[[str], Method], qualities: Sequence[int]) -> Method:
    """One model, or several of which some are for certain qualities; together they have to have all."""
    from ganic.jpeg import evaluate
    from ganic.jpeg.tables import check_quality

    others: list[Method] = []
    by_quality: dict[int, Method] = {}
    for text in models:
        numbers, equals, which = text.partition("=")
        if not (equals and re.fullmatch(r"[\d,]+", numbers)):
            others.append(method(text))
            continue
        made = method(which)
        by_quality |= {check_quality(number): made for number in _numbers("quality", numbers)}
    if len(others) > 1:
        raise click.UsageError(f"{models[0]}, {models[1]}: say for which qualities, as in 100={models[0]}.")
    if not by_quality:
        return others[0]
    row = evaluate.ByQuality(by_quality, *others)
    for quality in qualities:
        row.method(quality)
    return row


def _method(
    name: str, which: str, *, truncation: float, compress: bool, count: int, seed: int, size: int, device: str
) -> Method:
    from ganic.jpeg import evaluate, model, table

    loaded = model.load(which, device, truncation=truncation)
    if loaded.generator.size != size:
        raise UsageError(
            f"{which}: makes {loaded.generator.size} x {loaded.generator.size} pixels, not {size}"
        )
    direct = name in (table.CONVOLUTIONAL, table.FULLY_CONNECTED)
    if loaded.generator.has_trunk == direct:
        kind = "RGB pictures too" if direct else "coefficients only"
        raise UsageError(f"{which}: emits {kind}; that is no model for the row {name!r}")
    if compress:
        return evaluate.Recoded(name, RGB_OUTPUT, evaluate.painted(loaded, count, seed))
    return evaluate.Generated(name, loaded, count, seed)


def _named(text: str) -> tuple[str, str]:
    name, equals, which = text.partition("=")
    if not (name and equals and which):
        raise click.BadParameter(f"{text!r} is not NAME=MODEL.")
    return name, which


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(
            "write whole numbers with commas between them.", param_hint=option
        ) from error


def _box(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    numbers = _numbers("--box", text)
    if len(numbers) != 4:
        raise click.BadParameter("write LEFT,TOP,WIDTH,HEIGHT.", param_hint="--box")
    return numbers[0], numbers[1], numbers[2], numbers[3]
