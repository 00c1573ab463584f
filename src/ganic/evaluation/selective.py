"""Selective compression, measured: what regions cost, whether the synthesised is what its label says, and
what a mask does for a region.

    python -m ganic.evaluation.selective camvid/images camvid/labels --list recipes/street_heldout.txt \\
        --model street --gc street-gc --dplus street-dplus --segmenter street-segmenter
    python -m ganic.evaluation.selective photographs/ --model photo

Bytes are those of whole files, PSNR inside a region is over the pixels of coded blocks, and every random
choice depends on the seed and the scene's position in the list alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ganic import bitstream
from ganic.baselines import match_or_smallest
from ganic.baselines.classical import avif
from ganic.errors import DataError, TargetError
from ganic.evaluation.contest import find_pictures
from ganic.extreme.codec import BACKGROUND_DROP, Codec
from ganic.extreme.heat_maps import components
from ganic.extreme.layout import plan_of
from ganic.extreme.tiling import STRIDE, in_pixels
from ganic.labels import VOID, LabelMap, read, simplify
from ganic.metrics.patch_frechet import patch_frechet_distance
from ganic.module_command import run
from ganic.pages.figure import Panel, figure
from ganic.regions import Regions
from ganic.segmentation.scores import Scores, score
from ganic.segmentation.segmenter import Segmenter

DRAWN = 2
"""Scenes in a figure, at most."""

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Of the pictures, to be kept."""

RUNGS = tuple(i / 10 for i in range(11))
"""Qualities of a ladder."""

TOLERANCE = 0.2
"""dB by which two PSNRs may differ and still count as equal."""

Mask = NDArray[np.bool_]
Pick = Callable[["Scene", float], Mask]
"""A scene and a share -> the pixels to keep."""


@dataclass(frozen=True)
class Scene:
    """One picture and what it shows."""

    name: str
    image: Image.Image
    labels: LabelMap
    written: LabelMap
    """What files say of them: the same, or simpler."""
    number: int
    """Position in the list: random choices depend on it."""

    def random(self, seed: int) -> np.random.Generator:
        return np.random.default_rng((seed, self.number))


@dataclass(frozen=True)
class Cost:
    """What keeping a share of the scenes costs; means over scenes."""

    share: float
    """Of the positions that are coded."""
    bytes: float
    labels: float
    """Bytes of the label map."""
    ratio: float
    """Bytes over those of the whole picture at the same quality."""
    difference: float
    """PSNR inside the kept region, less that of the whole picture's file in the same place, in dB."""
    equal: float
    """Bytes over those that GC needs for the same PSNR there."""
    near: float
    """Bytes over those that GC needs for TOLERANCE more."""


@dataclass(frozen=True)
class Ladder:
    """Whole files of one scene at rising qualities, and their pictures."""

    sizes: tuple[int, ...]
    pictures: tuple[Image.Image, ...]

    @classmethod
    def of(cls, codec: Codec, image: Image.Image) -> Ladder:
        files = [codec.encode(image, quality=quality) for quality in RUNGS]
        return cls(tuple(map(len, files)), tuple(map(codec.decode, files)))

    def bytes_for(self, psnr: float, original: Image.Image, inside: Mask) -> float:
        """Bytes of a file with this PSNR inside, interpolated; at least those of the lowest quality, at most
        those of the best."""
        reached = [psnr_inside(original, picture, inside) for picture in self.pictures]
        return float(np.exp(np.interp(psnr, np.maximum.accumulate(reached), np.log(self.sizes))))


def kept_box(scene: Scene, share: float, *, seed: int = 0) -> Mask:
    """RB: a box of the picture's proportions at a random place."""
    rng = scene.random(seed)
    height, width = scene.labels.labels.shape
    h, w = (max(1, round(side * share**0.5)) for side in (height, width))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    mask = np.zeros((height, width), dtype=bool)
    mask[top : top + h, left : left + w] = True
    return mask


def kept_instances(scene: Scene, share: float, *, seed: int = 0) -> Mask:
    """RI: connected regions of one class in random order, each that fits, until ``share`` is reached."""
    rng = scene.random(seed)
    labels = scene.labels.labels
    coarse = torch.from_numpy(labels[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].astype(np.int64))
    numbers = components(coarse[None])[0].numpy()
    chosen = np.zeros(numbers.shape, dtype=bool)
    for name in rng.permutation(np.unique(numbers)):
        region = numbers == name
        if (chosen | region).mean() <= share * 1.1:
            chosen |= region
    mask = chosen.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)
    missing = ((0, max(0, labels.shape[0] - mask.shape[0])), (0, max(0, labels.shape[1] - mask.shape[1])))
    return np.pad(mask, missing)[: labels.shape[0], : labels.shape[1]]


