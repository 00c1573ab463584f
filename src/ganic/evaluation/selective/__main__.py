"""The tables, as Markdown; see the package."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path

import click
import numpy as np
from PIL import Image

from ganic.evaluation.contest import find_pictures
from ganic.evaluation.selective.costs import TOLERANCE, Ladder, costs
from ganic.evaluation.selective.gains import gains
from ganic.evaluation.selective.scenes import Scene, kept_box, kept_instances, load_scenes
from ganic.evaluation.selective.semantics import Sight, sights
from ganic.extreme.codec import BACKGROUND_DROP, Codec
from ganic.module_command import run
from ganic.pages.figure import Panel, figure
from ganic.segmentation.segmenter import Segmenter

DRAWN = 2
"""Scenes in a figure, at most."""

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Of the pictures, to be kept."""


@click.command()
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("labels", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--list", "chosen", type=click.Path(exists=True, path_type=Path), help="Names, one per line.")
@click.option("--model", default="street", show_default=True)
@click.option("--gc", metavar="MODEL", help="GC on such scenes, to compare with.")
@click.option("--dplus", metavar="MODEL", help="GC (D+) on such scenes, to compare with.")
@click.option("--segmenter", default="street-segmenter", show_default=True)
@click.option("--quality", default=0.5, show_default=True, help="Of the cost curves, 0 to 1.")
@click.option("--bpp", default=0.09, show_default=True)
@click.option("--simplify-labels", default=0, show_default=True, help="As of ganic encode.")
@click.option(
    "--figure", "drawing", type=click.Path(dir_okay=False, path_type=Path), help="Some of the pictures."
)
@click.option("--background", default=BACKGROUND_DROP, show_default=True, help="As of Codec.encode.")
def command(
    pictures: Path,
    labels: Path | None,
    chosen: Path | None,
    model: str,
    gc: str | None,
    dplus: str | None,
    segmenter: str,
    quality: float,
    bpp: float,
    simplify_labels: int,
    background: float,
    drawing: Path | None,
) -> None:
    """Print the tables as Markdown: of scenes where LABELS are given, else of spatial allocation."""
    codec = Codec.load(model)
    if labels is None:
        _print_gains(codec, pictures, bpp, background)
        return
    scenes = load_scenes(pictures, labels, None if chosen is None else _names(chosen), simplify_labels)
    named = (("GC", gc), ("GC (D+)", dplus))
    others = [(title, Codec.load(name)) for title, name in named if name is not None]
    _print_costs(codec, others[0][1] if gc is not None else codec, scenes, quality)
    drawn = range(0, len(scenes), -(-len(scenes) // DRAWN)) if drawing is not None else ()
    found = sights(Segmenter.load(segmenter), codec, others, scenes, bpp, drawn)
    _print_sights(found, scenes)
    if drawing is not None:
        _draw(found[1:], [(i, scenes[i]) for i in drawn], drawing)


def _names(listed: Path) -> list[str]:
    """The lines of a list that are no comments."""
    lines = (line.strip() for line in listed.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _print_costs(codec: Codec, gc: Codec, scenes: Sequence[Scene], quality: float) -> None:
    ladders = [Ladder.of(gc, scene.image) for scene in scenes]
    click.echo(f"Bytes against preserved area, {len(scenes)} scenes, quality {quality:g}\n")
    click.echo(
        "| kept by | share coded | bytes | of these labels | of the whole picture's | PSNR inside | "
        f"of GC's at that PSNR | of GC's with {TOLERANCE} dB more |"
    )
    click.echo("|---|---:|---:|---:|---:|---:|---:|---:|")
    for title, pick in (("RI", kept_instances), ("RB", kept_box)):
        for cost in costs(codec, scenes, ladders, pick, SHARES, quality):
            click.echo(
                f"| {title} | {cost.share:.3f} | {cost.bytes:.0f} | {cost.labels:.0f} | {cost.ratio:.3f}x | "
                f"{cost.difference:+.2f} dB | {_times(cost.equal)} | {_times(cost.near)} |"
            )


def _times(factor: float) -> str:
    return "" if isnan(factor) else f"{factor:.3f}x"


def _print_sights(found: Sequence[Sight], scenes: Sequence[Scene]) -> None:
    names = scenes[0].labels.names
    click.echo(f"\nWhat a segmenter sees, {len(scenes)} scenes\n")
    click.echo(f"| | bpp | mIoU | patch Frechet distance | {' | '.join(names)} |")
    click.echo("|---|---:|---:|---:|" + "---:|" * len(names))
    for sight in found:
        scores = sight.scores
        per_class = " | ".join("" if (iou := scores.iou[name]) is None else f"{iou:.3f}" for name in names)
        distance = "" if sight.distance is None else f"{sight.distance:.0f}"
        click.echo(f"| {sight.title} | {sight.bpp:.4f} | {scores.miou or 0:.3f} | {distance} | {per_class} |")


def _draw(coded: Sequence[Sight], drawn: Sequence[tuple[int, Scene]], path: Path) -> None:
    """Some of the scenes, originals first, through every codec."""
    panels = []
    for i, scene in drawn:
        panels.append(Panel(scene.name, "original", scene.image))
        for sight in coded:
            picture, size = sight.kept[i]
            panels.append(Panel(sight.title, f"{size:,} bytes", picture))
    columns = 3 if len(coded) > 4 else 5  # five panels of a scene, nine with GC's and GC (D+)'s
    figure(panels, columns).save(path, quality=85)


def _print_gains(codec: Codec, folder: Path, bpp: float, background: float) -> None:
    pictures = []
    for path in find_pictures(folder):
        with Image.open(path) as file:
            pictures.append((path.stem, file.convert("RGB")))
    click.echo(f"A box of a tenth of the picture kept, at the bytes of {bpp:g} bpp spread evenly\n")
    click.echo("| picture | bytes | PSNR inside | PSNR outside |")
    click.echo("|---|---:|---:|---:|")
    found = gains(codec, pictures, bpp=bpp, share=0.1, background=background)
    for gain in found:
        click.echo(f"| {gain.name} | {gain.bytes} | {gain.inside:+.2f} dB | {gain.outside:+.2f} dB |")
    inside, outside = (float(np.mean([getattr(g, side) for g in found])) for side in ("inside", "outside"))
    click.echo(f"| mean | | {inside:+.2f} dB | {outside:+.2f} dB |")


if __name__ == "__main__":
    run(command)
