"""What a mask does for a picture: spatial allocation of bits against uniform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ganic.evaluation.selective.scenes import Scene, kept_box, psnr_inside
from ganic.extreme.codec import BACKGROUND_DROP, Codec
from ganic.labels import VOID, LabelMap
from ganic.regions import Regions


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