def costs(
    codec: Codec,
    scenes: Sequence[Scene],
    ladders: Sequence[Ladder],
    pick: Pick,
    shares: Iterable[float],
    quality: float,
) -> list[Cost]:
    """Bytes against preserved area, all at one quality; ``ladders`` are GC's files of the scenes."""
    shares = tuple(shares)
    rows: list[list[tuple[float, ...]]] = [[] for _ in shares]
    for scene, ladder in zip(scenes, ladders, strict=True):
        whole = codec.encode(scene.image, quality=quality)
        reference = codec.decode(whole)
        for row, share in zip(rows, shares, strict=True):
            regions = Regions(pick(scene, share).astype(np.float32), scene.written)
            data = codec.encode(scene.image, quality=quality, regions=regions)
            container = bitstream.unpack(data)
            coded = plan_of(container).coded
            inside = in_pixels(coded, scene.image.height, scene.image.width)
            difference, equal, near = 0.0, float("nan"), float("nan")  # where nothing is kept
            if inside.any():
                psnr = psnr_inside(scene.image, codec.decode(data), inside)
                difference = psnr - psnr_inside(scene.image, reference, inside)
                equal, near = (
                    len(data) / ladder.bytes_for(goal, scene.image, inside)
                    for goal in (psnr, psnr + TOLERANCE)
                )
            labels = len(container.boxes.get("LABL", b""))
            row.append((coded.mean(), len(data), labels, len(data) / len(whole), difference, equal, near))
    return [
        Cost(*(float(value) for value in np.ma.masked_invalid(row).mean(axis=0).filled(np.nan)))
        for row in rows
    ]


def psnr_inside(original: Image.Image, decoded: Image.Image, inside: Mask) -> float:
    """PSNR over some of the pixels, in dB."""
    error = np.asarray(original, dtype=np.float64)[inside] - np.asarray(decoded, dtype=np.float64)[inside]
    return float(10 * np.log10(255**2 / max(float((error**2).mean()), 1e-9)))


def seen(segmenter: Segmenter, scenes: Sequence[Scene], pictures: Iterable[Image.Image]) -> Scores:
    """How well a segmenter finds the scenes' labels in pictures of them."""
    return score((scene.labels, segmenter(picture)) for scene, picture in zip(scenes, pictures, strict=True))


def within(codec: Codec, image: Image.Image, bpp: float, regions: Regions | None) -> bytes:
    """The best file of so many bits per pixel, or the smallest where that is more."""
    try:
        return codec.encode(image, target_bpp=bpp, regions=regions)
    except TargetError:
        return codec.encode(image, quality=0.0, regions=regions)


@dataclass(frozen=True)
class Gain:
    """What a mask does for one picture at equal bytes."""

    name: str
    bytes: int
    inside: float
    """PSNR inside the mask less that of uniform allocation, in dB."""
    outside: float


def gains(
    codec: Codec,
    pictures: Sequence[tuple[str, Image.Image]],
    *,
    bpp: float,
    share: float,
    background: float = BACKGROUND_DROP,
    seed: int = 0,
) -> list[Gain]:
    """Spatial allocation against uniform, at the bytes of the uniform file, for one random box per
    picture."""
    found = []
    for number, (name, image) in enumerate(pictures):
        nothing = LabelMap(np.full((image.height, image.width), VOID, dtype=np.uint8), ("nothing",))
        inside = kept_box(Scene(name, image, nothing, nothing, number), share, seed=seed)
        smallest = len(codec.encode(image, quality=0.0))
        if bpp * image.width * image.height / 8 > 1.2 * smallest:
            even = codec.encode(image, target_bpp=bpp)
        else:  # a picture that hardly becomes so small: compare above what it needs at least
            even = codec.encode(image, quality=0.25)
        uneven = codec.encode(
            image,
            target_bytes=len(even),
            regions=Regions(inside.astype(np.float32)),
            background=background,
        )
        one, other = codec.decode(even), codec.decode(uneven)
        better, worse = (
            psnr_inside(image, other, part) - psnr_inside(image, one, part) for part in (inside, ~inside)
        )
        found.append(Gain(name, len(uneven), better, worse))
    return found


