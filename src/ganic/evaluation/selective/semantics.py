"""Whether what is synthesised is what its label says: what a segmenter sees in decoded pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ganic.baselines import match_or_smallest
from ganic.baselines.classical import avif
from ganic.errors import TargetError
from ganic.evaluation.selective.scenes import Scene, kept_instances
from ganic.extreme.codec import Codec
from ganic.labels import LabelMap
from ganic.metrics.patch_frechet import patch_frechet_distance
from ganic.regions import Regions
from ganic.segmentation.scores import Scores, score

QUARTER = 0.25
"""Share of the pictures that selective files with some of it keep."""


@dataclass(frozen=True)
class Sight:
    """One codec's pictures of all scenes."""

    title: str
    bpp: float
    scores: Scores
    """How well the segmenter finds the scenes' labels in them."""
    distance: float | None
    """Patch Frechet distance from the originals; None for those themselves."""
    kept: Mapping[int, tuple[Image.Image, int]]
    """Decoded pictures of some of the scenes, by their place in the list, and the bytes of their files."""


def sights(
    segmenter: Callable[[Image.Image], LabelMap],
    selective: Codec,
    others: Sequence[tuple[str, Codec]],
    scenes: Sequence[Scene],
    bpp: float,
    keep: Collection[int] = (),
) -> list[Sight]:
    """The originals; SC with nothing and with a quarter kept, and the other codecs with everything; after
    each of these AVIF files of the same sizes.

    ``keep``: which scenes' decoded pictures are wanted.
    """
    originals = tuple(scene.image for scene in scenes)

    def scores(pictures: Iterable[Image.Image]) -> Scores:
        seen = ((scene.labels, segmenter(picture)) for scene, picture in zip(scenes, pictures, strict=True))
        return score(seen)

    found = [Sight("originals", 0.0, scores(originals), None, {})]
    rival = avif()
    tried: list[dict[int, bytes]] = [{} for _ in scenes]  # of its files, by quality

    def add(title: str, codec: Codec, files: Sequence[bytes]) -> None:
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
            rates = [8 * len(file) / (i.width * i.height) for file, i in zip(made, originals, strict=True)]
            distance = patch_frechet_distance(zip(originals, pictures, strict=True)).distance
            kept = {i: (pictures[i], len(made[i])) for i in keep}
            found.append(Sight(name, float(np.mean(rates)), scores(pictures), distance, kept))

    def nothing(scene: Scene) -> Regions:
        return Regions(np.zeros(scene.labels.labels.shape, dtype=np.float32), scene.written)

    def some(scene: Scene) -> Regions:
        return replace(nothing(scene), importance=kept_instances(scene, QUARTER).astype(np.float32))

    empty = [selective.encode(scene.image, quality=0.5, regions=nothing(scene)) for scene in scenes]
    add("SC, nothing kept", selective, empty)
    partial = [_within(selective, scene, bpp, some(scene)) for scene in scenes]
    add("SC, a quarter kept (RI)", selective, partial)
    for title, codec in others:
        add(title, codec, [_within(codec, scene, bpp, None) for scene in scenes])
    return found


def _within(codec: Codec, scene: Scene, bpp: float, regions: Regions | None) -> bytes:
    """The best file of so many bits per pixel, or the smallest where that is more."""
    try:
        return codec.encode(scene.image, target_bpp=bpp, regions=regions)
    except TargetError:
        return codec.encode(scene.image, quality=0.0, regions=regions)
