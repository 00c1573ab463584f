"""What it costs to keep a share of a scene: the papers' bytes against preserved area."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ganic import bitstream
from ganic.evaluation.selective.scenes import Mask, Pick, Scene, psnr_inside
from ganic.extreme.codec import Codec
from ganic.extreme.layout import plan_of
from ganic.extreme.tiling import in_pixels
from ganic.regions import Regions

RUNGS = tuple(i / 10 for i in range(11))
"""Qualities of a ladder."""

TOLERANCE = 0.2
"""dB by which two PSNRs may differ and still count as equal."""


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