def load_scenes(
    pictures: Path, labels: Path, chosen: Sequence[str] | None = None, simplify_labels: int = 0
) -> list[Scene]:
    """The scenes of two folders with files of the same names; ``chosen``: only these, in this order.

    Raises DataError where a picture has no label map or a chosen scene is missing.
    """
    by_name = {path.stem: path for path in find_pictures(pictures)}
    names = sorted(by_name) if chosen is None else [Path(name).stem for name in chosen]
    scenes = []
    for number, name in enumerate(names):
        if name not in by_name or not (labels / f"{name}.png").is_file():
            raise DataError(f"{name}: is not in both {pictures} and {labels}; give folders that have it")
        with Image.open(by_name[name]) as file:
            image = file.convert("RGB")
        true = read(labels / f"{name}.png", "camvid")
        written = replace(true, labels=simplify(true.labels, simplify_labels))
        scenes.append(Scene(name, image, true, written, number))
    return scenes


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
    _print_seen(Segmenter.load(segmenter), codec, others, scenes, bpp, drawing)


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


def _print_seen(
    segmenter: Segmenter,
    selective: Codec,
    others: Sequence[tuple[str, Codec]],
    scenes: Sequence[Scene],
    bpp: float,
    drawing: Path | None,
) -> None:
    """mIoU of the segmenter on originals, on decoded pictures, and on AVIF files of the same sizes; and some
    of the pictures."""
    drawn = {
        i: [Panel(scenes[i].name, "original", scenes[i].image)]
        for i in range(0, len(scenes), -(-len(scenes) // DRAWN))
    }
    rows = [("originals", 0.0, seen(segmenter, scenes, (scene.image for scene in scenes)), "")]
    pixels = [scene.image.width * scene.image.height for scene in scenes]
    rival = avif()
    tried: list[dict[int, bytes]] = [{} for _ in scenes]  # of its files, by quality

    def add(
        title: str, codec: Codec, regions: Callable[[Scene], Regions | None], quality: float | None
    ) -> None:
        files = [
            codec.encode(scene.image, quality=quality, regions=regions(scene))
            if quality is not None
            else within(codec, scene.image, bpp, regions(scene))
            for scene in scenes
        ]
        matching = [
            match_or_smallest(rival, scene.image, len(file), tried=known).data
            for scene, file, known in zip(scenes, files, tried, strict=True)
        ]
        over = sum(len(its) > len(ours) for its, ours in zip(matching, files, strict=True))
        for name, made, decode in (
            (title, files, codec.decode),
            (f"AVIF of these sizes ({over} over)", matching, rival.decode),
        ):
            pictures = [decode(file) for file in made]
            rate = float(np.mean([8 * len(file) / n for file, n in zip(made, pixels, strict=True)]))
            pairs = zip((scene.image for scene in scenes), pictures, strict=True)
            distance = f"{patch_frechet_distance(pairs).distance:.0f}"
            rows.append((name, rate, seen(segmenter, scenes, pictures), distance))
            for i, panels in drawn.items():
                panels.append(Panel(name, f"{len(made[i]):,} bytes", pictures[i]))

    def nothing(scene: Scene) -> Regions:
        return Regions(np.zeros(scene.labels.labels.shape, dtype=np.float32), scene.written)

    def quarter(scene: Scene) -> Regions:
        return replace(nothing(scene), importance=kept_instances(scene, 0.25).astype(np.float32))

    add("SC, nothing kept", selective, nothing, 0.5)
    add("SC, a quarter kept (RI)", selective, quarter, None)
    for title, codec in others:
        add(title, codec, lambda scene: None, None)
    if drawing is not None:
        columns = 3 if others else 5  # five panels of a scene, nine with GC's and GC (D+)'s
        figure([panel for panels in drawn.values() for panel in panels], columns).save(drawing, quality=85)
    names = scenes[0].labels.names
    click.echo(f"\nWhat a segmenter sees, {len(scenes)} scenes\n")
    click.echo(f"| | bpp | mIoU | patch Frechet distance | {' | '.join(names)} |")
    click.echo("|---|---:|---:|---:|" + "---:|" * len(names))
    for title, rate, scores, distance in rows:
        per_class = " | ".join("" if (iou := scores.iou[name]) is None else f"{iou:.3f}" for name in names)
        click.echo(f"| {title} | {rate:.4f} | {scores.miou or 0:.3f} | {distance} | {per_class} |")


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
